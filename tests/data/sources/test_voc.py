import re
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from data.sources.parsing.voc_xml import Annotation, parse_annotation
from data.sources.rules.choose import Choice
from data.sources.voc import read_voc
from tests.conftest import ROOT
from tests.data.sources.parsing.test_voc_xml import SIZE, bndbox, thing

SHARED = ROOT.parent / "shared"


def write_set(folder: Path, sets: dict[str, str], annotations: dict[str, str], suffix: str = ".jpg") -> None:
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, text in sets.items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    for image_id, objects in annotations.items():
        xml = f"<annotation><filename>another.jpg</filename>{SIZE}{objects}</annotation>"
        (folder / "Annotations" / f"{image_id}.xml").write_text(xml)
        (folder / "JPEGImages" / f"{image_id}{suffix}").touch()


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
    found = read_voc(tmp_path, ["val"], Choice(classes=["cat", "bee", "ant"]))
    assert found.classes == ("cat", "bee", "ant")
    assert found.records[0].labels.tolist() == [0, 2]


def test_other_classes_are_left_out_with_the_images_that_show_only_them(tmp_path: Path) -> None:
    write_set(tmp_path, {"val": "a\nb\nc"}, {"a": thing("cat") + thing("ant") * 2, "b": thing("ant"), "c": ""})
    found = read_voc(tmp_path, ["val"], Choice(classes=["cat"]))
    assert (found.classes, found.category_ids, found.dropped) == (("cat",), (1,), {"objects of other classes": 2})
    assert [(record.key, record.labels.tolist()) for record in found.records] == [("a", [0]), ("c", [])]
    assert found.source == "voc val (1 of 2 classes, 2 of 3 images)"
    kept = read_voc(tmp_path, ["val"], Choice(classes=["cat"], keep_others=True))
    assert [record.key for record in kept.records] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="expected --classes from ant, cat, each once; found bee; correct it"):
        read_voc(tmp_path, ["val"], Choice(classes=["bee"]))


def test_degenerate_boxes_are_all_reported_or_dropped(tmp_path: Path) -> None:
    flat = thing(box=bndbox(30, 20, 30, 50))
    write_set(tmp_path, {"val": "a\nb"}, {"a": thing() + flat, "b": flat * 11})
    with pytest.raises(ValueError, match=r"found 12 others; correct the files, or .* with --drop-degenerate") as error:
        read_voc(tmp_path, ["val"])
    assert len(str(error.value).splitlines()) == 12  # the first ten, and that there are more
    assert (
        f"{tmp_path / 'Annotations' / 'b.xml'}: object 9 (cat) [29, 19, 30, 50] in 100x80, corners equal or swapped"
        in str(error.value)
    )
    found = read_voc(tmp_path, ["val"], Choice(drop_degenerate=True))
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
    with pytest.raises(
        ValueError, match=r"JPEGImages: expected a with \.jpg or \.jpeg or \.png .*remove a of val from"
    ):
        read_voc(tmp_path, ["val"])
    (tmp_path / "Annotations" / "a.xml").unlink()
    with pytest.raises(
        ValueError,
        match=r"Annotations: expected a with \.xml, found no such file; unpack it, name its folder with --anno",
    ):
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
    ],
)
def test_image_listed_twice(tmp_path: Path, ids: list[str], splits: list[str], shown: str) -> None:
    write_set(tmp_path, dict(zip("xy", ids, strict=True)), dict.fromkeys(["a", "a.b", "a_b"], ""))
    with pytest.raises(ValueError, match=f"expected each image once, {re.escape(shown)}.*leave out one of the splits"):
        read_voc(tmp_path, splits)


def test_ids_that_would_be_the_same_key(tmp_path: Path) -> None:
    write_set(tmp_path, {"val": "a.b\na_b"}, dict.fromkeys(["a.b", "a_b"], ""))
    found = read_voc(tmp_path, ["val"]).records
    assert [record.image_id for record in found] == ["a.b", "a_b"]
    assert found[0].key == "a_b" and re.fullmatch("a_b-a_b-[0-9a-f]{12}", found[1].key)


# --- layouts without ImageSets


def plain(folder: Path, images: dict[str, str], xml_folder: str = "", image_folder: str = "") -> Path:
    """images: file name -> objects. XML and images in two folders or one."""
    for name, objects in images.items():
        image, xml = folder / image_folder / name, (folder / xml_folder / name).with_suffix(".xml")
        for path in (image, xml):
            path.parent.mkdir(parents=True, exist_ok=True)
        image.touch()
        xml.write_text(f"<annotation><filename>{Path(name).name}</filename>{SIZE}{objects}</annotation>")
    return folder


SUFFIXES = ("JPG", "jpeg", "PNG", "bmp", "webp", "tif", "TIFF")


@pytest.mark.parametrize(
    ("xml_folder", "image_folder", "options"),
    [
        ("", "", {}),
        ("Annotations", "JPEGImages", {}),
        ("xml", "images", {}),
        ("marked", "seen/by day", {"annotations": "marked", "images": "seen/by day"}),
    ],
)
def test_xml_and_images_in_folders_of_any_name(
    tmp_path: Path, xml_folder: str, image_folder: str, options: dict[str, str]
) -> None:
    images = {f"{number}.{suffix}": thing() for number, suffix in enumerate(SUFFIXES)}
    found = read_voc(plain(tmp_path, images, xml_folder, image_folder), ["all"], **options)
    assert [record.image.name for record in found.records] == list(images)
    assert not found.findings.found and found.source == "voc all"


def test_a_folder_of_its_own_for_each_split(tmp_path: Path) -> None:
    """As Roboflow exports VOC."""
    plain(tmp_path / "train", {"a_jpg.rf.01.jpg": thing("b"), "sub/c.png": thing("b")})
    plain(tmp_path / "valid", {"d.jpg": thing("b")})
    assert [record.image_id for record in read_voc(tmp_path, ["train"]).records] == ["a_jpg.rf.01", "sub/c"]
    assert [record.key for record in read_voc(tmp_path, ["train", "valid"]).records] == ["a_jpg_rf_01", "sub_c", "d"]
    assert len(read_voc(tmp_path / "train", ["train"]).records) == 2


@pytest.mark.parametrize(
    "name",
    [
        "WhatsApp Image (2)",
        "фото",
        "x" * 190,
        "a\u0301 b",
        "日本/語",
        "back\\slash",
        "tab ~",
        "9.00\u202fAM",
        "\U0001f469\u200d\U0001f33e",
    ],
)
def test_names_of_people(tmp_path: Path, name: str) -> None:
    plain(tmp_path, {f"{name}.jpg": thing(), "other.jpg": thing()})
    (tmp_path / "list.txt").write_text(f"{name}\n./folder/other.JPG\n")
    for split in ("list.txt", "all"):
        records = {record.image_id: record for record in read_voc(tmp_path, [split]).records}
        assert set(records) >= {"other"} and len(records) == 2
        (record,) = (record for image_id, record in records.items() if image_id != "other")
        assert unicodedata.normalize("NFC", record.image_id) == unicodedata.normalize("NFC", name)
        assert re.fullmatch(r"[!-~]{1,95}", record.key) and not set(record.key) & set("./\\")


def test_other_forms_of_the_same_letters_are_the_same_name(tmp_path: Path) -> None:
    plain(tmp_path, {"e\u0301.jpg": thing("caf\u00e9") + thing("cafe\u0301")})
    (tmp_path / "e\u0301.xml").rename(tmp_path / "\u00e9.xml")
    found = read_voc(tmp_path, ["all"])
    assert found.classes == ("caf\u00e9",) and len(found.records) == 1


def test_a_fraction_is_chosen_by_name(tmp_path: Path) -> None:
    plain(tmp_path, {f"{number}.jpg": thing() for number in range(300)})

    def ids(split: str, choice: Choice | None = None) -> set[str]:
        return {record.image_id for record in read_voc(tmp_path, [split], choice).records}

    train, val = ids("0.8"), ids("0.8-1")
    assert train | val == ids("all") and not train & val and 30 < len(val) < 90
    assert ids("train", Choice(hold_out=0.2)) == train == ids("all", Choice(hold_out=0.2))
    assert ids("val", Choice(hold_out=0.2)) == val == ids("all", Choice(held_out=0.2))
    plain(tmp_path, {f"new {number}.jpg": thing() for number in range(100)})
    assert ids("0.8") > train and ids("0.8-1") > val
    with pytest.raises(ValueError, match=r"expected a fraction between 0 and 1 to hold out, found 1\.5"):
        ids("all", Choice(hold_out=1.5))
    with pytest.raises(ValueError, match="found both; leave one out"):
        ids("all", Choice(hold_out=0.5, held_out=0.5))


def test_without_image_sets_the_error_says_what_to_do(tmp_path: Path) -> None:
    plain(tmp_path, {"a.jpg": thing()})
    with pytest.raises(ValueError, match=r"XML without ImageSets \(here 1\): --split all, 0\.8, LIST"):
        read_voc(tmp_path, ["train"])
    with pytest.raises(ValueError, match=r"nowhere: expected a folder, found none; correct --images"):
        read_voc(tmp_path, ["all"], images="nowhere")


# --- what can hardly be meant


def test_what_looks_wrong_is_counted_with_examples(tmp_path: Path) -> None:
    astray = f"<outputs><object><item>{bndbox()}</item></object></outputs>"
    images = {
        "a.jpg": thing(box=bndbox(0, 1, 30, 30)),
        "b.jpg": thing() + astray,
        "c.jpg": thing(box=bndbox(1, 1, 200, 50)),
    }
    plain(tmp_path, images | {f"{n}.jpg": thing("Cat ") for n in range(5)})
    (tmp_path / "c.png").touch()
    (tmp_path / "lonely.jpg").touch()
    for name, other in (("a", "b"), ("b", "a")):
        xml = tmp_path / f"{name}.xml"
        xml.write_text(xml.read_text().replace(f"{name}.jpg", f"C:\\pictures\\{other}.JPG"))
    lines = read_voc(tmp_path, ["all"]).findings.lines()
    assert lines == [
        "images with the name of another one (the first is used): 1 (c.jpg and c.png)",
        f"images without XML (left out): 1 ({tmp_path / 'lonely.jpg'})",
        "XML files whose <filename> is another image of the set (the file's own name counts): 2 (a.xml (b), b.xml (a))",
        "XML files with a <bndbox> outside <object>, or a second one in it (not read): 1 (b.xml)",
        "XML files with a corner at 0, though VOC counts from 1 (--from-zero, if the tool counted from 0): 1 (a.xml)",
        "class names that differ only in case, blanks or Unicode form: 1 ('Cat' / 'cat')",
        "boxes of 8 that lose more than a tenth at the border of their image, 50% on average (corners given as sizes? "
        "another unit than px?): 1 (c.xml: object 1 (cat) [0, 0, 200, 50] in 100x80)",
    ]


def test_xml_beside_images_in_a_folder_of_images(tmp_path: Path) -> None:
    """And another folder of XML that has nothing to do with them."""
    plain(tmp_path / "images" / "train", {"a.jpg": thing(), "b.jpg": thing()})
    plain(tmp_path / "Annotations", {"other.jpg": thing()})
    assert [record.image_id for record in read_voc(tmp_path, ["all"]).records] == ["train/a", "train/b"]


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\udcff"])
def test_names_with_control_characters(tmp_path: Path, name: str) -> None:
    plain(tmp_path, {"a.jpg": thing()})
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_stem(name))
    with pytest.raises(ValueError, match=r"expected a name of up to 500 letters, no control characters; rename it"):
        read_voc(tmp_path, ["all"])


def test_two_files_for_one_image(tmp_path: Path) -> None:
    plain(tmp_path, {"a.jpg": thing()})
    (tmp_path / "a.XML").write_text((tmp_path / "a.xml").read_text().replace("cat", "dog"))
    lines = read_voc(tmp_path, ["all"]).findings.lines()
    assert "XML files with the name of another one (the first is used): 1 (a.XML and a.xml)" in lines


def test_images_of_a_format_that_is_not_read_are_named(tmp_path: Path) -> None:
    plain(tmp_path, {"a.jpg": thing()})
    (tmp_path / "a.jpg").rename(tmp_path / "a.heic")
    with pytest.raises(ValueError, match=r"expected a with \.jpg .*, found a\.heic; convert it, or remove its XML"):
        read_voc(tmp_path, ["all"])


def test_boxes_of_another_layout_are_no_set_without_objects(tmp_path: Path) -> None:
    plain(tmp_path, {"a.jpg": f"<outputs><object><item>{bndbox()}</item></object></outputs>"})
    with pytest.raises(ValueError, match=r"a\.xml: expected <object> directly below the root, found <bndbox>"):
        read_voc(tmp_path, ["all"])


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
        boxes = [box for one in found for box in one.boxes]
        assert (len(found), len(boxes), sum(not box.difficult for box in boxes)) == counts
        assert not any(box.flat for box in boxes) and not any(one.from_zero or one.astray for one in found)
        assert len({box.name for box in boxes}) == 20


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
    found = read_voc(root, ["trainval", "test"], Choice(drop_degenerate=True))
    assert found.dropped == {"degenerate boxes": 2}
    assert (len(found.records), found.classes) == (364, ("Platelets", "RBC", "WBC"))
    counts = np.bincount(np.concatenate([record.labels for record in found.records]))
    assert counts.tolist() == [361, 4155 - 2, 372]  # both degenerate boxes are red cells
