"""Beside a `databases.Database`: on which connection a statement of a model runs.

Outside of that database's transactions and connections statements run on an engine of our own
on the same URL.  Inside they are handed, by a route (`_core.Route`), to the connection that
`databases` says is the task's, and run there under its own lock.

This is the one file that knows names of `databases` which are private there.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar
from types import AsyncGeneratorType
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary, ref

import databases

from . import _core, sqlite_functions
from .exceptions import ConcurrentUse, ConfigurationError, InterfaceError
from .route_drivers import DRIVERS, NOTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .route_drivers import Answer

__all__ = ["open_beside"]

# What was tested; the names that we use in them are looked up when the first database is seen.
TESTED = ("0.7", "0.8", "0.9")
DATABASE_NAMES = ("_backend", "_global_connection", "_force_rollback", "is_connected", "options")
CONNECTION_NAMES = (
    "_connection",
    "_connection_counter",
    "_query_lock",
    "_transaction_lock",
)
# Those whose being neither None nor False says that statements run over there.
SIGNS = ("_global_connection", "_force_rollback")

DIALECTS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mariadb",
    "mariadb": "mariadb",
}
# Connections of the engine to a database that runs wholly through its own driver.
LINES = 10
# Seconds after which who waits for a locked connection looks at who has it.
PATIENCE = 5.0


def open_beside(source: databases.Database) -> _core.Database:
    """Our own database on the URL of theirs, with the routes to its connections."""
    check_version()
    check_names(source, DATABASE_NAMES)
    dialect = DIALECTS.get(source.url.dialect)
    if dialect is None or (source.url.driver == "aiopg"):
        raise ConfigurationError(
            f"no models on {source.url.scheme!r} through databases.Database: use one of sqlite, "
            "postgresql, mysql (with aiosqlite, asyncpg, aiomysql or asyncmy), or an orm.Database"
        )
    if dialect == "sqlite":
        install_factory(source)
    url, whole = translate(source, dialect)
    database = _core.Database(url)
    always = not whole or (dialect == "sqlite" and has_foreign_sqlite())
    routes = Routes(source, database, dialect, always)
    routes.watch(source)
    close_with(source, database, routes)
    return database


def open_apart(source: databases.Database) -> _core.Database | None:
    """A connection of our own beside theirs, whatever theirs are in: for tables.

    None where there is no other way to the database than through theirs.
    """
    dialect = DIALECTS[source.url.dialect]
    url, whole = translate(source, dialect)
    if dialect == "sqlite" and (source.url.database in ("", ":memory:") or has_foreign_sqlite()):
        return None
    return _core.Database(url) if whole else None


# ---- what we know of their versions ------------------------------------------------------------


def check_version() -> None:
    version = databases.__version__
    if version.rpartition(".")[0] not in TESTED:
        raise ConfigurationError(
            f"databases {version} is none of the versions that models can share a database with "
            f"({', '.join(TESTED)}): install one of these, or give the models an orm.Database"
        )


def check_names(thing: object, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not hasattr(thing, name)]
    if missing:
        raise ConfigurationError(
            f"databases {databases.__version__} has no {', '.join(missing)}: give the models an "
            "orm.Database"
        )


def holders_of(source: Any) -> Any:
    """By task (0.8 and later), or by context: who has a connection."""
    connections = getattr(source, "_connection_map", None)
    if connections is not None:
        return connections.data
    context = getattr(source, "_connection_context", None)
    if isinstance(context, ContextVar):
        return context
    raise ConfigurationError(
        f"databases {databases.__version__} keeps its connections in an unknown place: give the "
        "models an orm.Database"
    )


def held_connection(source: Any) -> Any:
    """The connection that the running task has and is inside of, or None."""
    connection = source._global_connection
    if connection is None:
        connections = getattr(source, "_connection_map", None)
        if connections is None:
            connection = source._connection_context.get(None)
        else:
            task = asyncio.current_task()
            connection = connections.get(task) if task is not None else None
    return connection if connection is not None and connection._connection_counter else None


def new_connection(source: Any) -> Any:
    """One that belongs to no task."""
    kind = databases.core.Connection
    if hasattr(source, "_connection_map"):
        return kind(source, source._backend)
    return kind(source._backend)


def close_with(source: Any, database: _core.Database, routes: Routes) -> None:
    """disconnect() of theirs closes what we have open."""
    backend = source._backend
    disconnect = backend.disconnect
    source_of = ref(source)

    async def disconnect_both() -> None:
        database._close()
        await routes.close()
        routes.watch(source_of())
        await disconnect()

    backend.disconnect = disconnect_both


# ---- SQLite ------------------------------------------------------------------------------------


def install_factory(source: Any) -> None:
    """Their connections know our functions and check foreign keys, unless the user makes them."""
    options = source._backend._pool._options
    options.setdefault("factory", sqlite_functions.Connection)


def has_foreign_sqlite() -> bool:
    """Whether `sqlite3` brings a SQLite of its own.

    Two of them in one process break each other's locks on the same file.
    """
    try:
        theirs, ours = (
            ctypes.cast(ctypes.CDLL(path).sqlite3_libversion, ctypes.c_void_p).value
            for path in (sys.modules["_sqlite3"].__file__, _core.__file__)
        )
    except (AttributeError, KeyError, OSError):
        return True
    return theirs != ours


# ---- options -----------------------------------------------------------------------------------


def translate(source: Any, dialect: str) -> tuple[str, bool]:
    """The URL of our own engine; and whether it says all that theirs and its options say."""
    url = source.url
    given = {**url.options, **source.options}
    options: dict[str, Any] = {}
    whole = True
    for name in ("host", "unix_sock"):
        if dialect != "sqlite" and url.options.get(name) == url.hostname:
            given.pop(name, None)
    for name, value in given.items():
        option = translate_option(dialect, name, value)
        if option is None:
            whole = False
        else:
            options.update(option)
    if dialect == "sqlite":
        options["shared_reads"] = "off"  # its users write beside us
        whole = whole and not url.options  # they are part of the file's name over there
        where = "/" + quote(url.database, safe="/:")
    else:
        where = authority(url) + "/" + quote(url.database, safe="")
    return f"{dialect}://{where}" + (f"?{urlencode(options)}" if options else ""), whole


def authority(url: databases.DatabaseURL) -> str:
    """user:password@host:port, as our URLs want it."""
    user, password, host = url.username, url.password, url.hostname or ""
    result = ""
    if user is not None:
        result = quote(user, safe="")
        result += ":" + quote(password, safe="") if password is not None else ""
        result += "@"
    result += f"[{host}]" if ":" in host else quote(host, safe="")
    return result + (f":{url.port}" if url.port else "")


# Numbers above 0: what they are called here, and in how many of our units.
NUMBERS: dict[str, dict[str, tuple[str, int]]] = {
    "sqlite": {"timeout": ("busy_timeout", 1000)},
    "postgresql": {
        "min_size": ("min_size", 1),
        "max_size": ("max_size", 1),
        "command_timeout": ("query_timeout", 1),
        "timeout": ("connect_timeout", 1),
        "statement_cache_size": ("statement_cache_size", 1),
    },
    "mariadb": {
        "min_size": ("min_size", 1),
        "minsize": ("min_size", 1),
        "max_size": ("max_size", 1),
        "maxsize": ("max_size", 1),
        "connect_timeout": ("connect_timeout", 1),
        "pool_recycle": ("max_lifetime", 1),
    },
}
# Single values: what they are here; nothing, for what we do anyway.
VALUES: dict[str, dict[tuple[str, Any], dict[str, Any]]] = {
    "sqlite": {("check_same_thread", True): {}, ("check_same_thread", False): {}},
    "postgresql": {
        ("min_size", 0): {},
        ("command_timeout", None): {},
        ("statement_cache_size", 0): {"prepare": "off"},  # behind a pooler of transactions
    },
    "mariadb": {
        ("min_size", 0): {},
        ("minsize", 0): {},
        ("pool_recycle", -1): {},
        ("charset", "utf8mb4"): {},
    },
}


def translate_option(dialect: str, name: str, value: Any) -> dict[str, Any] | None:
    """An option of theirs as options of ours; None: it has no equal."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)  # of the URL
    plain = isinstance(value, (int, float, str, type(None)))
    if plain and (name, value) in VALUES[dialect]:
        return VALUES[dialect][name, value]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name not in NUMBERS[dialect] or not number or value <= 0:
        return None
    ours, units = NUMBERS[dialect][name]
    return {ours: value * units}


# ---- routes ------------------------------------------------------------------------------------


class Routes:
    """Where statements run instead of on our own engine: called when a sign says so."""

    def __init__(self, source: Any, database: _core.Database, dialect: str, always: bool) -> None:
        self.source = ref(source)
        self.database = ref(database)
        self.dialect = dialect
        self.always = always
        self.driver = DRIVERS[type(source._backend).__name__]
        self.loops: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Way]] = WeakKeyDictionary()

    def watch(self, source: Any) -> None:
        """Tells the engine what to look at; before 0.8 disconnect() replaces the context."""
        database = self.database()
        if database is not None and source is not None:
            signs = None if self.always else vars(source)
            database._set_routes(self, signs, SIGNS, holders_of(source))

    def __call__(self) -> _core.Database | None:
        source = self.source()
        if source is None:  # asked before __database__ was set to another, awaited afterwards
            raise InterfaceError("the databases.Database of this operation is gone")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if self.always or source._force_rollback:
                raise InterfaceError(
                    "await this queryset: only the event loop of its databases.Database can run it"
                ) from None
            return None
        connection = held_connection(source)
        if connection is None and source._force_rollback and not source.is_connected:
            # databases itself: AssertionError("DatabaseBackend is not running")
            raise _NotRunning(
                "this databases.Database is in force_rollback and not connected: without its "
                "global connection nothing would be rolled back; await database.connect() first"
            )
        if connection is None and not self.always and not source._force_rollback:
            return None
        return self.way(loop, connection).database

    def way(self, loop: asyncio.AbstractEventLoop, connection: Any) -> Way:
        """The way to a connection: one that leads there, else one that leads nowhere now."""
        ways = self.loops.setdefault(loop, [])
        idle = None
        for way in ways:
            if way.connection() is connection and way.is_free == (connection is None):
                return way
            if connection is not None and not way.is_free and way.database._is_idle():
                idle = way
        if idle is None:
            idle = Way(self, loop, connection is None)
            ways.append(idle)
        if connection is not None:
            check_names(connection, CONNECTION_NAMES)
            idle.connection = ref(connection)
        return idle

    async def close(self) -> None:
        for way in self.loops.pop(asyncio.get_running_loop(), ()):
            await way.close()


def nowhere() -> None:
    return None


class Way:
    """A database whose statements one connection of theirs runs; a free one takes any."""

    def __init__(self, routes: Routes, loop: asyncio.AbstractEventLoop, is_free: bool) -> None:
        self.routes = routes
        self.is_free = is_free
        self.connection: Callable[[], Any] = nowhere
        self.lines: dict[int, Line] = {}
        self.database = _core.Database(
            f"{routes.dialect}:///databases",  # whose connections these are
            route=_core.Route(loop, self.serve),
            origin=routes.database(),
            max_size=LINES if is_free else 1,
        )

    def serve(self, job: _core.Job) -> None:
        """Called in the loop for each statement, and when one is cancelled or a line closed."""
        number = job.line
        if job.kind == "run":
            line = self.lines.get(number) or self.lines.setdefault(number, Line(self))
            line.start(line.work(job))
        elif job.kind == "cancel" and number in self.lines:
            self.lines[number].cancel()
        elif job.kind == "close" and number in self.lines:
            line = self.lines.pop(number)
            if line.stack is not None:
                line.start(line.end("ROLLBACK"))

    async def close(self) -> None:
        """Ends what is under way; what the engine had begun is rolled back."""
        self.database._close()
        for line in self.lines.values():
            await line.close()
        self.lines.clear()

    async def choose(self) -> Any:
        """The connection of theirs for what begins now."""
        source = self.routes.source()
        if not self.is_free:
            connection = self.connection()
            if connection is None:
                raise InterfaceError("the connection of databases.Database is gone")
            return connection
        return source._global_connection or new_connection(source)


class _NotRunning(InterfaceError, AssertionError):
    """A databases.Database that has to be connected and is not."""


class _Lock:
    """A lock of a connection, which the loop over the rows of `database.iterate()` may hold.

    A statement inside of that loop would wait for ever: it is told so when the loop has stood
    still twice for PATIENCE.
    """

    def __init__(self, connection: Any, lock: asyncio.Lock) -> None:
        self.connection = connection
        self.lock = lock

    async def __aenter__(self) -> None:
        if self.lock.locked():
            await self.wait()
        else:
            await self.lock.acquire()

    async def wait(self) -> None:
        before = None
        while True:
            try:
                await asyncio.wait_for(self.lock.acquire(), PATIENCE)
                return
            except asyncio.TimeoutError:
                row = _row_of_loop(self.connection)
                if row is not None and row is before:
                    raise ConcurrentUse(
                        "the connection is locked by the loop over database.iterate() of "
                        "databases, in which this waits: fetch its rows first, with fetch_all()"
                    ) from None
                before = row

    async def __aexit__(self, *error: object) -> None:
        self.lock.release()


def _row_of_loop(connection: Any) -> Any:
    """The row that a generator of `connection.iterate()` has given away and stands at."""
    code = type(connection).iterate.__code__
    for thing in gc.get_objects():
        if type(thing) is AsyncGeneratorType and thing.ag_code is code and not thing.ag_running:
            here = thing.ag_frame.f_locals if thing.ag_frame is not None else {}
            if here.get("self") is connection and "record" in here:
                return here["record"]
    return None


class Line:
    """One connection of the engine: a statement at a time, perhaps inside of a transaction.

    The engine's transactions are those of its operations that take several statements.  What it
    sends is put onto a transaction that is open already: then they are savepoints.
    """

    def __init__(self, way: Way) -> None:
        self.way = way
        self.task: asyncio.Task[None] | None = None
        self.connection: Any = None
        self.stack: AsyncExitStack | None = None  # while a transaction of the engine is open
        self.is_nested = False

    def start(self, work: Any) -> None:
        self.task = asyncio.get_running_loop().create_task(work)

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        with suppress(Exception):
            await self.end("ROLLBACK")

    async def work(self, job: _core.Job) -> None:
        try:
            names, rows, affected, key = await self.execute(job.sql or "", job.values)
            job.finish(names, rows, affected, key, self.stack is not None)
        except BaseException as error:
            status = self.way.routes.driver.status(error)
            job.fail(error, status, self.stack is not None)
            if not isinstance(error, Exception):
                raise
        finally:
            self.task = None

    async def execute(self, sql: str, values: list[Any]) -> Answer:
        word = sql[:16].partition(" ")[0]
        if word in ("BEGIN", "START"):
            return await self.begin(sql)
        if sql in ("COMMIT", "ROLLBACK"):
            return await self.end(sql)
        if self.stack is not None:
            return await self.run(sql, values)
        connection = await self.way.choose()
        # the former is held while a transaction of theirs begins or ends, which asyncpg does
        # not bear beside a statement
        begins = _Lock(connection, connection._transaction_lock)
        async with connection, begins, _Lock(connection, connection._query_lock):
            return await self.way.routes.driver.run(connection.raw_connection, sql, values)

    async def run(self, sql: str, values: Sequence[Any] = ()) -> Answer:
        return await self.way.routes.driver.run(self.connection.raw_connection, sql, values)

    async def begin(self, sql: str) -> Answer:
        """From here to its end statements of others on the same connection wait."""
        connection = await self.way.choose()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(connection)
            await stack.enter_async_context(_Lock(connection, connection._transaction_lock))
            await stack.enter_async_context(_Lock(connection, connection._query_lock))
            self.connection = connection
            self.is_nested = self.way.routes.driver.in_transaction(connection.raw_connection)
            await self.run("SAVEPOINT orm_route" if self.is_nested else sql)
            self.stack = stack.pop_all()
        return NOTHING

    async def end(self, sql: str) -> Answer:
        stack, self.stack = self.stack, None
        if stack is None:
            return NOTHING
        async with stack:
            try:
                if sql == "COMMIT":
                    await self.run("RELEASE SAVEPOINT orm_route" if self.is_nested else sql)
                else:
                    await self.undo()
            except BaseException:
                if sql == "COMMIT":
                    with suppress(Exception):
                        await self.undo()
                raise
            finally:
                self.connection = None
        return NOTHING

    async def undo(self) -> None:
        if self.is_nested:
            await self.run("ROLLBACK TO SAVEPOINT orm_route")
            await self.run("RELEASE SAVEPOINT orm_route")
        else:
            await self.run("ROLLBACK")
