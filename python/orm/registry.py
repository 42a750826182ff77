"""encode/orm's spelling of models since 0.2: a registry, `fields = {...}` and `tablename`.

It is a face.  A class in this style is spelt out in class attributes (`spell_out`) and goes the
way of every other model from there; a registry is a `MetaData` that knows its database.
"""

from __future__ import annotations

from . import _core
from .database import database_of, open_apart
from .exceptions import ConfigurationError
from .fields import Field
from .metadata import MetaData

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeGuard

    import sqlalchemy

    from .database import DatabaseLike

__all__ = ["ModelRegistry"]


class ModelRegistry(MetaData):
    """The models of one database, by name: `registry = orm.ModelRegistry(database=database)`.

    `create_all()` and `drop_all()` may be called plainly where no event loop runs: they act at
    once.  Where one runs, await them.
    """

    __slots__ = ("_database", "_known")

    def __init__(self, database: DatabaseLike) -> None:
        super().__init__()
        self._database = database
        # Unlike other collections it keeps its models alive.
        self.models: dict[str, _core.ModelType] = {}  # type: ignore[assignment]

    @property
    def database(self) -> DatabaseLike:
        """The database of its models.  Another may be set: they move to it."""
        return self._database

    @database.setter
    def database(self, database: DatabaseLike) -> None:
        before, self._database = self._database, database
        for model in self.models.values():
            if model.__database__ is before:
                model.__database__ = database
            if model.__dict__.get("database") is before:
                model.database = database  # type: ignore[attr-defined]

    @property
    def metadata(self) -> sqlalchemy.MetaData:
        """A `sqlalchemy.MetaData` with the table of every model, for Alembic and others."""
        from .alchemy import tables_of

        return tables_of(self)

    def create_all(self, database: DatabaseLike | None = None) -> Awaitable[None]:  # type: ignore[override]
        """Creates the tables that are missing, on a connection of its own."""
        return self._act("create_all", database)

    def drop_all(self, database: DatabaseLike | None = None) -> Awaitable[None]:  # type: ignore[override]
        """Drops the tables, on a connection of its own."""
        return self._act("drop_all", database)

    def _act(self, what: str, database: DatabaseLike | None) -> Awaitable[None]:
        """Awaitable where a loop runs; elsewhere it is done, and may be awaited all the same."""
        from asyncio import get_running_loop

        given = self.database if database is None else database
        known = self._known = database_of(given)  # a URL's lives as long as somebody has it
        apart = None if known is given or isinstance(given, str) else open_apart(given)
        operation = getattr(apart or known, what)(self.schema)
        try:
            get_running_loop()
        except RuntimeError:
            return _core.run_now(operation)
        return operation if apart is None else _and_close(apart, operation)

    def __repr__(self) -> str:
        return f"<orm.ModelRegistry of {', '.join(self.models) or 'no models'}>"


async def _and_close(database: _core.Database, operation: _core.Operation[None]) -> None:
    try:
        await operation
    finally:
        await database.disconnect()


# ---- the spelling ------------------------------------------------------------------------------


class _OfTheModel:
    """An attribute of the class that is made when it is asked for."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[_core.ModelType], Any]) -> None:
        self._make = make

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self._make(owner if instance is None else instance.__class__)  # type: ignore[arg-type]


def _table(model: _core.ModelType) -> sqlalchemy.Table:
    from .alchemy import table_of

    return table_of(model)


def _columns(model: _core.ModelType) -> Any:
    return _table(model).columns


def spell_out(name: str, registry: object, namespace: dict[str, Any]) -> dict[str, Any]:
    """The namespace of a class, spelt in class attributes; that of the other style is as it was.

    Fields win over the names that encode/orm gives a class.
    """
    fields = namespace.get("fields")
    if not isinstance(registry, ModelRegistry):
        if _is_fields(fields) and fields:
            raise ConfigurationError(
                f"model {name!r} has fields = {{…}} and no registry: "
                "set registry = orm.ModelRegistry(database=…)"
            )
        return namespace
    if not _is_fields(fields):
        raise ConfigurationError(
            f"model {name!r}: fields is a dict of names and fields, such as "
            '{"id": orm.Integer(primary_key=True)}'
        )
    table = namespace.get("tablename", name.lower())
    rest = {key: value for key, value in namespace.items() if key != "fields"}
    return {
        "tablename": table,
        "database": registry.database,
        "table": _OfTheModel(_table),
        "columns": _OfTheModel(_columns),
        "build_table": classmethod(_table),
        "__tablename__": table,
        "__metadata__": registry,
        "__database__": registry.database,
        **rest,
        **(fields or {}),
    }


def _is_fields(fields: object) -> TypeGuard[dict[str, Field[Any]] | None]:
    if fields is None:
        return True
    if not isinstance(fields, dict):
        return False
    return all(isinstance(name, str) and isinstance(f, Field) for name, f in fields.items())
