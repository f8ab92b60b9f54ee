"""Checkpoints: whole or not there, the newest whole one wins, and a file cannot run code."""

import errno
import hashlib
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import train.run.checkpoint_files
from launch.processes.environment import Environment
from tests.conftest import ROOT
from train.run.checkpoint import Checkpoint, CheckpointConfig
from train.run.checkpoint_files import best, defect, newest, read
from train.schedule.progress import Progress

NETWORK = {"variant": "yolov2", "width": 0.25, "anchors": [1.0, 2.0], "classes": ["cat", "dog"]}


class Part:
    """Tensors as a model and an optimizer hold them: nested, beside plain numbers."""

    def __init__(self, value: float = 0, size: int = 1000) -> None:
        self.weight = torch.full((size,), value)
        self.momentum = [torch.full((3,), value), torch.full((2,), value)]
        self.steps = int(value) if math.isfinite(value) else 0

    def state_dict(self) -> dict[str, Any]:
        state = {0: {"momentum": self.momentum}, "steps": self.steps, "nothing": None}
        return {"weight": self.weight, "state": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"]
        self.momentum, self.steps = state["state"][0]["momentum"], state["state"]["steps"]

    @property
    def value(self) -> float:
        """The one number that everything in here is made of."""
        (value,) = set(torch.cat([self.weight, *self.momentum]).tolist()) | {float(self.steps)}
        return value


def checkpoint(folder: Path, part: Part, *, keep: int = 2, rank: int = 0, **network: object) -> Checkpoint:
    return Checkpoint(folder, CheckpointConfig(keep=keep), Environment(rank), {**NETWORK, **network}, part=part)


def saved(folder: Path, *images: int, keep: int = 2, marked: int | None = None) -> None:
    """One checkpoint at each position, everything in it the position; `marked`: the best one."""
    for position in images:
        writer = checkpoint(folder, Part(position), keep=keep)
        writer.save(position, best=position == marked)
        writer.wait()


def positions(folder: Path) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[0] for path in folder.iterdir())


def damage(path: Path) -> None:
    """One bit in the middle."""
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    path.write_bytes(bytes_)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_what_is_saved_is_restored(tmp_path: Path) -> None:
    part, progress = Part(7), Progress(640, 3, 0.5)
    writer = Checkpoint(tmp_path, CheckpointConfig(), Environment(), NETWORK, part=part, progress=progress)
    writer.save(640)
    writer.wait()
    part, progress = Part(), Progress()
    reader = Checkpoint(tmp_path, CheckpointConfig(), Environment(), NETWORK, part=part, progress=progress)
    assert reader.restore() == 640
    assert part.value == 7 and len(part.weight) == 1000
    assert progress == Progress(640, 3, 0.5)


def test_a_fresh_run_has_nothing_to_restore(tmp_path: Path) -> None:
    part = Part(1)
    assert checkpoint(tmp_path / "absent", part).restore() is None
    assert part.value == 1
    assert best(tmp_path) is None


def test_the_newest_wins(tmp_path: Path) -> None:
    saved(tmp_path, 900, 1000, 20_000, keep=3)
    part = Part()
    assert checkpoint(tmp_path, part).restore() == 20_000
    assert part.value == 20_000


def test_a_name_holds_the_digest_of_its_bytes(tmp_path: Path) -> None:
    saved(tmp_path, 64)
    (path,) = tmp_path.iterdir()
    assert defect(path) is None
    damage(path)
    assert defect(path) is not None


def test_bytes_that_change_on_their_way_to_the_disk_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path, 100)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: os.pwrite(file, b"wrong", 300) if file else None)
        patch.setattr(train.run.checkpoint_files, "sync_folder", lambda _: None)
        saved(tmp_path, 200)
    assert checkpoint(tmp_path, Part()).restore() == 100
    assert "000000200-" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", [damage, cut, empty])
def test_a_spoilt_newest_is_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any
) -> None:
    saved(tmp_path, 100, 200)
    spoilt = newest(tmp_path)
    assert spoilt is not None
    spoil(spoilt)
    part = Part()
    assert checkpoint(tmp_path, part).restore() == 100
    assert part.value == 100
    assert f"{spoilt} is skipped, damaged" in capsys.readouterr().err


def test_a_run_whose_checkpoints_are_all_spoilt_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the beginning, its first evaluation would take the place of the best."""
    saved(tmp_path, 100, 200)
    for path in tmp_path.iterdir():
        cut(path)
    with pytest.raises(ValueError, match="expected a whole checkpoint, found 2, all damaged; put an intact copy"):
        checkpoint(tmp_path, Part()).restore()
    assert capsys.readouterr().err.count("skipped, damaged") == 2


def test_the_best_stands_in_for_numbered_ones_that_are_spoilt(tmp_path: Path) -> None:
    saved(tmp_path, 100, 200, 300, marked=200)
    for path in tmp_path.glob("0*.pt"):
        content = path.read_bytes()
        path.unlink()  # the best one is a link to the same bytes
        path.write_bytes(content[:-1])
    part = Part()
    assert checkpoint(tmp_path, part).restore() == 200
    assert part.value == 200


def a_folder(path: Path, _whole: Path) -> None:
    path.mkdir()


def a_link_to_nothing(path: Path, _whole: Path) -> None:
    path.symlink_to("nowhere.pt")


def a_pipe(path: Path, _whole: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [a_folder, a_link_to_nothing, a_pipe])
def test_odd_things_with_the_name_of_a_checkpoint_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any
) -> None:
    saved(tmp_path, 100)
    (whole,) = tmp_path.iterdir()
    odd = tmp_path / f"000000900-{16 * 'a'}.pt"
    make(odd, whole)
    copy = tmp_path / whole.name.replace("-", "copy-")
    copy.write_bytes(whole.read_bytes())
    assert checkpoint(tmp_path, Part()).restore() == 100
    printed = capsys.readouterr().err
    assert f"checkpoint {odd} is skipped" in printed and f"checkpoint {copy} is skipped" in printed


@pytest.mark.parametrize(
    "content",
    [
        {"network": NETWORK},
        {"network": NETWORK, "part": 7},
        {"network": NETWORK, "part": {"weight": torch.zeros(2)}},
        {"network": NETWORK, "part": {"weight": torch.zeros(2), "state": "none"}},
        {"network": "yolov2", "part": {}},
        {"network": {}, "part": {"weight": torch.zeros(2), "state": "none"}},
        {"network": {**NETWORK, "classes": 2}, "part": Part().state_dict()},
        {"network": NETWORK, "part": Part(math.inf).state_dict()},
        {"network": NETWORK, "part": {**Part().state_dict(), "weight": torch.zeros(1000).to_sparse()}},
        {"network": NETWORK, "part": Part().state_dict(), "progress": {"images": 64}},  # renamed: it would stay newest
        [1, 2],
    ],
)
def test_a_file_that_lacks_a_part_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object
) -> None:
    saved(tmp_path, 64)
    path = as_checkpoint(tmp_path, content)
    part = Part()
    assert checkpoint(tmp_path, part).restore() == 64
    assert part.value == 64
    assert f"checkpoint {path} is skipped, " in capsys.readouterr().err


def test_newer_is_the_larger_number_whatever_its_digits_or_its_time(tmp_path: Path) -> None:
    saved(tmp_path, 999_999_999, 1_000_000_000)
    older = next(tmp_path.glob("999999999-*"))
    os.utime(older, (2e9, 2e9))
    assert checkpoint(tmp_path, Part()).restore() == 1_000_000_000


@pytest.mark.parametrize("during", ["training", "the next save"])
def test_leaving_waits_for_the_last_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during: str) -> None:
    def slow(state: object, file: object, save: Any = torch.save) -> None:
        time.sleep(0.5)
        save(state, file)

    monkeypatch.setattr(torch, "save", slow)

    def interrupted() -> None:
        with checkpoint(tmp_path, Part(1)) as writer:
            writer.save(100)
            if during == "the next save":
                main = threading.main_thread().ident
                threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()
                writer.save(200)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert positions(tmp_path) == ["000000100"]


def test_spoilt_ones_further_on_do_not_push_out_what_a_resumed_run_saves(tmp_path: Path) -> None:
    saved(tmp_path, 100, 200, 300, keep=3)
    for path in tmp_path.glob("000000[23]00-*.pt"):
        damage(path)
    saved(tmp_path, 150, 160)
    part = Part()
    assert checkpoint(tmp_path, part).restore() == 160
    assert positions(tmp_path) == ["000000150", "000000160", "000000200", "000000300"]
    saved(tmp_path, 300, 310)
    assert positions(tmp_path) == ["000000300", "000000310"]
    assert not any(defect(path) for path in tmp_path.iterdir())


@pytest.mark.parametrize("keep", [2, 3, 5])
def test_the_newest_and_the_best_are_kept(tmp_path: Path, keep: int) -> None:
    saved(tmp_path, *range(100, 801, 100), keep=keep, marked=300)
    expected = [f"{position:09d}" for position in range(900 - 100 * keep, 801, 100)]
    assert positions(tmp_path) == [*expected, "best-000000300"]


def test_the_best_one_is_the_last_that_was_marked(tmp_path: Path) -> None:
    saved(tmp_path, 100, marked=100)
    saved(tmp_path, 200, 300, marked=200)
    path = best(tmp_path)
    assert path is not None
    assert path.name.startswith("best-000000200-")
    assert read(path)["part"]["state"]["steps"] == 200
    assert len(list(tmp_path.glob("best-*"))) == 1
    assert checkpoint(tmp_path, Part()).restore() == 300  # a run resumes from the newest, not from the best


def test_without_a_whole_best_one_the_newest_stands_in(tmp_path: Path) -> None:
    saved(tmp_path, 100, 200)
    assert best(tmp_path) == newest(tmp_path)
    saved(tmp_path, 300, marked=300)
    (marked,) = tmp_path.glob("best-*")
    marked.unlink()
    marked.write_bytes(b"spoilt")
    assert best(tmp_path) == newest(tmp_path)


def test_a_second_save_at_one_place_replaces_the_first(tmp_path: Path) -> None:
    for evaluated in range(6):  # such as before and after an evaluation; the digests are in no order
        part = Part(evaluated)
        writer = checkpoint(tmp_path, part)
        writer.save(100)
        writer.wait()
        part = Part()
        assert checkpoint(tmp_path, part).restore() == 100
        assert part.value == evaluated


def test_saving_the_same_state_twice_changes_nothing(tmp_path: Path) -> None:
    saved(tmp_path, 100, marked=100)
    before = sorted(path.name for path in tmp_path.iterdir())
    saved(tmp_path, 100, marked=100)
    assert {path.name for path in tmp_path.iterdir()} >= set(before)
    assert checkpoint(tmp_path, Part()).restore() == 100


def test_unfinished_and_foreign_files_are_never_considered(tmp_path: Path) -> None:
    saved(tmp_path, 100)
    (whole,) = tmp_path.iterdir()
    for name in ("000000200.part", "000000200.link", "000000300.pt", "notes.txt", "final.pt"):
        (tmp_path / name).write_bytes(whole.read_bytes())
    assert newest(tmp_path) == best(tmp_path) == whole
    assert checkpoint(tmp_path, Part()).restore() == 100


def test_what_a_killed_process_left_is_cleared_by_the_next_start_and_by_no_other(tmp_path: Path) -> None:
    saved(tmp_path, 100)
    part = tmp_path / "000000050.node3-17.part"
    part.write_bytes(b"half of")
    saved(tmp_path, 100)
    checkpoint(tmp_path, Part()).restore()  # as train.check does beside a run
    assert part.exists()
    with checkpoint(tmp_path, Part()):
        assert positions(tmp_path) == ["000000100"]


def test_another_network_is_refused_with_both_values(tmp_path: Path) -> None:
    saved(tmp_path, 100)
    part = Part(1)
    with pytest.raises(
        ValueError, match=r"holds another network: width was 0\.25, the config says 1\.0; choose another"
    ):
        checkpoint(tmp_path, part, width=1.0).restore()
    with pytest.raises(ValueError, match=r"classes was \['cat', 'dog'\], the config says \['dog', 'cat'\]"):
        checkpoint(tmp_path, part, classes=["dog", "cat"]).restore()
    with pytest.raises(ValueError, match="depth was None, the config says 19"):
        checkpoint(tmp_path, part, depth=19).restore()
    assert part.value == 1


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def as_checkpoint(folder: Path, content: object) -> Path:
    """A file that bears the name of a whole checkpoint, whatever it holds."""
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / "content")
    digest = hashlib.sha256((folder / "content").read_bytes()).hexdigest()
    return (folder / "content").rename(folder / f"000000100-{digest[:16]}.pt")


def test_a_file_that_holds_code_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = as_checkpoint(tmp_path / "run", {"network": NETWORK, "part": Payload(mark)})
    assert newest(tmp_path / "run") == path
    with pytest.raises(ValueError, match="is not a checkpoint of this program"):
        read(path)
    with pytest.raises(ValueError, match="expected a whole checkpoint, found 1, all damaged"):
        checkpoint(tmp_path / "run", Part()).restore()
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would have


@pytest.mark.parametrize("content", [[1, 2], {"weight": torch.zeros(2)}])
def test_a_file_of_another_program_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(ValueError, match="is not a checkpoint of this program: it does not describe its network"):
        read(as_checkpoint(tmp_path, content))


def test_a_file_that_torch_cannot_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "yolo.weights"
    path.write_bytes(b"\0\0\0\0\2\0\0\0" * 9)
    with pytest.raises(ValueError, match=r"yolo\.weights is not a checkpoint of this program"):
        read(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_reported_and_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    saved(tmp_path, 100)
    part = Part(200)
    writer = checkpoint(tmp_path, part)

    def full(_state: object, file: Any) -> None:
        file.write(b"as far as there is room")
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        writer.save(200)
        with pytest.raises(OSError, match=rf"could not be written .*{os.strerror(number)}.*earlier ones are intact"):
            writer.wait()
        writer.save(300)
        with pytest.raises(OSError, match="could not be written"):
            writer.save(400)
    reader = Part()
    assert checkpoint(tmp_path, reader).restore() == 100
    assert reader.value == 100
    writer.save(500)  # there is room again
    writer.wait()
    assert positions(tmp_path) == ["000000100", "000000500"]


def test_a_full_disk_is_recognised_in_what_torch_makes_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(state: object, file: object, save: Any = torch.save) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            save(state, file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(torch, "save", save)
    writer = checkpoint(tmp_path, Part(1, size=200_000))
    writer.save(100)
    with pytest.raises(OSError, match=r"could not be written .*File too large") as caught:
        writer.wait()
    assert isinstance(caught.value.__cause__, RuntimeError)


REAL_DISK = """
import errno, sys
from pathlib import Path
from subprocess import run
from tests.train.run.test_checkpoint import Part, checkpoint, saved

disk, what = Path(sys.argv[1]), sys.argv[2]
disk.mkdir()
run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
saved(disk, 100)
if what == "read-only":
    run(["mount", "-o", "remount,ro", disk], check=True)
writer = checkpoint(disk, Part(200, size=500_000))
writer.save(200)
try:
    writer.wait()
except OSError as error:
    print(error)
part = Part()
assert checkpoint(disk, part).restore() == 100 and part.value == 100
"""


@pytest.mark.parametrize(
    ("what", "reason"), [("full", "No space left on device"), ("read-only", "Read-only file system")]
)
def test_a_real_disk_that_is_full_or_read_only(tmp_path: Path, what: str, reason: str) -> None:
    alone = ["unshare", "--mount"]
    if (
        os.geteuid()
        or subprocess.run([*alone, "mount", "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True).returncode
    ):
        pytest.skip("only root mounts a disk")
    done = subprocess.run(
        [*alone, sys.executable, "-c", REAL_DISK, str(tmp_path / "disk"), what],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "could not be written ([Errno" in done.stdout and reason in done.stdout, done.stdout


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    writer = checkpoint(tmp_path / "run", Part())
    writer.save(100)
    with pytest.raises(OSError, match=r"could not be written .* fix the permissions and start the run again"):
        writer.wait()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_reported_and_leaves_the_earlier_ones(tmp_path: Path) -> None:
    saved(tmp_path, 100)
    tmp_path.chmod(0o500)
    try:
        writer = checkpoint(tmp_path, Part())
        writer.save(200)
        with pytest.raises(OSError, match=r"could not be written .*Permission denied"):
            writer.wait()
        assert checkpoint(tmp_path, Part()).restore() == 100
    finally:
        tmp_path.chmod(0o700)


def test_what_happens_after_save_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(1, size=500_000)
    writer = checkpoint(tmp_path, part)

    def later(state: object, file: object, save: Any = torch.save) -> None:
        assert changed.wait(10)
        save(state, file)

    changed = threading.Event()
    monkeypatch.setattr(torch, "save", later)
    writer.save(100)
    part.weight.fill_(2)
    part.momentum[0].fill_(2)
    part.momentum.append(torch.zeros(1))
    part.steps = 2
    changed.set()
    writer.wait()
    part = Part()
    assert checkpoint(tmp_path, part).restore() == 100
    assert part.value == 1 and len(part.momentum) == 2


def test_only_rank_0_writes(tmp_path: Path) -> None:
    writer = checkpoint(tmp_path / "run", Part(), rank=1)
    writer.save(100, best=True)
    writer.wait()
    assert not (tmp_path / "run").exists()


def test_images_are_counted_whenever_asked_and_minutes_only_where_clocks_are_compared(tmp_path: Path) -> None:
    config = CheckpointConfig(every_images=100, every_minutes=1e-9)
    writer = Checkpoint(tmp_path, config, Environment(), NETWORK, part=Part())
    assert [writer.due(99, timed=timed) for timed in (False, True)] == [False, True] and writer.due(100, timed=False)
    writer.save(100)
    assert not writer.due(199, timed=False) and writer.due(200, timed=False)
    writer.wait()


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"checkpoint\.keep=1: expected at least 2, the newest may turn out damaged"):
        CheckpointConfig(keep=1)
    with pytest.raises(ValueError, match=r"checkpoint\.every_images=0: expected at least 1"):
        CheckpointConfig(every_images=0)


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from launch.processes.environment import Environment
from tests.train.run.test_checkpoint import Part, checkpoint
from train.run.checkpoint_files import prepare

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
last = 0
for kill in range(kills):
    told, tell = os.pipe()
    child = os.fork()  # the imports above are what takes long
    if child == 0:
        images = last
        prepare(folder)
        while True:
            images += 1
            writer = checkpoint(folder, Part(images, size=100_000))
            writer.save(images, best=images % 3 == 0)
            writer.wait()
            os.write(tell, b".")
    os.read(told, 1)  # the first save is not disturbed, however busy the machine
    os.close(told), os.close(tell)
    time.sleep(0.1 * random.Random(kill).random())
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the writer failed by itself"
    part = Part()
    found = checkpoint(folder, part).restore() or 0
    assert found >= last and part.value == found, (found, last)
    last = found
print(last)
"""


def test_a_process_killed_at_any_time_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), "25"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 25
    assert "skipped" not in done.stderr
    assert not any(defect(path) for path in tmp_path.glob("*.pt"))
    assert len(list(tmp_path.glob("*.part"))) <= 1


def test_the_bytes_of_a_file_do_not_depend_on_where_its_state_came_from(tmp_path: Path) -> None:
    """AdamW's state after a restart: its words are other objects than those of the program."""
    files = []
    for word in ("step", "".join(["st", "ep"])):
        part = Part()
        part.state_dict = lambda word=word: {"step": 1, "inner": {word: 2, "names": ("step", word)}}  # type: ignore[method-assign]
        folder = tmp_path / str(len(files))
        keeper = checkpoint(folder, part)
        keeper.save(100)
        keeper.wait()
        files += [path.name for path in folder.glob("*.pt")]
    assert len(files) == 2 and files[0] == files[1]
