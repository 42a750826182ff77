"""F6: damaged database files are opened and used; each answer is an error or right.

    python -m tests.soak.damage --rounds 10000 --seed 1

A round is one file: bytes changed, a page lost, moved or doubled, the end cut off.  Child
processes (tests/soak/reader.py) use them: allowed are DatabaseError and the rows that the standard
library reads from the same file; a signal, another exception, other rows from a file that SQLite
takes for sound, or a hang is a finding.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from itertools import islice
from pathlib import Path

from tests.soak.common import Budget, Outcome, main

READER = Path(__file__).with_name("reader.py")
BATCH = 50  # files of one child
LIMIT = 300  # s, of one child; every statement in it has its own, of 2 s

SCHEMA = """
CREATE TABLE thing (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, number BIGINT, ratio FLOAT, data BLOB,
    parent INTEGER REFERENCES thing (id));
CREATE INDEX thing_name ON thing (name);
CREATE INDEX thing_parent ON thing (parent);
"""


def whole(folder: Path, chance: random.Random) -> bytes:
    """A sound database: several levels of pages, overflow pages, free pages."""
    path = folder / "whole.sqlite"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA page_size = {chance.choice([512, 1024, 4096])}")
    connection.execute(f"PRAGMA auto_vacuum = {chance.choice(['none', 'full', 'incremental'])}")
    connection.executescript(SCHEMA)
    rows = [
        (
            number,
            f"name {number % 50}",
            chance.choice([None, number, -number, 1 << 40]),
            chance.choice([None, number / 8]),
            chance.choice([None, b"", b"x" * 40, b"y" * 3000 if number % 9 == 0 else b"z"]),
            chance.choice([None, chance.randint(1, number)]),
        )
        for number in range(1, chance.choice([20, 300]))
    ]
    with connection:
        connection.executemany("INSERT INTO thing VALUES (?, ?, ?, ?, ?, ?)", rows)
    with connection:
        connection.execute("DELETE FROM thing WHERE id % 11 = 0")
    if chance.random() < 0.3:
        connection.execute("PRAGMA journal_mode = wal")
    connection.close()
    return path.read_bytes()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes of a sound file with one kind of damage, now and then two."""
    page = int.from_bytes(data[16:18], "big")
    for _ in range(chance.choice([1] * 9 + [2])):
        pages = [data[start : start + page] for start in range(0, len(data), page)]
        one, other = chance.randrange(len(pages)), chance.randrange(len(pages))
        kind = chance.choice(["cut", "zero", "swap", "double", "bytes", "bytes", "bytes", "header"])
        if kind == "cut":
            pages = [data[: chance.randrange(1, len(data))]]
        elif kind == "zero":
            pages[one] = bytes(page)
        elif kind == "swap":
            pages[one], pages[other] = pages[other], pages[one]
        elif kind == "double":
            pages[one] = pages[other]
        else:
            reach = 100 if kind == "header" else chance.choice([16, page])
            number = 0 if kind == "header" else one
            pages[number] = scratched(pages[number], reach, chance)
        data = b"".join(pages)
    return data


def scratched(page: bytes, reach: int, chance: random.Random) -> bytes:
    """The page with some of its first `reach` bytes changed; they say what is in the page."""
    changed = bytearray(page)
    for _ in range(chance.choice([1, 2, 8, 64])):
        place = chance.randrange(min(reach, len(changed)))
        changed[place] = chance.choice([0, 255, chance.randrange(256)])
    return bytes(changed)


def use(outcome: Outcome, paths: list[Path], label: str) -> None:
    """Lets children use the files; when one dies, the next goes on behind the file it died of."""
    while paths:
        command = [sys.executable, "-X", "faulthandler", READER, *paths]
        try:
            child = subprocess.run(
                command, capture_output=True, timeout=LIMIT, start_new_session=True
            )
            output, errors, status = child.stdout, child.stderr, str(child.returncode)
        except subprocess.TimeoutExpired as error:
            output, errors, status = error.stdout or b"", error.stderr or b"", "a hang"
        lines = output.split(b"\n")[:-1]
        for path, line in zip(paths, lines):
            _, result, text = json.loads(line)
            outcome.counts[result] += 1
            if result == "wrong":
                outcome.find(f"damage {label}, {path.name}: {text}", path.with_suffix(".kept"))
        outcome.counts["files"] += min(len(lines) + 1, len(paths))
        if len(lines) < len(paths):
            lost, tail = paths[len(lines)], errors.decode(errors="replace")[-2000:]
            outcome.find(
                f"damage {label}, {lost.name}: {status}: {tail}", lost.with_suffix(".kept")
            )
        elif status != "0":
            outcome.find(f"damage {label}, after its last file: {status}: {errors[-2000:]!r}")
        paths = paths[len(lines) + 1 :]


def run(outcome: Outcome, budget: Budget, chance: random.Random, folder: Path) -> None:
    """Counts files, and how many of them had each outcome of tests/soak/reader.py."""
    numbers = iter(budget)
    while batch := list(islice(numbers, BATCH)):
        paths = [folder / f"{number}.sqlite" for number in batch]
        for path in paths:
            data = damaged(whole(folder, chance), chance)
            path.write_bytes(data)
            path.with_suffix(".kept").write_bytes(data)
        use(outcome, paths, f"files {batch[0]} to {batch[-1]}")
        for path in folder.iterdir():
            path.unlink()


if __name__ == "__main__":
    sys.exit(main("damage", run, __doc__))
