"""[torchrun --nproc-per-node N] train/main.py [CONFIG.yaml] [key=value ...] [--allow-pipe] [--traceback]: trains.

--allow-pipe: run commands in the config. --traceback: show where an error came from.
"""

from collections.abc import Sequence
from pathlib import Path

from launch.command import run
from launch.config_file import split_words
from launch.processes.environment import connect, leave
from launch.processes.stop import Stop
from train.config import all_keys, load
from train.loop import train

DEMO = Path(__file__).resolve().parents[1] / "configs/demo.yaml"


def main(words: Sequence[str]) -> None:
    path, overrides = split_words(words)
    config = load(path or DEMO, overrides)
    with connect() as env, Stop(Path(config.run), env) as stop:
        train(config, env, stop)


if __name__ == "__main__":
    leave(run(main, lambda: f"{__doc__}\n{all_keys()}"))
