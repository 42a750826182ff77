"""The guide's story as a program: `python examples/music.py [url]`."""

from __future__ import annotations

import asyncio
import sys

import orm

metadata = orm.MetaData()
database = orm.Database(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///:memory:")


class Album(orm.Model):
    __metadata__ = metadata
    __database__ = database

    id = orm.Integer(primary_key=True)
    name = orm.String(max_length=100)


class Track(orm.Model):
    __metadata__ = metadata
    __database__ = database

    id = orm.Integer(primary_key=True)
    album = orm.ForeignKey(Album, on_delete=orm.CASCADE)
    title = orm.String(max_length=100)
    position = orm.Integer()


async def fill() -> None:
    malibu = await Album.objects.create(name="Malibu")
    titles = ["The Bird", "Heart don't stand a chance", "The Waters"]
    await Track.objects.bulk_create(
        {"album": malibu, "title": title, "position": position}
        for position, title in enumerate(titles, 1)
    )
    async with database.transaction():
        fantasies = await Album.objects.create(name="Fantasies")
        await Track.objects.create(album=fantasies, title="Help I'm Alive", position=1)
        await Track.objects.create(album=fantasies, title="Sick Muse", position=2)


def show(track: Track) -> None:
    print(f"{track.album.name} {track.position}: {track.title}")


async def main() -> None:
    await orm.create_all(metadata, database)
    await fill()

    track = await Track.objects.get(title="The Bird")
    print(track.album)
    album = await track.album.load()
    print(album.name)

    async for found in Track.objects.select_related("album").order_by("album__name", "position"):
        show(found)

    names = await Track.objects.filter(album__name__iexact="fantasies").count()
    print(f"{names} tracks on Fantasies")
    try:
        await Track.objects.get(title="The Wave")
    except orm.NoMatch as error:
        print(f"no match: {error}")
    await database.disconnect()


if __name__ == "__main__":
    asyncio.run(main())
