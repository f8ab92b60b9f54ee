"""Rows: shells under Slurm, torchrun or no launcher, and what they leave in the environment."""

from benchmarks.faults.judge import Row

SRUN = "SLURM_JOB_ID=77 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4"
#: variables, and the error
VARIABLES = {
    "RANK is empty": ("RANK= WORLD_SIZE= LOCAL_RANK=", "no shards at"),
    "RANK alone": ("RANK=0", "WORLD_SIZE: expected a number"),
    "RANK is not a number": ("RANK=x WORLD_SIZE=2", "RANK: expected a number"),
    "a rank too many": ("RANK=2 WORLD_SIZE=2", "expected a rank below"),
    "half of srun's variables": ("SLURM_STEP_NUM_TASKS=4", "SLURM_PROCID: expected .* to train alone"),
    "srun's variables without nodes": (
        "SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0 SLURM_LOCALID=0",
        "expected SLURM_STEP_NODELIST, SLURM_JOB_ID, SLURM_STEP_ID",
    ),
    "an allocation without a step": ("SLURM_JOB_ID=77 SLURM_NTASKS=4", "no shards at"),
    "rank 0 has no address": (
        f"{SRUN} SLURM_PROCID=1 SLURM_LOCALID=1 SLURM_STEP_NODELIST=no.such.host.invalid",
        "error: rank 1 .* whose name has no address on this node",
    ),
    "nobody at the address of rank 0": (
        "RANK=1 WORLD_SIZE=2 MASTER_ADDR=no.such.host.invalid MASTER_PORT=29500",
        "error: .*no.such.host.invalid",
    ),
    "half of the variables of rank 0": ("RANK=1 WORLD_SIZE=2 MASTER_ADDR=localhost", "error: .*MASTER_PORT"),
}

ROWS = [
    *(Row(fault, f"{words} train data.train=/nowhere", 1, said) for fault, (words, said) in VARIABLES.items()),
    Row(
        "another program at the port of rank 0",
        "RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$SILENT train",
        1,
        "error: .*(in use|EADDRINUSE)",
    ),
    Row("no sbatch", "PATH=/nowhere $PY -m launch.submit $T/tiny.yaml run=r gpus_per_node=0", 1, "no sbatch on this"),
    Row(
        "an interactive step whose other tasks are gone, then Ctrl-C",
        f"export {SRUN} SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_STEP_NODELIST=localhost; begin_training; "
        "until_said 'waiting for rank 1, 2, 3 of the 4 tasks .* to train alone'; end_by INT",
        130,
        r"error: interrupted\ngone after [012] s",
    ),
]
