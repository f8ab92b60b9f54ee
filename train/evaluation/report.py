"""Scores of one network on one set, at several sides: as tables for people, as JSON, as curves. No network here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.shards.index import ShardIndex
from data.view.charts import curves, page
from train.evaluation.coco import NAMES, CocoScores
from train.evaluation.errors import KINDS, Errors
from train.evaluation.voc import CURVE_RECALLS, SCORES, Detections, VocScores

SIZES = ("small", "medium", "large")


class Scored(NamedTuple):
    """At one side of the input."""

    voc: VocScores
    coco: CocoScores  # whatever protocol the set is from
    errors: Errors
    found: Detections  # images are samples of the index


def as_json(index: ShardIndex, found: Mapping[int, Scored]) -> dict[str, Any]:
    """All numbers, 0..1; null where there is nothing to find."""
    return {str(side): _side_as_json(index, each) for side, each in found.items()}


def _side_as_json(index: ShardIndex, scored: Scored) -> dict[str, Any]:
    voc, coco, errors, _ = scored
    at_best = voc.f1_SC.argmax(0)
    classes = {
        name: {
            "objects": int(voc.num_truths[label]),
            "AP@.5": _known(voc.ap_area[label]),
            "AP@.5 (11-point)": _known(voc.ap_11point[label]),
            "AP@[.5:.95]": _known(coco.ap_AC[0, label]),
            **{f"AP@[.5:.95] {size}": _known(coco.ap_AC[place, label]) for place, size in enumerate(SIZES, 1)},
            "best F1": float(voc.f1_SC[at_best[label], label]),
            "at score": float(SCORES[at_best[label]]),
            "errors": dict(zip(KINDS, errors.counts_KC[:, label].tolist(), strict=True)),
            "precision at recall 0, .01 .. 1": [_known(value) for value in voc.envelope_RC[:, label]],
        }
        for label, name in enumerate(index.classes)
    }
    return {
        "mAP@.5": voc.map_area,
        "mAP@.5 (11-point)": voc.map_11point,
        "COCO": {name: _known(value) for name, value in zip(NAMES, coco.twelve, strict=True)},
        "errors cost": dict(zip(KINDS, errors.cost_K.tolist(), strict=True)),
        "errors": dict(zip(KINDS, errors.counts_KC.sum(1).tolist(), strict=True)),
        "classes": classes,
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def tables(index: ShardIndex, found: Mapping[int, Scored]) -> str:
    """For people: in per cent, `-` where there is nothing to find."""
    return "\n\n".join([_means(found), *(_classes(index, side, each) for side, each in found.items()), _errors(found)])


def _means(found: Mapping[int, Scored]) -> str:
    columns = ("mAP@.5", "11-point", "AP@[.5:.95]", "AP@.75", *SIZES, "AR@100")
    coco = [NAMES.index(name) for name in ("AP", "AP75", "APs", "APm", "APl", "AR100")]
    rows = {
        f"{side} px": [each.voc.map_area, each.voc.map_11point, *each.coco.twelve[coco]] for side, each in found.items()
    }
    return _table("", columns, {name: [_percent(value) for value in values] for name, values in rows.items()})


def _classes(index: ShardIndex, side: int, scored: Scored) -> str:
    voc, coco = scored.voc, scored.coco
    at_best = voc.f1_SC.argmax(0)
    rows = {}
    for label, name in enumerate(index.classes):
        aps = [voc.ap_area[label], voc.ap_11point[label], *coco.ap_AC[:, label]]
        f1 = [_percent(voc.f1_SC[at_best[label], label]), f"{SCORES[at_best[label]]:.2f}"]
        rows[name] = [f"{voc.num_truths[label]:,}", *map(_percent, aps), *(f1 if voc.num_truths[label] else "--")]
    columns = ("objects", "AP@.5", "11-point", "AP@[.5:.95]", *SIZES, "best F1", "at score")
    return _table(f"{side} px", columns, rows)


def _errors(found: Mapping[int, Scored]) -> str:
    rows = {}
    for kind, name in enumerate(KINDS):
        cells = [(each.errors.cost_K[kind], each.errors.counts_KC[kind].sum()) for each in found.values()]
        rows[name] = [f"{_percent(cost)} ({count:,})" for cost, count in cells]
    return _table("mAP@.5 lost (errors)", [f"{side} px" for side in found], rows)


def _table(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    first = max(map(len, (corner, *rows)))
    widths = [max(map(len, column)) for column in zip(columns, *rows.values(), strict=True)]
    lines = [(corner, columns), *rows.items()]
    return "\n".join(
        f"{name:<{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in lines
    )


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.2f}"


def write_curves(path: Path, index: ShardIndex, found: Mapping[int, Scored]) -> None:
    """Precision over recall at IoU .5: the mean of all classes, then each that has objects; a line for each side."""
    present = np.flatnonzero(next(iter(found.values())).voc.num_truths)
    charts = [_curves("all classes", found, present)]
    charts += [_curves(index.classes[label], found, present[present == label]) for label in present]
    page(f"Precision over recall at IoU .5: {index.source}, {index.num_samples:,} images", charts).save(path)


def _curves(title: str, found: Mapping[int, Scored], labels: NDArray[np.int64]) -> Image.Image:
    lines = {
        f"{side} px: AP {_percent(each.voc.ap_area[labels].mean())}": each.voc.envelope_RC[:, labels].mean(1)
        for side, each in found.items()
    }
    return curves(title, CURVE_RECALLS, lines, across="recall", down="precision")
