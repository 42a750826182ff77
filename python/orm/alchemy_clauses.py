"""What each of SQLAlchemy's clauses means; imported when the first one is met."""

from __future__ import annotations

import re

import sqlalchemy
from sqlalchemy.sql import elements, operators, selectable
from sqlalchemy.types import Boolean

from .alchemy import model_of
from .clauses import AND, COND, NOT, OR, SQL, path_to
from .database import resolve
from .exceptions import FieldError

__all__ = ["translate"]


def translate(model, clause):
    """The terms of one clause."""
    known = _known(model, clause)
    return [_sql(model, clause)] if known is None else known


# ---- what we know ------------------------------------------------------------------------------

_COMPARED = {
    operators.eq: "exact",
    operators.ne: "ne",
    operators.gt: "gt",
    operators.ge: "gte",
    operators.lt: "lt",
    operators.le: "lte",
}
_LISTS = {operators.in_op: "in", operators.not_in_op: "not_in"}
# Lookup, and whether it is negated.
_PATTERNS = {
    getattr(operators, f"{no}{name}_op"): (name, bool(no))
    for no in ("", "not_")
    for name in ("contains", "startswith", "endswith", "icontains", "istartswith", "iendswith")
    if hasattr(operators, f"{no}{name}_op")
}
_IS = {operators.is_: False, operators.is_not: True}


def _known(model, clause):
    """Its terms; None for what SQLAlchemy has to compile."""
    if isinstance(clause, elements.Grouping):
        return _known(model, clause.element)
    if isinstance(clause, elements.BooleanClauseList):
        return _list(model, clause)
    if isinstance(clause, elements.True_):
        return [(AND, 0)]
    if isinstance(clause, elements.False_):
        return [(OR, 0)]
    if isinstance(clause, elements.BinaryExpression):
        return _comparison(model, clause)
    if isinstance(clause, elements.UnaryExpression) and clause.operator is operators.inv:
        return [(NOT,), *translate(model, clause.element)]
    if isinstance(clause, elements.AsBoolean):
        truth = clause.operator is operators.is_true
        return _truth(model, clause.element, truth)
    return _truth(model, clause, True)


def _list(model, clause):
    op = {operators.and_: AND, operators.or_: OR}.get(clause.operator)
    if op is None:
        return None
    parts = [translate(model, part) for part in clause.clauses]
    return [(op, len(parts)), *(term for part in parts for term in part)]


def _truth(model, column, truth):
    name = _name(model, column)
    if name is None or not isinstance(column.type, Boolean):
        return None
    return [(COND, name, truth)]


def _comparison(model, clause):
    name = _name(model, clause.left)
    operator, right = clause.operator, clause.right
    if name is None:
        return None
    if operator in _IS and isinstance(right, elements.Null):
        return [(COND, f"{name}__isnull", not _IS[operator])]
    if operator in _IS:
        operator = operators.ne if _IS[operator] else operators.eq
    if operator in (operators.between_op, operators.not_between_op):
        return _between(name, right, operator is operators.not_between_op)
    if operator in _COMPARED and isinstance(right, (elements.True_, elements.False_)):
        return [(COND, f"{name}__{_COMPARED[operator]}", isinstance(right, elements.True_))]
    if not isinstance(right, elements.BindParameter) or right.required:
        return None
    value = right.effective_value
    if operator in _COMPARED:
        return [(COND, f"{name}__{_COMPARED[operator]}", value)]
    if operator in _LISTS and isinstance(value, (list, tuple, set, frozenset)):
        return [(COND, f"{name}__{_LISTS[operator]}", value)]
    if operator in _PATTERNS:
        return _pattern(name, *_PATTERNS[operator], value, clause.modifiers.get("escape"))
    return None


def _between(name, ends, negated):
    ends = list(getattr(ends, "clauses", ()))
    if len(ends) != 2 or not all(isinstance(end, elements.BindParameter) for end in ends):
        return None
    condition = (COND, f"{name}__range", [end.effective_value for end in ends])
    return [(NOT,), condition] if negated else [condition]


def _pattern(name, lookup, negated, value, escape):
    """A text without wildcards, or with escaped ones; other patterns are SQL's."""
    if not isinstance(value, str):
        return None
    special = f"[%_{re.escape(escape or chr(92))}]"
    plain = re.sub(f"{re.escape(escape)}({special})", "", value) if escape else value
    if re.search(special, plain):
        return None
    text = re.sub(f"{re.escape(escape)}({special})", r"\1", value) if escape else value
    condition = (COND, f"{name}__{lookup}", text)
    return [(NOT,), condition] if negated else [condition]


def _name(model, column):
    """What a keyword calls the column: "album__name"; None when it is no model's."""
    if not isinstance(column, sqlalchemy.Column):
        return None
    owner = model_of(column.table)
    if owner is None:
        return None
    for name, field in owner.fields.items():
        if (field.column or name) == column.name:
            return "__".join((*path_to(model, owner), name))
    return None


# ---- what SQLAlchemy compiles ------------------------------------------------------------------


def _sql(model, clause):
    joins = {}  # tables of other models, and how to get there
    for column in _outer_columns(clause):
        owner = model_of(column.table)
        if owner is None:
            raise FieldError(
                f"{column} in a clause belongs to no model that {model.__name__} refers to"
            )
        if owner is not model:
            joins[column.table] = "__".join(path_to(model, owner))
    from .alchemy import table_of

    # Standing where it will stand, so that its subqueries know which tables are outside of them.
    select = sqlalchemy.select(sqlalchemy.literal_column("1"))
    select = select.select_from(table_of(model), *joins).where(clause)
    compiled = select.compile(dialect=_dialect(resolve(model).dialect))
    text, parameters = _expanded(compiled)
    text, values = _placed(text.partition("\nWHERE ")[2], parameters)
    return (SQL, text, values, tuple(joins.values()))


def _outer_columns(clause):
    """The columns of tables outside of the clause's own subqueries."""
    if isinstance(clause, (selectable.SelectBase, selectable.ScalarSelect)):
        return
    if isinstance(clause, elements.ColumnClause):
        if clause.table is not None:
            yield clause
        return
    for child in clause.get_children():
        yield from _outer_columns(child)


def _dialect(name):
    """SQLAlchemy's dialect, with the parameters by name: no driver is needed, or imported."""
    if name == "postgresql":
        from sqlalchemy.dialects.postgresql.base import PGDialect as Dialect
    elif name == "mariadb":
        from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect as Dialect
    else:
        from sqlalchemy.dialects.sqlite.base import SQLiteDialect as Dialect
    return Dialect(paramstyle="named")


def _expanded(compiled):
    """The text with each list of values written out, and the values as the driver takes them."""
    expand = getattr(compiled, "construct_expanded_state", None)
    if expand is None:  # before SQLAlchemy 2
        expand = compiled._process_parameters_for_postcompile
    state = expand(compiled.construct_params())
    processors = {**compiled._bind_processors, **state.processors}
    parameters = {**compiled.construct_params(), **state.additional_parameters}
    return state.statement, {
        name: processors[name](value) if name in processors else value
        for name, value in parameters.items()
    }


# Texts and identifiers in quotes, casts, and parameters by name.
_TOKENS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|::|:(\w+)")


def _placed(text, parameters):
    """The text with a byte 1 for each parameter, and the values in their order."""
    if "\1" in text:
        raise FieldError("the SQL of a clause holds the control character 1")
    values = []

    def place(match):
        name = match[1]
        if name is None or name not in parameters:
            return match[0]
        values.append(parameters[name])
        return "\1"

    return _TOKENS.sub(place, text), tuple(values)
