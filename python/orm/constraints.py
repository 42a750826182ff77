"""What a model declares in `__table_args__`: keys, indexes and checks over several fields.

Each becomes a tuple (kind, name or None, names of fields, SQL or None) for the extension module;
the kinds are those of `orm_constraint_def` in orm/orm.h.
"""

from __future__ import annotations

from .exceptions import ConfigurationError

__all__ = ["CheckConstraint", "Index", "PrimaryKey", "UniqueConstraint"]

PRIMARY_KEY, UNIQUE, CHECK, INDEX, UNIQUE_INDEX = 1, 2, 3, 4, 5


class Constraint:
    """What all four have in common."""

    kind = 0

    def __init__(self, *fields: str, name: str | None = None, sql: str | None = None) -> None:
        for text in (*fields, *(value for value in (name, sql) if value is not None)):
            if not isinstance(text, str) or not text:
                raise ConfigurationError(f"{type(self).__name__}: expected text, not {text!r}")
        if len(set(fields)) < len(fields):
            raise ConfigurationError(f"{type(self).__name__}{fields!r} names a field twice")
        self.fields = fields
        self.name = name
        self.sql = sql

    def definition(self) -> tuple[int, str | None, tuple[str, ...], str | None]:
        """The tuple for the extension module."""
        return self.kind, self.name, self.fields, self.sql

    def __repr__(self) -> str:
        values = [repr(field) for field in self.fields]
        values += [
            f"{key}={value!r}" for key, value in vars(self).items() if key != "fields" and value
        ]
        return f"{type(self).__name__}({', '.join(values)})"


class _OverFields(Constraint):
    def __init__(self, *fields: str, name: str | None = None, sql: str | None = None) -> None:
        if not fields:
            raise ConfigurationError(f"{type(self).__name__}() needs the name of a field")
        super().__init__(*fields, name=name, sql=sql)


class PrimaryKey(_OverFields):
    """A key of several fields, in this order."""

    kind = PRIMARY_KEY


class UniqueConstraint(_OverFields):
    """No two rows have the same values in these fields."""

    kind = UNIQUE

    def __init__(self, *fields: str, name: str | None = None) -> None:
        super().__init__(*fields, name=name)


class Index(_OverFields):
    """An index; `where` is the SQL condition of a partial one."""

    kind = INDEX

    def __init__(
        self,
        *fields: str,
        name: str | None = None,
        unique: bool = False,
        where: str | None = None,
    ) -> None:
        super().__init__(*fields, name=name, sql=where)
        if unique:
            self.kind = UNIQUE_INDEX


class CheckConstraint(Constraint):
    """Every row must satisfy this SQL expression."""

    kind = CHECK

    def __init__(self, sql: str, name: str | None = None) -> None:
        if not isinstance(sql, str) or not sql.strip():
            raise ConfigurationError("CheckConstraint needs an SQL expression")
        super().__init__(name=name, sql=sql)
