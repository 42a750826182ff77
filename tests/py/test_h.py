"""SQL building (group H of the reliability cases): no name that a user typed reaches SQL, every
value is bound, and what is selected is what was asked."""

import inspect
import re
import string

import pytest

import orm

NAMES = [
    "_connector",
    "_negated",
    "__pk_only__",
    "__class__",
    "__init__",
    "__dict__",
    "a__b__c",
    'a"b',
    "a`b",
    "a'b",
    "a b",
    "a\0b",
    "a;b",
    "a--",
    "a/*",
    "a.b",
    "a\nb",
    "?",
    "",
    "__",
    "_",
    "id__",
    "__id",
    "id____exact",
    "id__exact__",
    "album__",
    "album____name",
    "x" * 10_000,
    "album__" * 2_000 + "name",
    "title) OR 1=1 --",
    'title" OR "1"="1',
    "ｔｉｔｌｅ",  # looks like title
    "titlе",  # the last letter is Cyrillic
    "title\u200b",
    "TITLE",
    "objects",
    "fields",
    "save",
    "\ud800",
]


async def unharmed(music):
    assert await music.Track.objects.count() == 5
    assert await music.Album.objects.count() == 3


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
async def test_H1_keywords_that_are_no_names(music, name, nothing_sent):
    await music.fill()
    objects = music.Track.objects
    methods = ("filter", "exclude", "all", "get", "first", "last", "get_or_none")
    writing = ("create", "update", "get_or_create", "update_or_create")
    with nothing_sent(music):
        for method in methods + writing:
            with pytest.raises((orm.FieldError, orm.ValidationError, UnicodeEncodeError)):
                await getattr(objects, method)(**{name: 1})
        for method in ("get_or_create", "update_or_create"):
            with pytest.raises((orm.FieldError, orm.ValidationError, UnicodeEncodeError)):
                await getattr(objects, method)({name: 1}, title="x")
        with pytest.raises((orm.FieldError, orm.ValidationError, UnicodeEncodeError)):
            await objects.bulk_create([{name: 1}])
        with pytest.raises((orm.FieldError, orm.ValidationError, UnicodeEncodeError)):
            await music.malibu.update(**{name: 1})
        with pytest.raises((orm.FieldError, orm.ValidationError, UnicodeEncodeError)):
            music.Track(**{name: 1})
    await unharmed(music)


ORDERS = [name for name in NAMES if name] + [
    "--title",
    "-",
    "+title",
    "title DESC",
    "title, id",
    "title;",
    "title#",
    "/*!title*/",
    "-title?",
    "?",
    "1",
    "title__exact",
    "album__name__exact",
    "RANDOM()",
    " title",
    "title ",
    *(character + "title" for character in string.punctuation if character not in "-_"),
    *(chr(code) + "title" for code in range(32)),
]


@pytest.mark.parametrize("name", ORDERS, ids=lambda name: ascii(name)[:24])
async def test_H2_orders_that_are_no_names(music, name, nothing_sent):
    await music.fill()
    with nothing_sent(music), pytest.raises((orm.FieldError, UnicodeEncodeError)):
        await music.Track.objects.order_by(name)
    await unharmed(music)


@pytest.mark.parametrize("value", [5, None, b"title", ["title"], object()])
async def test_H2_orders_that_are_no_text(music, value, nothing_sent):
    with nothing_sent(music), pytest.raises((orm.FieldError, TypeError)):
        await music.Track.objects.order_by(value)


def taking_names():
    """Every method of a queryset that takes positional text: found, so that none is forgotten."""
    plain = {"search", "raw"}  # text that is a value, or SQL of the user's own
    found = []
    for name, _ in inspect.getmembers(orm.QuerySet, callable):
        if not name.startswith("_") and name not in plain:
            found.append(name)
    return found


@pytest.mark.parametrize("method", taking_names())
async def test_H3_no_method_takes_a_name_that_is_none(music, method, nothing_sent):
    await music.fill()
    with nothing_sent(music):
        for name in filter(None, NAMES):
            with pytest.raises((orm.Error, TypeError, ValueError, AttributeError)):
                operation = getattr(music.Track.objects, method)(name)
                if inspect.isawaitable(operation):
                    await operation
    await unharmed(music)


@pytest.mark.parametrize(
    "table",
    ['a"b', "a`b", "a'b", "select", "a b", "a;b", "a--b", "[a]", "x" * 62, "été", "TABLE", "a.b"],
)
async def test_H7_tables_with_odd_names_are_quoted_exactly(world, table):
    body = {
        "__metadata__": world.metadata,
        "__database__": world.database,
        "__tablename__": table,
        "id": orm.Integer(primary_key=True),
        "name": orm.Text(column=table),
        "parent": orm.ForeignKey("self", allow_null=True, column=table + "2"),
    }
    thing = type(orm.Model)("Thing", (orm.Model,), body)
    await world.create()
    row = await thing.objects.create(name="a")
    await thing.objects.create(name="b", parent=row)
    assert (await thing.objects.select_related("parent").get(parent__name="a")).parent.name == "a"
    assert await thing.objects.filter(name="a").update(name="c") == 1
    assert world.tables() == [table]
    await orm.drop_all(world.metadata, world.database)
    assert world.tables() == []


@pytest.mark.parametrize("table", ["", "a\0b", "\ud800", "x" * 64])
def test_H7_tables_that_cannot_be_named(table):
    with pytest.raises((orm.ConfigurationError, UnicodeEncodeError)):
        type(orm.Model)(
            "Thing",
            (orm.Model,),
            {
                "__metadata__": orm.MetaData(),
                "__tablename__": table,
                "id": orm.Integer(primary_key=True),
            },
        )


async def test_H8_deep_paths_get_aliases_of_their_own(world):
    body = {
        "__metadata__": world.metadata,
        "__database__": world.database,
        "id": orm.Integer(primary_key=True),
        "name": orm.Text(),
        "a" * 30: orm.ForeignKey("self", allow_null=True),
        "a" * 29 + "b": orm.ForeignKey("self", allow_null=True),
    }
    node = type(orm.Model)("Node", (orm.Model,), body)
    await world.create()
    left = await node.objects.create(name="left")
    right = await node.objects.create(name="right")
    middle = await node.objects.create(name="m", **{"a" * 30: left, "a" * 29 + "b": right})
    await node.objects.create(name="top", **{"a" * 30: middle, "a" * 29 + "b": middle})
    paths = [f"{x}__{y}" for x in ("a" * 30, "a" * 29 + "b") for y in ("a" * 30, "a" * 29 + "b")]
    top = await node.objects.select_related(*paths).get(name="top")
    for path in paths:
        first, _, second = path.partition("__")
        expected = "left" if second == "a" * 30 else "right"
        assert getattr(getattr(top, first), second).name == expected


@pytest.mark.parametrize("lookup", ["contains", "icontains", "startswith", "iendswith", "iexact"])
async def test_H9_wildcards_are_literal(people, lookup):
    names = ["%", "_", "\\", "!", "a", "a%", "%a", "\\%", "%\\", "[a]", "*", "?", "^", "$"]
    await people.Person.objects.bulk_create([{"name": name} for name in names])
    tests = {
        "contains": lambda name, needle: needle in name,
        "icontains": lambda name, needle: needle in name,
        "startswith": lambda name, needle: name.startswith(needle),
        "iendswith": lambda name, needle: name.endswith(needle),
        "iexact": lambda name, needle: name == needle,
    }
    for needle in names:
        found = {
            row.name for row in await people.Person.objects.filter(**{f"name__{lookup}": needle})
        }
        assert found == {name for name in names if tests[lookup](name, needle)}, needle


@pytest.mark.parametrize("count", [0, 1, 2, 3, 999, 1000, 32_766, 32_767, 65_535, 65_536, 300_000])
async def test_H10_in_with_any_number_of_members(people, count):
    await people.Person.objects.bulk_create([{"age": n} for n in range(5)])
    members = range(count)
    assert await people.Person.objects.filter(age__in=members).count() == min(count, 5)
    assert await people.Person.objects.exclude(age__in=members).count() == 5 - min(count, 5)


async def test_H11_a_bulk_insert_over_the_limit_of_parameters(people):
    rows = await people.Person.objects.bulk_create(
        [{"name": str(n), "age": n} for n in range(20_000)]
    )
    assert await people.Person.objects.count() == 20_000
    assert [row.pk for row in rows] == list(range(1, 20_001))


async def test_H11_a_failure_in_the_last_part_undoes_all(people):
    rows = [{"id": n, "age": n} for n in range(1, 20_001)] + [{"id": 1, "age": 0}]
    with pytest.raises(orm.UniqueViolation):
        await people.Person.objects.bulk_create(rows)
    assert await people.Person.objects.count() == 0


async def test_H12_negative_numbers_are_bound(people):
    await people.Person.objects.create(age=-1)
    assert await people.Person.objects.filter(age=-1, pk__gt=-5).count() == 1
    assert "-" not in people.statements[-1].replace("--", "")


async def test_H13_raw_sql_is_left_as_it_is(people):
    await people.Person.objects.create(name="?", age=1)
    one = people.sql("?")
    for sql, values in (
        (f"SELECT * FROM person WHERE name = '?' AND age = {one}", (1,)),
        (f"SELECT * FROM person WHERE age = {one} -- ? $1 comment", (1,)),
        (f"SELECT * FROM person /* ? $1 */ WHERE age = {one}", (1,)),
        ("SELECT * FROM person WHERE age = 1 AND name LIKE '%'", ()),
    ):
        (row,) = await people.Person.objects.raw(sql, *values)
        assert row.name == "?"


@pytest.mark.parametrize("values", [(), (1, 2)])
async def test_H13_raw_with_the_wrong_number_of_values(people, values):
    with pytest.raises(orm.Error):
        await people.Person.objects.raw("SELECT * FROM person WHERE age = ?", *values)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO person (id) VALUES (7); DELETE FROM person",
        "DELETE FROM person; ",
        "DELETE FROM person; SELECT 1",
        "SELECT 1; SELECT 2",
    ],
)
async def test_H14_two_statements_in_one_call_run_none(people, sql):
    await people.Person.objects.create(name="kept")
    if sql.strip().endswith(";"):
        assert await people.database.execute(sql) == 1  # a semicolon at the end is no statement
        return
    with pytest.raises(orm.ProgrammingError):
        await people.database.execute(sql)
    assert [row.name for row in await people.Person.objects.all()] == ["kept"]


async def test_H14_sql_that_is_nothing(people):
    for sql in ("", "   ", "-- only a comment"):
        with pytest.raises(orm.Error):
            await people.database.execute(sql)


async def test_H14_sql_with_nul(people):
    with pytest.raises((orm.Error, ValueError)):
        await people.database.execute("SELECT 1\0; DELETE FROM person")


async def test_H18_relations_to_themselves_and_deep_paths(world):
    body = {
        "__metadata__": world.metadata,
        "__database__": world.database,
        "id": orm.Integer(primary_key=True),
        "parent": orm.ForeignKey("self", allow_null=True),
    }
    node = type(orm.Model)("Node", (orm.Model,), body)
    await world.create()
    row = None
    for _ in range(13):
        row = await node.objects.create(parent=row)
    deep = await node.objects.select_related("__".join(["parent"] * 12)).get(pk=13)
    for key in range(13, 1, -1):
        assert deep.pk == key
        deep = deep.parent
    with pytest.raises(orm.QueryError, match="12"):
        await node.objects.select_related("__".join(["parent"] * 20))
    with pytest.raises(orm.QueryError):
        await node.objects.filter(**{"__".join(["parent"] * 100): 1})


async def test_H18_more_joins_than_the_database_takes(world):
    base = world.base()

    class Leaf(base):
        id = orm.Integer(primary_key=True)

    last = 62 if world.kind == "mariadb" else 69  # it takes 64 keys of one table
    fields = {f"f{n}": orm.ForeignKey(Leaf, allow_null=True) for n in range(last + 1)}
    wide = type(base)("Wide", (base,), {"id": orm.Integer(primary_key=True), **fields})
    await world.create()
    leaf = await Leaf.objects.create()
    await wide.objects.create(**{"f0": leaf, f"f{last}": leaf})
    row = await wide.objects.select_related(*(f"f{n}" for n in range(60))).get()
    assert row.f0 == leaf
    if world.kind == "postgresql":  # has no such limit
        assert (await wide.objects.select_related(*fields).get()).f69.pk == leaf.pk
        return
    with pytest.raises(orm.QueryTooComplex):
        await wide.objects.select_related(*fields)
    assert await wide.objects.count() == 1


async def test_H18_very_many_conditions(people):
    query = people.Person.objects
    for n in range(2_000):
        query = query.exclude(age=n)
    await people.Person.objects.create(age=5)
    await people.Person.objects.create(age=-5)
    try:
        assert await query.count() == 1
    except orm.QueryTooComplex:
        pass
    assert await people.Person.objects.count() == 2


async def test_H19_comments_and_defaults_with_quotes(world):
    thing = world.fields(name=orm.Text(default="O'Brien", comment='it\'s "quoted"'))
    await world.create()
    assert (await thing.objects.create()).name == "O'Brien"


async def test_H20_get_with_no_one_and_two_rows(people):
    with pytest.raises(orm.NoMatch):
        await people.Person.objects.get(age=1)
    await people.Person.objects.create(age=1)
    assert (await people.Person.objects.get(age=1)).age == 1
    await people.Person.objects.create(age=1)
    with pytest.raises(orm.MultipleMatches):
        await people.Person.objects.get(age=1)


async def test_no_value_and_no_foreign_name_is_in_any_sql(music):
    """All SQL of a long session: our names, placeholders and words of SQL; nothing else."""
    await music.fill()
    secret = "s3cr3t'\"`;--"
    await music.Track.objects.filter(title=secret, album__name__icontains=secret).all()
    await music.Track.objects.filter(title__in=[secret, secret + "2"]).exclude(title=secret).count()
    await music.Track.objects.search(secret)
    await music.Album.objects.create(name=secret)
    await music.Album.objects.filter(name=secret).update(name=secret + "3")
    await music.Album.objects.get_or_create({"name": secret}, name=secret)
    assert music.statements
    for sql in music.statements:
        assert "s3cr3t" not in sql
        words = r"`:!$" if music.kind != "sqlite" else r""
        assert re.fullmatch(rf"[\w\s\"().,=?<>*+|%\\'{words}-]*", sql), sql
