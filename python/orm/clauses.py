"""SQLAlchemy's clauses as conditions: `Model.columns.name.startswith("G")` and any other.

What is known here becomes conditions of our own, with their values and their negation; the rest is
compiled by SQLAlchemy for the dialect and goes into the query with its values bound.  The result is
a list of tuples that the extension module reads (python/src/terms.c).
"""

from __future__ import annotations

import sys

from .exceptions import FieldError

__all__ = ["terms"]

COND, AND, OR, NOT, SQL = range(5)


def terms(model, clauses, keywords, negate):
    """The terms of clauses and keyword conditions that must all hold, or (negate) must not."""
    found = [_clause(model, clause) for clause in clauses]
    found += [[(COND, name, value)] for name, value in keywords.items()]
    joined = found[0] if len(found) == 1 else [(AND, len(found)), *_chain(found)]
    return [(NOT,), *joined] if negate else joined


def _clause(model, clause):
    sqlalchemy = sys.modules.get("sqlalchemy")
    if sqlalchemy is None or not isinstance(clause, sqlalchemy.sql.ClauseElement):
        raise TypeError(
            "filter() and exclude() take conditions as keyword arguments, or SQLAlchemy clauses "
            f"such as {model.__name__}.columns.name == 'x', not {clause!r:.100}"
        )
    from . import alchemy_clauses

    return alchemy_clauses.translate(model, clause)


def _chain(lists):
    return [term for terms in lists for term in terms]


def path_to(model, target):
    """The names of the foreign keys that lead from a model to another one: the shortest way."""
    ways = [((), model)]
    seen = {model}
    while ways:
        found = [names for names, end in ways if end is target]
        if len(found) == 1:
            return found[0]
        if found:
            raise FieldError(
                f"{model.__name__} refers to {target.__name__} by "
                f"{' and '.join(repr('__'.join(names)) for names in found)}: say which with a "
                f"keyword, such as {'__'.join(found[0])}__{target.__pkname__ or 'pk'}=…"
            )
        ways = [
            ((*names, name), end)
            for names, start in ways
            for name, end in _references(start)
            if end not in seen
        ]
        seen.update(end for _, end in ways)
    raise FieldError(
        f"no foreign key leads from {model.__name__} to {target.__name__}: a clause about its "
        "columns cannot be answered"
    )


def _references(model):
    from .alchemy import target_of

    for name, field in model.fields.items():
        target = target_of(model, field)
        if target is not None:
            yield name, target
