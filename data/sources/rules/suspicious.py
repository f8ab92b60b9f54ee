"""Boxes and names that are hardly what was meant: counted, with examples, never corrected."""

import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from data.records import NUM_EXAMPLES, Findings
from data.sources.rules.objects import slices

MOST_CUT = 0.1  # share of a box, at the border of its image
ROUNDING_PX = 1.0  # by which an edge may lie outside its image
FEWEST, CHANCE = 3, 1e-4  # boxes, and how likely they lie in one corner by chance: below it, in another unit


def inspect_boxes(
    findings: Findings,
    count: int,
    given_xyxy_px: Callable[[slice], NDArray[np.float64]],
    boxes_xyxy_px: Callable[[slice], NDArray[np.float64]],
    place: Callable[[int], str],
    least_side_px: float,
) -> None:
    """Checks boxes. given: some rows of [count, 4] as written; boxes: clipped. place: where box i is written.
    least_side_px: of the images with boxes."""
    largest, cut, num_cut, lost_by_cut = -np.inf, list[int](), 0, 0.0
    for rows in slices(count):
        given, boxes = given_xyxy_px(rows), boxes_xyxy_px(rows)
        largest = max(largest, given.max())
        lost, beyond_px = _lost(given, boxes), np.abs(given - boxes).max(1)
        mine = np.flatnonzero(~(lost <= MOST_CUT) & (beyond_px > ROUNDING_PX))
        cut += (mine[: NUM_EXAMPLES - len(cut)] + rows.start).tolist() if len(cut) < NUM_EXAMPLES else []
        num_cut += len(mine)
        lost_by_cut += float(np.nan_to_num(lost[mine], nan=1).sum())

    def add(what: str, rows: Sequence[int], number: int) -> None:
        findings.add(what, [place(row) for row in rows[:NUM_EXAMPLES]], number)

    if count and largest <= 1:
        add("boxes within 0..1, all boxes of the set (fractions of the image, not px?)", range(count), count)
    elif count >= FEWEST and largest < least_side_px / 2 and (largest / least_side_px) ** (2 * count) < CHANCE:
        what = f"boxes within 0..{largest:g} px of images of at least {least_side_px:,.0f} px, all boxes of the set"
        add(f"{what} (percent or thousandths of the image? px of a smaller copy?)", range(count), count)
    elif cut:
        mean = lost_by_cut / num_cut
        what = f"boxes of {count:,} that lose more than a tenth at the border of their image, {mean:.0%} on average"
        add(f"{what} (corners given as sizes? another unit than px?)", cut, num_cut)


def _lost(given_xyxy_px: NDArray[np.float64], boxes_xyxy_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N] lost share of each area, 0..1."""
    with np.errstate(over="ignore", invalid="ignore"):
        whole = (given_xyxy_px[:, 2:] - given_xyxy_px[:, :2]).prod(1)
    return np.asarray(1 - (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).prod(1) / whole)


def inspect_areas(findings: Findings, areas_px: NDArray[np.float64], place: Callable[[int], str]) -> None:
    """Counts areas of 0, from exporters that do not know them: all boxes left have an area."""
    rows = np.flatnonzero(areas_px == 0)
    what = "objects with an area of 0, though their boxes have one (COCO's evaluation takes them for small)"
    findings.add(what, [place(row) for row in rows[:NUM_EXAMPLES].tolist()], len(rows))


def inspect_names(findings: Findings, classes: Sequence[str], known: Sequence[str]) -> None:
    """Checks names of classes. known: those of the source, of which the user may have chosen some, misspelt."""
    missing = sorted(set(classes) - set(known))
    findings.add("classes of which the source has no object (misspelt?)", [repr(name) for name in missing])
    alike: dict[str, list[str]] = {}
    chosen = set(classes)
    for name in (*classes, *(name for name in known if name not in chosen)):
        alike.setdefault(re.sub(r"[\s_]+", "", unicodedata.normalize("NFKC", name)).casefold(), []).append(name)
    groups = [" / ".join(map(repr, names)) for names in alike.values() if len(names) > 1 and names[0] in chosen]
    findings.add("class names that differ only in case, blanks or Unicode form", groups)
