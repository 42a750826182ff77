"""The benchmark: `make bench`.

One run, every contestant on the same file, orders rotated, the median of the rounds.  What counts
is the ratio to the first row, taken inside each round; a mark is missed only when the whole
interval of the rounds lies beyond it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import pathlib
import platform
import sqlite3
import statistics
import tempfile

from contestants import Floor, Ours, Stdlib, make_database, seconds

WORKLOADS = {
    "get": "await get(id=…)",
    "gets100": "100 gets at once",
    "filter": "filter across the relation",
    "count": "count",
    "all": "10,000 rows, per row",
    "related": "select_related, per row",
    "create": "create, one by one",
    "creates100": "100 creates at once",
    "save": "save",
    "bulk": "bulk_create of 1,000, per row",
}
# First marks: ours ≤ mark × stdlib.
MARKS = {"get": 1.2, "all": 0.5, "related": 0.7, "creates100": 1.0, "bulk": 1.0}


def measure(arguments: argparse.Namespace) -> tuple[list[str], dict[str, dict[str, list[float]]]]:
    loop = asyncio.new_event_loop()
    if arguments.uvloop:
        import uvloop

        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        path = pathlib.Path(folder) / "bench.db"
        make_database(path)
        contestants: list[object] = [Stdlib(path), Ours(path, loop, False), Ours(path, loop, True)]
        if arguments.floor:
            contestants.append(Floor(path, arguments.floor))
        for contestant in contestants:
            if isinstance(contestant, Ours):
                contestant.check()
        names = [c.name for c in contestants]
        times: dict[str, dict[str, list[float]]] = {w: {n: [] for n in names} for w in WORKLOADS}
        for round_ in range(-1, arguments.rounds):  # round -1 warms up
            order = (
                contestants[round_ % len(contestants) :] + contestants[: round_ % len(contestants)]
            )
            for workload in WORKLOADS:
                for contestant in order:
                    if isinstance(contestant, Floor) and workload not in Floor.COUNTS:
                        continue
                    gc.collect()
                    took = seconds(contestant, workload, loop)
                    if round_ >= 0:
                        times[workload][contestant.name].append(took)
        for contestant in contestants:
            contestant.close()
    loop.close()
    return names, times


def line(cells: list[str], widths: list[int]) -> str:
    return "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths)))


def report(names: list[str], times: dict[str, dict[str, list[float]]]) -> int:
    base = names[0]
    widths = [30, 14] + [24] * (len(names) - 1) + [6]
    print(line(["", base] + names[1:] + ["mark"], widths))
    missed = 0
    for workload, title in WORKLOADS.items():
        reference = times[workload][base]
        cells = [title, f"{statistics.median(reference) * 1e6:.2f} µs"]
        verdict = ""
        for name in names[1:]:
            own = times[workload][name]
            if not own:
                cells.append("")
                continue
            ratios = sorted(a / b for a, b in zip(own, reference))
            cells.append(f"{statistics.median(ratios):.2f} × ({ratios[0]:.2f}–{ratios[-1]:.2f})")
            if name == "orm" and workload in MARKS:
                verdict = f"≤ {MARKS[workload]}"
                if ratios[0] > MARKS[workload]:
                    verdict, missed = f"> {MARKS[workload]} !", missed + 1
        print(line(cells + [verdict], widths))
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--uvloop", action="store_true", help="uvloop instead of asyncio")
    parser.add_argument("--floor", type=pathlib.Path, help="the program built from bench/c/floor.c")
    parser.add_argument(
        "--dir", help="where the database file lies (default: the temporary folder)"
    )
    parser.add_argument("--no-pin", action="store_true", help="let the process use every CPU")
    arguments = parser.parse_args()
    if not arguments.no_pin and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(
        f"SQLite {sqlite3.sqlite_version}, CPython {platform.python_version()},"
        f" {'uvloop' if arguments.uvloop else 'asyncio'}, WAL, synchronous=NORMAL,"
        f" {'one CPU' if not arguments.no_pin else 'every CPU'}, {arguments.rounds} rounds;"
        " cells: × the first column, median (least–most)\n"
    )
    names, times = measure(arguments)
    missed = report(names, times)
    print(f"\n{missed} marks missed" if missed else "\nevery mark is met")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
