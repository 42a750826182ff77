"""What the extension module promises beneath the package: classes, layouts, rows, values."""

from __future__ import annotations

import copy
import gc
import re
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

import orm
import orm.exceptions
from orm import _core

HEADER = Path(__file__).parents[2] / "include" / "orm" / "orm.h"


# ---- statuses ----------------------------------------------------------------------------------


def test_every_status_has_its_exception():
    found = re.findall(r"X\((ORM_E\w+), (-\d+), \"(\w+)\"\)", HEADER.read_text())
    assert len(found) == 45
    for _, _, name in found:
        cls = MemoryError if name == "MemoryError" else getattr(orm.exceptions, name)
        assert issubclass(cls, Exception)


def test_no_subinterpreter_gets_it():
    body = """
import sys
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
other = interpreters.create()
if not hasattr(interpreters, "run_string"):
    sys.exit(0)
interpreters.run_string(other, '''
import sys
sys.path[:] = %r
try:
    import orm
except ImportError as error:
    print(error, flush=True)
''' % sys.path)
"""
    run = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert "subinterpreters" in run.stdout


# ---- classes -----------------------------------------------------------------------------------


@pytest.fixture
def two(world):
    base = world.base()

    class Label(base):
        id = orm.Integer(primary_key=True)
        name = orm.Text()

    class Record(base):
        id = orm.Integer(primary_key=True)
        label = orm.ForeignKey(Label, allow_null=True)
        title = orm.Text()
        year = orm.Integer(allow_null=True)

    return Label, Record


def test_the_hidden_class_is_nowhere_seen(world):
    made = []

    class Base(world.base()):
        __abstract__ = True

        def __init_subclass__(cls, **options):
            made.append(cls.__name__)
            super().__init_subclass__(**options)

    class Node(Base):
        id = orm.Integer(primary_key=True)
        name = orm.Text()
        parent = orm.ForeignKey("self", allow_null=True)

    node = Node(id=1, parent=2)
    assert node.parent.__class__ is Node
    assert type(node.parent) is not Node
    assert isinstance(node.parent, Node)
    assert Node.__subclasses__() == []
    assert made == ["Node"]


@pytest.mark.parametrize("other", ["Label", "int", "sparse"])
def test_no_door_leads_to_another_class(two, other):
    label, record = two
    row = record(id=1, label=2, title="a", year=3)
    cls = {"Label": label, "int": int, "sparse": type(row.label)}[other]
    for instance in (row, row.label):
        for assign in (setattr, object.__setattr__, type(instance).__setattr__):
            with pytest.raises((TypeError, AttributeError)):
                assign(instance, "__class__", cls)
    assert row.year == 3


def test_descriptors_read_their_own_class_only(two):
    label, record = two
    for name in ("year", "label"):
        with pytest.raises(TypeError):
            record.__dict__[name].__get__(label(id=1))


def test_a_field_of_the_class_cannot_be_replaced(two):
    _, record = two
    with pytest.raises(AttributeError, match="'title' is a field"):
        record.title = "x"
    with pytest.raises(AttributeError, match="'title' is a field"):
        del record.title
    record.other = 1
    assert record(id=1).other == 1


def test_fields_cannot_be_deleted(two):
    row = two[1](id=1, title="a")
    with pytest.raises(AttributeError, match="'title'"):
        del row.title
    assert row.title == "a"


def test_abstract_classes_have_no_instances(world):
    for cls in (orm.Model, world.base(), _core.Instance):
        with pytest.raises(TypeError, match="abstract"):
            cls()


def test_classes_and_their_instances_are_collected(world):
    class Node(world.base()):
        id = orm.Integer(primary_key=True)
        parent = orm.ForeignKey("self", allow_null=True)
        name = orm.Text(default="n")

    node = Node(id=1, parent=2)
    node.parent.extra = node
    found = weakref.ref(Node)
    del Node, node
    world.metadata.models.clear()
    gc.collect()
    assert found() is None


def test_a_long_chain_goes_without_recursion(world):
    class Node(world.base()):
        id = orm.Integer(primary_key=True)
        parent = orm.ForeignKey("self", allow_null=True)

    node = None
    for number in range(50_000):
        node = Node(id=number, parent=node)
    del node


def test_del_runs_once_and_may_bring_it_back(world):
    kept, runs = [], []

    class Node(world.base()):
        id = orm.Integer(primary_key=True)

        def __del__(self):
            runs.append(self.id)
            kept.append(self)

    node = Node(id=7)
    del node
    assert kept[0].id == 7
    kept.clear()
    gc.collect()
    assert runs == [7]


def test_what_is_tracked(two):
    _, record = two
    row = record(id=1, label=2, title="a")
    assert not gc.is_tracked(row)
    assert row.label
    assert gc.is_tracked(row)
    other = record(id=1, title="a")
    other.extra = []
    assert gc.is_tracked(other)


def test_a_key_of_several_fields(world):
    class Pair(world.base()):
        a = orm.Integer()
        b = orm.Text()
        __table_args__ = [orm.PrimaryKey("a", "b")]

    pair = Pair(a=1, b="x")
    assert pair.pk == (1, "x")
    assert pair == Pair(pk=(1, "x"))
    assert hash(pair) == hash(Pair(pk=(1, "x")))
    assert pair != Pair(pk=(1, "y"))
    with pytest.raises(orm.ValidationError, match="tuple of 2"):
        Pair(pk=1)
    with pytest.raises(TypeError, match="cannot be hashed"):
        hash(Pair(a=1))


# ---- rows --------------------------------------------------------------------------------------


async def test_rows_with_missing_columns_are_sparse(two):
    _, record = two
    await orm.create_all(record.__metadata__, record.__database__)
    await record.objects.create(title="a", year=1)
    (row,) = await record.objects.raw("SELECT id, title FROM record")
    assert row.title == "a"
    with pytest.raises(AttributeError, match="'year' is not loaded"):
        row.year  # noqa: B018
    assert str(row) == str(copy.copy(row)) == "Record(id=1, title='a') [sparse]"
    await row.load()
    assert row.year == 1
    assert type(row) is record


async def test_a_sparse_row_that_is_completed_by_hand_is_whole(two):
    label, record = two
    item = record(id=1, label=2, title="a").label
    item.name = "x"
    assert type(item) is label
    assert str(item) == "Label(id=2, name='x')"


async def test_objects_are_shared_by_keys_of_any_type(world):
    base = world.base()

    class Team(base):
        code = orm.String(max_length=9, primary_key=True)
        name = orm.Text()

    class Person(base):
        id = orm.Integer(primary_key=True)
        home = orm.ForeignKey(Team)
        away = orm.ForeignKey(Team, allow_null=True)

    await world.create()
    teams = [await Team.objects.create(code=code, name=code * 2) for code in "ab"]
    for number in range(200):
        away = teams[0] if number % 3 else None
        await Person.objects.create(home=teams[number % 2], away=away)
    rows = await Person.objects.select_related("home", "away").order_by("id").all()
    assert len({id(row.home) for row in rows}) == 2
    assert {row.home.name for row in rows} == {"aa", "bb"}
    assert rows[0].away is None
    assert len({id(row.away) for row in rows if row.away}) == 1


async def test_many_integer_keys_are_told_apart(two):
    label, record = two
    await orm.create_all(record.__metadata__, record.__database__)
    keys = [*range(-150, 150), 2**31 - 1, -(2**31), 2**20, 2**24]
    await label.objects.bulk_create([{"id": key, "name": str(key)} for key in keys])
    await record.objects.bulk_create([{"label": key, "title": str(key)} for key in keys * 2])
    rows = await record.objects.select_related("label").all()
    assert len(rows) == 2 * len(keys)
    assert all(row.label.name == row.title for row in rows)
    assert len({id(row.label) for row in rows}) == len(keys)


async def test_a_reference_without_its_row_keeps_the_key(two, world):
    _, record = two
    await world.create()
    if world.kind != "sqlite":  # where keys are checked, the constraint has to go first
        (name,) = (
            row[0]
            for row in world.outside(
                "SELECT constraint_name FROM information_schema.table_constraints "
                "WHERE constraint_type = 'FOREIGN KEY' AND table_name = 'record'"
            )
        )
        kind = "FOREIGN KEY" if world.kind == "mariadb" else "CONSTRAINT"
        world.outside(f"ALTER TABLE record DROP {kind} {name}")
    world.outside("INSERT INTO record (id, label, title) VALUES (1, 77, 'a')")
    row = await record.objects.select_related("label").get(pk=1)
    assert row.label.pk == 77
    assert str(row.label) == "Label(id=77) [sparse]"


async def test_bytes_that_are_no_text_are_an_error_that_names_the_column(two, world):
    label, _ = two
    await world.create()
    world.stdlib("INSERT INTO label VALUES (1, CAST(x'ff41' AS TEXT)), (2, 'fine')")
    with pytest.raises(orm.DataError, match=r"label\.name") as caught:
        await label.objects.all()
    assert (caught.value.table, caught.value.column) == ("label", "name")
    assert [row.name for row in await label.objects.filter(pk=2).all()] == ["fine"]


async def test_a_model_with_its_own_init_is_made_by_calling_it(world):
    class Thing(world.base()):
        id = orm.Integer(primary_key=True)
        name = orm.Text()

        def __init__(self, **values):
            super().__init__(**values)
            self.length = len(self.name)

    await world.create()
    await Thing.objects.create(name="four")
    row = await Thing.objects.get()
    assert (row.length, row.name) == (4, "four")
    assert (await Thing.objects.all())[0].length == 4


async def test_an_error_in_such_an_init_passes(world):
    class Thing(world.base()):
        id = orm.Integer(primary_key=True)

        def __init__(self, **values):
            super().__init__(**values)
            if values.get("id") == 2:
                raise LookupError("no two")

    await world.create()
    world.outside("INSERT INTO thing VALUES (1), (2)")
    with pytest.raises(LookupError, match="no two"):
        await Thing.objects.all()
    assert (await Thing.objects.get(pk=1)).pk == 1


# ---- values ------------------------------------------------------------------------------------


class Hostile:
    """Every method that could be asked for a value raises."""

    def _refuse(self, *_):
        raise AssertionError("asked")

    __index__ = __int__ = __float__ = __str__ = __repr__ = __iter__ = __bool__ = _refuse
    __len__ = __getitem__ = __hash__ = __eq__ = __bytes__ = _refuse


class Text(str):
    __str__ = __repr__ = __eq__ = encode = strip = lower = Hostile._refuse
    __hash__ = str.__hash__


class Number(int):
    __index__ = __int__ = __str__ = __repr__ = __float__ = Hostile._refuse


@pytest.mark.parametrize(
    "field",
    [
        orm.Integer(),
        orm.Float(),
        orm.Decimal(5, 2),
        orm.Text(),
        orm.Boolean(),
        orm.Date(),
        orm.DateTime(),
        orm.UUID(),
        orm.Binary(),
        orm.IPAddress(),
        orm.Interval(),
        orm.Array(orm.Integer()),
    ],
    ids=lambda field: type(field).__name__,
)
async def test_hostile_objects_are_refused_unasked(world, field):
    thing = world.fields(value=field)
    with pytest.raises((orm.ValidationError, orm.DataError)):
        thing(value=Hostile())
    with pytest.raises(orm.DataError):
        thing.objects.filter(value=Hostile())


def test_subclasses_are_read_by_their_real_value(world):
    thing = world.fields(text=orm.Text(), number=orm.Integer(), real=orm.Float())
    row = thing(text=Text(" a "), number=Number(7), real=Number(3))
    assert (row.text, row.number, row.real) == ("a", 7, 3.0)
    assert (type(row.text), type(row.number), type(row.real)) == (str, int, float)


@pytest.mark.parametrize("error", [ValueError("Odd."), orm.ValidationError("Odd.")])
def test_a_converter_of_ones_own_says_what_is_wrong(world, error):
    class Even(orm.Integer):
        @staticmethod
        def converter(value):
            if value % 2:
                raise error
            return value + 2

    thing = world.fields(value=Even())
    assert thing(value="4").value == 6
    with pytest.raises(orm.ValidationError) as caught:
        thing(value=3)
    assert dict(caught.value) == {"value": "Odd."}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("number__in", "abc"),
        ("number__in", b"abc"),
        ("number__in", {"a": 1}),
        ("number__in", 5),
        ("number__range", [1]),
        ("number__range", [1, 2, 3]),
        ("number__gt", None),
        ("number__isnull", "perhaps"),
        ("text__contains", 5),
        ("number", [1]),
        ("moment__year", "x"),
    ],
)
async def test_arguments_that_fit_no_lookup(world, argument, value):
    thing = world.fields(text=orm.Text(), number=orm.Integer(), moment=orm.DateTime())
    with pytest.raises(orm.DataError):
        thing.objects.filter(**{argument: value})


async def test_instances_and_querysets_as_arguments(two, world):
    label, record = two
    with pytest.raises(orm.DataError, match="of Label, not of Record"):
        record.objects.filter(label=record(id=1))
    with pytest.raises(orm.DataError, match="of Label, not of Record"):
        record.objects.filter(label__in=record.objects)
    with pytest.raises(ValueError, match="save it first"):
        record.objects.filter(label=label(name="x"))
    with pytest.raises(orm.DataError):
        record.objects.filter(label__in=label(id=1))
    with pytest.raises(orm.DataError):
        record.objects.filter(title=label(id=1))
    with pytest.raises(orm.DataError):
        record.objects.filter(label=label.objects)
    await world.create()
    item = await label.objects.create(name="x")
    await record.objects.create(label=item, title="a")
    for value in ([item], (item.pk,), {item}, (one for one in [item]), label.objects.filter(pk=1)):
        assert await record.objects.filter(label__in=value).count() == 1
    assert await label.objects.filter(pk=item).count() == 1
    assert await label.objects.filter(pk__in=[item]).count() == 1
