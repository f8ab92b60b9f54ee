"""Recipes: sets of defaults, overridden by every key of a file or the command line.

`darknet` is the dataclasses' own defaults: the published recipe, for pretrained weights. `scratch` trains from random
weights on any set, large or small: its durations are shares of the run.
"""

from collections.abc import Sequence
from typing import Any, Literal

Recipe = Literal["darknet", "scratch"]

RECIPES: dict[str, dict[str, Any]] = {
    "darknet": {},
    "scratch": {
        "anchors": "auto",
        "data": {"batch": 16, "truth_slots": "auto"},
        "model": {"bn_momentum": "auto", "objectness_bias": -4.0},
        "loss": {
            "coord": 2.0,
            "objectness": "bce",
            "object": 1.0,
            "noobject": 0.5,
            "anchor_iou": 0.5,
            "prior_images": 800,
        },
        "step": {"optimizer": "adamw", "decay": 0.02, "clip_norm": 10.0, "ema": "6 %"},
        "evaluate": {"every_epochs": "auto"},
        "schedule": {"rate": 3e-3, "burn_in": "4 %", "power": 1.0, "shape": "cosine", "final": 0.02},
    },
}

#: Keys that say the same in two ways: a file or command line that sets one unsets the other.
PAIRS = [
    ("step", "ema", "ema_images"),
    ("schedule", "burn_in", "burn_in_images"),
    ("schedule", "drops", "drop_images"),
]


def over_its_recipe(layers: Sequence[Any]) -> list[dict[str, Any]]:
    """A recipe's defaults, and the layers that override them: a file and a command line, as plain mappings."""
    named = _named([layer for layer in layers if isinstance(layer, dict)])
    return [RECIPES.get(named, {}), *(_alone(layer) for layer in layers), {"recipe": named}]


def _named(layers: list[dict[str, Any]]) -> str:
    """The recipe named by the topmost layer; otherwise darknet if there are weights to start from, else scratch."""
    recipe = next((layer["recipe"] for layer in reversed(layers) if layer.get("recipe") is not None), None)
    weights = next((layer["weights"] for layer in reversed(layers) if "weights" in layer), None)
    return str(recipe) if recipe is not None else "darknet" if weights else "scratch"


def _alone(layer: Any) -> Any:
    """A layer that fully overrides lower ones: the other key of a pair is null, drops of the rate imply steps."""
    if not isinstance(layer, dict):
        return layer
    layer = {key: dict(value) if isinstance(value, dict) else value for key, value in layer.items()}
    for section, one, other in PAIRS:
        said = layer.get(section)
        if isinstance(said, dict):
            for given, replaced in ((one, other), (other, one)):
                if said.get(given) is not None:
                    said.setdefault(replaced, None)
    schedule = layer.get("schedule")
    if isinstance(schedule, dict) and any(schedule.get(key) is not None for key in ("drops", "drop_images")):
        schedule.setdefault("shape", "steps")
    return layer
