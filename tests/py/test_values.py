"""Every field on every backend: what a column can hold comes back equal, however it got there,
and is found; what it cannot hold is an error before anything is sent."""

import asyncio
import datetime
import decimal
import enum
import math
import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import orm

KIND = os.environ.get("ORM_TEST_DATABASE", "sqlite")


class Color(enum.Enum):
    RED = 1
    BLUE = "two words"
    blue = None


FIELDS = {
    "small": lambda **more: orm.SmallInteger(**more),
    "number": lambda **more: orm.Integer(**more),
    "big": lambda **more: orm.BigInteger(**more),
    "ratio": lambda **more: orm.Float(**more),
    "price": lambda **more: orm.Decimal(max_digits=12, decimal_places=2, **more),
    "exact": lambda **more: orm.Decimal(max_digits=38, decimal_places=10, **more),
    "flag": lambda **more: orm.Boolean(**more),
    "name": lambda **more: orm.String(
        max_length=40, allow_blank=True, trim_whitespace=False, **more
    ),
    "text": lambda **more: orm.Text(allow_blank=True, trim_whitespace=False, **more),
    "data": lambda **more: orm.Binary(**more),
    "day": lambda **more: orm.Date(**more),
    "clock": lambda **more: orm.Time(**more),
    "moment": lambda **more: orm.DateTime(**more),
    "instant": lambda **more: orm.DateTime(timezone=True, **more),
    "span": lambda **more: orm.Interval(**more),
    "token": lambda **more: orm.UUID(**more),
    "tree": lambda **more: orm.JSON(**more),
    "color": lambda **more: orm.Enum(Color, **more),
    "address": lambda **more: orm.IPAddress(**more),
    "items": lambda **more: orm.Array(orm.Integer(), **more),
}


def decimals(digits, places):
    most = 10**digits - 1
    return st.integers(-most, most).map(lambda n: decimal.Decimal(f"{n}E-{places}"))


def texts(most=None):
    no = {"blacklist_categories": ["Cs"]}
    if KIND == "postgresql":
        no["blacklist_characters"] = "\0"
    return st.text(st.characters(**no), max_size=most)


UTC = datetime.timezone.utc
ZONES = st.sampled_from(
    [UTC, *(datetime.timezone(datetime.timedelta(hours=h)) for h in (-11, 5, 14))]
)
NAIVE = st.datetimes()
INSTANTS = st.builds(
    lambda moment, zone: moment.replace(tzinfo=UTC).astimezone(zone),
    # a day from either end, so that every zone can say it
    st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30)),
    ZONES,
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts(8)
    | st.floats(allow_nan=False, allow_infinity=False, width=32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
VALUES = {
    "small": st.integers(-(2**15), 2**15 - 1) | st.sampled_from([-(2**15), 2**15 - 1]),
    "number": st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-(2**31), 2**31 - 1]),
    "big": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1]),
    "ratio": st.floats(allow_nan=False, allow_infinity=False),
    "price": decimals(12, 2),
    "exact": decimals(38, 10) | st.sampled_from([decimal.Decimal("9" * 28 + "." + "9" * 10)]),
    "flag": st.booleans(),
    "name": texts(40),
    "text": texts(),
    "data": st.binary() | st.sampled_from([b"", b"\0", b"a\0b", bytes(range(256))]),
    "day": st.dates(),
    "clock": st.times(),
    "moment": NAIVE | st.sampled_from([datetime.datetime.min, datetime.datetime.max]),
    "instant": INSTANTS,
    "span": st.timedeltas(datetime.timedelta(days=-90000), datetime.timedelta(days=90000)),
    "token": st.uuids(),
    # a bare number may come back as another type from SQLite, whose column makes 0.0 a 0
    "tree": st.lists(TREES, max_size=2) | st.dictionaries(texts(4), TREES, max_size=2) | texts(8),
    "color": st.sampled_from(Color),
    "address": st.ip_addresses(),
    "items": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
}
NOT_FOUND = {"tree", "items"}  # documents are not looked up by equality


@pytest.fixture
def things(world):
    """A model with every field, and a loop that stays."""
    body = {name: make(allow_null=True) for name, make in FIELDS.items()}
    world.Thing = world.fields(**body)
    world.loop = asyncio.new_event_loop()
    world.loop.run_until_complete(world.create())
    yield world
    world.loop.run_until_complete(world.database.disconnect())
    world.loop.close()


def same(one, two):
    return type(one) is type(two) and one == two


async def round_trip(thing, name, values):
    """By create, bulk_create, update of a queryset and of an instance; and each is found."""
    await thing.objects.delete()
    first, *others = values
    made = [await thing.objects.create(**{name: first})]
    made += await thing.objects.bulk_create([{name: value} for value in others])
    made.append(await thing.objects.create())
    await thing.objects.filter(pk=made[-1].pk).update(**{name: first})
    made.append(await thing.objects.create())
    await made[-1].update(**{name: first})
    values = [first, *others, first, first]
    stored = await thing.objects.order_by("id")
    assert [row.pk for row in stored] == [row.pk for row in made]
    for row, value in zip(stored, values, strict=True):
        assert same(getattr(row, name), value), (getattr(row, name), value)
    if name in NOT_FOUND:
        return
    for value in values:
        keys = [row.pk for row, other in zip(made, values, strict=True) if other == value]
        assert [
            row.pk for row in await thing.objects.filter(**{name: value}).order_by("id")
        ] == keys
        among = {f"{name}__in": [value, first]}
        keys = [row.pk for row, it in zip(made, values, strict=True) if it in (value, first)]
        assert [row.pk for row in await thing.objects.filter(**among).order_by("id")] == keys


async def test_long_decimals_in_lists_and_ranges_are_compared_as_decimals(world):
    """Not as floats, in which the first two are equal, and equal to their neighbours."""
    thing = world.fields(value=FIELDS["exact"]())
    await world.create()
    one, two = (decimal.Decimal(f"99999999999999999999999999{n}.0000000001") for n in (7, 8))
    for value in (one, two, decimal.Decimal(1)):
        await thing.objects.create(value=value)

    async def keys(queryset):
        return [row.pk for row in await queryset.order_by("id")]

    assert await keys(thing.objects.filter(value__in=[one, 1])) == [1, 3]
    assert await keys(thing.objects.filter(value__in=[one, two])) == [1, 2]
    assert await keys(thing.objects.filter(value__range=(one, one))) == [1]
    assert await keys(thing.objects.exclude(value__in=[one, 1])) == [2]


@pytest.mark.parametrize("name", FIELDS)
def test_every_value_of_every_field_comes_back(things, name):
    @given(st.lists(VALUES[name], min_size=1, max_size=4))
    @settings(
        max_examples=25,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def check(values):
        things.loop.run_until_complete(round_trip(things.Thing, name, values))

    check()


# ---- texts that a collation could take for one another (G14)

ALIKE = [
    "a",
    "A",
    "á",
    "a ",
    "a  ",
    " a",
    "a\u0301",
    "\u00e1",
    "ａ",
    "",
    " ",
    "ss",
    "ß",
    "😀",
    "i",
    "ı",
    "İ",
]


@example(ALIKE)
@given(st.permutations(ALIKE))
@settings(
    max_examples=3,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_G14_texts_are_equal_when_they_are_the_same(things, alike):
    alike = list(dict.fromkeys(alike))

    async def check():
        thing = things.Thing
        await thing.objects.delete()
        rows = await thing.objects.bulk_create([{"name": text, "text": text} for text in alike])
        for row, text in zip(rows, alike, strict=True):
            for field in ("name", "text"):
                assert [r.pk for r in await thing.objects.filter(**{field: text})] == [row.pk]
                assert await thing.objects.exclude(**{field: text}).count() == len(alike) - 1

    things.loop.run_until_complete(check())


async def test_G14_and_a_unique_column_takes_them_all(world):
    thing = world.fields(
        name=orm.String(max_length=20, unique=True, allow_blank=True, trim_whitespace=False)
    )
    await world.create()
    alike = list(dict.fromkeys(ALIKE))
    await thing.objects.bulk_create([{"name": text} for text in alike])
    assert await thing.objects.count() == len(alike)
    with pytest.raises(orm.UniqueViolation):
        await thing.objects.create(name="a")


# ---- what a column cannot hold

BEYOND = {
    "small": [2**15, -(2**15) - 1, 2**63, 10**300],
    "number": [2**31, -(2**31) - 1, 2**64],
    "big": [2**63, -(2**63) - 1, 10**300],
    "ratio": [math.nan, math.inf, -math.inf, 10**400],
    "price": ["1.001", "12345678901", "NaN", "sNaN", "Infinity", "1E+999999", "1E-999999"],
    "exact": ["1E+29", "1E-11", "-NaN"],
    "name": ["x" * 41, "\ud800", *(["a\0b"] if KIND == "postgresql" else [])],
    "text": ["\udfff", *(["\0"] if KIND == "postgresql" else [])],
    "data": ["text", 5],
    "moment": [datetime.datetime(2020, 1, 1, tzinfo=UTC)],
    "instant": [datetime.datetime(2020, 1, 1)],
    "token": ["xyz", 5],
    "tree": [math.nan, {"a": math.inf}, object()],
    "color": ["PURPLE", 7],
    "address": ["300.1.1.1", "::g"],
    "items": [["x"], [2**31], "abc"],
    "span": ["soon"],
    "day": ["2020-13-01", "yesterday"],
    "clock": ["25:00"],
    "flag": ["maybe", 2],
}


@pytest.mark.parametrize("name", BEYOND)
async def test_what_a_column_cannot_hold_is_refused_before_anything_is_sent(world, name):
    thing = world.fields(value=FIELDS[name](allow_null=True))
    await world.create()
    row = await thing.objects.create()
    for value in BEYOND[name]:
        if name in ("price", "exact"):
            value = decimal.Decimal(value)
        del world.statements[:]
        for write in (
            lambda value=value: thing.objects.create(value=value),
            lambda value=value: thing.objects.bulk_create([{"value": value}]),
            lambda value=value: thing.objects.filter(pk=1).update(value=value),
            lambda value=value: row.update(value=value),
        ):
            with pytest.raises((orm.DataError, orm.ValidationError)):
                await write()
        assert not set(world.statements) - {"BEGIN", "START TRANSACTION", "ROLLBACK"}
    assert await thing.objects.filter(value=None).count() == 1


def test_the_tables_above_name_every_field():
    assert set(VALUES) == set(FIELDS)
    assert set(BEYOND) == set(FIELDS)
    assert {type(make()) for make in FIELDS.values()} >= {
        orm.SmallInteger, orm.Integer, orm.BigInteger, orm.Float, orm.Decimal, orm.Boolean,
        orm.String, orm.Text, orm.Binary, orm.Date, orm.Time, orm.DateTime, orm.Interval,
        orm.UUID, orm.JSON, orm.Enum, orm.IPAddress, orm.Array,
    }  # fmt: skip


# ---- what somebody else has stored and Python cannot hold

STORED = {
    "postgresql": [
        ("day", "'infinity'"), ("day", "'-infinity'"), ("day", "'0044-03-15 BC'"),
        ("day", "'10000-01-01'"), ("moment", "'infinity'"), ("moment", "'10000-01-01'"),
        ("instant", "'-infinity'"), ("clock", "'24:00'"), ("price", "'NaN'"),
    ],
    "mariadb": [
        ("day", "'0000-00-00'"), ("moment", "'0000-00-00'"), ("day", "'2020-00-10'"),
        ("clock", "'24:00'"), ("clock", "'-01:00'"), ("text", "_utf8mb4 x'EDA080'"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "stored"), STORED.get(KIND, []))
async def test_G5_G10_what_python_cannot_hold_is_an_error_that_names_the_column(
    world, name, stored
):
    thing = world.fields(value=FIELDS[name](allow_null=True))
    await world.create()
    await thing.objects.create(id=1)
    async with world.database.transaction():  # whose connection keeps what is set
        if world.kind == "mariadb":
            await world.database.execute("SET sql_mode = ''")
        await world.database.execute(f"INSERT INTO thing (id, value) VALUES (2, {stored})")
    with pytest.raises(orm.DataError, match=r"thing\.value") as caught:
        await thing.objects.get(pk=2)
    assert (caught.value.table, caught.value.column) == ("thing", "value")
    with pytest.raises(orm.DataError):
        await thing.objects.all()
    assert (await thing.objects.get(pk=1)).value is None
    assert await thing.objects.count() == 2
