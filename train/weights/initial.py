"""Initial weights of a run: the same bytes on every process, and a report on which were used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.files import sha256
from launch.processes.environment import Environment
from train.model import YOLOv2
from train.run.checkpoint_files import has_checkpoints
from train.weights.locate import local_file, without_query
from train.weights.transfer import transfer


def load_initial_weights(
    source: str,
    model: YOLOv2,
    network: Mapping[str, Any],
    checkpoints: Path,
    env: Environment,
    cache: str | None = None,
) -> list[str]:
    """Fills the model from any `weights=`, unless the run has checkpoints. Returns the convolutions it did not fill.

    cache: folder for downloads. ValueError if a process finds other bytes than rank 0.
    """
    if env.on_rank_0(lambda: has_checkpoints(checkpoints)):
        return []
    expected = env.on_rank_0(lambda: sha256(local_file(source, Path(cache) if cache else None)))
    path = local_file(source, Path(cache) if cache else None)
    if sha256(path) != expected:
        raise ValueError(
            f"{path}: expected the bytes that rank 0 read, SHA-256 {expected[:16]}..., found others; copy the same "
            "file to every node, or give its digest: weights=FILE#sha256=..."
        )
    found = transfer(path, model, network)
    env.say(f"weights: {without_query(source)}: {found.summary[0]} (SHA-256 {expected[:16]}...)")
    for line in found.summary[1:]:
        env.say(f"weights: {line}")
    return found.new
