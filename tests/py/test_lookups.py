"""Every lookup, on own fields and across relations, compared with the same question in Python.

The rows are chosen to be awkward: NULL, empty text, SQL's wildcards, escapes, cases that only
Unicode folds, the edges of numbers and calendars.
"""

import datetime
import decimal
import enum
import re

import pytest

import orm

D = decimal.Decimal

TEXTS = [
    None,
    "",
    "abc",
    "ABC",
    "Abcd",
    "a%c",
    "a_c",
    "a\\c",
    "%",
    "_",
    "\\",
    "\\%",
    "a*c",
    "a?c",
    "[abc]",
    "straße",
    "STRASSE",
    "ÉCOLE",
    "école",
    "e\u0301cole",
    "İstanbul",
    "ΣΑΣ",
    "σας",
    "\U0001f600 smile",
    "it's",
    'say "x"',
    "a;b--c",
    "two\nlines",
    "zero\0inside",
    " padded ",
]
NEEDLES = [text for text in TEXTS if text is not None] + ["b", "É", "ß", "ss", "σ", "Σ", "\0", "x'"]


def texts(world, all=TEXTS):
    """Those that this database can hold."""
    return [text for text in all if text is None or world.keeps_nul() or "\0" not in text]


NUMBERS = [None, -(2**31), -1, 0, 1, 2, 3, 2**31 - 1]
DECIMALS = [None, D("-1.50"), D("0.00"), D("0.01"), D("9.99"), D("10.00"), D("123.45")]
MOMENTS = [
    None,
    datetime.datetime(1, 1, 1),
    datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
    datetime.datetime(2000, 2, 29, 12, 30, 15, 5),
    datetime.datetime(2020, 1, 1),
    datetime.datetime(2021, 8, 15, 12, 30, 15),
    datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
]


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"
    BLUE = "b"


def fold(text):
    return text.casefold()


TEXT_LOOKUPS = {
    "exact": lambda text, needle: text == needle,
    "iexact": lambda text, needle: fold(text) == fold(needle),
    "contains": lambda text, needle: needle in text,
    "icontains": lambda text, needle: fold(needle) in fold(text),
    "startswith": lambda text, needle: text.startswith(needle),
    "istartswith": lambda text, needle: fold(text).startswith(fold(needle)),
    "endswith": lambda text, needle: text.endswith(needle),
    "iendswith": lambda text, needle: fold(text).endswith(fold(needle)),
}
ORDER_LOOKUPS = {
    "gt": lambda value, limit: value > limit,
    "gte": lambda value, limit: value >= limit,
    "lt": lambda value, limit: value < limit,
    "lte": lambda value, limit: value <= limit,
    "ne": lambda value, limit: value != limit,
    "exact": lambda value, limit: value == limit,
}


@pytest.fixture
def rows(world):
    """Owner <- Row: every row has an owner with the same values, but the last has none."""
    base = world.base()

    def fields():
        return {
            "text": orm.Text(
                allow_null=True, allow_blank=True, trim_whitespace=False, default=None
            ),
            "number": orm.Integer(allow_null=True),
            "price": orm.Decimal(10, 2, allow_null=True),
            "exact": orm.Decimal(30, 10, allow_null=True),
            "real": orm.Float(allow_null=True),
            "moment": orm.DateTime(allow_null=True),
            "aware": orm.DateTime(allow_null=True, timezone=True),
            "day": orm.Date(allow_null=True),
            "clock": orm.Time(allow_null=True),
            "color": orm.Enum(Color, allow_null=True),
            "flag": orm.Boolean(allow_null=True),
        }

    key = {"id": orm.Integer(primary_key=True)}
    world.Owner = type(base)("Owner", (base,), {**key, **fields()})
    world.Row = type(base)(
        "Row", (base,), {**key, **fields(), "owner": orm.ForeignKey(world.Owner, allow_null=True)}
    )

    async def fill(name, values):
        world.values = dict(enumerate(values, 1))
        owners = await world.Owner.objects.bulk_create([{name: value} for value in values])
        made = [{name: value, "owner": owner} for value, owner in zip(values, owners, strict=True)]
        await world.Row.objects.bulk_create([*made, {}])

    world.put = fill
    return world


async def check(rows, field, lookup, argument, test):
    """Own field and the owner's, filter and exclude: each against plain Python."""
    matching = {
        key for key, value in rows.values.items() if value is not None and test(value, argument)
    }
    everything = {*rows.values, len(rows.values) + 1}
    suffix = "" if lookup is None else f"__{lookup}"
    for path in (field + suffix, f"owner__{field}{suffix}"):
        found = {row.pk for row in await rows.Row.objects.filter(**{path: argument})}
        assert found == matching, f"filter({path}={argument!r})"
        left = {row.pk for row in await rows.Row.objects.exclude(**{path: argument})}
        assert left == everything - matching, f"exclude({path}={argument!r})"


# ---- text


async def test_iexact_none_is_null(people):
    everybody = people.Person.objects
    await everybody.bulk_create([{"name": "x"}, {"name": None}, {"name": ""}])
    assert await everybody.filter(name__iexact=None) == await everybody.filter(name=None)
    assert await everybody.exclude(name__iexact=None) == await everybody.exclude(name=None)
    assert await everybody.filter(name__iexact=None).count() == 1


def test_what_none_is_no_answer_to_says_so(people):
    with pytest.raises(orm.DataError, match="'isnull' takes True or False"):
        people.Person.objects.filter(name__isnull=None)
    with pytest.raises(orm.DataError, match="no end that is NULL"):
        people.Person.objects.filter(name__range=("a", None))


@pytest.mark.parametrize("lookup", TEXT_LOOKUPS)
async def test_text_lookups_take_every_character_literally(rows, lookup):
    await rows.put("text", texts(rows))
    for needle in texts(rows, NEEDLES):
        await check(rows, "text", lookup, needle, TEXT_LOOKUPS[lookup])


async def test_exact_is_the_lookup_without_a_name(rows):
    await rows.put("text", texts(rows))
    for needle in texts(rows, NEEDLES):
        await check(rows, "text", None, needle, TEXT_LOOKUPS["exact"])


@pytest.mark.parametrize("lookup", ["contains", "icontains", "startswith", "iendswith"])
async def test_the_empty_text_is_in_every_text(rows, lookup):
    await rows.put("text", texts(rows))
    await check(rows, "text", lookup, "", TEXT_LOOKUPS[lookup])


@pytest.mark.parametrize(
    "pattern", ["^a", "c$", "a.c", "[0-9]", "^$", "É", r"\\", "(abc|school)", r"\bsmile\b", "a{1}"]
)
async def test_regular_expressions(rows, pattern):
    await rows.put("text", texts(rows))
    await check(rows, "text", "regex", pattern, lambda text, it: re.search(it, text) is not None)


@pytest.mark.parametrize("pattern", ["^A", "C$", "ABC", "É", "école"])
async def test_regular_expressions_without_regard_to_case(rows, pattern):
    await rows.put("text", texts(rows))
    await check(
        rows,
        "text",
        "iregex",
        pattern,
        lambda text, it: re.search(it, text, re.IGNORECASE) is not None,
    )


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "a{2,1}"])
async def test_a_regular_expression_that_is_none(rows, pattern):
    await rows.put("text", texts(rows))
    with pytest.raises(orm.Error):
        await rows.Row.objects.filter(text__regex=pattern)


# ---- order


@pytest.mark.parametrize("lookup", ORDER_LOOKUPS)
@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("number", NUMBERS),
        ("price", DECIMALS),
        ("exact", [*DECIMALS, D("12345678901234567890.0000000001"), D("-2"), D("100")]),
        ("real", [None, -1.5, 0.0, 1e-300, 2.5, 1e308, -1e308]),
        ("moment", MOMENTS),
        ("aware", [value and value.replace(tzinfo=datetime.timezone.utc) for value in MOMENTS]),
        ("day", [value and value.date() for value in MOMENTS]),
        ("clock", [value and value.time() for value in MOMENTS]),
        ("text", ["a", "b", "ab", "", "é", None]),
    ],
)
async def test_comparisons(rows, field, values, lookup):
    await rows.put(field, values)
    for limit in values:
        if limit is None:
            continue
        if lookup == "ne":
            everything = {*rows.values, len(rows.values) + 1}
            equal = {key for key, value in rows.values.items() if value == limit}
            for path in (f"{field}__ne", f"owner__{field}__ne"):
                found = {row.pk for row in await rows.Row.objects.filter(**{path: limit})}
                assert found == everything - equal, f"{path}={limit!r}"
                left = {row.pk for row in await rows.Row.objects.exclude(**{path: limit})}
                assert left == equal
        else:
            await check(rows, field, lookup, limit, ORDER_LOOKUPS[lookup])


async def test_range_has_both_ends(rows):
    await rows.put("number", NUMBERS)
    for low, high in ((0, 2), (-1, 0), (2, 0), (-(2**31), 2**31 - 1)):
        await check(rows, "number", "range", (low, high), lambda n, ends: ends[0] <= n <= ends[1])


@pytest.mark.parametrize("value", [(1,), (1, 2, 3), 5, "ab", None])
async def test_a_range_that_is_none(rows, value):
    with pytest.raises((orm.Error, ValueError, TypeError)):
        await rows.Row.objects.filter(number__range=value)


# ---- membership


@pytest.mark.parametrize(
    "members",
    [[], [1], [1, 2, 99], (0,), {1, 3}, range(-1, 3), list(range(2000))],
    ids=lambda members: str(members)[:20],
)
async def test_in(rows, members):
    await rows.put("number", NUMBERS)
    await check(rows, "number", "in", members, lambda value, them: value in them)


@pytest.mark.parametrize("members", [[], [1], [1, 2, 99]], ids=str)
async def test_not_in_is_the_exact_complement_of_in(rows, members):
    await rows.put("number", NUMBERS)
    everything = {*rows.values, len(rows.values) + 1}
    inside = {key for key, value in rows.values.items() if value in members}
    for path in ("number__not_in", "owner__number__not_in"):
        found = {row.pk for row in await rows.Row.objects.filter(**{path: members})}
        assert found == everything - inside
        left = {row.pk for row in await rows.Row.objects.exclude(**{path: members})}
        assert left == inside


async def test_in_takes_a_generator(rows):
    await rows.put("number", NUMBERS)
    found = await rows.Row.objects.filter(number__in=(n for n in (1, 2))).order_by("id")
    assert [rows.values[row.pk] for row in found] == [1, 2]


async def test_in_text_with_every_character(rows):
    await rows.put("text", texts(rows))
    await check(rows, "text", "in", texts(rows, NEEDLES), lambda value, them: value in them)


async def test_G20_none_inside_in_means_null_too(rows):
    """`in [1, None]` is "1 or NULL", as `filter(x=None)` is "IS NULL"."""
    await rows.put("number", [1, 2, None])
    keys = {row.pk for row in await rows.Row.objects.filter(number__in=[1, None])}
    assert keys == {1, 3, 4}
    left = {row.pk for row in await rows.Row.objects.exclude(number__in=[1, None])}
    assert left == {2}
    assert {row.pk for row in await rows.Row.objects.filter(number__not_in=[1, None])} == {2}


async def test_in_takes_a_queryset_as_a_subquery(music):
    await music.fill()
    albums = music.Album.objects.filter(name__startswith="M")
    before = len(music.statements)
    rows = await music.Track.objects.filter(album__in=albums)
    assert len(rows) == 3
    assert len(music.statements) == before + 1
    assert await music.Track.objects.exclude(album__in=albums).count() == 2


@pytest.mark.parametrize("value", [5, None, "abc", object()])
async def test_in_needs_values(rows, value):
    with pytest.raises((orm.Error, ValueError, TypeError)):
        await rows.Row.objects.filter(number__in=value)


# ---- NULL


@pytest.mark.parametrize("field", ["text", "number", "moment", "flag"])
async def test_none_means_is_null(rows, field):
    value = {"text": "", "number": 0, "moment": MOMENTS[2], "flag": False}[field]
    await rows.put(field, [value, None])
    objects = rows.Row.objects

    async def keys(query):
        return {row.pk for row in await query}

    for path in (field, f"{field}__exact"):
        assert await keys(objects.filter(**{path: None})) == {2, 3}
        assert await keys(objects.exclude(**{path: None})) == {1}
    assert await keys(objects.filter(**{f"{field}__ne": None})) == {1}
    assert await keys(objects.filter(**{f"{field}__isnull": True})) == {2, 3}
    assert await keys(objects.filter(**{f"{field}__isnull": False})) == {1}
    assert await keys(objects.exclude(**{f"{field}__isnull": True})) == {1}
    assert await keys(objects.exclude(**{f"{field}__isnull": False})) == {2, 3}
    assert await keys(objects.filter(**{f"owner__{field}": None})) == {2, 3}
    assert await keys(objects.exclude(**{f"owner__{field}": None})) == {1}


@pytest.mark.parametrize("lookup", ["gt", "lte", "contains", "startswith", "regex"])
async def test_none_has_no_order_and_no_text(rows, lookup):
    field = "text" if lookup in ("contains", "startswith", "regex") else "number"
    with pytest.raises((orm.Error, ValueError, TypeError)):
        await rows.Row.objects.filter(**{f"{field}__{lookup}": None})


@pytest.mark.parametrize("value", [5, "x", None])
async def test_isnull_takes_true_or_false(rows, value):
    with pytest.raises((orm.Error, ValueError, TypeError)):
        await rows.Row.objects.filter(number__isnull=value)


# ---- calendars

PARTS = {
    "year": lambda moment: moment.year,
    "month": lambda moment: moment.month,
    "day": lambda moment: moment.day,
    "week_day": lambda moment: moment.isoweekday(),
    "hour": lambda moment: moment.hour,
    "minute": lambda moment: moment.minute,
    "second": lambda moment: moment.second,
    "date": lambda moment: moment.date(),
    "time": lambda moment: moment.time(),
}


@pytest.mark.parametrize("part", PARTS)
async def test_parts_of_a_moment(rows, part):
    await rows.put("moment", MOMENTS)
    for argument in {PARTS[part](moment) for moment in MOMENTS if moment}:
        await check(rows, "moment", part, argument, lambda m, it: PARTS[part](m) == it)


@pytest.mark.parametrize("part", ["year", "month", "day", "week_day"])
async def test_parts_of_a_date(rows, part):
    await rows.put("day", [moment and moment.date() for moment in MOMENTS])
    for argument in {PARTS[part](moment) for moment in MOMENTS if moment}:
        await check(rows, "day", part, argument, lambda m, it: PARTS[part](m) == it)


@pytest.mark.parametrize("part", ["hour", "minute", "second"])
async def test_parts_of_a_time(rows, part):
    await rows.put("clock", [moment and moment.time() for moment in MOMENTS])
    for argument in {PARTS[part](moment) for moment in MOMENTS if moment}:
        await check(rows, "clock", part, argument, lambda m, it: PARTS[part](m) == it)


@pytest.mark.parametrize("path", ["number__year", "text__hour", "clock__year", "day__hour"])
async def test_parts_that_a_field_does_not_have(rows, path, nothing_sent):
    with nothing_sent(rows), pytest.raises((orm.FieldError, orm.DataError)):
        await rows.Row.objects.filter(**{path: 1})


async def test_aware_moments_compare_as_instants(rows):
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    moment = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.timezone.utc)
    await rows.put("aware", [moment, None])
    assert await rows.Row.objects.filter(aware=moment.astimezone(zone)).count() == 1


# ---- other types


async def test_enum_lookups(rows):
    await rows.put("color", [Color.RED, Color.GREEN, None])
    await check(rows, "color", None, Color.RED, lambda value, it: value == it)
    await check(rows, "color", "in", [Color.RED, Color.BLUE], lambda value, it: value in it)


async def test_boolean_lookups(rows):
    await rows.put("flag", [True, False, None])
    for flag in (True, False):
        await check(rows, "flag", None, flag, lambda value, it: value is it)


async def test_filter_values_are_converted(rows):
    await rows.put("number", NUMBERS)
    assert await rows.Row.objects.filter(number="2").count() == 1
    await rows.put("moment", MOMENTS)
    assert await rows.Row.objects.filter(moment="2020-01-01T00:00:00").count() == 1


async def test_filter_values_are_never_checked_for_length_or_pattern(music):
    assert await music.Album.objects.filter(name="x" * 1000).count() == 0


# ---- relations and keys


async def test_pk_works_at_every_level_and_with_every_lookup(music):
    await music.fill()
    tracks = music.Track.objects
    assert await tracks.filter(pk=1).count() == 1
    assert await tracks.filter(pk__in=[1, 2, 99]).count() == 2
    assert await tracks.filter(pk__gt=3).count() == 2
    assert await tracks.filter(album__pk=1).count() == 3
    assert await tracks.filter(album__pk__lte=1).count() == 3
    assert await tracks.filter(album__publisher__pk=2).count() == 2
    assert await tracks.filter(album__publisher__pk__ne=2).count() == 3


async def test_G19_a_falsy_key_is_a_key(music):
    await music.fill()
    await music.Album.objects.create(id=0, name="zero")
    assert await music.Album.objects.filter(pk=0).count() == 1
    assert await music.Album.objects.filter(id=0).count() == 1
    assert (await music.Album.objects.get(pk=0)).name == "zero"
    assert await music.Album.objects.filter(pk=None).count() == 0
    assert await music.Track.objects.filter(album=0).count() == 0


async def test_an_instance_stands_for_its_key(music):
    await music.fill()
    malibu = await music.Album.objects.get(name="Malibu")
    tracks = music.Track.objects
    assert await tracks.filter(album=malibu).count() == 3
    assert await tracks.filter(album=1).count() == 3
    assert await tracks.filter(album__pk=malibu).count() == 3
    assert await tracks.filter(album__in=[malibu, music.fantasies]).count() == 5
    assert await tracks.exclude(album=malibu).count() == 2
    assert await tracks.filter(album__ne=malibu).count() == 2
    assert await music.Album.objects.filter(publisher=None).count() == 1
    assert await music.Album.objects.filter(publisher__isnull=True).count() == 1


async def test_a_key_of_the_wrong_model(music, nothing_sent):
    await music.fill()
    track = await music.Track.objects.get(pk=1)
    with nothing_sent(music):
        with pytest.raises((orm.DataError, orm.FieldError), match="Album"):
            await music.Track.objects.filter(album=track)
        with pytest.raises(orm.ValidationError, match="Album"):
            await music.Track.objects.create(album=track, title="x", position=1)


async def test_an_instance_without_a_key_as_a_value(music, nothing_sent):
    with nothing_sent(music), pytest.raises((orm.Error, ValueError)):
        await music.Track.objects.filter(album=music.Album(name="unsaved"))


async def test_exclude_across_an_absent_relation_keeps_the_row(music):
    await music.fill()
    names = {row.name for row in await music.Album.objects.exclude(publisher__name="OBE")}
    assert names == {"Fantasies", "Loose"}
    names = {row.name for row in await music.Album.objects.filter(publisher__name__ne="OBE")}
    assert names == {"Fantasies", "Loose"}


# ---- names that are none


@pytest.mark.parametrize(
    ("name", "segment", "near"),
    [
        ("titel", "titel", "title"),
        ("album__nam", "nam", "name"),
        ("albun__name", "albun", "album"),
        ("title__icontain", "icontain", "icontains"),
        ("album__name__statswith", "statswith", "startswith"),
        ("title__exact__exact", "exact", None),
        ("title__name", "name", None),
        ("nope__nope", "nope", None),
    ],
)
async def test_a_name_that_is_none_is_named_with_the_nearest(
    music, name, segment, near, nothing_sent
):
    with nothing_sent(music):
        for query in (music.Track.objects.filter, music.Track.objects.exclude):
            with pytest.raises(orm.FieldError, match=segment) as caught:
                await query(**{name: "x"})
            assert near is None or near in str(caught.value)
            assert "\n" not in str(caught.value)
