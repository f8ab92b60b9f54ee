"""Pictures to compare on, as the network sees them: given ones, or the first of the run's validation set."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.images.files.decode import decode
from data.images.geometry import place_image, whole_image
from data.loading.opening import open_shards
from data.remote.addresses import is_remote
from data.shards.read import ShardReader
from launch.redact import redacted
from train.config import Config
from train.inference.inputs import read_upright

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def load_canvases(config: Config, pictures: Sequence[Path], count: int) -> NDArray[np.uint8]:
    """[P, H, W, 3] RGB at the size of evaluation, at most `count`. ValueError if there are none."""
    width, height = config.evaluate.size_px
    canvases = []
    for image in islice(_named(pictures) if pictures else _of_validation(config), count):
        canvas = np.empty((height, width, 3), np.uint8)
        place_image(image, whole_image(image.shape[1], image.shape[0], (width, height), config.data.resize), canvas)
        canvases.append(canvas)
    if not canvases:
        raise ValueError(
            f"expected pictures to compare on ({', '.join(SUFFIXES)}), found none in {', '.join(map(str, pictures))}"
        )
    return np.stack(canvases)


def _named(pictures: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    for path in pictures:
        if not path.exists():
            raise ValueError(f"--pictures {path}: no such file or folder")
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (read_upright(file) for file in files if file.suffix.lower() in SUFFIXES)


def _of_validation(config: Config) -> Iterator[NDArray[np.uint8]]:
    if is_remote(config.data.val):
        raise ValueError(f"data.val={redacted(config.data.val)} is not on this machine; name others: --pictures FOLDER")
    try:
        index = open_shards(config.data.val, config.data.classes, None)
    except (ValueError, OSError) as error:
        raise ValueError(f"no pictures to compare on ({error}); name some: --pictures FOLDER") from None
    with ShardReader(index) as reader:
        yield from (decode(reader.image(sample)) for sample in range(index.num_samples))
