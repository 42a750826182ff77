"""A real `sqlalchemy.Table` for every model whose metadata is a `sqlalchemy.MetaData`.

It makes `metadata.create_all(engine)` and migration tools work, on the storage that the engine
itself reads and writes.  Works with SQLAlchemy 1.4 and 2; imported only for such models.
"""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import re
import uuid
from contextlib import suppress
from weakref import WeakKeyDictionary, ref

import sqlalchemy
from sqlalchemy import types
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.engine import Engine

from . import _core, constraints
from .exceptions import ConfigurationError
from .fields import Field
from .metadata import is_alchemy, metadata_of

__all__ = [
    "column_of",
    "model_of",
    "register",
    "row_of",
    "table_of",
    "tables_of",
    "target_of",
    "type_of",
]

# Decimals of more digits are text on SQLite: a NUMERIC column would make them binary floats.
SQLITE_EXACT_DIGITS = 15

# MariaDB: the longest VARCHAR, and what of a text stands in a key or an index.
MARIADB_VARCHAR = 16383
MARIADB_KEY = 255

# metadata -> models whose target, known by name only, is not there yet
_waiting: WeakKeyDictionary = WeakKeyDictionary()
# table -> the model that it was made for, weakly
_models: WeakKeyDictionary = WeakKeyDictionary()


class GUID(types.TypeDecorator):
    """A UUID: native on PostgreSQL, 32 hexadecimal digits elsewhere."""

    impl = types.CHAR(32)
    cache_ok = True

    def load_dialect_impl(self, dialect):
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(types.CHAR(32))

    def process_bind_param(self, value, dialect):
        if value is None or dialect.name == "postgresql":
            return value
        return (value if isinstance(value, uuid.UUID) else uuid.UUID(value)).hex

    def process_result_value(self, value, dialect):
        return value if value is None or isinstance(value, uuid.UUID) else uuid.UUID(value)


class GenericIP(types.TypeDecorator):
    """An IP address: INET on PostgreSQL, text elsewhere."""

    impl = types.CHAR(45)
    cache_ok = True

    def load_dialect_impl(self, dialect):
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.INET())
        return dialect.type_descriptor(types.CHAR(45))

    def process_bind_param(self, value, dialect):
        return None if value is None else str(value)

    def process_result_value(self, value, dialect):
        return None if value is None else ipaddress.ip_address(value)


class Microseconds(types.TypeDecorator):
    """An interval: native on PostgreSQL, a whole number of microseconds elsewhere."""

    impl = types.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect):
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.INTERVAL())
        return dialect.type_descriptor(types.BigInteger())

    def process_bind_param(self, value, dialect):
        if value is None or dialect.name == "postgresql":
            return value
        return value // datetime.timedelta(microseconds=1)

    def process_result_value(self, value, dialect):
        if value is None or isinstance(value, datetime.timedelta):
            return value
        return datetime.timedelta(microseconds=value)


def _place(text):
    """Where a decimal that is stored as text stands; what is none stands behind, as text."""
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        return (True, text)
    return (True, text) if number.is_nan() else (False, number)


def _compare(left, right):
    left, right = _place(left), _place(right)
    return (left > right) - (left < right)


def _add_collation(connection, record):
    """Teaches a new SQLite connection of any SQLAlchemy engine the order of decimals."""
    create = getattr(connection, "create_collation", None)
    if create is not None:
        create("orm_decimal", _compare)
    elif type(connection).__module__ == "sqlalchemy.dialects.sqlite.aiosqlite":
        connection.run_async(_add_collation_there)


async def _add_collation_there(connection):
    """An aiosqlite connection, whose thread is the one that may touch SQLite's."""
    await connection._execute(connection._conn.create_collation, "orm_decimal", _compare)


def _reflect_collation(inspector, table, column):
    """SQLAlchemy forgets collations when it reads a table, which Alembic does to copy one."""
    if inspector.dialect.name != "sqlite" or not isinstance(column["type"], types.TEXT):
        return
    query = sqlalchemy.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name")
    names = {"name": table.name}
    if isinstance(inspector.bind, Engine):
        with inspector.bind.connect() as connection:
            sql = connection.scalar(query, names)
    else:
        sql = inspector.bind.scalar(query, names)
    name = re.escape(column["name"].replace('"', '""'))
    if re.search(
        rf"[(,\s]\"?{name}\"?\s+TEXT\s+COLLATE\s+\"?orm_decimal\b", sql or "", re.IGNORECASE
    ):
        column["type"] = types.TEXT(collation="orm_decimal")


class ExactDecimal(types.TypeDecorator):
    """A decimal of many digits: NUMERIC, on SQLite text with a numeric collation."""

    impl = types.Numeric
    cache_ok = True

    def __init__(self, precision, scale):
        super().__init__(precision, scale)
        self.digits, self.places = precision, scale
        if not sqlalchemy.event.contains(Engine, "connect", _add_collation):
            sqlalchemy.event.listen(Engine, "connect", _add_collation)
            sqlalchemy.event.listen(sqlalchemy.Table, "column_reflect", _reflect_collation)

    def load_dialect_impl(self, dialect):
        if dialect.name == "sqlite":
            return dialect.type_descriptor(types.Text(collation="orm_decimal"))
        return dialect.type_descriptor(types.Numeric(self.digits, self.places))

    def process_bind_param(self, value, dialect):
        if value is None or dialect.name != "sqlite":
            return value
        return format(value, f".{self.places}f")

    def process_result_value(self, value, dialect):
        return decimal.Decimal(value) if isinstance(value, str) else value


# Migrations write them down as orm.sqlalchemy_fields.GUID(), and encode/orm's did.
for _type in (GUID, GenericIP, Microseconds, ExactDecimal):
    _type.__module__ = "orm.sqlalchemy_fields"


def _decimal(field):
    if field.max_digits > SQLITE_EXACT_DIGITS:
        return ExactDecimal(field.max_digits, field.decimal_places)
    return types.Numeric(field.max_digits, field.decimal_places)


def _on_mariadb(usual, there):
    """`usual`, and on MariaDB (whatever name its URL says) the type that loses nothing."""
    return usual.with_variant(there, "mysql").with_variant(there, "mariadb")


def _text(field):
    usual = types.String(field.max_length) if field.max_length else types.Text()
    if 0 < (field.max_length or 0) <= MARIADB_VARCHAR:
        return usual
    return _on_mariadb(usual, mysql.LONGTEXT())


def _enum(field):
    return types.Enum(field.enum, name=field.enum_name)


_TYPES = {
    _core.TYPE_BOOL: lambda field: types.Boolean(),
    _core.TYPE_INT16: lambda field: types.SmallInteger(),
    _core.TYPE_INT32: lambda field: types.Integer(),
    _core.TYPE_INT64: lambda field: types.BigInteger(),
    _core.TYPE_FLOAT: lambda field: _on_mariadb(types.Float(), mysql.DOUBLE(asdecimal=False)),
    _core.TYPE_DECIMAL: _decimal,
    _core.TYPE_TEXT: _text,
    _core.TYPE_BLOB: lambda field: _on_mariadb(types.LargeBinary(), mysql.LONGBLOB()),
    _core.TYPE_DATE: lambda field: types.Date(),
    _core.TYPE_TIME: lambda field: _on_mariadb(types.Time(), mysql.TIME(fsp=6)),
    _core.TYPE_DATETIME: lambda field: _on_mariadb(types.DateTime(), mysql.DATETIME(fsp=6)),
    _core.TYPE_DATETIMETZ: lambda field: _on_mariadb(
        types.DateTime(timezone=True), mysql.DATETIME(fsp=6)
    ),
    _core.TYPE_INTERVAL: lambda field: Microseconds(),
    _core.TYPE_UUID: lambda field: GUID(),
    _core.TYPE_JSON: lambda field: types.JSON(none_as_null=True),
    _core.TYPE_ENUM: _enum,
    _core.TYPE_IP: lambda field: GenericIP(),
    _core.TYPE_ARRAY: lambda field: types.JSON(none_as_null=True),
}


def type_of(field):
    """The column type of a field of one of our own types."""
    if field.type == _core.TYPE_REF:
        return _reference(None, field)[0]
    return _TYPES[field.type](field)


def _type(field):
    return type_of(field) if _keeps(field, "get_column_type") else field.get_column_type()


def _keeps(field, method):
    """Whether the field's type has not overridden this method."""
    return getattr(type(field), method) is getattr(Field, method)


def _key_type(field):
    """Only INTEGER is an alias of SQLite's rowid, which is what counts up there; a key of
    MariaDB has a length."""
    column_type = _type(field)
    if field.type == _core.TYPE_TEXT and not field.max_length:
        return _on_mariadb(types.Text(), types.String(MARIADB_KEY))
    if field.type in (_core.TYPE_INT16, _core.TYPE_INT64):
        return column_type.with_variant(types.Integer(), "sqlite")
    return column_type


def _target(model, field):
    """The model that a foreign key means; None while a named one is not there yet."""
    if not isinstance(field.target, str):
        return field.target
    if field.target == model.__name__:
        return model
    return metadata_of(model.__metadata__).models.get(field.target)


def register(model, declared, comment):
    """Adds the model's table to its metadata, and those that only waited for this model."""
    waiting = _waiting.setdefault(model.__metadata__, [])
    waiting.append((ref(model), declared, comment))
    for entry in list(waiting):
        thing = entry[0]()
        if thing is not None and not _is_ready(thing):
            continue
        waiting.remove(entry)
        if thing is not None:
            thing.__table__ = _build(thing, *entry[1:])


def _is_ready(model):
    """Whether everything that it refers to is there."""
    fields = model.fields.values()
    return all(_target(model, field) for field in fields if field.type == _core.TYPE_REF)


def table_of(model):
    """The table of a model, with those of the models that it refers to; made when it is first
    asked for, unless its metadata is a sqlalchemy.MetaData."""
    if is_alchemy(model.__metadata__):
        if getattr(model, "__table__", None) is None:
            raise _missing(model)
        return model.__table__
    table = vars(model).get("__table__")
    if table is None:
        table = _build(model, model.__constraints__, vars(model).get("__table_comment__"))
        model.__table__ = table
        for field in model.fields.values():
            if field.type == _core.TYPE_REF:
                table_of(_target(model, field))
    return table


def row_of(model, row, related=()):
    """An instance from a row that SQLAlchemy or `databases` has read, as if we had.

    Columns are found as those of the model's table, or by their names; `related` are paths whose
    columns the row has as well.
    """
    mapping = getattr(row, "_mapping", row)
    values = {}
    for path in related:
        name, _, rest = path.partition("__")
        target = target_of(model, model.fields[name])
        values[name] = row_of(target, row, [rest] if rest else [])
    for name, field in model.fields.items():
        column = table_of(model).c[field.column or name]
        for key in () if name in values else (column, column.name):
            with suppress(KeyError, sqlalchemy.exc.SQLAlchemyError):
                values[name] = mapping[key]
                break
    instance = model.__new__(model)
    instance.__setstate__(
        {"fields": values, "extra": None, "saved": True, "sparse": True, "dirty": 0}
    )
    return instance


def tables_of(metadata):
    """The sqlalchemy.MetaData of an orm.MetaData, with the tables of all its models."""
    for model in list(metadata.models.values()):
        table_of(model)
    return _home(metadata)


def _home(metadata):
    """Where the tables of its models are."""
    if is_alchemy(metadata):
        return metadata
    if metadata.alchemy is None:
        metadata.alchemy = sqlalchemy.MetaData()
    return metadata.alchemy


def _missing(model):
    """What to say of a model that refers to one that is not there."""
    names = [
        f"{field.name!r} refers to {field.target!r}"
        for field in model.fields.values()
        if field.type == _core.TYPE_REF and _target(model, field) is None
    ]
    return ConfigurationError(
        f"model {model.__name__!r}: {', '.join(names) or 'a model that it refers to'}: "
        "no model of that name is declared with the same metadata or registry; "
        "declare it, import its module first, or correct the name"
    )


def _build(model, declared, comment):
    if not _is_ready(model):
        raise _missing(model)
    metadata = _home(model.__metadata__)
    if model.__tablename__ in metadata.tables:
        raise ConfigurationError(
            f"model {model.__name__!r}: its metadata has another table {model.__tablename__!r} "
            "already; give the model another __tablename__ (tablename), or another metadata"
        )
    columns = [_column(model, field) for field in model.fields.values()]
    names = {name: field.column or name for name, field in model.fields.items()}
    items = [_constraint(constraint, names, model) for constraint in declared]
    table = sqlalchemy.Table(model.__tablename__, metadata, *columns, *items, comment=comment)
    _models[table] = ref(model)
    return table


def model_of(table):
    """The model that a table was made for, or None."""
    found = _models.get(table) if isinstance(table, sqlalchemy.Table) else None
    return None if found is None else found()


def target_of(model, field):
    """The model that a field refers to; None when it is no foreign key."""
    return _target(model, field) if field.type == _core.TYPE_REF else None


def column_of(field, name):
    """The column of a field, under this name."""
    return _column(None, field, name)


def _column(model, field, name=None):
    if name is None and not _keeps(field, "get_column"):
        return field.get_column(field.column or field.name)
    options = {
        "primary_key": field.primary_key,
        "nullable": field.allow_null,
        "unique": field.unique or None,
        "index": field.index or None,
        "comment": field.comment,
    }
    name = name or field.column or field.name
    constraints = field.get_constraints()
    if field.type == _core.TYPE_REF:
        column_type, constraint = _reference(model, field)
        return sqlalchemy.Column(name, column_type, *constraints or [constraint], **options)
    make = _key_type if field.primary_key else _type
    return sqlalchemy.Column(name, make(field), *constraints, **options)


def _reference(model, field):
    """The type and the constraint of a foreign key's column."""
    target = field.target if model is None else _target(model, field)
    if isinstance(target, str):
        raise ConfigurationError(f"{field!r}: its target is known to its model only")
    if target.__pkname__ is None:
        raise ConfigurationError(
            f"model {getattr(model, '__name__', None)!r}: {field.name!r} refers to "
            f"{target.__name__!r}, whose key has several fields"
        )
    key = target.fields[target.__pkname__]
    if key.type == _core.TYPE_REF:
        column_type = _reference(target, key)[0]
    else:
        column_type = _key_type(key) if key.type == _core.TYPE_TEXT else _type(key)
    column = f"{target.__tablename__}.{key.column or key.name}"
    if model is not None and target.__metadata__ is not model.__metadata__:
        column = table_of(target).c[key.column or key.name]
    constraint = sqlalchemy.ForeignKey(column, ondelete=field.on_delete, onupdate=field.on_update)
    return column_type, constraint


def _constraint(constraint, names, model):
    columns = [names[name] for name in constraint.fields]
    if constraint.kind == constraints.PRIMARY_KEY:
        return sqlalchemy.PrimaryKeyConstraint(*columns, name=constraint.name)
    if constraint.kind == constraints.UNIQUE:
        return sqlalchemy.UniqueConstraint(*columns, name=constraint.name)
    if constraint.kind == constraints.CHECK:
        return sqlalchemy.CheckConstraint(constraint.sql, name=constraint.name)
    where = None if constraint.sql is None else sqlalchemy.text(constraint.sql)
    return sqlalchemy.Index(
        constraint.name or "_".join(("ix", model.__tablename__, *columns)),
        *columns,
        unique=constraint.kind == constraints.UNIQUE_INDEX,
        sqlite_where=where,
        postgresql_where=where,
    )
