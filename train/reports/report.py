"""Scores of one network on one set, at several sizes: as tables and as JSON. Runs no network."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.shards.index import ShardIndex
from train.evaluation.evaluator import Evaluation
from train.evaluation.scores.coco import NAMES, SIZES
from train.reports.calibration import Calibration
from train.reports.errors import KINDS, Errors

#: Short headings for names in `Evaluation`; None: in the JSON alone. Other names are their own headings.
MEANS: dict[str, str | None] = {
    "mAP/voc_area": "mAP@.5",
    "mAP/voc_11point": "11-point",
    "mAP/coco": "AP@[.5:.95]",
    **{f"coco/{name}": None for name in NAMES},
    "coco/AP75": "AP@.75",
    **{f"coco/AP{size[0]}": size for size in SIZES},
    "coco/AR100": "AR@100",
    "val/loss": "loss",
    **{f"val/{name}": None for name in ("Avg IOU", "Class", "Obj", "No Obj", "Avg Recall")},
}
OF_CLASSES = {"AP@.5 (11-point)": "11-point", **{f"AP@[.5:.95] {size}": size for size in SIZES}}
AS_THEY_ARE = ("at score", "loss")  # not shown as fractions, unlike the rest


class Scored(NamedTuple):
    """Scores at one size of the input, by all protocols."""

    evaluation: Evaluation
    errors: Errors
    calibration: Calibration


def as_json(index: ShardIndex, scored: Mapping[str, Scored]) -> dict[str, Any]:
    """Numbers as JSON, 0..1; null if there is nothing to find."""
    return {size: _size_as_json(index, each) for size, each in scored.items()}


def _size_as_json(index: ShardIndex, scored: Scored) -> dict[str, Any]:
    evaluation, errors, calibration = scored
    means, voc = dict(evaluation.means()), evaluation.voc
    classes = {
        name: {
            "objects": int(voc.num_truths[label]),
            **{of_class: _known(values_C[label]) for of_class, values_C in evaluation.of_classes()},
            "errors": dict(zip(KINDS, errors.counts_KC[:, label].tolist(), strict=True)),
            "precision at recall 0, .01 .. 1": [_known(value) for value in voc.envelope_RC[:, label]],
        }
        for label, name in enumerate(index.classes)
    }
    return {
        "mAP@.5": _known(voc.map_area),
        "mAP@.5 (11-point)": _known(voc.map_11point),
        "COCO": {name: _known(means[f"coco/{name}"]) for name in NAMES},
        "means": {name: _known(value) for name, value in means.items()},
        "expected calibration error": _known(calibration.error),
        "reliability": [
            {"detections": count, "mean score": _known(score), "precision": _known(precision)}
            for count, score, precision in zip(*map(np.ndarray.tolist, calibration), strict=True)
        ],
        "confusion (rows: is, columns: detected as, last: background)": _listed(evaluation.confusion),
        "errors cost": dict(zip(KINDS, errors.cost_K.tolist(), strict=True)),
        "errors": dict(zip(KINDS, errors.counts_KC.sum(1).tolist(), strict=True)),
        "classes": classes,
    }


def _listed(counts: NDArray[np.int64] | None) -> list[list[int]] | None:
    return None if counts is None else counts.tolist()


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def tables(index: ShardIndex, scored: Mapping[str, Scored]) -> str:
    """Tables of fractions; `-` if there is nothing to find."""
    of_classes = [_classes(index, size, each.evaluation) for size, each in scored.items()]
    return "\n\n".join([_means(scored), *of_classes, _errors(scored)])


def _means(scored: Mapping[str, Scored]) -> str:
    rows = {}
    for size, each in scored.items():
        headed = {MEANS.get(name, name): value for name, value in each.evaluation.means()}
        headed["ECE"] = each.calibration.error
        rows[f"{size} px"] = {
            heading: _cell(heading, value) for heading, value in headed.items() if heading is not None
        }
    columns = list(next(iter(rows.values())))
    return _table("", columns, {name: list(cells.values()) for name, cells in rows.items()})


def _classes(index: ShardIndex, size: str, evaluation: Evaluation) -> str:
    columns = {OF_CLASSES.get(name, name): (name, values_C) for name, values_C in evaluation.of_classes()}
    rows = {
        class_name: [
            f"{evaluation.voc.num_truths[label]:,}",
            *(_cell(name, values_C[label]) for name, values_C in columns.values()),
        ]
        for label, class_name in enumerate(index.classes)
    }
    return _table(f"{size} px", ["objects", *columns], rows)


def _errors(scored: Mapping[str, Scored]) -> str:
    rows = {}
    for kind, name in enumerate(KINDS):
        cells = [(each.errors.cost_K[kind], each.errors.counts_KC[kind].sum()) for each in scored.values()]
        rows[name] = [f"{_fraction(cost)} ({count:,})" for cost, count in cells]
    return _table("mAP@.5 lost (errors)", [f"{size} px" for size in scored], rows)


def _table(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    first = max(map(len, (corner, *rows)))
    widths = [max(map(len, column)) for column in zip(columns, *rows.values(), strict=True)]
    lines = [(corner, columns), *rows.items()]
    return "\n".join(
        f"{name:<{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in lines
    )


def _cell(name: str, value: float) -> str:
    return f"{value:.2f}" if name in AS_THEY_ARE and not np.isnan(value) else _fraction(value)


def _fraction(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.4f}"
