"""What is installed is what lies in python/orm: the build names each file, and this compares."""

from __future__ import annotations

import re
from pathlib import Path

PYTHON = Path(__file__).resolve().parents[2] / "python"


def test_every_file_of_the_package_is_installed() -> None:
    named = set(re.findall(r"'(orm/[^']+)'", (PYTHON / "meson.build").read_text()))
    there = {
        path.relative_to(PYTHON).as_posix()
        for path in (PYTHON / "orm").rglob("*")
        if path.is_file() and path.suffix not in (".so", ".pyc")
    }
    assert named == there, "python/meson.build and python/orm differ"
