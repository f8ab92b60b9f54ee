"""The nested state in a checkpoint: copied before it is written, and checked for what no run could have saved."""

import sys
from collections.abc import Mapping
from typing import Any

import torch


def copied(value: Any) -> Any:
    """A nested state with every tensor copied to the host; copies from a GPU may still be under way.

    Equal strings become one object, so that the bytes of a file do not depend on where the state came from.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, torch.Tensor):
        copy = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)  # torch caches page-locked memory
        return copy.copy_(value.detach(), non_blocking=True)
    if isinstance(value, Mapping):
        return {copied(key): copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(item) for item in value)
    return value


def non_finite(state: Any, name: str = "") -> str | None:
    """The name of a tensor that is not made of finite numbers, if there is one."""
    if isinstance(state, torch.Tensor):
        if state.layout != torch.strided:  # sparse: no part of this program saves such
            return name
        return name if state.is_floating_point() and not bool(state.isfinite().all()) else None
    inner = state.items() if isinstance(state, Mapping) else enumerate(state) if isinstance(state, list | tuple) else ()
    return next((bad for key, item in inner if (bad := non_finite(item, f"{name}.{key}".strip(".")))), None)


def describes(found: Mapping[str, Any], network: Mapping[str, Any]) -> bool:
    """Whether it has any of the network's keys, each with a value of the same type."""
    shared = [key for key in network if found.get(key) is not None]
    return bool(shared) and all(_kind(found[key]) == _kind(network[key]) for key in shared)


def _kind(value: Any) -> Any:
    """The type of a value, of a list with those of its items; all numbers are of one."""
    if isinstance(value, list):
        return frozenset(map(_kind, value))
    return float if isinstance(value, int) else type(value)
