"""orm.fetch_mode and orm.on_implicit_load: how load() fetches, and who is told."""

import asyncio
import inspect

import pytest

import orm


def asked(world):
    """The reads that were sent, without their transactions."""
    return [sql for sql in world.statements if sql.startswith("SELECT")]


async def names(tracks):
    return [(await track.album.load()).name for track in tracks]


async def test_peers_is_the_default(music):
    await music.fill()
    tracks = await music.Track.objects.all()
    del music.statements[:]
    with orm.fetch_mode("peers"):
        await names(tracks)
    assert len(asked(music)) == 2


async def test_one_loads_one_row_each_time(music):
    await music.fill()
    tracks = await music.Track.objects.all()
    del music.statements[:]
    with orm.fetch_mode("one"):
        assert await names(tracks) == ["Malibu"] * 3 + ["Fantasies"] * 2
    assert len(asked(music)) == 5
    assert all(" IN " not in sql for sql in asked(music))


async def test_raise_names_select_related(music, nothing_sent):
    await music.fill()
    track = await music.Track.objects.get(title="The Bird")
    with nothing_sent(music), orm.fetch_mode("raise"):
        with pytest.raises(orm.InterfaceError, match="select_related"):
            await track.album.load()
    assert (await track.album.load()).name == "Malibu"


async def test_raise_leaves_the_rest_alone(music):
    await music.fill()
    with orm.fetch_mode("raise"):
        track = await music.Track.objects.select_related("album").get(title="The Bird")
        assert (await track.load()) is track
        await track.album.refresh()
        await track.album.load()


async def test_the_block_of_the_call_counts_and_ends(music):
    await music.fill()
    tracks = await music.Track.objects.all()
    with orm.fetch_mode("one"), orm.fetch_mode("raise"), orm.fetch_mode("one"):
        loads = [track.album.load() for track in tracks[:2]]
    del music.statements[:]
    for load in loads:
        await load
    assert len(asked(music)) == 2
    del music.statements[:]
    await names(await music.Track.objects.all())
    assert len(asked(music)) == 3


async def test_a_block_is_its_tasks_own(music):
    await music.fill()
    track = await music.Track.objects.get(title="The Bird")
    inside, done = asyncio.Event(), asyncio.Event()

    async def strict():
        with orm.fetch_mode("raise"):
            inside.set()
            await done.wait()

    task = asyncio.create_task(strict())
    await inside.wait()
    assert (await track.album.load()).name == "Malibu"
    done.set()
    await task


@pytest.mark.parametrize("mode", ["", "all", 1, None, "PEERS"])
def test_other_modes_are_refused(mode):
    with pytest.raises(ValueError, match="'peers', 'one' or 'raise'"):
        orm.fetch_mode(mode)


# ---- the report


async def test_the_report_names_the_source_line(music):
    await music.fill()
    tracks = await music.Track.objects.all()
    seen = []
    stop = orm.on_implicit_load(seen.append)
    try:
        for track in tracks:
            await track.album.load()
            line = inspect.currentframe().f_lineno - 1
    finally:
        stop()
    assert len(seen) == 1
    assert isinstance(seen[0], orm.ImplicitLoad)
    # Both albums: each track has an object of its own for its album.
    assert seen[0] == ("Track.album", 2, __file__, line)


async def test_no_report_without_peers_nor_after_it_was_taken_back(music):
    await music.fill()
    seen = []
    stop = orm.on_implicit_load(seen.append)
    tracks = await music.Track.objects.all()
    await tracks[0].album.load()
    with orm.fetch_mode("one"):
        await names(tracks)
    stop()
    stop()
    await names(await music.Track.objects.all())
    assert seen == []


async def test_what_a_hook_raises_stops_nothing(music, monkeypatch):
    await music.fill()
    raised = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: raised.append(unraisable))

    def hook(report):
        raise KeyError(report.relation)

    stop = orm.on_implicit_load(hook)
    try:
        assert await names(await music.Track.objects.all())
    finally:
        stop()
    assert [str(one.exc_value) for one in raised] == ["'Track.album'"]


def test_a_hook_is_callable():
    with pytest.raises(TypeError, match=r"on_implicit_load\(\) takes a callable"):
        orm.on_implicit_load(5)
