"""What the page "Coming from encode/orm" says is right now: every test that it names exists."""

import re
from pathlib import Path

import pytest

import orm

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs/coming-from-encode-orm.md"


def named_tests():
    return re.findall(r"\| `(test_\w+\.py)::(test_\w+)` \|$", PAGE.read_text("utf-8"), re.M)


def test_the_page_names_a_test_for_each_line():
    section = PAGE.read_text("utf-8").partition("## What is right now")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert len(named_tests()) == len(rows) - 1 > 25  # the head is a row as well


@pytest.mark.parametrize(("file", "name"), named_tests())
def test_a_named_test_exists(file, name):
    assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text("utf-8"), re.M)


def test_no_difference_is_left_out():
    """test_differences.py holds them all, and one about what stays."""
    here = {name for file, name in named_tests() if file == "test_differences.py"}
    source = (TESTS / "test_differences.py").read_text("utf-8")
    tests = set(re.findall(r"^async def (test_\w+)\(", source, re.M))
    assert tests - here == {"test_a_database_made_by_encode_orm_stays_readable"}


async def test_create_all_twice_with_indexes(world):
    thing = world.fields(a=orm.Integer(index=True), b=orm.Integer(index=True, unique=True))
    await orm.create_all(world.metadata, world.database)
    await orm.create_all(world.metadata, world.database)
    await thing.objects.create(a=1, b=1)
    await orm.create_all(world.metadata, world.database)
    with pytest.raises(orm.UniqueViolation):
        await thing.objects.create(a=1, b=1)
