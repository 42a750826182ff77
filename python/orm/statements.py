"""SQL of the user's own as `orm.Database` sends it: named parameters, SQLAlchemy's expressions."""

from __future__ import annotations

import decimal
import re
import sys
from functools import cache, lru_cache

from .exceptions import ProgrammingError
from .records import row_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .records import Record

__all__ = ["Columns", "compile_expression", "is_expression", "named"]

# What is not looked into: quotes, comments, casts; then a name, or a colon written as \:
REST = r"""|`[^`]*`|--[^\n]*|/\*.*?\*/|::)|(?<![:\w]):([A-Za-z_]\w*)|\\:"""
TOKEN = re.compile(r"""('[^']*'|"[^"]*\"""" + REST, re.DOTALL)
TOKEN_MARIADB = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""" + REST, re.DOTALL)


@lru_cache(maxsize=512)
def split(sql: str, dialect: str) -> tuple[str, tuple[str, ...]]:
    """The text with the backend's placeholders for `:name`, and the names in their order."""
    numbered = dialect == "postgresql"
    names: list[str] = []

    def place(match: re.Match[str]) -> str:
        quoted, name = match.groups()
        if quoted is not None:
            return quoted
        if name is None:
            return ":"
        if not numbered:
            names.append(name)
            return "?"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    token = TOKEN_MARIADB if dialect == "mariadb" else TOKEN
    return token.sub(place, sql), tuple(names)


def named(sql: str, values: Mapping[str, Any], dialect: str) -> tuple[str, list[Any]]:
    """The text and the values of its `:name` parameters, which are all given and all used."""
    text, names = split(sql, dialect)
    for name in names:
        if name not in values:
            raise ProgrammingError(f"the statement's parameter :{name} has no value")
    for name in values:
        if name not in names:
            raise ProgrammingError(f"the statement has no parameter :{name}")
    return text, [values[name] for name in names]


# ---- SQLAlchemy --------------------------------------------------------------------------------


def is_expression(query: object) -> bool:
    """Whether it is a clause of SQLAlchemy, which is not imported for that."""
    module = sys.modules.get("sqlalchemy.sql")
    return module is not None and isinstance(query, module.ClauseElement)


class Marks(dict):  # type: ignore[type-arg]
    """Gives placeholders to `text % marks`, and remembers whose they are."""

    def __init__(self, numbered: bool) -> None:
        self.numbered = numbered
        self.order: list[str] = []

    def __getitem__(self, key: str) -> str:
        self.order.append(key)
        return f"${len(self.order)}" if self.numbered else "?"


@cache
def alchemy_dialect(name: str) -> Any:
    if name == "sqlite":
        from sqlalchemy.dialects.sqlite import pysqlite

        dialect = pysqlite.dialect(paramstyle="pyformat")
        dialect.supports_native_decimal = False
        return dialect
    if name == "postgresql":
        from sqlalchemy.dialects.postgresql.base import PGDialect

        dialect = PGDialect(paramstyle="pyformat")
        dialect.implicit_returning = True
        dialect.supports_native_enum = True
    else:
        from sqlalchemy.dialects.mysql import pymysql

        dialect = pymysql.dialect(paramstyle="pyformat")
    dialect.supports_native_decimal = True
    return dialect


def compile_expression(
    query: Any, values: Mapping[str, Any] | None, name: str
) -> tuple[str, list[Any], Columns | None]:
    """The text, its values, and what the columns of its rows are."""
    from sqlalchemy.sql.ddl import DDLElement

    if values:
        is_text = isinstance(query, sys.modules["sqlalchemy.sql"].elements.TextClause)
        query = query.bindparams(**values) if is_text else query.values(**values)
    dialect = alchemy_dialect(name)
    compiled = query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    if isinstance(query, DDLElement):
        return str(compiled), [], None
    marks = Marks(name == "postgresql")
    text = compiled.string % marks
    parameters = compiled.construct_params()
    processors = compiled._bind_processors
    bound = [
        processors[key](parameters[key]) if key in processors else parameters[key]
        for key in marks.order
    ]
    return text, bound, Columns(compiled._result_columns, dialect)


class Columns:
    """The columns of a compiled expression: how their values are read, how rows name them."""

    def __init__(self, columns: Sequence[Any], dialect: Any) -> None:
        self.names = tuple(column[0] for column in columns)
        self.full = tuple(full_name(column[2]) for column in columns)
        self.readers = [reader(column[3], dialect) for column in columns]

    def records(self, rows: Sequence[Record]) -> list[Record]:
        if not self.readers or (rows and len(rows[0]) != len(self.readers)):
            return list(rows)
        make = row_type(self.names, self.full)
        return [make(read(value) for read, value in zip(self.readers, row)) for row in rows]


def full_name(objects: Sequence[Any]) -> str:
    """Of the objects that stand for a result column, the table's column as text."""
    from sqlalchemy import Column

    return next((str(thing) for thing in objects if isinstance(thing, Column)), "")


def reader(kind: Any, dialect: Any) -> Callable[[Any], Any]:
    """How a value of the type is read: what the driver gives as its own kind is left alone."""
    asdecimal = getattr(kind, "asdecimal", None)  # numbers have it
    if asdecimal is not None and dialect.name != "sqlite":
        number: Callable[[str], Any] = decimal.Decimal if asdecimal else float
        return lambda value: number(value) if isinstance(value, str) else value
    processor = kind._cached_result_processor(dialect, None)
    if processor is None:
        return lambda value: value
    return lambda value: processor(value) if isinstance(value, (int, str, float)) else value
