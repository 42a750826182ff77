"""What the engine's SQL calls, for connections of the standard library's `sqlite3`.

The engine's own connections have these functions in C; a statement that runs on a connection of
`databases` needs them there.  Regular expressions are Python's on these.
"""

from __future__ import annotations

import re
import sqlite3
import weakref
from decimal import Decimal, InvalidOperation
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Connection", "prepare"]


def text_of(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else str(value)


def fold(value: Any) -> str | None:
    return None if value is None else text_of(value).casefold()


def startswith(text: Any, part: Any) -> bool | None:
    if text is None or part is None:
        return None
    return text_of(text).startswith(text_of(part))


def endswith(text: Any, part: Any) -> bool | None:
    if text is None or part is None:
        return None
    return text_of(text).endswith(text_of(part))


compiled = lru_cache(maxsize=256)(re.compile)


def regexp(pattern: Any, text: Any) -> bool | None:
    if pattern is None or text is None:
        return None
    return compiled(text_of(pattern)).search(text_of(text)) is not None


def iregexp(pattern: Any, text: Any) -> bool | None:
    if pattern is None or text is None:
        return None
    return compiled(text_of(pattern), re.IGNORECASE).search(text_of(text)) is not None


def compare_decimals(a: str, b: str) -> int:
    try:
        left, right = Decimal(a), Decimal(b)
        return (left > right) - (left < right)
    except InvalidOperation:
        return (a > b) - (a < b)


def affinity(declared: str) -> str:
    """What a column of that type makes of a number in text, by SQLite's rules."""
    declared = declared.upper()
    if "INT" in declared:
        return "number"
    if not declared or any(word in declared for word in ("CHAR", "CLOB", "TEXT", "BLOB")):
        return "text"
    return "float" if any(word in declared for word in ("REAL", "FLOA", "DOUB")) else "number"


def checker_of(connection: sqlite3.Connection) -> Callable[[str, str, Any], Any]:
    """orm_exact(table, column, number): the number, if the column keeps all its digits."""
    try:
        owner = weakref.ref(connection)  # which holds the function
    except TypeError:  # plain connections cannot be referred to so; closing one ends the cycle

        def owner() -> sqlite3.Connection:
            return connection

    def exact(table: str, column: str, number: Any) -> Any:
        text = "" if number is None else text_of(number)
        digits = text.replace(".", "", 1).strip("-").lstrip("0")
        if "." in text:
            digits = digits.rstrip("0")
        if len(digits) > 15:
            found = (
                owner()
                .execute("SELECT type FROM pragma_table_info(?) WHERE name = ?", (table, column))
                .fetchone()
            )
            kept = affinity(found[0]) if found else "text"
            if kept != "text" and (kept == "float" or "." in text or len(digits) > 18):
                raise ValueError(f"{table}.{column}: a column of type {found[0]} loses digits")
        return number

    return exact


def prepare(connection: sqlite3.Connection) -> None:
    """Adds functions and collation; in the connection's own thread."""
    connection.create_function("orm_fold", 1, fold, deterministic=True)
    connection.create_function("orm_startswith", 2, startswith, deterministic=True)
    connection.create_function("orm_endswith", 2, endswith, deterministic=True)
    connection.create_function("orm_regexp", 2, regexp, deterministic=True)
    connection.create_function("orm_iregexp", 2, iregexp, deterministic=True)
    connection.create_function("orm_exact", 3, checker_of(connection))
    connection.create_collation("orm_decimal", compare_decimals)


class Connection(sqlite3.Connection):
    """A connection as the engine's own: with these functions, and with foreign keys enforced."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute("PRAGMA foreign_keys = ON").close()
        prepare(self)
