"""Summarizes a set for the console, with what in it was probably not intended."""

import csv
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from data.records import NUM_EXAMPLES, Findings
from data.shards.index import ShardIndex
from data.shards.read import ShardReader
from data.wording import counted

MAX_COMPARED = 2**28  # bytes of images to read in search of duplicates


def summary(index: ShardIndex, findings: Findings | None = None) -> str:
    """Lines with the counts of a set and of its classes, then the findings."""
    counts = np.bincount(index.arrays["labels"], minlength=len(index.classes))
    marked = ", ".join(f"{index.arrays[name].sum():,} {name}" for name in ("difficult", "crowd"))
    lines = [f"{index.folder}: {counted(index.num_samples, 'image')}, {counted(counts.sum(), 'object')} ({marked})"]
    lines[0] += f" in {counted(len(index.shards), 'shard')}, from {index.source}"
    lines += [f"  {reason} left out: {number:,}" for reason, number in index.dropped.items() if number]
    lines += [f"  {name:<20} {count:>8,}" for name, count in zip(index.classes, counts, strict=True)]
    if findings is not None and (found := findings.lines()):
        lines += ["check these (--strict makes them errors):", *(f"  {line}" for line in found)]
    return "\n".join(lines)


def inspect_set(findings: Findings, index: ShardIndex, truth_slots: int) -> None:
    """Looks for what is wrong in the whole set, and between it and the sets beside it."""
    objects = index.trained_per_image()
    many = np.flatnonzero(objects > truth_slots)
    findings.add(
        f"images with more than the {truth_slots} objects of data.truth_slots (the others are trained as background)",
        [f"{index.image_id(int(sample))} ({objects[sample]})" for sample in many[:NUM_EXAMPLES]],
        len(many),
    )
    if not objects.any():
        findings.add("sets without an object that can be trained on", [str(index.folder)])
    for folder in sorted(index.folder.resolve().parent.iterdir()):
        if _are_apart(folder.name, index.folder.resolve().name) and (folder / "index.json").is_file():
            _inspect_duplicates(findings, index, folder)


def _are_apart(one: str, two: str) -> bool:
    """Whether, by the names, one set is for training and the other for evaluation."""
    training = ["train" in name for name in (one, two)]
    return training[0] != training[1] and bool(re.search("val|test", two if training[0] else one))


def _inspect_duplicates(findings: Findings, index: ShardIndex, folder: Path) -> None:
    try:
        other = ShardIndex.load(folder)
        same = duplicates(index, other)
    except ValueError:  # not a whole set: not this one's concern
        return
    shown = [f"{index.image_id(mine)} = {other.image_id(theirs)}" for mine, theirs in same]
    findings.add(f"images that are, byte for byte, also in {folder.name} beside it", shown)


def duplicates(one: ShardIndex, two: ShardIndex) -> list[tuple[int, int]]:
    """Pairs of samples whose images have the same bytes. Reads only images of equal length and size in px."""
    shape = ("image_bytes", "widths", "heights")
    alike: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for sample, key in enumerate(zip(*(two.arrays[name].tolist() for name in shape), strict=True)):
        alike[key].append(sample)
    found, compared = [], 0
    with ShardReader(one) as ours, ShardReader(two) as theirs:
        for sample, key in enumerate(zip(*(one.arrays[name].tolist() for name in shape), strict=True)):
            if key not in alike or compared > MAX_COMPARED:
                continue
            data = ours.image(sample)
            compared += len(data) * (1 + len(alike[key]))
            found += [(sample, other) for other in alike[key] if theirs.image(other) == data][:1]
    return found


def names_of(text: str | None) -> list[str] | None:
    """Class names from `a,b` or, if one holds a comma, `"a,b",c`."""
    if not text:
        return None
    try:
        return next(csv.reader([text], skipinitialspace=False))
    except csv.Error as error:
        raise ValueError(f"--classes: expected names with commas between them, found {text[:80]!r}: {error}") from None
