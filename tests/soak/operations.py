"""J6: random operations for a long time; answers stay right, memory stays as it is.

    python -m tests.soak.operations --minutes 60 --seed 1

Four tasks share a database, each with rows of its own and a shadow of them in a dict, to which
every answer is compared.  Calls are cancelled at random; transactions are rolled back.  After a
quarter of the time (at most 10 minutes) memory is warm: from then on neither the resident size
nor the number of Python's objects may have a slope.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orm
from tests.soak.common import Budget, Outcome, main

TASKS = 4
CALLS_A_ROUND = 100
MOST_ROWS = 100
ALLOWED = 2 * 2**20  # bytes of growth that are noise in a short run
ALLOWED_AN_HOUR = 2**20
ALLOWED_OBJECTS = 200


def resident() -> int:
    """This process's own resident memory, bytes: without pages of files, which come and go with
    the machine's memory, and counted now (statm lags behind by pages for each processor)."""
    with open("/proc/self/smaps") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) * 1024


def growth(samples: Sequence[tuple[float, float]]) -> float:
    """What a straight line through (time, value) gains from the first sample to the last."""
    if len(samples) < 3:
        return 0.0
    times, numbers = zip(*samples)
    middle, mean = sum(times) / len(times), sum(numbers) / len(numbers)
    spread = sum((moment - middle) ** 2 for moment in times)
    slope = sum((moment - middle) * (number - mean) for moment, number in samples) / spread
    return slope * (times[-1] - times[0])


class RollBack(Exception):
    pass


class Worker:
    """One task: its rows in the database, and what they should be."""

    def __init__(self, model: Any, owner: int, chance: random.Random, outcome: Outcome) -> None:
        self.model, self.owner, self.chance, self.outcome = model, owner, chance, outcome
        self.shadow: dict[int, str] = {}
        self.mine = model.objects.filter(owner=owner)

    def name(self) -> str:
        return "n" * self.chance.choice([1, 20, 500]) + str(self.chance.randrange(20))

    def expect(self, answer: Any, right: Any) -> None:
        if answer != right:
            self.outcome.find(f"operations: {answer!r:.300} is not {right!r:.300}")

    async def stored(self) -> dict[int, str]:
        return {row.pk: row.name for row in await self.mine.all()}

    async def create(self) -> None:
        if len(self.shadow) >= MOST_ROWS:
            return await self.clear()
        row = await self.model.objects.create(owner=self.owner, name=self.name())
        self.shadow[row.pk] = row.name

    async def create_many(self) -> None:
        if len(self.shadow) >= MOST_ROWS:
            return await self.clear()
        names = [self.name() for _ in range(self.chance.randint(1, 20))]
        await self.model.objects.bulk_create([{"owner": self.owner, "name": n} for n in names])
        self.shadow = await self.stored()

    async def clear(self) -> None:
        await self.mine.delete()
        self.shadow = {}
        self.expect(await self.mine.count(), 0)

    async def read(self) -> None:
        self.expect(await self.stored(), self.shadow)

    async def look(self) -> None:
        key = self.chance.choice([*self.shadow, 0])
        try:
            self.expect((await self.mine.get(pk=key)).name, self.shadow.get(key))
        except orm.NoMatch:
            self.expect(None, self.shadow.get(key))

    async def count(self) -> None:
        digit = str(self.chance.randrange(10))
        right = sum(name.endswith(digit) for name in self.shadow.values())
        self.expect(await self.mine.filter(name__endswith=digit).count(), right)

    async def change(self) -> None:
        if not self.shadow:
            return
        key, name = self.chance.choice(list(self.shadow)), self.name()
        row = await self.mine.get(pk=key)
        await row.update(name=name)
        self.shadow[key] = name

    async def remove(self) -> None:
        if not self.shadow:
            return
        key = self.chance.choice(list(self.shadow))
        await self.mine.filter(pk=key).delete()
        del self.shadow[key]

    async def roll_back(self) -> None:
        try:
            async with self.model.__database__.transaction():
                await self.mine.update(name="never")
                await self.model.objects.create(owner=self.owner, name="never")
                raise RollBack
        except RollBack:
            await self.read()

    async def cancel(self) -> None:
        """Cancels a call.  A write that its group has begun still takes place; the next write comes
        after it, and then what there is can be read."""
        make = self.chance.choice([self.create, self.change, self.remove, self.read])
        task = asyncio.ensure_future(make())
        await asyncio.sleep(self.chance.choice([0, 0, 0.0002, 0.002]))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.mine.filter(pk=0).delete()
        self.shadow = await self.stored()

    async def work(self) -> None:
        kinds = [self.create, self.create_many, self.read, self.look, self.look, self.count]
        kinds += [self.change, self.remove, self.roll_back, self.cancel]
        for _ in range(CALLS_A_ROUND):
            await self.chance.choice(kinds)()


Sample = tuple[float, int, int]  # seconds, resident bytes, objects


async def operate(
    outcome: Outcome, budget: Budget, chance: random.Random, folder: Path, samples: list[Sample]
) -> None:
    """Runs the tasks, and adds samples once memory is warm."""
    database = orm.Database(f"sqlite:///{folder}/db.sqlite", synchronous="normal")
    metadata = orm.MetaData()

    class Thing(orm.Model):
        __metadata__ = metadata
        __database__ = database
        id = orm.Integer(primary_key=True)
        owner = orm.Integer(index=True)
        name = orm.Text()

    await orm.create_all(metadata, database)
    workers = [
        Worker(Thing, n, random.Random(chance.getrandbits(64)), outcome) for n in range(TASKS)
    ]

    def count(event: Any) -> None:
        outcome.counts["statements"] += 1

    database.on_statement(count)
    start = last = time.monotonic()
    for _ in budget:
        await asyncio.gather(*(worker.work() for worker in workers))
        outcome.counts["operations"] += TASKS * CALLS_A_ROUND
        now = time.monotonic()
        if now - last >= 0.5 and (budget.spent() >= 0.25 or now - start >= 600):
            last = now
            gc.collect()
            samples.append((now - start, resident(), len(gc.get_objects())))
    await database.disconnect()


def judge(outcome: Outcome, samples: Sequence[Sample]) -> None:
    """Whether memory has grown since it was warm."""
    if not samples:
        return
    hours = (samples[-1][0] - samples[0][0]) / 3600
    memory = growth([(moment, size) for moment, size, _ in samples])
    objects = growth([(moment, number) for moment, _, number in samples])
    outcome.worst.update({"growth KiB": round(memory / 1024), "growth objects": round(objects)})
    if memory > ALLOWED + ALLOWED_AN_HOUR * hours:
        outcome.find(f"operations: memory grew by {memory:.0f} bytes in {hours:.2f} h")
    if objects > ALLOWED_OBJECTS:
        outcome.find(f"operations: {objects:.0f} more objects after {hours:.2f} h")


def run(outcome: Outcome, budget: Budget, chance: random.Random, folder: Path) -> None:
    """Counts operations and the statements they sent."""
    samples: list[Sample] = []
    try:
        asyncio.run(operate(outcome, budget, chance, folder, samples))
    finally:
        judge(outcome, samples)


if __name__ == "__main__":
    sys.exit(main("operations", run, __doc__))
