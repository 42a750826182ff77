"""What only servers do: statements that must end, connections that break, servers that go away."""

import asyncio
import importlib.util
import time
from pathlib import Path

import pytest

import orm
from orm import guide

spec = importlib.util.spec_from_file_location(
    "servers", Path(__file__).parents[1] / "servers/servers.py"
)
servers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(servers)


@pytest.fixture
def music(music):
    if music.kind == "sqlite":
        pytest.skip("about servers")
    return music


def sleep(world, seconds):
    name = "pg_sleep" if world.kind == "postgresql" else "sleep"
    return world.database.fetch_val(f"SELECT {name}({seconds})")


def terminate(world, database):
    """Ends every other connection of our user."""
    if world.kind == "postgresql":
        return database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    return kill_others(database)


async def kill_others(database):
    for (number,) in await database.fetch_all(
        "SELECT id FROM information_schema.processlist WHERE id <> connection_id()"
    ):
        try:
            await database.execute(f"KILL {number}")
        except orm.OperationalError:
            pass


async def test_cancelling_ends_the_statement_and_no_other(music):
    await music.fill()
    for n in range(30):
        task = asyncio.create_task(_await(sleep(music, 20)))
        await asyncio.sleep(0.002 * (n % 5))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        tracks = await asyncio.gather(*(music.Track.objects.get(pk=k) for k in range(1, 6)))
        assert [track.pk for track in tracks] == [1, 2, 3, 4, 5]


async def _await(operation):
    return await operation


async def test_a_timeout_ends_the_statement(music):
    began = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(_await(sleep(music, 20)), 0.2)
    assert time.monotonic() - began < 10
    assert await music.Track.objects.count() == 0


async def test_a_long_statement_does_not_hold_the_loop(music):
    beats = 0
    task = asyncio.create_task(_await(sleep(music, 1)))
    while not task.done():
        await asyncio.sleep(0.01)
        beats += 1
    assert beats >= 3


async def test_idle_connections_that_died_are_not_seen(music):
    await music.fill()
    other = orm.Database(music.url, max_size=1)
    for _ in range(3):
        await asyncio.gather(*(music.Track.objects.get(pk=1) for _ in range(20)))
        await terminate(music, other)
        await asyncio.sleep(0.1)
        assert await music.Track.objects.count() == 5
    await other.disconnect()


async def test_a_transaction_whose_connection_dies(music):
    other = orm.Database(music.url, max_size=1)
    with pytest.raises(orm.TransactionRolledBack):
        async with music.database.transaction():
            await music.Album.objects.create(name="a")
            await terminate(music, other)
            await asyncio.sleep(0.1)
            with pytest.raises((orm.ConnectionLost, orm.TransactionRolledBack)):
                await music.Album.objects.create(name="b")
    assert await music.Album.objects.count() == 0
    await other.disconnect()


async def test_an_exhausted_pool_says_who_holds_it(music):
    small = orm.Database(music.url, max_size=1, acquire_timeout=0.2)
    async with small.transaction(tasks="detach"):
        await small.fetch_val("SELECT 1")

        async def child():
            with pytest.raises(orm.PoolTimeout, match="1 of 1 are held, 1 of them by transactions"):
                await small.fetch_val("SELECT 1")

        await asyncio.create_task(child())
    assert await small.fetch_val("SELECT 1") == 1
    await small.disconnect()


# ---- servers that go away: each test has one of its own


@pytest.fixture(params=sorted(servers.KINDS))
def server(request):
    if request.config.getoption("--database") != request.param:
        pytest.skip(f"needs --database {request.param}")
    with servers.running(request.param) as server:  # what is acknowledged must survive
        yield server


def models(url, **options):
    database = orm.Database(url, **options)
    metadata = orm.MetaData()

    class Note(orm.Model):
        __metadata__ = metadata
        __database__ = database

        id = orm.Integer(primary_key=True)
        text = orm.String(max_length=100)

    return database, metadata, Note


async def test_a_server_that_is_killed_comes_back(server):
    database, metadata, note = models(server.url)
    await orm.create_all(metadata, database)
    acknowledged, failed = [], 0
    stop = asyncio.Event()

    async def write(name):
        nonlocal failed
        n = 0
        while not stop.is_set():
            n += 1
            try:
                made = await note.objects.create(text=f"{name} {n}")
                acknowledged.append((made.pk, made.text))
                found = await note.objects.get(pk=made.pk)
                assert found.text == made.text
            except orm.OperationalError:
                failed += 1
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(write(f"w{n}")) for n in range(8)]
    for _ in range(2):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start)
        began, before = time.monotonic(), len(acknowledged)
        while len(acknowledged) == before:
            assert time.monotonic() - began < 60
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.gather(*tasks)
    assert failed
    stored = {row.pk: row.text for row in await note.objects.all()}
    assert [pair for pair in acknowledged if stored.get(pair[0]) != pair[1]] == []
    await database.disconnect()


async def test_A8_a_server_that_falls_silent(server):
    database, metadata, note = models(server.url, query_timeout=0.5, max_size=2)
    await orm.create_all(metadata, database)
    await asyncio.gather(*(note.objects.count() for _ in range(4)))
    server.stop()
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(orm.OperationalError):
                await note.objects.count()
            assert time.monotonic() - began < 10
    finally:
        server.cont()
    began = time.monotonic()
    while True:
        try:
            assert await note.objects.count() == 0
            break
        except orm.OperationalError:
            assert time.monotonic() - began < 60
    await database.disconnect()


async def test_closing_does_not_wait_for_a_silent_server(server):
    database, metadata, _ = models(server.url)
    await orm.create_all(metadata, database)
    name = "pg_sleep" if server.name == "postgresql" else "sleep"
    tasks = [
        asyncio.create_task(_await(database.fetch_val(f"SELECT {name}(20)"))) for _ in range(3)
    ]
    await asyncio.sleep(0.2)
    server.stop()
    began = time.monotonic()
    await database.disconnect()
    assert time.monotonic() - began < 10
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, Exception) for result in results)
    server.cont()


async def test_the_guide_holds(world):
    if world.kind == "sqlite":
        pytest.skip("test_guide.py")
    pytest.importorskip("asyncpg" if world.kind == "postgresql" else "aiomysql")
    text = guide.default_path().read_text(encoding="utf-8")
    url = world.url.replace("mariadb://", "mysql://")  # what databases calls it
    assert await guide.run(guide.parse(text), None, url) == 7
