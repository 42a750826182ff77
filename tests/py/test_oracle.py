"""Random querysets against the same question answered in plain Python, rows, order, counts and
what update and delete touch."""

import asyncio
import os
import re
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import orm

ON_POSTGRESQL = os.environ.get("ORM_TEST_DATABASE") == "postgresql"
ON_MARIADB = os.environ.get("ORM_TEST_DATABASE") == "mariadb"
LETTERS = st.text(alphabet="aAbB%_\\éÉß' " + "\0" * (not ON_POSTGRESQL), max_size=4)
# what is stored and put in order: MariaDB sorts for a LIMIT by keys that are filled up with NULs
STORED = LETTERS.map(lambda text: text.rstrip("\0")) if ON_MARIADB else LETTERS
NUMBERS = st.integers(-3, 3)


# ---- the same models in plain Python


@dataclass
class Publisher:
    pk: int
    name: str | None


@dataclass
class Album:
    pk: int
    name: str | None
    year: int | None
    publisher: Publisher | None


@dataclass
class Track:
    pk: int
    title: str
    position: int | None
    album: Album
    twin: Album | None


def models(world):
    base = world.base()
    text = {"allow_null": True, "allow_blank": True, "trim_whitespace": False, "default": None}

    class Publisher(base):
        id = orm.Integer(primary_key=True)
        name = orm.Text(**text)

    class Album(base):
        id = orm.Integer(primary_key=True)
        name = orm.Text(**text)
        year = orm.Integer(allow_null=True)
        publisher = orm.ForeignKey(Publisher, allow_null=True)

    class Track(base):
        id = orm.Integer(primary_key=True)
        title = orm.Text(allow_blank=True, trim_whitespace=False)
        position = orm.Integer(allow_null=True)
        album = orm.ForeignKey(Album)
        twin = orm.ForeignKey(Album, allow_null=True)

    return Publisher, Album, Track


@st.composite
def worlds(draw):
    names = st.none() | STORED
    publishers = [Publisher(n, draw(names)) for n in range(1, draw(st.integers(1, 3)) + 1)]
    albums = [
        Album(n, draw(names), draw(st.none() | NUMBERS), draw(st.sampled_from([None, *publishers])))
        for n in range(1, draw(st.integers(1, 4)) + 1)
    ]
    tracks = [
        Track(
            n,
            draw(STORED),
            draw(st.none() | NUMBERS),
            draw(st.sampled_from(albums)),
            draw(st.sampled_from([None, *albums])),
        )
        for n in range(1, draw(st.integers(0, 8)) + 1)
    ]
    return publishers, albums, tracks


# ---- conditions

TEXT_PATHS = [
    "title",
    "album__name",
    "twin__name",
    "album__publisher__name",
    "twin__publisher__name",
]
NUMBER_PATHS = ["pk", "position", "album__year", "twin__year", "album__pk", "album__publisher__pk"]
RELATIONS = ["album", "twin", "album__publisher", "twin__publisher"]


def value_of(row, path):
    for name in path.split("__"):
        if row is None:
            return None
        row = getattr(row, name)
    return row.pk if isinstance(row, (Album, Publisher)) else row


def known(test):
    return lambda value, argument: value is not None and test(value, argument)


def fold(text):
    return text.casefold()


LOOKUPS = {
    "exact": lambda value, argument: value == argument,
    "ne": lambda value, argument: value != argument,
    "in": lambda value, argument: value in argument,
    "not_in": lambda value, argument: value not in argument,
    "isnull": lambda value, argument: (value is None) == argument,
    "gt": known(lambda value, argument: value > argument),
    "gte": known(lambda value, argument: value >= argument),
    "lt": known(lambda value, argument: value < argument),
    "lte": known(lambda value, argument: value <= argument),
    "range": known(lambda value, argument: argument[0] <= value <= argument[1]),
    "iexact": known(lambda value, argument: fold(value) == fold(argument)),
    "contains": known(lambda value, argument: argument in value),
    "icontains": known(lambda value, argument: fold(argument) in fold(value)),
    "startswith": known(lambda value, argument: value.startswith(argument)),
    "istartswith": known(lambda value, argument: fold(value).startswith(fold(argument))),
    "endswith": known(lambda value, argument: value.endswith(argument)),
    "iendswith": known(lambda value, argument: fold(value).endswith(fold(argument))),
    "regex": known(lambda value, argument: re.search(argument, value) is not None),
}


@st.composite
def conditions(draw):
    kind = draw(st.sampled_from(["text", "number", "relation"]))
    path = draw(
        st.sampled_from({"text": TEXT_PATHS, "number": NUMBER_PATHS, "relation": RELATIONS}[kind])
    )
    values = LETTERS if kind == "text" else NUMBERS
    lookup = draw(
        st.sampled_from(
            ["exact", "ne", "in", "not_in", "isnull"]
            + (["gt", "gte", "lt", "lte", "range"] if kind != "relation" else [])
            + (
                [name for name in LOOKUPS if name[-4:] in ("with", "ains", "xact")]
                if kind == "text"
                else []
            )
        )
    )
    if lookup == "isnull":
        argument = draw(st.booleans())
    elif lookup in ("in", "not_in"):
        argument = draw(st.lists(st.none() | values, max_size=4))
    elif lookup == "range":
        argument = (draw(values), draw(values))
    elif lookup in ("exact", "ne"):
        argument = draw(st.none() | values)
    else:
        argument = draw(values)
    return path, lookup, argument


STEPS = st.tuples(
    st.sampled_from(["filter", "exclude"]), st.lists(conditions(), min_size=1, max_size=3)
)
ORDERS = st.lists(
    st.tuples(st.sampled_from(["", "-"]), st.sampled_from(["title", "position", "album__name"])),
    max_size=2,
    unique_by=lambda order: order[1],
)
SLICES = st.none() | st.tuples(st.integers(0, 4), st.none() | st.integers(0, 6))


def ask(query, steps, orders, cut, related):
    """The question to the library."""
    for name, conds in steps:
        query = getattr(query, name)(
            **{f"{path}__{lookup}": argument for path, lookup, argument in conds}
        )
    query = query.order_by(*(sign + name for sign, name in orders), "pk")
    if related:
        query = query.select_related(*related)
    return query if cut is None else query[cut[0] : cut[1]]


def answer(tracks, steps, orders, cut):
    """The same in plain Python."""
    rows = list(tracks)
    for name, conds in steps:
        last = {f"{path}__{lookup}": (path, lookup, argument) for path, lookup, argument in conds}
        rows = [
            row
            for row in rows
            if all(LOOKUPS[lookup](value_of(row, path), it) for path, lookup, it in last.values())
            == (name == "filter")
        ]
    rows.sort(key=lambda row: row.pk)
    for sign, name in reversed(orders):
        rows.sort(
            key=lambda row, name=name: (
                (value_of(row, name) is None) == ON_POSTGRESQL,
                value_of(row, name) or "",
            ),
            reverse=False,
        ) if name != "position" else rows.sort(
            key=lambda row: ((row.position is None) == ON_POSTGRESQL, row.position or 0)
        )
        if sign:
            rows = [row for group in reversed(grouped(rows, name)) for row in group]
    return rows if cut is None else rows[cut[0] : cut[1]]


def grouped(rows, name):
    """Rows with equal values stay in their order when the order descends."""
    groups = []
    for row in rows:
        if groups and value_of(groups[-1][0], name) == value_of(row, name):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


class Undo(Exception):
    pass


@pytest.fixture
def library(world):
    """The models, and a loop that stays."""
    world.models = models(world)
    world.loop = asyncio.new_event_loop()
    world.loop.run_until_complete(world.create())
    yield world
    world.loop.run_until_complete(world.database.disconnect())
    world.loop.close()


async def store(library, publishers, albums, tracks):
    for model in reversed(library.models):
        await model.objects.delete()
    publisher, album, track = library.models
    await publisher.objects.bulk_create([{"id": p.pk, "name": p.name} for p in publishers])
    await album.objects.bulk_create(
        [
            {
                "id": a.pk,
                "name": a.name,
                "year": a.year,
                "publisher": a.publisher and a.publisher.pk,
            }
            for a in albums
        ]
    )
    await track.objects.bulk_create(
        [
            {
                "id": t.pk,
                "title": t.title,
                "position": t.position,
                "album": t.album.pk,
                "twin": t.twin and t.twin.pk,
            }
            for t in tracks
        ]
    )


def same(found, expected):
    """The instance says what the plain row says, as far as it is loaded."""
    assert (found.pk, found.title, found.position) == (
        expected.pk,
        expected.title,
        expected.position,
    )
    for name in ("album", "twin"):
        theirs, ours = getattr(expected, name), getattr(found, name)
        assert (ours and ours.pk) == (theirs and theirs.pk)
        if ours is not None and hasattr(ours, "name"):
            assert (ours.name, ours.year) == (theirs.name, theirs.year)
            if ours.publisher is not None and hasattr(ours.publisher, "name"):
                assert ours.publisher.name == theirs.publisher.name


async def check(library, rows, steps, orders, cut, related):
    track = library.models[2]
    await store(library, *rows)
    query = ask(track.objects, steps, orders, cut, related)
    expected = answer(rows[2], steps, orders, cut)
    keys = [row.pk for row in expected]
    found = await query
    assert [row.pk for row in found] == keys
    for ours, theirs in zip(found, expected, strict=True):
        same(ours, theirs)
    assert await query.count() == len(keys)
    assert await query.exists() is bool(keys)
    first, last = await query.first(), await query.last()
    assert (first and first.pk) == (keys[0] if keys else None)
    assert (last and last.pk) == (keys[-1] if keys else None)
    assert [row.pk for row in list(query)] == keys
    inside = {row.pk for row in await track.objects.filter(pk__in=query)}
    assert inside == set(keys)
    for write in ("delete", "update"):
        try:
            async with library.database.transaction():
                operation = query.delete() if write == "delete" else query.update(position=99)
                assert await operation == len(keys)
                left = {row.pk: row.position for row in await track.objects.all()}
                if write == "delete":
                    assert set(left) == {row.pk for row in rows[2]} - set(keys)
                else:
                    assert {key for key, position in left.items() if position == 99} == set(keys)
                raise Undo
        except Undo:
            pass


@given(
    worlds(),
    st.lists(STEPS, max_size=3),
    ORDERS,
    SLICES,
    st.lists(st.sampled_from(RELATIONS), max_size=3),
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_random_querysets(library, rows, steps, orders, cut, related):
    library.loop.run_until_complete(check(library, rows, steps, orders, cut, related))


@given(st.lists(LETTERS, max_size=6), LETTERS, st.sampled_from(sorted(LOOKUPS)))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_filter_and_exclude_are_exact_complements(library, texts, needle, lookup):
    argument = {
        "in": [needle],
        "not_in": [needle],
        "isnull": True,
        "range": ("", needle),
        "regex": re.escape(needle.replace("\0", "")),
    }.get(lookup, needle)

    async def both():
        publisher = library.models[0]
        for model in reversed(library.models):
            await model.objects.delete()
        await publisher.objects.bulk_create([{"name": text} for text in [*texts, None]])
        inside = {row.pk for row in await publisher.objects.filter(**{f"name__{lookup}": argument})}
        outside = {
            row.pk for row in await publisher.objects.exclude(**{f"name__{lookup}": argument})
        }
        assert inside | outside == {row.pk for row in await publisher.objects.all()}
        assert not inside & outside

    library.loop.run_until_complete(both())
