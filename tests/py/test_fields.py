"""Declaring fields: which arguments there are, and what becomes of wrong ones."""

import datetime
import enum
import re

import pytest

import orm
from orm.fields import NO_DEFAULT

MADE = {
    "BigInteger": {},
    "Boolean": {},
    "Date": {},
    "DateTime": {},
    "Decimal": {"max_digits": 10, "decimal_places": 2},
    "Email": {"max_length": 100},
    "Enum": {"enum": enum.Enum("Color", "RED BLUE")},
    "Float": {},
    "Integer": {},
    "IPAddress": {},
    "JSON": {},
    "String": {"max_length": 100},
    "Text": {},
    "Time": {},
    "URL": {"max_length": 100},
    "UUID": {},
    "ForeignKey": {"to": "Album"},
    "OneToOne": {"to": "Album"},
    "SmallInteger": {},
    "Binary": {},
    "Interval": {},
    "Array": {"item": orm.Integer()},
}
NUMBERS = ("BigInteger", "Decimal", "Float", "Integer", "SmallInteger")
TEXTS = ("Email", "String", "Text", "URL")


@pytest.fixture(params=MADE)
def kind(request):
    return request.param


def make(kind, **options):
    return getattr(orm, kind)(**MADE[kind], **options)


def test_every_field_type_of_the_documentation_exists(kind):
    assert kind in orm.__all__
    assert make(kind).type > 0


@pytest.mark.parametrize("name", ["primary_key", "index", "unique", "allow_null"])
def test_common_flags(kind, name):
    assert getattr(make(kind, **{name: True}), name) is True
    if (kind, name) != ("OneToOne", "unique"):
        assert getattr(make(kind), name) is False


@pytest.mark.parametrize("name", ["primary_key", "index", "unique", "allow_null"])
def test_flags_are_true_or_false_and_nothing_else(kind, name):
    with pytest.raises(orm.ConfigurationError, match=name):
        make(kind, **{name: "yes"})


def test_a_default_is_kept_as_it_is(kind):
    value = object()
    assert make(kind, default=value).default is value
    assert make(kind, default=value).has_default()


def test_no_default_is_no_default(kind):
    assert make(kind).default is NO_DEFAULT
    assert not make(kind).has_default()
    assert make(kind).get_default_value() is None


def test_a_field_that_may_be_null_has_the_default_none(kind):
    assert make(kind, allow_null=True).default is None
    assert make(kind, allow_null=True, default=5).default == 5


def test_column_and_comment(kind):
    field = make(kind, column="col", comment="what it is")
    assert (field.column, field.comment) == ("col", "what it is")
    with pytest.raises(orm.ConfigurationError, match="column"):
        make(kind, column=5)


def test_an_unknown_argument_is_an_error_that_names_it(kind):
    with pytest.raises(orm.ConfigurationError, match=r"'nope'") as caught:
        make(kind, nope=1)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_a_misspelt_argument_names_the_nearest():
    with pytest.raises(orm.UnknownArgument, match=r"did you mean 'max_length'\?"):
        orm.String(max_lenght=10, max_length=10)


@pytest.mark.parametrize("kind", ["String", "Email", "URL"])
def test_max_length_is_required(kind):
    with pytest.raises(orm.ConfigurationError, match=r"^max_length is required$") as caught:
        getattr(orm, kind)()
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, TypeError)
    assert getattr(orm, kind)(max_length=None).max_length is None


@pytest.mark.parametrize("value", [0, -1, "10", 1.5, True, 2**40])
@pytest.mark.parametrize("kind", TEXTS + ("Binary",))
def test_max_length_is_a_whole_number_above_zero(kind, value):
    with pytest.raises(orm.ConfigurationError, match="max_length"):
        getattr(orm, kind)(max_length=value)


def test_min_length_is_not_above_max_length():
    with pytest.raises(orm.ConfigurationError, match="min_length"):
        orm.String(max_length=3, min_length=4)


@pytest.mark.parametrize("kind", TEXTS)
def test_text_arguments(kind):
    options = {"max_length": 9, "min_length": 2, "allow_blank": True, "trim_whitespace": False}
    field = getattr(orm, kind)(**options, pattern="^a", choices=["ab", "abc"])
    assert {name: getattr(field, name) for name in options} == options
    assert field.pattern.search("abc")
    assert field.pattern_text == "^a"
    assert field.choices == ("ab", "abc")


def test_a_compiled_pattern_keeps_its_flags():
    field = orm.Text(pattern=re.compile("ABC", re.IGNORECASE))
    assert field.pattern.search("abc")
    assert field.pattern_text == "ABC"


@pytest.mark.parametrize("pattern", ["(", 5, b"a", re.compile(b"a")])
def test_a_pattern_that_is_none(pattern):
    with pytest.raises(orm.ConfigurationError, match="pattern"):
        orm.Text(pattern=pattern)


def test_a_blank_text_is_the_default_where_it_is_allowed():
    assert orm.Text(allow_blank=True).default == ""
    assert orm.Text(allow_blank=True, default="x").default == "x"
    assert orm.Text(allow_blank=True, allow_null=True).default is None


@pytest.mark.parametrize("kind", NUMBERS)
def test_number_arguments(kind):
    options = {
        "minimum": 1,
        "maximum": 9,
        "exclusive_minimum": 0,
        "exclusive_maximum": 10,
        "multiple_of": 1,
        "precision": "0.01",
    }
    field = make(kind, **options, choices=[1, 2])
    assert {name: getattr(field, name) for name in options} == options
    assert field.choices == (1, 2)


@pytest.mark.parametrize("value", ["1", float("nan"), float("inf"), True, [1]])
@pytest.mark.parametrize("name", ["minimum", "maximum", "exclusive_minimum", "multiple_of"])
def test_limits_are_finite_numbers(name, value):
    with pytest.raises(orm.ConfigurationError, match=name):
        orm.Float(**{name: value})


@pytest.mark.parametrize("value", [0, -1])
def test_multiple_of_is_above_zero(value):
    with pytest.raises(orm.ConfigurationError, match="multiple_of"):
        orm.Integer(multiple_of=value)


@pytest.mark.parametrize("value", [0.01, "x", "0.02", ""])
def test_precision_is_text_of_a_power_of_ten(value):
    with pytest.raises(orm.ConfigurationError, match="precision"):
        orm.Float(precision=value)


@pytest.mark.parametrize("value", ["ab", 5, []])
def test_choices_are_a_list(value):
    with pytest.raises(orm.ConfigurationError, match="choices"):
        orm.String(max_length=5, choices=value)


def test_decimal_takes_its_digits_by_position_too():
    field = orm.Decimal(10, 2)
    assert (field.max_digits, field.decimal_places) == (10, 2)


def test_decimal_places_may_be_zero():
    assert orm.Decimal(max_digits=10, decimal_places=0).decimal_places == 0


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "max_digits"),
        ({"max_digits": 5}, "decimal_places"),
        ({"decimal_places": 5}, "max_digits"),
    ],
)
def test_decimal_needs_both_numbers(options, name):
    with pytest.raises(orm.ConfigurationError, match=f"{name} is required") as caught:
        orm.Decimal(**options)
    assert isinstance(caught.value, AssertionError)


@pytest.mark.parametrize("digits", [(0, 0), (5, 6), (-1, 0), ("5", 2), (5, 1.5), (2000, 0)])
def test_decimal_digits_that_cannot_be(digits):
    with pytest.raises(orm.ConfigurationError):
        orm.Decimal(*digits)


def test_auto_now_and_auto_now_add_exclude_each_other():
    for kind in (orm.Date, orm.DateTime):
        assert kind(auto_now=True).has_default()
        assert kind(auto_now_add=True).has_default()
        with pytest.raises(ValueError, match="cannot be both True"):
            kind(auto_now=True, auto_now_add=True)


def test_aware_datetimes_are_a_type_of_their_own():
    assert orm.DateTime(timezone=True).type != orm.DateTime().type
    assert orm.DateTime(timezone=True).timezone is True


@pytest.mark.parametrize("value", [None, 5, int, enum.Enum, enum.Enum("Empty", "")])
def test_an_enum_needs_an_enum_with_members(value):
    with pytest.raises(orm.ConfigurationError, match="enum"):
        orm.Enum(value)


@pytest.mark.parametrize("value", [None, 5, int, orm.ForeignKey("Album")])
def test_an_array_needs_a_field(value):
    with pytest.raises(orm.ConfigurationError, match="item"):
        orm.Array(value)


@pytest.mark.parametrize("kind", [orm.ForeignKey, orm.OneToOne])
@pytest.mark.parametrize("value", [5, int, object()])
def test_a_foreign_key_needs_a_model_or_its_name(kind, value):
    with pytest.raises(orm.ConfigurationError, match="a model"):
        kind(value)


def test_a_foreign_key_without_target():
    with pytest.raises(orm.ConfigurationError, match="to is required"):
        orm.ForeignKey()


@pytest.mark.parametrize(
    "action", [orm.CASCADE, orm.RESTRICT, orm.SET_NULL, orm.SET_DEFAULT, orm.NO_ACTION, None]
)
def test_foreign_key_actions(action):
    field = orm.ForeignKey("Album", on_delete=action, on_update=action)
    assert (field.on_delete, field.on_update) == (action, action)


@pytest.mark.parametrize("name", ["on_delete", "on_update"])
def test_an_action_that_is_none(name):
    with pytest.raises(orm.ConfigurationError, match="CASCADE"):
        orm.ForeignKey("Album", **{name: "explode"})


def test_foreign_key_arguments_by_position():
    field = orm.ForeignKey("Album", True, orm.CASCADE)
    assert (field.target, field.allow_null, field.on_delete) == ("Album", True, "CASCADE")


def test_related_name_is_a_name():
    assert orm.ForeignKey("Album", related_name="tracks").related_name == "tracks"
    with pytest.raises(orm.ConfigurationError, match="related_name"):
        orm.ForeignKey("Album", related_name="the tracks")


def test_one_to_one_is_unique():
    assert orm.OneToOne("Album").unique is True


def test_a_primary_key_is_never_null():
    assert orm.Integer(primary_key=True, allow_null=True).allow_null is False


def test_repr_shows_what_was_given():
    assert repr(orm.String(max_length=10, index=True)) == "String(index=True, max_length=10)"


def test_a_callable_default_is_called_each_time():
    field = orm.DateTime(default=datetime.datetime.now)
    assert field.get_default_value() <= field.get_default_value()


@pytest.mark.parametrize(
    "text",
    ["a@b.co", "first.last@example.com", "x+y@sub.example.org", '"a b"@example.com', "a@[1.2.3.4]"],
)
def test_email_addresses(text):
    assert orm.Email.converter(text) == text


@pytest.mark.parametrize("text", ["", "a", "a@", "@b.co", "a@b", "a b@c.de", "a@b.co\n", "a@b..co"])
def test_what_is_no_email_address(text):
    with pytest.raises(ValueError, match=r"^Must be a valid email format\.$"):
        orm.Email.converter(text)


@pytest.mark.parametrize("text", ["http://x", "https://a.b/c?d#e", "ftp://host/"])
def test_urls(text):
    assert orm.URL.converter(text) == text


@pytest.mark.parametrize("text", ["", "x", "http:", "//host", "/path", "http://[x"])
def test_what_is_no_url(text):
    with pytest.raises(ValueError, match=r"^Must be a real URL\.$"):
        orm.URL.converter(text)


@pytest.mark.parametrize(
    ("make", "near"),
    [
        (lambda: orm.String(max_lenght=5), "max_length"),
        (lambda: orm.Email(max_lenght=5), "max_length"),
        (lambda: orm.Decimal(max_digit=5, decimal_places=2), "max_digits"),
        (lambda: orm.Decimal(max_digits=5, decimal_place=2), "decimal_places"),
    ],
)
def test_a_misspelt_argument_is_named_rather_than_the_missing_one(make, near):
    with pytest.raises(TypeError, match=f"did you mean '{near}'"):
        make()


def test_a_field_without_its_parentheses_is_found_out(world):
    with pytest.raises(orm.ConfigurationError, match=r"write title = orm\.Text\(…\)"):
        world.fields(title=orm.Text)


def test_a_field_type_of_ones_own_may_stand_in_the_class_body(world):
    class Thing(world.base()):
        class Even(orm.Integer):
            pass

        id = orm.Integer(primary_key=True)
        number = Even()

    assert list(Thing.fields) == ["id", "number"]
