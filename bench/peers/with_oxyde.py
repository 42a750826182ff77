"""oxyde."""

from importlib.metadata import version

from oxyde import Field, Model, db
from peer import Peer, serve


class Track(Model):
    id: int | None = Field(default=None, db_pk=True)
    album: int
    title: str
    position: int
    rating: float

    class Meta:
        is_table = True
        table_name = "track"


class Scratch(Model):
    id: int | None = Field(default=None, db_pk=True)
    album: int
    title: str
    position: int
    rating: float

    class Meta:
        is_table = True
        table_name = "scratch"


class Oxyde(Peer):
    name = f"oxyde {version('oxyde')}"

    async def open(self, path):
        await db.init(default=f"sqlite://{path}")

    def get(self, id):
        return Track.objects.get(id=id)

    def all(self):
        return Track.objects.order_by("id").limit(1_000).all()

    def create(self, **values):
        return Scratch.objects.create(**values)

    async def close(self):
        await db.close()


serve(Oxyde)
