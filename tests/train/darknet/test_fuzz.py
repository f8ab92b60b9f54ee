"""Whatever bytes a cfg or a file of weights holds: a network that computes, or a refusal with the name of the file.

`FUZZ_EXAMPLES=10000 pytest tests/train/darknet/test_fuzz.py --timeout 3600` looks further.
"""

from pathlib import Path

import pytest
import torch
from hypothesis import given

from tests.data.test_fuzz import Edit, answer, changed, edits, fresh, fuzzed
from tests.train.darknet.test_cfg_fuzz import CFGS
from train.config import Config, load
from train.darknet.cfg import read_cfg
from train.darknet.weights import load_weights, save_weights
from train.model import YOLOv2, build_model

CFG = CFGS["voc"].encode()
CFG_WORDS = [b"[net]\n", b"[region]\n", b"[maxpool]\n", b"[reorg]\nstride=2\n", b"[route]\nlayers=-1\n", b"[dropout]\n"]
CFG_WORDS += [
    b"=",
    b"\n",
    b"#",
    b"[",
    b"]",
    b",",
    b"9" * 400,
    b"9" * 5000,
    b"-1",
    b"1e999",
    b"nan",
    b"\xff",
    b"\xd9\xa3",
]
CFG_WORDS += [b"\xef\xbb\xbf", b"groups=0\n", b"groups=2\n", b"stride=0\n", b"size=3\n", b"layers=99\n", b"classes=0\n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("darknet")


@fuzzed
@given(edits(len(CFG), CFG_WORDS))
def test_cfg(folder: Path, changes: list[Edit]) -> None:
    path = fresh(folder / "net.cfg", changed(CFG, changes))
    network = answer(path, read_cfg, path)
    config: Config | None = answer(path, load, path, [])
    if not network or not config:
        return
    num_anchors = len(network.anchors) // 2
    with torch.device("meta"):
        model = build_model(network.model, network.num_classes, num_anchors)
        raw = model(torch.empty(1, 3, 64, 96))
    assert raw.shape == (1, num_anchors * (5 + network.num_classes), 2, 3)
    assert config.num_anchors == num_anchors
    for key in ("variant", "passthrough", "width", "layers", "graph"):
        assert getattr(config.model, key) == getattr(network.model, key)


@pytest.fixture(scope="module")
def model() -> YOLOv2:
    return YOLOv2(2, 1, variant="tiny-voc", width=1 / 64)


@fuzzed
@given(edits(9000, [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x02\0\0\0", b"\0\0\xc0\x7f", b"\xe8\3\0\0"]))
def test_weights(folder: Path, model: YOLOv2, changes: list[Edit]) -> None:
    path = folder / "net.weights"
    save_weights(model, path)
    data = changed(path.read_bytes(), changes)
    header = answer(path, load_weights, model, fresh(path, data))
    if header:
        size = 20 if header.wide else 16
        save_weights(model, path, seen=header.seen & 0x7FFF_FFFF, wide=header.wide)
        assert path.read_bytes()[size:] == data[size:]
