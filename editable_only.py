"""The build backend: setuptools', for `pip install -e .` and nothing else.

Installed as a wheel, the packages `train`, `data` and `launch` would stand under these names among everybody's.
"""

import sys
from typing import Any, NoReturn

from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

SENTENCE = (
    "This project is cloned, not installed as a package: git clone it, and there `make install` or `pip install -e .`"
)


def build_wheel(*_: Any, **__: Any) -> NoReturn:
    sys.exit(SENTENCE)


prepare_metadata_for_build_wheel = build_sdist = build_wheel
