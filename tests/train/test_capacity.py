"""The table of what fits: it agrees with the prediction, and knows what does not fit at all."""

import pytest

from tests.conftest import ROOT
from train.capacity import main, memory_of, most_images, table
from train.config import load


def test_the_most_images_fit_and_one_more_does_not() -> None:
    config = load(ROOT / "configs/voc.yaml", [])
    most = most_images(config, 608, 80e9)
    assert memory_of(config, 608, local=most, parts=1).total <= 80e9
    assert memory_of(config, 608, local=most + 1, parts=1).total > 80e9
    assert most_images(config, 608, 1e8) == 0


def test_a_row_for_each_side(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(ROOT / "configs/voc.yaml"), "--gb", "8", "--processes", "2", "data.sides=[608,320]"])
    head, names, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("32 images in each process") and names.split()[0] == "side"
    assert [row.split()[0] for row in rows] == ["320", "608"]
    config = load(ROOT / "configs/voc.yaml", ["data.sides=[608]"])
    assert float(table(config, 1e9, 2).splitlines()[-1].split()[1]) == pytest.approx(
        memory_of(config, 608, processes=2).total / 1e9, abs=0.01
    )
    assert table(config, 1e8, 2).endswith("none")


def test_a_remainder_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.batch=64 over --processes 3 leaves a remainder"):
        main([str(ROOT / "configs/voc.yaml"), "--processes", "3"])


def test_a_device_without_memory_is_refused() -> None:
    for text in ("0", "-1", "nan"):
        with pytest.raises(ValueError, match=rf"--gb {text}: expected more than 0"):
            main([str(ROOT / "configs/voc.yaml"), f"--gb={text}"])
