"""Piccolo."""

from importlib.metadata import version

from peer import Peer, serve
from piccolo.columns import Integer, Real, Serial, Varchar
from piccolo.engine.sqlite import SQLiteEngine
from piccolo.table import create_table_class


class Piccolo(Peer):
    name = f"Piccolo {version('piccolo')}"

    async def open(self, path):
        engine = SQLiteEngine(path=path)
        self.track, self.scratch = (
            create_table_class(
                table.capitalize(),
                class_kwargs={"tablename": table, "db": engine},
                class_members={
                    "id": Serial(primary_key=True),
                    "album": Integer(),
                    "title": Varchar(100),
                    "position": Integer(),
                    "rating": Real(),
                },
            )
            for table in ("track", "scratch")
        )

    async def get(self, id):
        return await self.track.objects().get(self.track.id == id)

    async def all(self):
        return await self.track.objects().order_by(self.track.id).limit(1_000)

    async def create(self, **values):
        row = self.scratch(**values)
        await row.save()
        return row


serve(Piccolo)
