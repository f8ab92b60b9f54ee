"""Tars of every kind are read; what is damaged, cut or unclear is refused, and never with fewer samples in silence."""

import contextlib
import io
import itertools
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from data.shards.format.tar import BLOCK, MAX_EXTENSION, MAX_FILLING, entries
from tests.data.pictures import jpeg, note, samples_of_webdataset, write_tar

KINDS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def sample(key: str, *, image: bytes = b"image", end: str = ".jpg") -> list[tuple[str, bytes]]:
    return [(key + end, image), (key + ".json", note())]


def keys(path: Path) -> list[str]:
    return [entry.key for entry in entries(path)]


def files(path: Path) -> list[tuple[str, bytes, bytes]]:
    """Key, image and annotation of each sample."""
    data, found = path.read_bytes(), []
    for key, image, image_bytes, text, text_bytes in entries(path):
        found.append((key, data[image : image + image_bytes], data[text : text + text_bytes]))
    return found


def header(name: bytes, length: bytes, kind: bytes = b"0") -> bytes:
    """With a right checksum, whatever it says."""
    block = bytearray(BLOCK)
    block[: len(name)], block[124 : 124 + len(length)], block[156:157] = name, length, kind
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    return bytes(block)


# ------------------------------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_of_tar_gives_the_same(tmp_path: Path, kind: int) -> None:
    given = [*sample("b"), *sample("a", end=".jpeg"), *sample("c", image=jpeg(), end=".PNG")]
    path = write_tar(tmp_path / "a.tar", given, kind)
    assert files(path) == [("b", b"image", note()), ("a", b"image", note()), ("c", jpeg(), note())]


@pytest.mark.parametrize("kind", ["ustar", "gnu", "pax", "v7"])
def test_tars_of_the_tar_command(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "some.folder"
    folder.mkdir()
    names = [name for key in ("one", "two") for name, _ in sample(key)]
    for name in names:
        (folder / name).write_bytes(name.encode())
    command = ["tar", f"--format={kind}", "-cf", str(tmp_path / "a.tar"), "-C", str(tmp_path)]
    subprocess.run([*command, "./some.folder"], check=True)  # in the folder's own order
    assert sorted(keys(tmp_path / "a.tar")) == ["some.folder/one", "some.folder/two"]
    subprocess.run([*command, *(f"some.folder/{name}" for name in names)], check=True)
    assert files(tmp_path / "a.tar") == [
        (f"some.folder/{key}", f"{key}.jpg".encode(), f"{key}.json".encode()) for key in ("one", "two")
    ]


@pytest.mark.parametrize("kind", ["gnu", "pax"])
@pytest.mark.parametrize("length", [95, 96, 150, 200])
def test_long_names(tmp_path: Path, kind: str, length: int) -> None:
    key = "k" * length
    assert keys(write_tar(tmp_path / "a.tar", [*sample(key), *sample("x")], KINDS[kind])) == [key, "x"]


def test_long_names_of_ustar_are_in_two_parts(tmp_path: Path) -> None:
    key = "folder" * 20 + "/" + "k" * 60
    assert keys(write_tar(tmp_path / "a.tar", sample(key))) == [key]


def test_the_size_in_a_pax_header_counts(tmp_path: Path) -> None:
    """Files over 8 GB have it there; a small one with a wrong size in its plain header will do."""
    path, record = tmp_path / "a.tar", b"10 size=5\n"
    blocks = [header(b"p", b"%o" % len(record), b"x"), record.ljust(BLOCK, b"\0"), header(b"a.jpg", b"7777777")]
    blocks += [b"image".ljust(BLOCK, b"\0"), header(b"a.json", b"2"), b"{}".ljust(BLOCK, b"\0"), bytes(2 * BLOCK)]
    path.write_bytes(b"".join(blocks))
    assert files(path) == [("a", b"image", b"{}")]


def test_large_sizes_may_be_binary(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    blocks = [header(b"a.jpg", b"\x80" + (5).to_bytes(11)), b"image".ljust(BLOCK, b"\0")]
    path.write_bytes(b"".join([*blocks, header(b"a.json", b"2"), b"{}".ljust(BLOCK, b"\0"), bytes(2 * BLOCK)]))
    assert files(path) == [("a", b"image", b"{}")]


def test_the_annotation_may_come_first(tmp_path: Path) -> None:
    assert files(write_tar(tmp_path / "a.tar", sample("a")[::-1] + sample("b"))) == [
        ("a", b"image", note()),
        ("b", b"image", note()),
    ]


def test_what_is_no_sample_is_passed_over(tmp_path: Path) -> None:
    others = [
        "README",
        "notes.txt",
        "a.txt",
        "folder/",
        "folder/.hidden",
        "._a.jpg",
        ".jpg",
        "a.cls",
        "a.geojson",
        "a.seg.npy",
    ]
    for place in (0, 2, 4):
        given = [*sample("a"), *sample("folder/b")]
        given[place:place] = [(name, b"") for name in others]
        assert keys(write_tar(tmp_path / "a.tar", given)) == ["a", "folder/b"]
    beside = [("a.txt", b""), sample("a")[0], ("README", b""), (".hidden.txt", b""), ("a.seg.npy", b""), sample("a")[1]]
    assert keys(write_tar(tmp_path / "a.tar", beside)) == ["a"]


@pytest.mark.parametrize(
    ("prefix", "folders"), [("./", ""), ("a.b/", "a.b/"), ("a//./b/", "a/b/"), (".x/", ".x/"), ("./..a/", "..a/")]
)
def test_keys_are_named_with_their_folder(tmp_path: Path, prefix: str, folders: str) -> None:
    path = write_tar(tmp_path / "a.tar", [*sample(f"{prefix}one"), *sample("one")])
    if folders:
        assert keys(path) == [f"{folders}one", "one"]
    else:
        with pytest.raises(ValueError, match=r"expected each name once, found 'one\.jpg' again"):
            keys(path)


def test_keys_are_those_of_the_webdataset_library(tmp_path: Path) -> None:
    given = [*sample("b"), ("README", b"x"), *sample("dir.v1/a", end=".PNG"), (".hidden.jpg", b"x"), *sample("dir/b")]
    path = write_tar(tmp_path / "a.tar", given)
    assert keys(path) == [s["__key__"] for s in samples_of_webdataset([path])]


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (sample("a")[:1], "one image (jpg, png, webp ...) and one json side by side for each key, found a.jpg; a key"),
        (sample("a")[1:], "for each key, found a.json; a key ends at its first dot; docs/data.md describes the layout"),
        ([*sample("a"), ("a.png", b"")], "for each key, found a.jpg, a.json, a.png; a key"),
        (sample("a.v1"), "for each key, found a.v1.jpg, a.v1.json; a key ends at its first dot"),
        ([sample("a")[0], sample("b")[0], sample("a")[1], sample("b")[1]], "for each key, found a.jpg; a key"),
        ([sample("a")[0], ("notes.txt", b""), sample("a")[1]], "for each key, found a.jpg; a key"),
        ([*sample("a"), *sample("a")], "each name once, found 'a.jpg' again; rename one of the two"),
        ([*sample("a"), ("a.JPG", b"")], "each name once, found 'a.JPG' again"),
        (sample("../a"), "names inside the folder of the tar, found '../a.jpg'; make it again"),
        (sample("x/../a"), "names inside the folder of the tar, found 'x/../a.jpg'"),
        (sample("/a"), "names inside the folder of the tar, found '/a.jpg'"),
        (sample("a b"), "keys of up to 200 ASCII letters without spaces, found 'a b'; rename it"),
        (sample("é"), "keys of up to 200 ASCII letters without spaces, found 'é'"),
        (sample("a\n"), r"keys of up to 200 ASCII letters without spaces, found 'a\n'"),
        (sample("k" * 201), "keys of up to 200 ASCII letters without spaces, found 'kkk"),
    ],
)
def test_layouts_that_are_refused(tmp_path: Path, given: list[tuple[str, bytes]], message: str) -> None:
    path = write_tar(tmp_path / "a.tar", [*sample("first"), *given, *sample("last")], tarfile.PAX_FORMAT)
    with pytest.raises(ValueError, match=rf"^{path}: expected .*{re.escape(message)}"):
        keys(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"S", b"?"])
@pytest.mark.parametrize("name", ["a.jpg", "k" * 150 + ".jpg"])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: bytes, name: str) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(ValueError, match=f"{path}: expected plain files, found '{name}', a link or a special file"):
        keys(path)


def test_files_with_holes_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(2**20)
        file.seek(2**20)
        file.write(b"end")
    for options in (["--format=gnu"], ["--format=pax"], ["--format=pax", "--sparse-version=0.0"]):
        command = ["tar", *options, "-S", "-cf", str(tmp_path / "a.tar"), "-C", str(tmp_path), "a.jpg"]
        subprocess.run(command, check=True)
        with pytest.raises(ValueError, match=r"a\.tar: expected plain files, found"):
            keys(tmp_path / "a.tar")


@pytest.mark.parametrize("text", [b"", b"no tar at all", b"\x1f\x8b\x08gzip" * 99, jpeg(), b"\xff" * 4096])
def test_what_is_no_tar_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(text)
    message = (
        r"a\.tar is truncated or damaged: expected a whole file or the end of the tar at byte 0; copy or make it again"
    )
    with pytest.raises(ValueError, match=message):
        keys(tmp_path / "a.tar")


# ------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_tar_cut_anywhere_is_refused(tmp_path: Path, kind: int) -> None:
    """At every block border, beside it and elsewhere. Only of the filling after the end some may be missing."""
    given = [*sample("a"), *sample("folder" * 15 + "/k", image=b"x" * 700), *sample("b")]
    path = write_tar(tmp_path / "a.tar", given, kind)
    whole, data = keys(path), path.read_bytes()
    end = len(data.rstrip(b"\0")) // BLOCK * BLOCK + BLOCK + 2 * BLOCK
    places = itertools.chain(range(0, len(data), 37), *(range(n - 1, n + 2) for n in range(BLOCK, len(data), BLOCK)))
    for place in sorted(set(places), reverse=True):
        os.truncate(path, place)
        if place >= end:
            assert keys(path) == whole
        else:
            with pytest.raises(ValueError, match=f"{path} is truncated"):
                keys(path)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_changed_byte_loses_no_sample(tmp_path: Path, kind: int) -> None:
    path = write_tar(tmp_path / "a.tar", [*sample("a"), *sample("folder" * 18 + "/k"), *sample("b")], kind)
    whole, data = files(path), path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place in range(0, len(data), 11):
            os.pwrite(file.fileno(), bytes([data[place] ^ 0x11]), place)
            with contextlib.suppress(ValueError):
                assert len(files(path)) == len(whole)
            os.pwrite(file.fileno(), data[place : place + 1], place)
    assert files(path) == whole


def test_several_tars_in_one_are_refused(tmp_path: Path) -> None:
    """Every tar program reads the first and says nothing."""
    path = write_tar(tmp_path / "a.tar", sample("a"))
    with path.open("ab") as file:
        file.write(write_tar(tmp_path / "b.tar", sample("b")).read_bytes())
    message = rf"a\.tar has data after its end at byte {4 * BLOCK}: damaged, or several tars; make it again"
    with pytest.raises(ValueError, match=message):
        keys(path)


def test_zeros_up_to_the_end_of_a_file_are_not_the_end_of_a_tar(tmp_path: Path) -> None:
    """A download that allocates the file first and then stops leaves them; so do blocks of a tape, up to 1 MiB."""
    path = write_tar(tmp_path / "a.tar", sample("a"))
    os.truncate(path, 6 * BLOCK + MAX_FILLING)
    assert keys(path) == ["a"]
    os.truncate(path, 6 * BLOCK + MAX_FILLING + 1)
    with pytest.raises(ValueError, match=rf"a\.tar has data after its end at byte {4 * BLOCK}: damaged"):
        keys(path)


@pytest.mark.parametrize(
    "block",
    [
        header(b"a.jpg", b"\xff" * 12),  # -1: tarfile went round in circles here
        header(b"a.jpg", b"\xff" * 12, b"x"),
        header(b"a.jpg", b"-1"),
        header(b"a.jpg", b"1_0"),
        header(b"a.jpg", b"77777777777"),
        header(b"a.jpg", b"\x80" + b"\xff" * 11),
        header(b"a.jpg", b"8"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, block: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(block + bytes(4 * BLOCK))
    with pytest.raises(
        ValueError, match="is truncated or damaged: expected a whole file or the end of the tar at byte 0"
    ):
        keys(path)


@pytest.mark.parametrize(
    ("kind", "records", "message"),
    [
        (b"x", b"path=a.jpg\n", "is damaged: expected records in a pax header, found b'path=a"),
        (b"x", b"99 path=a.jpg\n", "is damaged: expected records in a pax header, found b'99 path"),
        (b"x", b"3 path=a.jpg\n", "is damaged: expected records in a pax header, found b'3 path"),
        (b"x", b"0 path=a.jpg\n", "is damaged: expected records in a pax header"),
        (b"x", b"9" * 5000, "is damaged: expected records in a pax header"),
        (b"x", b"22 GNU.sparse.major=1\n", "expected plain files, found {b'GNU.sparse.major': b'1'} in a pax header"),
        (b"x", b"11 size=-5\n", "expected plain files, found {b'size': b'-5'} in a pax header; make it again"),
        (b"g", b"14 path=a.jpg\n", "expected plain files, found {b'path': b'a.jpg'} in a pax header"),
        (b"x", b"70000 path=" + b"a" * 69_988 + b"\n", "in up to 65536 bytes; make the tar again"),
        (b"L", b"k" * MAX_EXTENSION + b".jpg", "expected the next file's name in up to 65536 bytes; make the tar"),
        (b"L", b"", "expected the next file's name in up to 65536 bytes; make the tar again"),
    ],
)
def test_extension_headers_that_are_refused(tmp_path: Path, kind: bytes, records: bytes, message: str) -> None:
    path = tmp_path / "a.tar"
    blocks = [header(b"p", b"%o" % len(records), kind), records + bytes(-len(records) % BLOCK)]
    for name, data in sample("a"):
        blocks += [header(name.encode(), b"%o" % len(data)), data.ljust(BLOCK, b"\0")]
    path.write_bytes(b"".join([*blocks, bytes(2 * BLOCK)]))
    with pytest.raises(ValueError, match=re.escape(message)):
        keys(path)


def test_a_comment_for_the_whole_tar_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "made by hand"}) as tar:
        for name, data in sample("a"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert keys(path) == ["a"]


def test_a_chain_of_extension_headers_ends(tmp_path: Path) -> None:
    """Each nests one level deeper in tarfile."""
    path = tmp_path / "a.tar"
    record = b"14 path=b.jpg\n"
    chain = (header(b"p", b"%o" % len(record), b"x") + record.ljust(BLOCK, b"\0")) * 5000
    path.write_bytes(chain)
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"is truncated or damaged: .* at byte {len(chain)}; copy"):
        keys(path)
    assert time.monotonic() - start < 5
