"""Who a process is, from its variables; what the collective methods do alone and between two real processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from launch.processes.environment import Environment, connect, detect
from tests.conftest import ROOT
from tests.servers import free_port

TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}
SRUN = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "8"}
CPU, CUDA_0, CUDA_1 = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)

TWO_PROCESSES = """
import json, sys, time
from pathlib import Path
import torch
from launch.processes.environment import Environment, connect

folder = Path(sys.argv[1])
with connect() as env:
    values = torch.tensor([1.0, 10.0]) * (env.rank + 1)
    found = {
        "who": [env.rank, env.world_size, env.launcher, str(env.device)],
        "mean": env.mean(values).tolist(),
        "in place": values.tolist(),
        "any of one": env.any(env.rank == 1),
        "any of none": env.any(False),
        "gather": env.gather(["from", env.rank]),
        "broadcast": env.broadcast({"rank": env.rank}),
        "broadcast nothing": env.broadcast(None),
    }
    if env.rank == 1:
        time.sleep(0.3)
        (folder / "late").touch()
    env.barrier()
    met = []
    meet = Environment.any
    Environment.any = lambda self, flag: met.append(flag) or meet(self, flag)
    found["first"] = env.on_rank_0(lambda: [time.sleep(4), "from", env.rank])
    found["rounds"] = len(met)
    found["waited"] = (folder / "late").exists()
(folder / f"{env.rank}.json").write_text(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("environ", "gpus", "expected"),
    [
        ({}, 0, Environment(0, 1, 0, CPU, "single")),
        ({}, 2, Environment(0, 1, 0, CUDA_0, "single")),
        (TORCHRUN, 0, Environment(5, 8, 1, CPU, "torchrun")),
        (TORCHRUN, 2, Environment(5, 8, 1, CUDA_1, "torchrun")),
        ({"RANK": "0", "WORLD_SIZE": "1"}, 1, Environment(0, 1, 0, CUDA_0, "torchrun")),
        (SRUN, 0, Environment(5, 8, 1, CPU, "srun")),
        (SRUN, 4, Environment(5, 8, 1, CUDA_1, "srun")),
        (SRUN, 1, Environment(5, 8, 1, CUDA_0, "srun")),  # its own one
        ({**SRUN, **TORCHRUN, "SLURM_PROCID": "2"}, 4, Environment(5, 8, 1, CUDA_1, "torchrun")),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, 1, Environment(0, 1, 0, CUDA_0, "single")),
        ({"SLURM_NTASKS": "4"}, 0, Environment(0, 1, 0, CPU, "single")),  # in a batch script, outside srun
        ({"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": ""}, 0, Environment(0, 1, 0, CPU, "single")),
        ({"SLURM_STEP_NUM_TASKS": "", "SLURM_PROCID": ""}, 0, Environment(0, 1, 0, CPU, "single")),
    ],
)
def test_the_variables_say_who_a_process_is(environ: dict[str, str], gpus: int, expected: Environment) -> None:
    assert detect(environ, gpus) == expected


@pytest.mark.parametrize(("environ", "gpus"), [(TORCHRUN, 1), ({**SRUN, "SLURM_LOCALID": "3"}, 2)])
def test_more_processes_than_gpus_are_refused_with_the_remedy(environ: dict[str, str], gpus: int) -> None:
    with pytest.raises(ValueError, match=rf"sees {gpus} GPU.*start {gpus} \(torchrun --nproc-per-node {gpus}, srun"):
        detect(environ, gpus)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"RANK": "0"},
            r"WORLD_SIZE: expected a number, .*, found RANK=0, WORLD_SIZE=\(not set\); start with torchrun",
        ),
        ({"WORLD_SIZE": "2", "RANK": ""}, r"RANK: expected a number, .* found RANK=, WORLD_SIZE=2"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, r"RANK: expected a number, .* found RANK=x"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, r"RANK: expected a number, .* found RANK=-1"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, r"process 2 of 2: expected a rank below the number of processes"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": ""}, r"LOCAL_RANK: expected a number"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, r"SLURM_PROCID: expected .* found SLURM_PROCID=\(not set\), .* to train alone"),
        ({**SRUN, "SLURM_LOCALID": ""}, r"SLURM_LOCALID: expected a number, .* to train alone"),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "many"}, r"SLURM_STEP_NUM_TASKS: expected a number"),
    ],
)
def test_variables_that_say_half_are_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detect(environ, 0)


def test_a_step_without_its_nodes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="expected SLURM_STEP_NODELIST, SLURM_JOB_ID, SLURM_STEP_ID beside"), connect():
        pass


def test_one_process_alone_gets_back_what_it_gives() -> None:
    env, values = Environment(), torch.tensor([1.0, 3.0])
    assert env.mean(values) is values and values.tolist() == [1, 3]
    assert env.any(True) is True and env.any(False) is False
    assert env.gather("own") == ["own"]
    assert env.broadcast({"key": 1}) == {"key": 1}
    env.barrier()
    assert env.on_rank_0(lambda: values) is values


def test_one_process_alone_opens_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    with connect() as env:
        assert env.world_size == 1
        assert not torch.distributed.is_initialized()


def test_a_process_can_say_who_it_is() -> None:
    assert (
        str(Environment(1, 2, 1, CPU, "torchrun")) == f"rank 1 of 2 on {socket.gethostname()}, cpu, started by torchrun"
    )


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_two_processes_exchange_values(tmp_path: Path, launcher: str) -> None:
    shared = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    if launcher == "torchrun":
        shared |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    else:
        shared |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
        shared |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0"}
        own = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, str(tmp_path)],
            cwd=ROOT,
            env={**shared, **own[rank]},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    zero, one = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert zero["who"] == [0, 2, launcher, "cpu"] and one["who"] == [1, 2, launcher, "cpu"]
    assert zero["gather"] == [["from", 0], ["from", 1]] and one["gather"] == []
    for found in (zero, one):
        assert found["mean"] == found["in place"] == [1.5, 15.0]
        assert found["any of one"] is True and found["any of none"] is False
        assert found["broadcast"] == {"rank": 0} and found["broadcast nothing"] is None
        assert found["waited"] is True
        assert found["first"] == [None, "from", 0] and found["rounds"] == zero["rounds"] > 1
