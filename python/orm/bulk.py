"""Several rows at once, where the engine has no single statement for them."""

from __future__ import annotations

from .database import resolve
from .exceptions import FieldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._core import ModelType
    from .models import Model

__all__ = ["bulk_update"]

AT_ONCE = 100  # statements under way together


async def bulk_update(
    model: ModelType, instances: Iterable[Model], fields: Iterable[str] | str
) -> None:
    """Writes these fields of the instances, all of them or, when one fails, none."""
    instances = list(instances)
    names = [fields] if isinstance(fields, str) else list(fields)
    _check(model, instances, names)
    database = resolve(model)
    try:
        async with database.transaction():
            for start in range(0, len(instances), AT_ONCE):
                some = instances[start : start + AT_ONCE]
                await database.gather(*(one.update(**_values(one, names)) for one in some))
    except BaseException:
        for one in instances:  # what was not written is still to be saved
            for name, value in _values(one, names).items():
                setattr(one, name, value)
        raise


def _values(instance: Model, names: list[str]) -> dict[str, object]:
    return {name: getattr(instance, name) for name in names}


def _check(model: ModelType, instances: list[Model], names: list[str]) -> None:
    known: dict[str, object] = model.fields  # type: ignore[attr-defined]
    if not names:
        raise ValueError("bulk_update() needs the name of a field")
    for name in names:
        if name not in known or name == model.__pkname__:  # type: ignore[attr-defined]
            from difflib import get_close_matches

            near = get_close_matches(str(name), known, 1)
            hint = f"; nearest: {near[0]!r}" if near and near[0] != name else ""
            raise FieldError(
                f"{model.__name__} has no field {name!r} that bulk_update() could set{hint}"
            )
    for one in instances:
        if not isinstance(one, model):
            raise TypeError(f"bulk_update() takes instances of {model.__name__}, not {one!r:.100}")
        if getattr(one, "pk", None) is None:
            raise ValueError(f"an instance of {model.__name__} has no key yet: save it first")
        for name in names:
            getattr(one, name)  # what is not loaded says how to load it
