"""A cfg as text: sections of key=value lines, each with its line number (src/option_list.c, read_data_cfg)."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from train.graph.layer_specs import WHOLE

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
ALIASES = {"network": "net", "conv": "convolutional", "max": "maxpool"}


@dataclass
class Section:
    path: Path
    kind: str
    line: int
    options: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)  #: line number of each key

    def error(self, key: str, problem: str) -> ValueError:
        """file:line: [kind] key=value: problem."""
        written = f"{key:.80}={self.options[key]:.200}" if key in self.options else key
        return ValueError(f"{self.path}:{self.lines.get(key, self.line)}: [{self.kind:.80}] {written}: {problem}")

    def whole(self, key: str, default: int | None = None, least: int = 0) -> int:
        """A whole number of at least `least`; without a default the key is required."""
        value = self.options.get(key)
        if value is None and default is not None:
            return default
        if value is None or not WHOLE.fullmatch(value) or int(value) < least:
            raise self.error(key, f"expected a whole number of at least {least}")
        return int(value)

    def numbers(self, key: str) -> list[float]:
        """Numbers separated by commas."""
        words = [word for word in self.options.get(key, "").split(",") if word]
        if not all(NUMBER.fullmatch(word) for word in words):
            raise self.error(key, "expected numbers with commas between them")
        return [float(word) for word in words]

    def number(self, key: str, default: float) -> float:
        """A finite number."""
        if key not in self.options:
            return default
        found = self.numbers(key)
        if len(found) != 1 or not abs(found[0]) < float("inf"):
            raise self.error(key, "expected a number")
        return found[0]


def read_sections(path: Path) -> list[Section]:
    """Reads a cfg. ValueError for a line that is not key=value in a section, and for a repeated key.

    Comments may be in any encoding.
    """
    found: list[Section] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        text = re.sub(r"[#;].*", "", line)
        text = re.sub(r"\s", "", text)
        if text.startswith("[") and text.endswith("]"):
            found.append(Section(path, ALIASES.get(text[1:-1], text[1:-1]), number))
        elif text:
            key, equals, value = text.partition("=")
            if not equals or not key or not value or not found:
                raise ValueError(f"{path}:{number}: expected key=value inside a [section], found {line[:80]!r}")
            if key in found[-1].options:
                raise ValueError(
                    f"{path}:{number}: {key:.80} is already in this section, in line {found[-1].lines[key]}"
                )
            found[-1].options[key], found[-1].lines[key] = value, number
    return found
