"""State dicts of other programs: which tensors form a convolution, and the order of the convolutions."""

from collections.abc import Mapping
from itertools import pairwise

import torch

Parts = dict[str, torch.Tensor]  # of one convolution: kernel, and bias; or scale, shift, mean, variance of its norm


def ordered_convolutions(tensors: Mapping[str, torch.Tensor]) -> list[Parts]:
    """Convolutions in the order of a state dict, each with the batch norm that follows it.

    If a file lists several norms in a row, the first belongs to the first convolution with as many channels.
    """
    modules: dict[str, Parts] = {}
    for name, tensor in tensors.items():
        prefix, _, leaf = name.rpartition(".")
        modules.setdefault(prefix, {})[leaf] = tensor
    kinds = ["norm" if "running_mean" in each else "conv" for each in modules.values() if _is_layer(each)]
    interleaved = ("norm", "norm") not in pairwise(kinds)
    found: list[Parts] = []
    for module in modules.values():
        if "running_mean" in module:
            waiting = [
                each for each in found if "mean" not in each and len(each["kernel"]) == len(module["running_mean"])
            ]
            if waiting:
                _join(waiting[-1 if interleaved else 0], module)
        elif _is_layer(module):
            found.append({"kernel": module["weight"], **({"bias": module["bias"]} if "bias" in module else {})})
    return found


def _is_layer(module: Parts) -> bool:
    return "running_mean" in module or ("weight" in module and module["weight"].ndim == 4)


def _join(convolution: Parts, norm: Parts) -> None:
    """Joins a norm to its convolution; a bias before a batch norm only shifts the mean."""
    mean, variance = norm["running_mean"], norm["running_var"]
    convolution["scale"] = norm.get("weight", torch.ones_like(mean))
    convolution["shift"] = norm.get("bias", torch.zeros_like(mean))
    convolution["mean"] = mean - convolution.pop("bias", torch.zeros_like(mean))
    convolution["variance"] = variance
