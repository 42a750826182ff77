"""What honouring `databases.Database` costs a get: part of `make bench`.

One run, one file.  Every contestant awaits the same gets by key; what counts is the difference to
`orm.Database` inside each round, against a mark of 0.3 µs; it is missed only when the whole
interval of the rounds lies beyond it.  The last two rows stand for themselves: inside of a
transaction of theirs a get runs on their connection, beside their own `fetch_one` there.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

import databases
from contestants import Models, key, make_database

import orm

GETS = 2000
MARK_US = 0.3


class Beside(Models):
    """The models on any database."""

    def __init__(self, name: str, database: object, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name, database, loop)  # type: ignore[arg-type]
        self.connect()

    async def gets(self, n: int) -> None:
        Track = self.Track
        for i in range(n):
            await Track.objects.get(id=key(i))


async def timed(gets: Callable[[int], Awaitable[None]], n: int) -> float:
    """Microseconds per get."""
    gc.collect()
    began = time.perf_counter()
    await gets(n)
    return (time.perf_counter() - began) / n * 1e6


async def measure(
    ours: Beside, theirs: Beside, base: databases.Database, rounds: int
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}

    async def held(done: asyncio.Event) -> None:
        async with base.connection():
            await done.wait()

    async def fetch(n: int) -> None:
        for i in range(n):
            await base.fetch_one("SELECT * FROM track WHERE id = :id", {"id": key(i)})

    async def run(name: str, gets: Callable[[int], Awaitable[None]], n: int, keep: bool) -> None:
        took = await timed(gets, n)
        if keep:
            times.setdefault(name, []).append(took)

    for round_ in range(-1, rounds):  # round -1 warms up
        keep = round_ >= 0
        plain = [("orm.Database", ours.gets), ("databases.Database", theirs.gets)]
        for name, gets in plain if round_ % 2 else reversed(plain):
            await run(name, gets, GETS, keep)
        done = asyncio.Event()
        holder = asyncio.create_task(held(done))
        await asyncio.sleep(0.01)
        await run("while another task has a connection", theirs.gets, GETS, keep)
        done.set()
        await holder
        async with base.transaction():
            await run("inside of its transaction", theirs.gets, 200, keep)
            await run("its fetch_one there", fetch, 200, keep)
    return times


def report(times: dict[str, list[float]]) -> int:
    missed = 0
    reference = times["orm.Database"]
    for name, took in times.items():
        differences = sorted(a - b for a, b in zip(took, reference))
        verdict = ""
        if name in ("databases.Database", "while another task has a connection"):
            met = differences[0] <= MARK_US
            missed += not met
            verdict = f"≤ {MARK_US}" if met else f"> {MARK_US} !"
        print(
            f"{name:38} {statistics.median(took):8.2f} µs   {statistics.median(differences):+8.2f}"
            f" ({differences[0]:+.2f} … {differences[-1]:+.2f})  {verdict}"
        )
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments, _ = parser.parse_known_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "bench.db"
        make_database(path)
        database = orm.Database(f"sqlite:///{path}?shared_reads=off")
        ours = Beside("orm.Database", database, loop)
        base = databases.Database(f"sqlite:///{path}")
        theirs = Beside("databases.Database", base, loop)
        times = loop.run_until_complete(measure(ours, theirs, base, arguments.rounds))
        ours.close()
        theirs.close()
    loop.close()
    print(
        "get(id=…) through databases.Database, and the difference to orm.Database in the same run"
    )
    return 1 if report(times) else 0


if __name__ == "__main__":
    raise SystemExit(main())
