"""Models on a databases.Database: inside of its transactions and connections they are on them.

What is true is asked of a third party, an orm.Database on the same URL: it sees what is committed.
"""

import asyncio
import gc
import os
import sqlite3
import weakref
from contextlib import aclosing

import pytest

import orm

databases = pytest.importorskip("databases")


class Theirs:
    """Models on a databases.Database, and a database of our own that looks on."""

    def __init__(self, world):
        self.world = world
        self.aside = world.database
        self.url = world.url.replace("mariadb://", "mysql://")

    def open(self, url=None, **options):
        self.database = databases.Database(url or self.url, **options)
        self.metadata = orm.MetaData()
        there = self

        class Thing(orm.Model):
            __metadata__ = there.metadata
            __database__ = there.database
            id = orm.Integer(primary_key=True)
            name = orm.String(max_length=50, unique=True)
            size = orm.Integer(default=0)

        self.Thing = Thing
        return self.database

    async def create(self):
        await orm.create_all(self.metadata, self.aside)

    async def committed(self):
        rows = await self.aside.fetch_all("SELECT name FROM thing ORDER BY name")
        return [name for (name,) in rows]


KIND = os.environ.get("ORM_TEST_DATABASE", "sqlite")
DRIVERS = {
    "sqlite": ["aiosqlite"],
    "postgresql": ["asyncpg"],
    "mariadb": ["aiomysql", "asyncmy"],
}


@pytest.fixture(params=DRIVERS[KIND])
def theirs(world, request):
    """One for each driver that `databases` has for the kind."""
    pytest.importorskip(request.param)
    self = Theirs(world)
    if request.param == "asyncmy":
        self.url = self.url.replace("mysql://", "mysql+asyncmy://")
    self.open()
    return self


class Undo(Exception):
    pass


# ---- transactions ------------------------------------------------------------------------------


async def test_a_transaction_that_is_rolled_back_takes_our_writes_with_it(theirs):
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database:
        with pytest.raises(Undo):
            async with database.transaction():
                await Thing.objects.create(name="a")
                await Thing.objects.bulk_create([{"name": "b"}, {"name": "c"}])
                await Thing.objects.get_or_create(name="d")
                await Thing.objects.update_or_create({"size": 3}, name="e")
                assert await Thing.objects.count() == 5
                assert await theirs.committed() == []
                raise Undo
        assert await Thing.objects.count() == 0
        assert await theirs.committed() == []


async def test_without_routes_it_would_not(theirs):
    """The negative control of the test above: what is asked there can be answered otherwise."""
    from orm.database import database_of

    Thing = theirs.Thing
    await theirs.create()
    database_of(theirs.database)._set_routes(lambda: None, {}, (), {})
    async with theirs.database as database:
        with pytest.raises(Undo):
            async with database.transaction():
                await Thing.objects.create(name="a")
                assert await theirs.committed() == ["a"]
                raise Undo
        assert await theirs.committed() == ["a"]


async def test_a_transaction_that_is_committed_keeps_them(theirs):
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database:
        async with database.transaction():
            await Thing.objects.create(name="a")
        await Thing.objects.create(name="b")
        assert await theirs.committed() == ["a", "b"]


async def test_their_statements_and_ours_see_each_other(theirs):
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database:
        transaction = await database.transaction()
        await database.execute("INSERT INTO thing (name, size) VALUES ('theirs', 1)")
        assert await Thing.objects.get(name="theirs")
        await Thing.objects.create(name="ours")
        rows = await database.fetch_all("SELECT name FROM thing ORDER BY name")
        assert [row["name"] for row in rows] == ["ours", "theirs"]
        await transaction.rollback()
        assert await theirs.committed() == []


async def test_a_nested_transaction_is_a_savepoint(theirs):
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database, database.transaction():
        await Thing.objects.create(name="kept")
        with pytest.raises(Undo):
            async with database.transaction():
                await Thing.objects.create(name="gone")
                raise Undo
        assert [thing.name for thing in await Thing.objects.all()] == ["kept"]


async def test_a_decorated_function(theirs):
    Thing = theirs.Thing
    await theirs.create()

    @theirs.database.transaction()
    async def fill():
        await Thing.objects.create(name="a")
        raise Undo

    async with theirs.database:
        with pytest.raises(Undo):
            await fill()
        assert await theirs.committed() == []


async def test_several_statements_that_fail_leave_their_transaction_usable(theirs):
    """Operations of more than one statement are a savepoint inside of it."""
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database, database.transaction():
        await Thing.objects.create(name="a")
        with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
            await Thing.objects.bulk_create([{"name": "b"}, {"name": "a"}])
        assert [thing.name for thing in await Thing.objects.all()] == ["a"]


async def test_a_held_connection(theirs):
    """Without a transaction: what is written on it is committed, session state is seen."""
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database, database.connection() as connection:
        await connection.execute("CREATE TEMPORARY TABLE scratch (id INTEGER)")
        await Thing.objects.create(name="a")
        rows = await Thing.objects.raw("SELECT id, name FROM thing WHERE name <> 'x'")
        assert [thing.name for thing in rows] == ["a"]
        found = await Thing.objects.raw(
            "SELECT id FROM thing WHERE id NOT IN (SELECT id FROM scratch)"
        )
        assert len(found) == 1
    assert await theirs.committed() == ["a"]


async def test_every_kind_of_value(theirs):
    """What is written on one side reads equal on the other."""
    import datetime
    import decimal
    import enum
    import ipaddress
    import uuid

    class Colour(enum.Enum):
        RED = 1

    class All(orm.Model):
        __metadata__ = theirs.metadata
        __database__ = theirs.database
        id = orm.Integer(primary_key=True)
        big = orm.BigInteger()
        yes = orm.Boolean()
        day = orm.Date()
        at = orm.DateTime()
        utc = orm.DateTime(timezone=True)
        price = orm.Decimal(max_digits=20, decimal_places=4)
        colour = orm.Enum(Colour)
        ratio = orm.Float()
        ip = orm.IPAddress()
        data = orm.JSON()
        text = orm.Text()
        time = orm.Time()
        key = orm.UUID()
        blob = orm.Binary()
        span = orm.Interval()
        nothing = orm.Integer(allow_null=True)

    values = {
        "big": 2**62,
        "yes": True,
        "day": datetime.date(2020, 2, 29),
        "at": datetime.datetime(2020, 2, 29, 12, 30, 1, 123456),
        "utc": datetime.datetime(2020, 2, 29, 12, 30, 1, 5, datetime.timezone.utc),
        "price": decimal.Decimal("1234567890123456.7890"),
        "colour": Colour.RED,
        "ratio": 0.1,
        "ip": ipaddress.ip_address("10.1.2.3"),
        "data": {"a": [1, "%s ? $1", None]},
        "text": '50% of ? it\'s \\ "ü" $1 :name 😀',
        "time": datetime.time(23, 59, 59, 999999),
        "key": uuid.uuid4(),
        "blob": bytes(range(256)),
        "span": datetime.timedelta(days=-3, microseconds=7),
        "nothing": None,
    }
    await theirs.create()
    async with theirs.database as database:
        async with database.transaction():
            inside = await All.objects.create(**values)
            assert orm.asdict(await All.objects.get()) == {"id": inside.id, **values}
            for name, value in values.items():
                if name != "data":
                    assert await All.objects.filter(**{name: value}).count() == 1, name
            for lookup in ("icontains", "contains", "endswith"):
                assert await All.objects.filter(**{f"text__{lookup}": "😀"}).exists()
            assert await All.objects.filter(big__in=[1, 2**62], text__in=["x"]).count() == 0
            assert await All.objects.filter(big__in=[1, 2**62]).count() == 1
            assert await All.objects.filter(text__in=[values["text"], "x"]).count() == 1
            assert await All.objects.filter(price__gt="1.5", at__year=2020).count() == 1
        outside = await All.objects.create(**values)
        assert orm.asdict(await All.objects.get(id=inside.id)) == {"id": inside.id, **values}
        async with database.transaction():
            assert orm.asdict(await All.objects.get(id=outside.id)) == {"id": outside.id, **values}


async def test_rows_that_an_update_finds_unchanged_count(theirs):
    """MariaDB's clients count changed rows."""
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database, database.transaction():
        thing = await Thing.objects.create(name="a")
        assert await Thing.objects.filter(name="a").update(size=0) == 1
        await thing.update(size=0)
        thing.size = 0
        await thing.save()
        assert await Thing.objects.filter(name="b").update(size=0) == 0


async def test_generated_keys(theirs):
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database, database.transaction():
        made = [await Thing.objects.create(name="a")]
        made += await Thing.objects.bulk_create([{"name": name} for name in "bcdef"])
        assert {thing.pk: thing.name for thing in made} == {
            thing.pk: thing.name for thing in await Thing.objects.all()
        }


# ---- tasks -------------------------------------------------------------------------------------


async def test_in_gather_each_task_is_where_databases_says(theirs):
    """A task that `databases` gives a connection of its own is outside (0.8 and later)."""
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database, database.transaction(force_rollback=True):
        await Thing.objects.create(name="a")
        count = "SELECT count(*) FROM thing"
        here = await database.fetch_val(count)
        there = await asyncio.gather(database.fetch_val(count), database.fetch_val(count))
        assert here == await Thing.objects.count() == 1
        assert await asyncio.gather(Thing.objects.count(), Thing.objects.count()) == there

        async def look():
            return await Thing.objects.count(), await database.fetch_val(count)

        ours, expected = await asyncio.create_task(look())
        assert ours == expected


async def test_tasks_with_transactions_of_their_own(theirs):
    Thing = theirs.Thing
    await theirs.create()
    turn = asyncio.Event()
    seen = []

    async def writer(database):
        async with database.transaction(force_rollback=True):
            await Thing.objects.create(name="w")
            seen.append(await Thing.objects.count())
            turn.set()
            await asyncio.sleep(0)
        seen.append(await Thing.objects.count())

    async def reader(database):
        await turn.wait()
        async with database.connection():
            seen.append(("reader", await Thing.objects.count()))

    async with theirs.database as database:
        await asyncio.gather(writer(database), reader(database))
    assert sorted(map(str, seen)) == ["('reader', 0)", "0", "1"]


async def test_an_operation_that_is_cancelled_leaves_the_connection_usable(theirs):
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database, database.transaction():
        await Thing.objects.create(name="a")
        if theirs.world.kind == "postgresql":
            with pytest.raises(Undo):
                async with database.transaction():
                    task = asyncio.current_task()
                    asyncio.get_running_loop().call_later(0.05, task.cancel)
                    with pytest.raises(asyncio.CancelledError):
                        await Thing.objects.raw("SELECT id FROM thing, pg_sleep(600)")
                    if hasattr(task, "uncancel"):
                        task.uncancel()
                    raise Undo  # its rollback is the next on the connection, at once
        else:
            operation = Thing.objects.count()
            operation.send(None)
            operation.close()
        assert await Thing.objects.count() == 1


async def test_tasks_that_share_a_connection_take_turns(theirs):
    Thing = theirs.Thing
    await theirs.create()
    theirs.open(force_rollback=True)
    Thing = theirs.Thing
    async with theirs.database:
        made = await asyncio.gather(
            *(Thing.objects.create(name=f"{i}") for i in range(20)),
            *(Thing.objects.get_or_create(name=f"{i % 3} again") for i in range(20)),
        )
        assert len(made) == 40
        assert await Thing.objects.count() == 23
    assert await theirs.committed() == []


# ---- force_rollback ----------------------------------------------------------------------------


async def test_force_rollback_isolates_test_from_test(theirs):
    await theirs.create()
    theirs.open(force_rollback=True)
    Thing = theirs.Thing
    for _ in range(3):
        async with theirs.database:
            assert await Thing.objects.count() == 0
            await Thing.objects.create(name="a")
            await asyncio.gather(Thing.objects.create(name="b"), Thing.objects.create(name="c"))
            assert await Thing.objects.count() == 3
            assert await theirs.committed() == []
    assert await theirs.committed() == []


async def test_force_rollback_as_a_block(theirs):
    Thing = theirs.Thing
    await theirs.create()
    with theirs.database.force_rollback():
        async with theirs.database:
            await Thing.objects.create(name="a")
            assert await Thing.objects.count() == 1
    async with theirs.database:
        assert await Thing.objects.count() == 0
        await Thing.objects.create(name="b")
    assert await theirs.committed() == ["b"]


async def test_force_rollback_that_nobody_has_connected(theirs):
    """Nothing would be rolled back there."""
    await theirs.create()
    theirs.open(force_rollback=True)
    with pytest.raises(orm.InterfaceError, match=r"await database.connect\(\) first"):
        await theirs.Thing.objects.create(name="a")
    with pytest.raises(orm.InterfaceError, match="await"):
        len(theirs.Thing.objects)
    assert await theirs.committed() == []


# ---- errors ------------------------------------------------------------------------------------

ERRORS = {
    "sqlite": lambda: sqlite3.IntegrityError,
    "postgresql": lambda: __import__("asyncpg").UniqueViolationError,
    "mariadb": lambda: __import__("pymysql").err.IntegrityError,
}


async def test_the_drivers_exceptions_pass_as_they_are(theirs):
    Thing = theirs.Thing
    await theirs.create()
    error = ERRORS[theirs.world.kind]()
    if theirs.url.startswith("mysql+asyncmy"):
        error = __import__("asyncmy").errors.IntegrityError
    async with theirs.database as database:
        with pytest.raises(error) as caught:
            async with database.transaction():
                await Thing.objects.create(name="a")
                await Thing.objects.create(name="a")
        assert not isinstance(caught.value, orm.DatabaseError)
        with pytest.raises(orm.NoMatch):
            async with database.transaction():
                await Thing.objects.get(name="a")


async def test_blocking_forms_say_to_await(theirs):
    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database, database.transaction():
        await Thing.objects.create(name="a")
        things = Thing.objects.all
        with pytest.raises(orm.InterfaceError, match="await this queryset"):
            len(Thing.objects.filter(name="a"))
        assert len(await things()) == 1


# ---- connecting and leaving --------------------------------------------------------------------


async def test_disconnect_closes_our_engine_too(theirs):
    from orm.database import database_of

    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database:
        await Thing.objects.count()
        async with database.transaction():
            await Thing.objects.count()
        assert database_of(database).stats()["engines"] == 1
    assert database_of(database).stats()["engines"] == 0
    async with theirs.database as database, database.transaction():
        assert await Thing.objects.count() == 0


async def test_disconnect_while_an_operation_is_under_way(theirs):
    """It ends, and what it had begun is rolled back: nothing keeps a lock, or the loop."""
    database, Thing = theirs.database, theirs.Thing
    await theirs.create()
    started = asyncio.Event()

    async def work():
        async with database.connection():
            started.set()
            await Thing.objects.bulk_create([{"name": f"{i}"} for i in range(300)])

    await database.connect()
    task = asyncio.create_task(work())
    await started.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    await database.disconnect()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(result, orm.PoolClosed)
    assert await theirs.committed() == []
    async with database, database.transaction():
        await Thing.objects.create(name="a")
    assert await theirs.committed() == ["a"]


async def test_it_goes_when_their_database_goes(theirs):
    from orm.database import database_of

    await theirs.create()
    database = databases.Database(theirs.url)
    async with database, database.transaction():
        assert database_of(database).url
    gone = weakref.ref(database)
    del database
    gc.collect()
    assert gone() is None


async def test_outside_of_them_our_own_engine_runs(theirs):
    from orm.database import database_of

    Thing = theirs.Thing
    await theirs.create()
    async with theirs.database as database:
        ours = database_of(database)
        before = ours.stats()["statements"]
        await Thing.objects.count()
        assert ours.stats()["statements"] == before + 1
        async with database.transaction():
            await Thing.objects.count()
        assert ours.stats()["statements"] == before + 1


async def test_hooks_see_routed_statements(theirs):
    from orm.database import database_of

    Thing = theirs.Thing
    await theirs.create()
    seen = []
    database_of(theirs.database).on_statement(lambda event: seen.append(event.sql))
    async with theirs.database as database, database.transaction():
        await Thing.objects.count()
    assert any("thing" in sql for sql in seen)


def test_several_loops_one_after_another(theirs, asyncio_run):
    Thing = theirs.Thing

    async def use():
        await theirs.create()
        async with theirs.database as database, database.transaction(force_rollback=True):
            await Thing.objects.create(name="a")
            return await Thing.objects.count()

    assert [asyncio_run(use()) for _ in range(3)] == [1, 1, 1]
    assert asyncio_run(use(), "uvloop") == 1


# ---- options -----------------------------------------------------------------------------------


async def test_options_without_an_equal_run_all_through_their_driver(theirs):
    from orm.database import database_of

    await theirs.create()
    options = {
        "sqlite": {"isolation_level": None, "detect_types": 0},
        "postgresql": {"server_settings": {"application_name": "theirs"}},
        "mariadb": {"init_command": "SET @theirs = 1"},
    }[theirs.world.kind]
    if theirs.world.kind == "sqlite":
        del options["isolation_level"]
    database = theirs.open(**options)
    Thing = theirs.Thing
    async with database:
        await Thing.objects.create(name="a")
        made = await asyncio.gather(*(Thing.objects.get_or_create(name=f"{i}") for i in range(8)))
        assert len(made) == 8
        assert database_of(database).stats()["statements"] == 0
        if theirs.world.kind == "postgresql":
            rows = await Thing.objects.raw(
                "SELECT id, current_setting('application_name') AS name FROM thing"
            )
            assert {thing.name for thing in rows} == {"theirs"}
        async with database.transaction(force_rollback=True):
            await Thing.objects.create(name="b")
    assert len(await theirs.committed()) == 9


async def test_options_that_translate(theirs):
    from orm.database import database_of

    await theirs.create()
    options = {
        "sqlite": {"timeout": 3},
        "postgresql": {"min_size": 1, "max_size": 2, "command_timeout": 30},
        "mariadb": {"min_size": 1, "max_size": 2, "pool_recycle": 60},
    }[theirs.world.kind]
    database = theirs.open(**options)
    async with database:
        await theirs.Thing.objects.create(name="a")
        assert database_of(database).stats()["statements"] > 0


# ---- SQLite's own ------------------------------------------------------------------------------


async def test_in_memory_with_a_global_connection(theirs):
    database = theirs.open("sqlite:///:memory:", force_rollback=True)
    Thing = theirs.Thing
    async with database:
        await orm.create_all(theirs.metadata, database)
        await Thing.objects.create(name="a")
        assert await database.fetch_val("SELECT count(*) FROM thing") == 1
    async with database:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await Thing.objects.count()


async def test_foreign_keys_and_our_functions_hold_there_too(theirs):
    await theirs.create()
    async with theirs.database as database, database.transaction():
        assert await database.fetch_val("PRAGMA foreign_keys") == 1
        assert await database.fetch_val("SELECT orm_fold('ÄSS')") == "äss"


async def test_a_factory_of_the_users_own_is_kept(theirs):
    class Own(sqlite3.Connection):
        pass

    await theirs.create()
    database = theirs.open(factory=Own)
    Thing = theirs.Thing
    async with database, database.connection() as connection:
        await Thing.objects.create(name="ÄB")
        assert type(connection.raw_connection._conn) is Own
        assert await Thing.objects.filter(name__iexact="äb").exists()


async def test_a_sqlite_of_another_image_runs_through_their_driver(theirs, monkeypatch):
    """Two copies of SQLite in one process would break each other's locks."""
    from orm import routes
    from orm.database import database_of

    assert not routes.has_foreign_sqlite()
    monkeypatch.setattr(routes, "has_foreign_sqlite", lambda: True)
    await theirs.create()
    database = theirs.open()
    Thing = theirs.Thing
    async with database:
        await Thing.objects.create(name="a")
        assert database_of(database).stats()["statements"] == 0
    assert await theirs.committed() == ["a"]


def test_versions_that_nobody_has_tested_are_refused(monkeypatch):
    from orm.database import database_of

    monkeypatch.setattr(databases, "__version__", "7.0.0")
    with pytest.raises(orm.ConfigurationError, match=r"databases 7\.0\.0"):
        database_of(databases.Database("sqlite:///a.sqlite"))


@pytest.mark.parametrize(
    "url, options, expected",
    [
        ("sqlite:///a.db", {"timeout": 2.5}, ("sqlite:///a.db?busy_timeout=2500.0&", True)),
        ("sqlite:////tmp/a%20b.db", {}, ("sqlite:////tmp/a%20b.db?", True)),
        ("sqlite:///a.db", {"check_same_thread": False}, ("sqlite:///a.db?", True)),
        ("sqlite:///a.db", {"uri": True}, ("sqlite:///a.db?", False)),
        ("sqlite:///a.db?x=1", {}, ("sqlite:///a.db?", False)),
        (
            "postgresql+asyncpg://me:p%40s%3As@[::1]:5/name?min_size=2",
            {"max_size": 3, "command_timeout": 5},
            ("postgresql://me:p%40s%3As@[::1]:5/name?min_size=2&max_size=3&query_timeout=5", True),
        ),
        (
            "postgresql://me@/name?host=/var/run/postgresql",
            {"statement_cache_size": 0},
            ("postgresql://me@%2Fvar%2Frun%2Fpostgresql/name?prepare=off", True),
        ),
        ("postgresql://h/n", {"ssl": True}, ("postgresql://h/n", False)),
        ("postgresql://h/n", {"password": print}, ("postgresql://h/n", False)),
        ("postgresql://h/n", {"init": print, "min_size": 0}, ("postgresql://h/n", False)),
        ("postgresql://h/n?ssl=true", {}, ("postgresql://h/n", False)),
        (
            "mysql+asyncmy://h/n?pool_recycle=60",
            {"maxsize": 4},
            ("mariadb://h/n?max_lifetime=60&max_size=4", True),
        ),
        ("mysql://h/n", {"charset": "latin1"}, ("mariadb://h/n", False)),
        ("mysql://h/n", {"pool_recycle": -1, "charset": "utf8mb4"}, ("mariadb://h/n", True)),
    ],
)
def test_what_options_become(url, options, expected):
    from types import SimpleNamespace

    from orm.routes import DIALECTS, translate

    source = SimpleNamespace(url=databases.DatabaseURL(url), options=options)
    ours, whole = translate(source, DIALECTS[source.url.dialect])
    wanted = expected[0] + ("shared_reads=off" if ours.startswith("sqlite") else "")
    assert (ours, whole) == (wanted, expected[1])
    assert orm.Database(ours).url == ours  # the engine takes it


def test_a_driver_that_is_not_honoured():
    from orm.routes import DIALECTS

    assert set(DIALECTS.values()) == {"sqlite", "postgresql", "mariadb"}


@pytest.mark.parametrize(
    "sql, expected",
    [
        ("SELECT ? FROM t", "SELECT %s FROM t"),
        ("SELECT '?', \"?\", `?`, ?", "SELECT '?', \"?\", `?`, %s"),
        ("a LIKE '5%' AND b = ?", "a LIKE '5%%' AND b = %s"),
        ("'it''s ?' ?", "'it''s ?' %s"),
        (r"'\'?' ?", r"'\'?' %s"),
        ("a -- ?\n= ?", "a -- ?\n= %s"),
        ("a /* ? */ = ? # ?", "a /* ? */ = %s # ?"),
        ("a % ? /* open ?", "a %% %s /* open ?"),
        ("'open ?", "'open ?"),
        ("", ""),
    ],
)
def test_placeholders_of_the_mysql_drivers(sql, expected):
    from orm.route_drivers import to_format

    assert to_format(sql, iter(())) == expected


def test_marks_of_their_own():
    from orm.route_drivers import to_format

    assert to_format("? '?' ?", ["UNHEX(%s)", "%s"]) == "UNHEX(%s) '?' %s"


# ---- another database for the same models ------------------------------------------------------


async def test_a_model_follows_the_database_it_is_given(theirs):
    """As suites for several databases do: one Database per test, set on every model."""
    Thing = theirs.Thing

    class Heir(Thing):
        __metadata__ = orm.MetaData()
        __tablename__ = "thing"

    await theirs.create()
    for _ in range(3):
        async with databases.Database(theirs.url, force_rollback=True) as database:
            Thing.__database__ = database
            await Thing.objects.create(name="a")
            assert await Heir.objects.count() == 1
            assert await Thing.objects.count() == await database.fetch_val(
                "SELECT count(*) FROM thing"
            )
            assert Thing.objects.database is database
        del database
        gc.collect()
        assert await theirs.committed() == []
    Thing.__database__ = theirs.aside
    await Thing.objects.create(name="kept")
    assert await theirs.committed() == ["kept"]


async def test_the_models_of_a_registry_follow_its_database(theirs):
    models = orm.ModelRegistry(database=theirs.database)

    class Thing(orm.Model):
        registry = models
        tablename = "thing"
        fields = {"id": orm.Integer(primary_key=True), "name": orm.String(max_length=50)}

    await theirs.create()
    assert await Thing.objects.count() == 0
    async with databases.Database(theirs.url, force_rollback=True) as database:
        models.database = database
        assert Thing.database is database
        assert await Thing.objects.count() == 0
    models.database = theirs.aside
    assert await Thing.objects.count() == 0
    assert models.database is Thing.database is Thing.objects.database is theirs.aside


async def test_an_operation_whose_database_is_gone_says_so(theirs):
    await theirs.create()
    database = theirs.open(force_rollback=True)
    operation = theirs.Thing.objects.count()
    theirs.Thing.__database__ = theirs.aside
    theirs.database = None
    del database
    gc.collect()
    with pytest.raises(orm.InterfaceError, match="is gone"):
        await operation


# ---- inside of their iterate() -----------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    from orm import routes

    monkeypatch.setattr(routes, "PATIENCE", 0.05)


async def generators_closed():
    """The loop closes what `databases` leaves to it."""
    for _ in range(500):
        gc.collect()
        await asyncio.sleep(0.01)
        if len(asyncio.all_tasks()) == 1:
            return


async def test_a_statement_inside_of_their_iterate_is_an_error_and_no_hang(theirs, impatient):
    Thing = theirs.Thing
    await theirs.create()
    await Thing.objects.bulk_create([{"name": "a"}, {"name": "b"}])
    for statement in (Thing.objects.count, lambda: Thing.objects.get_or_create(name="c")):
        async with theirs.database as database:
            async with database.connection() as connection:
                with pytest.raises(orm.ConcurrentUse, match="fetch its rows first"):
                    async with aclosing(connection.iterate("SELECT name FROM thing")) as rows:
                        async for _row in rows:
                            await statement()
                await generators_closed()
            assert await Thing.objects.count() == 2


async def test_who_waits_for_another_loop_that_goes_on_gets_the_connection(theirs, monkeypatch):
    """Two tasks on one connection: a loop that takes longer than patience, but goes on."""
    from orm import routes

    monkeypatch.setattr(routes, "PATIENCE", 0.4)
    Thing = theirs.Thing
    await theirs.create()
    names = [f"{i:02}" for i in range(60)]
    await Thing.objects.bulk_create([{"name": name} for name in names])
    database = theirs.open(force_rollback=True)
    Thing = theirs.Thing
    async with database:

        async def read():
            seen = []
            async for row in database.iterate("SELECT name FROM thing ORDER BY name"):
                seen.append(row[0])
                await asyncio.sleep(0.02)
            return seen

        reader = asyncio.ensure_future(read())
        await asyncio.sleep(0.01)
        assert await Thing.objects.count() == 60
        assert await reader == names
        await generators_closed()


async def test_force_rollback_without_a_connection_is_an_error_that_code_may_catch(theirs):
    """On servers `databases` itself raises AssertionError."""
    await theirs.create()
    theirs.open(force_rollback=True)
    with pytest.raises(AssertionError) as caught:
        await theirs.Thing.objects.count()
    assert isinstance(caught.value, orm.InterfaceError)
    assert "await database.connect() first" in str(caught.value)
