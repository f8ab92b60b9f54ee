# make demo    install, draw pictures, shard them, train with two processes on the CPU, draw detections
# make test    install, run the tests that take seconds
# make test-slow   those that take longer: whole runs, compilers, networks against darknet's figures
# make test-slurm   whole runs on a real Slurm on this machine; as root, with slurmctld slurmd slurm-client munge iproute2
# make gpu     tests, speeds and a training on a GPU in nine minutes: one table (DRY=1: small, on the CPU; WHEELS=, TRAIN=, VAL=, OUT=)
# make check   format, lint, types, import layers, both kinds of tests; CI runs this and test-slurm
PYTHON ?= python3
BIN = .venv/bin
PYTEST = $(BIN)/python -m pytest --numprocesses auto --dist worksteal
TORCH = $(shell grep '^torch==' constraints.txt)

.PHONY: install demo test test-slow test-slurm gpu check clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/torchrun --standalone --nproc-per-node 2 train/main.py configs/demo.yaml
	$(BIN)/python -m train.detect runs/demo datasets/shapes/VOC2007/JPEGImages/00250[1-8].jpg
	@echo "pictures with detections: runs/demo/detections; curves: $(BIN)/tensorboard --logdir runs"

test: install
	$(PYTEST) -m 'not slow and not slurm'

test-slow: install
	$(PYTEST) -m 'slow and not slurm'

test-slurm: install
	$(BIN)/python -m pytest -m slurm tests/slurm

gpu:
	$(or $(wildcard $(BIN)/python),$(PYTHON)) benchmarks/gpu.py $(if $(DRY),--dry) $(if $(WHEELS),--wheels $(WHEELS)) \
	    $(if $(TRAIN),--train $(TRAIN)) $(if $(VAL),--val $(VAL)) $(if $(OUT),--out $(OUT))

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

clean:
	rm -rf .venv runs/demo datasets/shapes datasets/shapes-shards
