"""What an address hides stays hidden, wherever a command says it."""

import json
import subprocess
import sys

import pytest

from launch.redact import redacted

TELL = """
import sys
from launch.command import run
def main(words):
    print(words, file=sys.stderr)
    raise ValueError(f"no {words[0]}")
run(main)
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://host/set", "http://host/set"),
        ("https://me:secret@host/set?sig=secret&x=1", "https://host/set"),
        ("https://me:se/cr@et@host:80/set", "https://host:80/set"),
        ("https://me:s@ecret@host/a@b?x=me@host", "https://host/a@b"),
        ("https://host:8080/a@b/set#part", "https://host:8080/a@b/set#part"),
        ("http:/host/set?sig=secret", "http:/host/set"),  # as a path
        ("s3://bucket/set", "s3://bucket/set"),
        ("pipe:curl -sf 'https://me:secret@host/{}?token=secret' -o -", "pipe:curl -sf 'https://host/{}' -o -"),
        ("see https://host/a?token=secret for more, and mail a@b.c?", "see https://host/a for more, and mail a@b.c?"),
        ("http://host/set?sig=a:b.c: expected http://host/?a, or so", "http://host/set: expected http://host/, or so"),
        ("what? see http://host/a", "what? see http://host/a"),
        ("datasets/what?.yaml", "datasets/what?.yaml"),
        ("me@host:/data", "me@host:/data"),
        ("C:/data/what?.jpg and 12:/x", "C:/data/what and 12:/x"),
    ],
)
def test_passwords_and_tokens_are_not_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown and redacted(shown) == shown


@pytest.mark.parametrize("words", [[], ["--traceback"]], ids=str)
def test_no_command_says_them(words: list[str]) -> None:
    address = "http://me:secret@host/set?sig=secret"
    done = subprocess.run([sys.executable, "-c", TELL, address, *words], capture_output=True, text=True)
    assert done.stderr.count("http://host/set") == 2 + len(words) and "secret" not in done.stderr
    assert json.dumps(done.stdout) == '""'
