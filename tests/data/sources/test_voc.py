import re
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from data.sources.voc import Annotation, parse_annotation, read_voc
from tests.conftest import ROOT

SHARED = ROOT.parent / "shared"
SIZE = "<size><width>100</width><height>80</height><depth>3</depth></size>"
XML = Path("folder/a.xml")


def bndbox(xmin: object = 10, ymin: object = 20, xmax: object = 30, ymax: object = 50) -> str:
    return f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>"


def thing(name: str = "cat", box: str | None = None, extra: str = "") -> str:
    return f"<object><name>{name}</name>{extra}{bndbox() if box is None else box}</object>"


def parse(*objects: str, size: str = SIZE) -> Annotation:
    return parse_annotation(f"<annotation>{size}{''.join(objects)}</annotation>", XML)


def write_set(folder: Path, sets: dict[str, str], annotations: dict[str, str], suffix: str = ".jpg") -> None:
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, text in sets.items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    for image_id, objects in annotations.items():
        xml = f"<annotation><filename>another.jpg</filename>{SIZE}{objects}</annotation>"
        (folder / "Annotations" / f"{image_id}.xml").write_text(xml)
        (folder / "JPEGImages" / f"{image_id}{suffix}").touch()


# --- one annotation


def test_corners_become_continuous_edges_from_zero() -> None:
    found = parse(thing(box=bndbox(1, 1, 100, 80)), thing(box=bndbox(10, 20, 30, 50)))
    np.testing.assert_array_equal(found.boxes_xyxy_px, [[0, 0, 100, 80], [9, 19, 30, 50]])
    assert found.boxes_xyxy_px.dtype == np.float64
    assert (found.width, found.height) == (100, 80)


def test_float_corners_are_kept() -> None:
    np.testing.assert_allclose(
        parse(thing(box=bndbox("10.25", "20.5", " 30 ", "5e1"))).boxes_xyxy_px, [[9.25, 19.5, 30, 50]]
    )


def test_corners_outside_are_clipped() -> None:
    np.testing.assert_array_equal(parse(thing(box=bndbox(0, -4, 130, 90))).boxes_xyxy_px, [[0, 0, 100, 80]])


@pytest.mark.parametrize("part_first", [True, False])
def test_boxes_of_parts_are_not_objects(part_first: bool) -> None:
    part = f"<part><name>head</name>{bndbox(11, 21, 12, 22)}</part>"
    text = thing(extra=part) if part_first else thing().replace("</object>", f"{part}</object>")
    found = parse(text)
    assert found.names == ["cat"]
    np.testing.assert_array_equal(found.boxes_xyxy_px, [[9, 19, 30, 50]])


def test_only_direct_children_of_the_root_are_objects() -> None:
    assert parse(thing(), f"<group>{thing('dog')}</group>").names == ["cat"]


def test_element_order_and_optional_elements_do_not_matter() -> None:
    reordered = (
        "<object><bndbox><ymax>50</ymax><xmax>30</xmax><xmin>10</xmin><ymin>20</ymin></bndbox>"
        "<difficult>1</difficult><pose/><name> cat </name></object>"
    )
    found = parse_annotation(f"\n<annotation>{reordered}{thing('dog')}{SIZE}</annotation>", XML)
    assert found.names == ["cat", "dog"]
    assert found.difficult.tolist() == [True, False]
    np.testing.assert_array_equal(found.boxes_xyxy_px[0], found.boxes_xyxy_px[1])


def test_no_objects() -> None:
    found = parse()
    assert (found.names, found.boxes_xyxy_px.shape, found.difficult.shape) == ([], (0, 4), (0,))


@pytest.mark.parametrize(
    "box", [(30, 20, 30, 50), (31, 20, 30, 50), (10, 50, 30, 50), (101, 20, 120, 50), (-9, 20, 0, 50), (10, -9, 30, -2)]
)
def test_degenerate_boxes_are_set_apart(box: tuple[int, int, int, int]) -> None:
    found = parse(thing("dog"), thing(box=bndbox(*box)), thing("dog"))
    assert (found.names, len(found.boxes_xyxy_px), len(found.difficult)) == (["dog", "dog"], 2, 2)
    assert len(found.degenerate) == 1
    assert found.degenerate[0].startswith(f"{XML}: object 2 (cat) has xmin={box[0]} xmax={box[2]} ymin={box[1]}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"<!DOCTYPE annotation><annotation>{SIZE}</annotation>", "expected plain XML, found a <!DOCTYPE"),
        (f'<!DOCTYPE a [<!ENTITY b "c">]><annotation>{SIZE}</annotation>', "<!ENTITY declaration; remove it"),
        ("<annotation>", "expected XML, found: no element found"),
        ("", "expected XML, found: no element found"),
        ("<annotation></annotation>", "the annotation: expected <size>, found none; add it"),
        ("<annotation><size/></annotation>", "the annotation: expected <size>, found none; add it"),
        ("<annotation><size><width>5</width></size></annotation>", "<size>: expected <height>, found none"),
        (f"<annotation>{SIZE.replace('100', '0')}</annotation>", "expected the image's size in px, found 0x80"),
        (f"<annotation>{SIZE.replace('80', '-2')}</annotation>", "expected the image's size in px, found 100x-2"),
        (f"<annotation>{SIZE.replace('80', 'nan')}</annotation>", "<size>: expected a finite number in <height>"),
        (f"<annotation>{SIZE.replace('80', '80.5')}</annotation>", "expected the image's size in px, found 100x80.5"),
        (f"<annotation>{SIZE.replace('80', '65536')}</annotation>", "expected the image's size in px, found 100x65536"),
        (
            f"<annotation>{SIZE.replace('80', '1e300')}</annotation>",
            "the image's size in px, found 100x1e+300; correct",
        ),
        ("<a>" * 200_000 + "</a>" * 200_000, "the annotation: expected <size>, found none; add it"),
        ("<a>" * 200_000, "expected XML, found: no element found"),
        ("<annotation>\0</annotation>", "expected UTF-8 text, found zero bytes, as in UTF-16; convert the file"),
        ("<annotation>\1</annotation>", "expected XML, found: not well-formed (invalid token)"),
        ("<annotation>&lol;</annotation>", "expected XML, found: undefined entity"),
        ("<annotation>&#xD800;</annotation>", "expected XML, found: reference to invalid character number"),
        ("<annotation a='1' a='2'/>", "expected XML, found: duplicate attribute"),
    ],
)
def test_refused_annotations(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse_annotation(text, XML)
    assert str(error.value).startswith(f"{XML}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"<object>{bndbox()}</object>", "object 2: expected <name>, found none"),
        (thing(" "), "object 2: expected <name>, found none"),
        (thing("a\nb"), r"object 2: expected a class in <name>, found 'a\nb'; correct it"),
        (thing(box=bndbox(ymin="9" * 5000)), "expected a finite number in <ymin>, found '999"),
        (thing(box=""), "object 2 (cat): expected <bndbox>, found none; add it"),
        (thing(box=f"<part>{bndbox()}</part>"), "object 2 (cat): expected <bndbox>, found none"),
        (thing(box=bndbox().replace("xmin", "left")), "object 2 (cat): expected <xmin>, found none"),
        (thing(box=bndbox(ymax="")), "object 2 (cat): expected <ymax>, found none"),
        (thing(box=bndbox(xmax="inf")), "object 2 (cat): expected a finite number in <xmax>, found 'inf'; correct it"),
        (thing(box=bndbox(ymin="nan")), "expected a finite number in <ymin>, found 'nan'"),
        (thing(box=bndbox(ymin="2O")), "expected a finite number in <ymin>, found '2O'"),
        (thing(extra="<difficult>yes</difficult>"), "expected a finite number in <difficult>, found 'yes'"),
    ],
)
def test_refused_objects(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse(thing(), text)
    assert str(error.value).startswith(f"{XML}: object 2")


def test_a_box_larger_than_any_image_is_clipped() -> None:
    found = parse(thing(box=bndbox(-1e308, -1e308, 1e308, 1e308)))
    np.testing.assert_array_equal(found.boxes_xyxy_px, [[0, 0, 100, 80]])


def test_a_hundred_thousand_objects_are_read_in_seconds() -> None:
    start = time.monotonic()
    assert len(parse(thing() * 100_000).names) == 100_000
    assert time.monotonic() - start < 20


# --- a set


def test_reads_splits_of_several_years(tmp_path: Path) -> None:
    write_set(tmp_path / "VOC2007", {"trainval": "000001\n\n000002\n"}, {"000001": thing("dog"), "000002": ""})
    write_set(
        tmp_path / "VOC2012", {"trainval": "2012.a\n"}, {"2012.a": thing("cat", extra="<difficult>1</difficult>")}
    )
    found = read_voc(tmp_path, ["2007:trainval", "2012:trainval"])
    assert (found.source, found.classes) == ("voc VOC2007:trainval VOC2012:trainval", ("cat", "dog"))
    assert (found.category_ids, found.dropped) == ((1, 2), {})
    assert [record.key for record in found.records] == ["000001", "000002", "2012_a"]
    assert [record.labels.tolist() for record in found.records] == [[1], [], [0]]
    assert [record.difficult.tolist() for record in found.records] == [[False], [], [True]]
    assert [record.crowd.tolist() for record in found.records] == [[False], [], [False]]
    assert found.records[2].image == tmp_path / "VOC2012" / "JPEGImages" / "2012.a.jpg"
    assert {(record.width, record.height) for record in found.records} == {(100, 80)}
    assert found.records[1].labels.dtype == np.int16 and found.records[1].boxes_xyxy_px.shape == (0, 4)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png"])
def test_a_split_without_year_is_of_the_folder_itself(tmp_path: Path, suffix: str) -> None:
    write_set(tmp_path, {"mine": "a"}, {"a": thing()}, suffix)
    found = read_voc(tmp_path, ["mine"])
    assert found.source == "voc mine"
    assert found.records[0].image.name == f"a{suffix}"


def test_list_of_one_class_leaves_out_images_without_it(tmp_path: Path) -> None:
    write_set(tmp_path, {"cat_train": "a  1\nb -1\nc  0\n"}, dict.fromkeys("abc", thing()))
    assert [record.key for record in read_voc(tmp_path, ["cat_train"]).records] == ["a", "c"]


def test_given_classes_set_the_labels(tmp_path: Path) -> None:
    write_set(tmp_path, {"val": "a"}, {"a": thing("cat") + thing("ant")})
    found = read_voc(tmp_path, ["val"], ["cat", "bee", "ant"])
    assert found.classes == ("cat", "bee", "ant")
    assert found.records[0].labels.tolist() == [0, 2]


def test_class_that_was_not_given(tmp_path: Path) -> None:
    write_set(tmp_path, {"val": "a"}, {"a": thing("cat") + thing("ant")})
    xml = tmp_path / "Annotations" / "a.xml"
    message = f"{xml}: expected objects of the classes bee, cat; found ant; add it to --classes"
    with pytest.raises(ValueError, match=re.escape(message)):
        read_voc(tmp_path, ["val"], ["bee", "cat"])


def test_degenerate_boxes_are_all_reported_or_dropped(tmp_path: Path) -> None:
    flat = thing(box=bndbox(30, 20, 30, 50))
    write_set(tmp_path, {"val": "a\nb"}, {"a": thing() + flat, "b": flat * 11})
    with pytest.raises(ValueError, match=r"found 12 others; correct the files, or .* with --drop-degenerate") as error:
        read_voc(tmp_path, ["val"])
    assert len(str(error.value).splitlines()) == 11  # the first ten
    assert f"{tmp_path / 'Annotations' / 'b.xml'}: object 9 (cat) has xmin=30 xmax=30" in str(error.value)
    found = read_voc(tmp_path, ["val"], drop_degenerate=True)
    assert found.dropped == {"degenerate boxes": 12}
    assert [len(record.labels) for record in found.records] == [1, 0]


def test_missing_image_set_names_those_there(tmp_path: Path) -> None:
    write_set(tmp_path, {"train": "a", "val": "a"}, {})
    with pytest.raises(
        ValueError, match=r"test\.txt: expected an image set, found only: val, train; name a split 2007:"
    ):
        read_voc(tmp_path, ["test"])
    with pytest.raises(ValueError, match=r"VOC2007.Imag.*: expected an image set, found only: nothing; name a split"):
        read_voc(tmp_path, ["2007:train"])


def test_split_without_images(tmp_path: Path) -> None:
    write_set(tmp_path, {"cat_val": "a -1\n\n"}, {})
    with pytest.raises(
        ValueError, match=r"cat_val\.txt: expected at least one image, found none; leave this split out"
    ):
        read_voc(tmp_path, ["cat_val"])


@pytest.mark.parametrize("line", ["a 2", "a b c", "../a", "/etc/passwd"])
def test_line_that_is_no_image(tmp_path: Path, line: str) -> None:
    write_set(tmp_path, {"val": f"\n{line}"}, {"a": ""})
    with pytest.raises(ValueError, match=rf"val\.txt:2: expected ID or ID -1\|0\|1, found '{line}'; correct it"):
        read_voc(tmp_path, ["val"])


def test_missing_files(tmp_path: Path) -> None:
    write_set(tmp_path, {"val": "a"}, {"a": ""})
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(ValueError, match=r"JPEGImages: expected a with \.jpg or \.jpeg or \.png, .*take a of val off"):
        read_voc(tmp_path, ["val"])
    (tmp_path / "Annotations" / "a.xml").unlink()
    with pytest.raises(ValueError, match=r"Annotations: expected a with \.xml, found no such file; unpack it, or take"):
        read_voc(tmp_path, ["val"])


ENTITIES = '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">'
BOMB = f"<!DOCTYPE a [{ENTITIES}]><annotation>&c;</annotation>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>é</annotation>".encode("latin-1"), "expected UTF-8 text, found: .*; convert the file"),
        (BOMB.encode(), "expected plain XML, found a <!DOCTYPE or <!ENTITY declaration; remove it"),
        (BOMB.encode("utf-8-sig"), "expected plain XML, found a <!DOCTYPE or <!ENTITY declaration; remove it"),
        (BOMB.encode("utf-16"), "expected UTF-8 text, found: .*; convert the file"),
        (BOMB.encode("utf-16-le"), "expected UTF-8 text, found zero bytes, as in UTF-16; convert the file"),
        (BOMB.encode("utf-16-be"), "expected UTF-8 text, found zero bytes, as in UTF-16; convert the file"),
        (b"<?xml version='1.0' encoding='utf-7'?>+ADwAIQ-DOCTYPE a []><a/>", "expected XML, found: "),
    ],
)
def test_entities_are_refused_in_every_encoding(tmp_path: Path, text: bytes, message: str) -> None:
    """They can grow to gigabytes. The parser knows more encodings than the check before it."""
    write_set(tmp_path, {"val": "a"}, {"a": ""})
    (tmp_path / "Annotations" / "a.xml").write_bytes(text)
    with pytest.raises(ValueError, match=rf"a\.xml: {message}"):
        read_voc(tmp_path, ["val"])


def test_a_declared_encoding_is_not_believed(tmp_path: Path) -> None:
    write_set(tmp_path, {"val": "a"}, {"a": thing("café")})
    xml = tmp_path / "Annotations" / "a.xml"
    xml.write_text("<?xml version='1.0' encoding='utf-16'?>" + xml.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert read_voc(tmp_path, ["val"]).classes == ("café",)


def test_a_list_in_another_encoding(tmp_path: Path) -> None:
    write_set(tmp_path, {"val": "a"}, {"a": ""})
    path = tmp_path / "ImageSets" / "Main" / "val.txt"
    path.write_bytes("a\r\n".encode("utf-8-sig"))
    assert len(read_voc(tmp_path, ["val"]).records) == 1
    path.write_bytes("a\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"val\.txt: expected UTF-8 text, found: .*; convert the file"):
        read_voc(tmp_path, ["val"])


@pytest.mark.parametrize(
    ("ids", "splits", "shown"),
    [
        (["a", "a"], ["x", "y"], "found a of x and a of y"),
        (["a\na", "a"], ["x"], "found a of x and a of x"),
        (["a.b", "a_b"], ["x", "y"], "found a.b of x and a_b of y (both would be sample 'a_b')"),
    ],
)
def test_image_listed_twice(tmp_path: Path, ids: list[str], splits: list[str], shown: str) -> None:
    write_set(tmp_path, dict(zip("xy", ids, strict=True)), dict.fromkeys(["a", "a.b", "a_b"], ""))
    with pytest.raises(ValueError, match=f"expected each image once, {re.escape(shown)}.*leave out one of the splits"):
        read_voc(tmp_path, splits)


# --- real sets


def shared(name: str) -> Path:
    path = SHARED / "data" / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return path


def test_official_voc2007_counts() -> None:
    parsed: dict[str, Annotation] = {}
    sets: dict[str, list[str]] = {}
    with tarfile.open(shared("voc2007_annotations.tar.xz")) as tar:
        for member in tar:
            path, stream = Path(member.name), tar.extractfile(member)
            if stream is not None and path.suffix == ".xml":
                parsed[path.stem] = parse_annotation(stream.read().decode(), path)
            elif stream is not None and path.suffix == ".txt":
                sets[path.stem] = stream.read().decode().split()
    for name, counts in {"trainval": (5011, 15662, 12608), "test": (4952, 14976, 12032)}.items():
        found = [parsed[image_id] for image_id in sets[name]]
        num_easy = sum(int((~one.difficult).sum()) for one in found)
        assert (len(found), sum(len(one.names) for one in found), num_easy) == counts
        assert not any(one.degenerate for one in found)
        assert len({label for one in found for label in one.names}) == 20


def test_real_blood_cells(tmp_path: Path) -> None:
    with tarfile.open(shared("bccd.tar")) as tar:
        tar.extractall(tmp_path, filter="data")
    root = tmp_path / "BCCD"
    with pytest.raises(ValueError, match=r"found 2 others") as error:
        read_voc(root, ["trainval", "test"])
    assert re.findall(r"\w+\.xml: object \d+ \(\w+\)", str(error.value)) == [
        "BloodImage_00338.xml: object 13 (RBC)",
        "BloodImage_00343.xml: object 4 (RBC)",
    ]
    found = read_voc(root, ["trainval", "test"], drop_degenerate=True)
    assert found.dropped == {"degenerate boxes": 2}
    assert (len(found.records), found.classes) == (364, ("Platelets", "RBC", "WBC"))
    counts = np.bincount(np.concatenate([record.labels for record in found.records]))
    assert counts.tolist() == [361, 4155 - 2, 372]  # both degenerate boxes are red cells
