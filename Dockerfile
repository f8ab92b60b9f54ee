# The project with everything it needs: docker build -t yolov2 .
#
#     docker run --gpus all --network none --shm-size 8g -v "$PWD:/work" yolov2 CONFIG [key=value ...]
FROM python:3.11.13-slim-bookworm

WORKDIR /opt/yolov2
COPY constraints.txt editable_only.py pyproject.toml LICENSE README.md ./
COPY train train
COPY data data
COPY launch launch
COPY configs configs
COPY slurm slurm

RUN sh slurm/install.sh

ENV PIP_NO_INDEX=1 PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8
WORKDIR /work
ENTRYPOINT ["python", "/opt/yolov2/train/main.py"]
