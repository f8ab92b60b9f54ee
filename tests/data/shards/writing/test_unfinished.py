"""Whatever interrupted a run, the same command ends with the same bytes."""

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.files import write_whole
from data.records import Annotations
from data.shards.__main__ import main
from data.shards.index import ShardIndex
from data.shards.verify import verify
from data.shards.writing import scan, unfinished, write
from data.shards.writing.pack import Packing
from data.shards.writing.scan import index_shards
from data.shards.writing.write import write_shards
from tests.conftest import ROOT
from tests.data.pictures import annotations, contents, flip_byte, jpeg, note, write_tar

SMALL_MB = 0.004  # a shard of an image or two


def interrupt(given: Annotations, out: Path, at: str, *, drop_corrupt: bool = False) -> None:
    """Ctrl-C when the run is about to write the shard, or the index, with this name."""
    write_shard = write.write_shard

    def shard(path: Path, *rest: object) -> object:
        if path.name == at:
            path.with_name(at + ".host-1.part").write_bytes(b"half")
            raise KeyboardInterrupt
        return write_shard(path, *rest)

    def file(path: Path, data: bytes) -> None:
        if path.name == at:
            path.with_name(at + ".host-1.part").write_bytes(data[:100])
            raise KeyboardInterrupt
        write_whole(path, data)

    def pack(packing: Packing, *without: str) -> None:
        if at == "index.npz":
            (out / (at + ".host-1.part")).write_bytes(b"half")
            raise KeyboardInterrupt
        pack_all(packing, *without)

    pack_all = Packing.pack
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "write_shard", shard)
        patch.setattr(scan, "write_whole", file)
        patch.setattr(Packing, "pack", pack)
        patch.setattr(unfinished, "write_whole", file)
        with pytest.raises(KeyboardInterrupt):
            write_shards(given, out, shard_mb=SMALL_MB, workers=1, drop_corrupt=drop_corrupt)


def whole_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Which files, and when they were written."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.tar")}


@pytest.mark.parametrize("at", ["unfinished.json", "shard-000000.tar", "shard-000003.tar", "index.npz", "index.json"])
def test_a_rerun_continues_from_what_is_finished(tmp_path: Path, at: str) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    write_shards(given, tmp_path / "undisturbed", shard_mb=SMALL_MB, workers=1)
    interrupt(given, out, at)
    with pytest.raises(ValueError, match=f"no shards at {out}"):
        ShardIndex.load(out)
    finished = whole_files(out)
    assert len(finished) == {"unfinished.json": 0, "shard-000000.tar": 0, "shard-000003.tar": 3}.get(at, len(finished))
    write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert whole_files(out).items() >= finished.items()


def test_a_rerun_counts_the_images_left_out_before(tmp_path: Path) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    for number in (1, 4, 7):
        given.records[number].image.write_bytes(b"\xff\xd8 nothing")
    interrupt(given, out, "index.npz", drop_corrupt=True)
    index = write_shards(given, out, shard_mb=SMALL_MB, workers=1, drop_corrupt=True)
    assert index.num_samples == 6 and index.dropped == {"corrupt images": 3}
    verify(out, workers=1)


def test_a_run_that_ended_between_its_last_two_steps_is_finished(tmp_path: Path) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    interrupt(given, out, "index.json")
    plan = (out / "unfinished.json").read_bytes()
    write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    whole = contents(out)
    (out / "unfinished.json").write_bytes(plan)
    with pytest.raises(ValueError, match="already holds a finished set of shards"):
        write_shards(given, out, shard_mb=1, workers=1)
    write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    assert contents(out) == whole


@pytest.mark.parametrize("change", ["image", "boxes", "classes", "size of a shard", "fewer"])
def test_a_run_of_something_else_starts_over(tmp_path: Path, change: str) -> None:
    given, out, size = annotations(tmp_path / "images", 9), tmp_path / "out", SMALL_MB
    interrupt(given, out, "index.json")
    finished = whole_files(out)
    if change == "image":
        given.records[2].image.write_bytes(jpeg(99))
    elif change == "boxes":
        given.records[2].boxes_xyxy_px[0, 0] += 0.5
    elif change == "classes":
        given = dataclasses.replace(given, classes=("cat", "bird"))
    elif change == "fewer":
        given.records.pop()
    else:
        size *= 2
    write_shards(given, out, shard_mb=size, workers=1)
    assert not whole_files(out).items() & finished.items()
    write_shards(given, tmp_path / "undisturbed", shard_mb=size, workers=1)
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_finished_shard_that_was_damaged_since_is_refused(tmp_path: Path) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    interrupt(given, out, "shard-000003.tar")
    flip_byte(out / "shard-000001.tar", 10)
    with pytest.raises(ValueError, match=r"shard-000001\.tar is truncated or damaged: .*make it again"):
        write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    (out / "shard-000001.tar").unlink()
    write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    verify(out, workers=1)


def test_tars_of_others_are_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tar(out / "shard-000000.tar", [("a.jpg", b""), ("a.json", note())])
    (out / "film.part").write_bytes(b"half a film")
    before = contents(out)
    message = rf"{out}: expected an empty folder, found shard-000000\.tar, which no unfinished run of this command left"
    with pytest.raises(ValueError, match=message):
        write_shards(annotations(tmp_path / "images", 3), out, workers=1)
    assert contents(out) == before
    (out / "shard-000000.tar").unlink()
    write_shards(annotations(tmp_path / "images", 3), out, workers=1)
    assert (out / "film.part").read_bytes() == b"half a film"


def test_an_interrupted_run_is_not_taken_for_a_set(tmp_path: Path) -> None:
    interrupt(annotations(tmp_path / "images", 9), tmp_path / "out", "shard-000003.tar")
    with pytest.raises(ValueError, match=r"holds an interrupted run of .*; repeat its command to finish it"):
        index_shards(tmp_path / "out", workers=1)


SHARDER = """
import os, sys
from data.shards.__main__ import main
for line in sys.stdin:
    process = os.fork()
    if process == 0:
        with open(os.devnull, "w") as sys.stdout:
            main(line.split())
        os._exit(0)
    print(process, flush=True)
    print(os.waitpid(process, 0)[1], flush=True)
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A VOC set that takes some tenths of a second to write."""
    root = tmp_path / "root"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    image, box = jpeg(width=500, height=375), "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    size = "<size><width>500</width><height>375</height></size>"
    for number in range(60):
        (root / "JPEGImages" / f"{number}.jpg").write_bytes(image)
        xml = f"<annotation>{size}<object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
        (root / "Annotations" / f"{number}.xml").write_text(xml)
    (root / "ImageSets" / "Main" / "all.txt").write_text("\n".join(map(str, range(60))))
    return root


@pytest.mark.slow
def test_killed_at_any_moment_a_rerun_completes_with_the_same_bytes(many: Path, tmp_path: Path) -> None:
    moments = random.Random(0)
    with subprocess.Popen(
        [sys.executable, "-c", SHARDER], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as sharder:
        assert sharder.stdin and sharder.stdout

        def run(out: Path, kill_at: int | None = None) -> int:
            """Exit status of `data.shards voc` in a process of its own, killed soon after so many shards are there."""
            print(f"voc {many} --split all {out} --shard-mb 0.5 --workers 1", file=sharder.stdin, flush=True)
            process = int(sharder.stdout.readline())
            if kill_at is not None:
                while len(list(out.glob("*.tar"))) < kill_at and Path(f"/proc/{process}").exists():
                    time.sleep(0.001)
                time.sleep(moments.uniform(0, 0.02))  # about the time that a shard takes
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            return int(sharder.stdout.readline())

        assert run(tmp_path / "undisturbed") == 0
        whole, in_the_middle = contents(tmp_path / "undisturbed"), 0
        assert len(whole) > 20
        for number in range(20):
            out = tmp_path / str(number)
            run(out, kill_at=moments.randrange(len(whole)))
            in_the_middle += (out / "unfinished.json").exists()
            if not (out / "index.json").exists() or (out / "unfinished.json").exists():  # else it had just finished
                assert run(out) == 0
            assert contents(out) == whole
        assert in_the_middle >= 10
        sharder.stdin.close()


@pytest.mark.slow
def test_killed_with_all_its_processes_a_rerun_completes_with_the_same_bytes(many: Path, tmp_path: Path) -> None:
    command = ["voc", str(many), "--split", "all", "--shard-mb", "0.5", "--workers"]
    main([*command, "1", str(tmp_path / "undisturbed")])
    whole = contents(tmp_path / "undisturbed")
    out = tmp_path / "out"
    run = [sys.executable, "-m", "data.shards", *command, "2", str(out)]
    sharder = subprocess.Popen(run, cwd=ROOT, start_new_session=True)
    while len(list(out.glob("*.tar"))) < 5 and sharder.poll() is None:
        time.sleep(0.01)
    os.killpg(sharder.pid, signal.SIGKILL)
    sharder.wait()
    assert (out / "unfinished.json").exists()
    main([*command, "1", str(out)])
    assert contents(out) == whole
