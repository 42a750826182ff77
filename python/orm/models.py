"""`orm.Model`: what a class statement means.

This file decides what a model is; the extension module makes the class from that decision and
does everything that happens to its instances.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy

from . import _core, relations
from ._core import QuerySet, asdict
from .constraints import PRIMARY_KEY, Constraint
from .database import meet
from .exceptions import ConfigurationError, MultipleMatches, NoMatch
from .fields import Field, is_custom
from .metadata import DEFAULT, is_alchemy, metadata_of
from .registry import ModelRegistry, spell_out

__all__ = [
    "FILTER_OPERATORS",
    "Model",
    "ModelMeta",
    "ModelMetaclass",
    "QuerySet",
    "asdict",
    "refresh",
    "save",
]

# encode/orm's own names; later ones (save, refresh, …) give way to a field of that name.
RESERVED = frozenset(("pk", "objects", "fields", "update", "delete", "load"))


# encode/orm's lookups and the names that SQLAlchemy has for them.
FILTER_OPERATORS = {
    "exact": "__eq__",
    "iexact": "ilike",
    "contains": "like",
    "icontains": "ilike",
    "in": "in_",
    "gt": "__gt__",
    "gte": "__ge__",
    "lt": "__lt__",
    "lte": "__le__",
}


class Unbound:
    """`objects = MyQuerySet()`: the queryset of whichever model it is read from."""

    __slots__ = ("keywords", "queryset")

    def __init__(self, queryset, keywords):
        self.queryset = queryset
        self.keywords = keywords

    def __call__(self, model):
        return self.queryset(**{**self.keywords, "model_cls": model})

    def __get__(self, instance, owner):
        return self if owner.__abstract__ else self(owner)

    def __repr__(self):
        return f"<unbound {self.queryset.__name__}>"


class ModelMeta(_core.ModelType):
    """The class of model classes: gathers the fields and registers the table."""

    def __new__(mcls, name, bases, namespace, **options):
        _check_classes(name, namespace)
        if namespace.get("__abstract__", False):
            _check_names(name, _own_fields(namespace))
            return super().__new__(mcls, name, bases, namespace, definition=None, **options)
        registry = _inherited("registry", bases, namespace)
        in_registry = isinstance(registry, ModelRegistry)
        namespace = spell_out(name, registry, namespace)
        fields = _gather(name, bases, namespace)
        _settle(fields, _inherited("__database__", bases, namespace))
        _check_names(name, fields)
        metadata = _inherited("__metadata__", bases, namespace)
        if metadata is None:
            metadata = DEFAULT
        models = metadata_of(metadata)
        table = _table(name, namespace)
        for field in fields.values():
            if field.enum is not None:
                field.enum_name = models.enum_name(field, table)
        references = [field for field in fields.values() if field.target is not None]
        relations.check(name, bases, namespace.keys() | fields, references, models)
        constraints = _constraints(name, namespace, fields)
        namespace = {key: value for key, value in namespace.items() if key not in fields}
        namespace |= {
            "__abstract__": False,
            "__metadata__": metadata,
            "__tablename__": table,
            "__pkname__": _key(fields, constraints),
            "__constraints__": tuple(constraints),
            "fields": fields,
        }
        if in_registry and "pkname" not in fields:
            namespace["pkname"] = namespace["__pkname__"]
        definition = {
            "schema": models.schema,
            "table": table,
            "comment": _comment(namespace),
            "fields": list(fields.values()),
            "constraints": [constraint.definition() for constraint in constraints],
            "registry_style": in_registry,
            "loads_filtered": True,
        }
        objects = _objects(bases, namespace)
        if objects is not None:
            definition["objects"] = objects if objects.keywords else objects.queryset
        cls = super().__new__(mcls, name, bases, namespace, definition=definition, **options)
        models.models[name] = cls
        relations.install(cls, references, models)
        if not in_registry:
            Mapping.register(cls)
        if is_alchemy(metadata):
            from .alchemy import register

            register(cls, constraints, definition["comment"])
        meet(_inherited("__database__", bases, namespace))
        return cls

    def __setattr__(cls, name, value):
        super().__setattr__(name, value)
        if name == "__database__":  # from now on; what is on its way stays where it is
            meet(value)


ModelMetaclass = ModelMeta  # its name in encode/orm 0.1


def _objects(bases, namespace):
    """What `objects` is declared to be; None: a plain QuerySet."""
    spaces = [namespace, *(cls.__dict__ for base in bases for cls in base.__mro__)]
    found = (space.get("objects") for space in spaces)
    return next((value for value in found if isinstance(value, Unbound)), None)


def _own_fields(namespace):
    return {name: value for name, value in namespace.items() if isinstance(value, Field)}


def _gather(model, bases, namespace):
    """The fields of a new model, inherited ones first: its own copies, with their names."""
    found = {}
    for base in reversed(bases):
        for cls in reversed(base.__mro__):
            own = cls.__dict__
            inherited = own["fields"] if isinstance(own.get("fields"), dict) else _own_fields(own)
            found |= inherited
    for name, value in namespace.items():
        if isinstance(value, Field):
            found[name] = value
        else:
            found.pop(name, None)  # an attribute of that name replaces the inherited field
    fields = {}
    for name, field in found.items():
        field = fields[name] = copy(field)
        field.name = name
        if field.target == "self":
            field.target = model
    return fields


def _settle(fields, database):
    """Field types of one's own learn how their values are stored."""
    custom = [field for field in fields.values() if is_custom(field)]
    if custom:
        from .custom import settle

        for field in custom:
            settle(field, database)


def _check_classes(model, namespace):
    """`title = orm.Text` without its parentheses would be no field, and nobody would say so."""
    for name, value in namespace.items():
        if (
            isinstance(value, type)
            and issubclass(value, Field)
            and value.__module__ == "orm.fields"
        ):
            raise ConfigurationError(
                f"model {model!r}: {name!r} is the class {value.__name__}: "
                f"write {name} = orm.{value.__name__}(…)"
            )


def _check_names(model, fields):
    for name in fields:
        dunder = name.startswith("__") and name.endswith("__")
        if name in RESERVED or dunder or "\0" in name:
            raise ConfigurationError(f"model {model!r}: {name!r} cannot be the name of a field")


def _table(model, namespace):
    table = namespace.get("__tablename__", model.lower())
    if not isinstance(table, str) or not table or "\0" in table:
        raise ConfigurationError(f"model {model!r}: {table!r} cannot be the name of a table")
    return table


def _inherited(name, bases, namespace):
    if name in namespace:
        return namespace[name]
    return next((value for base in bases if (value := getattr(base, name, None)) is not None), None)


def _constraints(model, namespace, fields):
    declared = namespace.get("__table_args__", ())
    declared = [declared] if isinstance(declared, Constraint) else list(declared)
    for constraint in declared:
        if not isinstance(constraint, Constraint):
            raise ConfigurationError(
                f"model {model!r}: __table_args__ holds orm.Index, orm.UniqueConstraint, "
                f"orm.CheckConstraint and orm.PrimaryKey, not {constraint!r:.80}"
            )
        for name in constraint.fields:
            if name not in fields:
                raise ConfigurationError(f"model {model!r}: {constraint!r}: no field {name!r}")
    return declared


def _key(fields, constraints):
    """The name of the only key; None when the key has several fields."""
    names = [name for name, field in fields.items() if field.primary_key]
    for constraint in constraints:
        if constraint.kind == PRIMARY_KEY:
            names = list(constraint.fields)
    return names[0] if len(names) == 1 else None


def _comment(namespace):
    comment = namespace.get("__table_comment__")
    if comment is not None and not isinstance(comment, str):
        raise ConfigurationError(f"__table_comment__: expected text, not {comment!r:.80}")
    return comment


class Model(_core.Instance, metaclass=ModelMeta):
    """The base of every model.

    Its fields are class attributes.  `__tablename__` (default: the class name in lower case),
    `__metadata__`, `__database__`, `__abstract__` and `__table_args__` say the rest.
    """

    __abstract__ = True
    __metadata__ = None
    __database__ = None

    DoesNotExist = NoMatch
    MultipleObjectsReturned = MultipleMatches

    @classmethod
    def from_row(cls, row, select_related=()):
        """An instance from a row of `databases` or SQLAlchemy: for querysets of one's own."""
        from .alchemy import row_of

        return row_of(cls, row, select_related)

    _from_row = from_row  # its name since 0.3.1

    # What encode/orm's models had from typesystem.

    @classmethod
    def make_validator(cls, *, strict=False):
        """A validator of dicts; a strict one refuses names that are no fields."""
        from .validation import ModelValidator

        return ModelValidator(cls, strict)

    @classmethod
    def validate(cls, value, *, strict=False):
        """An instance from a mapping, its values and defaults valid; ValidationError."""
        from .validation import row_of

        return row_of(cls, value, strict)

    @classmethod
    def validate_or_error(cls, value, *, strict=False):
        """`validate`, with the error in the place of an exception: `instance, error = …`."""
        from .validation import result_of

        return result_of(cls.validate, value, strict=strict)


def save(instance):
    """`instance.save()`, also where a field has that name.  Await it."""
    return _core.Instance.save(instance)


def refresh(instance):
    """`instance.refresh()`, also where a field has that name.  Await it."""
    return _core.Instance.refresh(instance)
