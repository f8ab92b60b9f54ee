"""Configs as users write them: a YAML file, overridden by key=value words. The one place that reads YAML.

A config may come from a third party, so it is only data: it can refer to its own keys (${data.train}), never to the
reader's environment (${oc.env:HOME}), and is refused before it can exhaust memory.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

ALLOW_PIPE = "--allow-pipe"  # among the overrides: run the commands in a config
MAX_BYTES = 1 << 20
MAX_ALIASES = 100  # each may repeat all that precedes it: 30 nested ones exceed any memory
NULL = "tag:yaml.org,2002:null"
RESOLVERS = ("oc.env", "oc.create", "oc.decode", "oc.deprecated", "oc.select", "oc.dict.keys", "oc.dict.values")


def split_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The config, which comes first if there is one, and the overrides. A file may be called lr=0.1/run.yaml."""
    if words and ("=" not in words[0] or Path(words[0]).is_file()):
        return words[0], list(words[1:])
    return None, list(words)


def read_yaml(path: Path, texts: Collection[str] = ()) -> DictConfig:
    """The mapping in a YAML file. texts: see `launch.keys.text_keys`."""
    if not path.is_file():
        raise ValueError(f"no config at {path}; configs/ holds those of this project")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected a config of at most {MAX_BYTES:,} bytes, found {path.stat().st_size:,}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected YAML in UTF-8 ({error})") from None
    except OSError as error:  # of reading: Python does not say of what
        raise OSError(error.errno, error.strerror, str(path)) from None
    return parse_yaml(text, str(path), texts)


def parse_yaml(text: str, where: str, texts: Collection[str] = ()) -> DictConfig:
    """The mapping in a text. where: its name in errors. texts: see `launch.keys.text_keys`."""
    try:
        aliases = sum(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.CSafeLoader))
        if aliases > MAX_ALIASES:
            raise ValueError(f"{where}: expected at most {MAX_ALIASES} aliases (*name), found {aliases}")
        root = yaml.compose(text, yaml.CSafeLoader)
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise ValueError(f"{where}: expected YAML of `key: value` lines, such as those of configs/demo.yaml")
        for name in RESOLVERS:
            OmegaConf.clear_resolver(name)
        tree = OmegaConf.create(_quoted(text, root, texts))
    except (OmegaConfBaseException, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{where}: expected YAML of `key: value` lines ({' '.join(str(error).split())})") from None
    assert isinstance(tree, DictConfig)
    return tree


def parse_overrides(words: Sequence[str], texts: Collection[str] = ()) -> DictConfig:
    """key=value words as a tree: the value is YAML, a dot in the key enters a section.

    texts: see `launch.keys.text_keys`.
    """
    words = [word for word in words if word != ALLOW_PIPE]
    for word in words:
        if "=" not in word:
            raise ValueError(f"{word!r}: expected key=value, such as data.batch=32")
    pairs = [word.partition("=")[::2] for word in words]
    try:
        roots = [_as_written(value, yaml.compose(value, yaml.CSafeLoader)) for _, value in pairs]
        return OmegaConf.from_dotlist(
            [f"{key}={_quoted(value, root, texts, key)}" for (key, value), root in zip(pairs, roots, strict=True)]
        )
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ValueError(f"{' '.join(words)}: expected YAML after the = ({' '.join(str(error).split())})") from None


def escaped(value: Any) -> Any:
    """The value with a backslash before each ${, which would refer to another key."""
    if isinstance(value, dict):
        return {key: escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [escaped(each) for each in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def as_yaml(text: str) -> str:
    """A text as it is written in a config, with quotes if YAML would read anything else."""
    return text if re.fullmatch(r"[\w./][\w./+-]*", text) else json.dumps(escaped(text), ensure_ascii=False)


def _as_written(text: str, node: yaml.Node | None) -> yaml.Node | None:
    """The scalar of a command line with all of its text, unless it is quoted: a # begins no comment there."""
    if isinstance(node, yaml.ScalarNode) and node.style not in ("'", '"') and node.tag != NULL:
        node.value, node.style = text.strip(), None
    return node


def _quoted(text: str, root: yaml.Node | None, texts: Collection[str], key: str = "") -> str:
    """The same YAML with quotes wherever text is expected: `no`, `007` and `1e3` are names there."""
    scalars = [scalar for scalar in _scalars(root, texts, key) if not scalar.style]
    for scalar in scalars:
        scalar.tag, scalar.style = "tag:yaml.org,2002:str", "'"
    return yaml.serialize(root, allow_unicode=True) if scalars else text


def _scalars(node: yaml.Node | None, texts: Collection[str], key: str) -> Iterator[Any]:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            merged = name.tag == "tag:yaml.org,2002:merge"
            yield from _scalars(value, texts, key if merged else f"{key}.{name.value}".lstrip("."))
    elif isinstance(node, yaml.SequenceNode):
        yield from (item for item in node.value if isinstance(item, yaml.ScalarNode) and key in texts)
    elif node is not None and key in texts and node.tag != NULL:
        yield node
