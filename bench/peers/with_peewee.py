"""peewee, which is synchronous."""

import peewee
from peer import Peer, serve

database = peewee.SqliteDatabase(None)


class Columns(peewee.Model):
    album = peewee.IntegerField()
    title = peewee.CharField(max_length=100)
    position = peewee.IntegerField()
    rating = peewee.FloatField()


class Track(Columns):
    class Meta:
        database = database
        table_name = "track"


class Scratch(Columns):
    class Meta:
        database = database
        table_name = "scratch"


class Peewee(Peer):
    name = f"peewee {peewee.__version__}, synchronous"

    async def open(self, path):
        database.init(path)
        database.connect()

    async def get(self, id):
        return Track.get_by_id(id)

    async def all(self):
        return list(Track.select().order_by(Track.id).limit(1_000))

    async def create(self, **values):
        return Scratch.create(**values)


serve(Peewee)
