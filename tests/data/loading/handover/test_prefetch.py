"""Prefetched batches: in order, known to be there before they are taken, and none is waited for without end."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, tee

import numpy as np
import pytest

import data.loading.handover.prefetch
from data.loading.filling.order import BatchPlan
from data.loading.filling.reader import Filled, SlottedPlan
from data.loading.handover.prefetch import DEPTH, Answer, Prefetcher, thread_safe


class Shards:
    """As `Arrivals`: what may be read so far."""

    def __init__(self) -> None:
        self.there: set[int] = set(range(100))

    def has(self, sample: int) -> bool:
        return sample in self.there

    def wait_for(self, sample: int, stopping: Callable[[], bool] | None) -> bool:
        while sample not in self.there:
            if stopping and stopping():
                return False
            time.sleep(0.01)
        return True


def plans(number: int) -> Iterator[SlottedPlan]:
    for each in range(number):
        samples = np.array([each], np.int64)
        yield SlottedPlan(each, BatchPlan(samples, np.zeros_like(samples), 32))


def answers(may_go: threading.Semaphore) -> Iterator[Answer]:
    for number in count():
        may_go.acquire()
        yield Filled(number, [])


def prefetcher_of(number: int, may_go: threading.Semaphore, shards: Shards, workers: bool = True) -> Prefetcher:
    return Prefetcher(answers(may_go), plans(number), shards, workers=workers)  # type: ignore[arg-type]


def is_ready_within(prefetcher: Prefetcher, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not prefetcher.ready() and time.monotonic() < end:
        time.sleep(0.005)
    return prefetcher.ready()


@pytest.mark.parametrize("workers", [False, True])
def test_answers_come_with_their_plans_to_the_end(workers: bool) -> None:
    prefetcher = prefetcher_of(7, threading.Semaphore(100), Shards(), workers)
    for number in range(7):
        assert is_ready_within(prefetcher)
        taken = prefetcher.take(None)
        assert taken is not None and (taken[0].slot, taken[1].num_bytes) == (number, number)  # type: ignore[union-attr]
        prefetcher.request()
    assert prefetcher.ready() and prefetcher.take(None) is None  # nothing to wait for at the end
    prefetcher.close()


def test_two_are_asked_for_before_one_is_taken_and_no_more() -> None:
    may_go, got = threading.Semaphore(0), []

    def noted() -> Iterator[Answer]:
        for answer in answers(may_go):
            got.append(answer)
            yield answer

    prefetcher = Prefetcher(noted(), plans(9), Shards(), workers=True)  # type: ignore[arg-type]
    assert not prefetcher.ready()
    may_go.release(9)
    assert is_ready_within(prefetcher)
    time.sleep(0.1)
    assert len(got) == DEPTH  # workers write into the slots of those alone
    prefetcher.take(None)
    assert prefetcher.ready()
    prefetcher.close()


@pytest.mark.parametrize("workers", [False, True])
def test_what_is_made_but_whose_shard_is_on_its_way_is_not_ready(workers: bool) -> None:
    """As from a cache of decoded images: taking it would ask whether to stop, which nobody else does then."""
    shards = Shards()
    shards.there.remove(0)
    prefetcher = prefetcher_of(2, threading.Semaphore(9), shards, workers)
    assert not is_ready_within(prefetcher, 0.2)
    asked: list[None] = []
    assert prefetcher.take(lambda: len(asked) == 3 or asked.append(None)) is None  # type: ignore[func-returns-value]
    assert len(asked) == 3
    prefetcher.close()


def test_ready_means_that_taking_asks_nothing() -> None:
    may_go, chance = threading.Semaphore(0), np.random.default_rng(0)
    prefetcher, asked = prefetcher_of(60, may_go, Shards()), []
    for _ in range(60):
        may_go.release()
        time.sleep(chance.uniform(0, 0.004))
        ready = prefetcher.ready()
        before = len(asked)
        assert prefetcher.take(lambda: asked.append(None)) is not None  # type: ignore[func-returns-value]
        assert not ready or len(asked) == before
        prefetcher.request()
    prefetcher.close()


def test_a_worker_that_stands_still_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.loading.handover.prefetch, "LOOK_S", 0.05)
    monkeypatch.setattr(data.loading.handover.prefetch, "PATIENCE_S", 0.2)
    assert prefetcher_of(1, threading.Semaphore(0), Shards()).take(lambda: True) is None
    with pytest.raises(ChildProcessError, match=r"no batch for 0 s: check what the loader processes"):
        prefetcher_of(1, threading.Semaphore(0), Shards()).take(None)


def test_an_error_of_the_loader_comes_where_its_batch_is_taken() -> None:
    def killed() -> Iterator[Answer]:
        yield Filled(0, [])
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    prefetcher = Prefetcher(killed(), plans(3), Shards(), workers=True)  # type: ignore[arg-type]
    assert prefetcher.take(None) is not None
    with pytest.raises(ChildProcessError, match=r"a loader process was killed, .*\(DataLoader worker \(pid 7\)"):
        prefetcher.take(None)


def test_two_threads_may_draw_from_one_source() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            both = thread_safe(*tee(number for number in range(2000)))
            with ThreadPoolExecutor(2) as threads:
                assert [*threads.map(list, both)] == [list(range(2000))] * 2
    finally:
        sys.setswitchinterval(interval)
