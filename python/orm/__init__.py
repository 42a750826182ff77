"""An object-relational mapper whose engine is a C library.

Models are classes with fields; `Model.objects` asks; results are awaited.  Neither `databases`
nor `sqlalchemy` is imported here; both are welcome where a model names them.
"""

from __future__ import annotations

from . import constants, exceptions, fields, models
from ._core import ImplicitLoad, Operation, QuerySet, Statement, Transaction, on_implicit_load
from .constraints import CheckConstraint, Index, PrimaryKey, UniqueConstraint
from .database import Database, DatabaseURL
from .exceptions import *  # noqa: F403
from .exceptions import __all__ as _exceptions
from .fields import (
    CASCADE,
    JSON,
    NO_ACTION,
    RESTRICT,
    SET_DEFAULT,
    SET_NULL,
    URL,
    UUID,
    Array,
    BigInteger,
    Binary,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Email,
    Enum,
    Float,
    ForeignKey,
    Integer,
    Interval,
    IPAddress,
    OneToOne,
    SmallInteger,
    String,
    Text,
    Time,
)
from .metadata import MetaData, create_all, drop_all
from .models import Model, asdict, refresh, save
from .registry import ModelRegistry
from .relations import Reverse, fetch_mode
from .transactions import retry

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Modules that are imported when somebody asks for them."""
    if name != "sqlalchemy_fields":
        raise AttributeError(f"module 'orm' has no attribute {name!r}")
    from importlib import import_module

    return import_module("orm.sqlalchemy_fields")


__all__ = [
    "CASCADE",
    "JSON",
    "NO_ACTION",
    "RESTRICT",
    "SET_DEFAULT",
    "SET_NULL",
    "URL",
    "UUID",
    "Array",
    "BigInteger",
    "Binary",
    "Boolean",
    "CheckConstraint",
    "Database",
    "DatabaseURL",
    "Date",
    "DateTime",
    "Decimal",
    "Email",
    "Enum",
    "Float",
    "ForeignKey",
    "IPAddress",
    "ImplicitLoad",
    "Index",
    "Integer",
    "Interval",
    "MetaData",
    "Model",
    "ModelRegistry",
    "OneToOne",
    "Operation",
    "PrimaryKey",
    "QuerySet",
    "Reverse",
    "SmallInteger",
    "Statement",
    "String",
    "Text",
    "Time",
    "Transaction",
    "UniqueConstraint",
    "asdict",
    "constants",
    "create_all",
    "drop_all",
    "exceptions",
    "fetch_mode",
    "fields",
    "models",
    "on_implicit_load",
    "refresh",
    "retry",
    "save",
    *_exceptions,
]
