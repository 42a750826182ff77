"""Alembic beside our models: nothing to do on tables that either side made, and the right change.

Both of Alembic's finer comparisons are on: types and the database's own defaults.
"""

import asyncio
import datetime
import decimal
import enum
import ipaddress
import re
import sys
import uuid
from pathlib import Path

import alembic.command
import alembic.config
import pytest
import sqlalchemy

import orm
from tests.py.migrations import alchemy_engine, alchemy_url, described, differences


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Size(enum.Enum):
    SMALL = 1
    EXTRA_LARGE = 2


def columns():
    """A field of every kind."""
    return {
        "big": orm.BigInteger(),
        "boolean": orm.Boolean(default=True),
        "date": orm.Date(allow_null=True),
        "moment": orm.DateTime(auto_now=True),
        "aware": orm.DateTime(timezone=True, allow_null=True),
        "price": orm.Decimal(10, 2, default=1),
        "whole": orm.Decimal(5, 0),
        "exact": orm.Decimal(30, 10),
        "email": orm.Email(max_length=50),
        "color": orm.Enum(Color, default=Color.RED),
        "size": orm.Enum(Size, allow_null=True),
        "ratio": orm.Float(),
        "number": orm.Integer(),
        "small": orm.SmallInteger(),
        "address": orm.IPAddress(),
        "data": orm.JSON(),
        "string": orm.String(max_length=20),
        "text": orm.Text(),
        "bounded": orm.Text(max_length=30),
        "time": orm.Time(),
        "url": orm.URL(max_length=99),
        "code": orm.UUID(),
        "binary": orm.Binary(),
        "interval": orm.Interval(),
        "array": orm.Array(orm.Integer()),
    }


class Project:
    """Models on one sqlalchemy.MetaData, on the world's database."""

    def __init__(self, world):
        self.world = world
        self.metadata = sqlalchemy.MetaData()
        self.models = []  # which live as long as somebody holds them
        self.engine = alchemy_engine(world)

    def model(self, name="Thing", **body):
        body.setdefault("id", orm.Integer(primary_key=True))
        options = {"__metadata__": self.metadata, "__database__": self.world.database}
        self.models.append(type(orm.Model)(name, (orm.Model,), options | body))
        return self.models[-1]

    async def create(self, maker):
        if maker == "ours":
            await orm.create_all(self.metadata, self.world.database)
        else:
            async with self.engine.begin() as connection:
                await connection.run_sync(self.metadata.create_all)

    async def differences(self):
        return await differences(self.engine, self.metadata)


@pytest.fixture
def project(world):
    return Project(world)


makers = pytest.mark.parametrize("maker", ["sqlalchemy", "ours"])


@makers
@pytest.mark.parametrize("name", columns())
async def test_nothing_to_do_for_a_column(project, maker, name):
    project.model(value=columns()[name])
    await project.create(maker)
    assert await project.differences() == []


async def test_nothing_to_do_for_a_registry(project):
    models = orm.ModelRegistry(database=project.world.database)

    class Album(orm.Model):
        registry = models
        fields = {"id": orm.Integer(primary_key=True)}

    class Thing(orm.Model):
        tablename = "things"
        registry = models
        fields = {
            "id": orm.BigInteger(primary_key=True),
            "album": orm.ForeignKey("Album", on_delete=orm.CASCADE),
            "twin": orm.OneToOne("Album", allow_null=True),
            "number": orm.Integer(index=True, unique=True),
            **columns(),
        }

    await models.create_all()
    assert await differences(project.engine, models.metadata) == []


@makers
@pytest.mark.parametrize("key", [orm.SmallInteger, orm.Integer, orm.BigInteger, orm.UUID])
async def test_nothing_to_do_for_keys(project, maker, key):
    thing = project.model(id=key(primary_key=True))
    project.model("Part", thing=orm.ForeignKey(thing, on_delete=orm.CASCADE))
    await project.create(maker)
    assert await project.differences() == []


@makers
async def test_nothing_to_do_for_indexes_and_constraints(project, maker):
    project.model(
        a=orm.Integer(index=True),
        b=orm.Integer(index=True, unique=True),
        c=orm.Integer(unique=True),
        d=orm.String(max_length=40, index=True),
        e=orm.Integer(column="other", comment="how many"),
        __table_comment__="things",
        __table_args__=(
            orm.Index("a", "b"),
            orm.Index("c", name="mine", unique=True),
            orm.UniqueConstraint("a", "e", name="pair"),
            orm.UniqueConstraint("a", "d"),
            orm.CheckConstraint("a < 100", name="small"),
        ),
    )
    await project.create(maker)
    assert await project.differences() == []


@makers
async def test_nothing_to_do_for_relations(project, maker):
    album = project.model("Album", id=orm.BigInteger(primary_key=True))
    project.model(
        "Track",
        album=orm.ForeignKey(album, on_delete=orm.CASCADE),
        twin=orm.OneToOne(album, allow_null=True, on_delete=orm.SET_NULL, on_update=orm.RESTRICT),
        parent=orm.ForeignKey("self", allow_null=True),
    )
    project.model(
        "Pair",
        id=orm.Integer(),
        track=orm.ForeignKey("Track"),
        __table_args__=orm.PrimaryKey("track", "id"),
    )
    await project.create(maker)
    assert await project.differences() == []


@makers
async def test_nothing_to_do_for_names_that_need_quotes(project, maker):
    project.model("Select", order=orm.Integer(index=True), MixedCase=orm.Text())
    await project.create(maker)
    assert await project.differences() == []


@makers
async def test_two_models_with_one_enum(project, maker):
    project.model("First", color=orm.Enum(Color))
    project.model("Second", color=orm.Enum(Color), other=orm.Enum(Color, allow_null=True))
    await project.create(maker)
    assert await project.differences() == []
    await project.create(maker)


@makers
async def test_two_enums_of_one_name(project, maker):
    other = enum.Enum("Color", "CYAN MAGENTA")
    first = project.model("First", color=orm.Enum(Color))
    second = project.model("Second", color=orm.Enum(other))
    await project.create(maker)
    assert await project.differences() == []
    await first.objects.create(color=Color.RED)
    await second.objects.create(color=other.CYAN)
    assert (await second.objects.get()).color is other.CYAN


@makers
async def test_an_enum_with_second_names(project, maker):
    class Grade(enum.Enum):
        GOOD = 1
        FINE_ENOUGH = 1  # noqa: PIE796

    thing = project.model(grade=orm.Enum(Grade))
    await project.create(maker)
    assert await project.differences() == []
    await thing.objects.create(grade=Grade.FINE_ENOUGH)
    assert (await thing.objects.get(grade=Grade.GOOD)).grade is Grade.GOOD


@makers
async def test_texts_without_a_length_in_keys_and_indexes(project, maker):
    thing = project.model(id=orm.Text(primary_key=True), body=orm.Text(index=True))
    project.model("Part", thing=orm.ForeignKey(thing))
    await project.create(maker)
    assert await project.differences() == []


VALUES = {
    "big": 2**62,
    "boolean": True,
    "date": datetime.date(2020, 1, 2),
    "moment": datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
    "price": decimal.Decimal("1.20"),
    "exact": decimal.Decimal("12345678901234567890.0123456789"),
    "color": Color.GREEN,
    "ratio": 0.1,
    "address": ipaddress.ip_address("2001:db8::1"),
    "data": {"a": [1, None, "é"]},
    "text": "é" * 70_000,
    "time": datetime.time(1, 2, 3, 4),
    "code": uuid.UUID(int=5),
    "binary": b"\0" * 70_000,
    "interval": datetime.timedelta(days=1, microseconds=3),
    "array": [1, 2, 3],
}


@pytest.mark.filterwarnings("ignore:Dialect sqlite.* does \\*not\\* support Decimal")
@makers
@pytest.mark.parametrize("name", VALUES)
async def test_rows_of_one_are_read_by_the_other(project, maker, name):
    field = orm.DateTime() if name == "moment" else columns()[name]
    thing = project.model(value=field)
    await project.create(maker)
    value = VALUES[name]
    if name == "binary" and project.world.kind == "mariadb":
        pytest.skip("aiomysql binds no bytes with this PyMySQL")
    await thing.objects.create(id=1, value=value)
    table = thing.__table__
    async with project.engine.begin() as connection:
        await connection.execute(table.insert().values(id=2, value=value))
        rows = (await connection.execute(sqlalchemy.select(table.c.value))).all()
    theirs = [ipaddress.ip_address(str(row[0])) if name == "address" else row[0] for row in rows]
    assert theirs == [value, value]
    assert [row.value for row in await thing.objects.all()] == [value, value]


@makers
async def test_the_right_change(project, maker):
    project.model(a=orm.Integer(), gone=orm.Integer())
    await project.create(maker)
    later = Project(project.world)
    later.model(
        a=orm.BigInteger(allow_null=True, index=True),
        b=orm.String(max_length=20),
        c=orm.Integer(column="sea", allow_null=True, unique=True),
    )
    later.model("Other", thing=orm.ForeignKey("Thing"))
    found = await later.differences()
    assert described(found) == [
        ("add_column", "b"),
        ("add_column", "sea"),
        ("add_constraint", "sea"),
        ("add_index", "ix_thing_a"),
        ("add_table", "other"),
        ("modify_nullable", "a"),
        ("modify_type", "a"),
        ("remove_column", "gone"),
    ]
    column = next(c[-1] for c in found if not isinstance(c, list) and c[-1].name == "b")
    assert (str(column.type), column.nullable) == ("VARCHAR(20)", False)


MODELS = """
import sqlalchemy
import orm

metadata = sqlalchemy.MetaData()


class Album(orm.Model):
    __metadata__ = metadata
    id = orm.Integer(primary_key=True)
    name = orm.String(max_length={length})
    exact = orm.Decimal(30, 10, allow_null=True)
    code = orm.UUID(allow_null=True)
    address = orm.IPAddress(allow_null=True)
    length = orm.Interval(allow_null=True)
    made = orm.DateTime(allow_null=True)
    ratio = orm.Float(allow_null=True)
    data = orm.JSON(allow_null=True)
    {later}
"""
PAGE = Path(__file__).resolve().parents[2] / "docs/migrations.md"
(ENVIRONMENT,) = (
    block
    for block in re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    if "context.configure" in block
)


def test_a_project_with_migrations(world, folder, monkeypatch):
    """The commands that users type (revision --autogenerate, upgrade, check), twice, with the
    env.py of the page."""
    monkeypatch.syspath_prepend(str(folder))
    alembic.command.init(alembic.config.Config("alembic.ini"), "migrations")
    config = alembic.config.Config("alembic.ini")
    config.set_main_option("sqlalchemy.url", alchemy_url(world).replace("%", "%%"))
    (folder / "migrations/env.py").write_text(ENVIRONMENT)
    template = folder / "migrations/script.py.mako"
    template.write_text(
        template.read_text().replace("import sqlalchemy", "import orm\nimport sqlalchemy")
    )
    for length, later in ((100, ""), (200, "rating = orm.Integer(allow_null=True, index=True)")):
        (folder / "models.py").write_text(MODELS.format(length=length, later=later))
        monkeypatch.delitem(sys.modules, "models", raising=False)
        with pytest.raises(alembic.util.exc.AutogenerateDiffsDetected):
            alembic.command.check(config)
        alembic.command.revision(config, "step", autogenerate=True)
        alembic.command.upgrade(config, "head")
        alembic.command.check(config)
    album = sys.modules.pop("models").Album
    album.__database__ = world.database
    exact = decimal.Decimal("10.0000000001")
    asyncio.run(compares_decimals(album, exact))


async def compares_decimals(album, exact):
    """On SQLite the last step copied the table: its decimals still compare as numbers."""
    await album.objects.create(name="ten", exact=exact)
    await album.objects.create(name="nine", exact=decimal.Decimal(9))
    assert [a.name for a in await album.objects.filter(exact__gt=9).all()] == ["ten"]
    assert [a.name for a in await album.objects.order_by("exact").all()] == ["nine", "ten"]
    await album.__database__.disconnect()
