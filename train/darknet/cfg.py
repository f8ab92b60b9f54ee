"""python -m train.darknet.cfg NET.cfg > CONFIG.yaml: a darknet network description as a config of this program.

Keys that affect the computation are translated or refused, with file, line and key. Keys that only training reads go
into the config if it has such keys; a comment at the top lists the others.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from launch.command import run
from train.darknet.keys import sort_keys, training_config
from train.darknet.sections import Section, read_sections
from train.darknet.shorthand import shorthand
from train.detection.validate import CELL_PX
from train.graph.layer_specs import KEYS, Convolution, KeyProblem, Layer, read_layer
from train.graph.shapes import Shape, shape_after
from train.model import ModelConfig

TYPES = ("net", *KEYS, "region")


class Network(NamedTuple):
    """A detector as a cfg describes it."""

    model: ModelConfig
    anchors: list[float]  #: w, h, w, h ... in grid cells
    num_classes: int
    size_px: tuple[int, int]  #: width, height
    softmax: bool  #: classes exclude each other
    training: dict[str, Any]  #: config keys that only training reads
    remarks: list[str]  #: keys that only training would read, and the config lacks


def read_cfg(path: Path) -> Network:
    """Reads a cfg. ValueError with file, line and key for what this program cannot compute."""
    sections = read_sections(path)
    kinds = [section.kind for section in sections]
    if not sections or kinds[0] != "net" or kinds[-1] != "region":
        raise ValueError(
            f"{path}: expected a detector from [net] to [region], found {', '.join(kinds[:3]) or 'nothing':.80}"
        )
    for section in sections:
        if section.kind not in TYPES or (
            section.kind in ("net", "region") and section not in (sections[0], sections[-1])
        ):
            raise ValueError(
                f"{path}:{section.line}: expected sections of YOLOv2 ({', '.join(TYPES)}), found [{section.kind:.80}]"
            )
    net, region = sections[0], sections[-1]
    sorted_keys = [sort_keys(section) for section in sections]
    size_px = _size(net)
    computing = [keys for keys, _ in sorted_keys]
    for side in dict.fromkeys((416, *size_px)):  # what fits one input by chance must fit all inputs
        described = _layers(sections[1:-1], computing[1:-1], side)
    anchors, num_classes = _region(region, sections[-2], described[-1])
    training, remarks = training_config(net, region)
    if size_px[0] != size_px[1]:
        remarks.append(f"line {net.lines['height']}, [net] height={size_px[1]}: training is on squares of data.sides")
    return Network(
        _as_model(sections[1:-2], computing[1:-2], described[:-1]),
        anchors,
        num_classes,
        size_px,
        bool(region.whole("softmax", 0)),
        training,
        [*(remark for _, remarks in sorted_keys for remark in remarks), *remarks],
    )


def _size(net: Section) -> tuple[int, int]:
    width, height = net.whole("width", least=1), net.whole("height", least=1)
    for key, length in (("width", width), ("height", height)):
        if length % CELL_PX:
            raise net.error(key, f"expected a multiple of {CELL_PX}, the stride of the network")
    if net.whole("channels", 3) != 3:
        raise net.error("channels", "expected 3, red, green and blue")
    return width, height


def _layers(sections: Sequence[Section], computing: Sequence[set[str]], side: int) -> list[Layer]:
    layers: list[Layer] = []
    shapes: list[Shape] = [(3, side)]
    for section, keys in zip(sections, computing, strict=True):
        try:
            layers.append(read_layer(section.kind, {key: section.options[key] for key in keys}))
            shapes.append(shape_after(layers[-1], shapes))
        except KeyProblem as problem:
            raise section.error(problem.key, problem.problem) from None
    if layers and shapes[-1][1] * CELL_PX != side:
        raise ValueError(
            f"{sections[-1].path}:{sections[-1].line}: expected cells of {CELL_PX} px, {side // CELL_PX} each way of "
            f"an input of {side} px, found {shapes[-1][1]}; the strides of all layers must give {CELL_PX}"
        )
    return layers


def _region(region: Section, last_section: Section, last: Layer) -> tuple[list[float], int]:
    anchors, num_classes = region.numbers("anchors"), region.whole("classes", 20, least=1)
    num_anchors = region.whole("num", 1, least=1)
    if region.whole("coords", 4) != 4:
        raise region.error("coords", "expected 4: x, y, w, h")
    region.whole("softmax", 0)
    if len(anchors) != 2 * num_anchors or not all(0 < each < float("inf") for each in anchors):
        raise region.error("anchors", f"expected w, h of num={num_anchors} anchors, {2 * num_anchors} positive numbers")
    if not isinstance(last, Convolution):
        raise ValueError(f"{region.path}:{last_section.line}: expected a [convolutional] before [region]")
    filters = num_anchors * (5 + num_classes)
    if last.filters != filters:
        raise last_section.error("filters", f"expected {filters}, {num_anchors} anchors * (5 + {num_classes} classes)")
    plain = Convolution(filters, 1, 1, 0, 1, False, "linear")
    keys = {"size": "size", "stride": "stride", "padding": "padding", "groups": "groups"}
    for name, key in {**keys, "normalized": "batch_normalize", "activation": "activation"}.items():
        if getattr(last, name) != getattr(plain, name):
            raise last_section.error(key, f"expected {getattr(plain, name)} in the convolution before [region]")
    return anchors, num_classes


def _as_model(sections: Sequence[Section], computing: Sequence[set[str]], layers: Sequence[Layer]) -> ModelConfig:
    graph = [
        " ".join([section.kind, *(f"{key}={section.options[key]}" for key in section.options if key in keys)])
        for section, keys in zip(sections, computing, strict=True)
    ]
    return shorthand(layers) or ModelConfig(graph=graph)


def as_config(network: Network, name: str) -> str:
    """The config as YAML. name: of its run folder."""
    model = {key: getattr(network.model, key) for key in ("variant", "passthrough", "width", "layers", "graph")}
    default = ModelConfig()
    training = {section: dict(keys) for section, keys in network.training.items()}
    width, height = network.size_px
    data = {"train": "datasets/voc/train", "val": "datasets/voc/test", "resize": "darknet-letterbox"}
    tree: dict[str, Any] = {
        "run": f"runs/{name}",
        "anchors": network.anchors,
        "data": {**data, **training.pop("data", {})},
        "model": {key: value for key, value in model.items() if value != getattr(default, key)},
        "evaluate": {"side": width, **({"height": height} if height != width else {})},
        **training,
    }
    if not network.softmax:
        tree["loss"] = {**tree.get("loss", {}), "softmax": False}
    text: str = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=2**16)
    remarks = "".join(f"#   {remark}\n" for remark in network.remarks)
    return (f"# not translated, used in training only:\n{remarks}" if remarks else "") + text


def translated(path: Path) -> str:
    """The YAML of a cfg file; keys used in training only, which are not translated, are listed on stderr."""
    network = read_cfg(path)
    for remark in network.remarks:
        print(f"{path}: not translated, used in training only: {remark}", file=sys.stderr)
    return as_config(network, path.stem)


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1:
        raise ValueError("expected python -m train.darknet.cfg NET.cfg")
    path = Path(arguments[0])
    print(as_config(read_cfg(path), path.stem), end="")


if __name__ == "__main__":
    sys.exit(run(main, lambda: __doc__ or ""))
