"""COCO's `instances` JSON and a folder of images -> `Annotations`: what the sharder reads.

A bbox is x, y, width, height in px from the image's corner. It becomes edges, clipped to the image. Areas stay those of
the JSON: they are the segmentation's, and evaluation sorts objects by them. Segmentations are ignored.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from data.records import Annotations, Findings
from data.sources.parsing.coco_json import Category, Image, Instances, read_instances
from data.sources.rules.choose import Choice
from data.sources.rules.collect import Found, Picture, collect
from data.sources.rules.files import is_file, nfc, without_suffix
from data.sources.rules.objects import Objects
from data.wording import NUM_LISTED

TITLE = "COCO instances JSON and images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="the folder with annotations/instances_SPLIT.json and SPLIT")
    parser.add_argument(
        "--split",
        required=True,
        help="train2017,... ; JSON:FOLDER, both under ROOT, for files in other places; or a folder below ROOT with "
        "_annotations.coco.json",
    )


def read(options: argparse.Namespace, choice: Choice) -> Annotations:
    return read_coco(options.root, options.split.split(","), choice)


def read_coco(root: Path, splits: Sequence[str], choice: Choice | None = None) -> Annotations:
    """A split is "val2017" for root/annotations/instances_val2017.json and root/val2017 (or root/images/val2017, or
    root/images), "JSON:FOLDER", both under root, or a folder of images with _annotations.coco.json.

    Classes are all categories in order of id, except those that only group others. Several files become one set:
    categories with the same name are the same, and repeated image ids are numbered anew.
    """
    findings = Findings()
    sources = [_files(root, split) for split in splits]
    read = [read_instances(path) for path, _ in sources]
    categories = _merged([path for path, _ in sources], read, findings)
    label_of = {category.name: label for label, category in enumerate(categories)}
    pictures: list[Picture] = []
    objects = Objects.of_rows(())
    source_ids: dict[str, dict[str, str]] = {"images": {}, "categories": {}}
    taken: set[int] = set()
    for (path, folders), instances in zip(sources, read, strict=True):
        numbers = _image_numbers(path, instances, taken, findings, source_ids)
        labels = np.array([label_of.get(one.name, -1) for one in instances.categories], np.int32)
        instances.objects.picture += np.int32(len(pictures))
        instances.objects.label = labels[instances.objects.label]
        objects.extend(instances.objects)
        pictures += _pictures(path, instances.images, numbers, folders)
        instances.images.clear()
        source_ids["categories"] |= {str(number): word for number, word in instances.words["categories"].items()}
    return collect(
        Found(
            source=" ".join(["coco", *splits]),
            root=root if len(sources) > 1 else sources[0][0],
            classes=[category.name for category in categories],
            category_ids=[category.id for category in categories],
            all_classes=True,
            pictures=pictures,
            objects=objects,
            noun="annotation",
            findings=findings,
            source_ids={table: words for table, words in source_ids.items() if words},
        ),
        choice or Choice(),
    )


# ------------------------------------------------------------------------------------------------------------- files


def _files(root: Path, split: str) -> tuple[Path, list[Path]]:
    """The JSON, and the folders that may hold its images."""
    name, _, images = split.partition(":")
    if name.endswith(".json"):
        path = root / name
        folders = [root / images] if images else [path.parent, path.parent / "images", root / "images", root]
    else:
        places = (f"annotations/instances_{split}.json", f"{split}/_annotations.coco.json", f"annotations/{split}.json")
        path = next((root / place for place in places if (root / place).is_file()), root / places[0])
        folders = [root / split, root / "images" / split, root / "images", root]
    if not path.is_file():
        there = ", ".join(str(other.relative_to(root)) for other in sorted(root.glob("**/*.json"))[:NUM_LISTED])
        raise ValueError(
            f"{path}: expected instances in JSON, found no such file; {root} holds {there or 'no JSON'}; name "
            "a split val2017, JSON:FOLDER with the images in FOLDER, or a folder with _annotations.coco.json"
        )
    return path, [folder for folder in folders if folder.is_dir()] or folders[:1]


def _pictures(
    path: Path, images: Sequence[Image], numbers: Sequence[int], folders: Sequence[Path]
) -> Iterator[Picture]:
    folder = next((folder for folder in folders if is_file(folder / images[0].file_name)), folders[0])
    others: dict[str, Path] | None = None
    for image, number in zip(images, numbers, strict=True):
        file = folder / image.file_name
        if not is_file(file):  # perhaps with its ending in another case, or another Unicode form
            if others is None:
                there = (other for other in folder.rglob("*") if not other.is_dir())
                others = {_alike(other.relative_to(folder).as_posix()): other for other in there}
            file = others.get(_alike(image.file_name), file)
        name = nfc(without_suffix(image.file_name))
        yield Picture(name, str(number), str(file), image.width, image.height, path)


def _alike(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return nfc(name.removesuffix(suffix)) + suffix.lower()


# ------------------------------------------------------------------------------------------------- several files as one


def _merged(paths: Sequence[Path], read: Sequence[Instances], findings: Findings) -> list[Category]:
    """The classes of all files, in order of id; the first file with a class decides its id."""
    merged: dict[str, Category] = {}
    for path, instances in zip(paths, read, strict=True):
        mine = _distinct(path, instances, findings)
        anew = [category for category in mine if merged.get(category.name, category).id != category.id]
        for category in mine:
            if category.name not in merged:
                ids = {other.id for other in merged.values()}
                number = category.id if category.id not in ids else max(ids) + 1
                anew += [category] if number != category.id else []
                merged[category.name] = category._replace(id=number)
        what = "categories with another id in the first file (matched by name)"
        findings.add(what, [f"{category.name} ({category.id} in {path.name})" for category in anew])
    return sorted(merged.values())


def _distinct(path: Path, instances: Instances, findings: Findings) -> list[Category]:
    """Categories, without those that have no objects and only group others or repeat another's name."""
    counts = np.bincount(instances.objects.label, minlength=len(instances.categories)).tolist()
    groups = {category.group for category in instances.categories if category.group != category.name}
    kept: dict[str, Category] = {}
    grouping = []
    by_use = sorted(zip(counts, instances.categories, strict=True), key=lambda pair: -pair[0])
    for count, category in by_use:
        if not count and not category.group and category.name in groups:
            grouping.append(f"{category.name} ({path.name})")
        elif category.name in kept:
            if count:
                raise ValueError(f"{path}: expected each category name once, found {category.name} again; rename one")
            grouping.append(f"{category.name} ({path.name})")
        else:
            kept[category.name] = category
    findings.add("categories without objects that group others or repeat a name (not used as classes)", grouping)
    return sorted(kept.values())


def _image_numbers(
    path: Path, instances: Instances, taken: set[int], findings: Findings, source_ids: dict[str, dict[str, str]]
) -> list[int]:
    """Ids for result files: those of the JSON, unless an earlier file has some already."""
    numbers = [image.id for image in instances.images]
    words = instances.words["images"]
    again = taken & set(numbers)
    if again:
        first = max(taken) + 1
        numbers = list(range(first, first + len(numbers)))
        words = {
            number: f"{words.get(image.id, image.id)} of {path.name}"
            for number, image in zip(numbers, instances.images, strict=True)
        }
        what = f"image ids of {path.name} that an earlier file has (all of its ids are numbered anew, from {first})"
        findings.add(what, sorted(again))
    source_ids["images"] |= {str(number): str(word) for number, word in words.items()}
    taken |= set(numbers)
    return numbers
