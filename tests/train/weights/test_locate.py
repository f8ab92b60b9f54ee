"""Weights are found wherever they lie, and fetched once."""

import hashlib
import os
from pathlib import Path

import pytest
import torch

from launch.processes.environment import Environment
from tests.conftest import Weights
from tests.servers import Liar, s3_bucket
from train.model import YOLOv2
from train.run.checkpoint import Checkpoint, CheckpointConfig
from train.weights.locate import local_file

DATA = b"weights " * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_files_run_folders_and_file_addresses(tmp_path: Path) -> None:
    path = tmp_path / "a net.weights"
    path.write_bytes(DATA)
    assert local_file(str(path)) == path == local_file(f"{path}#sha256={DIGEST.upper()}")
    assert local_file(path.as_uri()) == path == local_file(f"{path.as_uri()}#sha256={DIGEST}")
    parts = {"step": Weights(YOLOv2(2, 2, variant="tiny-voc", width=1 / 16)), "progress": Weights(torch.nn.Module())}
    checkpoint = Checkpoint(
        tmp_path / "run/checkpoints", CheckpointConfig(), Environment(), {"classes": ["a", "b"]}, **parts
    )
    for images, best in ((1, True), (2, False)):
        checkpoint.save(images, best=best)
    checkpoint.wait()
    assert local_file(str(tmp_path / "run")).name.startswith("best-000000001-")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.weights", "weights=nowhere.weights: no such file; expected a file, a run folder or an address"),
        ("{folder}", "expected a run folder with a checkpoint or a file, found neither"),
        ("{folder}/net#sha256=12", "expected 64 hexadecimal digits after #sha256=, found '12'"),
        (f"{{folder}}/net#sha256={'0' * 64}", f"expected bytes of SHA-256 {'0' * 64}, found {DIGEST}"),
        ("https://host/folder/", "expected the address of a file, found that of a folder"),
        ("pipe:cat net", "run the command yourself first"),
        ("gs://bucket/net.pt", r"expected a folder, http\(s\)"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "net").write_bytes(DATA)
    with pytest.raises(ValueError, match=message) as error:
        local_file(source.format(folder=tmp_path), tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_an_address_is_fetched_once_and_its_query_is_not_shown(tmp_path: Path) -> None:
    with Liar({"net.pt": DATA}) as liar:
        address = f"{liar.address}/net.pt?token=secret"
        path = local_file(address, tmp_path)
        assert path.read_bytes() == DATA and "secret" not in path.name
        with pytest.raises(ValueError, match="the server answered 404") as error:
            local_file(f"{liar.address}/other.pt?token=secret", tmp_path)
        assert "secret" not in str(error.value)
    assert local_file(address, tmp_path) == path  # the server is gone


def test_the_digest_decides_whether_what_came_is_kept(tmp_path: Path) -> None:
    with Liar({"net.pt": DATA}) as liar:
        with pytest.raises(ValueError, match=f"net.pt: expected bytes of SHA-256 {'0' * 64}, found {DIGEST}"):
            local_file(f"{liar.address}/net.pt#sha256={'0' * 64}", tmp_path)
        assert not list(tmp_path.rglob("*net.pt"))
        assert local_file(f"{liar.address}/net.pt#sha256={DIGEST}", tmp_path).read_bytes() == DATA


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    """In a staging folder that several users share, anybody could have put other weights there first."""
    (tmp_path / "weights").mkdir()
    os.chown(tmp_path / "weights", 65534, 65534)
    with pytest.raises(ValueError, match=rf"{tmp_path}/weights: expected a folder of this user"):
        local_file("http://127.0.0.1:9/net.pt", tmp_path)


def test_from_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_bucket(monkeypatch) as client:
        client.put_object(Bucket="bucket", Key="nets/net.pt", Body=DATA)
        assert local_file("s3://bucket/nets/net.pt", tmp_path).read_bytes() == DATA
