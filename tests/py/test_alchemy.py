"""The sqlalchemy.Table of a model: its columns, keys and indexes, and that its storage is ours."""

import datetime
import decimal
import enum
import gc
import ipaddress
import sqlite3
import uuid
import warnings

import pytest
import sqlalchemy
from sqlalchemy.schema import CreateIndex, CreateTable

import orm


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


ADDRESSES = [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("2001:db8::1")]
EVERYTHING = {  # field, its column on SQLite, a value
    "big": (lambda: orm.BigInteger(), "BIGINT", 2**60),
    "boolean": (lambda: orm.Boolean(), "BOOLEAN", True),
    "date": (lambda: orm.Date(), "DATE", datetime.date(2020, 1, 2)),
    "moment": (lambda: orm.DateTime(), "DATETIME", datetime.datetime(2020, 1, 2, 3, 4, 5, 6)),
    "price": (lambda: orm.Decimal(10, 2), "NUMERIC(10, 2)", decimal.Decimal("1.20")),
    "exact": (lambda: orm.Decimal(30, 10), "TEXT", decimal.Decimal("12345678901234567890.1")),
    "email": (lambda: orm.Email(max_length=50), "VARCHAR(50)", "a@b.co"),
    "color": (lambda: orm.Enum(Color), "VARCHAR(5)", Color.GREEN),
    "float": (lambda: orm.Float(), "FLOAT", 1.5),
    "integer": (lambda: orm.Integer(), "INTEGER", 5),
    "small": (lambda: orm.SmallInteger(), "SMALLINT", 5),
    "address": (lambda: orm.IPAddress(), "CHAR(45)", ADDRESSES[1]),
    "json": (lambda: orm.JSON(), "JSON", {"a": [1, None, "é"]}),
    "string": (lambda: orm.String(max_length=20), "VARCHAR(20)", "é"),
    "text": (lambda: orm.Text(), "TEXT", "long"),
    "time": (lambda: orm.Time(), "TIME", datetime.time(1, 2, 3, 4)),
    "url": (lambda: orm.URL(max_length=99), "VARCHAR(99)", "http://a/"),
    "uuid": (lambda: orm.UUID(), "CHAR(32)", uuid.UUID(int=5)),
    "binary": (lambda: orm.Binary(), "BLOB", b"\0\xff"),
    "interval": (lambda: orm.Interval(), "BIGINT", datetime.timedelta(days=-1, microseconds=3)),
    "array": (lambda: orm.Array(orm.Integer()), "JSON", [1, 2, 3]),
}


@pytest.fixture
def metadata():
    return sqlalchemy.MetaData()


@pytest.fixture
def engine():
    engine = sqlalchemy.create_engine("sqlite:///db.sqlite", poolclass=sqlalchemy.pool.NullPool)
    yield engine
    engine.dispose()


def model(metadata, name="Thing", **body):
    body.setdefault("id", orm.Integer(primary_key=True))
    body.setdefault("__database__", "sqlite:///db.sqlite")
    return type(orm.Model)(name, (orm.Model,), {"__metadata__": metadata, **body})


def ddl(engine, thing):
    text = str(CreateTable(thing.__table__).compile(engine))
    return [line.strip().rstrip(",") for line in text.splitlines() if line.strip()]


def test_the_table_is_registered_when_the_class_is_made(metadata):
    thing = model(metadata)
    assert metadata.tables["thing"] is thing.__table__


def test_models_on_other_metadata_have_no_sqlalchemy_table():
    thing = model(orm.MetaData())
    with pytest.raises(AttributeError):
        thing.__table__  # noqa: B018


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_type_of_every_field(metadata, engine, name):
    make, column, _ = EVERYTHING[name]
    thing = model(metadata, value=make())
    (line,) = [line.replace('"', "") for line in ddl(engine, thing) if line.startswith("value")]
    assert line.removesuffix(" COLLATE orm_decimal NOT NULL") in (
        f"value {column} NOT NULL",
        f"value {column}",
    )


@pytest.mark.parametrize("kind", [orm.SmallInteger, orm.Integer, orm.BigInteger])
def test_every_integer_key_is_made_by_sqlite(metadata, engine, kind):
    thing = model(metadata, id=kind(primary_key=True))
    assert "id INTEGER NOT NULL" in ddl(engine, thing)


def test_nullable_columns(metadata, engine):
    thing = model(metadata, value=orm.Integer(allow_null=True))
    assert "value INTEGER" in ddl(engine, thing)


def test_no_server_defaults_and_no_checks(metadata, engine):
    thing = model(
        metadata, value=orm.Enum(Color, default=Color.RED), flag=orm.Boolean(default=True)
    )
    text = "\n".join(ddl(engine, thing))
    assert "DEFAULT" not in text
    assert "CHECK" not in text


def test_indexes_and_unique_columns(metadata, engine):
    thing = model(
        metadata,
        a=orm.Integer(index=True),
        b=orm.Integer(index=True, unique=True),
        c=orm.Integer(unique=True),
    )
    indexes = sorted(str(CreateIndex(index).compile(engine)) for index in thing.__table__.indexes)
    assert indexes == [
        "CREATE INDEX ix_thing_a ON thing (a)",
        "CREATE UNIQUE INDEX ix_thing_b ON thing (b)",
    ]
    lines = ddl(engine, thing)
    assert "UNIQUE (c)" in lines
    assert "UNIQUE (b)" not in lines


def test_foreign_keys(metadata, engine):
    album = model(metadata, "Album", id=orm.BigInteger(primary_key=True))
    track = model(
        metadata,
        "Track",
        album=orm.ForeignKey(album, on_delete=orm.CASCADE),
        twin=orm.OneToOne(album, allow_null=True, on_delete=orm.SET_NULL, on_update=orm.RESTRICT),
    )
    lines = ddl(engine, track)
    assert "album BIGINT NOT NULL" in lines
    assert "FOREIGN KEY(album) REFERENCES album (id) ON DELETE CASCADE" in lines
    assert "FOREIGN KEY(twin) REFERENCES album (id) ON DELETE SET NULL ON UPDATE RESTRICT" in lines
    assert "UNIQUE (twin)" in lines
    assert not track.__table__.indexes


def test_a_foreign_key_has_the_type_of_the_key_it_refers_to(metadata, engine):
    album = model(metadata, "Album", id=orm.UUID(primary_key=True))
    cover = model(metadata, "Cover", id=orm.OneToOne(album, primary_key=True))
    scan = model(metadata, "Scan", cover=orm.ForeignKey(cover))
    assert "id CHAR(32) NOT NULL" in ddl(engine, cover)
    assert "cover CHAR(32) NOT NULL" in ddl(engine, scan)


def test_a_foreign_key_to_itself_and_circles(metadata, engine):
    node = model(metadata, "Node", parent=orm.ForeignKey("self", allow_null=True))
    assert "FOREIGN KEY(parent) REFERENCES node (id)" in ddl(engine, node)
    first = model(metadata, "First", other=orm.ForeignKey("Second", allow_null=True))
    assert "first" not in metadata.tables
    second = model(metadata, "Second", other=orm.ForeignKey("First", allow_null=True))
    assert metadata.tables["first"] is first.__table__
    assert "FOREIGN KEY(other) REFERENCES first (id)" in ddl(engine, second)


def test_a_foreign_key_into_another_metadata(metadata, engine):
    album = model(sqlalchemy.MetaData(), "Album")
    track = model(metadata, "Track", album=orm.ForeignKey(album))
    assert "FOREIGN KEY(album) REFERENCES album (id)" in ddl(engine, track)


def test_table_arguments(metadata, engine):
    thing = model(
        metadata,
        a=orm.Integer(column="col"),
        b=orm.Integer(),
        __table_args__=(
            orm.Index("a", "b", where="b > 0"),
            orm.Index("b", name="only_b", unique=True),
            orm.UniqueConstraint("a", "b", name="pair"),
            orm.CheckConstraint("b < 100", name="small"),
        ),
    )
    lines = ddl(engine, thing)
    assert "CONSTRAINT pair UNIQUE (col, b)" in lines
    assert "CONSTRAINT small CHECK (b < 100)" in lines
    indexes = sorted(str(CreateIndex(index).compile(engine)) for index in thing.__table__.indexes)
    assert indexes == [
        "CREATE INDEX ix_thing_col_b ON thing (col, b) WHERE b > 0",
        "CREATE UNIQUE INDEX only_b ON thing (b)",
    ]


def test_a_key_of_several_fields(metadata, engine):
    thing = model(
        metadata,
        id=orm.Integer(),
        a=orm.Integer(),
        __table_args__=(orm.PrimaryKey("a", "id", name="both"),),
    )
    assert "CONSTRAINT both PRIMARY KEY (a, id)" in ddl(engine, thing)


def test_comments(metadata):
    thing = model(metadata, a=orm.Integer(comment="how many"), __table_comment__="things")
    assert thing.__table__.comment == "things"
    assert thing.__table__.c.a.comment == "how many"


def test_create_all_of_sqlalchemy_creates_every_kind_of_column(metadata, engine):
    model(metadata, **{name: make() for name, (make, _, _) in EVERYTHING.items()})
    metadata.create_all(engine)
    metadata.create_all(engine)
    metadata.drop_all(engine)


async def test_both_create_the_same_columns(metadata, engine):
    """What sqlalchemy.MetaData.create_all makes and what orm.create_all makes is one thing."""
    body = {name: make() for name, (make, _, _) in EVERYTHING.items()}
    body["indexed"] = orm.Text(index=True)
    body["single"] = orm.Text(unique=True)
    body["parent"] = orm.ForeignKey("self", allow_null=True, on_delete=orm.SET_NULL)
    thing = model(metadata, **body)
    metadata.create_all(engine)
    await orm.create_all(metadata, "sqlite:///ours.sqlite")
    found = []
    for file in ("db.sqlite", "ours.sqlite"):
        connection = sqlite3.connect(file)
        found.append(
            [
                connection.execute("PRAGMA table_info(thing)").fetchall(),
                connection.execute("PRAGMA foreign_key_list(thing)").fetchall(),
                sorted(row[1:] for row in connection.execute("PRAGMA index_list(thing)")),
            ]
        )
        connection.close()
    for theirs, ours in zip(*found, strict=True):
        assert normal(ours) == normal(theirs)
    assert thing.__tablename__ == "thing"


def normal(rows):
    """SQLite numbers its own indexes as they are made, and types may be spelt with spaces."""
    return sorted([str(value).replace(", ", ",") for value in row] for row in rows)


@pytest.mark.parametrize("name", EVERYTHING)
async def test_rows_written_by_either_are_read_by_both(metadata, engine, name):
    make, _, value = EVERYTHING[name]
    thing = model(metadata, value=make())
    metadata.create_all(engine)
    await thing.objects.create(id=1, value=value)
    with engine.begin() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's own, about decimals on SQLite
        connection.execute(thing.__table__.insert().values(id=2, value=value))
        rows = connection.execute(sqlalchemy.select(thing.__table__.c.value)).all()
    assert [row[0] for row in rows] == [value, value]
    assert [row.value for row in await thing.objects.all()] == [value, value]
    raw = sqlite3.connect("db.sqlite")
    stored = raw.execute("SELECT typeof(value), hex(value) FROM thing").fetchall()
    raw.close()
    assert stored[0] == stored[1]


def test_a_metadata_goes_when_nobody_holds_it():
    import weakref

    metadata = sqlalchemy.MetaData()
    model(metadata, parent=orm.ForeignKey("self", allow_null=True))
    gone = weakref.ref(metadata)
    del metadata
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("by", ["engine", "connection"])
def test_a_table_that_is_read_back_keeps_the_order_of_decimals(metadata, engine, by):
    names = {"exact": "exact", "odd": 'o"d d', "plain": "plain"}
    fields = {key: orm.Decimal(30, 10, column=name) for key, name in names.items()}
    model(metadata, **fields | {"plain": orm.Text()})
    metadata.create_all(engine)
    with engine.connect() as connection:
        bind = engine if by == "engine" else connection
        found = sqlalchemy.Table("thing", sqlalchemy.MetaData(), autoload_with=bind)
    collations = {name: found.c[names[name]].type.collation for name in names}
    assert collations == {"exact": "orm_decimal", "odd": "orm_decimal", "plain": None}


def test_types_are_written_down_as_they_are_made():
    """A migration holds their repr."""
    import orm.sqlalchemy_fields

    for made in (
        orm.sqlalchemy_fields.ExactDecimal(30, 10),
        orm.sqlalchemy_fields.GUID(),
        orm.sqlalchemy_fields.GenericIP(),
        orm.sqlalchemy_fields.Microseconds(),
    ):
        written = f"{type(made).__module__}.{made!r}"
        assert repr(eval(written, {"orm": orm})) == repr(made)
