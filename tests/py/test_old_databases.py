"""Databases that encode/orm made: every column reads back as it wrote it, and filters find it.

encode_orm/ holds, for each backend, the tables and rows as its last release leaves them.
"""

import asyncio
import datetime
import decimal
import enum
import ipaddress
import json
import sqlite3
import uuid
from pathlib import Path

import pytest
import sqlalchemy

import orm
from tests.py.migrations import alchemy_engine, described, differences

SCRIPTS = Path(__file__).parent / "encode_orm"


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


FIELDS = {
    "big": lambda: orm.BigInteger(allow_null=True),
    "flag": lambda: orm.Boolean(allow_null=True),
    "day": lambda: orm.Date(allow_null=True),
    "moment": lambda: orm.DateTime(allow_null=True),
    "price": lambda: orm.Decimal(max_digits=10, decimal_places=2, allow_null=True),
    "rate": lambda: orm.Decimal(max_digits=15, decimal_places=9, allow_null=True),
    "color": lambda: orm.Enum(Color, allow_null=True),
    "ratio": lambda: orm.Float(allow_null=True),
    "number": lambda: orm.Integer(allow_null=True, index=True),
    "data": lambda: orm.JSON(allow_null=True),
    "title": lambda: orm.String(max_length=100, allow_null=True),
    "body": lambda: orm.Text(allow_null=True),
    "at": lambda: orm.Time(allow_null=True),
    "code": lambda: orm.UUID(allow_null=True),
    "slug": lambda: orm.String(max_length=20, allow_null=True, unique=True),
    "order": lambda: orm.String(max_length=20, allow_null=True, unique=True, index=True),
    "email": lambda: orm.Email(max_length=100, allow_null=True),
    "address": lambda: orm.IPAddress(allow_null=True),
    "link": lambda: orm.URL(max_length=200, allow_null=True),
}
FIRST = {
    "big": 2**62,
    "flag": True,
    "day": datetime.date(2020, 1, 2),
    "moment": datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
    "price": decimal.Decimal("1.20"),
    "rate": decimal.Decimal("123456.123456789"),
    "color": Color.RED,
    "ratio": 0.1,
    "number": -5,
    "data": {"a": [1, None, "é"], "b": {"c": 1.5}},
    "title": "Ünïcode 🎵",
    "body": 'It\'s "quoted" \\ 100%',
    "at": datetime.time(1, 2),
    "code": uuid.UUID("b0c2a3e4-1f5d-4a6b-8c7d-9e0f1a2b3c4d"),
    "slug": "a",
    "order": "a",
    "email": "a@example.org",
    "address": ipaddress.ip_address("192.168.0.1"),
    "link": "https://example.org/a?b=c",
}
SECOND = {
    "big": -1,
    "flag": False,
    "day": datetime.date(1000, 1, 1),
    "moment": datetime.datetime(1999, 12, 31, 23, 59, 59),
    "price": decimal.Decimal("-99999999.99"),
    "rate": decimal.Decimal("0.000000001"),
    "color": Color.GREEN,
    "ratio": -1e30,
    "number": 0,
    "data": [],
    "title": "a",
    "body": "b",
    "at": datetime.time(23, 59, 59, 999999),
    "code": uuid.UUID("ffffffff-ffff-4fff-bfff-ffffffffffff"),
    "slug": "b",
    "order": "b",
    "email": "b@example.org",
    "address": ipaddress.ip_address("2001:db8::1"),
    "link": "http://b.example/",
}
DOCUMENTS = {3: "text", 4: 5, 5: 1.25, 6: True, 7: 10**20, 8: "5", 9: None}
PART = uuid.UUID("93bd43e5-6bc6-4587-90c2-316be99a180e")


def stored(world, values):
    """What the columns of that backend keep of the values."""
    if world.kind != "mariadb":
        return values
    whole = {name: values[name].replace(microsecond=0) for name in ("moment", "at")}
    return values | whole


def load(world, script):
    if world.kind == "sqlite":
        connection = sqlite3.connect(world.path)
        connection.executescript(script)
        connection.close()
        return

    async def run():
        database = orm.Database(world.url, max_size=1)
        for statement in script.split(";\n"):
            if statement.strip():
                await database.execute(statement)
        await database.disconnect()

    asyncio.run(run())


def models():
    """Thing, Label and Part: the fields of each."""
    return {
        "Thing": {"id": orm.Integer(primary_key=True)}
        | {name: make() for name, make in FIELDS.items()},
        "Label": {"id": orm.BigInteger(primary_key=True), "text": orm.String(max_length=10)},
        "Part": {
            "id": orm.UUID(primary_key=True, default=uuid.uuid4),
            "thing": orm.ForeignKey("Thing", on_delete=orm.CASCADE),
            "label": orm.OneToOne("Label", allow_null=True),
        },
    }


@pytest.fixture(params=["attributes", "registry"])
def old(world, request):
    """The old database with its models, in both spellings."""
    load(world, (SCRIPTS / f"{world.kind}.sql").read_text())
    world.style = request.param
    if world.style == "registry":
        registry = world.metadata = orm.ModelRegistry(database=world.database)
    else:
        world.metadata = sqlalchemy.MetaData()
    for name, fields in models().items():
        if world.style == "registry":
            body = {"registry": registry, "fields": fields}
        else:
            body = {"__metadata__": world.metadata, "__database__": world.database} | fields
        setattr(world, name, type(orm.Model)(name, (orm.Model,), body))
    return world


@pytest.mark.parametrize("name", FIELDS)
async def test_every_column_reads_back_equal(old, name):
    first, second, third = await old.Thing.objects.filter(id__lte=3).order_by("id").all()
    for thing, values in ((first, FIRST), (second, SECOND)):
        value = getattr(thing, name)
        assert value == stored(old, values)[name]
        assert type(value) is type(values[name])
    if name not in ("price", "rate", "ratio", "data"):
        assert getattr(third, name) is None


async def test_decimals_keep_their_places(old):
    things = await old.Thing.objects.filter(id__lte=3).order_by("id").all()
    assert [str(thing.price) for thing in things] == ["1.20", "-99999999.99", "5.00"]
    assert [f"{thing.rate}" for thing in things] == ["123456.123456789", "1E-9", "3.000000000"]


async def test_every_kind_of_document(old):
    things = await old.Thing.objects.filter(id__gte=3).all()
    assert {thing.id: thing.data for thing in things} == DOCUMENTS
    kinds = {thing.id: type(thing.data) for thing in things if thing.id != 7}
    assert kinds == {key: type(value) for key, value in DOCUMENTS.items() if key != 7}


@pytest.mark.parametrize("name", FIELDS)
async def test_filters_find_what_was_written(old, name):
    if name == "ratio" and old.kind == "mariadb":
        pytest.skip("no double equals what a FLOAT column keeps of 0.1")
    objects = old.Thing.objects
    for key, values in ((1, FIRST), (2, SECOND)):
        value = stored(old, values)[name]
        assert [thing.id for thing in await objects.filter(**{name: value}).all()] == [key]
        assert [thing.id for thing in await objects.filter(**{f"{name}__in": [value]}).all()] == [
            key
        ]


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"flag", "color", "data", "address"}))
async def test_comparisons_and_order(old, name):
    objects = old.Thing.objects.filter(id__lte=2)
    low, high = sorted(
        ((key, stored(old, values)[name]) for key, values in ((1, FIRST), (2, SECOND))),
        # text follows the collation of the database, which minds no case by default on MariaDB
        key=lambda pair: pair[1].lower() if name == "body" and old.kind == "mariadb" else pair[1],
    )
    assert [thing.id for thing in await objects.order_by(name).all()] == [low[0], high[0]]
    if name == "ratio" and old.kind == "mariadb":
        return  # as above
    assert [t.id for t in await objects.filter(**{f"{name}__gte": high[1]}).all()] == [high[0]]
    assert [t.id for t in await objects.filter(**{f"{name}__lt": high[1]}).all()] == [low[0]]


async def test_keys_and_relations(old):
    part = await old.Part.objects.select_related("thing").get(pk=PART)
    assert part.id == PART
    assert part.thing.title == "Ünïcode 🎵"
    assert part.label.pk == 1
    await part.label.load()
    assert part.label.text == "x"
    other = await old.Part.objects.get(thing=2)
    assert (other.label if old.style == "attributes" else other.label.pk) is None
    assert await old.Part.objects.filter(thing__slug="a").count() == 1
    assert [p.id for p in await old.Part.objects.filter(label=None).all()] == [other.id]


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"data", "slug", "order"}))
async def test_what_is_written_here_has_the_same_form(old, name):
    """A release of encode/orm that still runs beside reads our rows like its own."""
    values = stored(old, FIRST) | {"slug": "c", "order": "c"}
    copy = await old.Thing.objects.create(**values)
    column = "CAST({} AS CHAR)" if old.kind == "mariadb" else "CAST({} AS TEXT)"
    if old.kind == "sqlite":
        column = "typeof({0}) || hex({0})"
    rows = await old.database.fetch_all(
        f"SELECT {column.format(name)} AS form FROM thing WHERE id IN (1, {copy.id})"
    )
    first, second = (row[0] for row in rows)
    assert first == second


@pytest.mark.parametrize(
    "value",
    [*(value for key, value in DOCUMENTS.items() if key != 7), FIRST["data"], SECOND["data"]],
)
async def test_documents_written_here_can_be_parsed(old, value):
    thing = await old.Thing.objects.create(data=value)
    assert (await old.Thing.objects.get(pk=thing.pk)).data == value
    row = await old.database.fetch_one(
        f"SELECT CAST(data AS {'CHAR' if old.kind == 'mariadb' else 'TEXT'}) AS form "
        f"FROM thing WHERE id = {thing.id}"
    )
    assert row[0] is None if value is None else json.loads(row[0]) == value


async def test_new_keys_go_on_from_the_old_ones(old):
    thing = await old.Thing.objects.create(title="new")
    assert thing.id == 10
    part = await old.Part.objects.create(thing=thing)
    assert (await old.Part.objects.get(pk=part.pk)).thing.pk == 10


async def test_create_all_finds_everything_there(old):
    """The fixture called it; nothing was added and nothing is lost."""
    await orm.create_all(old.metadata, old.database)
    assert await old.Thing.objects.count() == 9
    assert await old.Part.objects.count() == 2


async def test_the_ends_of_time_say_what_they_are(old):
    """asyncpg wrote `date.min` and `datetime.max` as infinities: no date is guessed for them."""
    if old.kind != "postgresql":
        pytest.skip("only asyncpg does so")
    await old.database.execute(
        "UPDATE thing SET day = '-infinity', moment = 'infinity' WHERE id = 1"
    )
    with pytest.raises(orm.DataError, match=r"thing\.(day|moment)"):
        await old.Thing.objects.get(pk=1)
    assert (await old.Thing.objects.get(pk=2)).day == SECOND["day"]
    await old.database.execute(
        "UPDATE thing SET day = '0001-01-01', moment = '9999-12-31 23:59:59.999999' WHERE id = 1"
    )
    thing = await old.Thing.objects.get(pk=1)
    assert (thing.day, thing.moment) == (datetime.date.min, datetime.datetime.max)


# Each of them is something that was wrong: keys that SQLite does not make, floats of seven
# digits, texts of 64 KiB.
PROPOSED = {
    "sqlite": [("modify_type", "id")],
    "postgresql": [],
    "mariadb": [("modify_type", "body"), ("modify_type", "ratio")],
}


async def test_what_alembic_proposes(old):
    metadata = getattr(old.metadata, "metadata", old.metadata)
    found = await differences(alchemy_engine(old), metadata)
    assert described(found) == PROPOSED[old.kind]
