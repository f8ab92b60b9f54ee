"""darknet's .weights files (src/parser.c, load_weights_upto and save_weights_upto).

Little-endian: int32 major, minor, revision; images seen, 8 bytes from version 0.2 on, 4 bytes before; then float32 for
each convolution in the order of the cfg: bias (beta), and with batch norm gamma, running mean, running variance, then
the kernel (out, in, height, width).
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from train.layers import SpaceToDepth
from train.model import YOLOv2


class Header(NamedTuple):
    major: int
    minor: int
    revision: int
    seen: int  #: images

    @property
    def wide(self) -> bool:
        """Whether `seen` has 8 bytes."""
        return self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000


def load_weights(model: YOLOv2, path: Path, *, partial: bool = False) -> Header:
    """Fills the model. `partial`: the file may end after any whole convolution (darknet19_448.conv.23 holds 18).

    ValueError for a file that does not fit, with the layer where it stops fitting; the model is then unchanged.
    """
    header, numbers = read_numbers(path)
    numbers = without_passthrough(model, numbers)
    groups = in_order(model)
    counts = range(1, len(groups) + 1) if partial else (len(groups),)
    fitting = [count for count in counts if _size(groups[:count]) == len(numbers)]
    if not fitting:
        raise ValueError(f"{path} {misfit(len(numbers), groups)}")
    fill(groups[: fitting[0]], numbers)
    return header


@torch.no_grad()
def fill(groups: Sequence[Sequence[torch.Tensor]], numbers: NDArray[np.float32]) -> None:
    """Fills convolutions, one after the other, from the first number on."""
    at = 0
    for tensor in (tensor for group in groups for tensor in group):
        tensor.copy_(torch.from_numpy(numbers[at : at + tensor.numel()]).view(tensor.shape))
        at += tensor.numel()


def misfit(count: int, groups: Sequence[Sequence[torch.Tensor]]) -> str:
    """A sentence on where a file of `count` numbers stops fitting these convolutions, and the likely cause."""
    ends = np.cumsum([_size([group]) for group in groups])
    number = int(np.searchsorted(ends, count))
    if number == len(groups):
        place = f"{count - ends[-1]:,} are left over after the last convolution"
        cause = "something was appended to it"
    else:
        filters, channels, height, width = groups[number][-1].shape
        inside = "ends with" if ends[number] == count else "ends inside"
        place = f"it {inside} convolution {number + 1}, {filters} filters of {height}x{width} on {channels} channels"
        cause = "it is incomplete"
    return (
        f"holds {count:,} numbers, this network of {len(groups)} convolutions takes {ends[-1]:,}; {place}. Either it "
        f"was trained with another cfg: check variant, width, classes, anchors and batch_normalize; or {cause}: "
        "compare its size with the original's"
    )


def _size(groups: Sequence[Sequence[torch.Tensor]]) -> int:
    return sum(tensor.numel() for group in groups for tensor in group)


def read_numbers(path: Path) -> tuple[Header, NDArray[np.float32]]:
    """Header and numbers of a file. ValueError: it is too short for a header, or ends inside a number."""
    data = path.read_bytes()
    if len(data) < 16:
        raise ValueError(f"{path}: {len(data)} bytes are too few for the header of a .weights file")
    header = Header(*struct.unpack("<iiii", data[:16]))
    size = 16
    if header.wide:
        size = 20
        header = header._replace(seen=struct.unpack("<q", data[12:20])[0] if len(data) >= 20 else 0)
    if (len(data) - size) % 4:
        raise ValueError(
            f"{path}: expected whole float32 numbers after a header of {size} bytes, found {len(data)} bytes; it is "
            "incomplete, or something was appended to it: compare its size with the original's"
        )
    return header, np.frombuffer(data, "<f4", offset=min(size, len(data))).astype(np.float32)


def save_weights(
    model: YOLOv2,
    path: Path,
    *,
    seen: int = 0,
    convolutions: int | None = None,
    wide: bool = True,
    passthrough: bool = False,
) -> None:
    """Writes the first `convolutions` of the model (default: all), as version 0.2, or 0.1 if not `wide`.

    passthrough: also write a true space-to-depth, as a convolution (`train.darknet.describe`).
    """
    header = struct.pack("<iiiq", 0, 2, 0, seen) if wide else struct.pack("<iiii", 0, 1, 0, seen)
    parts: list[NDArray[np.float32]] = [
        tensor.detach().cpu().contiguous().numpy().astype("<f4").ravel()
        for group in in_order(model)[:convolutions]
        for tensor in group
    ]
    if passthrough and isinstance(model.passthrough, SpaceToDepth):
        at, kernel = _passthrough(model)
        parts.insert(sum(len(group) for group in in_order(model)[:at]), np.append(np.zeros(len(kernel), "<f4"), kernel))
    path.write_bytes(header + b"".join(part.tobytes() for part in parts))


def without_passthrough(model: YOLOv2, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """The numbers of a file written with `passthrough`, without it; those of any other file unchanged."""
    if not isinstance(model.passthrough, SpaceToDepth):
        return numbers
    at, kernel = _passthrough(model)
    more = len(kernel) + kernel.size
    if len(numbers) != _size(in_order(model)) + more:
        return numbers
    first = _size(in_order(model)[:at])
    if not np.array_equal(numbers[first : first + more], np.append(np.zeros(len(kernel), "<f4"), kernel)):
        raise ValueError("expected the passthrough to be a space-to-depth, found a trained convolution in its place")
    return np.delete(numbers, slice(first, first + more))


def _passthrough(model: YOLOv2) -> tuple[int, NDArray[np.float32]]:
    """The number of convolutions before it, and its kernel: output (dy*2 + dx)*C + c sees channel c at dy, dx."""
    at = len(in_order(model)) - len(in_order(model.fused)) - 1
    channels = (in_order(model.fused)[0][-1].shape[1] - in_order(model.neck)[-1][-1].shape[0]) // 4
    kernel = np.zeros((2, 2, channels, channels, 2, 2), "<f4")
    for dy, dx, channel in np.ndindex(2, 2, channels):
        kernel[dy, dx, channel, channel, dy, dx] = 1
    return at, kernel.reshape(4 * channels, channels, 2, 2)


def in_order(model: nn.Module) -> list[list[torch.Tensor]]:
    """The tensors of each convolution in darknet's order: modules are created in the order of the cfg."""
    groups: list[list[torch.Tensor]] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            groups.append([] if module.bias is None else [module.bias, module.weight])
            kernel = module.weight
        elif isinstance(module, nn.BatchNorm2d):  # belongs to the convolution before it, which has no bias
            assert module.running_mean is not None and module.running_var is not None
            groups[-1] = [module.bias, module.weight, module.running_mean, module.running_var, kernel]
    return groups
