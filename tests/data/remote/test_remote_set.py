"""Sets from elsewhere: batches as if they were here, from servers that are slow, cut, or lie; kills at any moment."""

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import data.remote.fetch
import data.remote.remote_set
import data.remote.staging
from data.files import sha256
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.loading.opening import open_shards, staged
from data.remote.__main__ import main
from data.remote.arrivals import wait_for
from data.remote.remote_set import open_remote
from data.shards.format.header import seal
from data.shards.index import ShardIndex
from tests.conftest import ROOT
from tests.servers import Liar, free_port, nginx, s3_bucket

pytestmark = pytest.mark.usefixtures("no_time_to_waste")


def loader_of(index: ShardIndex, config: DataConfig) -> Loader:
    return Loader(index, config, seed=3, rank=0, world_size=1, device=torch.device("cpu"))


def config_of(train: str, staging: Path, val: str | None = None, workers: int = 0) -> DataConfig:
    val = train if val is None else val
    return DataConfig(
        train=train, val=val, staging=str(staging), batch=8, sides=[64], truth_slots=12, workers=workers, window=2
    )


def assert_whole(folder: Path, index: ShardIndex) -> None:
    assert ShardIndex.load(folder).digest == index.digest
    assert {shard.name: sha256(folder / shard.name) for shard in index.shards} == {
        shard.name: shard.sha256 for shard in index.shards
    }
    assert not list(folder.glob("*.part"))


def bring(address: str, staging: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "data.remote", address, str(staging)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ---------------------------------------------------------------------------------------------------------- batches


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_local_set(
    liar: Liar, index: ShardIndex, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.remote.fetch, "PAUSES_S", (0.2, 0.2, 0.2))
    for shard in index.shards[::2]:
        liar.behaviour[shard.name].extend([10_000, 10_000, "altered", 10_000])
    config = config_of(liar.address, tmp_path, workers=workers)
    arriving = open_shards(config.train, None, config.staging)
    assert arriving.digest == index.digest and not list(arriving.folder.glob("*.tar"))
    local, remote = loader_of(index, config), loader_of(arriving, config)
    with staged(remote, remote, 0):
        for one, other in zip(local.batches(0, 60), remote.batches(0, 60), strict=True):
            assert one.images.equal(other.images) and one.truths.equal(other.truths)
        for one, other in zip(local.evaluation_batches(64, 8), remote.evaluation_batches(64, 8), strict=True):
            assert one.images.equal(other.images)
    assert not any(liar.behaviour.values())
    assert_whole(arriving.folder, index)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_cannot_be_had_ends_the_run_with_its_name(
    liar: Liar, index: ShardIndex, tmp_path: Path, workers: int
) -> None:
    lost = index.shards[2].name
    liar.behaviour[lost].append("404")
    config = config_of(liar.address, tmp_path, workers=workers)
    loader = loader_of(open_shards(config.train, None, config.staging), config)
    with staged(loader, loader, 0), pytest.raises(ValueError, match="404") as found:
        list(loader.batches(0, 60))
    assert str(found.value) == (
        f"{liar.address}/{lost}: the server answered 404 Not Found; correct the address or put the whole set there"
    )
    with staged(loader, loader, 0):  # the next run starts afresh, and now the file is there
        assert len(list(loader.batches(0, 60))) == 8


def test_shards_come_in_the_order_of_need(
    liar: Liar, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the middle of an epoch: what is left of it, the set for evaluation, and then the rest."""
    monkeypatch.setattr(data.remote.staging, "CONNECTIONS", 1)
    with Liar({path.name: path.read_bytes() for path in (shards / "val").iterdir()}) as other:
        config = config_of(liar.address, tmp_path, val=other.address)
        train, val = (loader_of(open_shards(each, None, str(tmp_path)), config) for each in (config.train, config.val))
        now, after = train.order.shards_from(30)
        assert now and after
        log: list[tuple[str, str]] = []
        for server, of in ((liar, "train"), (other, "val")):
            seen = SimpleNamespace(append=lambda request, of=of: log.append((of, request[0])))
            monkeypatch.setattr(server, "requests", seen)
        with staged(train, val, 30):
            for shard in train.index.shards:
                wait_for(train.index.folder / shard.name)
        expected = [("train", train.index.shards[number].name) for number in now]
        expected += [("val", shard.name) for shard in val.index.shards]
        expected += [("train", train.index.shards[number].name) for number in after]
        assert log == expected


# ------------------------------------------------------------------------------------------------------------ index


@pytest.mark.parametrize(
    ("name", "behaviour", "message"),
    [
        ("index.json", ["404"], r"/set/index\.json: the server answered 404 Not Found; correct the address"),
        ("index.json", ["html"], r"/set: index\.json is not an index of shards"),
        ("index.json", ["altered"], r"/set: index\.json is not"),
        ("index.npz", ["altered"] * 2, r"/set/index\.npz: expected bytes of SHA-256 .*, twice"),
        ("index.npz", ["shorter"] * 2, r"/set/index\.npz: expected bytes of SHA-256 .*, twice"),
    ],
)
def test_an_index_that_cannot_be_had(
    liar: Liar, tmp_path: Path, name: str, behaviour: list[str | int], message: str
) -> None:
    liar.behaviour[name].extend(behaviour)
    with pytest.raises(ValueError, match=message):
        open_remote(liar.address, str(tmp_path))
    open_remote(liar.address, str(tmp_path))


@pytest.mark.parametrize(("name", "most"), [("index.json", "MOST_OF_INDEX"), ("index.npz", "MOST_OF_ARRAYS")])
def test_an_endless_index_ends(
    liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: str
) -> None:
    for each in (most, "MOST_OF_SAMPLE"):
        monkeypatch.setattr(data.remote.remote_set, each, 1000)
    liar.behaviour[name].extend(["endless"] * 2)
    with pytest.raises(ValueError, match=rf"/set/{re.escape(name)}: expected [\d,]+ bytes, found more, twice"):
        open_remote(liar.address, str(tmp_path))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 100_000


def test_a_folder_of_another_user_is_not_trusted(liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_remote(liar.address, str(tmp_path)).folder
    folder.chmod(0o777)
    open_remote(liar.address, str(tmp_path))
    assert folder.stat().st_mode & 0o777 == 0o755
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    with pytest.raises(ValueError, match=rf"{folder}: expected a folder of this user \(4711\), found one of user"):
        open_remote(liar.address, str(tmp_path))


def test_without_a_folder_for_it_nothing_is_brought(liar: Liar, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"/set: expected data\.staging with it, a folder on a disk of this machine"):
        open_shards(liar.address, None, None)
    (tmp_path / "file").touch()
    with pytest.raises(
        ValueError, match=r"data\.staging=.*/file: .*file: expected a folder, found a file; choose another"
    ):
        open_shards(liar.address, None, str(tmp_path / "file"))
    assert not [name for name, _ in liar.requests if name != "index.json"]


@pytest.mark.parametrize(
    "name", ["../shard.tar", "/etc/passwd", "a b.tar", ";ls.tar", "$(ls).tar", "index.json", ".tar"]
)
def test_names_that_could_do_harm_are_refused(liar: Liar, tmp_path: Path, name: str) -> None:
    header = json.loads(liar.files["index.json"])
    del header["header_sha256"]
    header["shards"][1]["name"] = name
    liar.files["index.json"] = seal(header)
    with pytest.raises(ValueError, match=rf"/set: .*found {re.escape(repr(name))}"):
        open_remote(liar.address, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_another_set_at_the_same_address_goes_to_another_folder(
    liar: Liar, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = open_remote(liar.address, str(tmp_path)).folder
    assert open_remote(liar.address + "?signature=1", str(tmp_path)).folder == first
    assert not capsys.readouterr().err
    liar.files = {path.name: path.read_bytes() for path in (shards / "val").iterdir()}
    second = open_remote(liar.address, str(tmp_path))
    assert second.folder != first and second.num_samples == 21
    assert (
        f"{liar.address} holds another set than before; the old one can be removed: {first}" in capsys.readouterr().err
    )


def test_a_damaged_index_is_brought_again(liar: Liar, tmp_path: Path) -> None:
    folder = open_remote(liar.address, str(tmp_path)).folder
    for name in ("index.json", "index.npz"):
        (folder / name).write_bytes(b"damaged")
        open_remote(liar.address, str(tmp_path))
        assert (folder / name).read_bytes() == liar.files[name]


# -------------------------------------------------------------------------------------------------------- processes


def test_two_processes_share_one_copy(shards: Path, index: ShardIndex, tmp_path: Path) -> None:
    with nginx(shards, tmp_path / "nginx", "400k") as address:
        both = [bring(f"{address}/train", tmp_path / "staging") for _ in range(2)]
        answers = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    (folder,) = {Path(out.strip()) for out, _ in answers}
    assert_whole(folder, index)
    requests = (tmp_path / "nginx/access").read_text()
    assert [requests.count(f"/{shard.name} ") for shard in index.shards] == [1] * len(index.shards)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_nothing_wrong(shards: Path, index: ShardIndex, tmp_path: Path) -> None:
    """20 kills, five before a shard has begun to come; then an undisturbed run."""
    port, rng = free_port(), random.Random(0)
    total = sum(shard.bytes for shard in index.shards)
    came = [0]
    with nginx(shards, tmp_path / "slow", f"{total // 100}", port) as address:
        for kill in range(20):
            process = bring(f"{address}/train", tmp_path / "staging")
            if kill % 4:
                assert process.stderr is not None and process.stderr.readline().startswith("staging ")
            time.sleep(rng.uniform(0, 1))
            process.kill()
            process.communicate()
            for path in (tmp_path / "staging").glob("*/*.tar"):
                assert sha256(path) == next(shard.sha256 for shard in index.shards if shard.name == path.name)
            came.append(sum(path.stat().st_size for path in (tmp_path / "staging").glob("*/shard*")))
    assert came == sorted(came) and total / 10 < came[-1] < total, came
    with nginx(shards, tmp_path / "fast", port=port) as address:
        out, errors = (last := bring(f"{address}/train", tmp_path / "staging")).communicate(timeout=60)
    assert last.returncode == 0, errors
    assert_whole(Path(out.strip()), index)


@pytest.mark.parametrize("kind", ["pipe", "http", "s3"])
def test_every_kind_of_address_brings_the_set(
    shards: Path,
    index: ShardIndex,
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == "pipe":
        main([f"pipe:cat {shards}/train/{{}}", str(tmp_path)])
    elif kind == "s3":
        with s3_bucket(monkeypatch) as client:
            for path in (shards / "train").iterdir():
                client.put_object(Bucket="bucket", Key=f"a/set/{path.name}", Body=path.read_bytes())
            main(["s3://bucket/a/set", str(tmp_path)])
    else:
        with nginx(shards, tmp_path / "nginx") as address:
            main([f"{address}/train", str(tmp_path / "staging")])
    assert_whole(Path(capsys.readouterr().out.strip()), index)
