"""What every contestant is: a process of its own that does a workload when it is told to.

`serve(Peer)` ends a contestant's module.  The process prints its name and version, then for every
workload that it reads from its input the seconds that one unit took.  Results are checked outside
of the timer.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time

TRACKS = 10_000
PAGE = 1_000
CALLS = {"get": 200, "gets100": 2, "all": 3, "create": 100}
UNITS = {"get": 1, "gets100": 100, "all": PAGE, "create": 1}


def key(i: int) -> int:
    return 1 + (i * 7919) % TRACKS


def values(i: int) -> dict[str, object]:
    return {"album": 1, "title": "a title of usual length", "position": i, "rating": i * 0.5}


class Peer:
    """`get(id)`, `all()` (the first thousand by key) and `create(**values)` await instances."""

    name = ""

    async def open(self, path: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    async def check(self) -> None:
        track = await self.get(key(7))
        assert (track.id, track.title) == (key(7), f"the title of track {key(7)}"), track
        assert abs(track.rating - key(7) * 0.37) < 1e-9
        rows = list(await self.all())
        assert [row.id for row in rows] == list(range(1, PAGE + 1))
        assert (await self.create(**values(1))).title == values(1)["title"]

    async def run_get(self, calls: int) -> None:
        for i in range(calls):
            await self.get(key(i))

    async def run_gets100(self, calls: int) -> None:
        for i in range(calls):
            await asyncio.gather(*(self.get(key(i * 100 + k)) for k in range(100)))

    async def run_all(self, calls: int) -> None:
        for _ in range(calls):
            await self.all()

    async def run_create(self, calls: int) -> None:
        for i in range(calls):
            await self.create(**values(i))


async def answer(peer: Peer, path: str) -> None:
    await peer.open(path)
    await peer.check()
    print(peer.name, flush=True)
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        gc.collect()
        calls = CALLS[line]
        start = time.perf_counter()
        await getattr(peer, f"run_{line}")(calls)
        took = time.perf_counter() - start
        print(took / (calls * UNITS[line]), flush=True)
    await peer.close()


def serve(peer: type[Peer]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(answer(peer(), sys.argv[1]))
    else:
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(answer(peer(), sys.argv[1]))
        loop.close()
