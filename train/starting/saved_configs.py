"""The configs that a run's starts have saved, each for the next.

RUN/starts/0002-000012800.yaml    the second start's, at 12,800 images seen; changes are listed at the top
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from data.shards.index import ShardIndex
from data.view.attempts import notice
from data.wording import counted
from train.config import Config, load, save
from train.run.checkpoint_files import has_checkpoints
from train.starting.sets import save_sets

FOLDER = "starts"
NAME = re.compile(r"(?P<number>[0-9]{4,})-(?P<images>[0-9]{9,})\.yaml")


def save_start(config: Config, images: int, changes: list[str], sets: Mapping[str, ShardIndex]) -> None:
    """Saves the resolved config as RUN/config.yaml and in RUN/starts, and the digests of the sets. images: seen so far.

    Only one process may call it.
    """
    run = Path(config.run)
    save_sets(run, sets)
    starts = _starts(run)
    number = 1 + (int(starts[-1].name.partition("-")[0]) if starts else 0)
    if not starts and (run / "config.yaml").exists() and has_checkpoints(run / "checkpoints"):
        (run / FOLDER).mkdir(exist_ok=True)
        (run / "config.yaml").rename(run / FOLDER / "0001-000000000.yaml")  # of a run that kept only the newest
        number = 2
    elif (kept := _kept(run, starts[-2:])) is not None:
        notice(f"{run / 'config.yaml'} will hold the config of this start; the one that was there is kept as {kept}")
    save(config, run / FOLDER / f"{number:04d}-{images:09d}.yaml", [f"at {counted(images, 'image')}", *changes])
    save(config, run / "config.yaml")


def _kept(run: Path, starts: Sequence[Path]) -> Path | None:
    """Renames RUN/config.yaml if no start has written it, so that nothing of the user's is lost. Returns the name."""
    path = run / "config.yaml"
    if not path.is_file():
        return None
    with suppress(OSError):  # on a bad block
        if path.read_bytes() in [_without_remarks(start) for start in starts if start.is_file()]:
            return None
    kept = next(each for each in (run / f"config-{number}.yaml" for number in count(1)) if not each.exists())
    return path.rename(kept)


def _without_remarks(start: Path) -> bytes:
    """The bytes of RUN/config.yaml after that start."""
    return b"".join(line for line in start.read_bytes().splitlines(keepends=True) if not line.startswith(b"# "))


def earlier_starts(run: Path) -> list[Path]:
    """Configs of a run's earlier starts, the last one at the end; none if nothing has been trained."""
    return (_starts(run) or [run / "config.yaml"]) if has_checkpoints(run / "checkpoints") else []


def load_start(path: Path) -> Config:
    """The config of a start. ValueError if the file is missing or damaged."""
    try:
        return load(path, [], opens_sets=False)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None


def _starts(run: Path) -> list[Path]:
    """Saved configs in the order of their numbers."""
    found = [path for path in (run / FOLDER).glob("*.yaml") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]))
