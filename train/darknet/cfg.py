"""python -m train.darknet.cfg NET.cfg > CONFIG.yaml: a darknet network description as a config of this program.

Networks that are a plain stack, and those of the published shape (Darknet-19, one passthrough) at any width. [dropout]
is left out: it holds no weights and does nothing to a trained network.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from launch.command import run
from train.model import POOL, POOL_SAME, VARIANTS, Layers, ModelConfig, Passthrough

Section = dict[str, str]
SPACE_TO_DEPTH = {
    "size": "2",
    "stride": "2",
    "pad": "0",
    "activation": "linear",
}  # as `train.darknet.describe` writes it
TYPES = ("net", "network", "convolutional", "maxpool", "reorg", "route", "dropout", "region")


class Network(NamedTuple):
    """What a cfg says of a detector."""

    model: ModelConfig
    anchors: list[float]  #: w, h, w, h ... in grid cells
    num_classes: int
    side: int  #: px


def read_cfg(path: Path) -> Network:
    """ValueError for what these networks cannot be."""
    sections = _sections(path)
    kinds = [kind for kind, _ in sections]
    if not sections or kinds[0] not in ("net", "network") or kinds[-1] != "region":
        raise ValueError(
            f"{path}: expected a detector from [net] to [region], found {', '.join(kinds[:3]) or 'nothing'}"
        )
    if strange := sorted(set(kinds) - set(TYPES)):
        raise ValueError(f"{path}: expected sections of YOLOv2 ({', '.join(TYPES)}), found {', '.join(strange)}")
    net, region = sections[0][1], sections[-1][1]
    anchors = [float(number) for number in region.get("anchors", "").split(",") if number.strip()]
    num_classes, num_anchors = int(region.get("classes", 20)), int(region.get("num", 1))
    shuffling = [section for _, section in sections if SPACE_TO_DEPTH.items() <= section.items()]
    layers = [
        _layer(path, kind, section)
        for kind, section in sections[1:-1]
        if kind in ("convolutional", "maxpool") and section not in shuffling
    ]
    if not layers or layers[-1] != -num_anchors * (5 + num_classes) or len(anchors) != 2 * num_anchors:
        raise ValueError(
            f"{path}: expected {num_anchors} anchors and a last convolution of {num_anchors} * (5 + {num_classes}) 1x1 "
            f"filters, found {len(anchors) / 2:g} anchors and {layers[-1] if layers else 'none'}"
        )
    plain = not {"route", "reorg"} & set(kinds)
    model = _plain(path, layers[:-1]) if plain else _published(path, layers[:-1], bool(shuffling))
    return Network(model, anchors, num_classes, int(net.get("width", 416)))


def _sections(path: Path) -> list[tuple[str, Section]]:
    found: list[tuple[str, Section]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = re.sub(r"[#;].*", "", line).replace(" ", "").strip()
        if text.startswith("[") and text.endswith("]"):
            found.append((text[1:-1], {}))
        elif text:
            key, equals, value = text.partition("=")
            if not equals or not found:
                raise ValueError(f"{path}:{number}: expected key=value inside a [section], found {line!r}")
            found[-1][1][key] = value
    return found


def _layer(path: Path, kind: str, section: Section) -> int | str:
    size, stride = int(section.get("size", 1)), int(section.get("stride", 1))
    if kind == "maxpool":
        if size != 2 or stride not in (1, 2):
            raise ValueError(f"{path}: expected pools of size 2 and stride 1 or 2, found size {size}, stride {stride}")
        return POOL if stride == 2 else POOL_SAME
    if size not in (1, 3) or stride != 1:
        raise ValueError(f"{path}: expected 1x1 and 3x3 convolutions of stride 1, found {size}x{size}, stride {stride}")
    return int(section["filters"]) * (1 if size == 3 else -1)


def _plain(path: Path, layers: Layers) -> ModelConfig:
    for variant, description in VARIANTS.items():
        if not description.fused and (width := _width((*description.coarse, *description.neck), layers)):
            return ModelConfig(variant=variant, width=width)
    if POOL_SAME in layers:
        raise ValueError(
            f"{path}: expected pools of stride 1 only in the published tiny networks, found one in another"
        )
    return ModelConfig(layers=" ".join(map(str, layers)))


def _width(published: Layers, layers: Layers) -> float | None:
    """The factor on the published numbers of filters that gives these layers."""
    width = 0.0 if isinstance(layers[0], str) else abs(layers[0]) / abs(int(published[0]))
    scaled = [
        part if isinstance(part, str) else (-1 if part < 0 else 1) * max(1, round(abs(part) * width))
        for part in published
    ]
    return width if scaled == list(layers) else None


def _published(path: Path, layers: Layers, shuffling: bool) -> ModelConfig:
    for variant, description in VARIANTS.items():
        bottleneck = [-description.bottleneck] if description.bottleneck else []
        parts = [*description.fine, *description.coarse, *description.neck, *bottleneck, *description.fused]
        if description.fused and (width := _width(parts, layers)):
            passthrough: Passthrough = "space_to_depth" if shuffling else "reorg"
            return ModelConfig(variant=variant, passthrough=passthrough, width=width)
    raise ValueError(f"{path}: its convolutions are not those of {' or '.join(VARIANTS)} at any width")


def as_config(network: Network, name: str) -> str:
    """YAML."""
    model = {key: getattr(network.model, key) for key in ("variant", "passthrough", "width", "layers")}
    default = ModelConfig()
    text: str = yaml.safe_dump(
        {
            "run": f"runs/{name}",
            "anchors": network.anchors,
            "data": {"train": "datasets/voc/train", "val": "datasets/voc/test", "resize": "darknet-letterbox"},
            "model": {key: value for key, value in model.items() if value != getattr(default, key)},
            "evaluate": {"side": network.side},
        },
        sort_keys=False,
        default_flow_style=None,
    )
    return text


def main(words: Sequence[str]) -> None:
    if len(words) != 1:
        raise ValueError("expected python -m train.darknet.cfg NET.cfg")
    path = Path(words[0])
    print(as_config(read_cfg(path), path.stem), end="")


if __name__ == "__main__":
    sys.exit(run(main))
