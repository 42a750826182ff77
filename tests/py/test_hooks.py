"""on_statement: taking a hook back, and statements of other threads."""

import threading

import pytest


async def test_a_hook_is_taken_back(music):
    seen, kept = [], []
    stop = music.database.on_statement(seen.append)
    music.database.on_statement(kept.append)
    assert await music.Track.objects.count() == 0
    assert stop() is None
    before = len(seen), len(kept)
    assert await music.Track.objects.count() == 0
    stop()  # once is enough
    assert await music.Track.objects.count() == 0
    assert before == (1, 1)
    assert len(seen) == 1
    assert len(kept) > 2


async def test_the_same_hook_twice_is_two_hooks(music):
    seen = []
    stop, _ = music.database.on_statement(seen.append), music.database.on_statement(seen.append)
    await music.Track.objects.count()
    assert len(seen) == 2
    stop()
    stop()
    await music.Track.objects.count()
    assert len(seen) == 3


async def test_a_hook_may_take_itself_back(music):
    seen, after = [], []

    def once(event):
        seen.append(event)
        stop()

    stop = music.database.on_statement(once)
    music.database.on_statement(after.append)
    await music.Track.objects.count()
    await music.Track.objects.count()
    assert (len(seen), len(after)) == (1, 2)


def test_a_handle_keeps_no_database_alive(music, folder):
    import weakref

    import orm

    database = orm.Database(f"sqlite:///{folder}/other.db")
    stop = database.on_statement(print)
    gone = weakref.ref(database)
    del database
    assert gone() is None
    stop()


@pytest.mark.parametrize("callback", [None, 5, "print"])
def test_a_hook_is_callable(music, callback):
    with pytest.raises(TypeError, match="on_statement"):
        music.database.on_statement(callback)


async def test_engines_that_other_threads_have_open_report_too(music):
    ready, go, seen = threading.Event(), threading.Event(), []

    def work():
        len(music.Track.objects)
        ready.set()
        go.wait(10)
        len(music.Track.objects)
        go.clear()
        ready.set()
        go.wait(10)
        len(music.Track.objects)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(10)
        stop = music.database.on_statement(
            lambda event: seen.append((event.sql, threading.get_ident()))
        )
        ready.clear()
        go.set()
        assert ready.wait(10)
        stop()
    finally:
        go.set()
        thread.join(10)
    assert len(seen) == 1
    assert seen[0][0].startswith("SELECT")
    assert seen[0][1] == thread.ident
