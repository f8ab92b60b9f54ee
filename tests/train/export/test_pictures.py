"""Pictures to compare on."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from train.config import load
from train.export.pictures import load_canvases


def test_named_ones_and_those_of_the_validation_set(tmp_path: Path, shards: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"run: r\ndata: {{train: t, val: {shards}/val}}\nevaluate: {{side: 64}}\n")
    config = load(tmp_path / "config.yaml", [])
    (tmp_path / "pictures/deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.jpg", "deep/c.txt"):
        if not name.endswith("txt"):
            cv2.imwrite(str(tmp_path / "pictures" / name), np.full((40, 80, 3), 200, np.uint8))
    assert load_canvases(config, [tmp_path / "pictures"], 50).shape == (2, 64, 64, 3)
    assert load_canvases(config, [tmp_path / "pictures/a.png"], 50)[0, 32, 32].tolist() == [200, 200, 200]
    assert load_canvases(config, [], 5).shape == (5, 64, 64, 3)
    (tmp_path / "bad.jpg").touch()
    with pytest.raises(ValueError, match=r"bad\.jpg does not decode: the file is empty"):
        load_canvases(config, [tmp_path / "bad.jpg"], 5)
    with pytest.raises(ValueError, match="--pictures nowhere: no such file or folder"):
        load_canvases(config, [Path("nowhere")], 5)
    (tmp_path / "config.yaml").write_text("run: r\ndata: {train: t, val: /nowhere}\n")
    with pytest.raises(ValueError, match=r"no pictures to compare on .*; name some: --pictures FOLDER"):
        load_canvases(load(tmp_path / "config.yaml", []), [], 5)
