"""How a statement of the engine runs on a connection of aiosqlite, asyncpg, aiomysql or asyncmy.

SQL comes with the engine's placeholders: `?`, or `$1` on PostgreSQL.  Values are int, float,
str, bytes, bool, None, Decimal as str, those of datetime, UUID, and lists of them.
"""

from __future__ import annotations

import asyncio
import datetime
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple
from weakref import WeakSet

from . import sqlite_functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    # the columns' names, the rows, the number of rows changed, the key generated
    Answer: TypeAlias = tuple[list[str], list[Any], int, int]

__all__ = ["DRIVERS", "NOTHING", "Driver", "to_format"]

NOTHING: Answer = ([], [], 0, 0)
MIDNIGHT = datetime.datetime.min
DAY = datetime.timedelta(days=1)


# ---- SQLite ------------------------------------------------------------------------------------


# Connections of aiosqlite that were not made by our factory and have our functions now.
_prepared: WeakSet[Any] = WeakSet()


async def run_sqlite(raw: Any, sql: str, values: Sequence[Any]) -> Answer:
    if not isinstance(raw._conn, sqlite_functions.Connection) and raw not in _prepared:
        await raw._execute(sqlite_functions.prepare, raw._conn)
        _prepared.add(raw)
    cursor = await raw.execute(sql, values)
    try:
        if cursor.description is None:
            return [], [], max(cursor.rowcount, 0), cursor.lastrowid or 0
        rows = list(await cursor.fetchall())
        names = [column[0] for column in cursor.description]
        return names, rows, max(cursor.rowcount, 0), 0
    finally:
        await cursor.close()


# ---- PostgreSQL --------------------------------------------------------------------------------


async def run_asyncpg(raw: Any, sql: str, values: Sequence[Any]) -> Answer:
    statement = await raw.prepare(sql)
    rows = await statement.fetch(*values)
    names = [column.name for column in statement.get_attributes()]
    count = (statement.get_statusmsg() or "").rpartition(" ")[2]  # as in "INSERT 0 1"
    return names, rows, int(count) if count.isdecimal() else 0, 0


# ---- MariaDB -----------------------------------------------------------------------------------


async def run_mysql(raw: Any, sql: str, values: Sequence[Any]) -> Answer:
    async with raw.cursor() as cursor:
        marks = ("UNHEX(%s)" if isinstance(value, bytes) else "%s" for value in values)
        await cursor.execute(to_format(sql, marks), tuple(map(for_mysql, values)))
        if cursor.description is None:
            return [], [], matched_rows(cursor), cursor.lastrowid or 0
        rows = [tuple(map(from_mysql, row)) for row in await cursor.fetchall()]
        return [column[0] for column in cursor.description], rows, max(cursor.rowcount, 0), 0


def to_format(sql: str, marks: Iterable[str]) -> str:
    """`?` outside of quotes and comments becomes the next mark, and every `%` is doubled."""
    marks = iter(marks)
    parts = []
    at, end = 0, len(sql)
    while at < end:
        c = sql[at]
        stop = at + 1
        if c in "'\"`":
            while stop < end and sql[stop] != c:
                stop += 2 if sql[stop] == "\\" and c != "`" else 1
            stop += 1
        elif sql.startswith("/*", at):
            stop = sql.find("*/", at + 2) + 2
            stop = stop if stop > 1 else end
        elif c == "#" or sql.startswith("-- ", at):
            stop = sql.find("\n", at) + 1 or end
        part = sql[at:stop]
        parts.append(next(marks, "%s") if part == "?" else part.replace("%", "%%"))
        at = stop
    return "".join(parts)


def for_mysql(value: Any) -> Any:
    """Columns have no time zones: what has one is sent as UTC.  Bytes go as hex digits, which
    needs none of the client's (aiomysql 0.3 fails to escape bytes with PyMySQL 1.2)."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return value


def from_mysql(value: Any) -> Any:
    """A TIME column comes as a timedelta."""
    if isinstance(value, datetime.timedelta) and datetime.timedelta(0) <= value < DAY:
        return (MIDNIGHT + value).time()
    return value


def matched_rows(cursor: Any) -> int:
    """Rows that an UPDATE has found, though it may have changed none of them.

    The client counts changed rows.  How many were matched stands in the answer's info field,
    "Rows matched: 3  Changed: 0  Warnings: 0".
    """
    result = getattr(cursor, "_result", None)
    info = getattr(result, "message", None) or b""
    if isinstance(info, str):
        info = info.encode()
    label, _, rest = info.partition(b":")
    if label.endswith(b"Rows matched"):
        count = rest.split()[0]
        if count.isdigit():
            return int(count)
    return max(cursor.rowcount, 0)


# ---- errors: the class that the engine goes by; what is raised is the exception itself -----------

# orm_status of include/orm/orm.h
DATABASE, INTEGRITY, UNIQUE, FOREIGN_KEY, NOT_NULL = -10, -12, -13, -14, -15
CHECK, EXCLUSION, CONNECTION_LOST, LOCK_TIMEOUT = -16, -17, -22, -25
DEADLOCK, SERIALIZATION, CANCELLED = -26, -27, -30

SQLITE_CODES = {
    5: LOCK_TIMEOUT,
    6: LOCK_TIMEOUT,
    275: CHECK,
    787: FOREIGN_KEY,
    1299: NOT_NULL,
    1555: UNIQUE,
    2067: UNIQUE,
}
SQLSTATES = {
    "23502": NOT_NULL,
    "23503": FOREIGN_KEY,
    "23505": UNIQUE,
    "23514": CHECK,
    "23P01": EXCLUSION,
    "40001": SERIALIZATION,
    "40P01": DEADLOCK,
    "55P03": LOCK_TIMEOUT,
}
MYSQL_CODES = {
    1048: NOT_NULL,
    1062: UNIQUE,
    1205: LOCK_TIMEOUT,
    1213: DEADLOCK,
    1364: NOT_NULL,
    1451: FOREIGN_KEY,
    1452: FOREIGN_KEY,
    4025: CHECK,
}


def sqlite_status(error: BaseException) -> int:
    code = getattr(error, "sqlite_errorcode", None)  # Python 3.11
    if code in SQLITE_CODES:
        return SQLITE_CODES[code]
    return INTEGRITY if isinstance(error, sqlite3.IntegrityError) else DATABASE


def asyncpg_status(error: BaseException) -> int:
    return SQLSTATES.get(getattr(error, "sqlstate", None) or "", DATABASE)


def mysql_status(error: BaseException) -> int:
    code = error.args[0] if error.args else None
    return MYSQL_CODES.get(code, DATABASE) if isinstance(code, int) else DATABASE


def with_common(of_driver: Callable[[BaseException], int]) -> Callable[[BaseException], int]:
    def status(error: BaseException) -> int:
        if isinstance(error, asyncio.CancelledError):
            return CANCELLED
        return CONNECTION_LOST if isinstance(error, ConnectionError) else of_driver(error)

    return status


# ---- all together ------------------------------------------------------------------------------


class Driver(NamedTuple):
    run: Callable[[Any, str, Sequence[Any]], Awaitable[Answer]]
    in_transaction: Callable[[Any], bool]  # what the connection itself knows
    status: Callable[[BaseException], int]


SQLITE = Driver(run_sqlite, lambda raw: raw.in_transaction, with_common(sqlite_status))
ASYNCPG = Driver(run_asyncpg, lambda raw: raw.is_in_transaction(), with_common(asyncpg_status))
MYSQL = Driver(run_mysql, lambda raw: raw.get_transaction_status(), with_common(mysql_status))

# By the class of the backend in `databases`.
DRIVERS = {
    "SQLiteBackend": SQLITE,
    "PostgresBackend": ASYNCPG,
    "MySQLBackend": MYSQL,
    "AsyncMyBackend": MYSQL,
}
