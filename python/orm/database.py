"""Databases: the engine's own, and which one a model means."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from weakref import WeakKeyDictionary, WeakValueDictionary

from . import _core
from .exceptions import ConfigurationError, NotSupportedError
from .urls import DatabaseURL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
    from typing import Any, TypeAlias, TypeVar

    from typing_extensions import Self

    from .records import Record
    from .statements import Columns

    T = TypeVar("T")
    R = TypeVar("R")
    Query: TypeAlias = Any  # SQL, or an expression of SQLAlchemy
    Values: TypeAlias = Any  # a dict of named ones, or those of the placeholders in order
    Awaited: TypeAlias = Coroutine[Any, Any, T]
    DatabaseLike: TypeAlias = "_core.Database | str | Any"  # or a databases.Database

__all__ = ["Connection", "Database", "DatabaseURL"]


class Database(_core.Database):
    """A database by URL, such as `sqlite:///music.db`.

    Opens nothing until it is used; every event loop gets its own connections.  Options may stand
    in the URL or be given as keywords: journal_mode, synchronous, busy_timeout (ms),
    shared_reads, inline, query_timeout and acquire_timeout (s), max_waiting,
    statement_cache_size, foreign_keys, mode="ro".

    It has the methods of `databases.Database`.  With force_rollback=True everything that it does
    until disconnect() is one transaction, which is rolled back.
    """

    def __new__(cls, url: object, *, force_rollback: bool = False, **options: Any) -> Self:
        url = DatabaseURL(url)
        self = super().__new__(cls, str(url), **options)
        self._url = url
        self.options = options
        self._force_rollback = force_rollback
        return self

    @property
    def url(self) -> DatabaseURL:  # type: ignore[override]
        """Its URL, with the password."""
        return self._url

    def fetch_all(self, query: Query, values: Values = None) -> Awaited[list[Record]]:
        """The rows of a statement."""
        if isinstance(query, str):
            return super().fetch_all(*self._text(query, values))
        sql, bound, columns = self._expression(query, values)
        return _then(super().fetch_all(sql, bound), lambda rows: processed(columns, rows))

    def fetch_one(self, query: Query, values: Values = None) -> Awaited[Record | None]:
        """The first row of a statement, or None."""
        if isinstance(query, str):
            return super().fetch_one(*self._text(query, values))
        sql, bound, columns = self._expression(query, values)
        return _then(super().fetch_one(sql, bound), lambda row: first(columns, row))

    def fetch_val(self, query: Query, values: Values = None, column: Any = 0) -> Awaited[Any]:
        """A column of the first row, or None."""
        if isinstance(query, str) and column == 0:
            return super().fetch_val(*self._text(query, values))
        found = self.fetch_one(query, values)
        return _then(found, lambda row: None if row is None else row[column])

    def execute(self, query: Query, values: Values = None) -> Awaited[Any]:
        """Runs a statement: the key that it generates, or how many rows it changes."""
        if isinstance(query, str):
            return super().execute(*self._text(query, values))
        sql, bound, _columns = self._expression(query, values)
        return super().execute(sql, bound)

    async def execute_many(self, query: Query, values: Iterable[Any]) -> None:
        """The statement once for each of the values."""
        for one in values:
            await self.execute(query, one)

    async def iterate(self, query: Query, values: Values = None) -> AsyncIterator[Record]:
        """The rows of a statement one after another.

        On PostgreSQL some hundred are read at a time, on the others all at once.
        """
        from .streams import chunks

        if isinstance(query, str):
            found, columns = chunks(self, *self._text(query, values)), None
        else:
            sql, bound, columns = self._expression(query, values)
            found = chunks(self, sql, bound)
        try:
            async for rows in found:
                for row in processed(columns, rows):
                    yield row
        finally:
            await found.aclose()

    def connection(self) -> Connection:
        """The database itself, in the shape of a connection."""
        return Connection(self)

    @contextmanager
    def force_rollback(self) -> Iterator[None]:
        """A block in which connect() begins a transaction that disconnect() rolls back."""
        before = self._force_rollback
        self._force_rollback = True
        try:
            yield
        finally:
            self._force_rollback = before

    def _text(self, sql: str, values: Values) -> tuple[str, Any]:
        if not isinstance(values, dict):
            return sql, values
        from .statements import named

        return named(sql, values, self.dialect)

    def _expression(self, query: Any, values: Values) -> tuple[str, list[Any], Columns | None]:
        from .statements import compile_expression, is_expression

        if not is_expression(query):
            raise TypeError(
                f"a statement is a str or an expression of SQLAlchemy, not {query!r:.80}"
            )
        if values is not None and not isinstance(values, dict):
            raise TypeError("the values of an expression are a dict")
        return compile_expression(query, values, self.dialect)


async def _then(operation: Awaitable[T], change: Callable[[T], R]) -> R:
    return change(await operation)


def processed(columns: Columns | None, rows: list[Record]) -> list[Record]:
    return rows if columns is None else columns.records(rows)


def first(columns: Columns | None, row: Record | None) -> Record | None:
    return None if row is None else processed(columns, [row])[0]


class Connection:
    """What `Database.connection()` gives: statements take whichever connection is free, and inside
    of a transaction that one's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.fetch_all = database.fetch_all
        self.fetch_one = database.fetch_one
        self.fetch_val = database.fetch_val
        self.execute = database.execute
        self.execute_many = database.execute_many
        self.iterate = database.iterate
        self.transaction = database.transaction

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    @property
    def raw_connection(self) -> Any:
        raise NotSupportedError("the engine's connections are none of Python's")


_by_url: WeakValueDictionary[str, Database] = WeakValueDictionary()
# Ours beside each databases.Database; it goes when that goes.
_beside: WeakKeyDictionary[Any, _core.Database] = WeakKeyDictionary()


def database_of(database: DatabaseLike) -> _core.Database:
    """The engine's database for an orm.Database, a URL or a databases.Database."""
    if isinstance(database, _core.Database):
        return database
    if isinstance(database, str):
        return _by_url.get(database) or _by_url.setdefault(database, Database(database))
    module = sys.modules.get("databases")
    if module is not None and isinstance(database, module.Database):
        known = _beside.get(database)
        if known is None:
            from .routes import open_beside

            known = _beside[database] = open_beside(database)
        return known
    raise ConfigurationError(
        f"expected an orm.Database, a databases.Database or a URL, not {_shown(database)}"
    )


def open_apart(database: Any) -> _core.Database | None:
    """A connection of our own to a databases.Database, whatever its own are in; None: no way."""
    from .routes import open_apart

    return open_apart(database)


def meet(database: object) -> None:
    """At first sight of a databases.Database, before it has opened a connection.

    What is wrong with it is said when it is first used.
    """
    module = sys.modules.get("databases")
    if module is not None and isinstance(database, module.Database):
        with suppress(ConfigurationError):
            database_of(database)


def resolve(model: _core.ModelType) -> _core.Database:
    """The database of a model class; the extension module asks once for each class."""
    database = getattr(model, "__database__", None)
    if database is None:
        raise ConfigurationError(
            f"model {model.__name__!r} has no database: "
            "set __database__ to an orm.Database, a databases.Database or a URL"
        )
    try:
        return database_of(database)
    except ConfigurationError as error:
        raise ConfigurationError(f"model {model.__name__!r}: {error}") from None


def url_of(database: _core.Database) -> str:
    """Its URL without the password."""
    return _core.Database.url.__get__(database)  # type: ignore[attr-defined, no-any-return]


def _shown(thing: object) -> str:
    """What it is, without what it says: it may hold a password."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
