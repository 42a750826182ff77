"""Class attributes as of encode/orm 0.1: what its models were besides rows.  They were mappings
with the values that JSON can say, and validators of dicts."""

import collections.abc
import datetime
import decimal
import enum
import ipaddress
import json
import uuid

import pytest

import orm


class Color(enum.Enum):
    RED = "r"


METADATA = orm.MetaData()


class Maker(orm.Model):
    __metadata__ = METADATA
    id = orm.Integer(primary_key=True)
    name = orm.String(max_length=10)


class Thing(orm.Model):
    __metadata__ = METADATA
    id = orm.Integer(primary_key=True)
    maker = orm.ForeignKey(Maker, allow_null=True)
    name = orm.String(max_length=10)
    day = orm.Date(allow_null=True)
    clock = orm.Time(allow_null=True)
    moment = orm.DateTime(allow_null=True)
    instant = orm.DateTime(timezone=True, allow_null=True)
    price = orm.Decimal(10, 2, allow_null=True)
    uid = orm.UUID(allow_null=True)
    address = orm.IPAddress(allow_null=True)
    color = orm.Enum(Color, allow_null=True)
    data = orm.JSON(allow_null=True)


VALUES = {
    "day": (datetime.date(2020, 1, 2), "2020-01-02"),
    "clock": (datetime.time(3, 4), "03:04:00"),
    "moment": (datetime.datetime(2020, 1, 2, 3, 4, 5, 6), "2020-01-02T03:04:05.000006"),
    "instant": (
        datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
        "2020-01-02T00:00:00Z",
    ),
    "price": (decimal.Decimal("1.50"), 1.5),
    "uid": (uuid.UUID(int=5), str(uuid.UUID(int=5))),
    "address": (ipaddress.ip_address("::1"), "::1"),
    "color": (Color.RED, Color.RED),
    "data": ({"a": [1]}, {"a": [1]}),
    "name": ("x", "x"),
}


# ---- the mapping


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_the_mapping_is_what_json_can_say(name):
    value, plain = VALUES[name]
    thing = Thing(id=1, **{name: value})
    assert getattr(thing, name) == value
    assert thing[name] == plain
    assert type(thing[name]) is type(plain)
    assert dict(thing)[name] == plain
    assert orm.asdict(thing)[name] == value  # as it is


@pytest.mark.parametrize("name", [name for name in VALUES if name != "name"])
def test_null_stays_none(name):
    assert Thing(id=1, **{name: None})[name] is None


def test_other_time_zones_keep_their_offset():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    moment = datetime.datetime(2020, 1, 2, 3, tzinfo=zone)
    assert Thing(instant=moment)["instant"] == "2020-01-02T03:00:00+02:00"


def test_a_class_style_instance_is_a_mapping():
    maker = Maker(id=1, name="x")
    assert isinstance(maker, collections.abc.Mapping)
    assert issubclass(Maker, collections.abc.Mapping)
    assert isinstance(Maker({"id": 1}), collections.abc.Mapping)
    assert (len(maker), list(maker)) == (2, ["id", "name"])
    assert {**maker} == dict(maker) == {"id": 1, "name": "x"}
    assert (list(maker.keys()), list(maker.values())) == (["id", "name"], [1, "x"])
    assert list(maker.items()) == [("id", 1), ("name", "x")]
    assert (maker.get("name"), maker.get("nope"), maker.get("nope", 5)) == ("x", None, 5)
    assert "name" in maker
    assert "nope" not in maker
    assert 5 not in maker
    assert json.dumps(dict(maker)) == '{"id": 1, "name": "x"}'
    match maker:
        case {"name": name}:
            assert name == "x"


@pytest.mark.parametrize("key", ["nope", 5, None])
def test_what_is_no_field_is_a_key_error(key):
    with pytest.raises(KeyError):
        Maker(id=1)[key]


def test_the_mapping_has_what_is_set():
    sparse = Thing(maker=3).maker
    assert dict(sparse) == {"id": 3}
    assert "name" not in sparse
    assert sparse.get("name", "?") == "?"
    with pytest.raises(KeyError):
        sparse["name"]
    assert sparse.is_sparse
    assert not Maker(id=1, name="x").is_sparse


def test_a_related_row_is_itself_in_the_mapping():
    maker = Maker(id=1, name="x")
    assert Thing(maker=maker)["maker"] is maker


@pytest.mark.parametrize("name", ["items", "values", "get", "keys", "is_sparse"])
def test_the_mappings_methods_give_way(world, name):
    base = world.base()
    order = type(orm.Model)("Order", (base,), {"id": orm.Integer(primary_key=True)})
    body = {
        "id": orm.Integer(primary_key=True),
        "order": orm.ForeignKey(order, related_name=name),
    }
    type(orm.Model)("Item", (base,), body)
    assert isinstance(getattr(order(id=1), name), orm.QuerySet)
    own = type(orm.Model)("Own", (base,), {"id": orm.Integer(primary_key=True), name: orm.Text()})
    assert getattr(own(id=1, **{name: "x"}), name) == "x"


# ---- constructors


def test_constructor_errors_are_type_errors_in_these_words():
    with pytest.raises(TypeError) as caught:
        Maker(nope=1)
    assert str(caught.value) == "'nope' is an invalid keyword argument for Maker()."
    with pytest.raises(TypeError) as caught:
        Maker(name="x" * 11)
    assert str(caught.value) == (
        "Invalid argument 'name' for Maker(). Must have no more than 10 characters."
    )


def test_a_mapping_fills_no_defaults_and_keywords_do():
    class Flag(orm.Model):
        __metadata__ = orm.MetaData()
        id = orm.Integer(primary_key=True)
        on = orm.Boolean(default=True)

    assert Flag(id=1).on is True
    assert str(Flag({"id": 1})) == "Flag(id=1) [sparse]"
    assert not hasattr(Flag({"id": 1}), "on")
    assert Flag({"id": 1, "on": False}).on is False


def test_an_object_with_attributes_instead_of_keywords():
    class Source:
        id = 5
        name = "x"
        more = 1

    assert repr(Maker(Source())) == "Maker(id=5, name='x')"
    other = Maker(id=1, name="y")
    assert Maker(other) == other


async def test_get_or_create_takes_keywords_alone(music):
    first, created = await music.Publisher.objects.get_or_create(name="OBE")
    again, created_again = await music.Publisher.objects.get_or_create(name="OBE")
    assert (created, created_again) == (True, False)
    assert first == again
