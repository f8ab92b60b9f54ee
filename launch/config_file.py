"""Configs as people write them: a YAML file, and key=value words over it. The one place that reads YAML.

A config may come with a run from somebody else, so it is data: it can refer to its own keys (${data.train}), never to
the environment of whoever reads it (${oc.env:HOME}), and is refused before it can fill the memory.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

ALLOW_PIPE = "--allow-pipe"  # among the overrides: commands that stand in a config are run
MAX_BYTES = 1 << 20
MAX_ALIASES = 100  # each may stand for all that was written before it: 30 nested ones are more than any memory
RESOLVERS = ("oc.env", "oc.create", "oc.decode", "oc.deprecated", "oc.select", "oc.dict.keys", "oc.dict.values")


def split_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The config, which comes first where there is one, and the overrides. A file may be called lr=0.1/run.yaml."""
    if words and ("=" not in words[0] or Path(words[0]).is_file()):
        return words[0], list(words[1:])
    return None, list(words)


def read_yaml(path: Path) -> DictConfig:
    """The mapping in a YAML file."""
    if not path.is_file():
        raise ValueError(f"no config at {path}; configs/ holds those of this project")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected a config, found {path.stat().st_size:,} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected YAML in UTF-8 ({error})") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> DictConfig:
    """The mapping that a text holds. `where`: what errors call it."""
    try:
        aliases = sum(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.CSafeLoader))
        if aliases > MAX_ALIASES:
            raise ValueError(f"{where}: expected at most {MAX_ALIASES} aliases (*name), found {aliases}")
        root = yaml.compose(text, yaml.CSafeLoader)
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise ValueError(f"{where}: expected YAML of `key: value` lines, such as those of configs/demo.yaml")
        for name in RESOLVERS:
            OmegaConf.clear_resolver(name)
        tree = OmegaConf.create(text)
    except (OmegaConfBaseException, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{where}: expected YAML of `key: value` lines ({' '.join(str(error).split())})") from None
    assert isinstance(tree, DictConfig)
    return tree


def parse_overrides(words: Sequence[str]) -> DictConfig:
    """key=value words as a tree: the value is YAML, a dot in the key leads into a section."""
    words = [word for word in words if word != ALLOW_PIPE]
    for word in words:
        if "=" not in word:
            raise ValueError(f"{word!r}: expected key=value, such as data.batch=32")
    try:
        return OmegaConf.from_dotlist(list(words))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ValueError(f"{' '.join(words)}: expected YAML after the = ({' '.join(str(error).split())})") from None
