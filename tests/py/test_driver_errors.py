"""Errors of our own engine on a databases.Database are its driver's as well, whether a statement
runs on our engine or, inside of a transaction, on the driver itself."""

import os
import pickle
import sqlite3
import subprocess
import sys

import pytest

import orm

databases = pytest.importorskip("databases")

KIND = os.environ.get("ORM_TEST_DATABASE", "sqlite")
DRIVERS = {
    "sqlite": ["aiosqlite"],
    "postgresql": ["asyncpg"],
    "mariadb": ["aiomysql", "asyncmy"],
}


class Theirs:
    """Models on a databases.Database, and the classes of its driver."""

    def __init__(self, world, driver):
        pytest.importorskip(driver)
        url = world.url.replace("mariadb://", "mysql://")
        if driver == "asyncmy":
            url = url.replace("mysql://", "mysql+asyncmy://")
        self.world, self.driver, self.kind = world, driver, world.kind
        self.database = databases.Database(url)
        there = self

        class Base(orm.Model):
            __abstract__ = True
            __metadata__ = world.metadata
            __database__ = there.database

        class Album(Base):
            id = orm.Integer(primary_key=True)
            name = orm.String(max_length=20, unique=True)

        class Track(Base):
            id = orm.Integer(primary_key=True)
            album = orm.ForeignKey(Album)

        class Missing(orm.Model):
            __metadata__ = orm.MetaData()
            __database__ = there.database
            id = orm.Integer(primary_key=True)

        self.Album, self.Track, self.Missing = Album, Track, Missing

    def classes(self, unique, foreign, table):
        """The driver's classes, by their names in sqlite3, asyncpg and the MySQL drivers."""
        if self.kind == "sqlite":
            return sqlite3.IntegrityError, sqlite3.IntegrityError, sqlite3.OperationalError
        if self.kind == "postgresql":
            import asyncpg

            return tuple(getattr(asyncpg, name) for name in (unique, foreign, table))
        import asyncmy.errors
        import pymysql.err

        module = pymysql.err if self.driver == "aiomysql" else asyncmy.errors
        return module.IntegrityError, module.IntegrityError, module.ProgrammingError

    @property
    def unique(self):
        return self.classes(*NAMES)[0]


NAMES = ("UniqueViolationError", "ForeignKeyViolationError", "UndefinedTableError")


@pytest.fixture(params=DRIVERS[KIND])
def theirs(world, request):
    return Theirs(world, request.param)


async def broken(call, *arguments, **options):
    with pytest.raises(Exception) as caught:
        await call(*arguments, **options)
    return caught.value


async def test_an_error_is_ours_and_the_drivers(theirs):
    unique, foreign, table = theirs.classes(*NAMES)
    async with theirs.database:
        await theirs.Album.objects.create(name="a")
        error = await broken(theirs.Album.objects.create, name="a")
        assert isinstance(error, unique)
        assert isinstance(error, orm.UniqueViolation)
        error = await broken(theirs.Track.objects.create, album=9)
        assert isinstance(error, foreign)
        assert isinstance(error, orm.ForeignKeyViolation)
        error = await broken(theirs.Missing.objects.count)
        assert isinstance(error, table)
        assert isinstance(error, orm.NoSuchTable)


async def test_code_that_catches_it_works_in_and_out_of_transactions(theirs):
    caught = 0
    async with theirs.database:
        await theirs.Album.objects.create(name="a")
        for inside in (False, True):
            try:
                if inside:
                    async with theirs.database.transaction():
                        await theirs.Album.objects.create(name="a")
                else:
                    await theirs.Album.objects.create(name="a")
            except theirs.unique:
                caught += 1
        assert caught == 2
        assert await theirs.Album.objects.count() == 1


async def test_what_is_known_of_it(theirs):
    async with theirs.database:
        await theirs.Album.objects.create(name="a")
        error = await broken(theirs.Album.objects.create, name="a")
    assert (type(error).__name__, type(error).__module__) == ("UniqueViolation", "orm.exceptions")
    assert error.backend == theirs.kind
    assert error.code or error.sqlstate
    assert "name" in str(error)
    if theirs.kind == "mariadb":
        assert error.args[0] == 1062
        assert "duplicate entry" in error.args[1].lower()
    if theirs.kind == "postgresql":
        assert error.sqlstate == "23505"
        assert (error.table_name, error.constraint_name) == ("album", error.constraint)
    if theirs.kind == "sqlite":
        assert error.sqlite_errorcode == 2067


async def test_its_class_is_made_once_and_pickles(theirs):
    async with theirs.database:
        await theirs.Album.objects.create(name="a")
        error = await broken(theirs.Album.objects.create, name="a")
        other = await broken(theirs.Album.objects.create, name="a")
    assert type(error) is type(other)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


async def test_an_error_without_a_backend_is_ours_alone(theirs):
    async with theirs.database:
        with pytest.raises(orm.NoMatch) as caught:
            await theirs.Album.objects.get()
    assert type(caught.value) is orm.NoMatch


async def test_on_an_orm_database_errors_are_ours_alone(music):
    await music.Album.objects.create(id=1, name="a")
    with pytest.raises(orm.UniqueViolation) as caught:
        await music.Album.objects.create(id=1, name="a")
    assert type(caught.value) is orm.UniqueViolation
    assert not isinstance(caught.value, sqlite3.Error)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1, "OperationalError"),
        (5, "OperationalError"),
        (8, "OperationalError"),
        (11, "DatabaseError"),
        (13, "OperationalError"),
        (14, "OperationalError"),
        (18, "DataError"),
        (787, "IntegrityError"),
        (1299, "IntegrityError"),
        (2067, "IntegrityError"),
        (26, "DatabaseError"),
    ],
)
def test_sqlites_codes(code, name):
    """As the standard library classes them."""
    from orm.driver_errors import translate

    class SQLiteBackend:
        pass

    class Source:
        _backend = SQLiteBackend()

    class Routes:
        source = Source

    error = orm.DatabaseError("x")
    error.backend, error.code = "sqlite", code
    error = translate(error, Routes)
    assert isinstance(error, getattr(sqlite3, name))
    assert isinstance(error, orm.DatabaseError)


@pytest.mark.parametrize("number", [1046, 1048, 1062, 1064, 1146, 1213, 1265, 1452, 4025, 1, 9999])
def test_mysqls_numbers(number):
    """As pymysql classes them."""
    err = pytest.importorskip("pymysql.err")
    from orm.driver_errors import translate

    class MySQLBackend:
        pass

    class Source:
        _backend = MySQLBackend()

    class Routes:
        source = Source

    error = orm.DatabaseError("x")
    error.backend, error.code = "mariadb", number
    otherwise = err.InternalError if number < 1000 else err.OperationalError
    assert isinstance(translate(error, Routes), err.error_map.get(number, otherwise))


async def test_errors_whose_memory_differs_stay_ours(theirs):
    from orm.driver_errors import translate

    class Routes:
        @staticmethod
        def source():
            return theirs.database

    error = orm.ConnectError("x")
    error.backend, error.code, error.sqlstate = theirs.kind, 2003, "08006"
    again = translate(error, Routes)
    assert isinstance(again, orm.ConnectError)
    assert isinstance(again, ConnectionError)


def test_a_driver_that_is_not_loaded_is_not_imported():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "import asyncio, databases, orm\n"
        "database = databases.Database('sqlite:///a.db')\n"
        "class A(orm.Model):\n"
        "    __database__ = database\n"
        "    id = orm.Integer(primary_key=True)\n"
        "async def main():\n"
        "    await orm.create_all(orm.metadata.DEFAULT, database)\n"
        "    await A.objects.create(id=1)\n"
        "    for name in ('sqlite3', 'aiosqlite'):\n"
        "        sys.modules.pop(name)\n"
        "    try:\n"
        "        await A.objects.create(id=1)\n"
        "    except orm.UniqueViolation as error:\n"
        "        print(type(error) is orm.UniqueViolation, 'sqlite3' in sys.modules)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True False", done.stderr
