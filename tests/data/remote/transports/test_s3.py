"""S3 without its package. (An S3 that misbehaves, and a real one: tests/data/remote/test_fetch.py.)"""

import sys

import pytest

import data.remote.transports.s3
from data.remote.transports.s3 import open_s3


def test_without_its_package_s3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    data.remote.transports.s3.client.cache_clear()
    with pytest.raises(ValueError, match="pip install boto3"):
        open_s3("s3://bucket/set/index.json", 0)
