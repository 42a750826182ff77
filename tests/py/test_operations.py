"""What lies between the coroutine and the engine: gather, peers, dirty bits, carried work."""

from __future__ import annotations

import asyncio
import collections.abc
import threading

import pytest

import orm

# ---- gather


async def test_gather_runs_operations_of_one_task(music):
    await music.fill()
    objects = music.Track.objects
    count, exists, track = await music.database.gather(
        objects.count(), objects.exists(), objects.get(title="Sick Muse")
    )
    assert (count, exists, track.position) == (5, True, 2)
    assert await music.database.gather() == []


async def test_gather_is_a_coroutine(music):
    gathered = music.database.gather(music.Track.objects.count())
    assert isinstance(gathered, collections.abc.Coroutine)
    assert await asyncio.create_task(gathered) == [0]


async def test_gather_inside_a_transaction(music):
    await music.fill()
    async with music.database.transaction():
        made = await music.database.gather(
            *(music.Album.objects.create(name=str(n)) for n in range(5)),
            music.Album.objects.count(),
        )
        assert made[-1] == 8


async def test_gather_raises_the_first_error_when_all_have_ended(music):
    await music.fill()
    objects = music.Album.objects
    with pytest.raises(orm.NoMatch):
        await music.database.gather(
            objects.get(pk=99), objects.filter(pk=99).get(), objects.create(name="made")
        )
    assert await objects.filter(name="made").exists()


async def test_gather_takes_operations_of_its_database(music, world):
    with pytest.raises(TypeError, match="operations of this database"):
        music.database.gather(1)
    operation = world.database.fetch_val("SELECT 1")
    with pytest.raises(TypeError, match="operations of this database"):
        music.database.gather(operation)
    operation.close()


async def test_a_gathered_operation_is_awaited_once(music):
    operation = music.Track.objects.count()
    await operation
    with pytest.raises(RuntimeError, match="awaited before"):
        await music.database.gather(operation)


async def test_cancelling_a_gather_cancels_its_operations(music):
    slow = music.slow()
    gathered = music.database.gather(*(music.database.fetch_val(slow) for _ in range(3)))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(gathered, 0.1)
    for _ in range(3000):  # the workers notice it a moment later
        if not music.database.stats()["operations"]:
            break
        await asyncio.sleep(0.01)
    assert music.database.stats()["operations"] == 0
    assert await music.Track.objects.count() == 0


# ---- whose transaction it is


async def test_a_commit_inside_of_wait_for_ends_the_block_for_its_task(music):
    transaction = await music.database.transaction()
    await music.Album.objects.create(name="a")
    await asyncio.wait_for(transaction.commit(), 5)
    assert await music.Album.objects.count() == 1
    async with music.database.transaction():
        assert await music.Album.objects.count() == 1


def test_a_transaction_used_from_another_loop(music, asyncio_run):
    opened, used = threading.Event(), threading.Event()
    carried = []

    async def main():
        await orm.create_all(music.metadata, music.database)
        async with music.database.transaction(tasks="join"):
            await music.Album.objects.create(name="a")
            carried.append(music.Album.objects.count())
            opened.set()
            while not used.is_set():
                await asyncio.sleep(0.001)

    async def elsewhere():
        with pytest.raises(orm.WrongLoop):
            await carried.pop()

    thread = threading.Thread(target=asyncio_run, args=(main(),))
    thread.start()
    try:
        assert opened.wait(10)
        asyncio_run(elsewhere())
    finally:
        used.set()
        thread.join()


async def test_a_blocking_form_in_another_tasks_transaction(music):
    async with music.database.transaction():
        await music.Album.objects.create(name="a")

        async def child():
            with pytest.raises(orm.ConcurrentUse, match="join"):
                len(music.Album.objects)

        await asyncio.create_task(child())
        assert len(music.Album.objects) == 1


async def test_a_detached_task_may_read_and_a_detached_transaction_may_not_write(music):
    async with music.database.transaction(tasks="detach"):
        await music.Album.objects.create(name="a")

        async def child():
            assert await music.Album.objects.count() == 0
            async with music.database.transaction(readonly=True):
                assert await music.Album.objects.count() == 0
            with pytest.raises(orm.ConcurrentUse):
                async with music.database.transaction():
                    await music.Album.objects.create(name="b")

        await asyncio.create_task(child())
    assert await music.Album.objects.count() == 1


# ---- dirty bits


async def test_a_save_that_fails_can_be_repeated(music):
    await music.fill()
    album = await music.Album.objects.get(name="Loose")
    album.publisher = 99
    with pytest.raises(orm.ForeignKeyViolation):
        await album.save()
    album.publisher = music.obe
    await album.save()
    assert (await music.Album.objects.get(pk=album.pk)).publisher == music.obe


async def test_a_save_that_is_dropped_changes_nothing(music, nothing_sent):
    await music.fill()
    album = await music.Album.objects.get(name="Loose")
    album.name = "Tight"
    album.save().close()
    await album.save()
    assert await music.Album.objects.filter(name="Tight").exists()
    with nothing_sent(music):
        await album.save()


async def test_what_is_set_during_a_save_stays_dirty(music):
    await music.fill()
    album = await music.Album.objects.get(name="Loose")
    album.name = "first"
    task = asyncio.create_task(album.save())
    await asyncio.sleep(0)
    album.name = "second"
    await task
    await album.save()
    assert (await music.Album.objects.get(pk=album.pk)).name == "second"


async def test_update_leaves_other_changes_for_the_save(music):
    await music.fill()
    track = await music.Track.objects.get(title="Sick Muse")
    track.position = 7
    await track.update(title="Well Muse")
    kept = await music.Track.objects.get(pk=track.pk)
    assert (kept.title, kept.position) == ("Well Muse", 2)
    await track.save()
    assert (await music.Track.objects.get(pk=track.pk)).position == 7


async def test_the_key_of_a_saved_row_is_changed_by_update_only(music):
    await music.fill()
    album = await music.Album.objects.get(name="Loose")
    album.id = music.malibu.pk
    with pytest.raises(orm.InterfaceError, match=r"update\(id="):
        await album.save()
    album = await music.Album.objects.get(name="Loose")
    await album.update(id=77)
    assert album.pk == 77
    assert (await music.Album.objects.get(pk=77)).name == "Loose"


# ---- get_or_create


async def test_get_or_create_needs_what_creating_needs_only_when_it_creates(music):
    await music.fill()
    track, created = await music.Track.objects.get_or_create(title="Sick Muse")
    assert (track.position, created) == (2, False)
    with pytest.raises(orm.ValidationError) as caught:
        await music.Track.objects.get_or_create(title="unheard of")
    assert set(caught.value) == {"album", "position"}


async def test_lookups_of_get_or_create_are_no_values(music):
    await music.fill()
    album, created = await music.Album.objects.get_or_create(
        {"name": "Tight"}, name__iexact="tight"
    )
    assert (album.name, created) == ("Tight", True)
    album, created = await music.Album.objects.get_or_create(name__iexact="TIGHT")
    assert (album.name, created) == ("Tight", False)


# ---- peers


async def many(music, n=30):
    albums = await music.Album.objects.bulk_create([{"name": str(i)} for i in range(n)])
    await music.Track.objects.bulk_create(
        [{"album": album, "title": album.name, "position": 1} for album in albums]
    )
    tracks = await music.Track.objects.order_by("id")
    del music.statements[:]
    return tracks


async def test_a_write_ends_what_peers_have_brought(music):
    tracks = await many(music)
    await tracks[0].album.load()
    await tracks[1].album.load()
    await music.Album.objects.filter(name="5").update(name="five")
    await tracks[5].album.load()
    assert tracks[5].album.name == "five"


async def test_a_peer_answers_its_first_load_only(music):
    tracks = await many(music)
    await tracks[0].album.load()
    await tracks[1].album.load()
    assert len(music.statements) == 2
    music.outside(f"UPDATE album SET name = 'new' WHERE id = {tracks[2].album.pk}")
    await tracks[2].album.load()
    assert tracks[2].album.name == "2"
    await asyncio.sleep(0.005)
    await tracks[2].album.load()
    assert tracks[2].album.name == "new"


async def test_refresh_always_asks(music):
    tracks = await many(music)
    await tracks[0].album.load()
    await tracks[1].album.load()
    music.outside(f"UPDATE album SET name = 'new' WHERE id = {tracks[2].album.pk}")
    await asyncio.sleep(0.005)
    await tracks[2].album.refresh()
    assert tracks[2].album.name == "new"


async def test_peers_of_peers(music):
    publishers = await music.Publisher.objects.bulk_create([{"name": str(i)} for i in range(20)])
    albums = await music.Album.objects.bulk_create(
        [{"name": p.name, "publisher": p} for p in publishers]
    )
    await music.Track.objects.bulk_create(
        [{"album": album, "title": album.name, "position": 1} for album in albums]
    )
    tracks = await music.Track.objects.order_by("id")
    del music.statements[:]
    for track in tracks:
        await track.album.load()
        if track.album.publisher is not None:
            await track.album.publisher.load()
            assert track.album.publisher.name == track.title
    assert len([sql for sql in music.statements if sql.startswith("SELECT")]) <= 5


async def test_peers_of_what_was_joined(music):
    publishers = await music.Publisher.objects.bulk_create([{"name": str(i)} for i in range(20)])
    albums = await music.Album.objects.bulk_create(
        [{"name": p.name, "publisher": p} for p in publishers]
    )
    await music.Track.objects.bulk_create(
        [{"album": a, "title": a.name, "position": i} for a in albums for i in range(3)]
    )
    tracks = await music.Track.objects.select_related("album").order_by("id")
    del music.statements[:]
    for track in tracks:
        if not hasattr(track.album.publisher, "name"):
            await track.album.publisher.load()
        assert track.album.publisher.name == track.title
    assert len(music.statements) == 2


async def test_rows_that_are_gone_are_no_peers(music):
    tracks = await many(music)
    keep = tracks[1]
    first = tracks[0]
    del tracks[2:]
    await first.album.load()
    await keep.album.load()
    assert keep.album.name == "1"
    assert len(music.statements) == 2


async def test_a_related_row_that_is_gone(people):
    base = people.base()

    class Team(base):
        id = orm.Integer(primary_key=True)
        name = orm.String(max_length=20)

    class Member(base):
        id = orm.Integer(primary_key=True)
        team = orm.ForeignKey(Team)

    await people.create()
    teams = await Team.objects.bulk_create([{"name": "a"}, {"name": "b"}, {"name": "c"}])
    await Member.objects.bulk_create([{"team": team} for team in teams])
    members = await Member.objects.order_by("id")
    people.outside("DELETE FROM member WHERE id > 1")
    people.outside("DELETE FROM team WHERE name IN ('b', 'c')")
    await asyncio.sleep(0.005)
    await members[0].team.load()
    for member in members[1:]:
        with pytest.raises(orm.NoMatch):
            await member.team.load()
