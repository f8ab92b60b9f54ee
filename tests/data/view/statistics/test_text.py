"""The table: of a set small enough to know by heart."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from data.shards.index import ShardIndex
from data.view.statistics.measure import measure
from data.view.statistics.text import table
from tests.data.pictures import black_images

SUFFIXES = ("px", "image", "320", "input", "height")  # of the rows that hold quantiles
ANCHORS = np.array([[1.0, 1.0], [4.0, 4.0]])  # cells


def test_the_table_says_what_there_is(four_images: ShardIndex) -> None:
    lines = table(measure(four_images, 320, "letterbox", ANCHORS)).splitlines()
    cells = {line.split("  ")[0]: line.split() for line in lines if line}
    assert lines[0] == f"{four_images.folder}, from black images"
    assert cells["cat"][1:] == ["3", "4", "3", "0", "1"]  # images with it, objects, trained, difficult, crowd
    assert cells["dog"][1:] == ["1", "2", "1", "1", "0"]
    assert cells["owl"][1:] == ["0"] * 5
    assert cells["of 3 classes"][3:] == ["4", "6", "4", "1", "1"]
    quantiles = {name: [float(word) for word in row[-7:]] for name, row in cells.items() if name.endswith(SUFFIXES)}
    assert quantiles["image width, px"] == [160, 165, 208, 320, 320, 320, 320]
    assert quantiles["trained objects on an image"] == [0, 0, 0, 1, 2, 2, 2]
    assert quantiles["box width, px of the image"][::3] == [32, 112, 200]
    assert quantiles["box height, px of 320"][::3] == [32, 82, 320]
    assert quantiles["box height, of the input"][::3] == [0.1, 0.256, 1]
    assert quantiles["box width / height"][::3] == [0.5, 1, 2]
    assert cells["images without objects"][3:] == ["1", "(25.0%)"]
    assert "320x160 (75.0%), 160x320 (25.0%)" in "\n".join(lines)
    assert cells["image files"][-2:] == ["4", "JPEG"]
    sizes = next(line for line in lines if line.startswith("objects by size"))
    assert sizes.endswith("small (< 32x32 px) 25.0%, medium 25.0%, large (> 96x96 px) 50.0%")


def test_anchors_are_weighed(tmp_path: Path) -> None:
    """Boxes of 1x1, 2x1 and 4x4 cells: IoU 1, 1/2 and 1."""
    boxes = [((0, 0, 32, 32), 0, ""), ((100, 0, 164, 32), 0, ""), ((100, 100, 228, 228), 0, "")]
    text = table(measure(black_images(tmp_path, [(320, 320, boxes)]), 320, "stretch", ANCHORS))
    rows = {line[:28].strip(): line[28:] for line in text.splitlines()}
    assert rows["average IoU with anchors"] == "83.3%"
    assert rows["1.00 x 1.00 cells"] == "nearest to 2 (66.7%), average IoU 75.0%"
    assert rows["4.00 x 4.00 cells"] == "nearest to 1 (33.3%), average IoU 100.0%"


def test_image_files_are_looked_into(tmp_path: Path) -> None:
    black = Image.new("RGB", (64, 32))
    turned = Image.Exif()
    turned[0x0112] = 6
    options: list[dict[str, object]] = [{"progressive": True}, {"exif": turned}, {"format": "PNG"}]
    files = {}
    for number, option in enumerate(options):
        file = io.BytesIO()
        black.save(file, **{"format": "JPEG"} | option)  # type: ignore[arg-type]
        files[number] = file.getvalue()
    file = io.BytesIO()
    black.convert("L").save(file, format="JPEG")
    files[3] = file.getvalue()
    index = black_images(tmp_path, [(64, 32, [])] * 5, files=files)
    text = table(measure(index, 64, "letterbox", None))
    kinds = text.partition("image files")[2].partition("of 5: ")[2].splitlines()[0]
    assert sorted(kinds.split(", ")) == [
        "1 PNG",
        "1 grey",
        "1 progressive (slow to decode)",
        "1 turned by EXIF (boxes refer to stored pixels)",
        "4 JPEG",
    ]


def test_an_unreadable_image_is_counted_not_fatal(four_images: ShardIndex) -> None:
    shard = four_images.folder / four_images.shards[0].name
    data = bytearray(shard.read_bytes())
    data[int(four_images.arrays["image_offsets"][0])] ^= 0xFF
    shard.write_bytes(data)
    assert "3 JPEG" in table(measure(four_images, 320, "letterbox", None))
    assert "1 unreadable" in table(measure(four_images, 320, "letterbox", None))


def test_a_set_without_trained_objects_has_a_table(tmp_path: Path) -> None:
    stats = measure(black_images(tmp_path, [(64, 64, [((0, 0, 64, 64), 0, "difficult")])]), 64, "letterbox", ANCHORS)
    assert "of 3 classes" in table(stats) and "average IoU" not in table(stats)


def test_large_images_have_their_price(four_images: ShardIndex) -> None:
    assert "large images" not in table(measure(four_images, 96, "letterbox", None))
    sizes = {name: four_images.arrays[name].copy() for name in ("widths", "heights")}
    sizes["widths"][0], sizes["heights"][0] = 4000, 3000
    large = replace(four_images, arrays=four_images.arrays | sizes)
    (line,) = (line for line in table(measure(large, 96, "letterbox", None)).splitlines() if "large images" in line)
    assert "1 (25.0%) have a side of more than 1,216 px: made with --max-side 1216, 10% of the pixels" in line
    assert line.endswith("some 9.8 ms less an image")
