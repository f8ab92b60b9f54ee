"""One file from a server that is slow, cut, or lies: whole and right in the end, or a message that says why not."""

import gc
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import data.remote.fetch
import data.remote.transports.body
import data.remote.transports.s3
from data.remote.fetch import fetch
from tests.servers import Liar, nginx, s3_bucket

DATA = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME = "shard-000000.tar"


@pytest.fixture(autouse=True)
def no_time_to_waste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.remote.fetch, "PAUSES_S", (0, 0.01, 0.01))
    monkeypatch.setattr(data.remote.transports.body, "TIMEOUT_S", 1)


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar({NAME: DATA}) as server:
        yield server


def bring(address: str, folder: Path, **changes: object) -> bytes:
    arguments = {"sha256": SHA256, "size": len(DATA)} | changes
    assert fetch(address, NAME, folder / NAME, **arguments)  # type: ignore[arg-type]
    assert [path.name for path in folder.iterdir()] == [NAME]
    return (folder / NAME).read_bytes()


# --------------------------------------------------------------------------------------------------------- http


@pytest.mark.parametrize(
    "behaviour",
    [
        [],
        [0],
        [1_200_000, 1_200_000],
        [1_200_000, "503", 0, 1_200_000],
        [1_000_000, "no range"],
        [1_000_000, "other range"],
        [1_000_000, "unusual range"],
        ["no length", "no length"],
        ["altered"],
        ["longer"],
        ["shorter"],
        ["html"],
        [2_000_000, "html", "no range"],
        [2_000_000, "shorter"],
    ],
    ids=str,
)
def test_a_file_comes_whole_through_a_bad_connection(liar: Liar, tmp_path: Path, behaviour: list[str | int]) -> None:
    liar.behaviour[NAME].extend(behaviour)
    assert bring(liar.address, tmp_path) == DATA
    assert not liar.behaviour[NAME]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (["404"], r"the server answered 404 Not Found; correct the address or put the whole set there"),
        (["html"] * 2, r"expected 3,000,000 bytes, the server has 26, twice"),
        (["shorter"] * 2, r"expected 3,000,000 bytes, the server has 1,500,000, twice; the file there is not the one"),
        (["longer"] * 2, r"expected 3,000,000 bytes, the server has 3,000,004, twice"),
        ([2_000_000, "other range", "altered"], r"SHA-256 [0-9a-f]{16}\.\.\., found [0-9a-f]{16}\.\.\., twice"),
        (["unusual range"] * 2, r"expected the bytes from 0 on, found 'the rest', twice"),
        (["altered"] * 2, rf"expected bytes of SHA-256 {SHA256[:16]}\.\.\., found [0-9a-f]{{16}}\.\.\., twice"),
        (["503"] * 4, r"the server answered 503 .*, after 4 attempts; 0 bytes have come and are kept"),
        (["length " + "9" * 5000] * 2, r"expected a Content-Length in bytes, found '9+', twice"),
        (["length -5"] * 2, r"expected a Content-Length in bytes, found '-5', twice"),
        (["gzip"] * 2, r"expected the bytes of the file, found them encoded as 'gzip', twice"),
        (["headers"] * 4, r"got more than 100 headers, after 4 attempts"),
        (["to ftp://host/shard"], r"expected a redirect to https, or from http to http, found one to ftp://host/shard"),
        (["to file:///etc/passwd"], r"file:///etc/passwd.* not allowed; correct the address"),
        (["to http://[::bad/"], r"correct the address"),
        (["endless"] * 2, r"expected 3,000,000 bytes, found more, twice"),
        ([500_000] * 3 + [0], r"the connection ended after 1,500,000, after 4 attempts; 1,500,000 bytes have come"),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # urllib drops a connection whose redirect it cannot parse
def test_a_file_that_cannot_be_had_is_named(
    liar: Liar, tmp_path: Path, behaviour: list[str | int], message: str
) -> None:
    liar.behaviour[NAME].extend(behaviour)
    with pytest.raises(ValueError, match=message) as found:
        bring(liar.address + "?signature=secret", tmp_path)
    assert f"{liar.address}/{NAME}: " in str(found.value)
    assert "secret" not in str(found.value)
    assert not (tmp_path / NAME).exists() and not liar.behaviour[NAME]
    gc.collect()


def test_a_slow_connection_that_always_breaks_still_gets_there(liar: Liar, tmp_path: Path) -> None:
    """As long as something comes, the count of attempts starts anew."""
    liar.files[NAME] = DATA * 4
    liar.behaviour[NAME].extend([1_100_000] * 10)
    whole = DATA * 4
    assert bring(liar.address, tmp_path, sha256=hashlib.sha256(whole).hexdigest(), size=len(whole)) == whole


def test_only_what_is_missing_is_asked_for(liar: Liar, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(DATA[:2_999_000])
    assert bring(liar.address, tmp_path) == DATA
    assert liar.requests == [(NAME, "bytes=2999000-")]


def test_a_part_that_was_complete_needs_no_request(liar: Liar, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(DATA)
    assert bring(liar.address, tmp_path) == DATA
    assert not liar.requests


@pytest.mark.parametrize("part", [b"other bytes", DATA + b"more", bytes(len(DATA))])
def test_a_part_of_something_else_is_thrown_away(liar: Liar, tmp_path: Path, part: bytes) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(part)
    assert bring(liar.address, tmp_path) == DATA
    assert liar.requests[-1] == (NAME, None)


def test_a_file_of_unknown_size_and_digest_comes_whole_too(liar: Liar, tmp_path: Path) -> None:
    liar.behaviour[NAME].extend([1_000_000, 0])
    assert bring(liar.address, tmp_path, sha256=None, size=None) == DATA


def test_a_server_that_falls_silent_is_left(tmp_path: Path) -> None:
    with Liar({NAME: DATA}) as server:
        server.stall_after = 100_000
        with pytest.raises(ValueError, match=r"timed out, after 4 attempts; 400,000 bytes have come and are kept"):
            bring(server.address, tmp_path)


def test_a_server_that_drips_is_left(liar: Liar, tmp_path: Path) -> None:
    liar.behaviour[NAME].extend(["drip"] * 4)
    began = time.monotonic()
    with pytest.raises(ValueError, match=rf"{NAME}: \d+ bytes in 1 s, after 4 attempts"):
        bring(liar.address, tmp_path)
    assert time.monotonic() - began < 10


def test_another_host_is_told(liar: Liar, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    liar.behaviour[NAME].append(f"to {liar.address.replace('127.0.0.1', 'localhost')}/{NAME}?token=secret")
    assert bring(liar.address, tmp_path) == DATA
    said = capsys.readouterr().err
    assert f"{liar.address}/{NAME} is redirected to the host localhost" in said and "secret" not in said


@pytest.mark.parametrize("behaviour", [[], ["endless"]], ids=str)
def test_a_file_of_unknown_size_has_a_ceiling(liar: Liar, tmp_path: Path, behaviour: list[str]) -> None:
    liar.behaviour[NAME].extend(behaviour * 2)
    with pytest.raises(ValueError, match=r"expected (at most )?1,000,000 bytes, .*, twice"):
        bring(liar.address, tmp_path, sha256=None, size=None, most_bytes=1_000_000)
    assert not list(tmp_path.iterdir())


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Connection refused.*after 4 attempts; 0 bytes have come"):
        bring("http://127.0.0.1:9", tmp_path)


def test_it_ends_when_asked_to_and_keeps_what_has_come(liar: Liar, tmp_path: Path) -> None:
    liar.stall_after = 1_000_000
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    assert not fetch(liar.address, NAME, tmp_path / NAME, sha256=SHA256, size=len(DATA), stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.part"]
    assert (tmp_path / f"{NAME}.part").read_bytes() == DATA[: (tmp_path / f"{NAME}.part").stat().st_size]


def test_nginx_whole_and_from_the_middle(tmp_path: Path) -> None:
    (tmp_path / "root/a set").mkdir(parents=True)
    (tmp_path / "root/a set" / NAME).write_bytes(DATA)
    out = tmp_path / "out"
    out.mkdir()
    with nginx(tmp_path / "root", tmp_path / "nginx") as address:
        assert bring(address + "/a%20set/", out) == DATA
        (out / NAME).unlink()
        (out / f"{NAME}.part").write_bytes(DATA[:1_000_000])
        assert bring(address + "/a%20set", out) == DATA
        with pytest.raises(ValueError, match=r"/another/shard-000000\.tar: the server answered 404 Not Found"):
            bring(address + "/another", out)
        with pytest.raises(ValueError, match="%20 for a blank"):
            bring(address + "/a set", out)
    assert " 206 " in (tmp_path / "nginx/access").read_text()


# --------------------------------------------------------------------------------------------------------- pipe


def test_a_command_brings_a_file(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / NAME).write_bytes(DATA)
    out = tmp_path / "out"
    out.mkdir()
    assert bring(f"pipe:cat {tmp_path}/there/{{}}", out) == DATA
    (out / f"{NAME}.part").write_bytes(DATA[:1_000_000])
    assert bring(f"pipe:cat {tmp_path}/there/{{}}", out) == DATA


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "cat /nowhere/{}",
            r"pipe:cat /nowhere/shard-000000\.tar: the command ended with exit code 1 cat: .*No such file",
        ),
        ("echo {}", r"expected 3,000,000 bytes, the connection ended after 17, after 4 attempts"),
        ("sleep 60 # {}", r"the command gave no byte for 1 s"),
        ("yes {}", r"expected 3,000,000 bytes, found more, twice"),
        ("head -c 3000000 /dev/zero # {}", r"expected bytes of SHA-256 .*, twice"),
    ],
)
def test_a_command_that_does_not_bring_it(tmp_path: Path, command: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bring(f"pipe:{command}", tmp_path)
    assert not (tmp_path / NAME).exists()


# ------------------------------------------------------------------------------------------------------------ s3


@pytest.fixture
def bucket(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The liar, spoken to as S3."""
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", liar.address.removesuffix("/set"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # its own; ours come on top
    data.remote.transports.s3.client.cache_clear()
    yield "s3://bucket/a/set"
    data.remote.transports.s3.client.cache_clear()


@pytest.mark.parametrize(
    "behaviour",
    [
        [],
        [0, 1_200_000],
        [1_200_000, "503", 1_200_000],
        [1_200_000, "no range"],
        ["altered"],
        ["shorter"],
        [2_000_000, "shorter"],
    ],
    ids=str,
)
def test_an_object_comes_whole_through_a_bad_connection(
    liar: Liar, bucket: str, tmp_path: Path, behaviour: list[str | int]
) -> None:
    liar.behaviour[NAME].extend(behaviour)
    assert bring(bucket, tmp_path) == DATA
    assert not liar.behaviour[NAME]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (["404"], r"^s3://bucket/a/set/shard-000000\.tar: the server answered 404 .*; correct the address"),
        (["altered"] * 2, r"expected bytes of SHA-256 .*, twice"),
        (["503"] * 4, r"the server answered 503 .*, after 4 attempts; 0 bytes have come and are kept"),
        (["html"] * 2, r"expected 3,000,000 bytes, the server has 26, twice"),
    ],
    ids=str,
)
def test_an_object_that_cannot_be_had_is_named(
    liar: Liar, bucket: str, tmp_path: Path, behaviour: list[str | int], message: str
) -> None:
    liar.behaviour[NAME].extend(behaviour)
    with pytest.raises(ValueError, match=message):
        bring(bucket, tmp_path)


def test_an_object_that_drips_is_left(liar: Liar, bucket: str, tmp_path: Path) -> None:
    liar.behaviour[NAME].extend(["drip"] * 4)
    with pytest.raises(ValueError, match=rf"{NAME}: \d+ bytes in 1 s, after 4 attempts"):
        bring(bucket, tmp_path)


def test_an_object_without_credentials(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(
        ValueError, match=r"Unable to locate credentials \(credentials are found as the AWS tools find them\)"
    ):
        bring(bucket, tmp_path)


def test_nobody_listens_for_objects(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"Could not connect .*, after 4 attempts"):
        bring(bucket, tmp_path)


def test_a_real_s3_server(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_bucket(monkeypatch) as client:
        client.put_object(Bucket="bucket", Key=f"a/set/{NAME}", Body=DATA)
        assert bring(bucket, tmp_path) == DATA
        (tmp_path / NAME).unlink()
        (tmp_path / f"{NAME}.part").write_bytes(DATA[:1_000_000])
        assert bring(bucket, tmp_path) == DATA
        with pytest.raises(ValueError, match=r"the server answered 404 .*NoSuchKey.*; correct the address or put the"):
            bring("s3://bucket/another", tmp_path)
        with pytest.raises(
            ValueError, match=r"the server answered 404 .*NoSuchBucket.*; correct the address or put the"
        ):
            bring("s3://nowhere/set", tmp_path)
        client.put_object(Bucket="bucket", Key=f"a/set/{NAME}", Body=DATA[:-1] + b"?")
        with pytest.raises(ValueError, match=r"expected bytes of SHA-256 .*, twice"):
            bring(bucket, tmp_path)
