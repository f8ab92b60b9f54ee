"""A trained network on a set, from a run or from weights, at several sizes."""

import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data.index import ShardIndex
from data.voc import read_voc
from data.write import write_shards
from tests.conftest import launch
from train.cfg import as_config, read_cfg
from train.darknet import save_weights
from train.model import YOLOv2
from train.score import main


@pytest.fixture
def config(shards: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
        run: {tmp_path}/run
        epochs: 1
        data: {{train: {shards}/train, val: {shards}/val, batch: 8, sides: [64], workers: 0}}
        model: {{width: 0.0625}}
        evaluate: {{side: 64, score_threshold: 0.001}}
        step: {{precision: fp32}}
        """
    )
    return path


def test_weights_are_scored_at_every_size(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(YOLOv2(6, 5, width=1 / 16), tmp_path / "net.weights")
    main([str(config), "--sides", "64,96", f"weights={tmp_path}/net.weights"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path}/net.weights on ") and lines[1].split() == ["64", "px", "96", "px"]
    assert [line.split()[0] for line in lines[2:8]] == ["circle", "cross", "ring", "square", "star", "triangle"]
    assert lines[8].startswith("mAP@.5 ") and lines[9].startswith("mAP@.5 (11-point)")
    columns = np.array([[float(cell) for cell in line.split()[-2:]] for line in lines[2:9]])
    np.testing.assert_allclose(columns[:-1].mean(0), columns[-1], atol=0.01)


@pytest.mark.slow
def test_a_run_is_scored_as_its_own_evaluation_was(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = launch(str(config), "epochs=2")
    logged = [line.split("mAP@.5 ")[1].split()[0] for line in run.stdout.splitlines() if "mAP@.5 " in line]
    main([str(tmp_path / "run")])
    printed = capsys.readouterr().out
    best = max(float(value) for value in logged)
    assert f"{100 * best:.2f}" in printed.split("mAP@.5 ")[1].split("\n")[0]


def test_what_there_is_not_is_named(config: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="expected a run folder or weights=FILE beside a config, found neither"):
        main([str(config)])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(config.read_text())
    with pytest.raises(SystemExit, match=f"no checkpoint under {tmp_path}/run/checkpoints; train the run first"):
        main([str(tmp_path / "run")])


@pytest.mark.slow
def test_weights_that_somebody_trained_score_what_darknet_said(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny network on 825 images of VOC2007 test: 33.9 % by the 11-point metric."""
    subprocess.run(["tar", "-xf", str(shared / "data/voc2007_annotations.tar.xz"), "-C", str(tmp_path)], check=True)
    with tarfile.open(shared / "data/voc2007_test825_images.tar") as images:
        images.extractall(tmp_path, filter="data")
    root = next(tmp_path.rglob("ImageSets")).parent
    names = sorted(path.stem for path in next(tmp_path.rglob("*.jpg")).parent.glob("*.jpg"))
    (root / "ImageSets/Main/test825.txt").write_text("\n".join(names))
    index = write_shards(read_voc(root, ["test825"]), tmp_path / "shards")
    assert index.num_samples == 825 and ShardIndex.load(tmp_path / "shards").digest == index.digest
    (tmp_path / "net.yaml").write_text(
        as_config(read_cfg(shared / "golden/darknet_real/tiny-yolov2-trial3.cfg"), "net")
    )
    weights = shared / "golden/darknet_real/tiny-yolov2-trial3.weights"
    keys = [f"data.val={tmp_path}/shards", "data.resize=stretch", "data.workers=0", "step.precision=fp32"]
    main([str(tmp_path / "net.yaml"), f"weights={weights}", *keys])
    eleven_point = capsys.readouterr().out.splitlines()[-1].split()[-1]
    assert float(eleven_point) == pytest.approx(33.9, abs=0.3)
