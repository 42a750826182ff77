"""liborm, on an orm.Database or (PEER_DATABASES=1) on a databases.Database."""

import os

from peer import Peer, serve

import orm

FIELDS = {
    "album": lambda: orm.Integer(),
    "title": lambda: orm.String(max_length=100),
    "position": lambda: orm.Integer(),
    "rating": lambda: orm.Float(),
}


class Liborm(Peer):
    async def open(self, path):
        if os.environ.get("PEER_DATABASES"):
            import databases

            self.name = "liborm on databases"
            self.database = databases.Database(f"sqlite:///{path}")
        else:
            self.name = "liborm"
            self.database = orm.Database(f"sqlite:///{path}")
        await self.database.connect()
        self.tracks, self.scratch = (self.model(name) for name in ("track", "scratch"))
        self.page = self.tracks.objects.order_by("id").limit(1_000)
        self.create = self.scratch.objects.create

    def model(self, table):
        body = {"__tablename__": table, "__database__": self.database}
        body |= {"__metadata__": orm.MetaData(), "id": orm.Integer(primary_key=True)}
        return type(orm.Model)(table, (orm.Model,), body | {n: f() for n, f in FIELDS.items()})

    def get(self, id):
        return self.tracks.objects.get(id=id)

    def all(self):
        return self.page.all()

    async def close(self):
        await self.database.disconnect()


serve(Liborm)
