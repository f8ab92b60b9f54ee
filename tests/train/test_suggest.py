"""A suggested config can be loaded and started; it grows with the time and the speed of the machine."""

from pathlib import Path

import pytest
import yaml

import train.suggest
from data.shards.index import ShardIndex
from launch.processes.environment import Environment
from tests.data.pictures import black_images
from train.config import Config
from train.suggest import EPOCHS, LADDER, MOST_EPOCHS, epochs_in, main, read, suggest


def suggested(
    shards: Path, monkeypatch: pytest.MonkeyPatch, speeds: dict[tuple[str, float], float], minutes: float | None
) -> tuple[Config, str]:
    """On a machine with these speeds for each network."""
    tried = []

    def speed(config: Config, index: ShardIndex, env: Environment) -> float:
        tried.append((config.model.variant, config.model.width))
        return speeds[tried[-1]]

    monkeypatch.setattr(train.suggest, "measured_speed", speed)
    text = suggest(str(shards / "train"), str(shards / "val"), minutes, Environment())
    return read(text), text


ALL = {(network.variant, network.width): 100.0 / (1 + place) for place, network in enumerate(LADDER)}


def test_without_a_limit_the_run_is_as_long_as_it_needs(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, text = suggested(shards, monkeypatch, ALL, None)
    assert (config.model.variant, config.model.width) == ("yolov2", 0.25)
    assert config.epochs == MOST_EPOCHS and config.recipe == "scratch" and config.anchors == "auto"
    assert config.data.train == str(shards / "train") and config.data.val == str(shards / "val")
    assert config.evaluate.side in config.data.sides
    assert "# Hard:     53 images: the network will memorize them" in text
    assert text.index("# Hard:") < text.index("run: ") and config.data.augment.mosaic == 0.5


def test_a_shorter_time_is_a_smaller_network(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = 10_000 / 60 / ALL["tiny-voc", 0.5] / 0.9 + 0.2
    config, _ = suggested(shards, monkeypatch, ALL, minutes)
    assert (config.model.variant, config.model.width) == ("tiny-voc", 0.5)
    assert config.epochs * 53 == pytest.approx(10_000, rel=0.05)


def test_too_short_a_time_is_said(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, text = suggested(shards, monkeypatch, ALL, 0.5)
    assert (config.model.variant, config.model.width) == ("tiny-voc", 0.25)
    assert "images seen in total: too few to learn well; give it more --minutes, or a GPU" in text
    assert config.data.augment.mosaic == 0


def test_more_time_is_not_the_remedy_where_epochs_end(four_images: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.suggest.measured_speed", lambda *_: 1e4)
    text = suggest(str(four_images.folder), None, 60, Environment())
    assert "1,200 images seen in total: too few to learn well; give it more images than 4" in text
    assert "Expected: 1 minute here" in text and "more --minutes" not in text


def test_a_folder_of_any_name_is_read_back(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.suggest.measured_speed", lambda *_: 1e4)
    for name in ("a #1", "a: b", "${x}"):
        (tmp_path / name).symlink_to(shards)
        config = read(suggest(str(tmp_path / name / "train"), str(tmp_path / name / "val"), 60, Environment()))
        assert config.data.train == str(tmp_path / name / "train") and config.run == f"runs/{name}-train"
        assert config.data.val == str(tmp_path / name / "val")


def test_epochs_fit_into_the_time() -> None:
    assert epochs_in(None, 1, 5_000, 500) == 2 * EPOCHS and epochs_in(None, 1, 200, 50) == 100
    assert epochs_in(100, 50, 5_000, 0) == int(100 * 60 * 50 * 0.9 / 5_000)
    assert epochs_in(0.001, 1, 5_000, 500) == 1 and epochs_in(10**6, 100, 100, 10) == MOST_EPOCHS


def test_a_time_that_cannot_be_meant_is_refused(shards: Path) -> None:
    with pytest.raises(ValueError, match="--minutes 0: expected more than 0"):
        main([str(shards / "train"), "--minutes", "0"])


def test_a_set_in_which_nothing_can_be_found_is_refused(tmp_path: Path, four_images: ShardIndex) -> None:
    (tmp_path / "val").mkdir()
    val = black_images(tmp_path / "val", [(64, 64, [((0, 0, 64, 64), 0, "difficult")])])
    with pytest.raises(ValueError, match=r"val/shards: expected objects to find, found 1, all difficult or crowds"):
        suggest(str(four_images.folder), str(val.folder), None, Environment())


def test_sets_of_other_classes_are_refused(shards: Path, four_images: ShardIndex) -> None:
    with pytest.raises(ValueError, match="hold the classes cat, dog, owl"):
        suggest(str(shards / "train"), str(four_images.folder), None, Environment())


@pytest.mark.slow
def test_on_this_machine(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(shards / "train"), "--minutes", "1"])
    out, err = capsys.readouterr()
    config = read(out)
    assert yaml.safe_load(out)["epochs"] == config.epochs and 0 < config.epochs <= MOST_EPOCHS
    assert (
        "images/s here" in err
        and err.count("anchors=auto") == 1
        and "no --val" in err
        and config.data.val == config.data.train
    )
