"""Yara ORM."""

from importlib.metadata import version

from peer import Peer, serve
from yara_orm import Model, YaraOrm, fields


class Track(Model):
    id = fields.IntField(pk=True)
    album = fields.IntField()
    title = fields.CharField(max_length=100)
    position = fields.IntField()
    rating = fields.FloatField()

    class Meta:
        table = "track"


class Scratch(Model):
    id = fields.IntField(pk=True)
    album = fields.IntField()
    title = fields.CharField(max_length=100)
    position = fields.IntField()
    rating = fields.FloatField()

    class Meta:
        table = "scratch"


class Yara(Peer):
    name = f"Yara {version('yara-orm')}"

    async def open(self, path):
        await YaraOrm.init(f"sqlite:///{path}")

    async def get(self, id):
        return await Track.get(id=id)

    async def all(self):
        return await Track.all().order_by("id").limit(1_000)

    async def create(self, **values):
        return await Scratch.create(**values)

    async def close(self):
        await YaraOrm.close()


serve(Yara)
