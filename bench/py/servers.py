"""The benchmark on servers: `make bench-servers`.

A server of each kind is started for the run, without fsync, so that clients are compared and not
the disk; every contestant talks to it over the loopback address.  Orders are rotated; what counts
is the ratio inside each round.  A mark is missed only when the whole interval of the rounds lies
beyond it; a target is what we aim at beyond the marks, and fails nothing.  The fastest round of
each is compared too: on a machine with other work that says more than a median.

Client and server share one CPU unless --no-pin is given: a hop to another costs 10 or 60 µs, by
luck.  One of them at a time has work then, so the clock shows the sum of what both have done.
--cpu measures that sum itself (Linux): what else runs on the machine does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.metadata
import operator
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
import urllib.parse
from typing import Any, NamedTuple

from contestants import ALBUMS, TRACKS, Models
from peers import PEERS

import orm

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.servers import servers  # noqa: E402

WORKLOADS = {
    "get": "get by key",
    "gets100": "100 gets at once, each",
    "filter": "filter across the relation",
    "all": "10,000 rows, per row",
    "related": "select_related, per row",
    "create": "create",
    "creates100": "100 creates at once, each",
    "bulk": "bulk insert of 1,000, per row",
}


class Mark(NamedTuple):
    """ours ≤ ratio × peer."""

    workload: str
    peer: str
    ratio: float
    target: bool = False


MARKS = {
    "postgresql": [
        Mark("get", "asyncpg, one", 1.2),
        Mark("get", "asyncpg, pool", 0.5),
        Mark("all", "asyncpg, one", 1.2),
        Mark("bulk", "asyncpg, one", 0.3),
        Mark("get", "asyncpg, one", 0.9, target=True),
        Mark("get", "raw C", 1.25, target=True),
        Mark("gets100", "asyncpg, pool", 0.2, target=True),
        Mark("all", "asyncpg, one", 1.05, target=True),
    ],
    "mariadb": [
        Mark("get", "asyncmy", 0.8),
        Mark("all", "asyncmy", 0.8),
        Mark("get", "raw C", 1.3, target=True),
        Mark("all", "raw C", 1.3, target=True),
    ],
}
FILL = {
    "postgresql": "SELECT {columns} FROM generate_series(1, {n}) AS s(i)",
    "mariadb": "SELECT {columns} FROM (SELECT seq AS i FROM seq_1_to_{n}) AS s",
}
# How else the raw client could write many rows: workloads of bench/c.
WAYS = {
    "postgresql": ["bulk-from", "bulk-values", "bulk-reserve", "bulk-copy", "bulk-each"],
    "mariadb": ["bulk-values"],
}
PACKAGES = {"postgresql": ["asyncpg", "psycopg"], "mariadb": ["asyncmy"]}


class Floor:
    """The raw client in straight C, in a process of its own (bench/c/floor_….c)."""

    name = "raw C"
    COUNTS = {"get": 3000, "gets100": 3000, "all": 5, "related": 5, "create": 300, "bulk": 1}

    def __init__(
        self, kind: str, folder: pathlib.Path, url: str, *, way: str = "", cpu: bool = False
    ) -> None:
        self.command = [str(folder / f"floor_{kind}")]
        self.environment = dict(os.environ)
        self.counts = dict(self.COUNTS)
        if cpu:
            self.environment["FLOOR_CPU"] = "1"
        self.way = way
        if way:
            self.name, self.counts = f"C, {way}", {"bulk": self.COUNTS["bulk"]}
        if kind == "postgresql":
            self.command.append(url)
            return
        parts = urllib.parse.urlsplit(url)
        self.command += [str(parts.hostname), str(parts.port), str(parts.username), parts.path[1:]]
        self.environment["FLOOR_PASSWORD"] = parts.password or ""
        self.counts.pop("gets100", None)

    def nanoseconds(self, workload: str) -> float:
        command = [*self.command, self.way or workload, str(self.counts[workload])]
        done = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        return float(done.stdout)


# ---- the tables ----------------------------------------------------------------------------


async def fill(kind: str, ours: Models) -> None:
    """The tables as our models make them, with 1,000 albums and 10,000 tracks."""
    database = ours.database
    await orm.create_all(ours.metadata, database)
    title = "concat('the title of track ', i)"
    album = f"1 + i % {ALBUMS}"
    position = f"1 + floor(i / {ALBUMS})"
    for table, n, columns in (
        ("album (id, name)", ALBUMS, "i, concat('album number ', i)"),
        (
            "track (id, album, title, position, rating)",
            TRACKS,
            f"i, {album}, {title}, {position}, i * 0.37",
        ),
    ):
        select = FILL[kind].format(columns=columns, n=n)
        await database.execute(f"INSERT INTO {table} {select}")
    for table in ("album", "track", "scratch"):
        await database.execute(f"ANALYZE {'TABLE ' if kind == 'mariadb' else ''}{table}")


# ---- measuring -----------------------------------------------------------------------------


class Timer:
    """The clock; or, by --cpu, the time that we and the server of that pid were on a CPU."""

    def __init__(self, server: int | None) -> None:
        self.server = server

    def server_seconds(self) -> float:
        """Of its threads and of its children; a connection is one of these or of those."""
        assert self.server is not None
        tasks = pathlib.Path(f"/proc/{self.server}/task")
        children = (tasks / str(self.server) / "children").read_text().split()
        folders = [*tasks.iterdir(), *(pathlib.Path("/proc", pid) for pid in children)]
        total = 0
        for folder in folders:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                total += int((folder / "schedstat").read_text().split()[0])
        return total * 1e-9

    async def timed(self, contestant: Any, workload: str) -> float:
        """Seconds per unit."""
        before = self.server_seconds() if self.server else 0.0
        clock = time.process_time if self.server else time.perf_counter
        start = clock()
        units = await getattr(contestant, workload)()
        took = clock() - start
        if self.server:
            took += self.server_seconds() - before
        return float(took / units)


def can(contestant: Any, workload: str) -> bool:
    if isinstance(contestant, Floor):
        return workload in contestant.counts
    return hasattr(contestant, workload)


def measure(
    contestants: list[Any],
    rounds: int,
    workloads: list[str],
    loop: asyncio.AbstractEventLoop,
    timer: Timer,
) -> dict[str, dict[str, list[float]]]:
    times: dict[str, dict[str, list[float]]] = {
        w: {c.name: [] for c in contestants} for w in workloads
    }
    for round_ in range(-1, rounds):  # round -1 warms up
        turn = round_ % len(contestants)
        for workload in workloads:
            for contestant in contestants[turn:] + contestants[:turn]:
                if not can(contestant, workload):
                    continue
                gc.collect()
                if isinstance(contestant, Floor):
                    took = contestant.nanoseconds(workload) * 1e-9
                else:
                    took = loop.run_until_complete(timer.timed(contestant, workload))
                if round_ >= 0:
                    times[workload][contestant.name].append(took)
    return times


def run_kind(
    kind: str, arguments: argparse.Namespace, loop: asyncio.AbstractEventLoop
) -> dict[str, dict[str, list[float]]]:
    workloads = arguments.only or list(WORKLOADS)
    with servers.running(kind, fast=True) as server:
        ours = Models("orm", orm.Database(server.url), loop)
        loop.run_until_complete(fill(kind, ours))
        ours.connect()
        ours.check()
        contestants: list[Any] = [ours]
        for peer in PEERS[kind] if not arguments.alone else []:
            contestants.append(peer())
            loop.run_until_complete(contestants[-1].connect(server.url))
            if hasattr(contestants[-1], "check"):
                loop.run_until_complete(contestants[-1].check())
        peers = contestants[1:]
        if arguments.floor:
            for way in ("", *(WAYS[kind] if arguments.ways else ())):
                floor = Floor(kind, arguments.floor, server.url, way=way, cpu=arguments.cpu)
                contestants.append(floor)
        try:
            timer = Timer(server.process.pid if arguments.cpu and server.process else None)
            return measure(contestants, arguments.rounds, workloads, loop, timer)
        finally:
            for peer in peers:
                loop.run_until_complete(peer.close())
            ours.close()


# ---- reporting -----------------------------------------------------------------------------


def show_line(title: str, cells: dict[str, list[float]], fastest: bool) -> None:
    """Of each contestant the median time, or the shortest, and in brackets what we take of it."""
    line = title.ljust(30)
    ours = cells["orm"]
    for name, times in cells.items():
        if not times:
            line += "–".rjust(22)
            continue
        took = min(times) if fastest else statistics.median(times)
        ratio = (
            min(ours) / took if fastest else statistics.median(map(operator.truediv, ours, times))
        )
        cell = f"{took * 1e6:.2f} µs" + ("" if name == "orm" else f" ({ratio:.2f} ×)")
        line += cell.rjust(22)
    print(line)


def show_cells(times: dict[str, dict[str, list[float]]]) -> None:
    print(" " * 30 + "".join(name.rjust(22) for name in next(iter(times.values()))))
    for workload, cells in times.items():
        show_line(WORKLOADS[workload], cells, fastest=False)
        show_line("  fastest rounds", cells, fastest=True)


def show_marks(kind: str, times: dict[str, dict[str, list[float]]]) -> int:
    missed = 0
    for mark in MARKS[kind]:
        cells = times.get(mark.workload, {})
        if not cells.get(mark.peer):
            continue
        ratios = sorted(a / b for a, b in zip(cells["orm"], cells[mark.peer]))
        verdict = "met"
        if statistics.median(ratios) > mark.ratio:
            verdict = "met by some rounds" if ratios[0] <= mark.ratio else "missed"
        missed += verdict == "missed" and not mark.target
        fastest = min(cells["orm"]) / min(cells[mark.peer])
        print(
            f"{'target' if mark.target else 'mark'}: {WORKLOADS[mark.workload]} ≤ {mark.ratio} ×"
            f" {mark.peer}: {statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}),"
            f" {verdict}; fastest rounds {fastest:.2f}"
        )
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--server", choices=list(MARKS), action="append")
    parser.add_argument("--only", choices=list(WORKLOADS), action="append", help="these workloads")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    parser.add_argument("--asyncio", action="store_true", help="asyncio's own loop, not uvloop")
    parser.add_argument("--floor", type=pathlib.Path, help="the folder of the built bench/c")
    parser.add_argument("--ways", action="store_true", help="bulk: what the raw client could send")
    parser.add_argument("--cpu", action="store_true", help="time on a CPU instead of the clock's")
    parser.add_argument("--no-pin", action="store_true", help="let the processes use every CPU")
    arguments = parser.parse_args()
    if not arguments.no_pin and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    loop = asyncio.new_event_loop()
    if not arguments.asyncio:
        import uvloop

        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    missed = 0
    for kind in arguments.server or list(MARKS):
        versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES[kind]]
        try:
            times = run_kind(kind, arguments, loop)
        except servers.Unavailable as reason:
            print(f"{kind}: not run: {reason}")
            continue
        print(
            f"{kind}: {', '.join(versions)}, CPython {platform.python_version()},"
            f" {'asyncio' if arguments.asyncio else 'uvloop'}, loopback, no fsync,"
            f" {'every CPU' if arguments.no_pin else 'one CPU'}, {arguments.rounds} rounds,"
            f" {'time on a CPU' if arguments.cpu else 'by the clock'}\n"
        )
        show_cells(times)
        print()
        missed += show_marks(kind, times)
        print()
    loop.close()
    print(f"{missed} marks missed" if missed else "no mark is missed")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
