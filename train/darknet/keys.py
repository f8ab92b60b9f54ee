"""Every key of [net] and [region]: used, for training only, or refused. For layers see `train.graph.layer_specs`.

USED says what the network computes and how its output is read. A key of TRAINING goes into the config; one that only
training reads and the config lacks is reported. A value of NEUTRAL changes nothing. All else is refused.
"""

from typing import Any

from train.darknet.sections import Section

USED = {
    "net": {"width", "height", "channels"},
    "region": {"anchors", "classes", "num", "coords", "softmax"},
}
#: key -> its config key
TRAINING: dict[str, dict[str, str]] = {
    "net": {
        "batch": "data.batch",
        "learning_rate": "schedule.rate",
        "burn_in": "schedule.burn_in_images",
        "power": "schedule.power",
        "steps": "schedule.drop_images",
        "scales": "schedule.drop",
        "momentum": "step.momentum",
        "decay": "step.decay",
        "hue": "data.augment.hue",
        "saturation": "data.augment.saturation",
        "exposure": "data.augment.exposure",
    },
    "region": {
        "jitter": "data.augment.jitter",
        "thresh": "loss.ignore_iou",
        "coord_scale": "loss.coord",
        "object_scale": "loss.object",
        "noobject_scale": "loss.noobject",
        "class_scale": "loss.classes",
        "max": "data.truth_slots",
    },
}
#: darknet's values of those that a cfg leaves out (src/parser.c, parse_net_options and parse_region)
DEFAULTS = {
    "learning_rate": 1e-3,
    "burn_in": 0,
    "momentum": 0.9,
    "decay": 1e-4,
    "hue": 0.0,
    "saturation": 1.0,
    "exposure": 1.0,
    "jitter": 0.2,
    "thresh": 0.5,
    "coord_scale": 1.0,
    "object_scale": 1.0,
    "noobject_scale": 1.0,
    "class_scale": 1.0,
}
#: only training reads these, and the config has no such key
NAMED = {
    "net": {"subdivisions", "max_batches", "policy", "time_steps", "angle", "aspect", "flip", "max_crop", "min_crop"}
    | {"step", "scale", "gamma", "adam", "B1", "B2", "eps", "notruth", "center", "clip", "max_ratio", "min_ratio"},
    "region": {"bias_match", "rescore", "random", "absolute", "mask_scale", "log", "sqrt", "classfix"},
    "convolutional": {"learning_rate", "stopbackward"},
    **{kind: {"stopbackward"} for kind in ("maxpool", "route", "reorg")},
}
#: keys that could change what is computed: the values that do not
NEUTRAL = {
    "net": {"letter_box": "0"},
    "region": {"background": "0"},
    "convolutional": {"binary": "0", "xnor": "0", "flipped": "0", "dot": "0", "dontload": "0", "dontloadscales": "0"},
    "reorg": {"reverse": "0", "flatten": "0", "extra": "0"},
}
#: what training does here anyway: such a value is not reported
AS_HERE = {
    "net": {"policy": {"steps", "constant"}, "angle": {"0"}},
    "region": {"bias_match": {"1"}, "rescore": {"1"}, "absolute": {"1"}},
}


def sort_keys(section: Section) -> tuple[set[str], list[str]]:
    """Keys that say what is computed, and a remark on each that only training reads and the config lacks.

    ValueError for any other key.
    """
    kind = section.kind
    computing, remarks = set(), []
    for key, value in section.options.items():
        if key in NEUTRAL.get(kind, {}):
            if value != NEUTRAL[kind][key]:
                raise section.error(key, f"expected {NEUTRAL[kind][key]}; other values make another network")
        elif key in NAMED.get(kind, ()):
            if value not in AS_HERE.get(kind, {}).get(key, ()):
                remarks.append(f"line {section.lines[key]}, [{kind}] {key}={value:.80}")
        elif key not in TRAINING.get(kind, {}):
            if kind in USED and key not in USED[kind]:
                raise section.error(key, "is not a YOLOv2 key known to this program; remove it if it means nothing")
            computing.add(key)
    return computing, remarks


def training_config(net: Section, region: Section) -> tuple[dict[str, Any], list[str]]:
    """A nested config, and remarks on what it cannot hold."""
    flat: dict[str, Any] = {}
    remarks: list[str] = []
    batch, unheld = net.whole("batch", 1, least=1), _unheld(net)
    if _policy(net) == "constant" and batch > 1:
        flat["schedule.drop_images"] = []
    for section in (net, region):
        for key, target in TRAINING[section.kind].items():
            if key not in section.options:
                if key in DEFAULTS and key not in unheld:
                    flat[target] = DEFAULTS[key]
            elif section is net and key in unheld:
                remarks.append(f"line {section.lines[key]}, [{section.kind}] {key}={section.options[key]:.80}")
            elif key == "scales":
                flat[target] = section.numbers(key)[0]
            elif key == "steps":
                flat[target] = [round(step * batch) for step in section.numbers(key)]
            elif key == "burn_in":
                flat[target] = section.whole(key) * batch
            else:
                flat[target] = section.whole(key, least=1) if key in ("batch", "max") else section.number(key, 0)
    return _nested(flat), remarks


def _unheld(net: Section) -> set[str]:
    """Keys of the schedule that the config cannot hold.

    A batch of 1 is what a cfg has for testing; the batches that its schedule counts are then of an unknown size.
    """
    steps, factors = net.numbers("steps"), net.numbers("scales")
    found = {"batch", "burn_in", "steps", "scales"} if net.whole("batch", 1, least=1) == 1 else set()
    if _policy(net) != "steps":
        found |= {"steps", "scales"}
    if min(steps, default=0) < 0:
        found.add("steps")
    if len(set(factors)) > 1 or len(factors) != len(steps):
        found.add("scales")
    return found


def _policy(net: Section) -> str:
    return net.options.get("policy", "constant")


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    return tree
