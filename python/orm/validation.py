"""What encode/orm had from typesystem: a field's validator, a model's schema.

They are typesystem's own objects where it is installed, imported when somebody asks for one;
elsewhere a field is its own validator, and `Schema` is this module's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from copy import deepcopy
from functools import cache

from . import _core
from .exceptions import InvalidKeyword, ValidationError

__all__ = ["Schema", "ValidationResult", "result_of", "schema_of", "validator_of"]

# Types of fields whose values typesystem has no class for are anything to it.
_CLASSES = {
    _core.TYPE_BOOL: "Boolean",
    _core.TYPE_INT16: "Integer",
    _core.TYPE_INT32: "Integer",
    _core.TYPE_INT64: "Integer",
    _core.TYPE_FLOAT: "Float",
    _core.TYPE_DECIMAL: "Decimal",
    _core.TYPE_TEXT: "String",
    _core.TYPE_DATE: "Date",
    _core.TYPE_TIME: "Time",
    _core.TYPE_DATETIME: "DateTime",
    _core.TYPE_DATETIMETZ: "DateTime",
    _core.TYPE_UUID: "UUID",
}
_FORMATS = {"email": "Email", "url": "URL", "ipaddress": "IPAddress"}  # classes since 0.3
_RULES = (
    "max_length",
    "min_length",
    "pattern",
    "minimum",
    "maximum",
    "exclusive_minimum",
    "exclusive_maximum",
    "multiple_of",
    "precision",
)


def _typesystem():
    try:
        import typesystem
    except ImportError:
        return None
    return typesystem


class ValidationResult:
    """A value, or the error in its place: `value, error = field.validate_or_error(x)`."""

    def __init__(self, *, value=None, error=None):
        self.value = value
        self.error = error

    def __iter__(self):
        yield self.value
        yield self.error

    def __bool__(self):
        return self.error is None

    def __repr__(self):
        shown = f"value={self.value!r}" if self else f"error={self.error!r}"
        return f"ValidationResult({shown})"


def result_of(validate, *arguments, **options):
    """What `validate` returns or the ValidationError that it raises."""
    module = sys.modules.get("typesystem")
    errors = (ValidationError, module.ValidationError) if module else ValidationError
    try:
        return ValidationResult(value=validate(*arguments, **options))
    except errors as error:
        return ValidationResult(error=error)


# ---- of a field --------------------------------------------------------------------------------


def validator_of(field):
    """typesystem's field of the same rules; the field itself where that is not installed."""
    options = {"title": field.title, "description": field.description}
    if field.allow_null:
        options["allow_null"] = True
    if field.has_default():
        is_now = field.auto_now or field.auto_now_add
        options["default"] = field.get_default_value if is_now else deepcopy(field.default)
    for name in _RULES:
        if getattr(field, name) is not None:
            options[name] = getattr(field, name)
    if field.type == _core.TYPE_TEXT:
        options["allow_blank"] = field.allow_blank
        options["trim_whitespace"] = field.trim_whitespace
    return build(field, options)


def build(field, options):
    """typesystem's field for `field` with these options; `field` where that is not installed."""
    module = _typesystem()
    if module is None:  # the field checks by what it is told
        for name in options.keys() & field.arguments.keys():
            setattr(field, name, options[name])
        return field
    name, made = _name_of(field), dict(options)
    kind = _kind(field)
    if kind in _FORMATS and hasattr(module, _FORMATS[kind]):
        name = _FORMATS[kind]
    elif kind in _FORMATS:
        made.setdefault("format", kind)
    is_made = field.primary_key or field.auto_now or field.auto_now_add
    if is_made or field.read_only or made.pop("read_only", False):
        made.update(_not_asked(module))
    if name == "Any":
        made = {key: value for key, value in made.items() if key not in _RULES}
    return getattr(module, name, module.Any)(**made)


def _name_of(field):
    """The name of typesystem's class for a field."""
    if field.type == _core.TYPE_TEXT and _kind(field) == "text":
        return "Text"
    return "String" if _kind(field) else _CLASSES.get(field.type, "Any")


@cache
def class_beside(cls):
    """A class that is `cls` and typesystem's of the same rules, for isinstance() to look at."""
    module = sys.modules["typesystem"]
    beside = getattr(module, _name_of(object.__new__(cls)), module.Field)
    if issubclass(cls, module.Field):
        return cls
    return type(cls.__name__, (cls, beside), {"__module__": cls.__module__})


def _kind(field):
    """What typesystem calls a format."""
    from . import fields

    cls = type(field)  # isinstance() would ask class_beside, which asks here
    if issubclass(cls, fields.Email):
        return "email"
    if issubclass(cls, fields.URL):
        return "url"
    if field.type == _core.TYPE_IP:
        return "ipaddress"
    return "text" if issubclass(cls, fields.Text) and not issubclass(cls, fields.String) else None


def _not_asked(module):
    """How typesystem is told that a value need not be given."""
    if hasattr(module.Field(), "read_only"):
        return {"read_only": True}
    return {"allow_null": True}  # before 0.3


# ---- of a model --------------------------------------------------------------------------------


class Schema:
    """The fields of a model as a validator of dicts."""

    def __init__(self, model):
        self._model = model
        self.fields = {name: field.validator for name, field in model.fields.items()}
        self.required = [
            name
            for name, field in model.fields.items()
            if not (field.primary_key or field.read_only or field.has_default())
        ]

    def validate(self, value):
        """The values by the rules of their fields, with defaults for those that are missing."""
        return _core.asdict(row_of(self._model, value))

    def validate_or_error(self, value):
        """`validate`, with the error in the place of an exception."""
        return result_of(self.validate, value)

    def __repr__(self):
        return f"<orm.validation.Schema of {self._model.__name__}>"


def schema_of(model):
    """`Model.objects.schema`: made when it is first asked for."""
    schema = vars(model).get("__schema__")
    if schema is None:
        schema = model.__schema__ = _make_schema(model)
    return schema


def _make_schema(model):
    module = _typesystem()
    if module is None:
        return Schema(model)
    fields = {name: field.validator for name, field in model.fields.items()}
    if isinstance(module.Schema, type) and issubclass(module.Schema, module.Field):
        return module.Schema(fields=fields)
    # before 0.3 it is a class, whose fields stand in the order of this counter
    for place, field in enumerate(fields.values()):
        field._creation_counter = place
    body = {**fields, "__module__": model.__module__}
    return type(module.Schema)(model.__name__, (module.Schema,), body)


def row_of(model, value, strict=False):
    """An instance from a mapping, whose values and defaults are valid; it is not written."""
    if value is None:
        raise ValidationError("May not be null.")
    if not isinstance(value, Mapping):
        raise ValidationError("Must be an object.")
    known = {name: item for name, item in value.items() if name in model.fields or name == "pk"}
    unknown = [name for name in value if name not in known]
    if not all(isinstance(name, str) for name in unknown):
        raise ValidationError("All object keys must be strings.")
    if strict and unknown:
        raise InvalidKeyword(dict.fromkeys(unknown, "Invalid property name."))
    return _core.new_row(model, known)


class ModelValidator:
    """`Model.make_validator()`: rows of a model from dicts."""

    def __init__(self, model, strict):
        self._model = model
        self._strict = strict

    def validate(self, value, *, strict=False):
        """A dict of valid values."""
        return _core.asdict(row_of(self._model, value, strict or self._strict))

    def validate_or_error(self, value, *, strict=False):
        """`validate`, with the error in the place of an exception."""
        return result_of(self.validate, value, strict=strict)
