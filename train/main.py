"""torchrun [--nproc-per-node N] train/main.py [CONFIG.yaml] [key=value ...]"""

import sys
from pathlib import Path

from launch.environment import connect, leave
from launch.stop import Stop
from train.config import load
from train.loop import train

DEMO = Path(__file__).resolve().parents[1] / "configs/demo.yaml"


def main(*arguments: str) -> None:
    path, overrides = str(DEMO), list(arguments)
    if arguments and "=" not in arguments[0]:
        path, overrides = arguments[0], list(arguments[1:])
    try:
        config = load(path, overrides)
        with connect() as env, Stop(Path(config.run), env) as stop:
            train(config, env, stop)
    except (ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave()
