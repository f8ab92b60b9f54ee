"""Whatever wrote a file, its tensors come out; what is no file of tensors is refused in one line, and runs nothing."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.conftest import Weights
from train.darknet.weights import save_weights
from train.model import YOLOv2
from train.weights.saved import is_darknets, read_checkpoint, read_saved


def tiny() -> YOLOv2:
    return YOLOv2(2, 2, variant="tiny-voc", width=1 / 16)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("nest", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"state": {}}}])
def test_a_state_dict_wherever_it_lies_in_the_file(tmp_path: Path, legacy: bool, nest: Callable[[Any], Any]) -> None:
    state = tiny().state_dict()
    torch.save(nest(state), tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    saved = read_saved(tmp_path / "net.pth")
    assert not saved.network and not is_darknets(tmp_path / "net.pth")
    torch.testing.assert_close(dict(saved.tensors), dict(state))


def test_a_checkpoint_gives_its_averaged_weights_and_its_network(tmp_path: Path) -> None:
    model, averaged = tiny(), tiny()
    step = {**Weights(model).state_dict(), "ema": averaged.state_dict()}
    torch.save({"step": step, "network": {"classes": ["a", "b"]}}, tmp_path / "run.pt")
    saved = read_saved(tmp_path / "run.pt")
    assert saved.network == {"classes": ["a", "b"]}
    torch.testing.assert_close(dict(saved.tensors), dict(averaged.state_dict()))


def foreign(**changes: Any) -> dict[str, Any]:
    step = Weights(tiny()).state_dict()
    return {"step": step, "network": {"classes": ["a", "b"], "anchors": [1.0, 1.0]}} | changes


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (foreign(network={"classes": 5}), "expected a network of .* found {'classes': 5}"),
        (foreign(network={"classes": ["a\x1b[2J"]}), "expected a network"),
        (foreign(network={"classes": ["a"] * 40_000}), "expected a network"),
        (foreign(network={"classes": ["a"], "anchors": "x"}), "expected a network"),
        (foreign(step={}), "expected weights of this program"),
        (foreign(step={"model": {"a": 5}}), "expected tensors with all .* found others: 'a'"),
        (foreign(step={"model": {5: torch.zeros(1)}}), "expected tensors with all"),
        (foreign(step={"model": {}, "ema": 7}), "expected weights of this program"),
        ({"a": torch.zeros(1).expand(100_000, 100_000)}, "expected tensors with all of their numbers in the file"),
    ],
    ids=lambda value: f"{value!s:.40}",
)
def test_a_checkpoint_whose_parts_are_something_else(tmp_path: Path, state: dict[str, Any], message: str) -> None:
    torch.save(state, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=f"run.pt: {message}"):
        read_saved(tmp_path / "run.pt")


def test_a_file_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "bomb.pt", "w", 8) as bomb:
        for member in whole.infolist():
            bomb.writestr(member.filename, whole.read(member))
    with pytest.raises(ValueError, match=r"bomb.pt: .* found 4,\d+,\d+ bytes, compressed"):
        read_saved(tmp_path / "bomb.pt")


@pytest.mark.parametrize("network", ["[1]", "{", '{"classes": 5}', "[" * 100_000], ids=lambda text: text[:20])
def test_safetensors_that_another_program_describes(tmp_path: Path, network: str) -> None:
    safetensors.torch.save_file({"a.weight": torch.zeros(2)}, tmp_path / "net", metadata={"network": network})
    assert not read_saved(tmp_path / "net").network


def test_safetensors_come_in_the_order_of_their_numbers_and_as_float32(tmp_path: Path) -> None:
    tensors = {f"layer{number}.weight": torch.full((2,), number).half() for number in (10, 9, 1)}
    safetensors.torch.save_file(tensors, tmp_path / "net", metadata={"network": '{"classes": ["a"]}'})
    saved = read_saved(tmp_path / "net")
    assert list(saved.tensors) == ["layer1.weight", "layer9.weight", "layer10.weight"]
    assert all(tensor.dtype == torch.float32 for tensor in saved.tensors.values()) and saved.network["classes"] == ["a"]


def test_a_header_of_any_length_is_one_of_safetensors(tmp_path: Path) -> None:
    """Its length comes first, and some lengths look like the first bytes of another kind of file."""
    for length in range(600, 1300, 8):  # 640 and 1024 + 128 begin with a byte of 0x80
        about = {"network": '{"classes": ["a"]}', "config": "x" * (length - 200)}
        safetensors.torch.save_file({"a.weight": torch.zeros(2)}, tmp_path / "net", metadata=about)
        assert read_saved(tmp_path / "net").network["classes"] == ["a"] and not is_darknets(tmp_path / "net")


def test_darknets_files_are_known_by_their_header(tmp_path: Path) -> None:
    for wide in (False, True):
        save_weights(tiny(), tmp_path / "darknet19_448.conv.23", wide=wide)
        assert is_darknets(tmp_path / "darknet19_448.conv.23")
    (tmp_path / "short").write_bytes(b"\0" * 8)
    assert not is_darknets(tmp_path / "short")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>", "found a file that begins with b'<!DOCTYPE'"),
        (b"", "found a file that begins with b''"),
        (b"PK\x03\x04 cut short", "found a damaged file"),
        (b"\x05\0\0\0\0\0\0\0{nons and more", "expected .safetensors, found a damaged file"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "net").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_saved(tmp_path / "net")


def test_a_pickled_model_is_refused_without_running_it(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(3, 4, 3), tmp_path / "model.pt")
    with pytest.raises(
        ValueError, match=r"found Python objects, which could run code; .* torch.save\(model.state_dict"
    ):
        read_saved(tmp_path / "model.pt")
    torch.save({"epoch": 3}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="expected a PyTorch state dict, found no named tensors"):
        read_saved(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": None}, "expected a PyTorch state dict, found no named tensors"),
        ({"step": {}}, r"expected weights of this program, found none \(KeyError\('model'\)\)"),
        ({"step": {"model": {"weight": 3}}}, "expected tensors with all of their numbers in the file, found others"),
        ({"step": {"model": [1]}}, "expected weights of this program, found none"),
        ({"network": None}, "found another file or one that lacks a part"),
        ({"network": {}}, "expected a network of this program with its classes, found {}"),
        ({"network": {"classes": [1, 2]}}, "expected a network of this program with its classes, found"),
        ({"network": {"classes": ["a"], "anchors": ["x"]}}, "expected a network of this program with its classes"),
    ],
)
def test_a_checkpoint_that_lacks_a_part_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    whole = {"step": Weights(tiny()).state_dict(), "network": {"classes": ["a", "b"]}}
    torch.save(whole, tmp_path / "run.pt")
    assert read_checkpoint(tmp_path / "run.pt").network["classes"] == ["a", "b"]
    torch.save({name: part for name, part in {**whole, **change}.items() if part is not None}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "run.pt")


@pytest.mark.parametrize("described", ["other", "[1]", '{"classes": 3}'])
def test_metadata_of_another_program_are_no_network(tmp_path: Path, described: str) -> None:
    safetensors.torch.save_file({"a.weight": torch.zeros(2)}, tmp_path / "net", metadata={"network": described})
    assert read_saved(tmp_path / "net").network == {}
