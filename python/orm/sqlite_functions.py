"""What the engine's SQL calls, for connections of the standard library's `sqlite3`.

The engine's own connections have these functions in C; a statement that runs on a connection of
`databases` needs them there.  Regular expressions are Python's on these.
"""

from __future__ import annotations

import re
import sqlite3
from decimal import Decimal, InvalidOperation
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
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


def prepare(connection: sqlite3.Connection) -> None:
    """Adds functions and collation; in the connection's own thread."""
    connection.create_function("orm_fold", 1, fold, deterministic=True)
    connection.create_function("orm_startswith", 2, startswith, deterministic=True)
    connection.create_function("orm_endswith", 2, endswith, deterministic=True)
    connection.create_function("orm_regexp", 2, regexp, deterministic=True)
    connection.create_function("orm_iregexp", 2, iregexp, deterministic=True)
    connection.create_collation("orm_decimal", compare_decimals)


class Connection(sqlite3.Connection):
    """A connection as the engine's own: with these functions, and with foreign keys enforced."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute("PRAGMA foreign_keys = ON").close()
        prepare(self)
