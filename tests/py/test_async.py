"""Operations as coroutines: how they start, end, are cancelled and warn; loops and threads."""

import asyncio
import collections.abc
import gc
import inspect
import time
import warnings

import pytest

import orm

LONG = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000) "
    "SELECT count(*) FROM n"
)
ENDLESS = LONG.replace("LIMIT 3000000", "")


async def ended(database):
    """Waits for the workers to notice that nobody wants their statement any more."""
    deadline = time.monotonic() + 30
    while database.stats()["operations"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def test_an_operation_is_a_coroutine(music):
    operation = music.Track.objects.all()
    assert isinstance(operation, collections.abc.Coroutine)
    assert isinstance(operation, collections.abc.Awaitable)
    assert inspect.isawaitable(operation)
    assert asyncio.iscoroutine(operation)
    assert await operation == []


@pytest.mark.loops
async def test_everything_that_takes_a_coroutine_takes_an_operation(music):
    await music.fill()
    tracks = music.Track.objects
    assert await asyncio.create_task(tracks.count()) == 5
    assert await asyncio.gather(tracks.count(), tracks.exists()) == [5, True]
    assert await asyncio.wait_for(tracks.count(), 5) == 5
    assert await asyncio.shield(tracks.count()) == 5
    done, _ = await asyncio.wait([asyncio.ensure_future(tracks.count())])
    assert [task.result() for task in done] == [5]
    if hasattr(asyncio, "TaskGroup"):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(tracks.get(pk=1))
        assert task.result().pk == 1
    if hasattr(asyncio, "timeout"):
        async with asyncio.timeout(5):
            assert await tracks.count() == 5


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_an_operation_is_the_main_of_a_loop(music, asyncio_run, kind):
    asyncio_run(orm.create_all(music.metadata, music.database), kind)
    assert asyncio_run(music.Track.objects.count(), kind) == 0


async def test_it_starts_when_it_is_awaited_and_not_before(music, nothing_sent):
    with nothing_sent(music):
        operation = music.Album.objects.create(name="a")
        await asyncio.sleep(0.01)
    await operation
    assert await music.Album.objects.count() == 1


async def test_an_operation_that_is_dropped_warns(music):
    with pytest.warns(RuntimeWarning, match="never awaited"):
        music.Track.objects.all()
        gc.collect()


async def test_closing_it_does_not_warn(music):
    operation = music.Track.objects.all()
    operation.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del operation
        gc.collect()


async def test_it_is_awaited_once(music):
    operation = music.Track.objects.count()
    assert await operation == 0
    with pytest.raises(RuntimeError, match="already"):
        await operation


async def test_a_ready_result_takes_no_turn_of_the_loop(music):
    """A short read is answered on the spot: nothing else runs in between."""
    await music.fill()
    await music.Track.objects.get(pk=1)
    turns = []
    handle = asyncio.get_running_loop().call_soon(turns.append, 1)
    await music.Track.objects.get(pk=1)
    assert turns == []
    handle.cancel()


async def test_many_ready_results_do_not_starve_the_loop(music):
    await music.fill()
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(tick())
    deadline = time.monotonic() + 30
    while ticks <= 5:
        assert time.monotonic() < deadline
        await music.Track.objects.get(pk=1)
    task.cancel()


@pytest.mark.loops
async def test_a_long_read_does_not_hold_the_loop(music):
    """Its work is another thread's, and this one goes round meanwhile.  In processor time: how
    long a turn takes by the clock is up to the machine."""
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    task = asyncio.create_task(beat())
    mine, all_threads = time.thread_time(), time.process_time()
    await music.database.fetch_val(music.slow(0.5))
    mine, all_threads = time.thread_time() - mine, time.process_time() - all_threads
    task.cancel()
    assert beats >= 3
    if music.kind == "sqlite":  # elsewhere the work is another process's
        assert mine < all_threads / 2


@pytest.mark.loops
async def test_cancelling_ends_the_statement(music):
    task = asyncio.create_task(_await(music.database.fetch_val(music.slow())))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await music.Track.objects.count() == 0
    await ended(music.database)


async def _await(operation):
    return await operation


@pytest.mark.loops
async def test_a_timeout_ends_the_statement(music):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(music.database.fetch_val(music.slow()), 0.1)
    assert await music.Track.objects.count() == 0
    await ended(music.database)


@pytest.mark.loops
async def test_B1_B4_cancelling_hits_only_its_own_statement(music):
    await music.fill()

    async def innocent():
        for _ in range(20):
            assert len(await music.Track.objects.order_by("id")) == 5

    async def ask():
        return await music.Track.objects.select_related("album").all()

    others = [asyncio.create_task(innocent()) for _ in range(3)]
    for turns in range(60):
        task = asyncio.create_task(ask())
        for _ in range(turns % 4):
            await asyncio.sleep(0)
        task.cancel()
        try:
            assert len(await task) == 5
        except asyncio.CancelledError:
            pass
    await asyncio.gather(*others)


@pytest.mark.loops
async def test_B5_cancelling_a_write_that_waits_for_the_writer(music):
    async with music.database.transaction(tasks="detach"):
        await music.Album.objects.create(name="inside")
    started = asyncio.Event()
    tasks = []

    async def outside(number):
        await started.wait()
        await music.Album.objects.create(name=str(number))

    tasks = [asyncio.create_task(outside(number)) for number in range(10)]
    async with music.database.transaction():
        await music.Album.objects.create(name="inside")
        started.set()
        await asyncio.sleep(0.02)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.sleep(0.01)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    found = {album.name for album in await music.Album.objects.all()}
    for number, result in enumerate(results):
        if isinstance(result, asyncio.CancelledError):
            assert number % 2 == 0
        else:
            assert str(number) in found


async def test_a_query_timeout(folder):
    database = orm.Database(f"sqlite:///{folder}/db.sqlite", query_timeout=0.1)
    with pytest.raises(orm.QueryTimeout) as caught:
        await database.fetch_val(ENDLESS)
    assert isinstance(caught.value, TimeoutError)
    assert await database.fetch_val("SELECT 1") == 1
    await database.disconnect()


async def test_an_acquire_timeout(folder):
    database = orm.Database(f"sqlite:///{folder}/db.sqlite", acquire_timeout=0.1)
    await database.execute("CREATE TABLE t (x)")
    started = asyncio.Event()

    async def outside():
        await started.wait()
        await database.execute("INSERT INTO t VALUES (1)")

    task = asyncio.create_task(outside())
    async with database.transaction():
        await database.execute("INSERT INTO t VALUES (2)")
        started.set()
        with pytest.raises(orm.PoolTimeout):
            await asyncio.wait_for(task, 60)
    assert await database.fetch_val("SELECT count(*) FROM t") == 1
    await database.disconnect()


async def test_B12_a_stream_that_is_left_early(people):
    await people.Person.objects.bulk_create([{"age": n} for n in range(5_000)])
    async for _ in people.Person.objects.order_by("id"):
        break
    with pytest.raises(RuntimeError):
        async for _ in people.Person.objects.order_by("id"):
            raise RuntimeError
    iterator = people.Person.objects.__aiter__()
    await iterator.__anext__()
    del iterator
    gc.collect()
    await people.Person.objects.create(age=1)
    assert await people.Person.objects.delete() == 5_001


async def test_a_stream_sees_writes_in_its_body_without_a_deadlock(people):
    await people.Person.objects.bulk_create([{"age": n} for n in range(3_000)])
    seen = 0
    async for person in people.Person.objects.order_by("id"):
        seen += 1
        if seen <= 3:
            await person.update(age=-1)
    assert seen == 3_000
    assert await people.Person.objects.filter(age=-1).count() == 3


async def test_connect_and_disconnect(world):
    assert world.database.is_connected is False
    await world.database.connect()
    assert world.database.is_connected is True
    await world.database.connect()
    await world.database.disconnect()
    assert world.database.is_connected is False
    async with world.database as database:
        assert database is world.database
        assert database.is_connected
    assert not world.database.is_connected


async def test_the_database_shows_what_it_is(world):
    assert world.database.dialect == world.kind
    assert str(world.database.url).startswith(f"{world.kind}://")
    assert world.kind in repr(world.database)


async def test_group_commit(music):
    """Writes of one turn from many tasks share a transaction and are each right."""
    before = music.database.stats()
    albums = await asyncio.gather(*(music.Album.objects.create(name=str(n)) for n in range(100)))
    assert len({album.pk for album in albums}) == 100
    for album in albums:
        assert (await music.Album.objects.get(pk=album.pk)).name == album.name
    after = music.database.stats()
    assert after["grouped"] - before["grouped"] >= 50


async def test_one_failure_in_a_group_harms_no_other(music):
    await music.Album.objects.create(id=1000, name="taken")
    results = await asyncio.gather(
        *(
            music.Album.objects.create(name=str(n), **({"id": 1000} if n % 10 == 3 else {}))
            for n in range(50)
        ),
        return_exceptions=True,
    )
    for number, result in enumerate(results):
        if number % 10 == 3:
            assert isinstance(result, orm.UniqueViolation)
        else:
            assert result.name == str(number)
    assert await music.Album.objects.count() == 46


async def test_shared_reads_see_writes_of_this_process_at_once(music):
    """By another engine of the process, by a blocking form, and by the same engine."""
    other = orm.Database(music.url)
    assert await music.Album.objects.count() == 0
    await other.execute("INSERT INTO album (name) VALUES ('a')")
    assert await music.Album.objects.count() == 1
    await music.Album.objects.create(name="b")
    assert await other.fetch_val("SELECT count(*) FROM album") == 2
    assert len(music.Album.objects) == 2
    await other.disconnect()


async def test_writers_outside_of_this_library_are_seen_after_a_millisecond(music):
    assert await music.Album.objects.count() == 0
    music.outside("INSERT INTO album (name) VALUES ('a')")
    await asyncio.sleep(0.002)
    assert await music.Album.objects.count() == 1


async def test_without_shared_reads_they_are_seen_at_once(folder):
    import sqlite3

    database = orm.Database(f"sqlite:///{folder}/db.sqlite", shared_reads=False)
    await database.execute("CREATE TABLE t (x)")
    other = sqlite3.connect(folder / "db.sqlite", isolation_level=None)
    for number in range(20):
        assert await database.fetch_val("SELECT count(*) FROM t") == number
        other.execute("INSERT INTO t VALUES (1)")
    other.close()
    await database.disconnect()
