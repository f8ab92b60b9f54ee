"""The prediction of `benchmarks.scaling`: against cases counted by hand, and buckets against those of DDP itself."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from benchmarks.exchange import (
    BACKWARD_SHARE,
    BETWEEN_NODES,
    Bucket,
    Link,
    all_reduce_s,
    exchange_s,
    exposed_s,
    forward_flop,
    gradient_buckets,
    predict,
    statistics_bytes,
)
from train.model import YOLOv2

PLAIN = Link("1 MB/s", 1e6, 1.0, 0.0)
SLOW_HOP = Link("100 MB/s", 1e8, 0.5, 0.1)


@pytest.fixture
def alone() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("num_bytes", "members", "link", "expected"),
    [
        (1e6, 1, PLAIN, 0.0),
        (1e6, 2, PLAIN, 1.0),  # each sends half, twice
        (1e6, 4, PLAIN, 1.5),
        (1e6, 1000, PLAIN, 1.998),
        (0, 8, SLOW_HOP, 0.6),  # the tree: 3 hops up, 3 down; the ring would be 14
        (1e8, 2, SLOW_HOP, 2.2),  # the ring: 2 s and 2 hops; the tree would be 4.2
    ],
)
def test_an_all_reduce_by_hand(num_bytes: float, members: int, link: Link, expected: float) -> None:
    assert all_reduce_s(num_bytes, members, link) == pytest.approx(expected)


def test_nodes_exchange_what_each_has_summed_inside() -> None:
    inside = 2 * 7 / 8 * 27e9 / 270e9 + 14 * 3e-6  # NVLink: 450 GB/s x .6
    assert exchange_s(27e9, 8, PLAIN) == pytest.approx(inside)
    assert exchange_s(27e9, 16, BETWEEN_NODES["Ethernet 100"]) == pytest.approx(inside + 27e9 / 10e9 + 2 * 40e-6)
    assert exchange_s(27e9, 1, PLAIN) == 0


@pytest.mark.parametrize(
    ("ready", "took", "expected"),
    [
        ([1.0, 2.0, 10.0], [0.5, 0.5, 0.5], 0.5),  # all but the last one hidden
        ([1.0, 2.0, 10.0], [9.0, 3.0, 1.0], 4.0),  # 1 -> 10 -> 13 -> 14
        ([10.0, 10.0, 10.0], [1.0, 2.0, 3.0], 6.0),  # one graph: nothing hidden
        ([1.0], [2.0], 0.0),
    ],
)
def test_what_backward_hides_by_hand(ready: list[float], took: list[float], expected: float) -> None:
    assert exposed_s(ready, took, 10.0) == pytest.approx(expected)


def test_a_step_by_hand() -> None:
    """2 GPUs of a node: 135 MB go in 0.5 ms, half as much in half the time, and 6 us for two hops."""
    buckets = [Bucket(135_000_000, 0.2), Bucket(135_000_000, 1.0)]
    late = predict(2, PLAIN, step_s=0.02, buckets=buckets, statistics_bytes=0, overlapped=False)
    assert late.exchange == pytest.approx(2 * 506e-6) == late.exposed
    assert late.statistics == pytest.approx(6e-6)
    assert late.device == pytest.approx(0.02 + 2 * 506e-6 + 6e-6 + 2 * 6e-6 / 10)
    assert late.efficiency == pytest.approx(0.02 / late.device)
    early = predict(2, PLAIN, step_s=0.02, buckets=buckets, statistics_bytes=0)
    assert early.exchange == late.exchange and early.exposed == pytest.approx(506e-6)
    half = predict(2, PLAIN, step_s=0.02, buckets=buckets, statistics_bytes=0, bytes_of_a_number=2)
    assert half.exposed == pytest.approx(256e-6)
    tight = predict(2, PLAIN, step_s=0.0004, buckets=buckets, statistics_bytes=0)
    assert tight.exposed == pytest.approx((0.2 - 1) * BACKWARD_SHARE * 0.0004 + 2 * 506e-6)  # the second one queues


def test_agreeing_whether_to_stop_is_free_where_forward_hides_it() -> None:
    """8 bytes among 128 nodes: 2 x 3 hops of NVLink and 2 x 7 of InfiniBand, 130 us."""
    ring_s = 6 * 3e-6 + 14 * 8e-6
    many = predict(1024, BETWEEN_NODES["InfiniBand"], step_s=0.02, buckets=[], statistics_bytes=0)
    assert many.agreement == 0 and many.logged == pytest.approx(2 * ring_s / 10, rel=1e-3)
    assert many.statistics == pytest.approx(ring_s)
    assert many.device == pytest.approx(0.02 + 1.2 * ring_s, rel=1e-3)
    tiny = predict(1024, BETWEEN_NODES["InfiniBand"], step_s=1e-4, buckets=[], statistics_bytes=0)
    assert tiny.agreement == pytest.approx(ring_s - 0.35e-4, rel=1e-3)
    assert tiny.efficiency == 1  # the host, which launches, is slower than the device
    assert predict(1, PLAIN, step_s=0.02, buckets=[Bucket(9, 1.0)], statistics_bytes=9).efficiency == 1


def test_gradients_that_are_accumulated_go_with_the_last_part() -> None:
    buckets = [Bucket(135_000_000, 0.0), Bucket(135_000_000, 1.0)]
    whole = predict(2, PLAIN, step_s=0.002, buckets=buckets, statistics_bytes=0)
    parts = predict(2, PLAIN, step_s=0.002, buckets=buckets, statistics_bytes=0, parts=4)
    assert whole.exposed == pytest.approx(506e-6)
    assert parts.exposed == pytest.approx(2 * 506e-6 - BACKWARD_SHARE * 0.0005)


@pytest.mark.parametrize("variant", ["yolov2", "yolov2-2016", "tiny-voc"])
def test_buckets_are_ddps(alone: None, variant: str) -> None:
    model = YOLOv2(variant=variant)  # type: ignore[arg-type]
    real: list[int] = []

    def note(_: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        real.append(4 * bucket.buffer().numel())
        done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    wrapped = DistributedDataParallel(model)
    images = torch.rand(2, 3, 32, 32)
    for _ in range(2):  # rebuilds its buckets after the first one
        wrapped(images).sum().backward()
    wrapped.register_comm_hook(None, note)
    wrapped(images).sum().backward()
    predicted = gradient_buckets(model, 32)
    assert [bucket.num_bytes for bucket in predicted] == real
    shares = [bucket.ready for bucket in predicted]
    assert sum(real) == 4 * sum(p.numel() for p in model.parameters())
    assert shares == sorted(shares) and 0 < shares[0] < 0.5 and shares[-1] == pytest.approx(1)


def test_where_backward_stands_is_counted_from_the_convolutions() -> None:
    """Two convolutions 3 -> 1 -> 1 at full size, three in all with the head's, by hand."""
    with torch.device("meta"):
        model = YOLOv2(1, 1, layers="1 1 pool pool pool pool pool")
    first, second, head = 2 * 27 * 64 * 64, 2 * 2 * 9 * 64 * 64, 2 * 2 * 6 * 2 * 2  # backward: the first one once
    assert forward_flop(model, 64) == first + second / 2 + head / 2
    buckets = gradient_buckets(model, 64, first_mb=0, most_mb=0)  # each gradient alone
    total = first + second + head
    expected = [(4 * 6, head)] * 2 + [(4, head)] * 2 + [(4 * 9, head + second)] + [(4, head + second)] * 2
    expected += [(4 * 27, total)]
    assert [(b.num_bytes, pytest.approx(b.ready)) for b in buckets] == [(n, done / total) for n, done in expected]


def test_the_full_network() -> None:
    with torch.device("meta"):
        assert forward_flop(YOLOv2(), 416) == pytest.approx(29.36e9, rel=1e-3)
        assert statistics_bytes(YOLOv2()) == 8 * 10_336  # mean and variance of all filters but the output's
