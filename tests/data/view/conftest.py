from pathlib import Path

import pytest

from data.shards.index import ShardIndex
from tests.data.pictures import black_images


@pytest.fixture
def four_images(tmp_path: Path) -> ShardIndex:
    """Four images, six objects, four of them trained on."""
    return black_images(
        tmp_path,
        [
            (320, 160, [((10, 10, 42, 42), 0, ""), ((100, 20, 300, 120), 1, ""), ((0, 0, 320, 160), 1, "difficult")]),
            (160, 320, [((0, 0, 160, 320), 0, ""), ((5, 5, 9, 9), 0, "crowd")]),
            (320, 160, []),
            (320, 160, [((16, 96, 80, 160), 0, "")]),
        ],
    )
