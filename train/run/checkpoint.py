"""Checkpoints that are whole or not there.

    RUN/checkpoints/000012800-3f9ac1d2b4e5f607.pt     images seen, first 16 digits of the file's SHA-256
    RUN/checkpoints/best-000012800-3f9a...pt          the one with the highest mAP

A file is written under a temporary name, synced, and renamed to a name that holds the digest of what was to be written:
a name that matches its bytes is a verified checkpoint. The newest verified one wins. Files are loaded with
weights_only: they cannot run code.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch

from launch.environment import Environment

DIGITS = 16


class Part(Protocol):
    """Something that a checkpoint holds."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any) -> object: ...


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    every_images: int = 64_000  #: besides one at the end of every epoch
    keep: int = 2  #: newest ones; the best one is kept apart

    def __post_init__(self) -> None:
        if self.every_images < 1:
            raise ValueError(f"checkpoint.every_images={self.every_images}: expected at least 1")
        if self.keep < 2:
            raise ValueError(f"checkpoint.keep={self.keep}: expected at least 2, the newest may turn out damaged")


class Checkpoint:
    """Saves and restores named parts. Every process calls its methods; rank 0 alone writes."""

    def __init__(
        self, folder: Path, config: CheckpointConfig, env: Environment, network: Mapping[str, Any], **parts: Part
    ) -> None:
        """`network`: what a file must agree on to fit, plain values."""
        self.folder, self.config, self.env, self.network, self.parts = folder, config, env, dict(network), parts
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self.position: int | None = None  # images seen at the newest checkpoint

    def due(self, images: int) -> bool:
        return images - (self.position or 0) >= self.config.every_images

    def save(self, images: int, *, best: bool = False) -> None:
        """Copies the state now, writes it in the background. Raises what went wrong with the save before."""
        self.wait()
        self.position = images
        if self.env.rank == 0:
            state = {name: _copy(part.state_dict()) for name, part in self.parts.items()}
            if self.env.device.type == "cuda":
                torch.cuda.current_stream(self.env.device).synchronize()
            state["network"] = self.network
            self._writing = self._writer.submit(self._write, state, images, best)

    def wait(self) -> None:
        """Until the last save is on disk, which may be slow."""
        self.env.first(self._wait)

    def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            try:
                writing.result()
            except (OSError, RuntimeError) as error:  # torch.save hides a full disk behind a RuntimeError of its own
                reason = error if isinstance(error, OSError) else error.__context__ or error
                raise OSError(
                    f"{self.folder}: the checkpoint could not be written ({reason}); earlier ones are untouched. Make "
                    "room or correct the rights and start the run again: it goes on from the newest"
                ) from error

    def restore(self) -> int | None:
        """Loads the newest verified checkpoint into the parts. The images seen, or None where there is none."""
        path = self.env.first(lambda: newest(self.folder))
        if path is None:
            return None
        state = read(path)
        differing = {
            name: (state["network"].get(name), value)
            for name, value in self.network.items()
            if state["network"].get(name) != value
        }
        if differing:
            listing = "; ".join(
                f"{name} was {was!r}, the config says {now!r}" for name, (was, now) in differing.items()
            )
            raise ValueError(f"{path} holds another network: {listing}; choose another `run` or correct the config")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.position = _images(path)
        return self.position

    def _write(self, state: dict[str, Any], images: int, best: bool) -> None:
        bad = _non_finite(state)
        if bad:
            raise FloatingPointError(
                f"{bad} holds nan or infinite numbers after {images} images: not saved. The newest checkpoint in "
                f"{self.folder} is from before; go on from it with a lower schedule.rate or a longer burn-in"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        _remove(self.folder.glob("*.part"))  # what a killed process or a full disk left
        part = self.folder / f"{images:09d}.part"
        with part.open("wb") as file:
            hashed = _Hashed(file)
            torch.save(state, hashed)  # type: ignore[arg-type]  # it writes and flushes, nothing else
            file.flush()
            os.fsync(file.fileno())
        path = self.folder / f"{images:09d}-{hashed.digest}.pt"
        if best:
            marked = self.folder / f"best-{path.name}"
            link = part.with_suffix(".link")
            link.unlink(missing_ok=True)
            try:
                os.link(part, link)
            except OSError:  # a file system without hard links
                shutil.copyfile(part, link)
            link.replace(marked)
            _remove(old for old in self.folder.glob("best-*.pt") if old != marked)
        part.replace(path)
        _sync_folder(self.folder)
        _remove(old for old in self.folder.glob(f"{images:09d}-*.pt") if old != path)  # saved before its evaluation
        past = [old for old in _newest_first(self.folder) if _images(old) <= images]  # what lies beyond is damaged
        _remove(past[self.config.keep :])


class _Hashed:
    """Hashes what goes into a file: read back, wrong bytes on a disk would get a name that matches them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()[:DIGITS]


def newest(folder: Path) -> Path | None:
    """The newest checkpoint whose bytes match its name; says which newer ones it passes over."""
    for path in _newest_first(folder):
        if verified(path):
            return path
        print(
            f"checkpoint {path} is damaged (its SHA-256 does not match its name); trying an older one", file=sys.stderr
        )
    return None


def best(folder: Path) -> Path | None:
    """The best one where a run has been evaluated, else the newest."""
    marked = sorted(folder.glob("best-*.pt"), reverse=True)
    return next((path for path in marked if verified(path)), None) or newest(folder)


def verified(path: Path) -> bool:
    return _digest(path) == path.stem.rsplit("-", 1)[-1]


def read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated types for files that are not checkpoints
        raise ValueError(f"{path} is not a checkpoint of this program: {error}") from error
    if not isinstance(state, dict) or "network" not in state:
        raise ValueError(f"{path} is not a checkpoint of this program: it says nothing of its network")
    return state


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"[0-9]*-{'[0-9a-f]' * DIGITS}.pt"), reverse=True)


def _non_finite(state: Any, name: str = "") -> str | None:
    """The name of a tensor with nan or infinite numbers, if there is one."""
    if isinstance(state, torch.Tensor):
        return name if state.is_floating_point() and not bool(state.isfinite().all()) else None
    inner = state.items() if isinstance(state, Mapping) else enumerate(state) if isinstance(state, list | tuple) else ()
    return next((bad for key, item in inner if (bad := _non_finite(item, f"{name}.{key}".strip(".")))), None)


def _images(path: Path) -> int:
    return int(path.name.split("-")[0])


def _remove(paths: Any) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(value: Any) -> Any:
    """A nested state with every tensor copied to the host; from a GPU the copies may still be under way."""
    if isinstance(value, torch.Tensor):
        copy = torch.empty_like(
            value, device="cpu", pin_memory=value.is_cuda
        )  # torch keeps page-locked memory for later
        return copy.copy_(value.detach(), non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(item) for item in value)
    return value
