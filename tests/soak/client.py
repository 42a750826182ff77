"""The client of tests/soak/outages.py: works until it is told to end, or is killed.

    client.py URL LOG NAME

Each task writes a line before it acts ("begun"), and one when it was told how that ended.  A line
is one write() to a file opened for appending: what was written down is there though the process is
killed the moment after.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from typing import Any

import orm
from tests.soak.outages import ACCOUNTS, models

WRITERS, BLOCKS, MOVERS = 6, 3, 2


class Journal:
    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, said: str, rows: list[str] | None = None, **more: Any) -> None:
        line = {"said": said, **({"rows": rows} if rows else {}), **more}
        os.write(self.file, (json.dumps(line) + "\n").encode())


async def attempt(journal: Journal, rows: list[str], work: Any) -> None:
    journal.write("begun", rows)
    try:
        await work()
    except orm.Error as error:
        unknown = error.outcome == "unknown"
        journal.write("unknown" if unknown else "refused", rows, error=type(error).__name__)
        await asyncio.sleep(0.01)
    else:
        journal.write("acknowledged", rows)


async def main(url: str, path: str, name: str) -> None:
    journal, stop = Journal(path), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    database = orm.Database(url, max_size=6, query_timeout=5, acquire_timeout=5)
    _, entry, _ = models(database)
    values = ("$1", "$2") if url.startswith("postgresql") else ("?", "?")
    add = "UPDATE outage_account SET balance = balance + {} WHERE id = {}".format(*values)

    async def writer(number: int) -> None:
        n = 0
        while not stop.is_set():
            text = f"{name} w{number} {(n := n + 1)}"
            made: list[Any] = []

            async def create(text: str = text, made: list[Any] = made) -> None:
                made.append(await entry.objects.create(text=text))

            await attempt(journal, [text], create)
            if made and n % 10 == 0:
                await read(made[0].pk, text)

    async def read(pk: int, text: str) -> None:
        try:
            found = await entry.objects.get(pk=pk)
        except orm.NoMatch:
            journal.write("foreign", what=f"{text} is gone")
        except orm.OperationalError:
            pass
        else:
            if (found.pk, found.text) != (pk, text):
                journal.write("foreign", what=f"{found.text} instead of {text}")
            journal.write("read")

    async def block(number: int) -> None:
        n = 0
        while not stop.is_set():
            texts = [f"{name} b{number} {(n := n + 1)} {part}" for part in range(3)]

            async def create(texts: list[str] = texts) -> None:
                async with database.transaction():
                    for text in texts:
                        await entry.objects.create(text=text)

            await attempt(journal, texts, create)

    async def mover() -> None:
        @orm.retry()
        @database.transaction()
        async def move(source: int, target: int, amount: int) -> None:
            await database.execute(add, [-amount, source])
            await database.execute(add, [amount, target])

        while not stop.is_set():
            source, target = random.sample(range(1, ACCOUNTS + 1), 2)
            try:
                await move(source, target, random.randrange(10))
            except orm.Error:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.002)

    tasks = [writer(number) for number in range(WRITERS)]
    tasks += [block(number) for number in range(BLOCKS)]
    tasks += [mover() for _ in range(MOVERS)]
    await asyncio.gather(*tasks)
    await database.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
