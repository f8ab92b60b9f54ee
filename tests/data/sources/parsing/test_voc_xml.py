"""One annotation file: what is read of it, and what is refused."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.sources.parsing.voc_xml import Annotation, parse_annotation, read_xml

SIZE = "<size><width>100</width><height>80</height><depth>3</depth></size>"
XML = Path("folder/a.xml")


def bndbox(xmin: object = 10, ymin: object = 20, xmax: object = 30, ymax: object = 50) -> str:
    return f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>"


def thing(name: str = "cat", box: str | None = None, extra: str = "") -> str:
    return f"<object><name>{name}</name>{extra}{bndbox() if box is None else box}</object>"


def parse(*objects: str, size: str = SIZE) -> Annotation:
    return parse_annotation(f"<annotation>{size}{''.join(objects)}</annotation>", XML)


def edges(found: Annotation) -> NDArray[np.float64]:
    return np.array([box.xyxy_px for box in found.boxes]).reshape(-1, 4)


def names(found: Annotation) -> list[str]:
    return [box.name for box in found.boxes]


def test_corners_become_continuous_edges_from_zero() -> None:
    found = parse(thing(box=bndbox(1, 1, 100, 80)), thing(box=bndbox(10, 20, 30, 50)))
    np.testing.assert_array_equal(edges(found), [[0, 0, 100, 80], [9, 19, 30, 50]])
    assert len(found.boxes) == 2
    assert (found.width, found.height) == (100, 80)


def test_float_corners_are_kept() -> None:
    np.testing.assert_allclose(edges(parse(thing(box=bndbox("10.25", "20.5", " 30 ", "5e1")))), [[9.25, 19.5, 30, 50]])


def test_corners_outside_stay_for_the_reader_of_the_set_to_clip() -> None:
    np.testing.assert_array_equal(edges(parse(thing(box=bndbox(0, -4, 130, 90)))), [[-1, -5, 130, 90]])


def test_corners_that_count_from_zero() -> None:
    text = f"<annotation>{SIZE}{thing(box=bndbox(0, 20, 30.5, 50))}</annotation>"
    found = parse_annotation(text, XML)
    assert found.from_zero and edges(found).tolist() == [[-1, 19, 30.5, 50]]
    found = parse_annotation(text, XML, from_zero=True)
    assert not found.from_zero and edges(found).tolist() == [[0, 20, 30.5, 50]]
    assert not parse(thing(), thing(box=bndbox(-3, 1, 30, 50))).from_zero
    assert parse(thing(), thing(box=bndbox(5, 0.5, 30, 50))).from_zero


@pytest.mark.parametrize("part_first", [True, False])
def test_boxes_of_parts_are_not_objects(part_first: bool) -> None:
    part = f"<part><name>head</name>{bndbox(11, 21, 12, 22)}</part>"
    text = thing(extra=part) if part_first else thing().replace("</object>", f"{part}</object>")
    found = parse(text)
    assert names(found) == ["cat"]
    np.testing.assert_array_equal(edges(found), [[9, 19, 30, 50]])


def test_only_direct_children_of_the_root_are_objects() -> None:
    found = parse(thing(), f"<group>{thing('dog')}</group>")
    assert names(found) == ["cat"] and found.astray == 1
    assert parse(thing(extra=f"<part>{bndbox()}</part>")).astray == 0


def test_element_order_and_optional_elements_do_not_matter() -> None:
    reordered = (
        "<object><bndbox><ymax>50</ymax><xmax>30</xmax><xmin>10</xmin><ymin>20</ymin></bndbox>"
        "<difficult>1</difficult><pose/><name> cat </name></object>"
    )
    found = parse_annotation(f"\n<annotation>{reordered}{thing('dog')}{SIZE}</annotation>", XML)
    assert names(found) == ["cat", "dog"]
    assert [box.difficult for box in found.boxes] == [True, False]
    np.testing.assert_array_equal(edges(found)[0], edges(found)[1])


def test_no_objects() -> None:
    found = parse()
    assert found.boxes == [] and not found.from_zero


@pytest.mark.parametrize(
    ("box", "flat"),
    [((30, 20, 30, 50), True), ((31, 20, 30, 50), True), ((10, 50, 30, 50), True), ((101, 20, 120, 50), False)],
)
def test_corners_the_wrong_way_round_are_marked(box: tuple[int, int, int, int], flat: bool) -> None:
    found = parse(thing("dog"), thing(box=bndbox(*box)), thing("dog"))
    assert [one.flat for one in found.boxes] == [False, flat, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"<!DOCTYPE annotation><annotation>{SIZE}</annotation>", "expected plain XML, found a <!DOCTYPE"),
        (f'<!DOCTYPE a [<!ENTITY b "c">]><annotation>{SIZE}</annotation>', "<!ENTITY declaration; remove it"),
        ("<annotation>", "expected XML, found: no element found"),
        ("", "expected XML, found: no element found"),
        ("<annotation></annotation>", "the annotation: expected <size>, found none; add it"),
        ("<annotation><size/></annotation>", "the annotation: expected <size>, found an empty one; fill it in"),
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
        ("<a>" * 200_000 + "</a>" * 200_000, "<a>, not <annotation>: expected <size>, found none; add it"),
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
        (thing(" "), "object 2: expected <name>, found an empty one"),
        ("<object><name>\xa0</name></object>", "object 2: expected <name>, found an empty one"),
        ("<object><name><b/>cat</name></object>", "object 2: expected"),
        (thing("a\nb"), r"object 2: expected a class in <name>, found 'a\nb'; correct it"),
        (thing(box=bndbox(ymin="9" * 5000)), "expected a finite number in <ymin>, found '999"),
        (thing(box=""), "object 2 (cat): expected <bndbox>, found none; add it"),
        (thing(box=f"<part>{bndbox()}</part>"), "object 2 (cat): expected <bndbox>, found none"),
        (thing(box=bndbox().replace("xmin", "left")), "object 2 (cat): expected <xmin>, found none"),
        (thing(box=bndbox(ymax="")), "object 2 (cat): expected <ymax>, found an empty one; fill it in"),
        (thing(box=bndbox(xmax="inf")), "object 2 (cat): expected a finite number in <xmax>, found 'inf'; correct it"),
        (thing(box=bndbox(ymin="nan")), "expected a finite number in <ymin>, found 'nan'"),
        (thing(box=bndbox(ymin="2O")), "expected a finite number in <ymin>, found '2O'"),
        (
            thing(extra="<difficult/>"),
            "object 2 (cat): expected <difficult>, found an empty one; fill it in, or remove",
        ),
        (thing(extra="<difficult>yes</difficult>"), "expected a finite number in <difficult>, found 'yes'"),
    ],
)
def test_refused_objects(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse(thing(), text)
    assert str(error.value).startswith(f"{XML}: object 2")


def test_a_namespace_makes_no_difference() -> None:
    text = f"<annotation xmlns='http://example.com/voc'>{SIZE}{thing()}</annotation>"
    assert parse_annotation(text, XML) == parse_annotation(text.replace(" xmlns='http://example.com/voc'", ""), XML)


@pytest.mark.parametrize(
    ("text", "astray"),
    [
        (thing(extra=bndbox()), 1),
        (thing(extra=thing()), 1),
        (f"<Object>{bndbox()}</Object>", 1),
        (f"<Object>{bndbox().replace('bndbox', 'BndBox')}</Object>", 1),
        (thing(extra=f"<part><name>head</name>{bndbox()}</part>"), 0),
    ],
)
def test_boxes_that_are_not_read_are_counted(text: str, astray: int) -> None:
    found = parse(thing(), text)
    assert (found.astray, len(found.boxes)) == (astray, 1 + text.startswith("<object>"))


@pytest.mark.parametrize(
    ("encoding", "name"), [("ISO-8859-1", "café"), ("GBK", "猫咪"), ("utf-8", "猫"), ("windows-1252", "“a”")]
)
def test_text_in_the_encoding_that_the_first_line_declares(tmp_path: Path, encoding: str, name: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?><a>{name}</a>', encoding=encoding)
    assert name in read_xml(path)


@pytest.mark.parametrize(("declared", "name"), [("GBK", "猫".encode("gbk")), ("latin-1", "é".encode())])
def test_bytes_of_two_encodings_are_refused(tmp_path: Path, declared: str, name: bytes) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(f"<?xml version='1.0' encoding='{declared}'?>".encode() + name)
    with pytest.raises(
        ValueError, match=rf"a\.xml: expected text in {declared}, .*, found bytes that may also be UTF-8;"
    ):
        read_xml(path)


@pytest.mark.parametrize("declared", ["utf-16", "ascii", "unknown", "zip"])
def test_a_declaration_that_cannot_be_is_not_believed(tmp_path: Path, declared: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f"<?xml version='1.0' encoding='{declared}'?>猫", encoding="utf-8")
    assert read_xml(path).endswith("猫")


def test_a_message_does_not_grow_with_a_name() -> None:
    with pytest.raises(ValueError, match="expected a finite number in <xmin>") as error:
        parse(thing("cat" * 5000, bndbox(xmin="nan")))
    assert len(str(error.value)) < 500


def test_a_hundred_thousand_objects_are_read_in_seconds() -> None:
    start = time.process_time()
    assert len(parse(thing() * 100_000).boxes) == 100_000
    assert time.process_time() - start < 20
