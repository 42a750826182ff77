"""Collections of models: `orm.MetaData`, or a `sqlalchemy.MetaData` in its place."""

from __future__ import annotations

import sys
from weakref import WeakKeyDictionary, WeakValueDictionary

from . import _core
from .database import database_of, resolve, url_of
from .exceptions import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from .database import DatabaseLike

    MetaDataLike: TypeAlias = "MetaData | Any"  # or a sqlalchemy.MetaData

__all__ = ["MetaData", "create_all", "drop_all"]


class MetaData:
    """A set of models that refer to each other by name and are created together."""

    __slots__ = ("__weakref__", "alchemy", "awaited", "enums", "models", "schema")

    def __init__(self) -> None:
        self.schema = _core.Schema()
        # By the name of their type in the database.
        self.enums: WeakValueDictionary[str, type] = WeakValueDictionary()
        # By class name.
        self.models: WeakValueDictionary[str, _core.ModelType] = WeakValueDictionary()
        # Foreign keys to models that are still to come: what to do, by the name of the target.
        self.awaited: dict[str, list[Callable[[_core.ModelType], None]]] = {}
        # The sqlalchemy.MetaData of the tables, once somebody asks for one.
        self.alchemy: Any = None

    def enum_name(self, field: Any, table: str) -> str:
        """The name of an enum's type in the database: that of its class, as in encode/orm; for
        another enum of that name, table and column."""
        name = field.enum.__name__.lower()
        known = self.enums.setdefault(name, field.enum)
        if list(known.__members__) == list(field.enum.__members__):
            return name
        return f"{table}_{field.column or field.name}"

    def create_all(self, database: DatabaseLike | None = None) -> _core.Operation[None]:
        """Creates the tables that are missing.  Await it."""
        return create_all(self, database)

    def drop_all(self, database: DatabaseLike | None = None) -> _core.Operation[None]:
        """Drops the tables.  Await it."""
        return drop_all(self, database)


DEFAULT = MetaData()  # of the models that name none

# Ours beside each sqlalchemy.MetaData; it goes when that goes.
_beside_alchemy: WeakKeyDictionary[Any, MetaData] = WeakKeyDictionary()


def is_alchemy(metadata: object) -> bool:
    """Whether it is a sqlalchemy.MetaData; SQLAlchemy is not imported to find out."""
    module = sys.modules.get("sqlalchemy")
    return module is not None and isinstance(metadata, module.MetaData)


def metadata_of(metadata: object) -> MetaData:
    """The `MetaData` itself, or ours beside a sqlalchemy.MetaData."""
    if isinstance(metadata, MetaData):
        return metadata
    if is_alchemy(metadata):
        return _beside_alchemy.get(metadata) or _beside_alchemy.setdefault(metadata, MetaData())
    raise ConfigurationError(
        f"expected an orm.MetaData or a sqlalchemy.MetaData, not {metadata!r:.80}"
    )


def create_all(
    metadata: MetaDataLike, database: DatabaseLike | None = None
) -> _core.Operation[None]:
    """Creates the tables and indexes of `metadata` that the database lacks.  Await it.

    Without a database it is the one of its models.
    """
    models = metadata_of(metadata)
    return _database(models, database).create_all(models.schema)


def drop_all(metadata: MetaDataLike, database: DatabaseLike | None = None) -> _core.Operation[None]:
    """Drops the tables of `metadata`, where they exist.  Await it.

    Without a database it is the one of its models.
    """
    models = metadata_of(metadata)
    return _database(models, database).drop_all(models.schema)


def _database(metadata: MetaData, database: DatabaseLike | None) -> _core.Database:
    if database is not None:
        return database_of(database)
    found: dict[_core.Database, list[str]] = {}
    for name, model in sorted(metadata.models.items()):
        if getattr(model, "__database__", None) is not None:
            found.setdefault(resolve(model), []).append(name)
    if len(found) == 1:
        return next(iter(found))
    names = ", ".join(map(repr, sorted(metadata.models))) or "there are none"
    if not found:
        raise ConfigurationError(f"no database: name one, or set __database__ of a model ({names})")
    lists = "; ".join(
        f"{', '.join(map(repr, names))} use {url_of(database)}" for database, names in found.items()
    )
    raise ConfigurationError(f"several databases: name one of them ({lists})")
