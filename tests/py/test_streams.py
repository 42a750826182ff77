"""Database.iterate(): rows one after another, on PostgreSQL from a cursor of the server's."""

import asyncio
import gc

import pytest

import orm
from orm import streams

ON_POSTGRESQL = "the others read at once"
MANY = 10 * streams.CHUNK + 7


@pytest.fixture
def numbers(world):
    """A table with MANY numbers, and the SQL that was sent since."""

    class Number(orm.Model):
        __metadata__ = world.metadata
        __database__ = world.database
        id = orm.Integer(primary_key=True)

    world.Number = Number
    return world


async def fill(world):
    await world.Number.objects.bulk_create([{"id": i} for i in range(MANY)])
    world.statements.clear()


def is_postgresql(world):
    return world.kind == "postgresql"


ALL = "SELECT id FROM number ORDER BY id"


async def test_every_row_once_and_in_order(numbers):
    await fill(numbers)
    database = numbers.database
    assert [row.id async for row in database.iterate(ALL)] == list(range(MANY))
    async with database.transaction():
        assert [row[0] async for row in database.iterate(ALL + ";\n")] == list(range(MANY))
    few = "SELECT id FROM number WHERE id < :most ORDER BY id"
    assert [row["id"] async for row in database.iterate(few, {"most": 2})] == [0, 1]
    assert [row async for row in database.iterate(few, {"most": -1})] == []
    with pytest.raises(orm.ProgrammingError):
        async for _row in database.iterate("SELECT nope FROM number"):
            pass


async def test_rows_are_read_some_at_a_time(numbers):
    if not is_postgresql(numbers):
        pytest.skip(ON_POSTGRESQL)
    await fill(numbers)
    rows = numbers.database.iterate(ALL)
    await rows.__anext__()
    for _ in range(20):  # the next rows may be on their way, but no more of them
        await asyncio.sleep(0.01)
    fetched = [sql for sql in numbers.statements if sql.startswith("FETCH")]
    assert 1 <= len(fetched) < MANY / streams.CHUNK
    await rows.aclose()


async def test_the_loop_over_the_rows_may_use_the_database(numbers):
    """What it writes is no part of the transaction of the cursor."""
    await fill(numbers)
    Number, database = numbers.Number, numbers.database
    async for row in database.iterate(ALL):
        if row.id < 3:
            await Number.objects.filter(id=row.id).delete()
            assert await Number.objects.filter(id=row.id).count() == 0
        if row.id == 5:
            break
    other = orm.Database(numbers.url)
    assert await other.fetch_val("SELECT count(*) FROM number") == MANY - 3
    await other.disconnect()


async def test_inside_of_a_transaction_the_rows_are_its_own(numbers):
    await fill(numbers)
    Number, database = numbers.Number, numbers.database
    async with database.transaction(force_rollback=True):
        await Number.objects.filter(id__gt=1).delete()
        seen = []
        async for row in database.iterate(ALL):
            seen.append(row.id)
            await Number.objects.filter(id=row.id).delete()
        assert seen == [0, 1]
        assert await Number.objects.count() == 0
        rows = database.iterate(ALL)
    await rows.aclose()
    assert await Number.objects.count() == MANY


@pytest.mark.parametrize("how", ["break", "error", "aclose", "cancel", "dropped"])
async def test_B12_an_abandoned_stream_leaves_a_clean_connection(numbers, how):
    await fill(numbers)
    database = numbers.database

    async def read():
        async for row in database.iterate(ALL):
            if row.id == streams.CHUNK + 3:
                if how == "error":
                    raise RuntimeError("enough")
                if how == "cancel":
                    await asyncio.sleep(3600)
                return

    task = asyncio.ensure_future(read())
    if how == "cancel":
        while not numbers.statements:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
    if how in ("aclose", "dropped"):
        rows = database.iterate(ALL)
        assert (await rows.__anext__()).id == 0
        if how == "aclose":
            await rows.aclose()
        del rows
        gc.collect()
    await asyncio.gather(task, return_exceptions=True)
    if not is_postgresql(numbers):
        return
    left = None
    for _ in range(500):
        left = await database.fetch_val(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"
        )
        if not left and len(asyncio.all_tasks()) == 1:
            break
        await asyncio.sleep(0.02)
    assert left == 0
    assert len(asyncio.all_tasks()) == 1
    assert await database.fetch_val("SELECT count(*) FROM pg_cursors WHERE name <> ''") == 0


async def test_streams_side_by_side(numbers):
    await fill(numbers)

    async def read():
        return [row.id async for row in numbers.database.iterate(ALL)]

    for found in await asyncio.gather(*[read() for _ in range(4)]):
        assert found == list(range(MANY))


async def test_what_may_write_is_read_at_once(numbers):
    await fill(numbers)
    if not is_postgresql(numbers):
        pytest.skip(ON_POSTGRESQL)
    database = numbers.database
    query = "WITH gone AS (DELETE FROM number WHERE id < 2 RETURNING id) SELECT id FROM gone"
    assert sorted([row.id async for row in database.iterate(query)]) == [0, 1]
    locked = ALL + " LIMIT 1 FOR UPDATE"
    assert [row.id async for row in database.iterate(locked)] == [2]
    assert [
        row.id async for row in database.iterate("DELETE FROM number WHERE id = 2 RETURNING id")
    ]
    assert await numbers.Number.objects.count() == MANY - 3


async def test_in_a_child_of_a_transaction_it_is_an_error_as_any_other(numbers):
    await fill(numbers)
    database = numbers.database

    async def read():
        return [row.id async for row in database.iterate(ALL)]

    async with database.transaction():
        with pytest.raises(orm.ConcurrentUse):
            await asyncio.create_task(read())
    async with database.transaction(tasks="join"):
        assert len(await asyncio.create_task(read())) == MANY
    async with database.transaction(tasks="detach", readonly=True):
        assert len(await asyncio.create_task(read())) == MANY


async def test_force_rollback_holds_for_a_stream(numbers):
    await fill(numbers)
    database = orm.Database(numbers.url, force_rollback=True)
    await database.execute("DELETE FROM number WHERE id > 9")
    assert len([row async for row in database.iterate(ALL)]) == 10
    await database.disconnect()
    assert await numbers.Number.objects.count() == MANY
