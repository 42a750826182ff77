"""encode/orm, its last release, on databases and SQLAlchemy 1.4."""

import warnings

import databases
from peer import Peer, serve

import orm

warnings.simplefilter("ignore")


class EncodeOrm(Peer):
    name = f"encode/orm {orm.__version__}"

    async def open(self, path):
        self.database = databases.Database(f"sqlite:///{path}")
        await self.database.connect()
        models = orm.ModelRegistry(database=self.database)

        def fields():
            return {
                "id": orm.Integer(primary_key=True),
                "album": orm.Integer(),
                "title": orm.String(max_length=100),
                "position": orm.Integer(),
                "rating": orm.Float(),
            }

        self.tracks, self.scratch = (
            type(orm.Model)(
                table, (orm.Model,), {"registry": models, "tablename": table, "fields": fields()}
            )
            for table in ("track", "scratch")
        )

    def get(self, id):
        return self.tracks.objects.get(id=id)

    def all(self):
        return self.tracks.objects.order_by("id").limit(1_000).all()

    def create(self, **values):
        return self.scratch.objects.create(**values)

    async def close(self):
        await self.database.disconnect()


serve(EncodeOrm)
