"""python -m train.score RUN|CONFIG.yaml [--sides 288,416,544] [key=value ...]: how good a trained network is on a set.

A run folder brings its config and its best checkpoint; a config file needs weights=FILE (darknet's). Keys are those of
the config: data.val=SHARDS chooses another set, evaluate.side another size. `torchrun -m train.score ...` shares the
work.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from data.loader import Loader, open_shards
from data.staging import Staging, Wanted
from launch.environment import Environment, connect, leave
from train.checkpoint import best, read
from train.config import Config, load
from train.darknet import load_weights
from train.evaluate import Evaluation, Evaluator
from train.loss import build_loss
from train.model import YOLOv2, build_model
from train.step import Step, evaluated_weights


def score(config: Config, checkpoint: Path | None, sides: Sequence[int], env: Environment) -> dict[int, Evaluation]:
    """By side in px. Without a checkpoint the weights are those of `config.weights`."""
    loader = Loader(
        open_shards(config.data.val, config.data.classes, config.data.staging),
        config.data,
        seed=config.seed,
        rank=env.rank,
        world_size=env.world_size,
        device=env.device,
    )
    classes = loader.index.classes
    model = build_model(config.model, len(classes), len(config.anchor_pairs))
    _load(model, config, checkpoint, classes)
    loss = build_loss(config.loss, config.anchor_pairs, len(classes))
    step = Step(config.step, config.schedule, model, loss, env)
    found = {}
    with Staging([Wanted(config.data.val, loader.index, range(len(loader.index.shards)))]):
        for side in sides:
            evaluation = Evaluator(dataclasses.replace(config.evaluate, side=side), loader, env)(step)
            assert evaluation is not None, "nothing asked it to stop"
            found[side] = evaluation
    return found


def _load(model: YOLOv2, config: Config, checkpoint: Path | None, classes: tuple[str, ...]) -> None:
    if checkpoint is None:
        if config.weights is None:
            raise ValueError("expected a run folder or weights=FILE beside a config, found neither; name one")
        load_weights(model, Path(config.weights))
        return
    state = read(checkpoint)
    if tuple(state["network"]["classes"]) != classes:
        raise ValueError(
            f"{checkpoint} was trained on the classes {', '.join(state['network']['classes'])}; the set at "
            f"{config.data.val} holds {', '.join(classes)}; choose a set of the same classes in the same order"
        )
    model.load_state_dict(evaluated_weights(state["step"]))


def table(found: dict[int, Evaluation], classes: Sequence[str]) -> str:
    """Average precision in per cent: a row for each class, a column for each side."""
    width = max(len(name) for name in (*classes, "mAP@.5 (11-point)"))
    lines = [" " * width + "".join(f"{f'{side} px':>10}" for side in found)]
    aps = [evaluation.voc.ap_area for evaluation in found.values()]
    lines += [f"{name:<{width}}" + "".join(f"{100 * ap[row]:10.2f}" for ap in aps) for row, name in enumerate(classes)]
    for name, kind in (("mAP@.5", "map_area"), ("mAP@.5 (11-point)", "map_11point")):
        means = [getattr(evaluation.voc, kind) for evaluation in found.values()]
        lines.append(f"{name:<{width}}" + "".join(f"{100 * mean:10.2f}" for mean in means))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, metavar="RUN|CONFIG", help="a run folder, or a config file")
    parser.add_argument("--sides", help="comma separated, px; default: evaluate.side")
    parser.add_argument("--checkpoint", type=Path, help="instead of the run's best one")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    try:
        is_run = options.target.is_dir()
        config = load(options.target / "config.yaml" if is_run else options.target, options.overrides)
        weights_named = any(override.startswith("weights=") for override in options.overrides)
        checkpoint = options.checkpoint
        if is_run and checkpoint is None and not weights_named:
            checkpoint = best(options.target / "checkpoints")
            if checkpoint is None:
                raise ValueError(f"no checkpoint under {options.target / 'checkpoints'}; train the run first")
        sides = [int(side) for side in options.sides.split(",")] if options.sides else [config.evaluate.side]
        with connect() as env:
            found = score(config, checkpoint, sides, env)
            if env.rank == 0:
                print(f"{checkpoint or config.weights} on {config.data.val}")
                print(table(found, open_shards(config.data.val, None, config.data.staging).classes))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
    leave()
