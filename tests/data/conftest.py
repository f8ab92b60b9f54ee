import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """Shards that a test can spoil."""
    return shutil.copytree(shards / "train", tmp_path / "copy")
