"""Prefetches batches, so that a process knows before a step whether the next one can follow without a wait."""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

from data.loading.filling.reader import Filled, SlottedPlan
from data.remote.arrivals import Arrivals

DEPTH = 2  # batches: the next should be here before the current one's step begins
LOOK_S = 1.0
PATIENCE_S = 600.0  # without a batch though the shards are there

Answer = Filled | ValueError
Item = TypeVar("Item")


class Prefetcher:
    """The answers of a DataLoader with their plans, `DEPTH` batches ahead. Call `request` once for each one taken."""

    def __init__(
        self, found: Iterator[Answer], plans: Iterator[SlottedPlan], arrivals: Arrivals, *, workers: bool
    ) -> None:
        """workers: whether processes make the batches; otherwise each is made when taken."""
        self._found, self._plans, self._arrivals, self._workers = found, plans, arrivals, workers
        self._pending: deque[tuple[SlottedPlan, Future[Answer]]] = deque()
        self._requested: SimpleQueue[Future[Answer] | None] = SimpleQueue()
        if workers:
            Thread(target=self._fetch, daemon=True, name="next batch").start()
        for _ in range(DEPTH):
            self.request()

    def request(self) -> None:
        """Requests one more batch, if any is left. Lets workers write into a slot."""
        slotted = next(self._plans, None)
        if slotted is not None:
            pending: Future[Answer] = Future()
            self._pending.append((slotted, pending))
            if self._workers:
                self._requested.put(pending)

    def ready(self) -> bool:
        """Whether `take` returns at once: the batch is there, or none is left."""
        if not self._pending:
            return True
        slotted, pending = self._pending[0]
        return (pending.done() or not self._workers) and all(map(self._arrivals.has, slotted.plan.reads.tolist()))

    def take(self, stopping: Callable[[], bool] | None) -> tuple[SlottedPlan, Answer] | None:
        """The next plan and its answer; None at the end or if `stopping`, which is polled while nothing arrives.

        ChildProcessError: a worker was killed, or all workers hang.
        """
        if not self._pending:
            return None
        slotted, pending = self._pending.popleft()
        if not all(self._arrivals.wait_for(sample, stopping) for sample in slotted.plan.reads.tolist()):
            return None
        if not self._workers:
            return slotted, next(self._found)
        answer = _result(pending, stopping)
        return None if answer is None else (slotted, answer)

    def close(self) -> None:
        self._requested.put(None)

    def _fetch(self) -> None:
        """Runs in a thread that may be left behind, waiting for workers that hang."""
        while (pending := self._requested.get()) is not None:
            try:
                pending.set_result(next(self._found))
            except BaseException as error:
                pending.set_exception(error)


def _result(pending: Future[Answer], stopping: Callable[[], bool] | None) -> Answer | None:
    began = time.monotonic()
    while not wait([pending], LOOK_S).done:
        if stopping and stopping():
            return None
        if time.monotonic() - began > PATIENCE_S:
            numbers = ", ".join(str(child.pid) for child in multiprocessing.active_children())
            raise ChildProcessError(
                f"no batch for {PATIENCE_S:.0f} s: check what the loader processes {numbers} and the disk of the "
                "shards are doing, and start the run again"
            )
    try:
        return pending.result()
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ChildProcessError(
            f"a loader process was killed, by a user or out of memory ({str(error).splitlines()[0]}); start "
            "the run again, with fewer data.workers if it happens again"
        ) from None


def thread_safe(*iterators: Iterator[Item]) -> list[Iterator[Item]]:
    """Makes iterators with a common source, such as those of `tee`, safe for several threads."""
    lock = Lock()

    def locked(iterator: Iterator[Item]) -> Iterator[Item]:
        while True:
            with lock:
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    return [locked(iterator) for iterator in iterators]
