"""YAML as people write it, and as a third party may have written it for them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launch.config_file import as_yaml, parse_overrides, parse_yaml, read_yaml, split_words
from launch.keys import text_keys

BOMB = "a0: &a0 [x, x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 120))


def test_a_config_is_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "lr=0.1.yaml"
    path.write_text("run: runs/ü\ndata: {train: a, val: '${data.train}'}\n", encoding="utf-8")
    assert OmegaConf.to_container(read_yaml(path), resolve=True) == {
        "run": "runs/ü",
        "data": {"train": "a", "val": "a"},
    }
    assert parse_yaml("", "here") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1\n- 2", "expected YAML of `key: value` lines"),
        (b"42", "expected YAML of `key: value` lines"),
        (b"just a sentence", "expected YAML of `key: value` lines"),
        (b"a: [", "line 2"),
        (b"run: a\nrun: b\n", "line 2"),
        (b"\xff\xfe\x00r", "expected YAML in UTF-8"),
        (b"a: !!python/object/apply:os.system [touch x]", "could not determine a constructor"),
        (BOMB.encode(), "expected at most 100 aliases"),
        (b"a: " + b"x" * 2_000_000, "expected a config of at most 1,048,576 bytes, found 2,000,003"),
        (b"a: " + b"[" * 5000, r"."),
    ],
)
def test_what_is_no_config_is_refused_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "some.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as found:
        read_yaml(path)
    assert str(path) in str(found.value) and len(str(found.value)) < 500


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(ValueError, match=f"no config at {path}; configs/ holds those of this project"):
            read_yaml(path)


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${oc.decode:x}", "${oc.select:a}", "http://h/${oc.env:HOME,x}"])
def test_a_config_reads_nothing_of_the_environment(value: str) -> None:
    for tree in (parse_yaml(f"a: '{value}'", "here"), parse_overrides([f"a={value}"])):
        with pytest.raises(OmegaConfBaseException, match="oc"):
            OmegaConf.to_container(tree, resolve=True)


def test_overrides_are_key_value_words() -> None:
    assert parse_overrides(["data.batch=8", "run=a=b"]) == {"data": {"batch": 8}, "run": "a=b"}
    for words in (["--resume"], ["epochs"]):
        with pytest.raises(ValueError, match=r"expected key=value, such as data\.batch=32"):
            parse_overrides(words)
    with pytest.raises(ValueError, match=r"a=\[1: "):
        parse_overrides(["a=[1"])


@dataclass
class Inner:
    names: list[str] | None = None
    kind: Literal["auto", "no"] = "auto"
    slots: int | str = 1
    rate: float = 1


@dataclass
class Outer:
    run: str
    inner: Inner
    maybe: Inner | None = None
    numbers: Any = None


def test_what_is_text_is_taken_as_it_is_written() -> None:
    keys = text_keys(Outer)
    assert keys == {"run", "inner.names", "inner.kind", "maybe.names", "maybe.kind"}
    text = "base: &b {names: [no, 1_0, ~], slots: 07}\nrun: 1e3\ninner: {<<: *b, kind: no, rate: 1e3}\nnumbers: [1e3]"
    tree = OmegaConf.to_container(parse_yaml(text, "here", keys))
    assert isinstance(tree, dict)
    assert tree["inner"] == {"names": ["no", "1_0", "~"], "slots": 7, "kind": "no", "rate": 1000.0}
    assert (tree["run"], tree["numbers"]) == ("1e3", [1000.0])
    assert parse_overrides(["run=007", "inner.names=[no, '7', {a: b}]", "inner.slots=07"], keys) == {
        "run": "007",
        "inner": {"names": ["no", "7", {"a": "b"}], "slots": 7},
    }
    assert parse_overrides(["run=null", "inner.names="], keys) == {"run": None, "inner": {"names": None}}
    assert parse_overrides(["run=007"]) == {"run": 7}
    for word in ("a #1", "&a b", "!x", "|", "a\nb"):
        assert parse_overrides([f"run={word}", "inner.slots=7 # seven"], keys) == {"run": word, "inner": {"slots": 7}}


@pytest.mark.parametrize(
    "text", ["a/b-1.2", "a #1", "a: b", "[a]", "${x}", "-", "'a", 'a"b', "日本", "a\nb", "\\${x}", ""]
)
def test_a_text_in_a_config_reads_back(text: str) -> None:
    assert parse_yaml(f"run: {as_yaml(text)}  # a remark", "here", {"run"}).run == text


def test_the_config_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "lr=0.1"
    folder.mkdir()
    (folder / "config.yaml").touch()
    odd = str(folder / "config.yaml")
    assert split_words(["some.yaml", "a=1"]) == ("some.yaml", ["a=1"])
    assert split_words([odd, "a=1"]) == (odd, ["a=1"])
    assert split_words(["a=1", "b=2"]) == (None, ["a=1", "b=2"])
    assert split_words([]) == (None, [])
