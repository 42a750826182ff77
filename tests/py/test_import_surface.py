"""The names that programs written for encode/orm import, and querysets of one's own."""

import subprocess
import sys
import uuid

import pytest
import sqlalchemy

import orm
import orm.constants
import orm.exceptions
import orm.fields
import orm.models

NAMES = {
    "orm": (
        "NoMatch MultipleMatches BigInteger Boolean Date DateTime Decimal Enum Float Integer JSON "
        "String Text Time UUID ForeignKey Model CASCADE RESTRICT SET_NULL Email IPAddress OneToOne "
        "URL __version__ constants exceptions fields models"
    ),
    "orm.constants": "CASCADE RESTRICT SET_NULL",
    "orm.exceptions": "NoMatch MultipleMatches",
    "orm.fields": "ModelField AutoNowMixin String Integer ForeignKey OneToOne UUID",
    "orm.models": "FILTER_OPERATORS Model ModelMeta ModelMetaclass QuerySet",
    "orm.sqlalchemy_fields": "GUID GenericIP",
}


@pytest.mark.parametrize("module", NAMES)
def test_every_name_of_encode_orm_is_there(module):
    __import__(module)
    for name in NAMES[module].split():
        assert hasattr(sys.modules[module], name), f"{module}.{name}"


def test_the_column_types_are_those_of_the_tables():
    from orm.sqlalchemy_fields import GUID, GenericIP

    class Host(orm.Model):
        __metadata__ = sqlalchemy.MetaData()
        id = orm.UUID(primary_key=True)
        address = orm.IPAddress()

    assert isinstance(Host.__table__.c.id.type, GUID)
    assert isinstance(Host.__table__.c.address.type, GenericIP)


def test_column_types_are_an_attribute_of_the_package_at_first_access():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import orm; assert 'sqlalchemy' not in "
        "sys.modules; print(orm.sqlalchemy_fields.GUID.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "GUID"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nope"):
        orm.nope  # noqa: B018


# ---- querysets of one's own


class TrackQuerySet(orm.models.QuerySet):
    def malibu(self):
        return self.filter(album__name="Malibu")

    async def titles(self):
        return [track.title for track in await self.order_by("position").all()]


def with_objects(music, objects, *bases, name="Song", **body):
    """A model with these objects; its table is not there yet."""
    namespace = {
        "__metadata__": music.metadata,
        "__database__": music.database,
        "id": orm.Integer(primary_key=True),
        "album": orm.ForeignKey(music.Album),
        "title": orm.String(max_length=100),
        "position": orm.Integer(),
        **body,
    }
    if objects is not None:
        namespace["objects"] = objects
    return type(orm.Model)(name, bases or (orm.Model,), namespace)


async def fill(music, song):
    """The tracks, and the same as rows of `song`."""
    await music.fill()
    await orm.create_all(music.metadata, music.database)
    for track in await music.Track.objects.all():
        await song.objects.create(album=track.album, title=track.title, position=track.position)


async def test_objects_is_a_queryset_of_ones_own(music):
    song = with_objects(music, TrackQuerySet())
    await fill(music, song)
    assert type(song.objects) is TrackQuerySet
    assert song.objects is not song.objects
    assert song.objects.model_cls is song
    steps = song.objects.limit(2).exclude(position=9).malibu()
    assert type(steps) is TrackQuerySet
    assert await steps.titles() == ["The Bird", "Heart don't stand a chance"]


async def test_objects_of_an_instance(music):
    song = with_objects(music, TrackQuerySet())
    await fill(music, song)
    row = await song.objects.first()
    assert type(row.objects) is TrackQuerySet
    assert row.objects.model_cls is song
    sparse = song({"id": 1})
    assert sparse.objects.model_cls is song


async def test_another_name_beside_objects(music):
    song = with_objects(music, None, tracks=TrackQuerySet())
    await fill(music, song)
    assert type(song.objects) is orm.models.QuerySet
    assert await song.tracks.malibu().count() == 3
    assert (await song.objects.first()).tracks.model_cls is song


def test_objects_is_inherited(music):
    class Base(orm.Model):
        __abstract__ = True
        objects = TrackQuerySet()

    song = with_objects(music, None, Base)
    assert type(song.objects) is TrackQuerySet
    assert type(song({"id": 1}).objects) is TrackQuerySet
    again = with_objects(music, None, song, name="Again", __tablename__="again")
    assert type(again.objects) is TrackQuerySet
    assert again.objects.model_cls is again
    assert "TrackQuerySet" in repr(Base.objects)


async def test_an_init_of_ones_own_runs_for_every_step(music):

    class Counting(orm.models.QuerySet):
        def __init__(self, model_cls=None, filter_clauses=None, **more):
            super().__init__(model_cls, filter_clauses, **more)
            self.ready = model_cls.__name__

    song = with_objects(music, Counting())
    await fill(music, song)
    assert song.objects.ready == "Song"
    assert song.objects.filter(position=1).ready == "Song"
    assert await song.objects.filter(position=1).count() == 2


def test_arguments_of_ones_own(music):
    class Labelled(orm.models.QuerySet):
        def __init__(self, model_cls=None, label=None):
            super().__init__(model_cls=model_cls)
            self.label = label

    assert with_objects(music, Labelled(label="x")).objects.label == "x"


async def test_a_queryset_of_a_given_model(music):
    await music.fill()
    assert await TrackQuerySet(music.Track).malibu().count() == 3
    assert await TrackQuerySet(model_cls=music.Track).malibu().count() == 3
    with pytest.raises(orm.InterfaceError, match="takes a model class"):
        TrackQuerySet(5)
    with pytest.raises(TypeError, match="nope"):
        orm.models.QuerySet(music.Track, nope=1)
    with pytest.raises(TypeError):
        orm.models.QuerySet(music.Track, 1)


async def test_blocking_forms_of_a_queryset_of_ones_own(music):
    song = with_objects(music, TrackQuerySet())
    await fill(music, song)
    assert len(song.objects.malibu()) == 3


# ---- what querysets of one's own stand on


@pytest.fixture
def own(folder):
    """Albums and tracks on a databases.Database, with a queryset that asks it itself."""
    databases = pytest.importorskip("databases")
    database = databases.Database("sqlite:///own.sqlite")
    metadata = sqlalchemy.MetaData()

    class Raw(orm.models.QuerySet):
        async def rows(self):
            rows = await self.database.fetch_all(self.table.select().order_by(self.table.c.id))
            return [self.model_cls.from_row(row) for row in rows]

        async def joined(self):
            album = Album.__table__
            query = sqlalchemy.select(self.table, album).join(album)
            row = await self.database.fetch_one(query)
            return self.model_cls.from_row(row, select_related=["album"])

    class Base(orm.Model):
        __abstract__ = True
        __metadata__ = metadata
        __database__ = database
        objects = Raw()

    class Album(Base):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=20)
        uid = orm.UUID(allow_null=True)

    class Track(Base):
        id = orm.Integer(primary_key=True)
        album = orm.ForeignKey(Album)
        title = orm.String(max_length=20, column="name")

    engine = sqlalchemy.create_engine("sqlite:///own.sqlite")
    metadata.create_all(engine)
    engine.dispose()
    return database, Album, Track


async def test_a_queryset_knows_its_database_its_table_and_its_key(own):
    database, album, _ = own
    assert album.objects.database is database
    assert album.objects.table is album.__table__
    assert album.objects.pkname == "id"


def test_the_database_of_a_url_is_ours():
    class Thing(orm.Model):
        __metadata__ = orm.MetaData()
        __database__ = "sqlite:///thing.sqlite"
        id = orm.Integer(primary_key=True)

    assert isinstance(Thing.objects.database, orm.Database)


async def test_instances_from_rows_of_databases(own):
    database, album, track = own
    uid = uuid.UUID(int=5)
    async with database:
        malibu = await album.objects.create(name="Malibu", uid=uid)
        bird = await track.objects.create(album=malibu, title="The Bird")
        (read,) = await album.objects.rows()
        assert read == malibu
        assert (read.name, read.uid) == ("Malibu", uid)
        read.name = "Venice"
        await read.save()  # an update: the row is known to exist
        assert await album.objects.count() == 1
        (row,) = await track.objects.rows()
        assert (row.pk, row.title, str(row.album)) == (bird.pk, "The Bird", "Album(id=1) [sparse]")
        joined = await track.objects.joined()
        assert (joined.title, joined.album.name) == ("The Bird", "Venice")
        assert not joined.album.is_sparse


def test_a_row_without_some_columns_is_sparse(own):
    _, album, _ = own
    found = album.from_row({"id": 3})
    assert str(found) == "Album(id=3) [sparse]"
    assert album._from_row({"id": 3, "name": "x", "uid": None}) == found


# ---- arguments that typesystem's fields took


@pytest.mark.parametrize(
    ("field", "given", "refused", "text"),
    [
        (orm.Integer(coerce_types=False), 5, "5", "Must be a number."),
        (orm.Decimal(5, 2, coerce_types=False), 5, "5", "Must be a number."),
        (orm.Boolean(coerce_types=False), True, 1, "Must be a boolean."),
        (orm.Boolean(coerce_types=False), False, "off", "Must be a boolean."),
        (orm.String(max_length=20, format="email"), "a@b.co", "a", "Must be a valid email format."),
        (orm.Text(format="url"), "http://x", "x", "Must be a real URL."),
        (orm.String(max_length=20, coerce_types=True), "a", 5, "Must be a string."),
    ],
)
def test_formats_and_types_that_are_not_coerced(field, given, refused, text):
    body = {"__metadata__": orm.MetaData(), "id": orm.Integer(primary_key=True), "value": field}
    thing = type(orm.Model)("Thing", (orm.Model,), body)
    assert thing(value=given).value == field.validate(given) == given
    with pytest.raises(orm.ValidationError) as caught:
        thing(value=refused)
    assert dict(caught.value) == {"value": text}
    with pytest.raises(orm.ValidationError) as caught:
        field.validate(refused)
    assert str(caught.value) == text
