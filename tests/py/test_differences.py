"""Where encode/orm was wrong and this package is right: each of those places, one by one.

Those that other files test in depth have a single assertion here.
"""

import datetime
import decimal
import enum
import sqlite3

import pytest
import sqlalchemy

import orm


class Color(enum.Enum):
    RED = "r"


async def test_filtering_does_not_change_the_parent(music):
    await music.fill()
    parent = music.Track.objects.filter(position__gt=0)
    parent.filter(title="The Bird")
    assert await parent.count() == 5


async def test_limit_zero_is_no_rows(music):
    await music.fill()
    assert await music.Track.objects.limit(0).all() == []


async def test_keys_in_filters(music):
    await music.fill()
    await music.Publisher.objects.create(id=0, name="zero")
    assert await music.Publisher.objects.filter(pk=0).count() == 1
    assert await music.Track.objects.filter(pk__in=[1, 2]).count() == 2
    assert await music.Track.objects.filter(album__pk=1).count() == 3


async def test_get_keeps_the_callers_limit(music):
    await music.fill()
    assert (await music.Track.objects.order_by("pk").limit(1).get()).pk == 1


@pytest.mark.parametrize("text", ["\\", "a\\%", "100%", "_"])
async def test_escapes_and_wildcards_are_text(people, text):
    await people.Person.objects.bulk_create([{"name": text}, {"name": "a\\b"}, {"name": "x"}])
    exact = await people.Person.objects.filter(name__iexact=text)
    assert [row.name for row in exact] == [text]
    assert text in [row.name for row in await people.Person.objects.filter(name__contains=text)]
    assert await people.Person.objects.search("x").count() == 1


async def test_unknown_keywords_are_errors(music):
    with pytest.raises(orm.Error, match="nope"):
        await music.Album.objects.create(name="a", nope=1)
    with pytest.raises(orm.Error, match="nope"):
        await music.Album.objects.update(nope=1)


async def test_a_key_may_be_set_to_none(music):
    await music.fill()
    await music.malibu.update(publisher=None)
    assert (await music.Album.objects.get(pk=music.malibu.pk)).publisher is None
    music.fantasies.publisher = None
    await music.fantasies.save()
    assert await music.Album.objects.filter(publisher=None).count() == 3


async def test_an_explicit_key_counts(music):
    assert (await music.Album.objects.create(pk=50, name="a")).pk == 50
    assert (await music.Album.objects.get()).pk == 50


async def test_decimals_do_not_pass_through_floats(world):
    thing = world.fields(value=orm.Decimal(15, 2))
    await world.create()
    value = decimal.Decimal("9999999999999.99")
    await thing.objects.create(value=value)
    assert (await thing.objects.get(value=value)).value == value


async def test_create_all_leaves_a_connected_database_connected(world):
    world.fields(name=orm.Text(index=True))
    await world.database.connect()
    await orm.create_all(world.metadata, world.database)
    assert world.database.is_connected
    await orm.create_all(world.metadata, world.database)
    listing = {
        "sqlite": "SELECT name FROM sqlite_master WHERE name LIKE 'ix%'",
        "postgresql": "SELECT CAST(indexname AS TEXT) FROM pg_indexes WHERE indexname LIKE 'ix%'",
        "mariadb": "SELECT DISTINCT index_name FROM information_schema.statistics "
        "WHERE table_schema = database() AND index_name LIKE 'ix%'",
    }
    assert world.outside(listing[world.kind]) == [("ix_thing_name",)]


async def test_create_all_with_options_in_the_url(folder):
    metadata = orm.MetaData()
    body = {"__metadata__": metadata, "id": orm.Integer(primary_key=True)}
    thing = type(orm.Model)("Thing", (orm.Model,), body)
    database = orm.Database(f"sqlite:///{folder}/db.sqlite?busy_timeout=100&synchronous=normal")
    await orm.create_all(metadata, database)
    assert await database.fetch_val("SELECT count(*) FROM thing") == 0
    await database.disconnect()
    assert thing.__tablename__ == "thing"


@pytest.mark.parametrize("kind", [orm.SmallInteger, orm.BigInteger])
async def test_every_integer_key_is_made_by_the_database(world, kind):
    thing = world.fields(id=kind(primary_key=True))
    await world.create()
    assert [(await thing.objects.create()).pk for _ in range(3)] == [1, 2, 3]


async def test_foreign_keys_are_enforced(music):
    with pytest.raises(orm.ForeignKeyViolation):
        await music.Track.objects.create(album=5, title="x", position=1)


async def test_a_database_made_by_encode_orm_stays_readable(folder):
    """A table as encode/orm 0.3 made it, with rows as its driver wrote them."""
    import uuid

    connection = sqlite3.connect(folder / "old.sqlite")
    connection.executescript(
        """
        CREATE TABLE thing (id INTEGER NOT NULL, uid CHAR(32), moment DATETIME, clock TIME,
            day DATE, price NUMERIC(10, 2), color VARCHAR(3), flag BOOLEAN, data JSON,
            PRIMARY KEY (id));
        INSERT INTO thing VALUES (1, '00000000000000000000000000000005',
            '2020-01-02 03:04:05.000006', '01:02:00.000000', '2020-01-02', 1.1, 'RED', 1,
            '{"a": null}');
        """
    )
    connection.close()
    database = orm.Database(f"sqlite:///{folder}/old.sqlite")
    body = {
        "__metadata__": sqlalchemy.MetaData(),
        "__database__": database,
        "id": orm.Integer(primary_key=True),
        "uid": orm.UUID(),
        "moment": orm.DateTime(),
        "clock": orm.Time(),
        "day": orm.Date(),
        "price": orm.Decimal(10, 2),
        "color": orm.Enum(Color),
        "flag": orm.Boolean(),
        "data": orm.JSON(),
    }
    thing = type(orm.Model)("Thing", (orm.Model,), body)
    row = await thing.objects.get()
    assert orm.asdict(row) == {
        "id": 1,
        "uid": uuid.UUID(int=5),
        "moment": datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
        "clock": datetime.time(1, 2),
        "day": datetime.date(2020, 1, 2),
        "price": decimal.Decimal("1.10"),
        "color": Color.RED,
        "flag": True,
        "data": {"a": None},
    }
    values = {name: getattr(row, name) for name in body if name in thing.fields and name != "data"}
    assert (await thing.objects.get(**values)).pk == 1
    await database.disconnect()


# ---- relations


async def test_sibling_relations_are_joined_once_each(world):
    base = world.base()

    class Author(base):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=20)

    class Topic(base):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=20)

    class Post(base):
        id = orm.Integer(primary_key=True)
        author = orm.ForeignKey(Author)
        topic = orm.ForeignKey(Topic)

    await world.create()
    authors = await Author.objects.bulk_create([{"name": name} for name in "abc"])
    topics = await Topic.objects.bulk_create([{"name": name} for name in "xyz"])
    for author, topic in zip(authors, topics, strict=True):
        await Post.objects.create(author=author, topic=topic)
    posts = await Post.objects.select_related(["author", "topic"]).order_by("id").all()
    assert [(post.author.name, post.topic.name) for post in posts] == list(zip("abc", "xyz"))
    assert await Post.objects.filter(author__name="b", topic__name="y").count() == 1


async def test_two_keys_to_one_model(world):
    base = world.base()

    class Team(base):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=20)

    class Match(base):
        id = orm.Integer(primary_key=True)
        home = orm.ForeignKey(Team, related_name="at_home")
        away = orm.ForeignKey(Team, related_name="away")

    await world.create()
    one, two = await Team.objects.bulk_create([{"name": "one"}, {"name": "two"}])
    await Match.objects.create(home=one, away=two)
    match = await Match.objects.select_related(["home", "away"]).get(home__name="one")
    assert (match.home.name, match.away.name) == ("one", "two")
    assert await Match.objects.filter(home__name="two").count() == 0


async def test_a_model_joined_with_itself(world):
    node = world.fields(
        name=orm.String(max_length=20), parent=orm.ForeignKey("self", allow_null=True)
    )
    await world.create()
    root = await node.objects.create(name="root")
    await node.objects.create(name="leaf", parent=root)
    leaf = await node.objects.select_related("parent").get(parent__name="root")
    assert (leaf.name, leaf.parent.name) == ("leaf", "root")


async def test_a_null_key_loses_no_row(music):
    await music.fill()
    albums = await music.Album.objects.select_related("publisher").order_by("id").all()
    assert [album.name for album in albums] == ["Malibu", "Fantasies", "Loose"]


async def test_a_null_key_reads_as_none(music):
    await music.fill()
    assert (await music.Album.objects.get(name="Loose")).publisher is None


async def test_update_and_delete_across_a_relation_touch_the_rows_of_the_filter(music):
    await music.fill()
    fantasies = music.Track.objects.filter(album__name="Fantasies")
    assert await fantasies.update(position=9) == 2
    assert await music.Track.objects.filter(position=9).count() == 2
    assert await fantasies.delete() == 2
    assert await music.Track.objects.count() == 3
    assert await music.Track.objects.limit(1).delete() == 1
    assert await music.Track.objects.count() == 2


# ---- values


async def test_none_of_a_json_field_is_null(world):
    thing = world.fields(data=orm.JSON(allow_null=True))
    await world.create()
    row = await thing.objects.create(data=None)
    assert await thing.objects.filter(data=None).count() == 1
    assert await thing.objects.filter(data__isnull=True).count() == 1
    assert (await thing.objects.get(pk=row.pk)).data is None


@pytest.mark.parametrize(
    ("field", "value"),
    [(lambda: orm.Enum(Color), "NOPE"), (lambda: orm.Enum(Color), 5), (orm.IPAddress, "10.0.0.x")],
)
async def test_enums_and_addresses_are_validated(world, field, value):
    thing = world.fields(value=field())
    await world.create()
    with pytest.raises(orm.ValidationError):
        await thing.objects.create(value=value)


@pytest.mark.parametrize("kind", [orm.Integer, orm.BigInteger])
async def test_an_integer_that_no_column_holds_is_refused_before_it_is_sent(
    world, nothing_sent, kind
):
    thing = world.fields(value=kind())
    await world.create()
    with nothing_sent(world), pytest.raises(orm.DataError, match="value"):
        await thing.objects.create(value=2**70)


async def test_contains_minds_the_case_everywhere(people):
    await people.Person.objects.bulk_create([{"name": "Tom"}, {"name": "tom"}])
    for lookup in ("contains", "startswith", "endswith"):
        found = await people.Person.objects.filter(**{f"name__{lookup}": "Tom"})
        assert [row.name for row in found] == ["Tom"]
        assert await people.Person.objects.filter(**{f"name__i{lookup}": "TOM"}).count() == 2


async def test_exclude_keeps_the_rows_whose_value_is_null(people):
    await people.Person.objects.bulk_create([{"name": "a"}, {"name": "b"}, {"name": None}])
    kept = await people.Person.objects.exclude(name="a").order_by("id")
    assert [row.name for row in kept] == ["b", None]


@pytest.mark.parametrize("term", ["%", "_", "\\", "100%"])
async def test_a_searched_wildcard_is_text(people, term):
    await people.Person.objects.bulk_create([{"name": "x"}, {"name": f"a{term}b"}])
    assert [row.name for row in await people.Person.objects.search(term)] == [f"a{term}b"]


async def test_an_explicit_value_for_an_auto_now_field_counts(world):
    thing = world.fields(changed=orm.DateTime(auto_now=True), made=orm.Date(auto_now_add=True))
    await world.create()
    moment, day = datetime.datetime(2020, 1, 2, 3, 4, 5, 6), datetime.date(2019, 1, 2)
    row = await thing.objects.create(changed=moment, made=day)
    again = await thing.objects.get(pk=row.pk)
    assert (again.changed, again.made) == (moment, day)
    await row.update(changed=moment)
    assert (await thing.objects.get(pk=row.pk)).changed == moment


async def test_microseconds_are_kept(world):
    thing = world.fields(moment=orm.DateTime(), clock=orm.Time())
    await world.create()
    moment, clock = datetime.datetime(2020, 1, 2, 3, 4, 5, 123456), datetime.time(1, 2, 3, 654321)
    row = await thing.objects.create(moment=moment, clock=clock)
    again = await thing.objects.get(moment=moment)
    assert (again.pk, again.moment, again.clock) == (row.pk, moment, clock)


# ---- tables


async def test_create_all_in_memory(folder):
    database = orm.Database("sqlite:///:memory:")
    models = orm.ModelRegistry(database=database)

    class Thing(orm.Model):
        registry = models
        fields = {"id": orm.Integer(primary_key=True)}

    await models.create_all()
    assert await Thing.objects.count() == 0
    await database.disconnect()
