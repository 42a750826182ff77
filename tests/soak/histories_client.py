"""The client of tests/soak/histories.py: works until it is told to end, or is killed.

    histories_client.py URL LOG NAME LEVEL SEED [BROKEN]

Each attempt is a line before it ("begun", with what it is about to append) and one behind it, with
what it was told and what it read.  Times are CLOCK_MONOTONIC, the same for all processes.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orm
from tests.soak.client import Journal
from tests.soak.histories import ACCOUNTS, KEYS, LEVELS, models

LISTS, MOVERS, AUDITORS, COUNTERS = 5, 1, 1, 2  # tasks of each kind
CANCELLED = 0.04  # of the attempts
Work = Callable[[], Awaitable[list[Any]]]


class Client:
    def __init__(self, url: str, path: str, name: str, level: str, seed: int, broken: bool) -> None:
        self.kind = url.partition(":")[0]
        self.name, self.level, self.broken = name, LEVELS[self.kind, level], broken
        self.journal, self.chance = Journal(path), random.Random(f"{seed} {name}")
        self.stop = asyncio.Event()
        self.database = orm.Database(url, max_size=6, query_timeout=5, acquire_timeout=5)
        _, self.list, self.account, self.counter = models(self.database)

    def sql(self, text: str) -> str:
        """With parameters as this database writes them."""
        if self.kind == "postgresql":
            text = text.replace("?", "$1", 1).replace("?", "$2", 1)
        return text

    def block(self) -> Any:
        return self.database.transaction(isolation=self.level.isolation)

    # ---- attempts

    async def attempt(self, what: str, name: str, appends: list[Any], work: Work) -> None:
        """One line before, one behind; a few are cancelled at some moment."""
        begun = time.monotonic()
        self.journal.write("begun", what=what, name=name, at=begun, appends=appends)
        task = asyncio.ensure_future(work())
        if self.chance.random() < CANCELLED and not self.broken:
            asyncio.get_running_loop().call_later(self.chance.uniform(0, 0.004), task.cancel)
        found: list[Any] = []
        try:
            found = await task
            said = "acknowledged"
        except asyncio.CancelledError:
            said = "unknown"
        except orm.Error as error:
            said = "unknown" if error.outcome == "unknown" else "refused"
            if error.is_disconnect:
                await asyncio.sleep(0.01)
        self.journal.write(said, what=what, name=name, at=time.monotonic(), found=found)

    # ---- lists

    async def lists(self, number: int) -> None:
        """Transactions of one to four operations.  What is written is in the order of its keys, so
        that two of them seldom wait for each other."""
        n = 0
        while not self.stop.is_set():
            name, plan = f"{self.name}.{number}.{(n := n + 1)}", []
            for part, key in enumerate(
                sorted(self.chance.randint(1, KEYS) for _ in range(self.chance.randint(1, 4)))
            ):
                append = self.chance.random() < 0.5
                plan.append((key, f"{name}.{part}" if append else None))
            appends = [[key, value] for key, value in plan if value]
            make = self.rewrite_alone if self.broken else self.transact
            await self.attempt("list", name, appends, partial(make, plan))
            await asyncio.sleep(0)

    async def transact(self, plan: list[tuple[int, str | None]]) -> list[Any]:
        done: list[Any] = []
        async with self.block():
            for key, value in plan:
                if value is None:
                    done.append(["read", key, await self.read(key)])
                elif self.level.rewrites and self.chance.random() < 0.5:
                    await self.rewrite(key, value, done)
                else:
                    await self.append(key, value)
                    done.append(["append", key, [value]])
        return done

    async def read(self, key: int) -> list[str]:
        if self.level.locks:
            text = self.sql("SELECT items FROM history_list WHERE id = ? FOR UPDATE")
            return str(await self.database.fetch_val(text, [key])).split()
        return list((await self.list.objects.get(pk=key)).items.split())

    async def append(self, key: int, value: str) -> None:
        joined = "concat(items, ?)" if self.kind == "mariadb" else "items || ?"
        text = f"UPDATE history_list SET items = {joined} WHERE id = ?"
        await self.database.execute(self.sql(text), [f" {value}", key])

    async def rewrite(self, key: int, value: str, done: list[Any]) -> None:
        """Reads, and writes what was read with the value behind it: where the level allows no lost
        update, that is an append."""
        row = await self.list.objects.get(pk=key)
        done.append(["read", key, row.items.split()])
        await row.update(items=f"{row.items} {value}")
        done.append(["append", key, [value]])

    async def rewrite_alone(self, plan: list[tuple[int, str | None]]) -> list[Any]:
        """The broken client of the control: reads and writes in transactions of their own."""
        done: list[Any] = []
        for key, value in plan:
            row = await self.list.objects.get(pk=key)
            if value is None:
                done.append(["read", key, row.items.split()])
                continue
            await asyncio.sleep(0.001)
            await row.update(items=f"{row.items} {value}")
            done.append(["append", key, [value]])
        return done

    # ---- money

    async def movers(self, number: int) -> None:
        text = self.sql("UPDATE history_account SET balance = balance + ? WHERE id = ?")
        n = 0

        async def move() -> list[Any]:
            source, target = sorted(self.chance.sample(range(1, ACCOUNTS + 1), 2))
            amount = self.chance.randint(-9, 9)
            async with self.block():
                if self.level.rewrites:
                    for pk, more in ((source, -amount), (target, amount)):
                        row = await self.account.objects.get(pk=pk)
                        await row.update(balance=row.balance + more)
                else:
                    await self.database.execute(text, [-amount, source])
                    await self.database.execute(text, [amount, target])
            return []

        while not self.stop.is_set():
            await self.attempt("move", f"{self.name}.m{number}.{(n := n + 1)}", [], move)
            await asyncio.sleep(0.002)

    async def auditors(self, number: int) -> None:
        """One statement sees one moment at every level; several do from snapshots on."""
        n = 0

        async def together() -> list[Any]:
            return [sum(row.balance for row in await self.account.objects.all())]

        async def one_by_one() -> list[Any]:
            async with self.block():
                accounts = [await self.account.objects.get(pk=pk) for pk in range(1, ACCOUNTS + 1)]
            return [sum(row.balance for row in accounts)]

        while not self.stop.is_set():
            work = one_by_one if self.level.snapshots and n % 2 else together
            await self.attempt("audit", f"{self.name}.a{number}.{(n := n + 1)}", [], work)
            await asyncio.sleep(0.005)

    # ---- a counter

    async def counters(self, number: int) -> None:
        add_one = "UPDATE history_counter SET n = n + 1 WHERE id = 1"
        n = 0

        async def add() -> list[Any]:
            await self.database.execute(add_one)
            return []

        async def read() -> list[Any]:
            return [(await self.counter.objects.get(pk=1)).n]

        while not self.stop.is_set():
            what, work = ("count", read) if n % 4 == 0 else ("add", add)
            await self.attempt(what, f"{self.name}.n{number}.{(n := n + 1)}", [], work)
            await asyncio.sleep(0.001)

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop.set)
        kinds = ((self.lists, LISTS), (self.movers, MOVERS))
        kinds += ((self.auditors, AUDITORS), (self.counters, COUNTERS))
        await asyncio.gather(*(task(number) for task, many in kinds for number in range(many)))
        await self.database.disconnect()


async def main(url: str, path: str, name: str, level: str, seed: str, *broken: str) -> None:
    await Client(url, path, name, level, int(seed), bool(broken)).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
