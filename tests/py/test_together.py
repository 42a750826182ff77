"""Reads by key that are asked for at once: on a server they share a statement."""

import asyncio
import enum
import random

import pytest

import orm


async def gather(*operations):
    return await asyncio.gather(*operations, return_exceptions=True)


async def test_each_gets_its_own(music):
    await music.fill()
    rows = {row.pk: row.title for row in await music.Track.objects.all()}
    del music.statements[:]
    keys = [random.choice([*rows, 999]) for _ in range(300)]
    found = await gather(*(music.Track.objects.get(pk=key) for key in keys))
    for key, track in zip(keys, found):
        if key == 999:
            assert isinstance(track, orm.NoMatch)
        else:
            assert (track.pk, track.title) == (key, rows[key])
    assert len({id(track) for track in found}) == len(found)
    if music.kind != "sqlite":
        assert len(music.statements) <= 5


async def test_relations_come_along(music):
    await music.fill()
    tracks = await gather(
        *(music.Track.objects.select_related("album").get(pk=key) for key in (1, 2, 3, 4, 5))
    )
    assert [track.album.name for track in tracks] == ["Malibu"] * 3 + ["Fantasies"] * 2


async def test_loads_of_strangers_share_one(music):
    await music.fill()
    tracks = [await music.Track.objects.get(pk=key) for key in (1, 4, 5)]
    del music.statements[:]
    await gather(*(track.album.load() for track in tracks))
    assert [track.album.name for track in tracks] == ["Malibu", "Fantasies", "Fantasies"]
    if music.kind != "sqlite":
        assert len(music.statements) == 2


async def test_cancelling_one_leaves_the_others(music):
    await music.fill()

    async def title(key):
        return (await music.Track.objects.get(pk=key)).title

    for n in range(30):
        tasks = [asyncio.create_task(title(1 + i % 5)) for i in range(20)]
        for _ in range(n % 5):
            await asyncio.sleep(0)
        tasks[7].cancel()
        titles = await gather(*tasks)
        assert titles[:5] == titles[10:15]
        assert titles[6] == titles[1]
        assert isinstance(titles[7], asyncio.CancelledError) or titles[7] == titles[2]


async def test_one_reads_what_one_has_written(music):
    await music.fill()

    async def write_and_read(position):
        track = await music.Track.objects.create(album=1, title="x", position=position)
        assert (await music.Track.objects.get(pk=track.pk)).position == position
        await track.update(position=-position)
        assert (await music.Track.objects.get(pk=track.pk)).position == -position

    for answer in await gather(*(write_and_read(i) for i in range(1, 60))):
        assert answer is None


async def test_decoders_in_python_run_alone(world):
    class Color(enum.Enum):
        RED = "red"

    Thing = world.fields(color=orm.Enum(Color))
    await world.create()
    for _ in range(3):
        await Thing.objects.create(color=Color.RED)
    things = await gather(*(Thing.objects.get(id=key) for key in (1, 2, 3, 4)))
    assert [thing.color for thing in things[:3]] == [Color.RED] * 3
    assert isinstance(things[3], orm.NoMatch)


async def test_a_transaction_reads_for_itself(music):
    await music.fill()
    async with music.database.transaction():
        await music.Track.objects.filter(pk=1).update(title="changed")
        inside = await music.database.gather(
            *(music.Track.objects.get(pk=key) for key in (1, 1, 2))
        )
        assert [track.title for track in inside][:2] == ["changed"] * 2


@pytest.mark.loops
async def test_many_tasks_one_after_another(music):
    await music.fill()

    async def walk(n):
        random_keys = random.Random(n)
        for _ in range(20):
            key = random_keys.randint(1, 5)
            assert (await music.Track.objects.get(pk=key)).pk == key

    for answer in await gather(*(walk(n) for n in range(20))):
        assert answer is None
