"""The field types.

A field is a description: the extension module reads its attributes once, when the model class is
made, and takes it out of the class.  The types that a checker sees are in `fields.pyi`.
"""

from __future__ import annotations

import re
import sys
from types import GenericAlias

from . import _core
from .exceptions import (
    ConfigurationError,
    InvalidArgument,
    MissingArgument,
    UnknownArgument,
    ValidationError,
)

__all__ = [
    "AutoNowMixin",
    "CASCADE",
    "NO_ACTION",
    "NO_DEFAULT",
    "RESTRICT",
    "SET_DEFAULT",
    "SET_NULL",
    "Array",
    "BigInteger",
    "Binary",
    "Boolean",
    "Date",
    "DateTime",
    "Decimal",
    "Email",
    "Enum",
    "Field",
    "Float",
    "ForeignKey",
    "IPAddress",
    "Integer",
    "Interval",
    "JSON",
    "ModelField",
    "OneToOne",
    "SmallInteger",
    "String",
    "Text",
    "Time",
    "URL",
    "UUID",
]

CASCADE = "CASCADE"
RESTRICT = "RESTRICT"
SET_NULL = "SET NULL"
SET_DEFAULT = "SET DEFAULT"
NO_ACTION = "NO ACTION"
_ACTIONS = (CASCADE, RESTRICT, SET_NULL, SET_DEFAULT, NO_ACTION)


class _NoDefault:
    __slots__ = ()

    def __repr__(self):
        return "NO_DEFAULT"

    def __reduce__(self):
        return "NO_DEFAULT"


NO_DEFAULT = _NoDefault()


class Field:
    """What every field has.  `arguments` names what a type takes, with the defaults.

    A type of your own is a subclass; its `converter(value)` runs after the built-in rules, returns
    the value to keep and raises ValueError(text) for one that it refuses.
    """

    type = _core.TYPE_NONE
    arguments = {
        "primary_key": False,
        "allow_null": False,
        "unique": False,
        "index": False,
        "default": NO_DEFAULT,
        "column": None,
        "comment": None,
        "read_only": False,
        "title": "",
        "description": "",
    }

    # Every attribute that the extension module reads exists on every field.
    name = None
    primary_key = allow_null = unique = index = read_only = False
    default = NO_DEFAULT
    column = comment = None
    title = description = ""
    max_length = min_length = pattern = pattern_text = choices = None
    allow_blank = trim_whitespace = False
    format = None
    coerce_types = True
    minimum = maximum = exclusive_minimum = exclusive_maximum = multiple_of = precision = None
    max_digits = decimal_places = None
    auto_now = auto_now_add = timezone = False
    enum = enum_name = item = None
    target = on_delete = on_update = related_name = None
    converter = checker = encoder = decoder = sql_type = None

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, **options):
        unknown = [name for name in options if name not in self.arguments]
        if unknown and not is_custom(self):
            raise UnknownArgument(self._unknown(unknown[0]))
        for name, default in self.arguments.items():
            setattr(self, name, options.get(name, default))
        if is_custom(self):
            from .custom import start

            start(self, options)
        self.check()

    def check(self):
        """Raises InvalidArgument when the arguments cannot be right together."""
        for name, default in self.arguments.items():
            if isinstance(default, bool) and not isinstance(getattr(self, name), bool):
                raise self._wrong(name, "True or False")
        for name in ("column", "comment"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise self._wrong(name, "text")
        if self.primary_key:
            self.allow_null = False
        if self.allow_null and self.default is NO_DEFAULT:
            self.default = None

    def has_default(self):
        """Whether a row can be made without a value for this field."""
        return self.default is not NO_DEFAULT or self.auto_now or self.auto_now_add

    def get_default_value(self):
        """The default, called when it is callable; None when there is none."""
        if self.default is NO_DEFAULT:
            return None
        return self.default() if callable(self.default) else self.default

    @property
    def __class__(self):
        """A class that is typesystem's too, once somebody has imported that.

        In encode/orm 0.1 fields were typesystem's fields, and code asks isinstance() of them.
        """
        if "typesystem" not in sys.modules:
            return type(self)
        from .validation import class_beside

        return class_beside(type(self))

    def __reduce__(self):
        return object.__new__, (type(self),), vars(self)

    # What encode/orm's users call, and override in field types of their own (custom.py).

    @property
    def validator(self):
        """typesystem's field of the same rules; this field where that is not installed."""
        found = self.__dict__.get("_validator")
        if found is None:
            from .validation import validator_of

            found = self.__dict__["_validator"] = validator_of(self)
        return found

    def get_validator(self, **options):
        """The validator for these options."""
        from .validation import build

        return build(self, options)

    def validate(self, value, **options):
        """The value by the field's rules; ValidationError."""
        if self.type == _core.TYPE_REF:  # a key; a model knows the rules of it
            return getattr(value, "pk", value)
        if "_validate" in self.__dict__:
            return self.__dict__["_validate"](value, **options)
        return _core.validate(self, value)

    def validate_or_error(self, value, **options):
        """The value, or the error in its place: `value, error = …`."""
        from .validation import result_of

        return result_of(self.validate, value, **options)

    def get_column_type(self):
        """The SQLAlchemy type of its column."""
        from .alchemy import type_of

        return type_of(self)

    def get_constraints(self):
        """SQLAlchemy's constraints of its column."""
        return []

    def get_column(self, name):
        """The SQLAlchemy column."""
        from .alchemy import column_of

        return column_of(self, name)

    def expand_relationship(self, value):
        """What an instance holds for a value."""
        return value

    def __repr__(self):
        given = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self.arguments.items()
            if getattr(self, name) is not default and getattr(self, name) != default
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    def _missing(self, name, options):
        unknown = [given for given in options if given not in self.arguments]
        if unknown and not is_custom(self):  # misspelt, it may be the one that is missing
            return UnknownArgument(self._unknown(unknown[0]))
        return MissingArgument(f"{name} is required")

    def _unknown(self, name):
        from difflib import get_close_matches

        text = f"{type(self).__name__}() has no argument {name!r}"
        near = get_close_matches(name, self.arguments, 1)
        return f"{text}; did you mean {near[0]!r}?" if near else text

    def _wrong(self, name, expected):
        value = getattr(self, name)
        return InvalidArgument(f"{type(self).__name__}({name}={value!r}): expected {expected}")

    def _check_count(self, name, lowest=0):
        value = getattr(self, name)
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value < 2**31:
            raise self._wrong(name, f"a whole number of at least {lowest}, or None")


ModelField = Field  # its name in encode/orm


def is_custom(field):
    """Whether it is of a type that says itself how values are checked or stored."""
    cls = type(field)
    return (
        cls.get_column_type is not Field.get_column_type
        or cls.get_validator is not Field.get_validator
        or cls.validate is not Field.validate
        or cls.__mro__[cls.__mro__.index(Field) + 1] is not object
    )


# ---- text --------------------------------------------------------------------------------------


class Text(Field):
    """Text of any length."""

    type = _core.TYPE_TEXT
    arguments = Field.arguments | {
        "max_length": None,
        "min_length": None,
        "pattern": None,
        "allow_blank": False,
        "trim_whitespace": True,
        "choices": None,
        "format": None,
        "coerce_types": True,
    }

    def check(self):
        super().check()
        self._check_count("max_length", 1)
        self._check_count("min_length")
        if None not in (self.min_length, self.max_length) and self.min_length > self.max_length:
            raise self._wrong("min_length", f"at most max_length, {self.max_length}")
        if self.pattern is not None:
            self._compile_pattern()
        if self.allow_blank and self.default is NO_DEFAULT:
            self.default = ""
        if self.format in _FORMATS and self.converter is None:
            self.converter = _FORMATS[self.format]
        _check_choices(self, str)

    def _compile_pattern(self):
        try:
            compiled = re.compile(self.pattern)
        except (re.error, TypeError):
            raise self._wrong("pattern", "a regular expression for text") from None
        if not isinstance(compiled.pattern, str):
            raise self._wrong("pattern", "a regular expression for text")
        self.pattern, self.pattern_text = compiled, compiled.pattern


class String(Text):
    """Text of at most `max_length` characters."""

    def __init__(self, **options):
        if "max_length" not in options:
            raise self._missing("max_length", options)
        super().__init__(**options)


_EMAIL = re.compile(
    r"(?:[-!#$%&'*+/=?^_`{}|~0-9a-z]+(?:\.[-!#$%&'*+/=?^_`{}|~0-9a-z]+)*"
    r'|"(?:[\x01-\x08\x0b\x0c\x0e-\x1f !#-\[\]-\x7f]|\\[\x01-\x09\x0b\x0c\x0e-\x7f])*")'
    r"@(?:(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])"
    r"|\[\d{1,3}(?:\.\d{1,3}){3}\])",
    re.IGNORECASE | re.ASCII,
)


class Email(String):
    """An e-mail address."""

    @staticmethod
    def converter(value):
        """The address itself, when it has the form of one."""
        if not _EMAIL.fullmatch(value):
            raise ValueError("Must be a valid email format.")
        return value


class URL(String):
    """An absolute URL: with a scheme and a host."""

    @staticmethod
    def converter(value):
        """The URL itself, when it is absolute."""
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(value)
        except ValueError:
            parts = None
        if not (parts and parts.scheme and parts.netloc):
            raise ValueError("Must be a real URL.")
        return value


_FORMATS = {"email": Email.converter, "url": URL.converter}  # others ask nothing of text


class IPAddress(Field):
    """An IPv4 or IPv6 address: `ipaddress.IPv4Address` or `IPv6Address`."""

    type = _core.TYPE_IP


# ---- numbers -----------------------------------------------------------------------------------


class _Strict:
    """The rules of a field that takes no text for a number, and nothing else for a boolean."""

    def __init__(self, field, refusal):
        self.field = field
        self.refusal = refusal

    def __call__(self, value, **options):
        is_other = self.field.type == _core.TYPE_BOOL and not isinstance(value, (bool, type(None)))
        if is_other or isinstance(value, str):
            raise ValidationError(self.refusal)
        return _core.validate(self.field, value)


class _Number(Field):
    arguments = Field.arguments | {
        "minimum": None,
        "maximum": None,
        "exclusive_minimum": None,
        "exclusive_maximum": None,
        "multiple_of": None,
        "precision": None,
        "choices": None,
        "coerce_types": True,
    }

    def check(self):
        super().check()
        for name in ("minimum", "maximum", "exclusive_minimum", "exclusive_maximum", "multiple_of"):
            value = getattr(self, name)
            if value is not None and not _is_number(value):
                raise self._wrong(name, "a finite number")
        if self.multiple_of is not None and self.multiple_of <= 0:
            raise self._wrong("multiple_of", "a number above 0")
        if self.precision is not None and not _is_step(self.precision):
            raise self._wrong("precision", "text such as '0.01'")
        if not self.coerce_types:
            self.checker = self._validate = _Strict(self, "Must be a number.")
        _check_choices(self, object)


class Integer(_Number):
    """A whole number of 32 bits; as the only key it is made by the database."""

    type = _core.TYPE_INT32


class BigInteger(_Number):
    """A whole number of 64 bits."""

    type = _core.TYPE_INT64


class SmallInteger(_Number):
    """A whole number of 16 bits."""

    type = _core.TYPE_INT16


class Float(_Number):
    """A 64-bit floating-point number; never NaN."""

    type = _core.TYPE_FLOAT


class Decimal(_Number):
    """An exact number of `max_digits` digits, `decimal_places` of them behind the point."""

    type = _core.TYPE_DECIMAL
    arguments = _Number.arguments | {"max_digits": None, "decimal_places": None}

    def __init__(self, max_digits=None, decimal_places=None, **options):
        if max_digits is None:
            raise self._missing("max_digits", options)
        if decimal_places is None:
            raise self._missing("decimal_places", options)
        super().__init__(max_digits=max_digits, decimal_places=decimal_places, **options)

    def check(self):
        super().check()
        self._check_count("max_digits", 1)
        self._check_count("decimal_places")
        if self.max_digits > 1000:
            raise self._wrong("max_digits", "at most 1000")
        if self.decimal_places > self.max_digits:
            raise self._wrong("decimal_places", f"at most max_digits, {self.max_digits}")


class Boolean(Field):
    """True or False."""

    type = _core.TYPE_BOOL
    arguments = Field.arguments | {"coerce_types": True}

    def check(self):
        super().check()
        if not self.coerce_types:
            self.checker = self._validate = _Strict(self, "Must be a boolean.")


# ---- dates -------------------------------------------------------------------------------------


class _Clock(Field):
    arguments = Field.arguments | {"auto_now": False, "auto_now_add": False}

    def check(self):
        super().check()
        if self.auto_now and self.auto_now_add:
            raise ConfigurationError("auto_now and auto_now_add cannot be both True")


AutoNowMixin = _Clock  # its name in encode/orm


class Date(_Clock):
    """A `datetime.date`.  `auto_now`: today at every write; `auto_now_add`: at the first."""

    type = _core.TYPE_DATE


class DateTime(_Clock):
    """A `datetime.datetime`: naive, or aware with `timezone=True`."""

    type = _core.TYPE_DATETIME
    arguments = _Clock.arguments | {"timezone": False}

    def check(self):
        super().check()
        self.type = _core.TYPE_DATETIMETZ if self.timezone else _core.TYPE_DATETIME


class Time(Field):
    """A `datetime.time` without time zone."""

    type = _core.TYPE_TIME


class Interval(Field):
    """A `datetime.timedelta`."""

    type = _core.TYPE_INTERVAL


# ---- other values ------------------------------------------------------------------------------


class Binary(Field):
    """Bytes."""

    type = _core.TYPE_BLOB
    arguments = Field.arguments | {"max_length": None, "min_length": None}

    def check(self):
        super().check()
        self._check_count("max_length", 1)
        self._check_count("min_length")


class UUID(Field):
    """A `uuid.UUID`."""

    type = _core.TYPE_UUID


class JSON(Field):
    """Anything that JSON can say.  None is NULL."""

    type = _core.TYPE_JSON


class Enum(Field):
    """A member of `enum`, stored by its name."""

    type = _core.TYPE_ENUM
    arguments = Field.arguments | {"enum": None}

    def __init__(self, enum=None, **options):
        if enum is None:
            raise self._missing("enum", options)
        super().__init__(enum=enum, **options)

    def check(self):
        import enum

        super().check()
        if not (isinstance(self.enum, type) and issubclass(self.enum, enum.Enum)):
            raise self._wrong("enum", "a subclass of enum.Enum")
        if not self.enum.__members__:
            raise self._wrong("enum", "an enum with members")


class Array(Field):
    """A list of values of the field `item`."""

    type = _core.TYPE_ARRAY
    arguments = Field.arguments | {"item": None}

    def __init__(self, item=None, **options):
        if item is None:
            raise self._missing("item", options)
        super().__init__(item=item, **options)

    def check(self):
        super().check()
        if not isinstance(self.item, Field) or isinstance(self.item, ForeignKey):
            raise self._wrong("item", "a field, such as orm.Integer()")


# ---- relations ---------------------------------------------------------------------------------


class ForeignKey(Field):
    """A row of another model: `to` is its class, its name, or "self"."""

    type = _core.TYPE_REF
    arguments = Field.arguments | {"on_delete": None, "on_update": None, "related_name": None}

    def __init__(self, to=None, allow_null=False, on_delete=None, **options):
        if to is None:
            raise self._missing("to", options)
        self.target = to
        super().__init__(allow_null=allow_null, on_delete=on_delete, **options)

    @property
    def to(self):
        """The model that it refers to, or its name."""
        return self.target

    def expand_relationship(self, value):
        """The instance itself, or a sparse one of this key."""
        target = self.target
        if isinstance(target, str) or isinstance(value, target):
            return value
        return target({target.__pkname__: value})

    def check(self):
        super().check()
        if not isinstance(self.target, (str, _core.ModelType)):
            raise self._wrong("target", "a model, the name of a model, or 'self'")
        for name in ("on_delete", "on_update"):
            if getattr(self, name) not in (None, *_ACTIONS):
                raise self._wrong(name, "one of " + ", ".join(_ACTIONS))
        name = self.related_name
        if name is not None and not (isinstance(name, str) and name.isidentifier()):
            raise self._wrong("related_name", "a name")


class OneToOne(ForeignKey):
    """A foreign key that no two rows share."""

    def check(self):
        super().check()
        self.unique = True


# ---- helpers -----------------------------------------------------------------------------------


def _is_number(value):
    if isinstance(value, bool):
        return False
    try:
        return value - value == 0  # infinite and NaN are not
    except (TypeError, ArithmeticError):
        return False


def _is_step(text):
    return isinstance(text, str) and re.fullmatch(r"0*1|0*\.0*1|10*", text) is not None


def _check_choices(field, kind):
    if field.choices is None:
        return
    if isinstance(field.choices, (str, bytes)):
        raise field._wrong("choices", "a list of values")
    try:
        field.choices = tuple(field.choices)
    except TypeError:
        raise field._wrong("choices", "a list of values") from None
    if not field.choices or not all(isinstance(choice, kind) for choice in field.choices):
        raise field._wrong("choices", "a list of at least one value of the field's type")
