"""Reads and writes damaged database files: `reader.py FILE…`, one line of JSON a file.

The line is [file, outcome, text]: "rows" (all answers were right), "error" (a DatabaseError),
"unsound" (rows that the standard library's SQLite does not get from a copy, of a file in which
integrity_check finds a fault: beyond a fault SQLite reads what happens to be there), "slow" (the
standard library did not answer in time, so there is nothing to compare), or "wrong": other rows
than the standard library's from a file that SQLite takes for sound, or another exception.  SQLite
has no checksums, so a changed byte inside a value is a value.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
import time
from typing import Any

import orm

LIMIT = 2  # s, of a statement
COLUMNS = "id, name, number, ratio, data, parent"
SELECTS = [
    f"SELECT {COLUMNS} FROM thing ORDER BY id",
    f"SELECT {COLUMNS} FROM thing WHERE name = 'name 7' ORDER BY id",
    "SELECT count(*) FROM thing",
]


def model(path: str) -> tuple[orm.Database, Any]:
    database = orm.Database(f"sqlite:///{path}", query_timeout=LIMIT)

    class Thing(orm.Model):
        __metadata__ = orm.MetaData()
        __database__ = database
        id = orm.Integer(primary_key=True)
        name = orm.Text()
        number = orm.BigInteger(allow_null=True)
        ratio = orm.Float(allow_null=True)
        data = orm.Binary(allow_null=True)
        parent = orm.ForeignKey("self", allow_null=True)

    return database, Thing


def values(row: Any) -> tuple[Any, ...]:
    parent = row.parent.pk if row.parent is not None else None
    return (row.id, row.name, row.number, row.ratio, row.data, parent)


async def ask(path: str) -> list[Any]:
    """Per question the answer or the DatabaseError, the reads of SELECTS first."""
    database, thing = model(path)

    async def rows(query: Any) -> list[tuple[Any, ...]]:
        return [values(row) for row in await query.order_by("id").all()]

    async def count(query: Any) -> list[tuple[int]]:
        return [(await query.count(),)]

    questions = [
        lambda: rows(thing.objects),
        lambda: rows(thing.objects.filter(name="name 7")),
        lambda: count(thing.objects),
        lambda: thing.objects.select_related("parent").filter(parent__number__gt=5).all(),
        lambda: thing.objects.create(name="new", data=b"x" * 3000),
        lambda: thing.objects.filter(pk__lt=9).update(name="other"),
        lambda: thing.objects.filter(name__startswith="name 3").delete(),
    ]
    answers: list[Any] = []
    for question in questions:
        try:
            answers.append(await question())
        except orm.DatabaseError as error:
            answers.append(error)
    try:
        await database.disconnect()
    except orm.DatabaseError as error:
        answers.append(error)
    return answers


def ask_sqlite(path: str) -> list[Any]:
    """The standard library's answers to SELECTS and integrity_check, or its errors; TimeoutError
    beyond LIMIT."""
    connection = sqlite3.connect(path)
    answers: list[Any] = []
    for select in [*SELECTS, "PRAGMA integrity_check"]:
        deadline = time.monotonic() + LIMIT
        connection.set_progress_handler(lambda end=deadline: time.monotonic() > end, 10_000)
        try:
            answers.append(connection.execute(select).fetchall())
        except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged name in the message
            late = time.monotonic() > deadline
            answers.append(TimeoutError(str(error)) if late else error)
    connection.close()
    return answers


def judge(path: str) -> tuple[str, str]:
    copy = f"{path}.copy"
    shutil.copy(path, copy)
    try:
        ours = asyncio.run(ask(path))
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    *theirs, state = ask_sqlite(copy)
    errors = [answer for answer in ours if isinstance(answer, Exception)]
    for select, mine, right in zip(SELECTS, ours, theirs):
        if isinstance(right, TimeoutError):
            return "slow", select
        if not isinstance(mine, Exception) and repr(mine) != repr(right):
            verdict = "wrong" if state == [("ok",)] else "unsound"
            return verdict, f"{select}: {mine!r:.500} is not {right!r:.500}"
    return ("error", type(errors[0]).__name__) if errors else ("rows", "")


for path in sys.argv[1:]:
    print(json.dumps([path, *judge(path)]), flush=True)
