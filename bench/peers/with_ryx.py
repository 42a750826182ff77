"""Ryx."""

from importlib.metadata import version

import ryx
from peer import Peer, serve
from ryx import CharField, FloatField, IntField, Model


class Track(Model):
    album = IntField()
    title = CharField(max_length=100)
    position = IntField()
    rating = FloatField()

    class Meta:
        table_name = "track"


class Scratch(Model):
    album = IntField()
    title = CharField(max_length=100)
    position = IntField()
    rating = FloatField()

    class Meta:
        table_name = "scratch"


class Ryx(Peer):
    name = f"Ryx {version('ryx')}"

    async def open(self, path):
        await ryx.setup(f"sqlite://{path}")

    async def get(self, id):
        return await Track.objects.get(id=id)

    async def all(self):
        return await Track.objects.order_by("id")[:1_000]

    async def create(self, **values):
        return await Scratch.objects.create(**values)


serve(Ryx)
