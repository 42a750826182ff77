"""The peers on servers: asyncpg, psycopg 3 and asyncmy, asked the same questions.

Each is used as its manual says to use it when speed counts: prepared statements, binary results
where there are any, rows as it delivers them (Records, tuples).  A peer of one connection has no
workload of 100 at once: it cannot have two statements under way.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Callable, Coroutine
from typing import Any

from contestants import ALBUMS, AT_ONCE, BULK, GETS, TRACKS, key

TITLE = "a title of usual length"
COLUMNS = "SELECT id, album, title, position, rating FROM track"
JOIN = (
    "SELECT t.id, t.album, t.title, t.position, t.rating, a.id, a.name"
    " FROM track t JOIN album a ON a.id = t.album"
)
INSERT = "INSERT INTO scratch (album, title, position, rating) VALUES "
ROWS = [(1, TITLE, i, i * 0.5) for i in range(BULK)]
POOL = 10


async def at_once(make: Callable[[int], Coroutine[Any, Any, object]]) -> int:
    await asyncio.gather(*[make(i) for i in range(AT_ONCE)])
    return AT_ONCE


class Asyncpg:
    """One connection, each statement prepared by hand."""

    name = "asyncpg, one"

    async def connect(self, url: str) -> None:
        import asyncpg

        self.connection = connection = await asyncpg.connect(url)
        self.by_id = await connection.prepare(COLUMNS + " WHERE id = $1")
        self.every = await connection.prepare(COLUMNS)
        self.join = await connection.prepare(JOIN)
        self.by_album = await connection.prepare(JOIN + " WHERE a.name = $1")
        self.insert = await connection.prepare(INSERT + "($1, $2, $3, $4) RETURNING id")

    async def close(self) -> None:
        await self.connection.close()

    async def get(self) -> int:
        fetchrow = self.by_id.fetchrow
        for i in range(GETS):
            await fetchrow(key(i))
        return GETS

    async def filter(self) -> int:
        for i in range(20):
            await self.by_album.fetch(f"album number {i + 1}")
        return 20

    async def all(self) -> int:
        return len(await self.every.fetch())

    async def related(self) -> int:
        return len(await self.join.fetch())

    async def create(self) -> int:
        fetchval = self.insert.fetchval
        for i in range(200):
            await fetchval(1, TITLE, i, i * 0.5)
        return 200

    async def bulk(self) -> int:
        await self.connection.executemany(INSERT + "($1, $2, $3, $4)", ROWS)
        return BULK

    async def check(self) -> None:
        assert (await self.by_id.fetchrow(4711))[2] == "the title of track 4711"
        assert await self.all() == TRACKS
        assert len(await self.by_album.fetch("album number 7")) == TRACKS // ALBUMS


class AsyncpgPool:
    """Its pool, whose connections prepare what they see by themselves."""

    name = "asyncpg, pool"

    async def connect(self, url: str) -> None:
        import asyncpg

        self.pool = await asyncpg.create_pool(url, min_size=POOL, max_size=POOL)

    async def close(self) -> None:
        await self.pool.close()

    async def get(self) -> int:
        fetchrow, sql = self.pool.fetchrow, COLUMNS + " WHERE id = $1"
        for i in range(GETS):
            await fetchrow(sql, key(i))
        return GETS

    async def gets100(self) -> int:
        fetchrow, sql = self.pool.fetchrow, COLUMNS + " WHERE id = $1"
        return await at_once(lambda i: fetchrow(sql, key(i)))

    async def filter(self) -> int:
        for i in range(20):
            await self.pool.fetch(JOIN + " WHERE a.name = $1", f"album number {i + 1}")
        return 20

    async def all(self) -> int:
        return len(await self.pool.fetch(COLUMNS))

    async def related(self) -> int:
        return len(await self.pool.fetch(JOIN))

    async def create(self) -> int:
        fetchval, sql = self.pool.fetchval, INSERT + "($1, $2, $3, $4) RETURNING id"
        for i in range(200):
            await fetchval(sql, 1, TITLE, i, i * 0.5)
        return 200

    async def creates100(self) -> int:
        fetchval, sql = self.pool.fetchval, INSERT + "($1, $2, $3, $4) RETURNING id"
        return await at_once(lambda i: fetchval(sql, 1, TITLE, i, i * 0.5))

    async def bulk(self) -> int:
        await self.pool.executemany(INSERT + "($1, $2, $3, $4)", ROWS)
        return BULK


class Psycopg:
    """psycopg 3 on one connection in autocommit; the pool for what is at once."""

    name = "psycopg 3"

    async def connect(self, url: str) -> None:
        import psycopg
        import psycopg_pool

        self.connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        self.pool = psycopg_pool.AsyncConnectionPool(
            url, min_size=POOL, max_size=POOL, open=False, kwargs={"autocommit": True}
        )
        await self.pool.open(wait=True)

    async def close(self) -> None:
        await self.pool.close()
        await self.connection.close()

    async def get(self) -> int:
        execute, sql = self.connection.execute, COLUMNS + " WHERE id = %s"
        for i in range(GETS):
            await (await execute(sql, (key(i),), prepare=True, binary=True)).fetchone()
        return GETS

    async def pooled(self, sql: str, values: tuple[object, ...]) -> object:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(sql, values, prepare=True, binary=True)
            return await cursor.fetchone()

    async def gets100(self) -> int:
        return await at_once(lambda i: self.pooled(COLUMNS + " WHERE id = %s", (key(i),)))

    async def many(self, sql: str, values: tuple[object, ...] = ()) -> int:
        cursor = await self.connection.execute(sql, values, prepare=True, binary=True)
        return len(await cursor.fetchall())

    async def filter(self) -> int:
        for i in range(20):
            await self.many(JOIN + " WHERE a.name = %s", (f"album number {i + 1}",))
        return 20

    async def all(self) -> int:
        return await self.many(COLUMNS)

    async def related(self) -> int:
        return await self.many(JOIN)

    async def create(self) -> int:
        execute, sql = self.connection.execute, INSERT + "(%s, %s, %s, %s) RETURNING id"
        for i in range(200):
            await (await execute(sql, (1, TITLE, i, i * 0.5), prepare=True)).fetchone()
        return 200

    async def creates100(self) -> int:
        sql = INSERT + "(%s, %s, %s, %s) RETURNING id"
        return await at_once(lambda i: self.pooled(sql, (1, TITLE, i, i * 0.5)))

    async def bulk(self) -> int:
        async with self.connection.cursor() as cursor:
            await cursor.executemany(INSERT + "(%s, %s, %s, %s)", ROWS)
        return BULK


class Asyncmy:
    """asyncmy on one connection; the pool for what is at once."""

    name = "asyncmy"

    async def connect(self, url: str) -> None:
        import asyncmy

        parts = urllib.parse.urlsplit(url)
        arguments = {
            "host": parts.hostname,
            "port": parts.port,
            "user": parts.username,
            "password": parts.password,
            "db": parts.path[1:],
            "autocommit": True,
        }
        self.connection = await asyncmy.connect(**arguments)
        self.pool = await asyncmy.create_pool(minsize=POOL, maxsize=POOL, **arguments)

    async def close(self) -> None:
        self.pool.close()
        await self.pool.wait_closed()
        await self.connection.ensure_closed()

    async def one(self, connection: Any, sql: str, values: tuple[object, ...]) -> object:
        async with connection.cursor() as cursor:
            await cursor.execute(sql, values)
            return await cursor.fetchone()

    async def pooled(self, sql: str, values: tuple[object, ...]) -> object:
        async with self.pool.acquire() as connection:
            return await self.one(connection, sql, values)

    async def get(self) -> int:
        sql, connection = COLUMNS + " WHERE id = %s", self.connection
        for i in range(GETS):
            await self.one(connection, sql, (key(i),))
        return GETS

    async def gets100(self) -> int:
        return await at_once(lambda i: self.pooled(COLUMNS + " WHERE id = %s", (key(i),)))

    async def many(self, sql: str, values: tuple[object, ...] = ()) -> int:
        async with self.connection.cursor() as cursor:
            await cursor.execute(sql, values)
            return len(await cursor.fetchall())

    async def filter(self) -> int:
        for i in range(20):
            await self.many(JOIN + " WHERE a.name = %s", (f"album number {i + 1}",))
        return 20

    async def all(self) -> int:
        return await self.many(COLUMNS)

    async def related(self) -> int:
        return await self.many(JOIN)

    async def create(self) -> int:
        sql = INSERT + "(%s, %s, %s, %s)"
        for i in range(200):
            async with self.connection.cursor() as cursor:
                await cursor.execute(sql, (1, TITLE, i, i * 0.5))
        return 200

    async def creates100(self) -> int:
        sql = INSERT + "(%s, %s, %s, %s)"
        return await at_once(lambda i: self.pooled(sql, (1, TITLE, i, i * 0.5)))

    async def bulk(self) -> int:
        async with self.connection.cursor() as cursor:
            await cursor.executemany(INSERT + "(%s, %s, %s, %s)", ROWS)
        return BULK


PEERS: dict[str, list[type]] = {
    "postgresql": [Asyncpg, AsyncpgPool, Psycopg],
    "mariadb": [Asyncmy],
}
