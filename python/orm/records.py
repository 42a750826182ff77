"""Rows of raw SQL: tuples that know the names of their columns.

row[0]    row["name"]    row.name    row[users.c.name]    dict(row)    row._mapping
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import ItemsView, KeysView, Mapping, ValuesView
    from typing import Any

__all__ = ["Record", "row_type"]


class Record(tuple):
    """One row.  Of columns with the same name, the name means the last, as in a dict."""

    __slots__ = ()
    _places: dict[str, int] = {}  # name -> place
    _columns: dict[str, int] = {}  # "table.name" of SQLAlchemy's columns -> place

    @property
    def _mapping(self) -> Mapping[str, Any]:
        return MappingProxyType({name: self[place] for name, place in self._places.items()})

    def keys(self) -> KeysView[str]:
        return self._mapping.keys()

    def values(self) -> ValuesView[Any]:
        return self._mapping.values()

    def items(self) -> ItemsView[str, Any]:
        return self._mapping.items()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, slice)):
            return tuple.__getitem__(self, key)
        place = self._places.get(key) if isinstance(key, str) else self._columns.get(str(key))
        if place is None:
            place = self._places.get(getattr(key, "name", None) or key)
        if place is None:
            raise KeyError(key)
        return tuple.__getitem__(self, place)

    def __getattr__(self, name: str) -> Any:
        place = self._places.get(name)
        if place is None:
            raise AttributeError(f"the row has no column {name!r}: {', '.join(self._places)}")
        return tuple.__getitem__(self, place)

    def __reduce__(self) -> Any:
        return _restore, (tuple(self._places.items()), tuple(self))

    def __repr__(self) -> str:
        return f"Record({', '.join(f'{name}={self[i]!r}' for name, i in self._places.items())})"


def _restore(places: tuple[tuple[str, int], ...], values: tuple[Any, ...]) -> Record:
    names = [""] * len(values)
    for name, place in places:
        names[place] = name
    return row_type(tuple(names))(values)


@lru_cache(maxsize=512)
def row_type(names: tuple[str, ...], columns: tuple[str, ...] = ()) -> type[Record]:
    """The type of the rows with these columns."""
    places = {name: place for place, name in enumerate(names)}
    body: dict[str, Any] = {
        "__slots__": (),
        "__module__": __name__,
        "_places": places,
        "_columns": {column: place for place, column in enumerate(columns)},
    }
    for name in ("count", "index"):  # of tuple, but columns come first
        if name in places:
            body[name] = property(lambda self, place=places[name]: tuple.__getitem__(self, place))
    return type("Record", (Record,), body)
