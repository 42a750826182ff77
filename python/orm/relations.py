"""The other end of foreign keys, and how relations are loaded."""

from __future__ import annotations

from types import GenericAlias
from weakref import ref

from . import _core
from .exceptions import ConfigurationError

__all__ = ["Reverse", "fetch_mode"]

MODES = {"peers": 0, "one": 1, "raise": 2}  # the numbers of the extension module


class fetch_mode:
    """How `load()` fetches inside of a block: `with orm.fetch_mode("one"):`

    "peers", the default: the second load() of a result brings the relation of all its rows;
    "one": each load() brings one row; "raise": load() of what a query left out is an error.
    """

    def __init__(self, mode):
        if mode not in MODES:
            raise ValueError(f"a fetch mode is 'peers', 'one' or 'raise', not {mode!r:.80}")
        self._mode = MODES[mode]
        self._tokens = []

    def __enter__(self):
        self._tokens.append(_core.fetch_mode.set(self._mode))

    def __exit__(self, *error):
        _core.fetch_mode.reset(self._tokens.pop())


class Reverse:
    """The rows that refer to an instance by a foreign key: `album.tracks` is a queryset.

    Made by the foreign key, under its `related_name` or `<model>_set`.  Rows that the queryset
    creates refer to the instance, unless they name another.
    """

    __slots__ = ("_field", "_fields", "_model", "_name")
    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, model, field, name, target):
        self._model = ref(model)  # a model does not keep those alive that refer to it
        self._field = field
        self._name = name
        self._fields = target.fields

    def belongs_to(self, target):
        """Whether the target is the one that the foreign key means, not a model derived from it."""
        return self._model() is not None and target.fields is self._fields

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        model = self._model()
        if model is None or not self.belongs_to(type(instance)):
            raise AttributeError(f"{type(instance).__name__!r} has no attribute {self._name!r}")
        try:
            key = instance.pk
        except AttributeError:
            key = None
        if key is None:
            raise ValueError(
                f"{type(instance).__name__}.{self._name}: the instance is not saved, "
                "no row can refer to it yet"
            )
        given = {self._field: instance}
        rows = model.objects.filter(**given)
        return _core.with_given(rows, given)

    def __set__(self, instance, value):
        raise AttributeError(
            f"{type(instance).__name__}.{self._name} cannot be set: set {self._field!r} of each row"
        )

    def __repr__(self):
        model = self._model()
        return f"<orm.Reverse of {model.__name__ if model else '?'}.{self._field}>"


def check(model, bases, names, references, metadata):
    """Refuses names that are taken at targets which are there, before the model is made."""
    seen = set()
    for field in references:
        name = field.related_name
        if name is None:
            continue
        if field.target == model:  # itself
            shown, taken = model, name in names or _taken(bases, name)
        else:
            target = _target(field, metadata)
            shown = field.target if target is None else target.__name__
            taken = target is not None and _is_taken(target, name)
        if taken or (shown, name) in seen:
            raise _refusal(model, field, shown)
        seen.add((shown, name))


def install(model, references, metadata):
    """Puts the other ends of a new model's foreign keys where they belong, and those that have
    waited for it."""
    for field in references:
        target = _target(field, metadata)
        if target is not None:
            _put(model, field, target)
        else:
            metadata.awaited.setdefault(field.target, []).append(_later(ref(model), field))
    for put in metadata.awaited.pop(model.__name__, ()):
        put(model)


def _later(model, field):
    def put(target):
        referring = model()
        if referring is not None:
            _put(referring, field, target)

    return put


def _target(field, metadata):
    return metadata.models.get(field.target) if isinstance(field.target, str) else field.target


def _put(model, field, target):
    name = field.related_name or f"{model.__name__.lower()}_set"
    if not _is_taken(target, name):
        setattr(target, name, Reverse(model, field.name, name, target))
    elif field.related_name is not None:
        raise _refusal(model.__name__, field, target.__name__)


_WEAK = frozenset(
    ("get", "items", "keys", "values", "is_sparse")
    + ("from_row", "make_validator", "validate", "validate_or_error")
)


def _is_taken(target, name):
    return any(
        name in cls.__dict__
        and not (isinstance(value := cls.__dict__[name], Reverse) and not value.belongs_to(target))
        for cls in target.__mro__
        if not _gives_way(cls, name)
    )


def _taken(bases, name):
    return any(
        name in cls.__dict__ and not isinstance(cls.__dict__[name], Reverse)
        for base in bases
        for cls in base.__mro__
        if not _gives_way(cls, name)
    )


def _gives_way(cls, name):
    """Whether it is a mapping's or a validator's method: `order.items` may well be rows."""
    return cls.__module__ in ("orm._core", "orm.models") and name in _WEAK


def _refusal(model, field, target):
    return ConfigurationError(
        f"{model}.{field.name}: related_name {field.related_name!r} is taken: "
        f"{target!r} has an attribute of that name"
    )
