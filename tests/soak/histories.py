"""C15: what many tasks were told and read, under faults, could have happened.

    python -m tests.soak.histories --rounds 100 --database postgresql [--level serializable]

A round is one history.  Two processes (tests/soak/histories_client.py) append to lists and read
them in transactions, move money between accounts and add it up, count and look at the counter,
while attempts are cancelled, connections cut (at rest, or behind some byte of an answer or a
request), sessions killed by the server, and clients killed with SIGKILL; in every tenth round of
the long form also the whole server, which is started again on its data.  Then the checker
(tests/soak/checker.py) judges all that was written down by the level that was declared:

    SQLite        serializable
    PostgreSQL    read committed, repeatable read (a snapshot), serializable
    MariaDB       read committed, repeatable read (judged like it: InnoDB loses updates there),
                  serializable, and "locks", which is repeatable read with FOR UPDATE

Controls, which must find something: --control broken has clients that read in one transaction and
write in another; --control weak works at read committed and is judged as serializable.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orm
from tests.servers import servers
from tests.servers.faultproxy import Fault, FaultProxy
from tests.soak import checker, ledger
from tests.soak.checker import Operation, Step, Transaction
from tests.soak.common import Budget, Outcome, new_seed, record, stop_on_term

CLIENT = "tests.soak.histories_client"
CLIENTS, KEYS, ACCOUNTS, BALANCE = 2, 6, 4, 100
PATIENCE = 60  # s, until a client has done something, or the server answers
SECONDS = 2.0  # of faults in a round
MOST = 16 << 20  # bytes of a journal, for the checker's sake


@dataclass(frozen=True)
class Level:
    isolation: str | None  # for transaction()
    judged: str  # by the checker
    rewrites: bool = False  # no update is lost: what was read may be written back
    snapshots: bool = False  # several reads of a transaction see one moment
    locks: bool = False  # reads with FOR UPDATE


LEVELS = {
    ("sqlite", "serializable"): Level(None, "serializable", True, True),
    ("postgresql", "read committed"): Level("read committed", "read committed"),
    ("postgresql", "repeatable read"): Level("repeatable read", "snapshot", True, True),
    ("postgresql", "serializable"): Level("serializable", "serializable", True, True),
    ("mariadb", "read committed"): Level("read committed", "read committed"),
    ("mariadb", "repeatable read"): Level(None, "read committed", snapshots=True),
    ("mariadb", "serializable"): Level("serializable", "serializable", True, True),
    ("mariadb", "locks"): Level(None, "serializable", snapshots=True, locks=True),
}


def levels_of(kind: str) -> list[str]:
    return [level for database, level in LEVELS if database == kind]


# ---- the tables


def models(database: orm.Database) -> tuple[orm.MetaData, Any, Any, Any]:
    metadata = orm.MetaData()

    class Base(orm.Model):
        __abstract__ = True
        __metadata__ = metadata
        __database__ = database

        id = orm.Integer(primary_key=True)

    class List(Base):
        __tablename__ = "history_list"

        items = orm.Text(allow_blank=True, trim_whitespace=False)

    class Account(Base):
        __tablename__ = "history_account"

        balance = orm.Integer()

    class Count(Base):
        __tablename__ = "history_counter"

        n = orm.Integer()

    return metadata, List, Account, Count


async def prepare(url: str) -> None:
    database = orm.Database(url, max_size=1)
    metadata, lists, account, counter = models(database)
    await orm.drop_all(metadata, database)
    await orm.create_all(metadata, database)
    await lists.objects.bulk_create([{"id": key, "items": ""} for key in range(1, KEYS + 1)])
    await account.objects.bulk_create(
        [{"id": pk, "balance": BALANCE} for pk in range(1, ACCOUNTS + 1)]
    )
    await counter.objects.create(id=1, n=0)
    await database.disconnect()


async def look(url: str) -> tuple[dict[int, list[str]], int, int]:
    """Lists, sum of the accounts and counter, as they are in the end."""
    database = orm.Database(url, max_size=1)
    _, lists, account, counter = models(database)
    final = {row.id: row.items.split() for row in await lists.objects.all()}
    total = sum(row.balance for row in await account.objects.all())
    count = (await counter.objects.get(pk=1)).n
    await database.disconnect()
    return final, total, count


SESSIONS = {  # of others
    "postgresql": "SELECT pid FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    "mariadb": "SELECT CAST(id AS SIGNED) FROM information_schema.processlist "
    "WHERE user = 'orm' AND id <> connection_id()",
}


async def end_sessions(url: str, kind: str, chance: random.Random) -> int:
    """The server ends about half of the sessions that it has."""
    database = orm.Database(url, max_size=1)
    ended = 0
    for row in await database.fetch_all(SESSIONS[kind]):
        if chance.random() < 0.5:
            continue
        text = "SELECT pg_terminate_backend({})" if kind == "postgresql" else "KILL {}"
        with contextlib.suppress(orm.DatabaseError):  # it is gone
            await database.execute(text.format(int(row[0])))
            ended += 1
    await database.disconnect()
    return ended


# ---- what the clients wrote down


class Log:
    """The journal of a round."""

    def __init__(self, path: Path) -> None:
        self.transactions: dict[str, Transaction] = {}
        self.steps: dict[str, Step] = {}
        self.sums: list[int] = []
        self.said: Counter[str] = Counter()
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # the last of a client that was killed may be cut
                self.take(json.loads(line))

    def take(self, entry: dict[str, Any]) -> None:
        said, what, name, at = (entry[key] for key in ("said", "what", "name", "at"))
        self.said[said] += 1
        begins = said == "begun"
        if what == "list" and begins:
            appends = [Operation("append", key, (value,)) for key, value in entry["appends"]]
            self.transactions[name] = Transaction(name, at, operations=appends)
        elif what in ("add", "count") and begins:
            self.steps[name] = Step(at)
            if what == "count":  # one that is not told a number is none
                self.steps[name].said = "refused"
        elif what == "list":
            one = self.transactions[name]
            one.said, one.ended = said, at
            if said == "acknowledged":
                one.operations = [
                    Operation(do, key, tuple(values)) for do, key, values in entry["found"]
                ]
        elif what == "add":
            self.steps[name].said, self.steps[name].ended = said, at
        elif what == "count" and said == "acknowledged":
            self.steps[name] = Step(self.steps[name].begun, at, said, entry["found"][0])
        elif what == "audit" and said == "acknowledged":
            self.sums.append(entry["found"][0])

    def judge(self, final: dict[int, list[str]], total: int, count: int, level: str) -> list[str]:
        """What is wrong."""
        found = list(checker.check(self.transactions.values(), final, level))
        found += checker.check_counter(list(self.steps.values()), count)
        for each in [*self.sums, total]:
            if each != ACCOUNTS * BALANCE:
                found.append(f"the accounts were seen to hold {each}, not {ACCOUNTS * BALANCE}")
        return found


# ---- a round


class Round:
    def __init__(
        self,
        url: str,
        level: str,
        folder: Path,
        chance: random.Random,
        control: str = "",
        seconds: float = SECONDS,
    ) -> None:
        self.url, self.kind, self.level = url, url.partition(":")[0], level
        self.path, self.errors = folder / "history", folder / "errors"
        self.chance, self.control, self.seed = chance, control, chance.randrange(1 << 32)
        self.seconds, self.counts = seconds, Counter[str]()
        self.clients: list[subprocess.Popen[bytes]] = []
        self.started = 0
        self.path.write_text("")

    def start(self, url: str) -> None:
        with self.errors.open("ab") as errors:
            self.clients.append(
                subprocess.Popen(
                    [sys.executable, "-m", CLIENT, url, self.path, f"c{self.started}", self.level]
                    + [str(self.seed)]
                    + (["broken"] if self.control == "broken" else []),
                    cwd=ledger.ROOT,
                    stderr=errors,
                )
            )
        self.started += 1

    def wait_for_work(self) -> None:
        """Until every client that was started has been told something."""
        began = time.monotonic()
        while True:
            told = {
                line.partition('"name": "')[2].partition(".")[0]
                for line in self.path.read_text().splitlines()
                if '"acknowledged"' in line
            }
            if len(told) >= self.started:
                return
            if time.monotonic() - began > PATIENCE or any(c.poll() for c in self.clients):
                raise AssertionError(f"a client does nothing: {self.errors.read_text()}")
            time.sleep(0.02)

    def run(self, proxy: FaultProxy | None, server: servers.Server | None = None) -> list[str]:
        """Everything that is wrong.  Without a proxy nothing is cut; with a server it is killed."""
        asyncio.run(prepare(self.url))
        url = proxy.url if proxy else self.url
        try:
            for _ in range(CLIENTS):
                self.start(url)
            self.wait_for_work()
            if self.control:
                time.sleep(self.seconds / 2)
            else:
                self.disturb(url, proxy, server)
        finally:
            self.end()
        return self.judge()

    def end(self) -> None:
        for client in self.clients:
            client.send_signal(signal.SIGTERM)
        for client in self.clients:
            try:
                client.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                client.kill()
                client.wait()
        self.clients.clear()

    def judge(self) -> list[str]:
        log, final = Log(self.path), asyncio.run(look(self.url))
        judged = "serializable" if self.control == "weak" else LEVELS[self.kind, self.level].judged
        self.counts.update({f"attempts {said}": n for said, n in log.said.items()})
        del self.counts["attempts begun"]
        self.counts["transactions on lists"] += len(log.transactions)
        errors = self.errors.read_text() if self.errors.exists() else ""
        return log.judge(*final, judged) + ([f"a client said: {errors}"] if errors else [])

    # ---- faults

    def disturb(self, url: str, proxy: FaultProxy | None, server: servers.Server | None) -> None:
        over = time.monotonic() + self.seconds
        kill_at = {self.chance.randrange(8)} if proxy else {2, self.chance.randrange(3, 8)}
        for n in range(1000):
            time.sleep(self.chance.uniform(0.03, 0.15))
            if time.monotonic() > over or self.path.stat().st_size > MOST:
                break
            if n in kill_at:
                self.kill_client(url)
            elif n == 5 and server:
                server.kill()
                server.start()
                self.counts["server kills"] += 1
            elif proxy:
                self.fault(proxy)

    def kill_client(self, url: str) -> None:
        client = self.clients.pop(0)
        client.kill()
        client.wait()
        self.counts["client kills"] += 1
        self.start(url)

    def fault(self, proxy: FaultProxy) -> None:
        how = self.chance.choice(["cut", "arm", "arm", "stall", "session"])
        if how == "cut":
            self.counts["connections cut"] += proxy.cut(self.chance.choice(["reset", "close"]))
        elif how == "arm":
            side = self.chance.choice(["server", "client"])
            self.counts["connections cut"] += proxy.open
            proxy.arm(
                Fault(side, self.chance.randrange(600), self.chance.choice(["reset", "close"]))
            )
        elif how == "stall":
            proxy.stall()
            time.sleep(0.05)
            proxy.flow()
            self.counts["stalls"] += 1
        else:
            with contextlib.suppress(orm.OperationalError):
                self.counts["sessions ended"] += asyncio.run(
                    end_sessions(self.url, self.kind, self.chance)
                )


@contextlib.contextmanager
def proxy_to(url: str) -> Iterator[FaultProxy | None]:
    if url.startswith("sqlite"):
        yield None
    else:
        with FaultProxy(url) as proxy:
            yield proxy


def run_on(
    url: str, level: str | None = None, server: servers.Server | None = None, control: str = ""
):  # type: ignore[no-untyped-def]
    """The kind of run, for tests.soak.common.record; a server that is given may be killed."""
    kind = url.partition(":")[0]
    levels = [level] if level else levels_of(kind)

    def run(outcome: Outcome, budget: Budget, chance: random.Random, folder: Path) -> None:
        for number in budget:
            at = levels[number % len(levels)]
            one = Round(url, at, folder, chance, control)
            with proxy_to(url) as proxy:
                found = one.run(proxy, server if number % 10 == 9 else None)
            outcome.counts["histories"] += 1
            outcome.counts.update(one.counts)
            for text in found[:5]:
                outcome.find(f"histories {kind}, {at}: {text}")
            if found and not control:
                outcome.find("its journal", one.path)

    return run


def main() -> int:
    parser = argparse.ArgumentParser(description="histories under faults, judged by their level")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--database", choices=["sqlite", *servers.KINDS], default="postgresql")
    parser.add_argument("--level", help="else all of the database in turn")
    parser.add_argument("--control", choices=["broken", "weak"], default="")
    parser.add_argument("--seed", type=int, default=new_seed())
    parser.add_argument("--no-ledger", action="store_true", help="add no line to the ledger")
    options = parser.parse_args()
    kind = options.database
    if options.level and (kind, options.level) not in LEVELS:
        parser.error(f"--level: {kind} has {', '.join(levels_of(kind))}")
    seconds = options.minutes * 60 if options.minutes is not None else None
    budget = Budget(None if seconds else options.rounds, seconds)
    name = f"histories, {kind}" + (f", control {options.control}" if options.control else "")
    stop_on_term()
    try:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url, server = f"sqlite:///{folder}/db.sqlite", None
            if kind != "sqlite":
                server = stack.enter_context(servers.running(kind))
                url = server.url
            run = run_on(url, options.level, server, options.control)
            keep = not (options.no_ledger or options.control)
            outcome = record(name, run, budget, options.seed, keep=keep)
    except servers.Unavailable as reason:
        print(f"{kind}: {reason}", file=sys.stderr)
        return servers.SKIPPED
    except KeyboardInterrupt:
        return 130
    if options.control:
        return 0 if outcome.findings else 1
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
