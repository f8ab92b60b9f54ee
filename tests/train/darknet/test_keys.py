"""Each key is in one list; the fuzz of the cfg tries them all."""

from pathlib import Path

import pytest

from train.darknet.keys import AS_HERE, NAMED, NEUTRAL, TRAINING, USED, sort_keys, training_config
from train.darknet.sections import Section
from train.graph.layer_specs import KEYS


def section(kind: str, **options: str) -> Section:
    return Section(Path("net.cfg"), kind, 1, options, dict.fromkeys(options, 2))


def test_no_key_is_in_two_lists() -> None:
    for kind in ("net", "region", *KEYS):
        lists = [USED.get(kind, KEYS.get(kind, ())), TRAINING.get(kind, ()), NAMED.get(kind, ()), NEUTRAL.get(kind, ())]
        keys = [key for each in lists for key in each]
        assert len(keys) == len(set(keys)), kind
        assert set(AS_HERE.get(kind, ())) <= set(NAMED.get(kind, ()))


def test_what_the_config_cannot_hold_is_a_sentence() -> None:
    found = sort_keys(section("region", num="5", rescore="0", bias_match="1", jitter=".2"))
    assert found == ({"num"}, ["line 2, [region] rescore=0"])


@pytest.mark.parametrize("key", ["gamma", "step", "scale", "adam", "B1", "B2", "eps"])
def test_keys_of_other_policies_and_optimizers_are_named(key: str) -> None:
    assert sort_keys(section("net", **{key: "1"})) == (set(), [f"line 2, [net] {key}=1"])


def test_a_layer_that_darknet_would_not_load_is_refused() -> None:
    """Its weights file has fewer numbers than the layers, or others in their place."""
    with pytest.raises(ValueError, match=r"net\.cfg:2: \[convolutional\] dontload=1: expected 0"):
        sort_keys(section("convolutional", dontload="1"))


def test_batches_become_images() -> None:
    net = section("net", batch="16", policy="steps", burn_in="100", steps="10,30", scales=".1,.1")
    config, remarks = training_config(net, section("region", max="90"))
    assert config["data"]["batch"] == 16 and config["data"]["truth_slots"] == 90
    schedule = {"rate": 0.001, "burn_in_images": 1600, "drop_images": [160, 480], "drop": 0.1}
    assert config["schedule"] == schedule and not remarks


def test_batches_of_a_cfg_for_testing_have_no_size() -> None:
    """Taken as they are, 40,000 batches would be 40,000 images."""
    net = section("net", batch="1", burn_in="1000", steps="40000", scales=".1", learning_rate=".01")
    config, remarks = training_config(net, section("region"))
    assert config["schedule"] == {"rate": 0.01} and "batch" not in config["data"]
    assert remarks == [f"line 2, [net] {key}" for key in ("batch=1", "burn_in=1000", "steps=40000", "scales=.1")]


def test_steps_are_of_one_policy() -> None:
    for policy, drops in (({"policy": "poly"}, {}), ({}, {"drop_images": []})):
        net = section("net", batch="64", steps="100", scales=".1", **policy)
        config, remarks = training_config(net, section("region"))
        assert config["schedule"] == {"rate": 0.001, "burn_in_images": 0, **drops}
        assert remarks == ["line 2, [net] steps=100", "line 2, [net] scales=.1"]


def test_steps_that_the_config_cannot_hold_are_named() -> None:
    config, remarks = training_config(section("net", policy="steps", steps="-1,100", scales=".1,10"), section("region"))
    assert config["schedule"] == {"rate": 0.001}
    assert remarks == ["line 2, [net] steps=-1,100", "line 2, [net] scales=.1,10"]


def test_what_a_cfg_leaves_out_is_as_in_darknet() -> None:
    """Not as in this program's recipe, which distorts colours, for example."""
    config, remarks = training_config(section("net", batch="64"), section("region"))
    assert config == {
        "data": {"batch": 64, "augment": {"hue": 0, "saturation": 1, "exposure": 1, "jitter": 0.2}},
        "schedule": {"rate": 0.001, "burn_in_images": 0, "drop_images": []},
        "step": {"momentum": 0.9, "decay": 0.0001},
        "loss": {"ignore_iou": 0.5, "coord": 1, "object": 1, "noobject": 1, "classes": 1},
    }
    assert not remarks
