"""Field types of one's own, as encode/orm's users write them.

Such a type overrides `get_column_type()`, and perhaps `get_validator()` or `validate()`; or it
derives from one of typesystem's fields beside `orm.fields.ModelField`.  Its values are checked by
a call, and converted by one where the column type is a `sqlalchemy.types.TypeDecorator`; what is
stored in between is a type that the engine knows.  Imported for such fields only.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module

from . import _core
from .exceptions import ConfigurationError, UnknownArgument, ValidationError
from .fields import NO_DEFAULT, Field

__all__ = ["settle", "start"]

# Arguments that are the field's alone; the rest is for its validator.
OWN = ("primary_key", "index", "unique", "column", "comment")


# ---- when it is declared -----------------------------------------------------------------------


def start(field, options):
    """Hands the options on to the type's own validator."""
    cls = type(field)
    rest = {name: value for name, value in options.items() if name not in OWN}
    if _is_mixed(cls):
        if field.primary_key:
            rest["allow_null"] = True
        above = super(Field, field)
        above.__init__(**rest)
        field._validate = above.validate
        if field.primary_key and field.default is None:
            field.default = NO_DEFAULT
    elif cls.get_validator is not Field.get_validator:
        _take_validator(field, field.get_validator(**rest))
    else:
        unknown = [name for name in options if name not in field.arguments]
        if unknown:
            raise UnknownArgument(field._unknown(unknown[0]))


def _is_mixed(cls):
    return cls.__mro__[cls.__mro__.index(Field) + 1] is not object


def _take_validator(field, validator):
    field._validator = validator
    if validator is field:  # typesystem is not installed
        return
    field._validate = validator.validate
    if field.default is NO_DEFAULT and not field.primary_key and validator.has_default():
        field.default = validator.get_default_value


# ---- when its model is made --------------------------------------------------------------------


def settle(field, database):
    """What the engine needs to know of a field of a model of this database."""
    cls = type(field)
    declared = field._declared = vars(field).get("_declared", field.type)  # it may be inherited
    plain = {"type": declared, "encoder": None, "decoder": None, "checker": None}
    builtin = partial(_core.validate, _with(field, plain))
    if cls.get_column_type is not Field.get_column_type:
        _settle_storage(field, _dialect(database))
    if "_validate" in vars(field) or cls.validate is not Field.validate:
        field.checker = _checker(field.validate)
    elif declared == _core.TYPE_NONE:
        field.checker = _anything if field.encoder else None
    elif declared != field.type or field.encoder:
        field.checker = builtin
    if _is_mixed(cls):
        field.pattern = None  # typesystem's, not a compiled one


def _with(field, attributes):
    other = object.__new__(type(field))
    other.__dict__ |= vars(field) | attributes
    return other


def _checker(validate):
    """`validate` with typesystem's errors as ours."""

    def check(value):
        try:
            return validate(value)
        except ValidationError:
            raise
        except Exception as error:
            module = sys.modules.get("typesystem")
            if module is None or not isinstance(error, module.ValidationError):
                raise
            raise ValueError(" ".join(message.text for message in error.messages())) from None

    return check


def _anything(value):
    if value is None:
        raise ValueError("May not be null.")
    return value


# ---- storage -----------------------------------------------------------------------------------


def _dialect(database):
    """SQLAlchemy's dialect of a model's database; SQLite's while that is not known."""
    name = getattr(database, "dialect", None)
    if not isinstance(name, str):
        name = str(getattr(database, "url", database) or "sqlite")
    name = name.partition(":")[0].partition("+")[0]
    name = {"postgres": "postgresql", "mariadb": "mysql"}.get(name, name)
    try:
        return import_module(f"sqlalchemy.dialects.{name}").dialect()
    except ImportError:
        raise ConfigurationError(f"{name!r} is no dialect of SQLAlchemy") from None


def _settle_storage(field, dialect):
    from sqlalchemy.types import Enum, TypeDecorator, to_instance

    given = stored = to_instance(field.get_column_type())
    to_stored, from_stored = [], []
    while not isinstance(stored, _own_types()):
        adapted = stored.dialect_impl(dialect)
        if not isinstance(adapted, TypeDecorator):
            stored = adapted
            break
        if type(stored).process_bind_param is not TypeDecorator.process_bind_param:
            to_stored.append(partial(stored.process_bind_param, dialect=dialect))
        if type(stored).process_result_value is not TypeDecorator.process_result_value:
            from_stored.insert(0, partial(stored.process_result_value, dialect=dialect))
        stored = adapted.impl
    _take_type(field, stored, dialect, to_stored, from_stored)
    field.encoder = _one_call(to_stored)
    field.decoder = _one_call(from_stored)
    is_made_key = field.primary_key and field.type in _INTEGERS
    is_made_type = isinstance(stored, Enum) and dialect.name == "postgresql"
    if field.type not in (_core.TYPE_ENUM, _core.TYPE_DECIMAL) and not (
        is_made_key or is_made_type
    ):
        field.sql_type = given.compile(dialect=dialect)


_INTEGERS = (_core.TYPE_INT16, _core.TYPE_INT32, _core.TYPE_INT64)


def _one_call(calls):
    if len(calls) < 2:
        return calls[0] if calls else None

    def call(value):
        for one in calls:
            value = one(value)
        return value

    return call


def _own_types():
    from . import alchemy

    return (alchemy.GUID, alchemy.GenericIP, alchemy.Microseconds, alchemy.ExactDecimal)


def _take_type(field, stored, dialect, to_stored, from_stored):
    """The engine's type that stores what SQLAlchemy's does, with its sizes."""
    from sqlalchemy import types
    from sqlalchemy.dialects import postgresql

    from . import alchemy

    simple = (  # the special before the general
        (alchemy.GUID, _core.TYPE_UUID),
        (alchemy.GenericIP, _core.TYPE_IP),
        (alchemy.Microseconds, _core.TYPE_INTERVAL),
        (alchemy.ExactDecimal, _core.TYPE_DECIMAL),
        (types.Boolean, _core.TYPE_BOOL),
        (types.SmallInteger, _core.TYPE_INT16),
        (types.BigInteger, _core.TYPE_INT64),
        (types.Integer, _core.TYPE_INT32),
        (types.Float, _core.TYPE_FLOAT),
        (types.Numeric, _core.TYPE_DECIMAL),
        (types.Enum, _core.TYPE_ENUM),
        (types.String, _core.TYPE_TEXT),
        (types._Binary, _core.TYPE_BLOB),
        (types.Date, _core.TYPE_DATE),
        (types.Time, _core.TYPE_TIME),
        (types.DateTime, _core.TYPE_DATETIME),
        (types.JSON, _core.TYPE_JSON),
        (postgresql.INTERVAL, _core.TYPE_INTERVAL),
        (postgresql.INET, _core.TYPE_IP),
        (getattr(types, "Uuid", postgresql.UUID), _core.TYPE_UUID),
        (postgresql.UUID, _core.TYPE_UUID),
    )
    field.type = next((to for kind, to in simple if isinstance(stored, kind)), _core.TYPE_TEXT)
    known = any(isinstance(stored, kind) for kind, _ in simple)
    if field.type == _core.TYPE_DATETIME and stored.timezone:
        field.type = _core.TYPE_DATETIMETZ
    elif field.type == _core.TYPE_DECIMAL:
        field.max_digits = getattr(stored, "precision", None) or 1000
        field.decimal_places = getattr(stored, "scale", None) or 0
    elif field.type == _core.TYPE_ENUM:
        known = _take_enum(field, stored)
    elif field.type == _core.TYPE_UUID and not getattr(stored, "as_uuid", True):
        to_stored.append(_uuid)
        from_stored.insert(0, str)
    if not known:
        _append(to_stored, stored.bind_processor(dialect), None)
        _append(from_stored, stored.result_processor(dialect, None), 0)


def _take_enum(field, stored):
    """Whether it holds the names of the members of an enum."""
    if stored.enum_class is not None:
        if list(stored.enums) == list(stored.enum_class.__members__):
            field.enum = stored.enum_class
            return True
    field.type = _core.TYPE_TEXT
    return False


def _append(calls, call, place):
    if call is not None:
        calls.insert(len(calls) if place is None else place, call)


def _uuid(value):
    from uuid import UUID

    return value if value is None or isinstance(value, UUID) else UUID(value)
