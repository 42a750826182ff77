"""Bad input and bad files: each is the right error of the tree, in one line that names the thing,
raised before anything is sent where that can be known, with nothing half done."""

import os
import sqlite3

import pytest

import orm


def one_line(error):
    text = str(error)
    assert text
    assert "\n" not in text
    return text


# ---- what the database says, with all its attributes


async def test_unique_violation(world):
    thing = world.fields(code=orm.Text(unique=True))
    await world.create()
    await thing.objects.create(code="a")
    with pytest.raises(orm.UniqueViolation) as caught:
        await thing.objects.create(code="a")
    error = caught.value
    # SQLITE_CONSTRAINT_UNIQUE; the server names the constraint only; ER_DUP_ENTRY
    codes = {"sqlite": (2067, ""), "postgresql": (None, "23505"), "mariadb": (1062, "23000")}
    assert (error.backend, error.code, error.sqlstate or "") == (world.kind, *codes[world.kind])
    assert (error.table or "thing", error.column or "code") == ("thing", "code")
    assert error.sql.startswith("INSERT")
    assert "'a'" not in error.sql
    assert not error.is_retryable
    assert not error.is_disconnect
    assert "code" in one_line(error)
    assert await thing.objects.count() == 1


async def test_not_null_violation(world):
    thing = world.fields(code=orm.Text(allow_null=True))
    await world.database.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, code TEXT NOT NULL)")
    with pytest.raises(orm.NotNullViolation) as caught:
        await thing.objects.create(id=1, code=None)
    assert (caught.value.table or "thing", caught.value.column) == ("thing", "code")


async def test_check_violation(world):
    body = {
        "__metadata__": world.metadata,
        "__database__": world.database,
        "id": orm.Integer(primary_key=True),
        "rank": orm.Integer(),
        "__table_args__": orm.CheckConstraint("rank > 0", name="positive"),
    }
    thing = type(orm.Model)("Thing", (orm.Model,), body)
    await world.create()
    with pytest.raises(orm.CheckViolation) as caught:
        await thing.objects.create(rank=0)
    assert caught.value.constraint == "positive"


async def test_foreign_key_violation(music):
    with pytest.raises(orm.ForeignKeyViolation) as caught:
        await music.Track.objects.create(album=7, title="x", position=1)
    codes = {"sqlite": 787, "postgresql": None, "mariadb": 1452}
    assert caught.value.code == codes[music.kind]
    assert str(caught.value).endswith(
        "; the row that is referred to is missing, or others refer to it"
    )
    one_line(caught.value)


async def test_a_missing_table(world):
    thing = world.fields()
    for make in (
        thing.objects.all,
        thing.objects.count,
        thing.objects.create,
        thing.objects.delete,
        lambda: thing.objects.bulk_create([{}]),
    ):
        with pytest.raises(orm.NoSuchTable, match=r"thing.*; orm\.create_all") as caught:
            await make()
        assert "create_all" not in caught.value.detail  # the database's own words
    await orm.create_all(world.metadata, world.database)
    assert await thing.objects.count() == 0


async def test_a_missing_column(world):
    thing = world.fields(name=orm.Text())
    await world.database.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY)")
    with pytest.raises(orm.NoSuchColumn, match=r"name.*; create_all.* migrate it"):
        await thing.objects.all()


async def test_the_driver_goes_on_after_every_error(world):
    thing = world.fields(code=orm.Text(unique=True))
    await world.create()
    await thing.objects.create(code="a")
    for _ in range(20):
        with pytest.raises(orm.UniqueViolation):
            await thing.objects.create(code="a")
        assert await thing.objects.count() == 1


# ---- files


async def ask(database):
    try:
        return await database.fetch_val("SELECT count(*) FROM sqlite_master")
    finally:
        await database.disconnect()


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("journal_mode", "delete, truncate, persist, memory, wal"),
        ("synchronous", "off, normal, full, extra"),
        ("foreign_keys", "off, on, false, true, 0, 1, no, yes"),
    ],
)
async def test_an_options_value_that_is_none_names_those_that_are(folder, option, known):
    with pytest.raises(orm.ConfigurationError, match=f"{option}='maybe': expected one of {known}$"):
        await ask(orm.Database(f"sqlite:///{folder}/db.sqlite?{option}=maybe"))


async def test_a_directory_that_is_missing(folder):
    with pytest.raises(orm.ConnectError) as caught:
        await ask(orm.Database(f"sqlite:///{folder}/nowhere/db.sqlite"))
    assert isinstance(caught.value, ConnectionError)
    assert isinstance(caught.value, orm.OperationalError)
    one_line(caught.value)


async def test_a_directory_in_place_of_a_file(folder):
    (folder / "folder").mkdir()
    with pytest.raises(orm.OperationalError):
        await ask(orm.Database(f"sqlite:///{folder}/folder"))


async def test_F6_a_file_that_is_no_database(folder):
    (folder / "text.sqlite").write_bytes(b"This is no database. " * 200)
    with pytest.raises(orm.DatabaseError) as caught:
        await ask(orm.Database(f"sqlite:///{folder}/text.sqlite"))
    assert isinstance(caught.value, orm.InternalError)
    assert (folder / "text.sqlite").read_bytes().startswith(b"This is no database")


async def test_F6_a_corrupt_database(world):
    thing = world.fields(name=orm.Text())
    await world.create()
    await thing.objects.bulk_create([{"name": "x" * 500} for _ in range(200)])
    await world.database.disconnect()
    world.stdlib("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(world.path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    world.path.write_bytes(data)
    with pytest.raises(orm.DatabaseError):
        await thing.objects.all()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write every file")
async def test_F5_a_read_only_file(world):
    thing = world.fields()
    await world.create()
    await thing.objects.create()
    await world.database.disconnect()
    world.path.chmod(0o444)
    world.path.parent.chmod(0o555)
    try:
        with pytest.raises(orm.OperationalError):
            await thing.objects.create()
    finally:
        world.path.parent.chmod(0o755)


async def test_F5_a_database_opened_for_reading_only(world):
    thing = world.fields()
    await world.create()
    await thing.objects.create()
    await world.database.disconnect()
    reader = orm.Database(world.url + "?mode=ro")
    assert await reader.fetch_val("SELECT count(*) FROM thing") == 1
    with pytest.raises(orm.OperationalError) as caught:
        await reader.execute("DELETE FROM thing")
    if world.kind == "sqlite":
        assert caught.value.code & 0xFF == 8  # SQLITE_READONLY
    await reader.disconnect()
    assert await thing.objects.count() == 1


async def test_reading_only_from_a_file_that_is_missing(folder):
    with pytest.raises(orm.OperationalError):
        await ask(orm.Database(f"sqlite:///{folder}/missing.sqlite?mode=ro"))
    assert not (folder / "missing.sqlite").exists()


async def test_a_locked_database(world):
    thing = world.fields()
    await world.create()
    await thing.objects.create()
    await world.database.disconnect()
    impatient = orm.Database(world.url, busy_timeout=50)
    other = sqlite3.connect(world.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(orm.LockTimeout) as caught:
        await impatient.execute("DELETE FROM thing")
    assert caught.value.is_retryable
    assert caught.value.backend == "sqlite"
    assert await impatient.fetch_val("SELECT count(*) FROM thing") == 1
    other.execute("ROLLBACK")
    other.close()
    assert await impatient.execute("DELETE FROM thing") == 1
    await impatient.disconnect()


# ---- URLs and options


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite",
        "sqlite:",
        "sqlite://host/path",
        "nosuch:///x",
        "sqlite:///db.sqlite?nope=1",
        "sqlite:///db.sqlite?busy_timeout=soon",
        "sqlite:///db\0.sqlite",
        "sqlite:///a\ud800",
    ],
)
def test_a_url_that_is_none(url):
    with pytest.raises((orm.ConfigurationError, UnicodeEncodeError)) as caught:
        orm.Database(url)
    if isinstance(caught.value, orm.Error):
        one_line(caught.value)


async def test_an_option_of_the_driver_with_a_value_that_is_none(folder):
    with pytest.raises(orm.ConfigurationError, match="journal_mode"):
        await ask(orm.Database("sqlite:///db.sqlite?journal_mode=sideways"))
    assert list(folder.iterdir()) == []


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(orm.ConfigurationError, match="journal_mode"):
        orm.Database("sqlite:///db.sqlite", journal_mod="wal")
    with pytest.raises(orm.ConfigurationError, match="busy_timeout"):
        orm.Database("sqlite:///db.sqlite?busy_timeou=5")


@pytest.mark.parametrize("url", [5, None, b"sqlite:///db.sqlite", object()])
def test_a_url_that_is_no_text(url):
    with pytest.raises((orm.ConfigurationError, TypeError)):
        orm.Database(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@host/db?nosuch=1",
        "mysql://user:hunter2@host:bad/db",
        "sqlite://user:hunter2@host/db",
        "nosuch://user:hunter2@host/db",
    ],
)
def test_I5_a_password_is_never_shown(url):
    with pytest.raises(orm.Error) as caught:
        orm.Database(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)
    assert "hunter2" not in str(vars(caught.value))


def test_I5_nor_by_what_is_no_database():
    class Secret:
        def __repr__(self):
            return "postgresql://user:hunter2@host/db"

    from orm.database import database_of

    with pytest.raises(orm.ConfigurationError) as caught:
        database_of(Secret())
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:///db.sqlite", "sqlite+aiosqlite:///db.sqlite"])
async def test_driver_suffixes_of_other_libraries_are_ignored(folder, url):
    assert await ask(orm.Database(url)) == 0
    assert (folder / "db.sqlite").exists()


async def test_relative_and_absolute_paths(folder):
    (folder / "sub").mkdir()
    assert await ask(orm.Database("sqlite:///sub/rel.sqlite")) == 0
    assert await ask(orm.Database(f"sqlite:///{folder}/abs.sqlite")) == 0
    assert (folder / "sub/rel.sqlite").exists()
    assert (folder / "abs.sqlite").exists()


async def test_a_path_with_odd_characters(folder):
    name = "a b%20?".replace("?", "") + "é.sqlite"
    from urllib.parse import quote

    assert await ask(orm.Database(f"sqlite:///{folder}/{quote(name)}")) == 0
    assert (folder / name).exists()


async def test_options_of_the_url_and_of_the_call(world):
    database = orm.Database(world.url + "?synchronous=normal", journal_mode="wal")
    assert await database.fetch_val("PRAGMA journal_mode") == "wal"
    assert await database.fetch_val("PRAGMA synchronous") == 1
    await database.disconnect()


async def test_defaults(world):
    assert await world.database.fetch_val("PRAGMA journal_mode") == "wal"
    assert await world.database.fetch_val("PRAGMA synchronous") == 2
    assert await world.database.fetch_val("PRAGMA foreign_keys") == 1
    assert await world.database.fetch_val("PRAGMA trusted_schema") == 0


async def test_the_journal_mode_of_an_existing_file_is_left_as_it_is(world):
    world.path.unlink()
    for suffix in ("-wal", "-shm"):
        path = world.path.with_name(world.path.name + suffix)
        if path.exists():
            path.unlink()
    database = orm.Database(f"sqlite:///{world.path.with_name('old.sqlite')}")
    connection = sqlite3.connect(world.path.with_name("old.sqlite"))
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert await database.fetch_val("PRAGMA journal_mode") == "delete"
    await database.disconnect()


# ---- names and values: nothing is sent


BAD_VALUES = [
    ("a lone surrogate", {"text": "\ud800"}),
    ("a number for text", {"text": 5}),
    ("text for a number", {"number": "x"}),
    ("too long", {"short": "abcdef"}),
    ("out of range", {"number": 2**63}),
    ("not a number", {"real": float("nan")}),
    ("aware for naive", {"moment": "2020-01-01T00:00:00Z"}),
    ("a misspelt field", {"txet": "x"}),
    ("a dict", {"number": {}}),
    ("a callable", {"text": print}),
    ("a set", {"text": {"a"}}),
]


@pytest.fixture
def thing(world):
    return world.fields(
        text=orm.Text(allow_null=True),
        number=orm.Integer(allow_null=True),
        short=orm.String(max_length=5, allow_null=True),
        real=orm.Float(allow_null=True),
        moment=orm.DateTime(allow_null=True),
    )


@pytest.mark.parametrize("case", BAD_VALUES, ids=[name for name, _ in BAD_VALUES])
async def test_bad_values_are_refused_before_anything_is_sent(world, thing, case, nothing_sent):
    _, values = case
    (name,) = values
    await world.create()
    await thing.objects.create(text="kept")
    instance = await thing.objects.get()
    objects = thing.objects
    entries = {
        "create": lambda: objects.create(**values),
        "bulk_create": lambda: objects.bulk_create([{"text": "x"}, values]),
        "update": lambda: objects.update(**values),
        "instance.update": lambda: instance.update(**values),
        "get_or_create": lambda: objects.get_or_create(values, text="y"),
        "update_or_create": lambda: objects.update_or_create(values, text="y"),
    }
    for entry, make in entries.items():
        with nothing_sent(world), pytest.raises(orm.Error, match=name) as caught:
            await make()
        assert isinstance(caught.value, (orm.ValidationError, orm.DataError, orm.FieldError)), entry
        one_line(caught.value)
    (kept,) = await thing.objects.all()
    assert kept.text == "kept"


@pytest.mark.parametrize("case", BAD_VALUES, ids=[name for name, _ in BAD_VALUES])
async def test_bad_filter_values_are_refused_before_anything_is_sent(
    world, thing, case, nothing_sent
):
    what, values = case
    if what in ("too long", "a number for text"):
        pytest.skip("filter values are converted, never checked against the field's rules")
    for step in (thing.objects.filter, thing.objects.exclude, thing.objects.get):
        with nothing_sent(world), pytest.raises(orm.Error) as caught:
            await step(**values)
        assert isinstance(caught.value, (orm.DataError, orm.FieldError)), caught.value
        one_line(caught.value)
