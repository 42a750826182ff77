"""Field types of one's own, written as encode/orm's users write them, in each of its styles; their
column types are SQLAlchemy's, among them TypeDecorators.  Each is written and read back."""

import colorsys
import datetime
import decimal
import enum
import json
import uuid

import pytest
import sqlalchemy
from sqlalchemy import types

import orm
from orm.fields import ModelField

typesystem = pytest.importorskip("typesystem")


class Packed(types.TypeDecorator):
    """A list of words as text, NULL as a dash."""

    impl = types.String(100)
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return "-" if value is None else ",".join(value)

    def process_result_value(self, value, dialect):
        return None if value == "-" else value.split(",")


class Cents(types.TypeDecorator):
    """Money as whole cents."""

    impl = types.Integer
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else int(value * 100)

    def process_result_value(self, value, dialect):
        return None if value is None else decimal.Decimal(value) / 100


class Guid(types.TypeDecorator):
    """A UUID as the recipe has it: native on PostgreSQL, 32 digits elsewhere."""

    impl = types.CHAR
    cache_ok = True

    def load_dialect_impl(self, dialect):
        if dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import UUID

            return dialect.type_descriptor(UUID(as_uuid=True))
        return dialect.type_descriptor(types.CHAR(32))

    def process_bind_param(self, value, dialect):
        if value is None or dialect.name == "postgresql":
            return value
        return f"{value.int:032x}"

    def process_result_value(self, value, dialect):
        if value is None or isinstance(value, uuid.UUID):
            return value
        return uuid.UUID(value)


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


# ---- the types of fields


class Words(ModelField):
    """Since 0.2: a validator and a column type."""

    def get_validator(self, **kwargs):
        return typesystem.Array(items=typesystem.String(), **kwargs)

    def get_column_type(self):
        return Packed()


class Price(ModelField, typesystem.Decimal):
    """Until 0.1.9: typesystem's field beside the model's."""

    def get_column_type(self):
        return Cents()


class Percent(orm.Integer):
    """A type that exists, with rules of its own."""

    def get_validator(self, **kwargs):
        return super().get_validator(minimum=0, maximum=100, **kwargs)


class Slug(orm.String):
    """A type that exists, which changes what it validates."""

    def validate(self, value, strict=False):
        value = super().validate(value)
        if value == "bad":
            raise typesystem.ValidationError(text="Must be good.", code="good")
        return value.lower().replace(" ", "-")


class Token(ModelField):
    """A column type and nothing else."""

    def get_column_type(self):
        return Guid()


class Code(orm.String):
    """A type that exists, on another column type."""

    def get_column_type(self):
        return types.CHAR(self.max_length)


class Letter(ModelField):
    def get_validator(self, **kwargs):
        return typesystem.Any(**kwargs)

    def get_column_type(self):
        return types.Enum(Size, values_callable=lambda sizes: [size.value for size in sizes])


class Point(ModelField):
    def get_validator(self, **kwargs):
        return typesystem.Array(**kwargs)

    def get_column_type(self):
        return types.JSON


class Shade(ModelField):
    """With arguments of its own."""

    def __init__(self, lightness, **kwargs):
        self.lightness = lightness
        super().__init__(**kwargs)

    def get_validator(self, **kwargs):
        return typesystem.Float(**kwargs)

    def get_column_type(self):
        lightness = self.lightness

        class Hue(types.TypeDecorator):
            impl = types.JSON
            cache_ok = False

            def process_bind_param(self, value, dialect):
                return list(colorsys.hls_to_rgb(value, lightness, 1))

            def process_result_value(self, value, dialect):
                return round(colorsys.rgb_to_hls(*value)[0], 3)

        return Hue()


MOMENT = datetime.datetime(2020, 1, 2, 3, 4, 5)
FIELDS = {  # field, what is given, what an instance holds, what SQLite stores
    "words": (lambda: Words(), ["a", "b"], ["a", "b"], "a,b"),
    "price": (lambda: Price(), "1.50", decimal.Decimal("1.50"), 150),
    "percent": (lambda: Percent(), "50", 50, 50),
    "slug": (lambda: Slug(max_length=10), " A b ", "a-b", "a-b"),
    "token": (lambda: Token(), uuid.UUID(int=5), uuid.UUID(int=5), f"{5:032x}"),
    "code": (lambda: Code(max_length=3), "abc", "abc", "abc"),
    "letter": (lambda: Letter(), Size.LARGE, Size.LARGE, "l"),
    "point": (lambda: Point(), [1, 2.5], [1, 2.5], "[1, 2.5]"),
    "shade": (lambda: Shade(0.5), 0.25, 0.25, None),
}


def make(world, name, **more):
    return world.fields(value=FIELDS[name][0](), **more)


@pytest.mark.parametrize("name", FIELDS)
async def test_a_value_is_written_and_read_back(world, name):
    _, given, held, stored = FIELDS[name]
    thing = make(world, name)
    await world.create()
    row = await thing.objects.create(value=given)
    assert row.value == held
    again = await thing.objects.get(id=row.id)
    assert again.value == held
    assert type(again.value) is type(held)
    if stored is not None and world.kind == "sqlite":
        ((found,),) = world.stdlib("SELECT value FROM thing")
        assert (json.loads(found) if name == "point" else found) == (
            json.loads(stored) if name == "point" else stored
        )


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("point", "shade")])
async def test_a_value_is_found(world, name):
    _, given, held, _ = FIELDS[name]
    thing = make(world, name)
    await world.create()
    await thing.objects.create(value=given)
    assert await thing.objects.filter(value=held).count() == 1
    assert await thing.objects.filter(value__in=[held]).count() == 1
    assert await thing.objects.exclude(value=held).count() == 0


@pytest.mark.parametrize("name", FIELDS)
async def test_a_value_is_updated(world, name):
    _, given, held, _ = FIELDS[name]
    thing = make(world, name)
    await world.create()
    row = await thing.objects.create(value=given)
    await row.update(value=given)
    assert await thing.objects.update(value=given) == 1
    (row,) = await thing.objects.bulk_create([{"value": given}])
    row.value = given
    await row.save()
    assert [row.value for row in await thing.objects.all()] == [held, held]


@pytest.mark.parametrize("name", FIELDS)
def test_the_table_has_the_given_column_type(name):
    body = {
        "__metadata__": sqlalchemy.MetaData(),
        "id": orm.Integer(primary_key=True),
        "value": FIELDS[name][0](),
    }
    thing = type(orm.Model)("Thing", (orm.Model,), body)
    column, own = thing.__table__.c.value, FIELDS[name][0]().get_column_type()
    wanted = types.to_instance(own)
    assert type(column.type).__name__ == type(wanted).__name__
    assert not column.nullable


async def test_both_create_the_same_columns(world):
    """The engine's own CREATE TABLE says what SQLAlchemy's says."""
    thing = make(world, "words", code=Code(max_length=3), token=Token(), price=Price())
    await world.create()
    table = orm.alchemy.table_of(thing)
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.begin() as connection:
        table.metadata.create_all(connection)
        wanted = connection.exec_driver_sql("PRAGMA table_info(thing)").fetchall()
    engine.dispose()
    assert world.stdlib("PRAGMA table_info(thing)") == [tuple(row) for row in wanted]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("words", 5, "Must be an array."),
        ("words", None, "May not be null."),
        ("price", "x", "Must be a number."),
        ("percent", 101, "Must be less than or equal to 100."),
        ("slug", "bad", "Must be good."),
        ("slug", "x" * 11, "Must have no more than 10 characters."),
        ("token", None, "May not be null."),
        ("code", "abcd", "Must have no more than 3 characters."),
    ],
)
async def test_a_bad_value_is_refused_by_its_own_rules(world, name, value, text):
    thing = make(world, name)
    await world.create()
    with pytest.raises(orm.ValidationError) as caught:
        await thing.objects.create(value=value)
    assert dict(caught.value) == {"value": text}
    with pytest.raises(TypeError, match="Invalid argument 'value' for Thing"):
        thing(value=value)


async def test_null(world):
    thing = world.fields(
        words=Words(allow_null=True),
        price=Price(allow_null=True),
        slug=Slug(max_length=9, default="X Y"),
    )
    await world.create()
    await thing.objects.create()
    row = await thing.objects.get(price=None)
    assert (row.words, row.price, row.slug) == (None, None, "x-y")


async def test_what_the_column_type_refuses_is_a_data_error(world):
    thing = world.fields(value=Token())
    await world.create()
    with pytest.raises(orm.DataError, match=r"column type refuses|expected a UUID"):
        await thing.objects.create(value="no uuid")


async def test_a_key_of_a_custom_type_and_references_to_it(world):
    base = world.base()

    class Owner(base):
        id = Token(primary_key=True, default=uuid.uuid4)
        name = orm.Text()

    class Pet(base):
        id = orm.Integer(primary_key=True)
        owner = orm.ForeignKey(Owner)

    await world.create()
    owner = await Owner.objects.create(name="a")
    pet = await Pet.objects.create(owner=owner)
    assert (await Pet.objects.get(owner=owner)).pk == pet.pk
    assert (await Pet.objects.get(owner=owner.id)).owner.pk == owner.id
    joined = await Pet.objects.select_related("owner").get(owner__name="a")
    assert joined.owner == owner
    assert (await Owner.objects.get(pk=owner.id)).name == "a"


def test_validators_and_their_attributes():
    percent = Percent()
    assert (percent.validator.minimum, percent.validator.maximum) == (0, 100)
    assert isinstance(Words(max_items=3).validator, typesystem.Array)
    assert Words(max_items=3).validator.max_items == 3
    assert Price(minimum=1).minimum == 1
    assert isinstance(Price(), typesystem.Decimal)


async def test_types_of_ones_own_are_inherited(world):
    class Base(world.base()):
        __abstract__ = True
        id = orm.Integer(primary_key=True)
        words = Words()

    class First(Base):
        code = Code(max_length=2)

    class Second(First):
        pass

    await world.create()
    await Second.objects.create(words=["x"], code="ab")
    assert (await Second.objects.get()).words == ["x"]
    with pytest.raises(orm.ValidationError, match="no more than 2"):
        Second(code="abc")


@pytest.mark.parametrize(
    "declare",
    [
        lambda: Words(nope=1),
        lambda: Price(nope=1),
        lambda: Slug(max_length=3, nope=1),
        lambda: Code(max_length=3, nope=1),
    ],
)
def test_an_argument_that_nobody_takes_is_a_type_error(declare):
    with pytest.raises(TypeError, match="nope"):
        declare()
