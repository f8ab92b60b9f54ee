"""Requests batches ahead of their step, so that a process knows before a step whether the next one can follow."""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

from data.loading.filling.reader import Filled, Numbered
from data.remote.arrivals import Arrivals

DEPTH = 2  # batches: the first is here before the preceding batch's step begins
LOOK_S = 1.0
PATIENCE_S = 600.0  # without a batch though the shards are there

Answer = Filled | ValueError
Item = TypeVar("Item")


class Ahead:
    """The answers of a DataLoader with their plans. Call `ask` once for each one taken."""

    def __init__(
        self, found: Iterator[Answer], plans: Iterator[Numbered], arrivals: Arrivals, *, workers: bool
    ) -> None:
        """workers: whether processes make the batches; otherwise each is made when taken."""
        self._found, self._plans, self._arrivals, self._workers = found, plans, arrivals, workers
        self._coming: deque[tuple[Numbered, Future[Answer]]] = deque()
        self._asked: SimpleQueue[Future[Answer] | None] = SimpleQueue()
        if workers:
            Thread(target=self._fetch, daemon=True, name="next batch").start()
        for _ in range(DEPTH):
            self.ask()

    def ask(self) -> None:
        """Requests one more batch, if any is left. Lets workers write into a slot."""
        numbered = next(self._plans, None)
        if numbered is not None:
            coming: Future[Answer] = Future()
            self._coming.append((numbered, coming))
            if self._workers:
                self._asked.put(coming)

    def ready(self) -> bool:
        """Whether `take` returns at once: the batch is there, or none is left."""
        if not self._coming:
            return True
        numbered, coming = self._coming[0]
        return (coming.done() or not self._workers) and all(map(self._arrivals.has, numbered.plan.reads.tolist()))

    def take(self, stopping: Callable[[], bool] | None) -> tuple[Numbered, Answer] | None:
        """The next one; None at the end or if `stopping`, which is polled while nothing arrives.

        ChildProcessError: a worker was killed, or all workers hang.
        """
        if not self._coming:
            return None
        numbered, coming = self._coming.popleft()
        if not all(self._arrivals.wait_for(sample, stopping) for sample in numbered.plan.reads.tolist()):
            return None
        if not self._workers:
            return numbered, next(self._found)
        answer = _result(coming, stopping)
        return None if answer is None else (numbered, answer)

    def close(self) -> None:
        self._asked.put(None)

    def _fetch(self) -> None:
        """Runs in a thread that may be left behind, waiting for workers that hang."""
        while (coming := self._asked.get()) is not None:
            try:
                coming.set_result(next(self._found))
            except BaseException as error:
                coming.set_exception(error)


def _result(coming: Future[Answer], stopping: Callable[[], bool] | None) -> Answer | None:
    began = time.monotonic()
    while not wait([coming], LOOK_S).done:
        if stopping and stopping():
            return None
        if time.monotonic() - began > PATIENCE_S:
            numbers = ", ".join(str(child.pid) for child in multiprocessing.active_children())
            raise ChildProcessError(
                f"no batch for {PATIENCE_S:.0f} s: check what the loader processes {numbers} and the disk of the "
                "shards are doing, and start the run again"
            )
    try:
        return coming.result()
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ChildProcessError(
            f"a loader process was killed, by a user or out of memory ({str(error).splitlines()[0]}); start "
            "the run again, with fewer data.workers if it happens again"
        ) from None


def in_turn(*iterators: Iterator[Item]) -> list[Iterator[Item]]:
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
