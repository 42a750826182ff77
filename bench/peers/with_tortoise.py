"""Tortoise ORM."""

from importlib.metadata import version

from peer import Peer, serve
from tortoise import Tortoise, fields
from tortoise.models import Model


class Columns(Model):
    id = fields.IntField(primary_key=True)
    album = fields.IntField()
    title = fields.CharField(max_length=100)
    position = fields.IntField()
    rating = fields.FloatField()

    class Meta:
        abstract = True


class Track(Columns):
    class Meta:
        table = "track"


class Scratch(Columns):
    class Meta:
        table = "scratch"


class TortoisePeer(Peer):
    name = f"Tortoise {version('tortoise-orm')}"

    async def open(self, path):
        await Tortoise.init(db_url=f"sqlite://{path}", modules={"models": ["__main__"]})

    def get(self, id):
        return Track.get(id=id)

    def all(self):
        return Track.all().order_by("id").limit(1_000)

    def create(self, **values):
        return Scratch.create(**values)

    async def close(self):
        await Tortoise.close_connections()


serve(TortoisePeer)
