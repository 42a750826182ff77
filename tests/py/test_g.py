"""Values (group G of the reliability cases): a value comes back equal, or it is refused before it
is stored.  Each goes through create, bulk_create, update, filter and raw SQL."""

import datetime
import decimal
import enum
import ipaddress
import math
import sqlite3
import uuid
from contextlib import closing

import pytest

import orm

D = decimal.Decimal
UTC = datetime.timezone.utc
INT = {"SmallInteger": 2**15, "Integer": 2**31, "BigInteger": 2**63}


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


async def round_trip(world, field, values, equal=lambda a, b: a == b and type(a) is type(b)):
    """Stores each value by every way in, finds it by filter, and reads it back."""
    thing = world.fields(value=field)
    await world.create()
    for value in values:
        first = await thing.objects.create(value=value)
        (second,) = await thing.objects.bulk_create([{"value": value}])
        third = await thing.objects.create(value=values[0])
        await thing.objects.filter(pk=third.pk).update(value=value)
        keys = [first.pk, second.pk, third.pk]
        rows = await thing.objects.filter(pk__in=keys)
        assert len(rows) == 3
        for row in rows:
            assert equal(row.value, value), (row.value, value)
        if not isinstance(field, orm.JSON):
            assert await thing.objects.filter(value=value, pk__in=keys).count() == 3, value
            assert await thing.objects.filter(value__in=[value], pk__in=keys).count() == 3
        (raw,) = await thing.objects.raw(world.sql("SELECT * FROM thing WHERE id = ?"), first.pk)
        assert equal(raw.value, value)
        await thing.objects.delete()


async def refused(world, field, values, known=None):
    """No way in takes the value; nothing is sent and nothing is stored."""
    thing = world.fields(value=field)
    await world.create()
    if known is not None:
        await thing.objects.create(value=known)
    for value in values:
        before = len(world.statements)
        for make in (
            lambda v=value: thing.objects.create(value=v),
            lambda v=value: thing.objects.bulk_create([{"value": v}]),
            lambda v=value: thing.objects.update(value=v),
            lambda v=value: thing.objects.filter(value=v).all(),
            lambda v=value: thing.objects.filter(value__in=[v]).all(),
        ):
            with pytest.raises((orm.DataError, orm.ValidationError)) as caught:
                await make()
            assert "\n" not in str(caught.value)
        assert world.statements[before:] == [], value
    assert await thing.objects.count() == (known is not None)


@pytest.mark.parametrize("kind", INT)
async def test_G1_integers_to_the_edge_of_their_column(world, kind):
    edge = INT[kind]
    await round_trip(world, getattr(orm, kind)(), [0, 1, -1, edge - 1, -edge])


@pytest.mark.parametrize("kind", INT)
async def test_G1_integers_beyond_their_column(world, kind):
    edge = INT[kind]
    await refused(world, getattr(orm, kind)(), [edge, -edge - 1, 2**63, -(2**63) - 1, 10**300])


async def test_G1_integers_beyond_64_bits(world):
    thing = world.fields(value=orm.BigInteger())
    for value in (2**63, 10**300, -(10**300)):
        with pytest.raises((orm.DataError, orm.ValidationError)):
            await thing.objects.create(value=value)
        with pytest.raises(orm.DataError):
            await thing.objects.filter(value__gt=value)
        with pytest.raises(orm.DataError):
            await thing.objects.raw("SELECT * FROM thing WHERE value = ?", value)


async def test_G2_text_with_nul_is_refused_where_it_would_be_cut(world, nothing_sent):
    if world.keeps_nul():
        pytest.skip("keeps it: G3")
    thing = world.fields(value=orm.Text(allow_null=True))
    await world.create()
    row = await thing.objects.create(value="whole")
    with nothing_sent(world):
        for attempt in (
            lambda: thing.objects.create(value="a\0b"),
            lambda: thing.objects.bulk_create([{"value": "a"}, {"value": "a\0b"}]),
            lambda: thing.objects.filter(value="a\0b").all(),
            lambda: thing.objects.filter(value__contains="\0").count(),
            lambda: thing.objects.update(value="a\0b"),
            lambda: row.update(value="a\0b"),
            lambda: world.database.fetch_val("SELECT CAST($1 AS text)", ["a\0b"]),
        ):
            with pytest.raises((orm.DataError, orm.ValidationError)):
                await attempt()
    assert [each.value for each in await thing.objects.all()] == ["whole"]


async def test_G3_text_with_nul(world):
    texts = ["\0", "a\0b", "\0\0", "a\0", "\0b"]
    await round_trip(world, orm.Text(trim_whitespace=False), texts)


async def test_G4_lone_surrogates(world):
    await refused(world, orm.Text(), ["\ud800", "a\udfff", "\udcff"])
    with pytest.raises(orm.DataError):
        await world.database.execute("SELECT ?", ["\ud800"])


async def test_G5_invalid_utf8_that_is_stored(world):
    thing = world.fields(value=orm.Text())
    await world.create()
    await thing.objects.create(value="good")
    world.stdlib("INSERT INTO thing VALUES (2, CAST(x'61ff62' AS TEXT))")
    world.stdlib("INSERT INTO thing VALUES (3, CAST(x'eda080' AS TEXT))")
    for key in (2, 3):
        with pytest.raises(orm.DataError, match="value") as caught:
            await thing.objects.get(pk=key)
        assert caught.value.column == "value"
    assert (await thing.objects.get(pk=1)).value == "good"
    assert await world.database.fetch_val("SELECT CAST(value AS BLOB) FROM thing WHERE id = 2") == (
        b"a\xffb"
    )


async def test_G6_nan(world):
    await refused(world, orm.Float(), [math.nan, -math.nan])
    with pytest.raises(orm.DataError):
        await world.database.execute("SELECT ?", [math.nan])


async def test_G6_infinities_in_raw_sql_round_trip(world):
    sql = "SELECT CAST($1 AS float)" if world.kind == "postgresql" else "SELECT ?"
    for value in (math.inf, -math.inf):
        assert await world.database.fetch_val(sql, [value]) == value


async def test_G6_floats_round_trip_to_the_bit(world):
    values = [0.0, 0.1, -1.5, 1e308, 5e-324, 2.0**53, 1 / 3]
    await round_trip(world, orm.Float(), values)


async def test_G8_decimals_of_many_digits(world):
    values = [
        D("0"),
        D("12345678901234567890123456789012345678"),
        D("-12345678901234567890123456789012345678"),
        D("1"),
    ]
    await round_trip(world, orm.Decimal(38, 0), values, lambda a, b: a == b)


async def test_G8_decimals_lose_no_digit(world):
    values = [D("0.1"), D("0.01"), D("9999999999999.99"), D("-9999999999999.99"), D("0.10")]
    await round_trip(world, orm.Decimal(15, 2), values, lambda a, b: a == b)


async def test_G8_decimals_with_38_digits_behind_the_point(world):
    value = D("0.12345678901234567890123456789012345678")
    await round_trip(world, orm.Decimal(38, 38), [value, -value], lambda a, b: a == b)


async def test_G8_decimals_that_the_column_cannot_hold(world):
    values = [D("1.234"), D("1000"), D("NaN"), D("sNaN"), D("Infinity"), D("-Infinity")]
    thing = world.fields(value=orm.Decimal(5, 2))
    await world.create()
    for value in values:
        for make in (thing.objects.create, thing.objects.update):
            with pytest.raises((orm.DataError, orm.ValidationError)):
                await make(value=value)
    assert await thing.objects.count() == 0


@pytest.mark.parametrize("routed", [False, True])
async def test_G8_a_numeric_column_that_others_made_loses_no_digit(folder, routed):
    """SQLite makes a float of text in such a column, and says nothing."""
    with closing(sqlite3.connect("old.db")) as old:
        old.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, value NUMERIC(30, 4))")
    url = "sqlite:///old.db"
    if routed:
        database = pytest.importorskip("databases").Database(url, force_rollback=True)
        await database.connect()
    else:
        database = orm.Database(url)
    refused = sqlite3.OperationalError if routed else orm.DataError

    class Thing(orm.Model):
        __database__ = database
        __metadata__ = orm.MetaData()

        id = orm.Integer(primary_key=True)
        value = orm.Decimal(30, 4, allow_null=True)

    kept = D("12345678901.2345")
    thing = await Thing.objects.create(value=kept)
    for value in (D("99999999999999999"), D("123456789012.3456")):
        for write in (
            Thing.objects.create(value=value),
            Thing.objects.bulk_create([{"value": 1}, {"value": value}]),
            Thing.objects.update(value=value),
            thing.update(value=value),
        ):
            with pytest.raises(refused):
                await write
    await Thing.objects.create(value=None)
    rows = await Thing.objects.order_by("id")
    assert [row.value for row in rows] == [kept, None]
    await database.disconnect()


async def test_G8_a_decimal_with_a_huge_exponent_is_quick(world):
    """Its digits are never written out, which would take seconds of processor time."""
    import time

    thing = world.fields(value=orm.Decimal(5, 2))
    await world.create()
    for text in ("1E+999999", "1E-999999", "-1E+999999"):
        before = time.thread_time()
        with pytest.raises((orm.DataError, orm.ValidationError)):
            await thing.objects.create(value=D(text))
        assert time.thread_time() - before < 0.5


async def test_G9_datetimes(world):
    values = [
        datetime.datetime(1, 1, 1),
        datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
        datetime.datetime(2020, 2, 29, 12, 0),
        datetime.datetime(2020, 10, 25, 2, 30, fold=1),
    ]
    await round_trip(world, orm.DateTime(), values)


async def test_G9_aware_datetimes_are_the_same_instant(world):
    zone = datetime.timezone(datetime.timedelta(hours=-5, minutes=-30))
    values = [
        datetime.datetime(2020, 1, 1, 12, tzinfo=UTC),
        datetime.datetime(2020, 1, 1, 12, tzinfo=zone),
        datetime.datetime(1, 1, 2, tzinfo=UTC),
        datetime.datetime(9999, 12, 30, tzinfo=zone),
    ]
    await round_trip(
        world,
        orm.DateTime(timezone=True),
        values,
        lambda a, b: a == b and a.tzinfo is not None,
    )


async def test_G9_naive_and_aware_do_not_mix(world):
    naive, aware = datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 1, tzinfo=UTC)
    thing = world.fields(naive=orm.DateTime(default=naive), aware=orm.DateTime(timezone=True))
    await world.create()
    with pytest.raises((orm.DataError, orm.ValidationError), match="aware"):
        await thing.objects.create(naive=naive, aware=naive)
    with pytest.raises((orm.DataError, orm.ValidationError), match="naive"):
        await thing.objects.create(naive=aware, aware=aware)
    with pytest.raises(orm.DataError):
        await thing.objects.filter(naive__gt=aware)
    with pytest.raises(orm.DataError):
        await thing.objects.filter(aware__gt=naive)


async def test_G9_an_instant_before_year_one(world):
    zone = datetime.timezone(datetime.timedelta(hours=14))
    thing = world.fields(value=orm.DateTime(timezone=True))
    await world.create()
    with pytest.raises((orm.DataError, orm.ValidationError)):
        await thing.objects.create(value=datetime.datetime(1, 1, 1, tzinfo=zone))


async def test_G9_dates_times_and_intervals(world):
    days = [datetime.date(1, 1, 1), datetime.date(9999, 12, 31), datetime.date(2020, 2, 29)]
    await round_trip(world, orm.Date(), days)


async def test_G9_times(world):
    times = [datetime.time(0), datetime.time(23, 59, 59, 999999), datetime.time(1, 2, 3)]
    await round_trip(world, orm.Time(), times)


async def test_G9_intervals(world):
    spans = [
        datetime.timedelta(0),
        datetime.timedelta(days=-1, microseconds=1),
        datetime.timedelta(days=100_000, seconds=5),
    ]
    await round_trip(world, orm.Interval(), spans)


async def test_G9_an_interval_beyond_64_bits(world):
    await refused(world, orm.Interval(), [datetime.timedelta.max, datetime.timedelta.min])


async def test_G11_microseconds_are_kept(world):
    await round_trip(world, orm.DateTime(), [datetime.datetime(2020, 1, 1, 0, 0, 0, 1)])


@pytest.mark.parametrize("size", [0, 1, 4096, 2**20, 64 * 2**20])
async def test_G12_blobs(world, size):
    thing = world.fields(value=orm.Binary())
    await world.create()
    data = bytes(range(256)) * (size // 256) + b"\0" * (size % 256)
    if world.kind == "mariadb" and size > 2**24:  # its default max_allowed_packet
        with pytest.raises(orm.DataError, match="max_allowed_packet"):
            await thing.objects.create(value=data)
        assert await thing.objects.count() == 0
        return
    row = await thing.objects.create(value=data)
    assert (await thing.objects.get(pk=row.pk)).value == data


async def test_G12_a_blob_beyond_the_limit_of_the_database(world):
    thing = world.fields(value=orm.Binary())
    await world.create()
    with pytest.raises(orm.DataError):
        await thing.objects.create(value=bytes(1_000_000_001))
    assert await thing.objects.count() == 0
    await thing.objects.create(value=b"x")


async def packet_limit(world, limit):
    """MariaDB's limit for sessions from now on; what it was."""
    database = orm.Database(world.url, max_size=1)
    before = await database.fetch_val("SELECT @@GLOBAL.max_allowed_packet")
    await database.execute(f"SET GLOBAL max_allowed_packet = {limit}")
    await database.disconnect()
    return before


async def test_G12_to_the_byte_of_the_servers_limit(world):
    """One byte more is refused before it is sent; the connection lives, and is the same."""
    if world.kind != "mariadb":
        pytest.skip("max_allowed_packet is MariaDB's")
    limit = 2**20
    before = await packet_limit(world, limit)
    try:
        await world.database.disconnect()
        world.database = orm.Database(world.url, max_size=1)
        thing = world.fields(value=orm.Binary())
        await world.create()
        session = await world.database.fetch_val("SELECT connection_id()")
        fits, too_large = limit // 2, limit + 1
        while too_large - fits > 1:
            size = (fits + too_large) // 2
            try:
                await thing.objects.create(id=size, value=b"x" * size)
                fits = size
            except orm.DataError as error:
                assert "max_allowed_packet" in str(error)
                too_large = size
        assert limit - 1000 < fits < limit
        assert len((await thing.objects.get(pk=fits)).value) == fits
        assert not await thing.objects.filter(id=too_large).exists()
        assert await world.database.fetch_val("SELECT connection_id()") == session
    finally:
        await packet_limit(world, before)


async def test_G12_64_mib_where_the_server_takes_them(world):
    if world.kind != "mariadb":
        pytest.skip("without a limit of its own: test_G12_blobs")
    before = await packet_limit(world, 2**27)
    await world.database.disconnect()
    try:
        thing = world.fields(value=orm.Binary())
        await world.create()
        data = b"0123456789abcdef" * (2**26 // 16)
        row = await thing.objects.create(value=data)
        assert (await thing.objects.get(pk=row.pk)).value == data
    finally:
        await packet_limit(world, before)


async def test_G13_a_parameter_beyond_2_gib_is_refused_unread(world, folder):
    import mmap

    path = folder / "sparse"
    with path.open("wb") as file:
        file.truncate(2**32 + 10)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as big:
        view = memoryview(big)
        with pytest.raises((orm.DataError, orm.ValidationError, MemoryError)):
            await world.database.execute("SELECT length(?)", [view])
        view.release()
    assert await world.database.fetch_val("SELECT 1") == 1


async def test_G14_texts(world):
    texts = [
        "\U0001f600",
        "e\u0301",
        "é",
        "שלום",
        "trailing  ",
        "\t\n",
        "a" * 100_000,
        "\ufeffbom",
        "\u200b",
        "'; DROP TABLE thing; --",
    ]
    await round_trip(world, orm.Text(trim_whitespace=False), texts)


async def test_G15_json(world):
    values = [
        {"a": [1, 2.5, None, True, "é\U0001f600\0"]},
        [],
        "",
        "text",
        0,
        1.5,
        False,
        {"big": 2**64, "deep": [[[[]]]]},
    ]
    await round_trip(world, orm.JSON(), values, lambda a, b: a == b)


async def test_G15_json_that_cannot_be_stored(world):
    thing = world.fields(value=orm.JSON(allow_null=True))
    await world.create()
    circle = []
    circle.append(circle)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (math.nan, {"a": math.inf}, "\ud800", {1, 2}, object(), circle, deep):
        with pytest.raises((orm.DataError, orm.ValidationError)):
            await thing.objects.create(value=value)
    assert await thing.objects.count() == 0
    while deep:
        deep = deep.pop()  # a deep list ends in recursion when it is dropped at once


async def test_G15_json_none_is_null(world):
    thing = world.fields(value=orm.JSON(allow_null=True))
    await world.create()
    await thing.objects.create(value=None)
    assert await thing.objects.filter(value=None).count() == 1
    assert world.outside("SELECT count(*) FROM thing WHERE value IS NULL") == [(1,)]


async def test_G16_enum_members(world):
    await round_trip(world, orm.Enum(Color), [Color.RED, Color.GREEN])
    assert Color.RED.name == "RED"


async def test_G16_an_unknown_enum_name_that_is_stored(world):
    thing = world.fields(value=orm.Enum(Color))
    await world.create()
    world.stdlib("INSERT INTO thing VALUES (1, 'PURPLE')")
    with pytest.raises(orm.DataError, match="value"):
        await thing.objects.get()


async def test_G16_uuids_and_addresses(world):
    await round_trip(world, orm.UUID(), [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid4()])


async def test_G16_addresses(world):
    values = ["10.0.0.1", "255.255.255.255", "::1", "2001:db8::ff00:42:8329"]
    await round_trip(world, orm.IPAddress(), [ipaddress.ip_address(value) for value in values])


async def test_arrays(world):
    await round_trip(world, orm.Array(orm.Integer()), [[], [1, -2, 2**31 - 1]])


@pytest.mark.parametrize(
    "field", [orm.Integer(), orm.Text(), orm.Float(), orm.Boolean(), orm.Date(), orm.UUID()]
)
@pytest.mark.parametrize(
    "value", [{"a": 1}, [1], {1}, (1,), object(), print, int, lambda: 1], ids=lambda v: str(type(v))
)
async def test_G17_containers_and_objects_are_no_scalars(world, field, value):
    await refused(world, field, [value])


@pytest.mark.parametrize("value", [{"a": 1}, [1], {1}, object(), print])
async def test_G17_nor_are_they_raw_parameters(world, value):
    with pytest.raises((orm.DataError, TypeError)):
        await world.database.execute("SELECT ?", [value])


class Hostile:
    def __init__(self, world):
        self.world = world

    def boom(self, *_):
        len(self.world.fields_made.objects)
        raise RuntimeError("hostile")

    __index__ = __int__ = __float__ = __str__ = __eq__ = __bool__ = __len__ = __iter__ = boom
    __hash__ = object.__hash__

    def __repr__(self):
        raise RuntimeError("hostile")


@pytest.mark.parametrize(
    "field", [orm.Integer(), orm.Text(), orm.Float(), orm.Boolean(), orm.Binary(), orm.UUID()]
)
async def test_G18_hostile_objects(world, field):
    world.fields_made = thing = world.fields(value=field)
    await world.create()
    for make in (
        lambda v: thing.objects.create(value=v),
        lambda v: thing.objects.filter(value=v).all(),
        lambda v: thing.objects.filter(value__in=[v]).all(),
        lambda v: thing.objects.update(value=v),
        lambda v: thing.objects.limit(v),
    ):
        with pytest.raises((orm.Error, RuntimeError, ValueError, TypeError)):
            await make(Hostile(world))
    assert await thing.objects.count() == 0


async def test_G18_subclasses_of_scalars(world):
    class Text(str):
        def __str__(self):
            return "lies"

        def encode(self, *args):
            raise RuntimeError

    class Number(int):
        def __index__(self):
            return 666

    thing = world.fields(text=orm.Text(), number=orm.Integer())
    await world.create()
    await thing.objects.create(text=Text("truth"), number=Number(5))
    row = await thing.objects.get(text=Text("truth"), number=Number(5))
    assert (row.text, row.number) == ("truth", 5)


@pytest.mark.parametrize(
    "write",
    [
        lambda thing, row: thing.objects.bulk_create([row, {"first": 2}]),
        lambda thing, row: thing.objects.get_or_create(row, first=-1),
        lambda thing, row: thing.objects.update_or_create(row, first=-1),
        lambda thing, row: thing(row).save(),
    ],
    ids=["bulk_create", "get_or_create", "update_or_create", "mapping"],
)
async def test_G18_a_dict_that_changes_while_it_is_read(world, write):
    """What validates its first value empties the dict: nobody else holds the second."""
    row = {}

    class Clearing(orm.Integer):
        @staticmethod
        def converter(value):
            row.clear()
            return value

    thing = world.fields(first=Clearing(), second=orm.JSON(default=None, allow_null=True))
    await world.create()
    row.update(first=1, second=["x"] * 100)
    await write(thing, row)
    assert row == {}
    made = await thing.objects.order_by("id").first()
    assert made.second == ["x"] * 100


async def test_G18_a_bytearray_that_changes_while_it_is_stored(world):
    thing = world.fields(value=orm.Binary())
    await world.create()
    data = bytearray(b"x" * 1000)
    operation = thing.objects.create(value=data)
    data[:] = b"y"
    row = await operation
    assert (await thing.objects.get()).value == row.value == b"x" * 1000


async def test_G19_falsy_values_are_values(world):
    thing = world.fields(
        number=orm.Integer(), text=orm.Text(allow_blank=True), flag=orm.Boolean(), real=orm.Float()
    )
    await world.create()
    await thing.objects.create(id=0, number=0, text="", flag=False, real=0.0)
    row = await thing.objects.get(pk=0, number=0, text="", flag=False, real=0.0)
    assert (row.pk, row.number, row.text, row.flag, row.real) == (0, 0, "", False, 0.0)
    assert await thing.objects.limit(0).count() == 0
    assert await thing.objects.offset(0).count() == 1
    assert await thing.objects.exclude(number=0).count() == 0


async def test_G20_none_in_filters(world):
    thing = world.fields(value=orm.Integer(allow_null=True))
    await world.create()
    await thing.objects.bulk_create([{"value": 1}, {"value": None}, {"value": 2}])
    assert await thing.objects.filter(value=None).count() == 1
    assert await thing.objects.exclude(value=None).count() == 2
    assert await thing.objects.filter(value__in=[1, None]).count() == 2
    assert await thing.objects.exclude(value__in=[1, None]).count() == 1
    assert await thing.objects.filter(value__not_in=[1, None]).count() == 1
    assert await thing.objects.exclude(value__not_in=[1, None]).count() == 2
