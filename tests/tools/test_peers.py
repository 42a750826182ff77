"""The benchmark beside other libraries: its own part of it runs, and shows a table."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_has_a_row_for_each(tmp_path):
    shown = subprocess.run(
        [sys.executable, "bench/peers/run.py", "--only", "with_liborm", "--rounds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout
    rows = re.findall(r"^(\S.*?)  +\S+ ?(?:µs)?(?: +[\d.e+-]+(?: µs)?){3}$", shown, re.M)
    assert [row.strip() for row in rows][1:] == ["liborm", "liborm on databases"]


def test_a_contestant_that_fails_says_why():
    ended = subprocess.run(
        [sys.executable, "bench/peers/run.py", "--only", "with_encode_orm", "--environments", "/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode != 0
    assert "encode-orm/bin/python" in ended.stderr


def test_every_contestant_is_listed():
    listed = re.findall(r'\("(with_\w+)"', (ROOT / "bench/peers/run.py").read_text())
    assert {path.stem for path in (ROOT / "bench/peers").glob("with_*.py")} == set(listed)
