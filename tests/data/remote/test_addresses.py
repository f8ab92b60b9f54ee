"""What an address may be, and that what it hides stays hidden."""

import pytest

from data.remote.addresses import check_address, is_command, is_remote, location

NAME = "shard-000000.tar"


def test_what_is_an_address() -> None:
    assert is_command("pipe:cat {}") and not is_command("http://host/pipe:")
    assert all(map(is_remote, ["http://host/set", "s3://bucket/set", "pipe:cat {}", "gs://bucket/set"]))
    assert not any(map(is_remote, ["/data/train", "datasets/voc", "C:/data"]))
    assert location("http://host/set/?a=b", NAME) == f"http://host/set/{NAME}?a=b"
    assert location("s3://bucket", NAME) == f"s3://bucket/{NAME}"
    assert location("pipe:ssh host cat /a/{} | tee {}", "x") == "pipe:ssh host cat /a/x | tee x"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "gs://bucket/set?token=secret",
            r"gs://bucket/set: expected a folder, http\(s\)://HOST/SET, s3://BUCKET/SET or pipe:COMMAND",
        ),
        ("pipe:cat /data", r"pipe:cat /data: expected \{\} in the command"),
        ("http:///set", r"expected the name of a host"),
        ("s3:///set", r"expected the name of a bucket"),
        ("http://me:sec/ret@host/set", r"^http://host/set: expected HOST or HOST:PORT"),
        ("http://host:99999/set?x=secret", r"^http://host:99999/set: expected HOST or HOST:PORT"),
        ("http://[::1/set?x=secret", r"^http://\[::1/set: expected HOST .* in brackets if it is an IPv6 address"),
        ("https://me:secret@host/set", r"^https:// address: expected the name of a host .* without user and password"),
    ],
)
def test_addresses_that_cannot_be(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as found:
        check_address(address)
    assert "secret" not in str(found.value)
    for good in (
        "http://host/set",
        "https://host:1/a/set?x=y",
        "http://[::1]:80/set",
        "s3://bucket/set",
        "pipe:cat {}",
    ):
        check_address(good)
