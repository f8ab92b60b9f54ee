"""What is said of many GPUs: the figures that README states, and that more is asked of a slower network."""

from itertools import pairwise

import pytest
import torch

from benchmarks.exchange import BETWEEN_NODES, Link, forward_flop, gradient_buckets, predict, statistics_bytes
from benchmarks.scaling import H200_FLOP_S, H200_SHARE
from benchmarks.scaling_prediction import BATCH, GPUS, images_needed, print_predictions, rows, same_batch
from train.model import YOLOv2

with torch.device("meta"):
    MODEL = YOLOv2()
BUCKETS, STATISTICS = gradient_buckets(MODEL, 416), statistics_bytes(MODEL)
IMAGE_S = 3 * forward_flop(MODEL, 416) / (H200_SHARE * H200_FLOP_S)


def test_infiniband_keeps_nearly_all_of_a_thousand_gpus() -> None:
    (row,) = (
        each
        for each in rows(64 * IMAGE_S, BUCKETS, STATISTICS)
        if (each.between, each.number_bytes, each.overlapped) == ("InfiniBand", 4, True)
    )
    efficiency = dict(zip(GPUS, (each.efficiency for each in row.predictions), strict=True))
    assert efficiency[256] >= 0.97 and efficiency[1024] >= 0.95
    assert sorted(efficiency.values(), reverse=True) == list(efficiency.values())


def test_a_batch_that_is_shared_by_more_is_done_sooner_only_over_a_fast_network() -> None:
    found = {(row.between, row.number_bytes): row.predictions for row in same_batch(IMAGE_S, BUCKETS, STATISTICS)}
    times = [IMAGE_S * BATCH / each.device for each in found["InfiniBand", 4]]
    assert all(later > 1.5 * before for before, later in pairwise(times[:5]))
    slow = [each.device for each in found["Ethernet 25", 4]]
    assert min(slow) > 0.9 * slow[0]


def test_images_needed_are_the_fewest_that_do() -> None:
    link = BETWEEN_NODES["Ethernet 100"]
    needed = images_needed(64, link, 2, IMAGE_S, BUCKETS, STATISTICS)
    assert needed is not None
    half, enough = (
        predict(
            64,
            link,
            step_s=IMAGE_S * images,
            buckets=BUCKETS,
            statistics_bytes=STATISTICS,
            bytes_of_a_number=2,
            parts=images // 64,
        ).efficiency
        for images in (needed // 2, needed)
    )
    assert half < 0.95 <= enough
    assert images_needed(64, Link("a modem", 1e3, 1.0, 0.1), 2, IMAGE_S, BUCKETS, STATISTICS) is None
    assert (images_needed(64, BETWEEN_NODES["Ethernet 25"], 2, IMAGE_S, BUCKETS, STATISTICS) or 1e9) > needed


def test_what_is_printed_says_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    found = print_predictions([(64, 64 * IMAGE_S, "given")], 416, MODEL)
    said = capsys.readouterr().out
    assert len(found[0]["rows"]) == len(GPUS) * len(BETWEEN_NODES) * 4
    assert "assumed:" in said and "left out: processes that are slower than others" in said
