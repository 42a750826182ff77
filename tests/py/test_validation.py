"""The rules of fields: which values they take, what becomes of them, and in which words they
refuse the others.  The words are encode/orm's."""

import datetime
import decimal
import enum
import ipaddress
import math
import uuid

import pytest

import orm

D = decimal.Decimal
DATE = datetime.date(2020, 2, 29)
TIME = datetime.time(1, 2, 3, 4)
MOMENT = datetime.datetime(2020, 2, 29, 1, 2, 3, 4)
UTC = datetime.timezone.utc
GUID = uuid.UUID("7c7ee4d4-1c7b-4a3e-8c1b-9a1f2f3c4d5e")


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Text(str):
    """A subclass, as template engines have them."""


def text(**options):
    return orm.Text(**options)


def number(**options):
    return orm.Integer(**options)


TAKEN = [  # field, value, what it becomes
    (text(), "ab", "ab"),
    (text(), "  ab \n", "ab"),
    (text(trim_whitespace=False), "  ab ", "  ab "),
    (text(allow_blank=True), "", ""),
    (text(allow_blank=True), "   ", ""),
    (text(allow_null=True), None, None),
    (text(allow_null=True), "", None),
    (text(allow_blank=True), None, ""),
    (text(), Text("ab"), "ab"),
    (text(), "é\U0001f600", "é\U0001f600"),
    (text(max_length=3), " abc ", "abc"),
    (text(max_length=2), "\U0001f600\U0001f600", "\U0001f600\U0001f600"),
    (text(min_length=2), "ab", "ab"),
    (text(pattern="b"), "abc", "abc"),
    (text(choices=["a", "b"]), "b", "b"),
    (number(), 5, 5),
    (number(), 2.0, 2),
    (number(), "12", 12),
    (number(), D("3"), 3),
    (number(), Level.HIGH, 2),
    (number(allow_null=True), None, None),
    (number(allow_null=True), "", None),
    (number(minimum=1, maximum=3), 1, 1),
    (number(minimum=1, maximum=3), 3, 3),
    (number(multiple_of=5), 15, 15),
    (number(choices=[1, 2]), 2, 2),
    (orm.Float(), 1.5, 1.5),
    (orm.Float(), 1, 1.0),
    (orm.Float(), "1.5", 1.5),
    (orm.Float(precision="0.01"), 1.005000001, 1.01),
    (orm.Float(precision="1"), 2.5, 3.0),
    (orm.Float(multiple_of=0.1), 0.3, 0.3),
    (orm.Decimal(10, 2), D("1.20"), D("1.20")),
    (orm.Decimal(10, 2), 1.1, D("1.1")),
    (orm.Decimal(10, 2), "1.25", D("1.25")),
    (orm.Decimal(10, 2), 7, D(7)),
    (orm.Decimal(3, 0), 999, D(999)),
    (orm.Boolean(), True, True),
    (orm.Boolean(), "TRUE", True),
    (orm.Boolean(), "on", True),
    (orm.Boolean(), "1", True),
    (orm.Boolean(), 1, True),
    (orm.Boolean(), "off", False),
    (orm.Boolean(), "", False),
    (orm.Boolean(), 0, False),
    (orm.Boolean(allow_null=True), "null", None),
    (orm.Boolean(allow_null=True), "None", None),
    (orm.Boolean(allow_null=True), "", None),
    (orm.Date(), DATE, DATE),
    (orm.Date(), "2020-2-29", DATE),
    (orm.Time(), TIME, TIME),
    (orm.Time(), "01:02", datetime.time(1, 2)),
    (orm.Time(), "01:02:03.000004", TIME),
    (orm.Time(), "01:02:03.5", datetime.time(1, 2, 3, 500000)),
    (orm.DateTime(), MOMENT, MOMENT),
    (orm.DateTime(), "2020-02-29 01:02:03.000004", MOMENT),
    (orm.DateTime(), "2020-02-29T01:02", datetime.datetime(2020, 2, 29, 1, 2)),
    (orm.DateTime(timezone=True), MOMENT.replace(tzinfo=UTC), MOMENT.replace(tzinfo=UTC)),
    (orm.DateTime(timezone=True), "2020-02-29T01:02:03.000004Z", MOMENT.replace(tzinfo=UTC)),
    (
        orm.DateTime(timezone=True),
        "2020-02-29T03:02:03.000004+02:00",
        MOMENT.replace(tzinfo=UTC),
    ),
    (orm.Interval(), datetime.timedelta(days=1), datetime.timedelta(days=1)),
    (orm.Binary(), b"\0\xff", b"\0\xff"),
    (orm.Binary(), bytearray(b"ab"), b"ab"),
    (orm.Binary(), memoryview(b"ab"), b"ab"),
    (orm.Binary(max_length=2), b"ab", b"ab"),
    (orm.UUID(), GUID, GUID),
    (orm.UUID(), str(GUID), GUID),
    (orm.UUID(), GUID.hex, GUID),
    (orm.Enum(Color), Color.RED, Color.RED),
    (orm.Enum(Color), "RED", Color.RED),
    (orm.Enum(Level), Level.HIGH, Level.HIGH),
    (orm.IPAddress(), "10.0.0.1", ipaddress.ip_address("10.0.0.1")),
    (orm.IPAddress(), "::1", ipaddress.ip_address("::1")),
    (orm.IPAddress(), ipaddress.ip_address("::1"), ipaddress.ip_address("::1")),
    (orm.Email(max_length=20), " a@b.co ", "a@b.co"),
    (orm.URL(max_length=20), "http://a/b", "http://a/b"),
    (orm.JSON(), {"a": [1, 2.5, None, "é"]}, {"a": [1, 2.5, None, "é"]}),
    (orm.JSON(), "text", "text"),
    (orm.JSON(), 0, 0),
    (orm.JSON(allow_null=True), None, None),
    (orm.Array(orm.Integer()), [1, "2"], [1, 2]),
    (orm.Array(orm.Integer()), (1, 2), [1, 2]),
    (orm.Array(orm.Text()), [], []),
]

REFUSED = [  # field, value, message
    (text(), None, "May not be null."),
    (text(), 5, "Must be a string."),
    (text(), b"ab", "Must be a string."),
    (text(), ["a"], "Must be a string."),
    (text(), "", "Must not be blank."),
    (text(), "  ", "Must not be blank."),
    (text(max_length=3), "abcd", "Must have no more than 3 characters."),
    (text(min_length=3), " ab ", "Must have at least 3 characters."),
    (text(pattern="^b"), "abc", "Must match the pattern /^b/."),
    (text(choices=["a", "b"]), "c", "Must be one of 'a', 'b'."),
    (number(), None, "May not be null."),
    (number(), True, "Must be a number."),
    (number(), "x", "Must be a number."),
    (number(), "", "Must be a number."),
    (number(), [1], "Must be a number."),
    (number(), 1.5, "Must be an integer."),
    (number(), "1.5", "Must be an integer."),
    (number(), math.inf, "Must be an integer."),
    (number(), math.nan, "Must be an integer."),
    (number(minimum=1), 0, "Must be greater than or equal to 1."),
    (number(exclusive_minimum=1), 1, "Must be greater than 1."),
    (number(maximum=1), 2, "Must be less than or equal to 1."),
    (number(exclusive_maximum=1), 1, "Must be less than 1."),
    (number(multiple_of=5), 7, "Must be a multiple of 5."),
    (number(choices=[1, 2]), 3, "Must be one of 1, 2."),
    (orm.Float(), True, "Must be a number."),
    (orm.Float(), "x", "Must be a number."),
    (orm.Float(), math.nan, "Must be finite."),
    (orm.Float(), "nan", "Must be finite."),
    (orm.Decimal(5, 2), "x", "Must be a number."),
    (orm.Decimal(5, 2), D("NaN"), "Must be finite."),
    (orm.Decimal(5, 2), D("sNaN"), "Must be finite."),
    (orm.Decimal(5, 2), D("Infinity"), "Must be finite."),
    (orm.Boolean(), None, "May not be null."),
    (orm.Boolean(), "yes", "Must be a boolean."),
    (orm.Boolean(), 2, "Must be a boolean."),
    (orm.Boolean(), 0.5, "Must be a boolean."),
    (orm.Boolean(), [], "Must be a boolean."),
    (orm.Date(), "2020-13-01", "Must be a real date."),
    (orm.Date(), "2020-02-30", "Must be a real date."),
    (orm.Date(), "today", "Must be a valid date format."),
    (orm.Time(), "25:00", "Must be a real time."),
    (orm.Time(), "noon", "Must be a valid time format."),
    (orm.DateTime(), "2020-02-30T00:00", "Must be a real datetime."),
    (orm.DateTime(), "now", "Must be a valid datetime format."),
    (orm.UUID(), "x", "Must be a valid UUID format."),
    (orm.Email(max_length=20), "x", "Must be a valid email format."),
    (orm.URL(max_length=20), "x", "Must be a real URL."),
    (orm.IPAddress(), "x", "Must be a valid IP format."),
    (orm.IPAddress(), "10.0.0.256", "Must be a real IP."),
    (orm.IPAddress(), "1.2.3.4x", "Must be a real IP."),
    (orm.IPAddress(), "256.0.0.1", "Must be a valid IP format."),
    (orm.IPAddress(), "01.2.3.4", "Must be a valid IP format."),
    (orm.IPAddress(), "1.2.3", "Must be a valid IP format."),
    (orm.IPAddress(), "1.2.3.\ud800", "Must be a valid IP format."),
]

REFUSED_ANYHOW = [  # field, value; the words are ours
    (orm.Date(), 5),
    (orm.Time(), 5),
    (orm.DateTime(), 5),
    (orm.DateTime(), MOMENT.replace(tzinfo=UTC)),
    (orm.DateTime(), "2020-02-29T01:02:03Z"),
    (orm.DateTime(timezone=True), MOMENT),
    (orm.Time(), datetime.time(1, tzinfo=UTC)),
    (orm.Interval(), 5),
    (orm.Binary(), "text"),
    (orm.Binary(max_length=2), b"abc"),
    (orm.Binary(min_length=2), b"a"),
    (orm.UUID(), 5),
    (orm.Enum(Color), "PURPLE"),
    (orm.Enum(Color), 5),
    (orm.Enum(Color), Level.LOW),
    (orm.IPAddress(), 5),
    (orm.IPAddress(), []),
    (orm.JSON(), object()),
    (orm.JSON(), {"a": math.nan}),
    (orm.JSON(), {1: object()}),
    (orm.Array(orm.Integer()), 5),
    (orm.Array(orm.Integer()), "12"),
    (orm.Array(orm.Integer()), ["x"]),
    (orm.Array(orm.Text(max_length=2)), ["abc"]),
    (number(), 2**31),
    (orm.SmallInteger(), 2**15),
    (orm.BigInteger(), 2**63),
    (orm.BigInteger(), -(2**63) - 1),
    (orm.Decimal(5, 2), D("1.234")),
    (orm.Decimal(5, 2), D("1000")),
    (text(), "\ud800"),
]


def label(case):
    return f"{type(case[0]).__name__}-{case[1]!r:.30}"


def thing(field):
    body = {"__metadata__": orm.MetaData(), "id": orm.Integer(primary_key=True), "value": field}
    return type(orm.Model)("Thing", (orm.Model,), body)


@pytest.mark.parametrize("case", TAKEN, ids=label)
def test_a_value_is_taken(case):
    field, value, expected = case
    found = thing(field)(value=value).value
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("case", TAKEN, ids=label)
def test_an_assigned_value_is_taken_in_the_same_way(case):
    field, value, expected = case
    instance = thing(field)(value=expected)
    instance.value = value
    assert instance.value == expected


@pytest.mark.parametrize("case", REFUSED, ids=label)
def test_a_value_is_refused_in_these_words(case):
    field, value, message = case
    with pytest.raises(orm.ValidationError) as caught:
        thing(field)(value=value)
    assert dict(caught.value) == {"value": message}


@pytest.mark.parametrize("case", REFUSED, ids=label)
async def test_create_refuses_it_too_and_sends_nothing(case, world):
    field, value, message = case
    model = world.fields(value=field)
    world.watch()
    with pytest.raises(orm.ValidationError) as caught:
        await model.objects.create(value=value)
    assert dict(caught.value) == {"value": message}
    assert str(caught.value) == str({"value": message})
    assert world.statements == []


@pytest.mark.parametrize("case", REFUSED_ANYHOW, ids=label)
async def test_create_refuses_with_an_error_of_the_tree_and_sends_nothing(case, world):
    field, value = case
    model = world.fields(value=field)
    world.watch()
    with pytest.raises((orm.ValidationError, orm.DataError), match="value"):
        await model.objects.create(value=value)
    assert world.statements == []


@pytest.mark.parametrize("case", REFUSED, ids=label)
def test_assignment_refuses_it_too(case):
    field, value, message = case
    instance = thing(field)()
    with pytest.raises(orm.ValidationError) as caught:
        instance.value = value
    assert caught.value["value"] == message
    assert not hasattr(instance, "value") or instance.value == field.get_default_value()


async def test_every_broken_rule_is_reported_at_once(world):
    model = world.fields(a=orm.Integer(), b=orm.String(max_length=2), c=orm.Text())
    with pytest.raises(orm.ValidationError) as caught:
        await model.objects.create(a="x", b="abc")
    assert dict(caught.value) == {
        "a": "Must be a number.",
        "b": "Must have no more than 2 characters.",
        "c": "This field is required.",
    }


def test_a_converter_of_your_own():
    class Even(orm.Integer):
        @staticmethod
        def converter(value):
            if value % 2:
                raise ValueError("Must be even.")
            return value * 10

    model = thing(Even())
    assert model(value="4").value == 40
    with pytest.raises(orm.ValidationError) as caught:
        model(value=3)
    assert dict(caught.value) == {"value": "Must be even."}


def test_a_converter_that_fails_otherwise_is_not_hidden():
    class Odd(orm.Integer):
        @staticmethod
        def converter(value):
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        thing(Odd())(value=3)


def test_a_mutable_default_is_a_copy_for_each_instance():
    model = thing(orm.JSON(default={"a": []}))
    first, second = model(), model()
    first.value["a"].append(1)
    assert second.value == {"a": []}


def test_a_callable_default_is_called_for_each_instance():
    calls = []

    def default():
        calls.append(1)
        return len(calls)

    model = thing(orm.Integer(default=default))
    assert [model().value, model().value] == [1, 2]
    assert model(value=9).value == 9
    assert len(calls) == 2


async def test_defaults_are_validated_like_any_value(world):
    model = world.fields(value=orm.Integer(default="x"))
    await world.create()
    with pytest.raises(orm.ValidationError):
        await model.objects.create()
    with pytest.raises((orm.ValidationError, orm.DataError)):
        await model().save()
    assert await model.objects.count() == 0


def test_a_float_becomes_the_decimal_that_its_repr_says():
    assert thing(orm.Decimal(20, 5))(value=0.1).value == D("0.1")


def test_a_fold_is_kept():
    moment = MOMENT.replace(fold=1)
    assert thing(orm.DateTime())(value=moment).value == moment


def test_a_str_subclass_becomes_plain_text():
    assert type(thing(text())(value=Text("ab")).value) is str
