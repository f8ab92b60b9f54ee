import os
from pathlib import Path

import numpy as np
import pytest

from train.inference.passes import Options, Speed, detect_video
from train.inference.video import USUAL_FPS, frames_per_second, read_frames, write_frames


@pytest.mark.parametrize("size", [(96, 64), (65, 49)])
def test_frames_are_read_as_they_were_written(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    with write_frames(tmp_path / "a.mp4", 12.5) as write:
        for shade in range(0, 220, 20):
            frame = np.full((height, width, 3), shade, np.uint8)
            frame[..., 0] = 200  # red stays red
            write(frame)
    parts = list(read_frames(tmp_path / "a.mp4", 4))
    assert [len(part) for part in parts] == [4, 4, 3] and frames_per_second(tmp_path / "a.mp4") == 12.5
    for number, frame in enumerate(frame for part in parts for frame in part):
        assert frame.shape == (height // 2 * 2, width // 2 * 2, 3)
        assert np.abs(frame.mean((0, 1)) - (200, 20 * number, 20 * number)).max() < 12


def test_an_original_that_the_result_is_a_link_to_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "original.mp4").write_text("original")
    (tmp_path / "a.mp4").symlink_to("original.mp4")
    with write_frames(tmp_path / "a.mp4", 12.5) as write:
        write(np.zeros((64, 64, 3), np.uint8))
    assert (tmp_path / "original.mp4").read_text() == "original" and not (tmp_path / "a.mp4").is_symlink()


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("text")
    with pytest.raises(ValueError, match=r"a\.mp4 does not decode: expected a video, found no frame"):
        next(read_frames(tmp_path / "a.mp4", 4))
    assert frames_per_second(tmp_path / "a.mp4") == USUAL_FPS


def test_a_pipe_is_no_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    some = detect_video(None, "a", tmp_path / "a.mp4", Options(tmp_path, np.zeros(1), True), Speed())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"a\.mp4 does not decode: expected a file, found a pipe or a device"):
        next(some)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    def write_one() -> None:
        with write_frames(tmp_path / "none/a.mp4", 10) as write:
            write(np.zeros((32, 32, 3), np.uint8))

    with pytest.raises(OSError, match="could not be written"):
        write_one()
