"""Shows all keys of a config as a page that reads well in a terminal and as Markdown: docs/config.md."""

from collections.abc import Iterator, Mapping
from typing import Any

from launch.keys import Key, keys_of, lines

HEAD = """# Keys of a config

Made by `python -m train.config > docs/config.md`; `python train/main.py --help` prints the same. Each key is shown as
written on a command line, with its default and allowed values; below it are its [unit] and meaning. In a YAML file a
section is a mapping, `data: {batch: 64}`. The defaults are those of the recipe `darknet`; where another recipe differs,
its name and default follow.
"""


def page(config: type, recipes: Mapping[str, Mapping[str, Any]]) -> str:
    """The page. config: a dataclass. recipes: {name: nested defaults}."""
    others = {name: (recipe, value) for recipe, tree in recipes.items() for name, value in _flat(tree)}
    sections: dict[str, list[Key]] = {}
    for key in keys_of(config):
        sections.setdefault(key.name.rpartition(".")[0], []).append(key)
    parts = [HEAD]
    for section, keys in sections.items():
        parts += [f"\n## {section or 'The run'}\n", *(f"    {line}" for line in lines(keys, others))]
    return "\n".join(parts)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
