"""Transfers saved tensors into a network: by name, in darknet's order, or by order and shape if names differ.

The unit is a convolution with its batch norm, used entirely or not at all. Others keep their initial values.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from data.wording import counted
from train.darknet.weights import fill, in_order, misfit, read_numbers, without_passthrough
from train.model import YOLOv2
from train.weights.foreign import Parts, ordered_convolutions
from train.weights.saved import Saved, is_darknets, read_saved

LEAVES = {
    "kernel": "conv.weight",
    "scale": "norm.weight",
    "shift": "norm.bias",
    "mean": "norm.running_mean",
    "variance": "norm.running_var",
}
BY_NAME = "by name"
CLASSIFIER = "a classifier's last layer"


class Transfer(NamedTuple):
    """The outcome of a transfer."""

    how: str  #: "by name" ...
    filled: list[str]  #: names of our convolutions that were filled
    new: list[str]
    notes: list[str]  #: what was used in part, and what in the file was not

    @property
    def summary(self) -> list[str]:
        """One line on what was used, one on what is new."""
        lines = [f"{len(self.filled)} of {counted(len(self.filled) + len(self.new), 'convolution')}, {self.how}"]
        if self.new or self.notes:
            lines.append("; ".join([f"new: {', '.join(self.new)}"] * bool(self.new) + self.notes))
        return lines


def transfer(path: Path, model: YOLOv2, network: Mapping[str, Any], saved: Saved | None = None) -> Transfer:
    """Fills what fits. ValueError if no convolution of the backbone does; nothing is changed then.

    ValueError, too, for numbers that no network computes with: not finite, or variances below 0.

    network: `Config.network` of the model, whose classes and anchors say which rows of the output mean the same.
    saved: the content of the file, if the caller has read it.
    """
    here = parts_of(model)
    if is_darknets(path):
        found = _in_darknets_order(path, model)
    else:
        saved = saved or read_saved(path)
        found = _by_name(saved, here, network) if _ours(saved, here) else _by_shape(path, saved, here)
    if not any(name.startswith("backbone.") for name in found.filled):
        hints = found.notes if found.how != BY_NAME else []  # by name, they are about the output
        raise ValueError(
            f"{path}: expected weights of this backbone, which begins with a kernel of {_shape(here, 0)}, found none "
            f"that fit; {'; '.join(hints) or 'compare model.variant, model.width and model.layers'}"
        )
    if wrong := [name for name, parts in here.items() if not all(map(_is_usable, parts, parts.values()))]:
        raise ValueError(
            f"{path}: expected finite numbers, and variances of at least 0, found others in {', '.join(wrong[:3])}; "
            "it is damaged, or its training diverged: use an earlier file"
        )
    return found


def _is_usable(part: str, tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all()) and (part != "variance" or bool((tensor >= 0).all()))


def parts_of(model: YOLOv2) -> dict[str, Parts]:
    """Parts by the name of each convolution, in darknet's order."""
    found: dict[str, Parts] = {}
    for name, module in model.named_modules():
        if isinstance(getattr(module, "norm", None), nn.BatchNorm2d):
            found[name] = {part: _get(module, leaf) for part, leaf in LEAVES.items()}
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            found[name] = {"kernel": module.weight, "bias": module.bias}
    return found


def _get(module: nn.Module, leaf: str) -> torch.Tensor:
    tensor = module.get_submodule(leaf.partition(".")[0])
    value: torch.Tensor = getattr(tensor, leaf.partition(".")[2])
    return value


def _shape(parts: Mapping[str, Parts], number: int) -> str:
    return "x".join(map(str, list(parts.values())[number]["kernel"].shape))


def _ours(saved: Saved, here: Mapping[str, Parts]) -> bool:
    return bool(saved.network) or any(f"{name}.conv.weight" in saved.tensors for name in here)


def _fits(there: Mapping[str, torch.Tensor], here: Parts) -> bool:
    return there.keys() == here.keys() and all(there[part].shape == here[part].shape for part in here)


@torch.no_grad()
def _fill(here: Parts, there: Mapping[str, torch.Tensor]) -> None:
    for part, tensor in here.items():
        tensor.copy_(there[part])


def _by_name(saved: Saved, here: Mapping[str, Parts], network: Mapping[str, Any]) -> Transfer:
    filled: list[str] = []
    notes: list[str] = []
    for name, parts in here.items():
        leaves = LEAVES if "scale" in parts else {"kernel": "weight", "bias": "bias"}
        there = {
            part: saved.tensors[f"{name}.{leaf}"] for part, leaf in leaves.items() if f"{name}.{leaf}" in saved.tensors
        }
        if name == "output" and saved.network and _meanings(saved.network) != _meanings(network):
            notes += _fill_rows(parts, there, saved.network, network)
        elif _fits(there, parts):
            _fill(parts, there)
            filled.append(name)
    return Transfer(BY_NAME, filled, [name for name in here if name not in filled], notes)


def _meanings(network: Mapping[str, Any]) -> tuple[list[float], list[str]]:
    return list(network.get("anchors", ())), list(network["classes"])


@torch.no_grad()
def _fill_rows(here: Parts, there: Parts, saved: Mapping[str, Any], network: Mapping[str, Any]) -> list[str]:
    """Fills rows of the output with equal meaning: box and objectness if anchors are equal, and shared classes."""
    (anchors, classes), (_, wanted) = _meanings(saved), _meanings(network)
    if anchors != list(network["anchors"]):
        return [f"other anchors (the file's: anchors=[{','.join(map(str, anchors))}])"]
    if there.keys() != here.keys() or there["kernel"].shape[1] != here["kernel"].shape[1]:
        return []
    shared = [each for each in wanted if each in classes]
    rows_here = [*range(5), *(5 + wanted.index(each) for each in shared)]
    rows_there = [*range(5), *(5 + classes.index(each) for each in shared)]
    num_anchors = len(anchors) // 2
    for part, tensor in here.items():
        by_anchor = there[part].view(num_anchors, 5 + len(classes), *there[part].shape[1:])
        tensor.view(num_anchors, 5 + len(wanted), *tensor.shape[1:])[:, rows_here] = by_anchor[:, rows_there]
    return [f"in the output box, objectness and {len(shared)} of {counted(len(wanted), 'class')} were used"]


def _in_darknets_order(path: Path, model: YOLOv2) -> Transfer:
    """Fills from a whole file, a prefix that ends with a convolution, or one with another size of last layer."""
    numbers = without_passthrough(model, read_numbers(path)[1])
    groups, names = in_order(model), list(parts_of(model))
    sizes = [sum(tensor.numel() for tensor in group) for group in groups]
    ends = [sum(sizes[: count + 1]) for count in range(len(sizes))]
    if len(numbers) in ends:
        count, notes = ends.index(len(numbers)) + 1, list[str]()
    else:
        count, notes = _with_another_end(len(numbers), ends, names, groups)
    fill(groups[:count], numbers)
    return Transfer("in darknet's order", names[:count], names[count:], notes)


def _with_another_end(
    size: int, ends: Sequence[int], names: Sequence[str], groups: Sequence[Sequence[torch.Tensor]]
) -> tuple[int, list[str]]:
    """The number of convolutions before a last 1x1 one without batch norm: a classifier's, or for other classes."""
    backbone = sum(name.startswith("backbone.") for name in names)
    for count, what in ((len(names) - 1, "an output"), (backbone, CLASSIFIER)):
        channels = groups[count - 1][-1].shape[0] if count == backbone else groups[count][-1].shape[1]
        rest = size - ends[count - 1]
        if rest > 0 and rest % (channels + 1) == 0:
            return count, [f"the file ends with {what} of {rest // (channels + 1)} filters"]
    return 0, [f"it {misfit(size, groups)}"]


def _by_shape(path: Path, saved: Saved, here: Mapping[str, Parts]) -> Transfer:
    """Fills convolutions up to the first that does not fit: from there on the networks differ."""
    there = ordered_convolutions(saved.tensors)
    if not there:
        raise ValueError(f"{path}: expected convolutions (NAME.weight of four dimensions), found none")
    filled = []
    for (name, parts), found in zip(here.items(), there, strict=False):
        if not _fits(found, parts):
            break
        _fill(parts, found)
        filled.append(name)
    notes = [f"{len(there) - len(filled)} of the file's were not used"] * (len(there) > len(filled))
    if not filled:
        notes = [f"its first kernel is {'x'.join(map(str, there[0]['kernel'].shape))}"]
    return Transfer("by order and shape", filled, [name for name in here if name not in filled], notes)
