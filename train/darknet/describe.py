"""Describes a network of this program as a darknet cfg, for `train.darknet.cfg` and darknet itself.

darknet has no true space-to-depth; it is written as a convolution, of 2x2 kernels with stride 2 that each pick a pixel.
"""

from collections.abc import Sequence

from train.graph.variants import POOL, POOL_SAME, VARIANTS, Description, Layers, parse_layers
from train.model import ModelConfig

SPACE_TO_DEPTH = {"size": "2", "stride": "2", "pad": "0", "activation": "linear"}
REGION = """[region]
anchors={anchors}
bias_match=1
classes={classes}
coords=4
num={num}
softmax=1
jitter=.3
rescore=1
object_scale=5
noobject_scale=1
class_scale=1
coord_scale=1
absolute=1
thresh=.6
random=1
"""


def as_cfg(config: ModelConfig, anchors: Sequence[float], num_classes: int, size_px: tuple[int, int]) -> str:
    """The text of the cfg. anchors: w, h, w, h ... in grid cells. size_px: width, height."""
    network = Description() if config.graph else VARIANTS[config.variant]
    if config.layers is not None:
        network = Description(coarse=parse_layers(config.layers))
    sections = _stack([*network.fine, *network.coarse, *network.neck], config.width)
    if network.fused:
        tap, end = len(_stack(network.fine, config.width)) - 1, len(sections) - 1  # layers that the fused ones read
        sections += [f"[route]\nlayers={tap - len(sections)}\n"]
        filters = network.fine[-1]
        if network.bottleneck:
            sections += _stack([-network.bottleneck], config.width)
            filters = network.bottleneck
        sections += [_passthrough(config, _scaled(filters, config.width))]
        sections += [f"[route]\nlayers=-1,{end - len(sections)}\n", *_stack(network.fused, config.width)]
    for line in config.graph or ():
        kind, *keys = line.split()
        sections += ["\n".join([f"[{kind}]", *keys, ""])]
    num_anchors = len(anchors) // 2
    output = f"[convolutional]\nsize=1\nstride=1\npad=1\nfilters={num_anchors * (5 + num_classes)}\nactivation=linear\n"
    width, height = size_px
    net = f"[net]\nbatch=1\nsubdivisions=1\nwidth={width}\nheight={height}\nchannels=3\n"
    listed = ", ".join(f"{number:g}" if float(f"{number:g}") == number else repr(number) for number in anchors)
    return "\n".join([net, *sections, output, REGION.format(anchors=listed, classes=num_classes, num=num_anchors)])


def _scaled(layer: int | str, width: float) -> int:
    return max(1, round(abs(int(layer)) * width))


def _stack(layers: Layers, width: float) -> list[str]:
    sections = []
    for layer in layers:
        if layer in (POOL, POOL_SAME):
            sections.append(f"[maxpool]\nsize=2\nstride={2 if layer == POOL else 1}\n")
        else:
            sections.append(
                f"[convolutional]\nbatch_normalize=1\nfilters={_scaled(layer, width)}\n"
                f"size={3 if int(layer) > 0 else 1}\nstride=1\npad=1\nactivation=leaky\n"
            )
    return sections


def _passthrough(config: ModelConfig, channels: int) -> str:
    if config.passthrough == "reorg":
        return "[reorg]\nstride=2\n"
    keys = "\n".join(f"{key}={value}" for key, value in SPACE_TO_DEPTH.items())
    return f"[convolutional]\n{keys}\nfilters={4 * channels}\n"
