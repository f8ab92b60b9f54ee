"""Darknet-19 and YOLOv2 (arXiv 1612.08242, section 3; darknet cfg/yolov2-voc.cfg). `python -m train.model` prints it.

    B images  C channels  H W grid cells of 32 px  A anchors

Attributes are created in the order of darknet's cfg, which is also the order of its .weights files.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from launch.command import run
from train.detection.validate import CELL_PX
from train.graph.network import Graph, parse_graph
from train.graph.variants import COARSE, FINE, VARIANTS, Description, Layers, Variant, build_stack, parse_layers
from train.layers import Output, Reorg, SpaceToDepth

Passthrough = Literal["space_to_depth", "reorg"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    variant: Variant = "yolov2"  #: the network, after darknet's cfgs
    passthrough: Passthrough = "space_to_depth"  #: reorg: darknet's own order, needed for its trained detectors
    width: float = 1.0  #: [factor] on every number of filters except the output's
    objectness_bias: float = 0.0  #: [logit] initial bias of the output; darknet: 0; -4: hardly any objects at first
    bn_momentum: float | str = 0.01  #: [share] of new values in statistics (darknet: .01); auto: by the run's length
    layers: str | None = None  #: a plain network of your own instead: "16 pool 32 pool ... -64 128", negative is 1x1
    graph: list[str] | None = None  #: any network instead, in darknet's terms, up to the last convolution

    def __post_init__(self) -> None:
        if not 0 < self.width <= 4:
            raise ValueError(f"model.width={self.width}: expected 0 < width <= 4; 1 is the published network")
        if self.bn_momentum != "auto" and (isinstance(self.bn_momentum, str) or not 0 < self.bn_momentum < 1):
            raise ValueError(f"model.bn_momentum={self.bn_momentum}: expected a share between 0 and 1, or auto")
        if self.layers is not None:
            parse_layers(self.layers)
        if self.graph is not None:
            parse_graph(self.graph)
            for name, default in (("width", 1.0), ("layers", None), ("variant", "yolov2")):
                if getattr(self, name) != default:
                    raise ValueError(f"model.{name}={getattr(self, name)}: expected {default} with model.graph")

    def momentum(self, steps: int | None) -> float:
        """Momentum of batch norm. auto: statistics cover the last 1/30 of the steps, at least 10 and at most 100."""
        if not isinstance(self.bn_momentum, str):
            return self.bn_momentum
        return 0.01 if steps is None else min(max(30 / max(steps, 1), 0.01), 0.1)


class Darknet19(nn.Module):
    """The 18 convolutions below the classifier: [B, 3, 32H, 32W] -> ([B, 512, 2H, 2W], [B, 1024, H, W])."""

    def __init__(
        self, width: float = 1.0, bn_momentum: float = 0.01, fine: Layers = FINE, coarse: Layers = COARSE
    ) -> None:
        super().__init__()
        self.fine, self.fine_channels = build_stack(fine, 3, width, bn_momentum)
        self.coarse, self.coarse_channels = build_stack(coarse, self.fine_channels, width, bn_momentum)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.fine(images)
        return fine, self.coarse(fine)


class PlainBackbone(nn.Module):
    """A single stack without a passthrough, as in the tiny networks: [B, 3, 32H, 32W] -> [B, C, H, W], twice."""

    def __init__(self, layers: Layers, width: float, bn_momentum: float) -> None:
        super().__init__()
        self.coarse, self.coarse_channels = build_stack(layers, 3, width, bn_momentum)
        self.fine_channels = 0

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        coarse = self.coarse(images)
        return coarse, coarse


class YOLOv2(nn.Module):
    """[B, 3, 32H, 32W] images, RGB in 0..1 -> [B, A*(5+C), H, W] raw head output, C classes.

    Channel a*(5+C) + e belongs to anchor a; e = x, y, w, h, objectness, classes (`detection/head.py`).
    """

    def __init__(
        self,
        num_classes: int = 20,
        num_anchors: int = 5,
        *,
        variant: Variant = "yolov2",
        passthrough: Passthrough = "space_to_depth",
        width: float = 1.0,
        bn_momentum: float = 0.01,
        objectness_bias: float = 0.0,
        layers: str | None = None,
        graph: Sequence[str] | None = None,
    ) -> None:
        """layers: a plain network, graph: any network, instead of a variant."""
        super().__init__()
        description = VARIANTS[variant]
        if layers is not None or graph is not None:
            description = Description(coarse=parse_layers(layers) if layers else ())
        self.num_classes, self.num_anchors, self.frozen = num_classes, num_anchors, False
        self.backbone: Darknet19 | PlainBackbone | Graph
        if graph is not None:
            self.backbone = Graph(parse_graph(graph), bn_momentum)
        else:
            self.backbone = _backbone(description, width, bn_momentum)
        self.neck, channels = build_stack(description.neck, self.backbone.coarse_channels, width, bn_momentum)
        self.bottleneck: nn.Module | None = None
        self.passthrough: nn.Module | None = None
        if description.fused:
            tap = self.backbone.fine_channels
            if description.bottleneck:
                self.bottleneck, tap = build_stack((-description.bottleneck,), tap, width, bn_momentum)
            self.passthrough = SpaceToDepth(2) if passthrough == "space_to_depth" else Reorg()
            channels += 4 * tap
        self.fused, channels = build_stack(description.fused, channels, width, bn_momentum)
        self.output = Output(channels, num_anchors * (5 + num_classes), 1)
        self._initialise()
        assert self.output.bias is not None
        with torch.no_grad():
            self.output.bias[4 :: 5 + num_classes] = objectness_bias

    def _initialise(self) -> None:
        """darknet: weights N(0, 2/fan_in), gamma 1, beta and bias 0 (src/convolutional_layer.c, make_...)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def freeze_backbone(self) -> None:
        """Freezes the backbone's weights and batch-norm statistics; forward keeps nothing of it for backward."""
        self.frozen = True
        self.backbone.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "YOLOv2":
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        if height % CELL_PX or width % CELL_PX or images.numel() == 0:
            raise ValueError(
                f"images {list(images.shape)}: expected [B, 3, height, width] in multiples of {CELL_PX} px, the side "
                "of a grid cell; resize or pad them"
            )
        fine, coarse = self.backbone(images)
        features = self.neck(coarse)
        if self.passthrough is not None:
            tap = fine if self.bottleneck is None else self.bottleneck(fine)
            features = torch.cat([self.passthrough(tap), features], dim=1)
        raw: torch.Tensor = self.output(self.fused(features))
        return raw


def _backbone(description: Description, width: float, bn_momentum: float) -> Darknet19 | PlainBackbone:
    if description.fused:
        return Darknet19(width, bn_momentum, description.fine, description.coarse)
    return PlainBackbone(description.coarse, width, bn_momentum)


def build_model(config: ModelConfig, num_classes: int, num_anchors: int, steps: int | None = None) -> YOLOv2:
    """The model of a config. steps: of the run that will train it, for `bn_momentum: auto`."""
    return YOLOv2(
        num_classes,
        num_anchors,
        variant=config.variant,
        passthrough=config.passthrough,
        width=config.width,
        bn_momentum=config.momentum(steps),
        objectness_bias=config.objectness_bias,
        layers=config.layers,
        graph=config.graph,
    )


def main(words: Sequence[str]) -> None:
    import torchinfo

    if words:
        raise ValueError(f"expected python -m train.model, found {' '.join(words)} after it")

    with torch.random.fork_rng():  # the summary draws random numbers
        torchinfo.summary(YOLOv2(), (1, 3, 416, 416), depth=4, verbose=1)


if __name__ == "__main__":
    sys.exit(run(main, lambda: __doc__ or ""))
