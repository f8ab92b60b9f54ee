"""Chooses images, objects and classes of a source: the same options for every annotation format."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.randomness import Purpose, random_bits
from data.sources.rules.files import nfc
from data.wording import is_class_name


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The user's choice of images and objects of a source."""

    classes: Sequence[str] | None = None  #: in the order of the network's outputs; None: all
    keep_others: bool = False  #: keep images that show only other classes
    count: int | None = None  #: only this many images, as if at random but always the same; fewer are a subset of more
    hold_out: float | None = None  #: leave out this fraction of the images, by a hash of the name
    held_out: float | None = None  #: take only what hold_out leaves out
    drop_degenerate: bool = False  #: leave out boxes without area instead of refusing them


def fraction_of(name: str) -> float:
    """0..1, as if at random but fixed for a name: when a set grows, its parts keep their images."""
    return int.from_bytes(hashlib.sha256(nfc(name).encode(errors="surrogateescape")).digest()[:8]) / 2**64


def chosen_classes(choice: Choice, known: Sequence[str], where: object, *, all_listed: bool) -> list[str]:
    """The classes to use. known: those of the source; all_listed: it has no others. where: its name in messages."""
    if odd := [name for name in known if not is_class_name(name)]:
        raise ValueError(f"{where}: expected printable class names, found {odd[0][:80]!r}; correct it")
    if choice.classes is None:
        return list(known)
    classes = [nfc(name) for name in choice.classes]
    wrong = [name for name in classes if (all_listed and name not in known) or classes.count(name) > 1]
    if known and not set(classes) & set(known):
        wrong = wrong or classes
    if wrong:
        there = ", ".join(known)
        raise ValueError(f"{where}: expected --classes from {there[:500]}, each once; found {wrong[0]}; correct it")
    return classes


def chosen_rows(
    choice: Choice, names: Sequence[str], owners: NDArray[Any], chosen: NDArray[np.bool_], where: object
) -> NDArray[np.int64]:
    """Numbers of the images to keep. owners: [M] image of each object; chosen: [M] whether its class is wanted."""
    keep = np.ones(len(names), np.bool_)
    if choice.hold_out is not None and choice.held_out is not None:
        raise ValueError("expected --hold-out or --held-out, found both; leave one out")
    for part, held in ((choice.hold_out, False), (choice.held_out, True)):
        if part is not None:
            if not 0 < part < 1:
                raise ValueError(f"expected a fraction between 0 and 1 to hold out, found {part:g}; correct it")
            keep &= [(fraction_of(name) >= 1 - part) == held for name in names]
    if not choice.keep_others:
        shown, wanted = (np.bincount(some, minlength=len(names)) for some in (owners, owners[chosen]))
        keep &= (shown == 0) | (wanted > 0)
    rows = np.flatnonzero(keep)
    if choice.count is not None:
        if not 0 < choice.count <= len(rows):
            raise ValueError(
                f"{where}: expected --count from 1 to {len(rows)}, the number of images; found {choice.count}"
            )
        drawn = np.argsort(random_bits(len(rows), Purpose.WRITING, 0), kind="stable")[: choice.count]
        rows = rows[np.sort(drawn)]
    if not len(rows):
        raise ValueError(
            f"{where}: expected images, found none of {len(names)} left by --classes, --val and --hold-out; correct it"
        )
    return rows
