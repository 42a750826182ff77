"""orm.Database has the methods of databases.Database: one script runs against both."""

import asyncio
import datetime
import decimal
import enum
import os
import pickle

import pytest
import sqlalchemy
from sqlalchemy.schema import CreateTable, DropTable

import orm

databases = pytest.importorskip("databases")

KIND = os.environ.get("ORM_TEST_DATABASE", "sqlite")
NEEDS = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "mariadb": "aiomysql"}


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


metadata = sqlalchemy.MetaData()
notes = sqlalchemy.Table(
    "notes",
    metadata,
    sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column("text", sqlalchemy.String(length=100)),
    sqlalchemy.Column("done", sqlalchemy.Boolean, nullable=False),
    sqlalchemy.Column("at", sqlalchemy.DateTime),
    sqlalchemy.Column("price", sqlalchemy.Numeric(10, 2)),
    sqlalchemy.Column("data", sqlalchemy.JSON),
    sqlalchemy.Column("colour", sqlalchemy.Enum(Colour, native_enum=False)),
    sqlalchemy.Column("ratio", sqlalchemy.Float),
)
authors = sqlalchemy.Table(
    "authors",
    metadata,
    sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column("note", sqlalchemy.ForeignKey("notes.id")),
    sqlalchemy.Column("name", sqlalchemy.String(length=100)),
)
AT = datetime.datetime(2020, 1, 2, 3, 4, 5)


class Undo(Exception):
    pass


async def statements(database):
    """Everything that is asked of the statements; yields (what, answer)."""
    key = await database.execute(notes.insert(), {"text": "one", "done": True, "at": AT})
    yield "a key", key
    values = {"text": "two", "done": False, "price": decimal.Decimal("1.50"), "data": {"a": [1]}}
    yield "values in the clause", await database.execute(notes.insert().values(**values))
    more = [{"text": name, "done": False, "colour": Colour.BLUE} for name in ("three", "four")]
    yield "execute_many", await database.execute_many(notes.insert(), more)
    sql = "INSERT INTO notes (text, done, ratio) VALUES (:text, :done, :ratio)"
    await database.execute(sql, {"text": "it's :five \\ %s ? $1", "done": True, "ratio": 0.5})
    await database.execute_many(
        query=sql, values=[{"text": "six", "done": False, "ratio": None}] * 2
    )

    rows = await database.fetch_all(notes.select().order_by(notes.c.id))
    yield "how many", len(rows)
    for row in rows:
        yield "by name", [row[column.name] for column in notes.columns]
        yield "by place", [row[i] for i in range(len(row))]
        yield "by column", [row[column] for column in notes.columns]
        yield "as attributes", (row.id, row.text, row.done, row.at, row.price)
        yield "as a dict", dict(row)
        # on PostgreSQL their mapping has the values as the driver gave them
        yield "its mapping", [(name, row._mapping[name]) for name in ("id", "text", "done", "at")]
        yield "its keys", list(row.keys())
    yield "no rows", await database.fetch_all(notes.select().where(notes.c.id == 999))
    yield "no row", await database.fetch_one(notes.select().where(notes.c.id == 999))
    yield "no value", await database.fetch_val(notes.select().where(notes.c.id == 999))
    one = await database.fetch_one(query="SELECT * FROM notes WHERE text = :t", values={"t": "one"})
    yield "text", (one["text"], one["id"], bool(one["done"]))
    yield "fetch_val", await database.fetch_val("SELECT text FROM notes WHERE id = :id", {"id": 2})
    by_name = await database.fetch_val(notes.select().where(notes.c.id == 1), column="text")
    yield "fetch_val by name", by_name
    twice = "SELECT text FROM notes WHERE text = :t OR text = :t ORDER BY id"
    yield "a name twice", [row["text"] for row in await database.fetch_all(twice, {"t": "six"})]
    text = sqlalchemy.text("SELECT text FROM notes WHERE id = :id").bindparams(id=1)
    yield "sqlalchemy.text", (await database.fetch_one(text))["text"]
    within = notes.c.text.in_(["one", "two"])
    ordered = sqlalchemy.select(notes.c.id).where(within).order_by(notes.c.id)
    yield "in", [row["id"] for row in await database.fetch_all(ordered)]
    like = sqlalchemy.select(notes.c.id).where(notes.c.text.like("%o%")).order_by(notes.c.id)
    yield "like", [row["id"] for row in await database.fetch_all(like)]
    label = sqlalchemy.select(sqlalchemy.func.count().label("n")).select_from(notes)
    yield "a label", (await database.fetch_one(label)).n
    yield "a function", await database.fetch_val(sqlalchemy.select(sqlalchemy.func.max(notes.c.id)))

    await database.execute(authors.insert(), {"note": key, "name": "Ann"})
    joined = sqlalchemy.select(notes, authors).where(authors.c.note == notes.c.id)
    row = await database.fetch_one(joined)
    yield "a join", (row[notes.c.text], row[authors.c.name])
    await database.execute(authors.delete())

    yield "iterate", [row["text"] async for row in database.iterate(notes.select())]
    await database.execute(notes.update().where(notes.c.id == 1).values(text="changed"))
    yield "update", await database.fetch_val("SELECT text FROM notes WHERE id = 1")
    await database.execute(query="DELETE FROM notes WHERE text = :text", values={"text": "six"})
    yield "delete", await database.fetch_val("SELECT count(*) FROM notes")


async def transactions(database):
    count = "SELECT count(*) FROM notes"
    add = "INSERT INTO notes (text, done) VALUES ('x', :done)"
    false = {"done": False}
    async with database.transaction():
        await database.execute(add, false)
    yield "committed", await database.fetch_val(count)
    try:
        async with database.transaction():
            await database.execute(add, false)
            raise Undo
    except Undo:
        yield "rolled back", await database.fetch_val(count)
    async with database.transaction(force_rollback=True):
        await database.execute(add, false)
        yield "inside", await database.fetch_val(count)
    yield "force_rollback", await database.fetch_val(count)
    transaction = await database.transaction()
    await database.execute(add, false)
    await transaction.rollback()
    yield "by hand, rolled back", await database.fetch_val(count)
    transaction = database.transaction()
    await transaction.start()
    await database.execute(add, false)
    await transaction.commit()
    yield "by hand, committed", await database.fetch_val(count)

    @database.transaction()
    async def fill(fail):
        await database.execute(add, false)
        if fail:
            raise Undo

    await fill(False)
    try:
        await fill(True)
    except Undo:
        yield "decorated", await database.fetch_val(count)
    async with database.transaction():
        try:
            async with database.transaction():
                await database.execute(add, false)
                raise Undo
        except Undo:
            await database.execute(add, false)
        yield "nested", await database.fetch_val(count)
    async with database.connection() as connection:
        async with connection.transaction(force_rollback=True):
            await connection.execute(add, false)
            yield "on a connection", await connection.fetch_val(count)
        yield "after it", len(await connection.fetch_all(notes.select()))
        yield "one of it", (await connection.fetch_one("SELECT 1 AS one"))["one"]
        await connection.execute_many(add, [false, false])
        yield "rows of it", len([row async for row in connection.iterate(notes.select())])


async def whole(make):
    """The story of one database; a list of (what, answer)."""
    told = []
    database = make()
    told.append(("before", database.is_connected))
    await database.connect()
    await database.connect()
    told.append(("connected", database.is_connected))
    for table in metadata.sorted_tables:
        await database.execute(CreateTable(table))
    async for answer in statements(database):
        told.append(answer)
    async for answer in transactions(database):
        told.append(answer)
    await database.disconnect()
    await database.disconnect()
    told.append(("after", database.is_connected))

    add = notes.insert()
    count = sqlalchemy.select(sqlalchemy.func.count()).select_from(notes)
    for database in (make(force_rollback=True), make()):
        with database.force_rollback():
            for _ in range(2):
                async with database:
                    await database.execute(add, {"text": "gone", "done": True})
                    async with database.transaction():
                        await database.execute(add, {"text": "gone too", "done": True})
                    seen = await asyncio.gather(*(database.fetch_val(count) for _ in range(3)))
                    told.append(("in force_rollback", seen))
    async with make() as database:
        told.append(("not kept", await database.fetch_val(count)))
        for table in reversed(metadata.sorted_tables):
            await database.execute(DropTable(table))
    return told


@pytest.mark.filterwarnings("ignore:The `Row.keys")  # of databases 0.7
@pytest.mark.filterwarnings("ignore:Dialect sqlite.*does .not. support Decimal")
async def test_one_script_on_both(world):
    pytest.importorskip(NEEDS[world.kind])
    url = world.url.replace("mariadb://", "mysql://")
    theirs = await whole(lambda **options: databases.Database(url, **options))
    ours = await whole(lambda **options: orm.Database(url, **options))
    for theirs_told, ours_told in zip(theirs, ours):
        assert ours_told == theirs_told
    assert len(ours) == len(theirs)


# ---- what is ours alone ------------------------------------------------------------------------


async def test_force_rollback_holds_for_models_and_needs_no_connect(people):
    Person, database = people.Person, orm.Database(people.url, force_rollback=True)
    Person.__database__ = database

    class Other(orm.Model):
        __tablename__ = "person"
        __metadata__ = orm.MetaData()
        __database__ = database
        id = orm.Integer(primary_key=True)
        name = orm.Text()

    await Other.objects.create(name="gone")
    async with database.transaction():
        await Other.objects.create(name="gone")
    counts = await asyncio.gather(Other.objects.count(), Other.objects.count())
    assert counts == [2, 2]
    await database.disconnect()
    assert await database.fetch_val("SELECT count(*) FROM person") == 0
    await database.disconnect()
    assert await people.database.fetch_val("SELECT count(*) FROM person") == 0


async def test_a_savepoint_of_force_rollback(people):
    async with orm.Database(people.url, force_rollback=True) as database:
        with pytest.raises(Undo):
            async with database.transaction():
                await database.execute("INSERT INTO person (name) VALUES ('a')")
                raise Undo
        await database.execute("INSERT INTO person (name) VALUES ('b')")
        assert await database.fetch_val("SELECT name FROM person") == "b"
    assert await people.database.fetch_val("SELECT count(*) FROM person") == 0


async def test_records(people):
    await people.Person.objects.create(name="Ann", age=3)
    (row,) = await people.database.fetch_all("SELECT name, age AS count FROM person")
    assert row == ("Ann", 3)
    name, count = row
    assert (name, count) == (row.name, row.count) == ("Ann", 3)
    assert row[-1] == row["count"] == 3 and row[:1] == ("Ann",)
    assert dict(row) == {"name": "Ann", "count": 3} == dict(row.items())
    assert repr(row) == "Record(name='Ann', count=3)"
    assert pickle.loads(pickle.dumps(row)).count == 3
    with pytest.raises(KeyError):
        row["nothing"]
    with pytest.raises(AttributeError, match="no column 'nothing': name, count"):
        row.nothing  # noqa: B018
    with pytest.raises(IndexError):
        row[2]


async def test_bad_statements(world):
    database = world.database
    with pytest.raises(TypeError, match="a str or an expression"):
        database.fetch_all(5)
    with pytest.raises(orm.ProgrammingError, match=":a has no value"):
        database.fetch_all("SELECT :a", {})
    with pytest.raises(orm.ProgrammingError, match="no parameter :b"):
        database.fetch_all("SELECT :a", {"a": 1, "b": 2})
    with pytest.raises(TypeError, match="are a dict"):
        database.fetch_all(sqlalchemy.select(1), [1])
    with pytest.raises(TypeError, match="'nonsense'"):
        database.transaction(nonsense=1)
    with pytest.raises(orm.NotSupportedError):
        database.connection().raw_connection  # noqa: B018


@pytest.mark.parametrize(
    "sql, expected",
    [
        ("a = :a AND b = :b", "a = ? AND b = ?"),
        ("':a' \":a\" `:a` :a", "':a' \":a\" `:a` ?"),
        ("-- :a\n:a /* :a */", "-- :a\n? /* :a */"),
        ("x::int, :a::int", "x::int, ?::int"),
        ("'12:30' 12:30 \\:a", "'12:30' 12:30 :a"),
    ],
)
def test_named_parameters(sql, expected):
    from orm.statements import split

    assert split(sql, "sqlite")[0] == expected
    numbered = split("a = :a AND b = :b OR a = :a", "postgresql")
    assert numbered == ("a = $1 AND b = $2 OR a = $1", ("a", "b"))
    assert split(r"'it\'s :a' :b", "mariadb") == (r"'it\'s :a' ?", ("b",))
    assert split("'C:\\' || :b", "sqlite") == ("'C:\\' || ?", ("b",))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss@localhost:123/name?min_size=1&ssl=true",
        "postgresql+asyncpg://localhost/name",
        "mysql://user@localhost/my%20db",
        "sqlite:///rel.db",
        "sqlite:////abs/file.db",
        "postgresql://user@/name?host=/var/run/postgresql",
        "postgresql://u:p@[::1]:5432/name",
    ],
)
def test_urls(url):
    ours, theirs = orm.DatabaseURL(url), databases.DatabaseURL(url)
    parts = (
        "scheme dialect driver userinfo username password hostname port netloc database options "
        "obscure_password"
    )
    for part in parts.split():
        assert getattr(ours, part) == getattr(theirs, part), part
    assert str(ours) == str(theirs) and ours == url and ours == theirs
    assert repr(ours) == repr(theirs)
    assert orm.DatabaseURL(theirs) == orm.DatabaseURL(ours) == ours
    for change in (
        {"database": "other"},
        {"dialect": "mysql"},
        {"driver": "x"},
        {"hostname": "elsewhere", "port": 5},
        {"username": "me", "password": "secret"},
    ):
        has_host = theirs.components.hostname is not None
        if has_host or not {"hostname", "username"} & set(change):
            assert str(ours.replace(**change)) == str(theirs.replace(**change)), change


async def test_the_url_of_a_database(world):
    database = orm.Database(world.url, force_rollback=False)
    assert isinstance(database.url, orm.DatabaseURL) and str(database.url) == world.url
    assert orm.Database(databases.DatabaseURL("sqlite:///a.db")).url.database == "a.db"
    assert orm.Database("sqlite:///a.db", journal_mode="wal").options == {"journal_mode": "wal"}
    assert "hidden" not in repr(orm.Database("postgresql://u:hidden@localhost/x"))
