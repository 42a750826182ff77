"""The standard library: synchronous, tuples made into nothing.  The measure of the others."""

import sqlite3

from peer import PAGE, Peer, key, serve, values

COLUMNS = "SELECT id, album, title, position, rating FROM track"
INSERT = "INSERT INTO scratch (album, title, position, rating) VALUES (?, ?, ?, ?)"


class Stdlib(Peer):
    name = f"sqlite3, synchronous (SQLite {sqlite3.sqlite_version})"

    async def open(self, path):
        self.db = sqlite3.connect(path, isolation_level=None)

    async def check(self):
        assert len(self.page()) == PAGE

    def page(self):
        return self.db.execute(COLUMNS + " ORDER BY id LIMIT 1000").fetchall()

    async def run_get(self, calls):
        execute = self.db.execute
        for i in range(calls):
            execute(COLUMNS + " WHERE id = ?", (key(i),)).fetchone()

    async def run_gets100(self, calls):
        await self.run_get(calls * 100)

    async def run_all(self, calls):
        for _ in range(calls):
            self.page()

    async def run_create(self, calls):
        execute = self.db.execute
        for i in range(calls):
            execute(INSERT, tuple(values(i).values()))


serve(Stdlib)
