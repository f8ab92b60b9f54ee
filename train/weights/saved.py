"""Reads files of weights from any program: a checkpoint of this one, safetensors, a PyTorch state dict.

darknet's .weights have neither names nor shapes and are read by `train.darknet.weights`.
"""

import json
import pickle
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from data.files import natural_key
from data.shards.format.header import MAX_CLASSES
from data.wording import is_class_name
from train.run.checkpoint_files import load_tensors
from train.stepping.step import evaluated_weights

TORCH_ZIP, TORCH_PICKLE = b"PK\x03\x04", b"\x80\x02"


class Saved(NamedTuple):
    tensors: Mapping[str, torch.Tensor]  #: float32, in the file's order
    network: Mapping[str, Any]  #: `Config.network` if the file is this program's, else empty


def is_darknets(path: Path) -> bool:
    """Whether the first bytes are darknet's int32 major, minor, revision. Suffixes vary (darknet19_448.conv.23)."""
    with path.open("rb") as file:
        head = file.read(12)
    if len(head) < 12:
        return False
    major, minor, revision = struct.unpack("<iii", head)
    return major in (0, 1) and 0 <= minor < 100 and 0 <= revision < 100


def read_saved(path: Path) -> Saved:
    """Reads a file. ValueError for any other kind. Never runs code from the file."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size:  # a length, whatever its bytes
        return _from_safetensors(path)
    if head.startswith((TORCH_ZIP, TORCH_PICKLE)):
        return _from_torch(path)
    raise ValueError(
        f"{path}: expected a checkpoint, .safetensors, a PyTorch state dict or darknet's .weights, found a file that "
        f"begins with {head!r}"
    )


def _from_torch(path: Path) -> Saved:
    try:
        loaded = load_tensors(path)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path}: expected tensors alone, found Python objects, which could run code; at its source, save with "
            "torch.save(model.state_dict(), FILE)"
        ) from None
    except Exception as error:  # torch raises half a dozen unrelated types for damaged files
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path}: expected a PyTorch state dict, found a damaged file ({reason})") from None
    if isinstance(loaded, dict) and all(isinstance(loaded.get(part), Mapping) for part in ("step", "network")):
        return _of_checkpoint(path, loaded)
    found = max(_state_dicts(loaded), key=len, default=None)
    if found is None:
        raise ValueError(f"{path}: expected a PyTorch state dict, found no named tensors")
    return Saved(_as_float(path, found), {})


def read_checkpoint(path: Path) -> Saved:
    """Like `read_saved`, but ValueError for what is not a checkpoint of this program."""
    saved = read_saved(path)
    if not saved.network:
        raise ValueError(f"{path}: expected a checkpoint of this program, found another file or one that lacks a part")
    return saved


def _of_checkpoint(path: Path, loaded: Mapping[str, Any]) -> Saved:
    """ValueError for weights or a network of another type."""
    try:
        tensors = _as_float(path, evaluated_weights(loaded["step"]))
    except (AttributeError, KeyError) as error:
        raise ValueError(f"{path}: expected weights of this program, found none ({error!r})") from None
    return Saved(tensors, _network(path, loaded["network"]))


def _network(path: Path, found: Any) -> Mapping[str, Any]:
    """ValueError unless it names classes, and anchors only as numbers."""
    if (
        isinstance(found, Mapping)
        and _holds(found.get("classes"), str)
        and len(found["classes"]) <= MAX_CLASSES
        and all(map(is_class_name, found["classes"]))
        and _holds(found.get("anchors", []), int | float)
    ):
        return found
    raise ValueError(f"{path}: expected a network of this program with its classes, found {str(found)[:80]}")


def _holds(values: Any, kind: Any) -> bool:
    return isinstance(values, list) and all(isinstance(each, kind) for each in values)


def _state_dicts(loaded: Any) -> Iterator[Mapping[str, torch.Tensor]]:
    """Every mapping from names to tensors, at any depth: many are saved with an optimizer's, an epoch ..."""
    if not isinstance(loaded, Mapping):
        return
    named = {name: value for name, value in loaded.items() if isinstance(name, str) and torch.is_tensor(value)}
    if named:
        yield named
    for value in loaded.values():
        yield from _state_dicts(value)


def _from_safetensors(path: Path) -> Saved:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ValueError(f"{path}: .safetensors needs another package: pip install safetensors") from None
    try:
        with safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get("network")
            names = sorted(file.keys(), key=natural_key)  # safetensors keeps no order
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path}: expected .safetensors, found a damaged file ({error})") from None
    network: Mapping[str, Any] = {}
    with suppress(ValueError, RecursionError):  # another program's metadata
        network = _network(path, json.loads(described or "{}"))
    return Saved(_as_float(path, tensors), network)


def _as_float(path: Path, tensors: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """ValueError for anything but tensors whose numbers are all in the file: a few may be repeated to fill memory."""
    if wrong := [name for name, tensor in tensors.items() if not isinstance(name, str) or not _is_whole(tensor)]:
        raise ValueError(f"{path}: expected tensors with all of their numbers in the file, found others: {wrong[0]!r}")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _is_whole(tensor: Any) -> bool:
    if not torch.is_tensor(tensor) or tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
        return False
    return bool(tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes())
