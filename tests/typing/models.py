"""What type checkers see, without a plugin.  Never run: mypy --strict and pyright read it; every
line that is wrong says so, and a comment too many is an error as well."""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from typing import Any, ClassVar

from typing_extensions import Self, assert_type

import orm

database = orm.Database("sqlite:///db.sqlite", journal_mode="wal", tasks="join")


class Color(enum.Enum):
    RED = 1


class Album(orm.Model):
    __database__ = database
    tracks: orm.Reverse[Track]

    id = orm.Integer(primary_key=True)
    name = orm.String(max_length=100)


class Track(orm.Model):
    __tablename__ = "tracks"
    __database__ = database
    __table_args__ = (orm.Index("title"), orm.UniqueConstraint("album", "position"))

    id = orm.UUID(primary_key=True, default=uuid.uuid4)
    album = orm.ForeignKey(Album, on_delete=orm.CASCADE, related_name="tracks")
    single = orm.OneToOne(Album, allow_null=True)
    later: orm.ForeignKey[Album] = orm.ForeignKey("Album")
    title = orm.String(max_length=100)
    subtitle = orm.Text(allow_null=True)
    position = orm.Integer(minimum=1)
    rank = orm.SmallInteger(allow_null=True)
    length = orm.Float()
    price = orm.Decimal(10, 2)
    discount = orm.Decimal(max_digits=10, decimal_places=2, allow_null=True)
    live = orm.Boolean(default=False)
    made = orm.DateTime(auto_now_add=True, timezone=True)
    day = orm.Date(allow_null=True)
    span = orm.Interval()
    color = orm.Enum(Color)
    shade = orm.Enum(Color, allow_null=True)
    data = orm.Binary()
    extra = orm.JSON()
    tags = orm.Array(orm.Text())


async def reading() -> None:
    track = await Track.objects.get(title="The Bird")
    assert_type(track, Track)
    assert_type(track.id, uuid.UUID)
    assert_type(track.album, Album)
    assert_type(track.album.name, str)
    assert_type(track.single, "Album | None")
    assert_type(track.later, Album)
    assert_type(track.title, str)
    assert_type(track.subtitle, "str | None")
    assert_type(track.position, int)
    assert_type(track.rank, "int | None")
    assert_type(track.length, float)
    assert_type(track.price, decimal.Decimal)
    assert_type(track.discount, "decimal.Decimal | None")
    assert_type(track.live, bool)
    assert_type(track.made, datetime.datetime)
    assert_type(track.day, "datetime.date | None")
    assert_type(track.span, datetime.timedelta)
    assert_type(track.color, Color)
    assert_type(track.shade, "Color | None")
    assert_type(track.data, bytes)
    assert_type(track.extra, Any)
    assert_type(track.tags, "list[str]")


async def asking() -> None:
    query = Track.objects.filter(album__name="Malibu").exclude(position=1).order_by("-title")[:5]
    assert_type(query, "orm.QuerySet[Track]")
    assert_type(await query, "list[Track]")
    assert_type(await query.all(), "list[Track]")
    assert_type(await query.first(), "Track | None")
    assert_type(await query.count(), int)
    assert_type(await query.exists(), bool)
    assert_type(await query.update(title="x"), int)
    assert_type(await query.get_or_create(title="x"), "tuple[Track, bool]")
    assert_type(await Album.objects.create(name="x"), Album)
    assert_type(await Album.objects.bulk_create([{"name": "x"}]), "list[Album]")
    assert_type(query[0], Track)
    assert_type(len(query), int)
    assert_type([track.title for track in query], "list[str]")
    assert_type(await query.get_or_none(title="x"), "Track | None")
    assert_type(await database.gather(query.count(), query.first()), "list[Any]")
    async for track in query:
        assert_type(track, Track)
        assert_type(await track.album.load(), Album)
        assert_type(await track.save(), None)
        assert_type(track.objects, "orm.QuerySet[Track]")


async def relations(album: Album) -> None:
    assert_type(album.tracks, "orm.QuerySet[Track]")
    assert_type(await album.tracks.filter(title="x"), "list[Track]")
    with orm.fetch_mode("one"):
        await album.load()
    stop = orm.on_implicit_load(lambda load: print(load.relation, load.line))
    assert_type(stop(), None)
    database.on_statement(lambda event: print(event.sql))()
    await orm.create_all(orm.MetaData())


def on_the_class() -> None:
    assert_type(Album.tracks, "orm.Reverse[Track]")
    assert_type(Track.album, "type[Album]")
    assert_type(Track.single, "type[Album]")
    assert_type(Track.album.name, "orm.String[str]")
    assert_type(Track.fields, "dict[str, orm.fields.Field[Any]]")


def setting(track: Track, album: Album) -> None:
    track.title = "x"
    track.subtitle = None
    track.album = album
    track.album = 5
    track.single = None


@database.transaction(tasks="detach")
async def decorated(name: str) -> Album:
    async with database.transaction() as transaction:
        assert_type(transaction, orm.Transaction)
    return await Album.objects.create(name=name)


async def wrong(track: Track, album: Album) -> None:
    print(track.titel)  # type: ignore[attr-defined] # pyright: ignore
    print(track.album.nam)  # type: ignore[attr-defined] # pyright: ignore
    print(Track.titel)  # type: ignore[attr-defined] # pyright: ignore
    track.title = 5  # type: ignore[assignment] # pyright: ignore
    track.title = None  # type: ignore[assignment] # pyright: ignore
    track.album = track  # type: ignore[assignment] # pyright: ignore
    orm.fetch_mode("all")  # type: ignore[arg-type] # pyright: ignore
    await Track.objects.nope()  # type: ignore[attr-defined] # pyright: ignore
    len(await Track.objects.count())  # type: ignore[arg-type] # pyright: ignore
    assert_type(await decorated("x"), Album)
    await decorated(5)  # type: ignore[arg-type] # pyright: ignore


class Wrong(orm.Model):
    a = orm.String()  # type: ignore[call-overload] # pyright: ignore
    b = orm.Integer(nope=1)  # type: ignore[call-overload] # pyright: ignore
    c = orm.Integer(default=1, minimum="x")  # type: ignore[call-overload] # pyright: ignore
    d = orm.Decimal(10)  # type: ignore[call-overload] # pyright: ignore
    e = orm.ForeignKey(int)  # type: ignore[type-var] # pyright: ignore
    f = orm.ForeignKey(Album, on_delete="explode")  # type: ignore[call-overload] # pyright: ignore


# ---- models in a registry: fields are a dict, so that their types are not known ----------------

registry = orm.ModelRegistry(database="sqlite:///x.db")


class Venue(orm.Model):
    registry = registry
    tablename = "venues"
    fields = {
        "id": orm.Integer(primary_key=True),
        "name": orm.String(max_length=10),
        "album": orm.ForeignKey("Album", allow_null=True),
    }


async def registries() -> None:
    await registry.create_all()
    found = await Venue.objects.filter(Venue.columns.name == "x", id=1).get()
    assert_type(found, Venue)
    assert_type(Venue.tablename, str)
    assert_type(Venue.pkname, str | None)
    await Venue.objects.bulk_update([found], ["name"])
    await Venue.objects.bulk_create([{"name": "x"}])
    await registry.drop_all()


# ---- a queryset of one's own -------------------------------------------------------------------
# mypy knows it from the assignment; pyright takes the declaration of orm.Model unless there is one


class CityQuerySet(orm.QuerySet["City"]):
    def large(self) -> Self:
        return self.filter(people__gt=1_000_000)


class City(orm.Model):
    objects: ClassVar[CityQuerySet] = CityQuerySet()  # pyright: ignore
    id = orm.Integer(primary_key=True)
    people = orm.Integer()


async def own_querysets() -> None:
    assert_type(City.objects, CityQuerySet)
    assert_type(City.objects.large().limit(3), CityQuerySet)
    assert_type(await City.objects.large().first(), City | None)
    assert_type(await City.objects.large().all(), list[City])
    City.objects.lagre()  # type: ignore[attr-defined] # pyright: ignore
