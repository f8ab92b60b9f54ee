"""Every key of every section changed to another legal value: honoured as a literal reading says, or refused."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cfg_oracle import forward
from train.darknet.cfg import Network, as_config, read_cfg
from train.darknet.weights import save_weights
from train.model import YOLOv2, build_model

USUAL = "batch_normalize=1\nstride=1\npad=1\nactivation=leaky"
NET = """[net]
batch=64
subdivisions=8
width=32
height=32
channels=3
momentum=0.9
decay=0.0005
angle=0
saturation = 1.5
exposure = 1.5
hue=.1
learning_rate=0.001
burn_in=1000
max_batches = 80200
policy=steps
steps=40000,60000
scales=.1,.1
"""
REGION = """[region]
anchors = 1.3,1.7, 3.2,4.0
bias_match=1
classes=3
coords=4
num=2
softmax=1
jitter=.3
rescore=1
object_scale=5
noobject_scale=1
class_scale=1
coord_scale=1
absolute=1
thresh = .6
random=1
"""


def stack(words: str) -> str:
    """ "8 -4 pool same route:-9 reorg": as train.graph.variants, in darknet's sections."""
    made = {
        "pool": "[maxpool]\nsize=2\nstride=2\n",
        "same": "[maxpool]\nsize=2\nstride=1\n",
        "reorg": "[reorg]\nstride=2\n",
        "last": "[convolutional]\nsize=1\nstride=1\npad=1\nfilters=16\nactivation=linear\n",
    }
    text = ""
    for word in words.split():
        kind, _, layers = word.partition(":")
        if kind == "route":
            text += f"[route]\nlayers={layers}\n"
        elif word in made:
            text += made[word]
        else:
            size = 3 if int(word) > 0 else 1
            text += f"[convolutional]\nfilters={abs(int(word))}\nsize={size}\n{USUAL}\n"
    return text


CFGS = {
    "voc": NET
    + stack("4 pool 4 pool 8 -4 8 pool 8 -4 8 pool 8 -4 8 pool 8 -4 8 8 route:-6 -4 reorg route:-1,-4 8 last")
    + REGION,
    "tiny": NET + stack("4 pool 4 pool 8 pool 8 pool 8 pool 8 same 8 8 last") + REGION,
    "trial": NET + stack("4 pool 8 pool 8 pool 16 pool 16 pool 16 last") + REGION,
}
#: other legal values, for keys that are there and for keys that are not
OTHERS = {
    "net": {
        "batch": "8", "subdivisions": "1", "width": "64", "height": "64", "channels": "1", "momentum": "0.8",
        "decay": "0.001", "angle": "7", "saturation": "2", "exposure": "2", "hue": ".2", "learning_rate": "0.01",
        "burn_in": "10", "max_batches": "10", "policy": "constant", "steps": "10,20", "scales": ".5,.5", "power": "2",
        "letter_box": "1", "time_steps": "2", "aspect": ".75", "mosaic": "1", "gamma": ".1", "adam": "1", "flip": "0",
    },
    "convolutional": {
        "filters": "12", "size": "5", "stride": "2", "pad": "0", "padding": "2", "groups": "2", "batch_normalize": "0",
        "activation": "relu logistic mish swish linear selu", "xnor": "1", "binary": "1", "flipped": "1", "dot": "1",
        "dilation": "2", "stopbackward": "1", "learning_rate": "0", "dontload": "1", "antialiasing": "1",
    },
    "maxpool": {"size": "3 4 5", "stride": "1 4", "padding": "0 2", "maxpool_depth": "1"},
    "route": {"layers": "-2 0 -1 -3,-1", "groups": "2", "group_id": "1"},
    "reorg": {"stride": "1 4", "reverse": "1", "flatten": "1", "extra": "3"},
    "region": {
        "anchors": "2,3,4,5 2,3", "bias_match": "0", "classes": "4", "coords": "5", "num": "3", "softmax": "0",
        "jitter": ".1", "rescore": "0", "object_scale": "2", "noobject_scale": "2", "class_scale": "2",
        "coord_scale": "2", "absolute": "0", "thresh": ".3", "random": "0", "background": "1", "tree": "9k.tree",
        "map": "coco.map", "max": "90", "mask_scale": "2", "log": "1", "sqrt": "1", "focal_loss": "1",
    },
}  # fmt: skip


def mutations(text: str, every_section: bool) -> list[tuple[str, str, str]]:
    """Section, key=value, and the cfg with this one change. Not every_section: of equal sections only the first."""
    seen: set[tuple[str, ...]] = set()
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("[")]
    found = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        kind, section = lines[start].strip("[]"), tuple(lines[start:end])
        if not every_section and section in seen:
            continue
        seen.add(section)
        for key, values in OTHERS[kind].items():
            for value in values.split():
                kept = [line for line in lines[start + 1 : end] if line.partition("=")[0].strip() != key]
                changed = [lines[start], f"{key}={value}", *kept]
                found.append((kind, f"{key}={value}", "\n".join([*lines[:start], *changed, *lines[end:]])))
    return found


def randomise(model: YOLOv2) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(drawn + 0.5 if name.endswith("running_var") else drawn - 0.5)


def said(network: Network) -> str:
    """The config and the remarks, whatever line they are on."""
    return re.sub(r"line \d+", "", as_config(network, "net"))


@pytest.mark.parametrize("name", CFGS)
def test_nothing_in_a_cfg_is_passed_over_in_silence(name: str, tmp_path: Path) -> None:
    ends = try_all(name, tmp_path, every_section=False)
    assert ends["honoured"] > 40 and ends["refused"] > 40, ends


@pytest.mark.slow
@pytest.mark.parametrize("name", CFGS)
def test_nothing_in_any_section_is_passed_over_in_silence(name: str, tmp_path: Path) -> None:
    ends = try_all(name, tmp_path, every_section=True)
    print(name, ends)


def try_all(name: str, tmp_path: Path, *, every_section: bool) -> Counter[str]:
    path, weights = tmp_path / "net.cfg", tmp_path / "net.weights"
    path.write_text(CFGS[name])
    base = said(read_cfg(path))
    ends: Counter[str] = Counter()
    for kind, change, text in [("net", "nothing", CFGS[name]), *mutations(CFGS[name], every_section)]:
        path.write_text(text)
        refusal = ""
        try:
            network = read_cfg(path)
        except ValueError as error:
            refusal = str(error)
        if refusal:
            assert str(path) in refusal and change != "nothing", (kind, change, refusal)
            ends["refused"] += 1
            continue
        if kind in ("net", "region") and change != "nothing":
            assert said(network) != base, f"[{kind}] {change} changed nothing"
        model = build_model(network.model, network.num_classes, len(network.anchors) // 2).eval()
        randomise(model)
        save_weights(model, weights)
        width, height = network.size_px
        image = np.random.default_rng(0).random((3, height, width))
        found = model(torch.from_numpy(image[None]).float())[0].detach().numpy()
        np.testing.assert_allclose(
            found, forward(text, weights, image), rtol=1e-3, atol=1e-4, err_msg=f"{kind} {change}"
        )
        ends["honoured"] += 1
    return ends
