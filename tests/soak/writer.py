"""Writes rows until it is killed: `writer.py URL ACKS`.

Five tasks create rows of random size; each row that the database has acknowledged is a line
"key size" in the file ACKS.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

import orm

metadata = orm.MetaData()
database = orm.Database(sys.argv[1])


class Thing(orm.Model):
    __metadata__ = metadata
    __database__ = database
    id = orm.Integer(primary_key=True)
    name = orm.Text(allow_blank=True)


async def write(acks: int) -> None:
    while True:
        size = random.choice([0, 10, 300, 9000])
        row = await Thing.objects.create(name="x" * size)
        os.write(acks, b"%d %d\n" % (row.pk, size))


async def main() -> None:
    await orm.create_all(metadata, database)
    acks = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    await asyncio.gather(*(write(acks) for _ in range(5)))


asyncio.run(main())
