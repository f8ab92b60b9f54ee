"""Checkpoints that are complete or absent.

A file is written under a temporary name, synced, and renamed to a name with the digest of the intended bytes: if name
and bytes match, the checkpoint is verified. The newest verified one wins. Files are loaded with weights_only: they
cannot run code.
"""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from data.wording import counted
from launch.processes.environment import Environment
from train.run.checkpoint_files import intact, listed, position_of, prepare, read, report_skipped, write
from train.run.checkpoint_state import copied, describes, non_finite
from train.stepping.optimizer import AnotherOptimizer


class Part(Protocol):
    """A part of a checkpoint."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any) -> object: ...


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    every_images: int = 64_000  #: [images] between two; others are saved at a new best and at the end
    every_minutes: float = 10.0  #: [minutes] between two, roughly; whichever comes first
    keep: int = 2  #: [checkpoints] newest ones to keep; the best one is kept as well

    def __post_init__(self) -> None:
        if self.every_images < 1:
            raise ValueError(f"checkpoint.every_images={self.every_images}: expected at least 1")
        if not self.every_minutes > 0:
            raise ValueError(f"checkpoint.every_minutes={self.every_minutes}: expected more than 0")
        if self.keep < 2:
            raise ValueError(f"checkpoint.keep={self.keep}: expected at least 2, the newest may turn out damaged")


class Checkpoint:
    """Saves and restores named parts. Every process calls its methods; rank 0 alone writes.

    Use it as a context inside the run's lock: leaving it waits until the last byte is on disk.
    """

    def __init__(
        self, folder: Path, config: CheckpointConfig, env: Environment, network: Mapping[str, Any], **parts: Part
    ) -> None:
        """network: plain values that must match in a file."""
        self.folder, self.config, self.env, self.network, self.parts = folder, config, env, dict(network), parts
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self.position: int | None = None  # images seen at the newest checkpoint
        self._since = time.monotonic()  # per process; a start's first checkpoint counts from here

    def __enter__(self) -> "Checkpoint":
        if self.env.rank == 0:
            prepare(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        if self._writing is not None and not self._writing.done():
            self.env.say("the last checkpoint is still being written")
        while self._writing is not None and not self._writing.done():
            with suppress(KeyboardInterrupt):  # what holds the run's lock must outlast the writer
                wait_for([self._writing])

    def due(self, images: int, *, timed: bool = True) -> bool:
        """Whether to save now. All processes must ask at the same place.

        timed: look at the clock too, of all processes; waits for the device.
        """
        if images - (self.position or 0) >= self.config.every_images:
            return True
        if not timed:
            return False
        late = time.monotonic() - self._since >= 60 * self.config.every_minutes
        share_late = self.env.mean(torch.full((), float(late), device=self.env.device))
        return bool(share_late > 0)

    def save(self, images: int, *, best: bool = False) -> None:
        """Copies the state now and writes it in the background. Raises the error of the previous save, if any."""
        self.wait()
        self.position, self._since = images, time.monotonic()
        if self.env.rank == 0:
            state = {name: copied(part.state_dict()) for name, part in self.parts.items()}
            if self.env.device.type == "cuda":
                torch.cuda.current_stream(self.env.device).synchronize()
            state["network"] = copied(self.network)
            self._writing = self._writer.submit(self._write, state, images, best)

    def wait(self) -> None:
        """Waits until the last save is on disk, which may be slow."""
        self.env.on_rank_0(self._wait)

    def _wait(self) -> None:
        if (writing := self._writing) is not None:
            wait_for([writing])  # interrupted, it is still known to __exit__
            self._writing = None
            try:
                writing.result()
            except (OSError, RuntimeError) as error:  # torch.save hides a full disk behind its own RuntimeError
                reason = error if isinstance(error, OSError) else error.__context__ or error
                raise OSError(
                    f"{self.folder}: the checkpoint could not be written ({reason}); earlier ones are intact. Free "
                    "some space or fix the permissions and start the run again: it resumes from the newest"
                ) from error

    def _write(self, state: dict[str, Any], images: int, best: bool) -> None:
        if bad := non_finite(state):
            raise FloatingPointError(
                f"{bad} holds nan or infinite numbers after {counted(images, 'image')}: not saved. The newest "
                f"checkpoint in {self.folder} is from before; resume from it with a lower schedule.rate or a longer "
                "burn-in"
            )
        write(self.folder, state, images, best=best, keep=self.config.keep)

    def restore(self) -> int | None:
        """Loads the newest whole checkpoint into the parts. Returns the images seen, or None if there is none.

        ValueError if there are checkpoints but none is whole, or if they are of another network.
        """
        candidates = intact(self.folder)
        while path := self.env.on_rank_0(lambda: next(candidates, None)):
            reason = self._load(path)
            if not self.env.any(reason is not None):
                self.position = position_of(path)
                return self.position
            if self.env.rank == 0:
                report_skipped(path, reason or "another process could not load it")
        if found := self.env.on_rank_0(lambda: listed(self.folder)):
            raise ValueError(
                f"{self.folder}: expected a whole checkpoint, found {len(found)}, all damaged; put an intact copy "
                "there, or choose another `run` to start from the beginning"
            )
        return None

    def _load(self, path: Path) -> str | None:
        """Loads a file; returns the reason if that fails. ValueError for another network."""
        try:
            state = read(path)
        except (ValueError, OSError) as error:
            return str(error)
        if self.network and not describes(state["network"], self.network):
            return "it does not describe its network"
        if bad := non_finite(state):
            return f"its {bad} is not made of finite numbers"
        progress, named = state.get("progress"), position_of(path)
        if isinstance(progress, Mapping) and (images := str(progress.get("images"))) != str(named):
            return f"its name says {counted(named, 'image')}, its progress {images}"
        self._require_network(path, state["network"])
        for name, part in self.parts.items():
            if not isinstance(state.get(name), Mapping):
                return f"its part {name!r} is missing or not this program's"
            try:
                part.load_state_dict(state[name])
            except AnotherOptimizer:
                raise
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
                return f"its part {name!r} does not fit: {type(error).__name__} {str(error).splitlines()[:1]}"
        return None

    def _require_network(self, path: Path, found: Mapping[str, Any]) -> None:
        differing = {name: (found.get(name), here) for name, here in self.network.items() if found.get(name) != here}
        if differing:
            listing = "; ".join(
                f"{name} was {was!r}, the config says {now!r}" for name, (was, now) in differing.items()
            )
            raise ValueError(f"{path} holds another network: {listing}; choose another `run` or correct the config")
