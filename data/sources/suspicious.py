"""Boxes and names that can hardly have been meant as they are written: counted, with examples, never corrected."""

import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from data.records import NUM_EXAMPLES, Findings

MOST_CUT = 0.1  # of a box, at the border of its image
ROUNDING_PX = 1.0  # that an edge may lie outside of its image


def look_at_boxes(
    findings: Findings,
    given_xyxy_px: NDArray[np.float64],
    boxes_xyxy_px: NDArray[np.float64],
    place: Callable[[int], str],
) -> None:
    """given: [N, 4] as written, boxes: clipped to the image. place: where box i stands."""
    if not len(boxes_xyxy_px):
        return

    def add(what: str, rows: NDArray[np.int64]) -> None:
        findings.add(what, [place(int(row)) for row in rows[:NUM_EXAMPLES]], len(rows))

    if given_xyxy_px.max() <= 1:
        add("boxes within 0..1, all of the set (fractions of the image, not px?)", np.arange(len(boxes_xyxy_px)))
        return
    with np.errstate(over="ignore", invalid="ignore"):
        whole = (given_xyxy_px[:, 2:] - given_xyxy_px[:, :2]).prod(1)
    lost = 1 - (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).prod(1) / whole
    beyond_px = np.abs(given_xyxy_px - boxes_xyxy_px).max(1)
    cut = np.flatnonzero(~(lost <= MOST_CUT) & (beyond_px > ROUNDING_PX))
    if len(cut):
        mean, count = float(np.nan_to_num(lost[cut], nan=1).mean()), len(boxes_xyxy_px)
        what = f"boxes of {count:,} that lose more than a tenth at the border of their image, {mean:.0%} on average"
        add(f"{what} (corners given as sizes? another unit than px?)", cut)


def look_at_names(findings: Findings, classes: Sequence[str]) -> None:
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(re.sub(r"[\s_]+", "", unicodedata.normalize("NFKC", name)).casefold(), []).append(name)
    groups = [" / ".join(map(repr, names)) for names in alike.values() if len(names) > 1]
    findings.add("class names that differ only in case, blanks or Unicode form", groups)
