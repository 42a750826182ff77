"""F7: kill -9 a writer again and again; every acknowledged row is there and the file is sound.

python -m tests.soak.kills --rounds 1000 --seed 1

A round starts tests/soak/writer.py, kills it at a random moment (one in eight while it opens the
database, which is then still recovering) and looks into the file with the standard library.  It
is the process that is killed, not the machine.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from tests.soak.common import Budget, Outcome, main

WRITER = Path(__file__).with_name("writer.py")
MODES = [(journal, sync) for journal in ("wal", "delete") for sync in ("normal", "full")]
ROUNDS_OF_A_DATABASE = 25
START = 30  # s, until the writer's first row


def acknowledged(folder: Path) -> dict[int, int]:
    """Key and size of the rows that the writers of this folder were told are safe."""
    path = folder / "acks"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return {int(key): int(size) for key, size in (line.split() for line in lines)}


def kill(folder: Path, journal_mode: str, synchronous: str, delay: float, early: bool) -> str:
    """Starts a writer and kills it `delay` s after its first row, or after its start when `early`;
    "" or why it ended by itself."""
    url = f"sqlite:///{folder}/db.sqlite?journal_mode={journal_mode}&synchronous={synchronous}"
    acks = folder / "acks"
    before = acks.stat().st_size if acks.exists() else 0
    writer = subprocess.Popen(
        [sys.executable, WRITER, url, acks], stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        deadline = time.monotonic() + START
        while not early and not (acks.exists() and acks.stat().st_size > before):
            if writer.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.005)
        else:
            time.sleep(delay)
        ended = writer.poll()
    finally:
        writer.send_signal(signal.SIGKILL)
        _, errors = writer.communicate()
    if ended is not None:
        return f"the writer ended with {ended}: {errors.decode(errors='replace')[-2000:]}"
    return "" if early or acks.stat().st_size > before else f"no row in {START} s"


def losses(folder: Path) -> tuple[dict[int, int], list[str]]:
    """The acknowledged rows, and what is wrong with the file they should be in."""
    acked, wrong = acknowledged(folder), []
    connection = sqlite3.connect(folder / "db.sqlite")
    try:
        sound = connection.execute("PRAGMA integrity_check").fetchall()
        if sound != [("ok",)]:
            wrong.append(f"integrity_check: {sound[:3]}")
        has_table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'thing'")
        select = "SELECT id, length(name) FROM thing"
        found = dict(connection.execute(select)) if has_table.fetchone() else {}
    finally:
        connection.close()
    lost = [key for key, size in acked.items() if found.get(key) != size]
    if lost:
        wrong.append(f"{len(lost)} acknowledged rows are lost: {lost[:5]}")
    return acked, wrong


def run(outcome: Outcome, budget: Budget, chance: random.Random, folder: Path) -> None:
    """Counts rounds and rows (acknowledged ones)."""
    before: dict[str, int] = {}
    for number in budget:
        journal_mode, synchronous = MODES[number % len(MODES)]
        turn = number // (len(MODES) * ROUNDS_OF_A_DATABASE)
        name = f"{turn}-{journal_mode}-{synchronous}"
        home = folder / name
        home.mkdir(exist_ok=True)
        early, delay = chance.random() < 1 / 8, chance.uniform(0, 0.2)
        problem = kill(home, journal_mode, synchronous, delay, early)
        acked, wrong = losses(home)
        for text in [problem] * bool(problem) + wrong:
            outcome.find(f"kills {name}, round {number}: {text}", home / "db.sqlite")
        outcome.counts["rounds"] += 1
        outcome.counts["acknowledged rows"] += len(acked) - before.get(name, 0)
        before[name] = len(acked)


if __name__ == "__main__":
    sys.exit(main("kills", run, __doc__))
