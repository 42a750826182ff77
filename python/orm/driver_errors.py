"""Errors of our own engine as errors of the driver that a `databases.Database` would have used.

Code that catches `sqlite3.IntegrityError`, `asyncpg.UniqueViolationError` or
`pymysql.err.IntegrityError` works inside and outside of that database's transactions.  Which class
it is follows from the backend's code, as it does in the driver.  Called when such an error is
raised; a driver that nobody has imported cannot be caught, and is not imported here.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from .exceptions import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["translate"]


def translate(error: Exception, routes: Any) -> Exception:
    """The error as an instance of the driver's class as well."""
    backend = type(routes.source()._backend).__name__
    if backend not in _FINDERS or not isinstance(error, Error) or not error.backend:
        return error
    name, find = _FINDERS[backend]
    module = sys.modules.get(name)
    cls = None if module is None else _both(type(error), find(error, module))
    if cls is None:
        return error
    known = {**vars(error), "text": str(error)}
    args = (error.code, error.detail) if backend in _NUMBERED else error.args
    return _again(cls, args, known)


# ---- which class of theirs ---------------------------------------------------------------------


def _of_sqlite(error: Error, module: Any) -> type[Exception]:
    return getattr(module, _SQLITE.get((error.code or 0) & 0xFF, "DatabaseError"))


_SQLITE = {
    **dict.fromkeys((1, 3, 4, 5, 6, 8, 9, 10, 13, 14, 15, 16, 17), "OperationalError"),
    **dict.fromkeys((2, 12), "InternalError"),
    18: "DataError",
    **dict.fromkeys((19, 20), "IntegrityError"),
    **dict.fromkeys((21, 25), "InterfaceError"),
}


def _of_postgresql(error: Error, module: Any) -> type[Exception]:
    classes = {
        cls.sqlstate: cls
        for cls in vars(module.exceptions).values()
        if isinstance(cls, type) and getattr(cls, "sqlstate", None)
    }
    state = error.sqlstate or ""
    return classes.get(state) or classes.get(state[:2] + "000") or module.PostgresError


def _of_mysql(error: Error, module: Any) -> type[Exception]:
    code = error.code or 0
    otherwise = "InternalError" if code < 1000 else "OperationalError"
    return getattr(module, _MYSQL.get(code, otherwise))


# What pymysql and asyncmy make of a server's numbers, both the same.
_MYSQL = {
    **dict.fromkeys((1007, 1064, 1102, 1103, 1110, 1111, 1112, 1113), "ProgrammingError"),
    **dict.fromkeys((1146, 1149, 1166, 1179), "ProgrammingError"),
    **dict.fromkeys((1171, 1230, 1263, 1264, 1265, 1366, 1367, 1406, 1441), "DataError"),
    **dict.fromkeys((1048, 1062, 1215, 1216, 1217, 1451, 1452), "IntegrityError"),
    **dict.fromkeys((1196, 1235, 1286, 1289), "NotSupportedError"),
}

# the backend of databases -> its driver's module, and what finds the class there
_FINDERS: dict[str, tuple[str, Callable[[Error, Any], type[Exception]]]] = {
    "SQLiteBackend": ("sqlite3", _of_sqlite),
    "PostgresBackend": ("asyncpg", _of_postgresql),
    "MySQLBackend": ("pymysql.err", _of_mysql),
    "AsyncMyBackend": ("asyncmy.errors", _of_mysql),
}
# Their errors are known by `args`: a number and the server's words.
_NUMBERED = ("MySQLBackend", "AsyncMyBackend")


# ---- the class that is both --------------------------------------------------------------------

_made: dict[tuple[type, type], type] = {}


def _both(ours: type[Error], theirs: type[Exception]) -> Any:
    """None where the memory of the two cannot be laid out as one."""
    both = _made.get((ours, theirs))
    if both is None:
        body = {
            "__module__": ours.__module__,
            "__qualname__": ours.__qualname__,
            "__str__": _text,
            "__reduce__": _reduce,
            "_classes": (ours, theirs),
        }
        aliases = {
            "table_name": "table",
            "column_name": "column",
            "constraint_name": "constraint",
            "sqlite_errorcode": "code",
        }
        for name, known in aliases.items():
            body[name] = property(lambda self, known=known: getattr(self, known))
        with suppress(TypeError):
            both = _made[ours, theirs] = type(theirs)(ours.__name__, (ours, theirs), body)
    return both


def _text(self: Any) -> str:
    return self.text


def _reduce(self: Any) -> tuple[Any, ...]:
    return _unpickle, (*self._classes, self.args, dict(vars(self)))


def _unpickle(ours: type[Error], theirs: type[Exception], args: Any, known: Any) -> Any:
    return _again(_both(ours, theirs), args, known)


def _again(cls: Any, args: tuple[Any, ...], known: dict[str, Any]) -> Any:
    error = cls.__new__(cls, *args)
    error.args = args
    vars(error).update(known)
    return error
