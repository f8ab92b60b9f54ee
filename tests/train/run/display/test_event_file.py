import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import Summary

from train.run.display.event_file import EventFile


def write(folder: Path, start: int, *values: tuple[int, float]) -> None:
    events = EventFile(folder, start)
    for images, value in values:
        events.add(Summary(value=[Summary.Value(tag="loss", simple_value=value)]), images)
    events.close()


def points(folder: Path) -> list[tuple[int, float]]:
    found = EventAccumulator(str(folder))
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars("loss")]


def test_what_lies_beyond_a_later_start_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, 0, (8, 1), (16, 2), (24, 3))
    write(tmp_path, 16, (24, 4))
    assert points(tmp_path) == [(8, 1), (16, 2), (24, 4)]


def test_an_evaluation_that_was_logged_but_not_saved_is_logged_once(tmp_path: Path) -> None:
    write(tmp_path, 0, (8, 1), (16, 2))
    write(tmp_path, 8, (16, 3))  # a start from another position ...
    write(tmp_path, 16, (16, 4), (24, 5))  # adds what it evaluates at once to what training wrote there
    assert points(tmp_path) == [(8, 1), (16, 3), (16, 4), (24, 5)]
    write(tmp_path, 24, (24, 6), (32, 7))
    write(tmp_path, 16, (16, 8), (24, 9))  # checkpoints were lost: evaluates there again
    assert points(tmp_path) == [(8, 1), (16, 3), (16, 4), (24, 9)]


def evaluate(folder: Path, start: int) -> None:
    events = EventFile(folder, start)
    for tag in ("mAP", "val/loss"):
        events.add(Summary(value=[Summary.Value(tag=tag, simple_value=0.5)]), start)
    events.close()


def test_what_a_start_did_not_log_before_it_was_killed_is_added(tmp_path: Path) -> None:
    write(tmp_path, 0, (8, 1))
    evaluate(tmp_path, 8)
    cut = max(tmp_path.iterdir())
    whole = cut.read_bytes()
    for length in range(len(whole) + 1):
        cut.write_bytes(whole[:length])
        evaluate(tmp_path, 8)
        found = EventAccumulator(str(tmp_path))
        found.Reload()
        for tag in ("loss", "mAP", "val/loss"):
            assert [event.step for event in found.Scalars(tag)] == [8], (tag, length)
        max(tmp_path.iterdir()).unlink()


def test_a_start_from_the_beginning_drops_everything(tmp_path: Path) -> None:
    write(tmp_path, 0, (8, 1), (16, 2))
    write(tmp_path, 0, (8, 5))
    assert points(tmp_path) == [(8, 5)]


def test_a_clock_that_was_set_back_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 0, (8, 1), (16, 2))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    write(tmp_path, 8, (16, 3))
    write(tmp_path, 16, (24, 4))
    assert points(tmp_path) == [(8, 1), (16, 3), (24, 4)]


def test_each_start_has_a_file_of_its_own_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for _ in range(12):
        write(tmp_path, 0)
    numbers = sorted(int(path.name.split(".")[3]) for path in tmp_path.glob("events.*"))
    assert len(set(numbers)) == 12


def test_a_full_disk_is_an_error_of_the_call(tmp_path: Path) -> None:
    class Full:
        def write(self, _data: bytes) -> None:
            raise OSError(28, "No space left on device")

    from tensorboard.summary.writer.record_writer import RecordWriter

    events = EventFile(tmp_path, 0)
    events.close()
    events._records = RecordWriter(Full())
    with pytest.raises(OSError, match="No space"):
        events.add(Summary())
