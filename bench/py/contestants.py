"""The contestants: the same questions asked by the standard library and by us.

A contestant offers methods named after the workloads; each runs its workload once, inside the
timer, and returns the number of units (calls or rows) that it did.  `check` methods run outside
the timer and prove that the answers are right.
"""

from __future__ import annotations

import asyncio
import pathlib
import sqlite3
import subprocess
import time

import orm

TRACKS = 10_000
ALBUMS = 1_000
GETS = 2_000
AT_ONCE = 100
BULK = 1_000

SCHEMA = """
CREATE TABLE album (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(100) NOT NULL);
CREATE TABLE track (id INTEGER NOT NULL PRIMARY KEY, album INTEGER NOT NULL REFERENCES album (id),
    title VARCHAR(100) NOT NULL, position INTEGER NOT NULL, rating FLOAT NOT NULL);
CREATE TABLE scratch (id INTEGER NOT NULL PRIMARY KEY, album INTEGER NOT NULL,
    title VARCHAR(100) NOT NULL, position INTEGER NOT NULL, rating FLOAT NOT NULL);
"""


def make_database(path: pathlib.Path) -> None:
    """A fresh WAL database of 1,000 albums and 10,000 tracks of five columns."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=wal")
    connection.executescript(SCHEMA)
    connection.executemany(
        "INSERT INTO album VALUES (?, ?)", ((i, f"album number {i}") for i in range(1, ALBUMS + 1))
    )
    connection.executemany(
        "INSERT INTO track VALUES (?, ?, ?, ?, ?)",
        (
            (i, 1 + i % ALBUMS, f"the title of track {i}", 1 + i // ALBUMS, i * 0.37)
            for i in range(1, TRACKS + 1)
        ),
    )
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(truncate)")
    connection.close()


def key(i: int) -> int:
    return 1 + (i * 7919) % TRACKS


class Stdlib:
    """sqlite3 of the standard library: synchronous, tuples, autocommit, prepared by its cache."""

    name = "stdlib sqlite3"
    COLUMNS = "SELECT id, album, title, position, rating FROM track"
    INSERT = "INSERT INTO scratch (album, title, position, rating) VALUES (?, ?, ?, ?)"
    JOIN = (
        "SELECT t.id, t.album, t.title, t.position, t.rating, a.id, a.name"
        " FROM track t JOIN album a ON a.id = t.album"
    )

    def __init__(self, path: pathlib.Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=wal")
        self.db.execute("PRAGMA synchronous=normal")
        self.rows = [(1, "a title of usual length", i, i * 0.5) for i in range(BULK)]

    def close(self) -> None:
        self.db.close()

    def get(self) -> int:
        execute = self.db.execute
        sql = self.COLUMNS + " WHERE id = ?"
        for i in range(GETS):
            execute(sql, (key(i),)).fetchone()
        return GETS

    def gets100(self) -> int:
        execute = self.db.execute
        sql = self.COLUMNS + " WHERE id = ?"
        for i in range(AT_ONCE):
            execute(sql, (key(i),)).fetchone()
        return AT_ONCE

    def filter(self) -> int:
        execute = self.db.execute
        sql = self.JOIN + " WHERE a.name = ?"
        for i in range(20):
            execute(sql, (f"album number {i + 1}",)).fetchall()
        return 20

    def count(self) -> int:
        execute = self.db.execute
        for _ in range(200):
            execute("SELECT count(*) FROM track WHERE id = ?", (5,)).fetchone()
        return 200

    def all(self) -> int:
        return len(self.db.execute(self.COLUMNS).fetchall())

    def related(self) -> int:
        return len(self.db.execute(self.JOIN).fetchall())

    def create(self) -> int:
        execute = self.db.execute
        for i in range(200):
            execute(self.INSERT, (1, "a title of usual length", i, i * 0.5))
        return 200

    def creates100(self) -> int:
        execute = self.db.execute
        for i in range(AT_ONCE):
            execute(self.INSERT, (1, "a title of usual length", i, i * 0.5))
        return AT_ONCE

    def save(self) -> int:
        execute = self.db.execute
        for i in range(200):
            execute("UPDATE track SET position = ? WHERE id = ?", (i, key(i)))
        return 200

    def bulk(self) -> int:
        self.db.execute("BEGIN")
        self.db.executemany(self.INSERT, self.rows)
        self.db.execute("COMMIT")
        return BULK


class Floor:
    """The raw C loop over the same library, in a process of its own (bench/c/floor.c)."""

    name = "raw C"
    COUNTS = {
        "get": 20_000,
        "get_tx": 20_000,
        "all": 5,
        "related": 5,
        "create": 1_000,
        "bulk": 20_000,
    }

    def __init__(self, path: pathlib.Path, binary: pathlib.Path) -> None:
        self.path, self.binary = path, binary

    def close(self) -> None:
        pass

    def nanoseconds(self, workload: str) -> float:
        command = [str(self.binary), str(self.path), workload, str(self.COUNTS[workload])]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Models:
    """liborm: `await` on models, every type check, error and cancellation in place."""

    def __init__(self, name: str, database: orm.Database, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.loop = loop
        self.database = database
        self.metadata = metadata = orm.MetaData()

        class Album(orm.Model):
            __tablename__ = "album"
            __metadata__ = metadata
            __database__ = database
            id = orm.Integer(primary_key=True)
            name = orm.String(max_length=100)

        class Track(orm.Model):
            __tablename__ = "track"
            __metadata__ = metadata
            __database__ = database
            id = orm.Integer(primary_key=True)
            album = orm.ForeignKey(Album)
            title = orm.String(max_length=100)
            position = orm.Integer()
            rating = orm.Float()

        class Scratch(orm.Model):
            __tablename__ = "scratch"
            __metadata__ = metadata
            __database__ = database
            id = orm.Integer(primary_key=True)
            album = orm.Integer()
            title = orm.String(max_length=100)
            position = orm.Integer()
            rating = orm.Float()

        self.Album, self.Track, self.Scratch = Album, Track, Scratch
        self.tracks: list[orm.Model] = []
        self.rows = [
            {"album": 1, "title": "a title of usual length", "position": i, "rating": i * 0.5}
            for i in range(BULK)
        ]

    def connect(self) -> None:
        """Once its tables are there."""
        self.loop.run_until_complete(self.database.connect())
        self.tracks = self.loop.run_until_complete(self.take(200))

    async def take(self, n: int) -> list[orm.Model]:
        return [await self.Track.objects.get(id=key(i)) for i in range(n)]

    def close(self) -> None:
        self.loop.run_until_complete(self.database.disconnect())

    async def get(self) -> int:
        Track = self.Track
        for i in range(GETS):
            await Track.objects.get(id=key(i))
        return GETS

    async def gets100(self) -> int:
        Track = self.Track
        await asyncio.gather(*[Track.objects.get(id=key(i)) for i in range(AT_ONCE)])
        return AT_ONCE

    async def filter(self) -> int:
        Track = self.Track
        for i in range(20):
            await Track.objects.filter(album__name=f"album number {i + 1}").all()
        return 20

    async def count(self) -> int:
        Track = self.Track
        for _ in range(200):
            await Track.objects.filter(id=5).count()
        return 200

    async def all(self) -> int:
        return len(await self.Track.objects.all())

    async def related(self) -> int:
        return len(await self.Track.objects.select_related("album").all())

    async def create(self) -> int:
        Scratch = self.Scratch
        for i in range(200):
            await Scratch.objects.create(
                album=1, title="a title of usual length", position=i, rating=i * 0.5
            )
        return 200

    async def creates100(self) -> int:
        create = self.Scratch.objects.create
        await asyncio.gather(
            *[
                create(album=1, title="a title of usual length", position=i, rating=i * 0.5)
                for i in range(AT_ONCE)
            ]
        )
        return AT_ONCE

    async def save(self) -> int:
        for i, track in enumerate(self.tracks):
            track.position = -track.position - i
            await track.save()
        return len(self.tracks)

    async def bulk(self) -> int:
        await self.Scratch.objects.bulk_create(self.rows)
        return BULK

    def check(self) -> None:
        """The answers of the workloads are right (outside the timer)."""
        run = self.loop.run_until_complete
        track = run(self.Track.objects.get(id=4711))
        assert (track.id, track.title) == (4711, "the title of track 4711"), track
        assert track.album.pk == 1 + 4711 % ALBUMS
        tracks = run(self.Track.objects.select_related("album").all())
        assert len(tracks) == TRACKS and tracks[5].album.name.startswith("album number ")
        assert len({id(t.album) for t in tracks}) == ALBUMS, "one object per album"
        assert (
            len(run(self.Track.objects.filter(album__name="album number 7").all()))
            == TRACKS // ALBUMS
        )


class Ours(Models):
    """liborm on the SQLite file."""

    def __init__(self, path: pathlib.Path, loop: asyncio.AbstractEventLoop, shared: bool) -> None:
        url = f"sqlite:///{path}?journal_mode=wal&synchronous=normal"
        database = orm.Database(url if shared else url + "&shared_reads=off")
        super().__init__("orm, shared reads" if shared else "orm", database, loop)
        self.connect()


def seconds(contestant: object, workload: str, loop: asyncio.AbstractEventLoop) -> float:
    """One run of a workload: seconds per unit."""
    if isinstance(contestant, Floor):
        return contestant.nanoseconds(workload) * 1e-9
    method = getattr(contestant, workload)
    if isinstance(contestant, Ours):

        async def timed() -> tuple[float, int]:
            start = time.perf_counter()
            units = await method()
            return time.perf_counter() - start, units

        took, units = loop.run_until_complete(timed())
    else:
        start = time.perf_counter()
        units = method()
        took = time.perf_counter() - start
    return took / units
