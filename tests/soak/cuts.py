"""A5: a session, cut behind every byte of what the server says in it, and of what the client says.

    python -m tests.soak.cuts [--database mariadb]

Each time the session gives its whole result or an error, never a part of it; afterwards the rows
that it found are still there, and none of its own are left, as both of its writes stand in one
transaction.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path
from typing import Any

import orm
from tests.servers import servers
from tests.servers.faultproxy import Fault, FaultProxy
from tests.soak.common import Budget, Outcome, new_seed, record, stop_on_term

PATIENCE = 30  # s, for a session
TEXTS = ["a", "b" * 100, "c"]


def model(database: orm.Database, metadata: orm.MetaData) -> Any:
    class Cut(orm.Model):
        __metadata__ = metadata
        __database__ = database
        __tablename__ = "cut_entry"

        id = orm.Integer(primary_key=True)
        text = orm.String(max_length=100)

    return Cut


async def session(url: str) -> list[str]:
    """A connection's life: its answers of every kind."""
    database = orm.Database(url, max_size=1)
    try:
        entry = model(database, orm.MetaData())
        rows = await entry.objects.order_by("id").all()
        async with database.transaction():
            made = await entry.objects.create(text="mine")
            assert (await entry.objects.get(pk=made.pk)).text == "mine"
            await made.delete()
        return [row.text for row in rows] + [str(await entry.objects.count())]
    finally:
        await database.disconnect()


async def sweep(url: str, outcome: Outcome, budget: Budget) -> None:
    direct, metadata = orm.Database(url, max_size=1), orm.MetaData()
    entry = model(direct, metadata)
    await orm.drop_all(metadata, direct)
    await orm.create_all(metadata, direct)
    await entry.objects.bulk_create([{"text": text} for text in TEXTS])
    expected = [*TEXTS, str(len(TEXTS))]
    with FaultProxy(url) as proxy:
        assert await session(proxy.url) == expected
        await asyncio.sleep(0.1)  # its farewell has come
        sizes = dict(proxy.bytes)
        points = [(side, at) for side, size in sizes.items() for at in range(size)]
        for number in budget:
            if number >= len(points):
                break
            side, at = points[number]
            proxy.faults = [Fault(side, at, "close" if number % 2 else "reset")]
            try:
                found = await asyncio.wait_for(session(proxy.url), PATIENCE)
            except orm.Error:
                outcome.counts["errors"] += 1
            except asyncio.TimeoutError:
                outcome.find(f"cuts, {side} {at}: no end within {PATIENCE} s")
            else:
                outcome.counts["results"] += 1
                if found != expected:
                    outcome.find(f"cuts, {side} {at}: {found}")
            outcome.counts["positions"] += 1
        proxy.faults = []
        if await session(proxy.url) != expected:
            outcome.find("cuts: something is left behind")
    await direct.disconnect()


def run_on(url: str):  # type: ignore[no-untyped-def]
    """The kind of run, for tests.soak.common.record."""

    def run(outcome: Outcome, budget: Budget, chance: random.Random, folder: Path) -> None:
        asyncio.run(sweep(url, outcome, budget))

    return run


def main() -> int:
    parser = argparse.ArgumentParser(description="cuts a session behind every byte")
    parser.add_argument("--rounds", type=int, default=1 << 20, help="at most so many positions")
    parser.add_argument("--database", choices=sorted(servers.KINDS), default="postgresql")
    parser.add_argument("--no-ledger", action="store_true", help="add no line to the ledger")
    options = parser.parse_args()
    stop_on_term()
    try:
        with servers.running(options.database, fast=True) as server:
            outcome = record(
                f"cuts, {options.database}",
                run_on(server.url),
                Budget(options.rounds),
                new_seed(),
                keep=not options.no_ledger,
            )
    except servers.Unavailable as reason:
        print(f"{options.database}: {reason}", file=sys.stderr)
        return servers.SKIPPED
    except KeyboardInterrupt:
        return 130
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
