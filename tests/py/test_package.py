"""The package as a whole: what importing it costs and brings, and what it offers."""

import subprocess
import sys

import orm
from orm import _core

HEAVY = {"asyncio", "databases", "sqlalchemy", "rich", "typing", "uuid", "decimal", "json"}


def python(code):
    return subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_orm_brings_nothing_heavy():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; before = set(sys.modules); import orm; "
        f"print(sorted({HEAVY!r} & (set(sys.modules) - before)))"
    )
    assert python(code) == "[]"


def test_import_orm_is_quick():
    """After asyncio it takes about half of what asyncio took; measured against that, in one
    process, since builds and machines differ.  The best of five."""
    code = (
        f"import sys, time; sys.path[:0] = {sys.path!r}; clock = time.process_time; a = clock(); "
        "import asyncio; b = clock(); import orm; print((clock() - b) / (b - a))"
    )
    assert min(float(python(code)) for _ in range(5)) < 1.5


def test_every_public_name_is_there():
    for name in orm.__all__:
        assert hasattr(orm, name), name
    assert len(set(orm.__all__)) == len(orm.__all__)


def test_the_version_is_that_of_the_library():
    assert orm.__version__ == _core.version


def test_generic_names_work_in_annotations():
    def find(query: orm.QuerySet[orm.Model]) -> orm.Operation[int]:
        return query.count()

    assert find.__annotations__["query"].__origin__ is orm.QuerySet
    assert orm.ForeignKey[orm.Model].__origin__ is orm.ForeignKey
