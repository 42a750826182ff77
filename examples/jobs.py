"""A queue of jobs that several tasks work on: transactions, every kind of field, errors."""

from __future__ import annotations

import asyncio
import datetime
import enum
import uuid

import orm

database = orm.Database("sqlite:///:memory:")
metadata = orm.MetaData()


class State(enum.Enum):
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class Job(orm.Model):
    __metadata__ = metadata
    __database__ = database
    __table_args__ = (orm.Index("state", "priority"), orm.CheckConstraint("attempts >= 0"))

    id = orm.UUID(primary_key=True, default=uuid.uuid4)
    name = orm.String(max_length=50, unique=True)
    state = orm.Enum(State, default=State.WAITING)
    priority = orm.SmallInteger(default=0)
    attempts = orm.Integer(default=0)
    arguments = orm.JSON(default=dict)
    made = orm.DateTime(auto_now_add=True, timezone=True)
    ended = orm.DateTime(allow_null=True, timezone=True)


@database.transaction()
async def take() -> Job | None:
    """The next job; nobody else gets the same one."""
    job = await Job.objects.filter(state=State.WAITING, attempts=0).order_by("-priority").first()
    if job is not None:
        await job.update(attempts=job.attempts + 1)
    return job


async def worker(name: str, finished: list[str]) -> None:
    while (job := await take()) is not None:
        job.state = State.FAILED if job.arguments.get("fail") else State.DONE
        job.ended = datetime.datetime.now(datetime.timezone.utc)
        await job.save()
        finished.append(job.name)


async def main() -> None:
    await orm.create_all(metadata, database)
    await Job.objects.bulk_create(
        {"name": f"job {number}", "priority": number % 3, "arguments": {"fail": number == 5}}
        for number in range(10)
    )
    try:
        await Job.objects.create(name="job 1")
    except orm.UniqueViolation as error:
        print(f"refused: {error.table}.{error.column} is taken")
    finished: list[str] = []
    await asyncio.gather(*(worker(f"worker {number}", finished) for number in range(3)))
    assert sorted(finished) == [f"job {number}" for number in range(10)]
    for state in State:
        print(state.value, await Job.objects.filter(state=state).count())
    await database.disconnect()


if __name__ == "__main__":
    asyncio.run(main())
