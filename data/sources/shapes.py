"""Drawn pictures with exact boxes, as a VOCdevkit: `python -m data.sources.shapes ROOT --train 1000 --val 200`.

They stand in for photographs wherever a run must be quick and need no download. A picture is a function of
(seed, number, classes) alone, so a set has the same bytes however many processes draw it.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from data.files import locked_folder, write_whole
from data.parallel import cores, in_parallel
from data.randomness import Purpose, generator
from data.sources.drawn_picture import CLASSES, draw
from launch.command import run

DRAWN = "Drawn shapes"  # the database in every annotation
CHUNK = 16  # pictures that a process draws at a time


def _write(number: int, folder: Path, seed: int, classes: Sequence[str]) -> None:
    rng = generator(Purpose.PICTURE, seed, number)
    image, shapes = draw(rng, classes)
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    (folder / "JPEGImages" / f"{number:06d}.jpg").write_bytes(encoded.tobytes())
    lines = [
        f"<folder>{folder.name}</folder><filename>{number:06d}.jpg</filename>",
        f"<source><database>{DRAWN}, seed {seed}</database></source>",
        f"<size><width>{image.shape[1]}</width><height>{image.shape[0]}</height><depth>3</depth></size>",
        "<segmented>0</segmented>",
    ]
    for shape in shapes:
        flags = f"<truncated>{int(shape.inside < 1)}</truncated><difficult>{int(shape.difficult)}</difficult>"
        tags = zip(("xmin", "ymin", "xmax", "ymax"), shape.box, strict=True)
        corners = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        lines.append(
            f"<object><name>{shape.name}</name><pose>Unspecified</pose>{flags}<bndbox>{corners}</bndbox></object>"
        )
    xml = "\n\t".join(["<annotation>", *lines]) + "\n</annotation>\n"
    (folder / "Annotations" / f"{number:06d}.xml").write_text(xml, encoding="utf-8")


def draw_voc(
    root: Path, *, train: int, val: int, seed: int = 0, classes: Sequence[str] = CLASSES, num_workers: int | None = None
) -> None:
    """root/VOC2007 with the image sets train and val, written last: a set that has both is complete."""
    if train < 1 or val < 0 or seed < 0:
        raise ValueError(f"expected train >= 1, val >= 0, seed >= 0; found {train}, {val}, {seed}; correct them")
    if not classes or (unknown := sorted(set(classes) - set(CLASSES))):
        shown = ", ".join(unknown) if classes else "none"
        raise ValueError(f"expected classes among {', '.join(CLASSES)}; found {shown}; choose from these")
    folder = root / "VOC2007"
    sets = folder / "ImageSets" / "Main"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with locked_folder(folder, "is drawing pictures"):
        if is_drawn(root):
            raise ValueError(f"{sets}: expected no finished set, found one; remove it or choose another folder")
        _refuse_others(folder)
        numbers = range(1, train + val + 1)
        chunks = [
            (numbers[first : first + CHUNK], folder, seed, tuple(classes)) for first in range(0, len(numbers), CHUNK)
        ]
        in_parallel(_write_some, chunks, num_workers or min(cores(), math.ceil(len(numbers) / 64)), "drawing")
        for name, part in (("train", numbers[:train]), ("val", numbers[train:])):
            write_whole(sets / f"{name}.txt", "".join(f"{number:06d}\n" for number in part))


def _refuse_others(folder: Path) -> None:
    """ValueError if the folder holds annotations that were not drawn, such as VOC's own: pictures would be lost."""
    for path in sorted((folder / "Annotations").glob("*.xml")):
        text = path.read_bytes()
        if b"</annotation>" in text and DRAWN.encode() not in text:  # a drawn one may be cut off by a kill
            raise ValueError(f"{path}: expected only drawn pictures in {folder}, found another; choose another folder")


def is_drawn(root: Path) -> bool:
    return all((root / "VOC2007" / "ImageSets" / "Main" / f"{name}.txt").exists() for name in ("train", "val"))


def _write_some(numbers: Sequence[int], folder: Path, seed: int, classes: Sequence[str]) -> None:
    for number in numbers:
        _write(number, folder, seed, classes)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.sources.shapes", description="Draw a VOC set of simple shapes."
    )
    parser.add_argument("root", type=Path, help="folder to hold VOC2007")
    parser.add_argument("--train", type=int, default=1000, help="pictures in the image set train")
    parser.add_argument("--val", type=int, default=200, help="pictures in the image set val")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    draw_voc(options.root, train=options.train, val=options.val, seed=options.seed)


if __name__ == "__main__":
    sys.exit(run(main))
