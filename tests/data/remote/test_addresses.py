"""What an address may be, and that what it hides stays hidden."""

import pytest

from data.remote.addresses import check_address, is_command, is_remote, location, redacted

NAME = "shard-000000.tar"


def test_what_is_an_address() -> None:
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
        ("https://me:secret@host/set", r"^https:// address: expected the name of a host .* without user and password"),
    ],
)
def test_addresses_that_cannot_be(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as found:
        check_address(address)
    assert "secret" not in str(found.value)
    for good in ("http://host/set", "https://host:1/a/set?x=y", "s3://bucket/set", "pipe:cat {}"):
        check_address(good)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://host/set", "http://host/set"),
        ("https://me:secret@host/set?sig=secret&x=1", "https://host/set"),
        ("s3://bucket/set", "s3://bucket/set"),
        ("pipe:curl -sf 'https://me:secret@host/{}?token=secret' -o -", "pipe:curl -sf 'https://host/{}' -o -"),
        ("see https://host/a?token=secret for more, and mail a@b.c?", "see https://host/a for more, and mail a@b.c?"),
        ("datasets/what?.yaml", "datasets/what?.yaml"),
        ("me@host:/data", "me@host:/data"),
    ],
)
def test_passwords_and_tokens_are_not_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown and redacted(shown) == shown
    assert is_command(text) is text.startswith("pipe:")
