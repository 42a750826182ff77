"""A11, A12, C7, C18: servers and clients are killed while many tasks write and read.

    python -m tests.soak.outages --rounds 100 [--database mariadb]     # kills the server
    python -m tests.soak.outages --rounds 1000 --kill client           # kills clients
    python -m tests.soak.outages --rounds 1000 --kill connection       # cuts connections

A round lets a client work for a while, then kills the server (SIGKILL of all of it, and starts it
again on the same data), the client, or all connections between them.  The client is
tests/soak/client.py, a process of its own: its tasks create rows one by one and in transactions,
read them back and move money between accounts, and write down, before they act, what they are
about to do, and behind it what they were told.
Durability is the server's own (no --fast).

Afterwards the checker looks at the server directly:

  acknowledged   every row whose creation returned is there, once
  refused        no row whose creation raised with another outcome than "unknown" is there
  unknown        rows whose outcome was reported unknown, or whose writer was killed, may be there
  whole          of a transaction all rows are there, or none
  money          the accounts' sum is what it was
  foreign reads  no read returned another's row (the client looks, and writes it down)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orm
from tests.servers import servers
from tests.servers.faultproxy import FaultProxy
from tests.soak import ledger
from tests.soak.common import Budget, Outcome, new_seed, record, stop_on_term

CLIENT = "tests.soak.client"
PAUSES = {"server": 0.4, "client": 0.15, "connection": 0.05}  # s of work before a kill, at most
PATIENCE = 60  # s, until a client has been told the first success


class Log:
    """What the clients of this run have written down, one line each: op, number, what."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0
        self.rows: dict[str, str] = {}  # the last that was said of a row, by its text
        self.blocks: dict[str, list[str]] = {}  # texts of a transaction's rows
        self.foreign: list[str] = []
        self.counts: dict[str, int] = {}
        self.healed: list[float] = []

    def read(self) -> None:
        """What is new.  The last line of a client that was killed may be cut."""
        with self.path.open() as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith("\n"):
                    break
                self.offset += len(line.encode())
                self.take(json.loads(line))

    def take(self, entry: dict[str, Any]) -> None:
        said = entry["said"]
        self.counts[said] = self.counts.get(said, 0) + 1
        if said == "foreign":
            self.foreign.append(entry["what"])
        if len(entry.get("rows", ())) > 1:
            self.blocks[entry["rows"][0]] = entry["rows"]
        for row in entry.get("rows", ()):
            self.rows[row] = said


def check(log: Log, stored: dict[str, int], total: int, before: int) -> Iterator[str]:
    """What is wrong."""
    for row, said in log.rows.items():
        n = stored.get(row, 0)
        if said == "acknowledged" and n != 1:
            yield f"the acknowledged row {row!r} is there {n} times"
        if said == "refused" and n != 0:
            yield f"the refused row {row!r} is there"
        if n > 1:
            yield f"the row {row!r} is there {n} times"
    for rows in log.blocks.values():
        if len({stored.get(row, 0) for row in rows}) > 1:
            yield f"half of a transaction is there: {rows}"
    if total != before:
        yield f"the accounts hold {total}, not {before}"
    for row in stored:
        if row not in log.rows:
            yield f"the row {row!r} was never written"
    for what in log.foreign:
        yield f"a read returned another's row: {what}"


# ---- the tables, looked at directly


def models(database: orm.Database) -> tuple[orm.MetaData, Any, Any]:
    metadata = orm.MetaData()

    class Entry(orm.Model):
        __metadata__ = metadata
        __database__ = database
        __tablename__ = "outage_entry"

        id = orm.BigInteger(primary_key=True)
        text = orm.String(max_length=80, index=True)

    class Account(orm.Model):
        __metadata__ = metadata
        __database__ = database
        __tablename__ = "outage_account"

        id = orm.Integer(primary_key=True)
        balance = orm.Integer()

    return metadata, Entry, Account


ACCOUNTS, BALANCE = 8, 1000


async def prepare(url: str) -> None:
    database = orm.Database(url, max_size=1)
    metadata, _, account = models(database)
    await orm.drop_all(metadata, database)
    await orm.create_all(metadata, database)
    await account.objects.bulk_create([{"balance": BALANCE}] * ACCOUNTS)
    await database.disconnect()


async def look(url: str) -> tuple[dict[str, int], int]:
    """How often each text is stored, and what the accounts hold together."""
    database = orm.Database(url, max_size=1)
    _, entry, account = models(database)
    stored: dict[str, int] = {}
    began = time.monotonic()
    while True:
        try:
            for row in await entry.objects.all():
                stored[row.text] = stored.get(row.text, 0) + 1
            total = sum(row.balance for row in await account.objects.all())
            break
        except orm.OperationalError:
            stored.clear()
            if time.monotonic() - began > PATIENCE:
                raise
            await asyncio.sleep(0.1)
    await database.disconnect()
    return stored, total


# ---- rounds


class Client:
    def __init__(self, url: str, log: Log, name: str) -> None:
        self.log, self.errors = log, log.path.with_name("errors")
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", CLIENT, url, log.path, name],
                cwd=ledger.ROOT,
                stderr=errors,
            )

    def wait_for_success(self) -> float:
        """Until something new was acknowledged; how long that took, s."""
        before = self.log.counts.get("acknowledged", 0)
        began = time.monotonic()
        while self.log.counts.get("acknowledged", 0) == before:
            if self.process.poll() is not None or time.monotonic() - began > PATIENCE:
                self.end()
                raise AssertionError(f"the client does nothing: {self.errors.read_text()}")
            time.sleep(0.01)
            self.log.read()
        return time.monotonic() - began

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def run_on(server: servers.Server, victim: str = "server"):  # type: ignore[no-untyped-def]
    """The kind of run, for tests.soak.common.record, on a server that may be killed."""

    def run(outcome: Outcome, budget: Budget, chance: random.Random, folder: Path) -> None:
        log = Log(folder / "log")
        log.path.touch()
        asyncio.run(prepare(server.url))
        with FaultProxy(server.url) as proxy:
            work(server, proxy, victim, log, outcome, budget, chance)
        log.read()
        stored, total = asyncio.run(look(server.url))
        for text in check(log, stored, total, ACCOUNTS * BALANCE):
            outcome.find(f"outages {server.name}: {text}")
        said = list(log.rows.values())
        for word in ("acknowledged", "refused", "unknown", "begun"):
            outcome.counts[f"rows {word}"] += said.count(word)
        outcome.counts["transactions"] += len(log.blocks)
        outcome.counts["reads"] += log.counts.get("read", 0)

    return run


def work(
    server: servers.Server,
    proxy: FaultProxy,
    victim: str,
    log: Log,
    outcome: Outcome,
    budget: Budget,
    chance: random.Random,
) -> None:
    """The rounds."""
    url = proxy.url if victim == "connection" else server.url
    client = Client(url, log, "c0")
    try:
        for number in budget:
            seconds = round(client.wait_for_success(), 2)
            outcome.worst["healed after s"] = max(seconds, outcome.worst.get("healed after s", 0))
            time.sleep(chance.uniform(0, PAUSES[victim]))
            outcome.counts[f"{victim} kills"] += 1
            if victim == "connection":
                outcome.counts["connections cut"] += proxy.cut(chance.choice(["reset", "close"]))
            elif victim == "client":
                client.end()
                log.read()
                client = Client(url, log, f"c{number + 1}")
            else:
                server.kill()
                time.sleep(chance.uniform(0, 0.2))
                server.start()
        client.wait_for_success()
    finally:
        client.process.send_signal(signal.SIGTERM)
        try:
            client.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            client.end()


def main() -> int:
    parser = argparse.ArgumentParser(description="kills servers or clients under work")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--database", choices=sorted(servers.KINDS), default="postgresql")
    parser.add_argument("--kill", choices=sorted(PAUSES), default="server")
    parser.add_argument("--seed", type=int, default=new_seed())
    parser.add_argument("--no-ledger", action="store_true", help="add no line to the ledger")
    options = parser.parse_args()
    seconds = options.minutes * 60 if options.minutes is not None else None
    stop_on_term()
    try:
        with servers.running(options.database) as server:
            outcome = record(
                f"outages, {options.database}",
                run_on(server, options.kill),
                Budget(None if seconds else options.rounds, seconds),
                options.seed,
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
