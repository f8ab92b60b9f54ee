"""What a step must not do: wait for the device between log lines, copy activations for their layout."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.train.stepping.test_step import batch_of, small_step

WAITS = ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal")
COPIES = ("clone", "_to_copy", "copy_", "contiguous")


class Watch(TorchDispatchMode):
    """Every operator of forward, backward and optimizer, with its inputs and output."""

    def __init__(self, look: Callable[[str, Sequence[Any], Any], None]) -> None:
        super().__init__()
        self.look, self.seen = look, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seen += 1
        self.look(func.overloadpacket.__name__, args, out)
        return out


@pytest.mark.parametrize("options", [{}, {"ema_images": 64, "accumulate": 2}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_no_step_waits_for_the_device(precision: str, options: dict[str, object]) -> None:
    def look(name: str, args: Sequence[Any], out: Any) -> None:
        assert name not in WAITS, f"{name} waits until the device has come so far"

    step, batch = small_step(precision=precision, **options), batch_of(4)
    step(batch, 0)
    with Watch(look) as watch:
        step(batch, 4)
        step.norms()
    assert watch.seen > 500


def test_a_wait_would_be_seen() -> None:
    found = []
    with Watch(lambda name, args, out: found.append(name)):
        float(torch.ones(()))
    assert set(found) & set(WAITS)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_channels_last_and_never_copied_into_another_layout(precision: str) -> None:
    """As far as operators go; what a library of convolutions reorders inside cannot be seen here."""
    copied, unexpected = [], []

    def image_like(tensor: Any) -> bool:
        return isinstance(tensor, torch.Tensor) and tensor.ndim == 4 and min(tensor.shape[1:]) > 2

    def look(name: str, args: Sequence[Any], out: Any) -> None:
        if not image_like(out) or len(out) != 3:  # three images: weights and targets have other shapes
            return
        if name in COPIES and (given := args[-1 if name == "copy_" else 0]).stride() != out.stride():
            copied.append((name, tuple(out.shape), given.stride(), out.stride()))
        of_network = any(part in name for part in ("conv", "norm", "leaky", "pool"))
        if of_network and not out.is_contiguous(memory_format=torch.channels_last):
            unexpected.append((name, tuple(out.shape), out.stride()))

    step, batch = small_step(precision=precision), batch_of(3, 96)
    step(batch, 0)
    with Watch(look):
        step(batch, 3)
    assert not copied
    assert not unexpected


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_only_the_loss_and_what_is_small_is_float32(precision: str) -> None:
    large = []
    raw = 3 * 16 * 3 * 3  # numbers that the head puts out

    def look(name: str, args: Sequence[Any], out: Any) -> None:
        if isinstance(out, torch.Tensor) and out.dtype == torch.float32 and out.ndim == 4 and out.numel() > raw:
            large.append((name, tuple(out.shape)))

    step, batch = small_step(precision=precision), batch_of(3, 96)
    step(batch, 0)
    with Watch(look):
        step(batch, 3)
    images = {shape for _, shape in large if shape[0] == 3}
    assert images == {(3, 96, 96, 3), (3, 3, 96, 96)} or images == {(3, 96, 96, 3)}  # pixels, before the network
