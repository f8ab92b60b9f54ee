import dataclasses
import re
import tarfile
import time
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from data.anchors import average_iou, cluster, main, shape_iou, sizes_cells
from data.images.boxes import iou
from data.images.geometry import place_boxes, whole_image
from data.shards.index import ShardIndex
from data.sources.voc import parse_annotation
from data.view.statistics.measure import read_anchors

Sizes = NDArray[np.float64]


def random_sizes(count: int, seed: int = 0) -> Sizes:
    return np.random.default_rng(seed).uniform(0.1, 13, (count, 2))


# --- sizes and their IoU


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_sizes_are_those_of_the_boxes_placed(index: ShardIndex, resize: Literal["letterbox", "stretch"]) -> None:
    expected = []
    for sample in range(index.num_samples):
        placement = whole_image(*index.size_px(sample), 320, resize)
        mine = index.objects(sample)
        boxes_xyxy_px = index.arrays["boxes_xyxy_px"][mine][~index.arrays["difficult"][mine]]
        boxes_xyxy = place_boxes(boxes_xyxy_px.astype(np.float32), placement, 320)
        expected.append((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * 10)  # 320 px are 10 cells
    np.testing.assert_allclose(sizes_cells(index, 320, resize), np.concatenate(expected), atol=1e-4)


def test_a_box_over_a_wide_image(index: ShardIndex) -> None:
    arrays = index.arrays | {"boxes_xyxy_px": index.arrays["boxes_xyxy_px"].copy()}
    arrays["widths"], arrays["heights"] = (np.full(index.num_samples, side, np.int32) for side in (500, 250))
    arrays["boxes_xyxy_px"][0] = 0, 0, 500, 250
    wide = dataclasses.replace(index, arrays=arrays)
    assert sizes_cells(wide, 416, "letterbox")[0].tolist() == [13, 6.5]
    assert sizes_cells(wide, 416, "stretch")[0].tolist() == [13, 13]


def test_difficult_and_crowd_are_left_out(index: ShardIndex) -> None:
    count = len(index.arrays["labels"])
    flags = {name: np.zeros(count, np.bool_) for name in ("difficult", "crowd")}
    flags["difficult"][2], flags["crowd"][5] = True, True
    marked = dataclasses.replace(index, arrays=index.arrays | flags)
    clear = dataclasses.replace(index, arrays=index.arrays | {name: np.zeros(count, np.bool_) for name in flags})
    expected = np.delete(sizes_cells(clear, 416, "letterbox"), [2, 5], axis=0)
    np.testing.assert_array_equal(sizes_cells(marked, 416, "letterbox"), expected)


def test_shape_iou_is_that_of_centred_boxes() -> None:
    sizes, anchors = random_sizes(7), random_sizes(4, 1)
    centred = [np.concatenate([-half, half], axis=1) for half in (sizes / 2, anchors / 2)]
    np.testing.assert_allclose(shape_iou(sizes, anchors), iou(centred[0][:, None], centred[1]), rtol=1e-12)


def test_average_iou_is_with_the_nearest_anchor() -> None:
    assert average_iou(np.array([[1.0, 2], [3, 3]]), np.array([[1.0, 2], [2, 2]])) == (1 + 4 / 9) / 2


# --- clusters


def test_one_cluster_is_the_mean() -> None:
    sizes = random_sizes(5000)
    np.testing.assert_allclose(cluster(sizes, 1), sizes.mean(0)[None], rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_clusters_far_from_each_other_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = np.array([[0.5, 0.5], [1, 4], [6, 1.5], [5, 5], [3, 12]])  # in order of area
    members = [centre * rng.uniform(0.9, 1.1, (20 * number, 2)) for number, centre in enumerate(centres, start=1)]
    sizes = rng.permutation(np.concatenate(members))
    np.testing.assert_allclose(cluster(sizes, 5, seed), [mine.mean(0) for mine in members], rtol=1e-12)


def test_a_size_that_comes_often_weighs_more() -> None:
    sizes = np.array([[1.0, 1]] * 3 + [[2.0, 2]])
    np.testing.assert_allclose(cluster(sizes, 1), [[1.25, 1.25]])


def test_as_many_clusters_as_sizes() -> None:
    sizes = random_sizes(30)
    np.testing.assert_allclose(cluster(sizes, 30), sizes[np.argsort(sizes.prod(1))], rtol=1e-12)


def test_the_same_seed_gives_the_same_clusters() -> None:
    sizes = random_sizes(2000)
    np.testing.assert_array_equal(cluster(sizes, 6, seed=3), cluster(sizes, 6, seed=3))
    np.testing.assert_allclose(cluster(sizes[::-1], 6, seed=3), cluster(sizes, 6, seed=3))
    assert not np.array_equal(cluster(sizes, 6, seed=4), cluster(sizes, 6, seed=3))


@pytest.mark.parametrize(("sizes", "count"), [(2, 3), (0, 1), (4, 0), (4, -1)])
def test_more_clusters_than_sizes(sizes: int, count: int) -> None:
    message = f"different box sizes as anchors, and at least one; found {sizes} for {count}; use another --count"
    with pytest.raises(ValueError, match=message):
        cluster(np.repeat(random_sizes(4)[:sizes], 3, axis=0), count)


# --- VOC 2007, against the paper's table 1 and a transcription in plain Python


@pytest.fixture(scope="module")
def voc_sizes(shared: Path) -> Sizes:
    """trainval at 416 px, letterboxed."""
    path = shared / "data" / "voc2007_annotations.tar.xz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    texts: dict[str, str] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is not None:
                texts[Path(member.name).name] = stream.read().decode()
    sizes = []
    for image_id in texts["trainval.txt"].split():
        found = parse_annotation(texts[f"{image_id}.xml"], Path(image_id))
        boxes_xyxy_px = np.array([box.xyxy_px for box in found.boxes if not box.difficult]).reshape(-1, 4)
        sizes.append((boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]) * 13 / max(found.width, found.height))
    return np.concatenate(sizes)


def plain_iou(size: list[float], anchor: list[float]) -> float:
    overlap = min(size[0], anchor[0]) * min(size[1], anchor[1])
    return overlap / (size[0] * size[1] + anchor[0] * anchor[1] - overlap)


def plain_kmeans(sizes: list[list[float]], anchors: list[list[float]]) -> list[list[float]]:
    before: list[int] = []
    while True:
        nearest = [max(range(len(anchors)), key=lambda k: plain_iou(size, anchors[k])) for size in sizes]
        if nearest == before:
            return anchors
        before = nearest
        members = [[size for size, k in zip(sizes, nearest, strict=True) if k == mine] for mine in range(len(anchors))]
        anchors = [[sum(side) / len(own) for side in zip(*own, strict=True)] for own in members]


def test_voc_gives_the_papers_average_iou(voc_sizes: Sizes) -> None:
    assert len(voc_sizes) == 12608
    averages = [average_iou(voc_sizes, cluster(voc_sizes, count)) for count in range(1, 10)]
    assert 0.60 < averages[4] < 0.62  # the paper: .610
    assert 0.66 < averages[8] < 0.69  # the paper: .672
    assert np.all(np.diff(averages) > 0)


def test_plain_python_agrees_on_voc(voc_sizes: Sizes) -> None:
    sizes, found = voc_sizes.tolist(), cluster(voc_sizes, 5)
    plain = sum(max(plain_iou(size, anchor) for anchor in found.tolist()) for size in sizes) / len(sizes)
    assert average_iou(voc_sizes, found) == pytest.approx(plain, rel=1e-12)
    gone_on = np.array(plain_kmeans(sizes, found.tolist()))  # on the sizes as they are, not pooled
    np.testing.assert_allclose(gone_on, found, rtol=0.02)
    assert abs(average_iou(voc_sizes, gone_on) - average_iou(voc_sizes, found)) < 1e-3
    from_elsewhere = np.array(plain_kmeans(sizes, sizes[:5]))
    assert average_iou(voc_sizes, from_elsewhere) < average_iou(voc_sizes, found) + 1e-3


# --- the command


def test_the_command_writes_what_a_config_takes(
    shards: Path, index: ShardIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "anchors.yaml"
    main([str(shards / "train"), "--count", "3", "--side", "224", "--resize", "stretch", "--out", str(out)])
    assert capsys.readouterr().out == out.read_text()
    sizes = sizes_cells(index, 224, "stretch")
    anchors = read_anchors(str(out))
    np.testing.assert_allclose(anchors, cluster(sizes, 3), atol=1e-4)
    assert f"3 dimension clusters of {len(sizes):,} objects, average IoU {average_iou(sizes, anchors):.3f}\n" in (
        out.read_text()
    )
    assert f"# {index.source}; stretch at 224 px;" in out.read_text()
    main([str(shards / "train"), "--count", "2", "--out", str(out)])
    assert len(read_anchors(str(out))) == 2
    out.write_text("anchors: auto\nrun: mine")
    with pytest.raises(
        ValueError, match=r"--out .*anchors.yaml: expected a new file or one of anchors alone, found an"
    ):
        main([str(shards / "train"), "--out", str(out)])
    assert out.read_text() == "anchors: auto\nrun: mine"


def test_the_curve(shards: Path, index: ShardIndex, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(shards / "train"), "--curve", "--seed", "2"])
    rows = re.findall(r"^ +(\d+)  (0\.\d{3})  (#+)$", capsys.readouterr().out, re.MULTILINE)
    sizes = sizes_cells(index, 416, "letterbox")
    expected = [(f"{count}", f"{average_iou(sizes, cluster(sizes, count, 2)):.3f}") for count in range(1, 16)]
    assert [row[:2] for row in rows] == expected
    assert len(rows[0][2]) < len(rows[14][2]) <= 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--side", "400"], "--side 400: expected a multiple of 32 px, the stride of the network"),
        (["--side", "0"], "--side 0: expected a multiple"),
        (["--count", "100000"], r"expected as many different box sizes as anchors"),
    ],
)
def test_refused_arguments(shards: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main([str(shards / "train"), *arguments])


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no shards at"):
        main([str(tmp_path)])


# --- time


def with_boxes(index: ShardIndex, boxes_xyxy_px: NDArray[np.float64]) -> ShardIndex:
    """The set with other objects, all on its first image."""
    count = len(boxes_xyxy_px)
    starts = np.full(index.num_samples + 1, count)
    starts[0] = 0
    none = np.zeros(count, np.bool_)
    arrays = {"boxes_xyxy_px": boxes_xyxy_px, "object_starts": starts, "difficult": none, "crowd": none}
    return dataclasses.replace(index, arrays=index.arrays | arrays)


def test_a_hundred_thousand_boxes_take_less_than_two_seconds(index: ShardIndex) -> None:
    corners = np.random.default_rng(0).gamma(2, 20, (100_000, 2))
    large = with_boxes(index, np.concatenate([np.zeros_like(corners), corners], 1))
    began = time.process_time()
    cluster(sizes_cells(large, 416, "letterbox"), 5)
    assert time.process_time() - began < 2
