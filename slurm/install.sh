#!/bin/sh
# Run by slurm/Apptainer.def and Dockerfile inside the image, in the project's folder: installs everything needed at run
# time, at the versions of constraints.txt, so that a container needs no network.
set -eu

apt-get update
apt-get install --yes --no-install-recommends gcc g++ libc6-dev # torch.compile and triton compile at run time
rm -rf /var/lib/apt/lists/*

python -m pip install --no-cache-dir "$(grep '^torch==' constraints.txt)" "$(grep '^setuptools==' constraints.txt)"
python -m pip install --no-cache-dir --constraint constraints.txt --no-build-isolation --editable '.[s3,export]'
python -m compileall -q train data launch
