"""The long forms of tests find what is there to be found, and the ledger sums what they did."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from tests.soak import common, damage, kills, ledger, operations
from tests.soak.common import Budget, Outcome


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Findings go here instead of build-soak/."""
    monkeypatch.setattr(common, "KEPT", tmp_path / "kept")
    return tmp_path / "kept"


def test_a_budget_ends_by_rounds_or_by_time() -> None:
    assert list(Budget(rounds=3)) == [0, 1, 2]
    assert list(Budget(rounds=0)) == []
    assert list(Budget(seconds=0)) == []
    assert list(Budget(rounds=2, seconds=60)) == [0, 1]


def test_the_table_sums_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for rounds, edges in ((5, 70), (7, 60)):
        counts, worst = {"rounds": rounds}, {"edges": edges}
        ledger.append(ledger.line("kills", 1, 30.0, 1, counts=counts, worst=worst), path)
    (row,) = ledger.table(ledger.read(path)).splitlines()[2:]
    assert row.startswith("| kills | 2 | 1.0 min | 12 rounds | edges 70 | 2 |")


def test_an_interrupted_run_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(outcome: Outcome, *_: object) -> None:
        outcome.counts["rounds"] += 4
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger.append, "__defaults__", (tmp_path / "ledger.jsonl",))
    with pytest.raises(KeyboardInterrupt):
        common.record("kills", interrupted, Budget(), 1)
    (entry,) = ledger.read(tmp_path / "ledger.jsonl")
    assert (entry["what"], entry["seed"], entry["counts"]) == ("kills", 1, {"rounds": 4})


def test_a_lost_row_is_found(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db.sqlite")
    with connection:
        connection.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT)")
        connection.execute("INSERT INTO thing VALUES (1, 'x'), (2, 'xx')")
    connection.close()
    (tmp_path / "acks").write_text("1 1\n2 2\n3 ")  # the last line was not finished
    assert kills.losses(tmp_path) == ({1: 1, 2: 2}, [])
    (tmp_path / "acks").write_text("1 1\n2 9\n3 0\n")
    assert kills.losses(tmp_path)[1] == ["2 acknowledged rows are lost: [2, 3]"]


EACH = "for path in sys.argv[1:]: print"


@pytest.mark.parametrize(
    ("reader", "findings"),
    [
        (f"{EACH}(json.dumps([path, 'rows', '']))", 0),
        (f"{EACH}(json.dumps([path, 'wrong', 'x']))", 3),
        ("os.kill(os.getpid(), 11)", 3),
        (f"{EACH}(json.dumps([path, 'rows', '']))\nsys.exit(3)", 1),
        ("print(json.dumps([sys.argv[1], 'rows', '']), flush=True); time.sleep(60)", 2),
    ],
    ids=["fine", "wrong", "signal", "end", "hang"],
)
def test_what_a_reader_does_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
    findings: int,
) -> None:
    script = tmp_path / "reader.py"
    script.write_text(f"import json, os, sys, time\n{reader}\n")
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.setattr(damage, "READER", script)
    monkeypatch.setattr(damage, "LIMIT", 1)
    outcome = Outcome()
    damage.run(outcome, Budget(rounds=3), random.Random(1), folder)
    assert len(outcome.findings) == findings
    assert outcome.counts["files"] == 3


def test_growth_is_that_of_a_line() -> None:
    assert operations.growth([(float(t), 5.0 + 3 * t) for t in range(10)]) == pytest.approx(27)
    assert operations.growth([(0.0, 1.0), (1.0, 9.0), (2.0, 1.0)]) == pytest.approx(0)


def test_memory_that_grows_is_found() -> None:
    flat, steep = Outcome(), Outcome()
    operations.judge(flat, [(float(t), 50_000_000 + t % 2 * 4096, 9000) for t in range(60)])
    assert flat.findings == []
    operations.judge(steep, [(float(t), 50_000_000 + t * 100_000, 9000 + t * 9) for t in range(60)])
    assert len(steep.findings) == 2
