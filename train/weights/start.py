"""First weights of a run: the same bytes on every process, and a report on which were used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.files import sha256
from launch.processes.environment import Environment
from train.model import YOLOv2
from train.weights.locate import local_file, shown
from train.weights.transfer import transfer


def has_checkpoints(folder: Path) -> bool:
    """Whether there are any, whole or damaged: the run restores one, or says why it cannot."""
    return any(folder.glob("*.pt"))


def start_from(
    source: str,
    model: YOLOv2,
    network: Mapping[str, Any],
    checkpoints: Path,
    env: Environment,
    cache: str | None = None,
) -> list[str]:
    """Fills the model from any `weights=`, unless the run has checkpoints.

    cache: folder for downloads. ValueError if a process finds other bytes than rank 0. Returns the
    names of the convolutions that are new.
    """
    if env.first(lambda: has_checkpoints(checkpoints)):
        return []
    expected = env.first(lambda: sha256(local_file(source, Path(cache) if cache else None)))
    path = local_file(source, Path(cache) if cache else None)
    if sha256(path) != expected:
        raise ValueError(
            f"{path}: expected the bytes that rank 0 read, SHA-256 {expected[:16]}..., found others; copy the same "
            "file to every node, or give its digest: weights=FILE#sha256=..."
        )
    taken = transfer(path, model, network)
    env.say(f"weights: {shown(source)}: {taken.summary[0]} (SHA-256 {expected[:16]}...)")
    for line in taken.summary[1:]:
        env.say(f"weights: {line}")
    return taken.new
