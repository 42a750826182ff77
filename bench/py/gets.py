"""N times `await Track.objects.get(id=…)`: the program that bench/instructions counts."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from collections.abc import Iterator

from contestants import Ours, key, make_database

import orm


async def gets(Track: type[orm.Model], n: int) -> None:
    for i in range(n):
        await Track.objects.get(id=key(i))


class Drive:
    """Awaits the gets without giving a turn to the loop unless one of them really waits: callgrind
    is so slow that each would ask for a turn, and the loop's own instructions would count too."""

    def __init__(self, Track: type[orm.Model], n: int) -> None:
        self.coroutine = gets(Track, n)

    def __await__(self) -> Iterator[object]:
        while True:
            try:
                waiting = self.coroutine.send(None)
            except StopIteration:
                return
            if waiting is not None:
                yield waiting


async def drive(Track: type[orm.Model], n: int) -> None:
    await Drive(Track, n)


def main() -> None:
    path, n = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    if not path.exists():
        make_database(path)
    loop = asyncio.new_event_loop()
    ours = Ours(path, loop, shared=False)
    loop.run_until_complete(drive(ours.Track, n))
    ours.close()
    loop.close()


if __name__ == "__main__":
    main()
