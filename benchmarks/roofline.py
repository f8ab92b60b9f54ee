"""python -m benchmarks.roofline: predicts the time of a step of the full network on a GPU from its rates.

Each convolution takes the time of its products, at a share of the rate of matrix products, or of its bytes at the
memory bandwidth, whichever is longer; forward once, backward twice. In addition batch norm and leaky ReLU move each
output: compiled 2 reads and 1 write in forward, 4 reads and 1 write in backward; eager 1 read and 1 write more in each.
Pixels move once each way; the optimizer reads and writes weights, momentum and gradients. `python -m benchmarks.step`
measures the same, and also the rate of matrix products.
"""

import argparse
from typing import NamedTuple

import torch
from torch import nn

from train.model import YOLOv2
from train.stepping.memory.peak import step_memory

BF16, FLOAT = 2, 4  # bytes
SIDES = (320, 416, 544, 608)


class Device(NamedTuple):
    matmul: float  # FLOP/s in bf16
    bandwidth: float  # bytes/s
    share: float  # of the rate of matrix products that convolutions reach


def layers(side: int) -> list[tuple[int, int, int]]:
    """FLOP of forward, numbers in and numbers out of each convolution, per image."""
    found: list[tuple[int, int, int]] = []

    def note(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        products = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        found.append((2 * products * out.numel(), given[0].numel(), out.numel()))

    with torch.device("meta"):
        model, image = YOLOv2(), torch.empty(1, 3, side, side)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    model(image)
    return found


def seconds(device: Device, side: int, images: int, compiled: bool) -> float:
    convolutions = passes = 0.0
    for flops, before, after in layers(side):
        of_products = images * flops / (device.matmul * device.share)
        of_bytes = images * BF16 * (before + after) / device.bandwidth
        convolutions += 3 * max(of_products, of_bytes)
        passes += images * BF16 * after * (8 if compiled else 12) / device.bandwidth
    with torch.device("meta"):
        weights = sum(parameter.numel() for parameter in YOLOv2().parameters())
    optimizer = weights * (5 * FLOAT + 3 * BF16) / device.bandwidth
    pixels = images * 3 * side**2 * (1 + 4 * FLOAT) / device.bandwidth
    return convolutions + passes + optimizer + pixels


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.roofline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--matmul", type=float, default=700, help="TFLOP/s in bf16; an H200's are 989 on paper")
    parser.add_argument("--bandwidth", type=float, default=3.8, help="TB/s; an H200's are 4.8 on paper")
    parser.add_argument("--share", type=float, default=0.75, help="of --matmul that convolutions reach")
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args()
    device = Device(options.matmul * 1e12, options.bandwidth * 1e12, options.share)
    print(
        f"predicted: {options.matmul:.0f} TFLOP/s, {options.bandwidth} TB/s, share {options.share}, "
        f"{options.images} images"
    )
    print(f"{'side':>5}{'compiled images/s':>19}{'of matmul':>11}{'eager':>8}{'compiled/eager':>16}{'GB (eager)':>12}")
    with torch.device("meta"):
        model = YOLOv2()
    for side in SIDES:
        fast, slow = (seconds(device, side, options.images, compiled) for compiled in (True, False))
        flops = 3 * options.images * sum(flops for flops, _, _ in layers(side))
        memory = step_memory(model, side=side, local=options.images, prefetched=True).total
        print(
            f"{side:>5}{options.images / fast:>19,.0f}{flops / fast / device.matmul:>11.0%}"
            f"{options.images / slow:>8,.0f}{slow / fast:>16.2f}{memory / 1e9:>12.1f}"
        )


if __name__ == "__main__":
    main()
