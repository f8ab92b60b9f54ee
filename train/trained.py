"""Loads a trained network: a run folder, a checkpoint in one, or a config with `weights=`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.wording import in_words
from launch.redact import redacted
from train.config import Config, load
from train.model import YOLOv2, build_model
from train.run.checkpoint_files import best, has_checkpoints
from train.weights.locate import local_file
from train.weights.saved import is_darknets, read_checkpoint, read_saved
from train.weights.transfer import transfer


class Trained(NamedTuple):
    model: YOLOv2  # on the host, in training mode
    classes: tuple[str, ...]


def find_trained(target: Path, overrides: Sequence[str]) -> tuple[Config, Path]:
    """The config and its file of weights. ValueError if either is missing.

    target: a run folder (its best checkpoint), RUN/checkpoints/NAME.pt, or a config, including darknet's .cfg.
    `weights=` among the overrides, a file or an address, takes precedence over a run's checkpoint.
    """
    is_checkpoint, weights_named = target.suffix == ".pt", any(each.startswith("weights=") for each in overrides)
    run = target if target.is_dir() else target.parents[1] if is_checkpoint and len(target.parents) > 1 else None
    if not target.exists():
        raise ValueError(f"no {target}: expected the folder of a run, a checkpoint in it, or a config")
    if run and not (run / "config.yaml").is_file():
        raise ValueError(f"{run}: expected the folder of a run, which has a config.yaml")
    config = load(run / "config.yaml" if run else target, overrides, opens_sets=False)
    if is_checkpoint and not weights_named:
        return config, target
    if run and not weights_named:
        checkpoint = best(run / "checkpoints", read_checkpoint)
        if checkpoint is None:
            if has_checkpoints(run / "checkpoints"):
                raise ValueError(f"no whole checkpoint under {run / 'checkpoints'}; put an intact copy there")
            raise ValueError(f"no checkpoint under {run / 'checkpoints'}; train the run first")
        return config, checkpoint
    if config.weights is None:
        raise ValueError("expected a run folder or a config with weights=FILE, found neither; name one")
    return config, local_file(config.weights, Path(config.data.staging) if config.data.staging else None)


def load_trained(config: Config, path: Path, classes: Sequence[str] | None = None) -> Trained:
    """Loads a network. classes: of the set to run it on, if any; a checkpoint's must be the same."""
    saved = None if is_darknets(path) else read_saved(path)
    known = tuple(saved.network.get("classes", ())) if saved else ()
    if known and classes is not None and known != tuple(classes):
        raise ValueError(
            f"{path} was trained on the classes {in_words(known)}; the set at {redacted(config.data.val)} holds "
            f"{in_words(classes)}; choose a set of the same classes in the same order"
        )
    if known and config.data.classes not in (None, list(known)):
        raise ValueError(
            f"{path} was trained on the classes {in_words(known)}; data.classes says {in_words(config.data.classes)}; "
            "leave data.classes out, or name the run of these weights"
        )
    names = known or tuple(classes or config.data.classes or ())
    if not names:
        raise ValueError(f"{path} does not say what its classes are; name them: data.classes=[person,bicycle,...]")
    model = build_model(config.model, len(names), len(config.anchor_pairs))
    transferred = transfer(path, model, config.network(names), saved)
    if transferred.new:
        raise ValueError(
            f"{path}: expected numbers for every convolution, found none that fit {', '.join(transferred.new)}"
            + f" ({'; '.join(transferred.notes)})" * bool(transferred.notes)
            + "; check variant, width, classes and anchors"
        )
    return Trained(model, names)
