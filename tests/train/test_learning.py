"""It learns: a few pictures by heart, with the recipe for random weights as it stands."""

from pathlib import Path

import pytest

from data.shards.writing.write import write_shards
from data.sources.shapes import draw_voc
from data.sources.voc import read_voc
from tests.conftest import launch
from train.graph.variants import VARIANTS
from train.run.checkpoint_files import best, read

PLAIN = "data.augment={jitter: 0, flip: 0, hue: 0, saturation: 1, exposure: 1}"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    draw_voc(tmp_path / "drawn", train=4, val=1, seed=2)
    write_shards(read_voc(tmp_path / "drawn", ["2007:train"]), tmp_path / "few", workers=1)
    return tmp_path / "few"


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_few_pictures_are_learned_by_heart(
    few: Path, tmp_path: Path, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = tmp_path / "few.yaml"
    config.write_text(
        f"""
        run: {tmp_path}/run
        epochs: 60
        data: {{train: {few}, val: {few}, batch: 4, sides: [128], workers: 0}}
        model: {{variant: {variant}, width: 0.125}}
        evaluate: {{side: 128, every_epochs: 30, batch: 4, pictures: 0}}
        board: {{every_batches: 50}}
        """
    )
    launch(str(config), PLAIN)
    path = best(tmp_path / "run/checkpoints")
    assert path is not None
    assert read(path)["progress"]["best_map"] == pytest.approx(1.0, abs=1e-9)
