"""The ledger tests/ledger.jsonl: one JSON line a run, and the table of their sums.

    python -m tests.soak.ledger          prints the table

A line has what ran, date, commit ("+" when the tree had changes), versions, seed, seconds,
`counts` (added up in the table), `worst` (of which the table shows the greatest) and the number
of `findings`.  What is published is the sum over all lines, so lines are only ever added.
"""

from __future__ import annotations

import json
import platform
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LEDGER = ROOT / "tests/ledger.jsonl"


def git(*arguments: str) -> str:
    if shutil.which("git") is None:
        return ""
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return run.stdout.strip()


@cache
def commit() -> str:
    """The commit that runs; with "+" when tracked files other than the ledger differ from it.

    It is that of the first call, which comes before the run: a long run outlives commits.
    """
    changes = git("status", "--porcelain", "-uno", "--", ".", f":!{LEDGER.relative_to(ROOT)}")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("+" if changes else "")


def line(what: str, seed: int, seconds: float, findings: int, **more: Any) -> dict[str, Any]:
    """A run's line; `more` holds counts, worst and versions beyond those every run has."""
    return {
        "what": what,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit(),
        "sqlite": sqlite3.sqlite_version,
        "cpython": platform.python_version(),
        "seed": seed,
        "seconds": round(seconds, 1),
        **more,
        "findings": findings,
    }


def append(entry: dict[str, Any], path: Path = LEDGER) -> None:
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def read(path: Path = LEDGER) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def table(entries: Iterable[dict[str, Any]]) -> str:
    """Markdown: per kind the runs, their time, sums of counts, greatest of measures, findings."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        kinds.setdefault(entry["what"], []).append(entry)
    lines = [
        "| what | runs | time | done | at worst | findings | SQLite | CPython | last |",
        "|---|--:|--:|---|---|--:|---|---|---|",
    ]
    for what, runs in sorted(kinds.items()):
        done: dict[str, int] = {}
        worst: dict[str, float] = {}
        for entry in runs:
            for name, number in entry.get("counts", {}).items():
                done[name] = done.get(name, 0) + number
            for name, number in entry.get("worst", {}).items():
                worst[name] = max(worst.get(name, number), number)
        cells = [
            what,
            str(len(runs)),
            duration(sum(entry["seconds"] for entry in runs)),
            ", ".join(f"{number:,} {name}" for name, number in done.items()),
            ", ".join(f"{name} {number:,}" for name, number in worst.items()),
            str(sum(entry["findings"] for entry in runs)),
            ", ".join(sorted({entry["sqlite"] for entry in runs})),
            ", ".join(sorted({entry["cpython"] for entry in runs})),
            max(entry["date"] for entry in runs)[:10],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(read()))
