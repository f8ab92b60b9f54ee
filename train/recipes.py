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

#: Pairs of keys for one setting, as a duration and in images: a file or command line that sets one unsets the other.
ALTERNATIVES = [
    ("step", "ema", "ema_images"),
    ("schedule", "burn_in", "burn_in_images"),
    ("schedule", "drops", "drop_images"),
    ("schedule", "end", "end_images"),
]


def with_recipe_defaults(layers: Sequence[Any]) -> list[dict[str, Any]]:
    """The layers to merge: the recipe's defaults, then those given, a file and a command line as plain mappings."""
    recipe = _recipe_of([layer for layer in layers if isinstance(layer, dict)])
    return [RECIPES.get(recipe, {}), *(_unset_alternatives(layer) for layer in layers), {"recipe": recipe}]


def _recipe_of(layers: list[dict[str, Any]]) -> str:
    """The recipe named by the topmost layer; otherwise darknet if there are weights to start from, else scratch."""
    recipe = next((layer["recipe"] for layer in reversed(layers) if layer.get("recipe") is not None), None)
    weights = next((layer["weights"] for layer in reversed(layers) if "weights" in layer), None)
    return str(recipe) if recipe is not None else "darknet" if weights else "scratch"


def _unset_alternatives(layer: Any) -> Any:
    """The layer with null for the other key of each pair that it sets; drops of the rate imply the shape `steps`."""
    if not isinstance(layer, dict):
        return layer
    layer = {key: dict(value) if isinstance(value, dict) else value for key, value in layer.items()}
    for section, one, other in ALTERNATIVES:
        values = layer.get(section)
        if isinstance(values, dict):
            for given, replaced in ((one, other), (other, one)):
                if values.get(given) is not None:
                    values.setdefault(replaced, None)
    schedule = layer.get("schedule")
    if isinstance(schedule, dict) and any(schedule.get(key) is not None for key in ("drops", "drop_images")):
        schedule.setdefault("shape", "steps")
    return layer
