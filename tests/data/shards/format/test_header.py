"""index.json is read back as it was written, or refused with a reason."""

from pathlib import Path

import pytest

from data.shards.format.header import parse_header, seal
from data.shards.index import ShardIndex
from tests.data.pictures import change_header


def test_every_byte_of_the_header_counts(shards: Path) -> None:
    path = shards / "train" / "index.json"
    text = path.read_bytes()
    assert seal(parse_header(text, path)) == text
    for place in range(len(text)):
        for bit in (1, 0x20):
            with pytest.raises(ValueError, match=f"{path} is "):
                parse_header(text[:place] + bytes([text[place] ^ bit]) + text[place + 1 :], path)


def test_a_changed_header_is_told_from_another_file(copy: Path) -> None:
    path = copy / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"images": 53', b'"images": 52'))
    with pytest.raises(ValueError, match=rf"{path} is not what was written \(its own digest differs\); copy it again"):
        ShardIndex.load(copy)


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_header_that_nests_deeply_is_refused(copy: Path, depth: int) -> None:
    text = '{"format": "yolov2-shards", "version": 2, "x": ' + "[" * depth + "]" * depth + "}"
    (copy / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"index\.json is not (an index of shards|what was written)"):
        ShardIndex.load(copy)


@pytest.mark.parametrize("name", ["../shard-000000.tar", "/shard-000000.tar", "a/b.tar", "", "..", "train.py"])
def test_a_header_cannot_point_out_of_its_folder(copy: Path, index: ShardIndex, name: str) -> None:
    change_header(copy, shards=[index.shards[0]._replace(name=name)._asdict()])
    with pytest.raises(ValueError, match=rf"index\.json: expected names of tars beside it, found '{name}'; make"):
        ShardIndex.load(copy)


FIELDS: list[dict[str, object]] = [{"source": 3}, {"classes": "cat"}, {"category_ids": {"a": 1}}, {"images": "5"}]
FIELDS += [{"classes": [3]}, {"classes": [{"a": 1}]}, {"classes": ["a\x1b[2J"]}, {"category_ids": ["1"] * 6}]
FIELDS += [{"images": -1}, {"objects": 2**50}, {"classes": [" "]}]
FIELDS += [{"classes": ["cat"] * 6}, {"classes": [f"c{n}" for n in range(40_000)]}]
FIELDS += [{"category_ids": [10**4000] * 6}, {"images": 10**4000}, {"dropped": {"a": "b"}}]
FIELDS += [{"dropped": {"a": {}}}, {"dropped": {"a": -1}}, {"dropped": {"a\x1b[2J": 1}}, {"dropped": {"a": True}}]
FIELDS += [{"shards": [{"name": "a.tar", "bytes": 10**4000, "sha256": "", "samples": 1}]}]
FIELDS += [{"shards": [{"name": "a.tar", "bytes": 5, "sha256": "", "samples": 1}] * 2}]
FIELDS += [{"objects": 5.0}, {"dropped": []}, {"arrays_sha256": None}, {"shards": {}}, {"shards": [3]}]
FIELDS += [{"shards": [{"name": "a.tar"}]}, {"shards": [{"name": "a.tar", "bytes": 1, "sha256": "", "samples": 0}]}]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: str(field)[:50])
def test_a_header_of_another_program_that_is_wrong(copy: Path, field: dict[str, object]) -> None:
    """Sealed as it should be; what it holds is not as it should be."""
    change_header(copy, **field)
    with pytest.raises(ValueError, match=rf"index\.json: expected .*{next(iter(field))}.*found"):
        ShardIndex.load(copy)
