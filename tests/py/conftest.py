"""What the Python tests share: an event loop for every async test, and small worlds of models.

An `async def test_…` runs on a fresh loop of its own; with the marker `loops` once on asyncio's
and once on uvloop's.  Every test starts in an empty folder.  A `World` is a database in that
folder with its models, whose tables are there when an async test begins.

`--database postgresql` (or mariadb) puts the worlds on that server, whose URL stands in
ORM_TEST_POSTGRESQL_URL (ORM_TEST_MARIADB_URL), and runs the tests that have a world:

    python tests/servers/servers.py all --fast -- pytest tests/py --database postgresql

Each world begins there with an empty database.  What is SQLite's own is skipped: the tests that
servers_skip.txt names, worlds with options of its driver, looks into the file with the standard
library.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

import orm
from tests.servers.faultproxy import FaultProxy

# CI asks the same questions every time; whoever runs the tests by hand asks new ones
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

SERVERS = {"postgresql": "ORM_TEST_POSTGRESQL_URL", "mariadb": "ORM_TEST_MARIADB_URL"}
SQLITE_OPTIONS = {"journal_mode", "synchronous", "shared_reads", "inline", "mode", "foreign_keys"}

# ---- loops -------------------------------------------------------------------------------------


def pytest_addoption(parser):
    parser.addoption("--database", choices=["sqlite", *SERVERS], default="sqlite")


def pytest_configure(config):
    config.addinivalue_line("markers", "loops: runs on asyncio's loop and on uvloop's")
    World.kind = os.environ["ORM_TEST_DATABASE"] = config.getoption("--database")
    if World.kind != "sqlite":
        # a blocking form always waits there; what it says is tested on its own
        config.addinivalue_line("filterwarnings", "ignore::orm.BlockingQueryWarning")
    if World.kind != "sqlite" and not os.environ.get(SERVERS[World.kind]):
        raise pytest.UsageError(f"--database {World.kind} needs {SERVERS[World.kind]}")


def is_pooled():
    """Whether the server stands behind a pooler (tests/servers/servers.py pgbouncer)."""
    return World.kind == "postgresql" and "prepare=off" in os.environ[SERVERS[World.kind]]


def read_skips(kind):
    """Reasons by test."""
    reasons = {}
    kinds = {"all", kind, "pgbouncer" if is_pooled() else kind}
    for line in (Path(__file__).parent / "servers_skip.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, where, reason = (part.strip() for part in line.split("|"))
            if where in kinds:
                reasons[name] = reason
    return reasons


def pytest_collection_modifyitems(config, items):
    if World.kind == "sqlite":
        return
    reasons = read_skips(World.kind)
    worlds = {"world", "music", "people", "server", "fault"}
    # what has a server of its own, or stands between it and us, is never behind a pooler
    others_own = {"server", "fault", "secure"} if is_pooled() else set()
    kept, others = [], []
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        has_world = fixtures & worlds and not fixtures & others_own
        (kept if has_world else others).append(item)
        name = f"{item.path.name}::{item.name}"
        places = (name, name.partition("[")[0], item.path.name)
        reason = next(filter(None, map(reasons.get, places)), None)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
    config.hook.pytest_deselected(items=others)
    items[:] = kept


def pytest_generate_tests(metafunc):
    if metafunc.definition.get_closest_marker("loops"):
        metafunc.fixturenames.append("loop_kind")
        metafunc.parametrize("loop_kind", ["asyncio", "uvloop"])


def new_loop(kind="asyncio"):
    if kind == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def run(main, kind="asyncio"):
    """asyncio.run on a loop of that kind."""
    loop = new_loop(kind)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names if name != "loop_kind"}
    worlds = [value for value in pyfuncitem.funcargs.values() if isinstance(value, World)]

    async def main():
        for world in worlds:
            await orm.create_all(world.metadata, world.database)
            world.watch()
        try:
            await pyfuncitem.obj(**arguments)
        finally:
            for world in worlds:
                await world.database.disconnect()

    parameters = pyfuncitem.callspec.params if hasattr(pyfuncitem, "callspec") else {}
    run(main(), parameters.get("loop_kind", "asyncio"))
    return True


@pytest.fixture
def asyncio_run():
    """asyncio.run for tests that need several loops: asyncio_run(coroutine, kind="asyncio")."""
    return run


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The test's own empty folder, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- worlds ------------------------------------------------------------------------------------


class World(SimpleNamespace):
    """A database, its metadata, its models by name, and the SQL it has been sent."""

    kind = "sqlite"

    def __init__(self, folder, **options):
        self.path = folder / "db.sqlite"
        self.url = f"sqlite:///{self.path}"
        if self.kind != "sqlite":
            if SQLITE_OPTIONS & set(options):
                pytest.skip("options of SQLite's driver")
            self.url = os.environ[SERVERS[self.kind]]
            asyncio.run(self.empty())
        self.database = orm.Database(self.url, **options)
        self.metadata = orm.MetaData()
        self.statements = []

    async def empty(self):
        """The server's database without anything in it."""
        database = orm.Database(self.url, max_size=1)
        if self.kind == "postgresql":
            statements = ["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"]
        else:
            name = self.url.rpartition("/")[2]
            statements = [f"DROP DATABASE {name}", f"CREATE DATABASE {name}"]
        for statement in statements:
            await database.execute(statement)
        await database.disconnect()

    def sql(self, text):
        """SQL with ? for its parameters, as this database writes them."""
        if self.kind != "postgresql":
            return text
        numbers = count(1)
        return re.sub(r"\?", lambda _: f"${next(numbers)}", text)

    @classmethod
    def keeps_nul(cls):
        """Whether a text may hold NUL characters."""
        return cls.kind != "postgresql"

    def watch(self):
        self.database.on_statement(lambda event: self.statements.append(event.sql))

    def base(self):
        """A fresh abstract base for models of this world."""
        world = self

        class Base(orm.Model):
            __abstract__ = True
            __metadata__ = world.metadata
            __database__ = world.database

        return Base

    def fields(self, **fields):
        """A new model `Thing` with an integer key and these fields."""
        body = {
            "__metadata__": self.metadata,
            "__database__": self.database,
            "id": orm.Integer(primary_key=True),
            **fields,
        }
        return type(orm.Model)("Thing", (orm.Model,), body)

    async def create(self):
        await orm.create_all(self.metadata, self.database)
        del self.statements[:]

    def outside(self, sql, *values):
        """The rows of a statement on somebody else's connection, committed."""
        if self.kind == "sqlite":
            return self.stdlib(sql, *values)

        async def ask():
            other = orm.Database(self.url, max_size=1)
            try:
                if sql.startswith(("SELECT", "SHOW")):
                    return [tuple(row) for row in await other.fetch_all(self.sql(sql), values)]
                await other.execute(self.sql(sql), values)
                return []
            finally:
                await other.disconnect()

        with ThreadPoolExecutor(1) as pool:  # a loop of its own: this one may be running
            return pool.submit(asyncio.run, ask()).result()

    def tables(self):
        """The names of the tables that are there."""
        listing = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1",
            "postgresql": "SELECT CAST(tablename AS TEXT) FROM pg_tables "
            "WHERE schemaname = 'public' ORDER BY 1",
            "mariadb": "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = database() ORDER BY 1",
        }
        return [name for (name,) in self.outside(listing[self.kind])]

    def slow(self, seconds=20):
        """SQL that runs for about so long, if nobody ends it."""
        if self.kind == "sqlite":
            return (
                "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c "
                f"WHERE x < {int(seconds * 6e6)}) SELECT count(*) FROM c"
            )
        return f"SELECT {'pg_sleep' if self.kind == 'postgresql' else 'sleep'}({seconds})"

    def stdlib(self, sql, *values):
        """The rows of a statement on a connection of the standard library, committed."""
        if self.kind != "sqlite":
            pytest.skip("looks into the file with the standard library")
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                return connection.execute(sql, values).fetchall()
        finally:
            connection.close()


@pytest.fixture
def world(folder):
    return World(folder)


@pytest.fixture
def music(folder):
    """Albums and tracks, as in the guide: Publisher <- Album <- Track; empty."""
    world = World(folder)
    base = world.base()

    class Publisher(base):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=100)

    class Album(base):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=100)
        publisher = orm.ForeignKey(Publisher, allow_null=True)

    class Track(base):
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey(Album, on_delete=orm.CASCADE)
        title = orm.String(max_length=100)
        position = orm.Integer()

    world.Publisher, world.Album, world.Track = Publisher, Album, Track

    async def fill():
        """The guide's rows, and two publishers."""
        world.obe = await Publisher.objects.create(name="OBE")
        world.last_gang = await Publisher.objects.create(name="Last Gang")
        world.malibu = await Album.objects.create(name="Malibu", publisher=world.obe)
        world.fantasies = await Album.objects.create(name="Fantasies", publisher=world.last_gang)
        world.loose = await Album.objects.create(name="Loose")
        for album, position, title in (
            (world.malibu, 1, "The Bird"),
            (world.malibu, 2, "Heart don't stand a chance"),
            (world.malibu, 3, "The Waters"),
            (world.fantasies, 1, "Help I'm Alive"),
            (world.fantasies, 2, "Sick Muse"),
        ):
            await Track.objects.create(album=album, title=title, position=position)
        del world.statements[:]

    world.fill = fill
    return world


@pytest.fixture
def people(folder):
    """One flat model, with a name that may be NULL."""
    world = World(folder)

    class Person(world.base()):
        id = orm.Integer(primary_key=True)
        name = orm.Text(allow_null=True, allow_blank=True, trim_whitespace=False)
        age = orm.Integer(allow_null=True)

    world.Person = Person
    return world


@pytest.fixture
def nothing_sent():
    """`with nothing_sent(world):` fails when a statement was sent inside."""
    from contextlib import contextmanager

    @contextmanager
    def watch(world):
        before = len(world.statements)
        yield
        assert world.statements[before:] == []

    return watch


# ---- faults ------------------------------------------------------------------------------------


class Faulty(SimpleNamespace):
    """A model Note that is reached directly, and by notes() through a proxy that misbehaves."""

    @asynccontextmanager
    async def notes(self, **options):
        """Database and model behind the proxy, disconnected at the end."""
        database = orm.Database(self.proxy.url, **options)

        class Note(orm.Model):
            __metadata__ = orm.MetaData()
            __database__ = database

            id = orm.Integer(primary_key=True)
            text = orm.String(max_length=100)

        try:
            yield database, Note
        finally:
            await database.disconnect()


@pytest.fixture
def fault(world):
    if world.kind == "sqlite":
        pytest.skip("about servers")

    class Note(world.base()):
        id = orm.Integer(primary_key=True)
        text = orm.String(max_length=100)

    with FaultProxy(world.url) as proxy:
        yield Faulty(world=world, proxy=proxy, kind=world.kind, Note=Note)
