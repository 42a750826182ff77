"""Rows one after another: what `Database.iterate()` reads.

On PostgreSQL it is a cursor of the server's, of which CHUNK rows are here at a time.  A cursor
lives in a transaction: in that of the caller, or in one of its own, which a task of its own holds,
so that what the loop over the rows does meanwhile is not inside of it.  The engine reads what the
other databases send at once.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from itertools import count

from .exceptions import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any

    from . import _core
    from .records import Record

    Rows = list[Record]

__all__ = ["chunks"]

CHUNK = 500

# DECLARE takes what only reads; where a word may say otherwise the rows are read at once.
_READS = re.compile(r"\s*(?:SELECT|VALUES|TABLE|(WITH))\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(?:INTO|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_INTO = re.compile(r"\bINTO\b", re.IGNORECASE)

_numbers = count(1)


async def chunks(database: _core.Database, sql: str, values: Any) -> AsyncGenerator[Rows, None]:
    """The rows of a statement, some at a time."""
    if database.dialect != "postgresql" or not _is_for_a_cursor(sql):
        yield await _fetch(database, sql, values)
        return
    found = (_cursor if database._in_transaction() else _apart)(database, sql, values)
    try:
        async for rows in found:
            yield rows
    finally:
        await found.aclose()


def _is_for_a_cursor(sql: str) -> bool:
    found = _READS.match(sql)
    return found is not None and not (_WRITES if found[1] else _INTO).search(sql)


def _fetch(database: _core.Database, sql: str, values: Any = None) -> _core.Operation[Rows]:
    from . import _core

    return _core.Database.fetch_all(database, sql, values)


async def _cursor(database: _core.Database, sql: str, values: Any) -> AsyncGenerator[Rows, None]:
    """In the transaction that the running task is in."""
    name = f"orm_rows_{next(_numbers)}"
    await _fetch(database, f"DECLARE {name} NO SCROLL CURSOR FOR {sql.rstrip('; ')}", values)
    try:
        while True:
            rows = await _fetch(database, f"FETCH FORWARD {CHUNK} FROM {name}")
            if rows:
                yield rows
            if len(rows) < CHUNK:
                break
    finally:
        with suppress(Error):  # it went with its transaction
            await _fetch(database, f"CLOSE {name}")


async def _apart(database: _core.Database, sql: str, values: Any) -> AsyncGenerator[Rows, None]:
    """In a transaction that ends with the last row, or with the generator."""
    ready: asyncio.Queue[Rows | BaseException | None] = asyncio.Queue(1)
    reader = asyncio.get_running_loop().create_task(_read(database, sql, values, ready))
    try:
        while (rows := await ready.get()) is not None:
            if isinstance(rows, BaseException):
                raise rows
            yield rows
    finally:
        reader.cancel()
        await asyncio.wait([reader])


async def _read(
    database: _core.Database,
    sql: str,
    values: Any,
    ready: asyncio.Queue[Rows | BaseException | None],
) -> None:
    try:
        async with database.transaction():
            found = _cursor(database, sql, values)
            try:
                async for rows in found:
                    await ready.put(rows)
            finally:
                await found.aclose()
    except Exception as error:
        await ready.put(error)
    else:
        await ready.put(None)
