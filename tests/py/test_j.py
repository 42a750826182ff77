"""Memory, processes and lifecycle (group J of the reliability cases)."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import orm
from tests.soak.operations import resident

PREAMBLE = """
import asyncio, orm, os, sys

metadata = orm.MetaData()
database = orm.Database("sqlite:///db.sqlite")

class Thing(orm.Model):
    __metadata__ = metadata
    __database__ = database
    id = orm.Integer(primary_key=True)
    name = orm.Text(allow_null=True)
    parent = orm.ForeignKey("self", allow_null=True)

"""


def script(folder, body, *arguments, timeout=60, check=True, warnings="error"):
    path = folder / "script.py"
    path.write_text(PREAMBLE + textwrap.dedent(body))
    run = subprocess.run(
        [sys.executable, "-W", warnings, *arguments, str(path)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=folder,
    )
    if check:
        assert run.returncode == 0, run.stderr
    return run


def has_nomemory():
    try:
        import _testcapi
    except ImportError:
        return False
    return hasattr(_testcapi, "set_nomemory")


@pytest.mark.slow
@pytest.mark.skipif(not has_nomemory(), reason="this Python has no _testcapi")
def test_J1_J3_memory_that_fails_at_every_point(folder):
    """Allocation number n fails, for every n: MemoryError or the result; never a crash."""
    script(
        folder,
        """
        import _testcapi

        def drive(operation):
            # its first step: a result that is there at once, or None when it waits
            try:
                operation.send(None)
            except StopIteration as stop:
                return stop.value
            operation.close()

        def everything_that_needs_no_loop():
            row = Thing(id=5, name="a", parent=Thing(id=6))
            row.name = "b"
            repr(row), hash(row), row == Thing(id=5), dict(row), orm.asdict(row)
            query = Thing.objects.filter(name__icontains="A").exclude(parent__name="x")
            return query.order_by("-name")[:5].select_related("parent")

        makers = [
            everything_that_needs_no_loop,
            lambda: drive(everything_that_needs_no_loop().all()),
            lambda: drive(Thing.objects.get(pk=1)),
            lambda: drive(Thing.objects.filter(name__in=["a", "b"]).count()),
            lambda: drive(Thing.objects.create(name="c")),
            lambda: drive(Thing.objects.bulk_create([{"name": "d"}, {"name": "e"}])),
            lambda: drive(Thing.objects.filter(pk=99).update(name="f")),
            lambda: drive(Thing.objects.get_or_create({"name": "g"}, pk=1)),
            lambda: drive(database.fetch_all("SELECT ?, ?", [1, "x"])),
            lambda: len(Thing.objects.filter(pk=1)),
        ]

        async def main():
            await orm.create_all(metadata, database)
            await Thing.objects.create(name="a")
            for make in makers:
                make()
                hit = whole = point = 0
                while whole < 10 and point < 5000:
                    _testcapi.set_nomemory(point, point + 1)
                    try:
                        make()
                    except MemoryError:
                        failed = True
                    except Exception as error:
                        failed = True
                    else:
                        failed = False
                    finally:
                        _testcapi.remove_mem_hooks()
                    hit, whole = hit + failed, 0 if failed else whole + 1
                    point += 1
                # How many there are depends, with a loop, on whether the rows were there at once;
                # the call's first allocation is one in any case.
                assert hit > (3 if make is everything_that_needs_no_loop else 0), (make, hit)
                assert whole == 10, (make, hit)
                while database.stats()["operations"]:
                    await asyncio.sleep(0.001)
                assert (await Thing.objects.get(pk=1)).name == "a"
            async with database.transaction():
                await Thing.objects.create(name="still fine")
            await database.disconnect()

        asyncio.run(main())
        """,
        timeout=180,
        warnings="ignore",
    )


@pytest.mark.slow
async def test_J6_many_operations_use_no_more_memory(music):
    await music.fill()

    async def work():
        for _ in range(12):
            for _ in range(25):
                await music.Track.objects.filter(album__name="Malibu").order_by("-id").all()
                await music.Track.objects.select_related("album").get(pk=1)
                with pytest.raises(orm.NoMatch):
                    await music.Track.objects.get(pk=999)
            async with music.database.transaction():  # the disk is waited for once
                for _ in range(25):
                    album = await music.Album.objects.create(name="x")
                    await album.update(name="y")
                    await album.delete()

    del music.statements[:]
    music.database.on_statement(lambda event: music.statements.clear())
    await work()
    gc.collect()
    before = resident()
    for _ in range(5):
        await work()
    gc.collect()
    assert resident() - before < 2 * 2**20


async def test_J6_a_call_makes_no_cycles(music):
    await music.fill()
    await music.Track.objects.select_related("album").get(pk=1)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await music.Track.objects.filter(album__name="Malibu").all()
            await music.Track.objects.select_related("album").get(pk=1)
            await music.Album.objects.filter(pk=99).update(name="x")
            with pytest.raises(orm.NoMatch):
                await music.Track.objects.get(pk=999)
        assert gc.collect() <= 30  # what pytest.raises leaves behind
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "body",
    [
        "await Thing.objects.create()",
        "task = asyncio.create_task(Thing.objects.create()); await asyncio.sleep(0)",
        "task = asyncio.create_task(slow()); await asyncio.sleep(0.05)",
        "await database.transaction().start(); await Thing.objects.create()",
        "iterator = Thing.objects.__aiter__(); await Thing.objects.create(); await anext(iterator)"
        if sys.version_info >= (3, 10)
        else "pass",
        "global kept; kept = Thing.objects.all()",
        "len(Thing.objects.all())" if False else "list(Thing.objects)",
    ],
    ids=["open", "pending", "running", "transaction", "stream", "unawaited", "blocking"],
)
def test_J7_exit_with_work_left(folder, body):
    """The process ends although a statement would run for ever: else `script` loses patience."""
    run = script(
        folder,
        f"""
        async def slow():
            await database.fetch_all(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                "SELECT count(*) FROM n"
            )

        async def main():
            await orm.create_all(metadata, database)
            {body}

        asyncio.run(main())
        """,
        warnings="default",
    )
    for line in run.stderr.splitlines():
        assert "Warning" in line or line.startswith("  "), run.stderr


@pytest.mark.parametrize("how", ["exit", "use"])
def test_J8_fork_with_an_open_database(folder, how):
    """The child gets ForkedError, or just ends; the parent's connection goes on."""
    run = script(
        folder,
        f"""
        async def main():
            await orm.create_all(metadata, database)
            await Thing.objects.create(name="before")
            async with database.transaction():
                await Thing.objects.create(name="inside")
                child = os.fork()
                if child == 0:
                    code = 7
                    if {how == "use"}:
                        try:
                            await Thing.objects.count()
                        except orm.ForkedError:
                            code = 7
                        else:
                            code = 1
                        os._exit(code)
                    sys.exit(code)
                _, status = os.waitpid(child, 0)
                assert os.waitstatus_to_exitcode(status) == 7, status
                await Thing.objects.create(name="after")
            assert await Thing.objects.count() == 3
            await database.disconnect()

        asyncio.run(main())
        """,
        warnings="ignore",
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_J8_a_child_may_open_its_own(folder):
    script(
        folder,
        """
        async def main():
            await orm.create_all(metadata, database)
            await Thing.objects.create(name="parent")

        asyncio.run(main())
        child = os.fork()
        if child == 0:
            mine = orm.Database("sqlite:///db.sqlite")
            async def ask():
                assert await mine.fetch_val("SELECT count(*) FROM thing") == 1
                await mine.execute("INSERT INTO thing (name) VALUES ('child')")
                await mine.disconnect()
            asyncio.run(ask())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
        async def count():
            assert await Thing.objects.count() == 2
            await database.disconnect()
        asyncio.run(count())
        """,
        warnings="ignore",
    )


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_J9_a_new_event_loop_for_each_of_many_tests(music, asyncio_run, kind):
    async def prepare():
        await orm.create_all(music.metadata, music.database)

    async def once(number):
        await music.Album.objects.create(name=str(number))
        return await music.Album.objects.count()

    asyncio_run(prepare(), kind)
    files = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        assert asyncio_run(once(number), kind) == number + 1
    # connections are closed by workers, a moment later
    deadline = time.monotonic() + 30
    while len(os.listdir("/proc/self/fd")) > files + 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_J9_two_loops_in_two_threads_at_once(music, asyncio_run):
    async def prepare():
        await orm.create_all(music.metadata, music.database)

    asyncio_run(prepare())
    errors = []

    def work(name):
        async def main():
            for _ in range(25):
                await music.Album.objects.create(name=name)
                await music.Album.objects.filter(name=name).count()

        try:
            asyncio_run(main())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(music.Album.objects) == 100


def test_J10_a_subinterpreter_gets_a_clean_import_error(folder):
    run = script(
        folder,
        """
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            sys.exit(0)
        identifier = interpreters.create()
        code = "try:\\n import orm\\nexcept ImportError: pass\\nelse: raise SystemExit('imported')"
        try:
            interpreters.run_string(identifier, code)
        finally:
            interpreters.destroy(identifier)
        """,
        warnings="ignore",
        check=False,
    )
    assert run.returncode in (0, 1), run.stderr


@pytest.mark.loops
async def test_J11_many_tasks_at_once_are_never_mixed(music):
    await music.fill()

    async def ask(number):
        for _ in range(5):
            key = number % 5 + 1
            assert (await music.Track.objects.get(pk=key)).pk == key
            rows = await music.Track.objects.filter(pk__lte=key).order_by("id")
            assert [row.pk for row in rows] == list(range(1, key + 1))
            album = await music.Album.objects.create(name=f"{number}")
            assert (await music.Album.objects.get(pk=album.pk)).name == f"{number}"

    await asyncio.gather(*(ask(number) for number in range(50)))


def test_J11_many_threads_with_blocking_forms(music, asyncio_run):
    async def prepare():
        await orm.create_all(music.metadata, music.database)
        await music.fill()

    asyncio_run(prepare())
    errors = []

    def work():
        try:
            for _ in range(50):
                assert len(music.Track.objects.filter(album__name="Malibu")) == 3
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


async def test_J12_rows_outlive_their_connection(music):
    await music.fill()
    tracks = await music.Track.objects.select_related("album").order_by("id")
    await music.database.disconnect()
    assert [track.album.name for track in tracks][:1] == ["Malibu"]
    await music.database.disconnect()
    assert await music.Track.objects.count() == 5


async def test_J12_disconnect_with_work_under_way(music):
    await music.fill()
    task = asyncio.create_task(_await(music.database.fetch_val(music.slow())))
    await asyncio.sleep(0.05)
    await music.database.disconnect()
    with pytest.raises((orm.PoolClosed, orm.QueryCanceled, asyncio.CancelledError)):
        await asyncio.wait_for(task, 60)
    assert await music.Track.objects.count() == 5


async def _await(operation):
    return await operation


async def test_J13_queries_from_inside_of_callbacks(world):
    """A converter, a default and a hook that ask the database themselves."""
    asked = []

    class Curious(orm.Integer):
        @staticmethod
        def converter(value):
            asked.append(len(world.thing.objects))
            return value

    world.thing = thing = world.fields(
        value=Curious(), made=orm.Integer(default=lambda: len(world.thing.objects))
    )
    await world.create()
    await thing.objects.create(value=1)
    await thing.objects.create(value=2)
    assert asked
    seen = []

    def hook(event):
        if len(seen) < 3:
            seen.append(event.sql)
            len(thing.objects.filter(pk=1))

    world.database.on_statement(hook)
    assert await thing.objects.count() == 2


async def test_J13_a_hook_that_raises_does_not_break_the_query(music, caplog):
    def hook(event):
        raise RuntimeError("hook")

    caught = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: caught.append(context))
    sys_hook, sys.unraisablehook = sys.unraisablehook, caught.append
    try:
        music.database.on_statement(hook)
        assert await music.Track.objects.count() == 0
        await asyncio.sleep(0)
    finally:
        sys.unraisablehook = sys_hook
    assert caught


async def test_J15_many_rows_are_streamed(people):
    await people.Person.objects.bulk_create([{"age": n} for n in range(20_000)])
    total = 0
    async for person in people.Person.objects.order_by("id"):
        total += person.age
        if person.age == 15_000:
            break
    assert total == sum(range(15_001))
    assert await people.Person.objects.count() == 20_000


async def test_J17_execute_with_lists_of_values_is_refused(people):
    with pytest.raises((orm.Error, TypeError, ValueError)):
        await people.database.execute("INSERT INTO person (age) VALUES (?)", [[1], [2]])
    assert await people.Person.objects.count() == 0


async def test_J16_both_directions_are_full(world):
    """What is sent and what comes back is more than sockets hold: nobody waits for the other."""
    large = "x" * (6 * 2**20)
    text = {"postgresql": "SELECT CAST($1 AS text) || $2", "mariadb": "SELECT concat(?, ?)"}
    sql = text.get(world.kind, "SELECT ? || ?")

    async def echo(database):
        return len(await database.fetch_val(sql, [large, large])) == 2 * len(large)

    async def work():
        async with world.database.transaction():
            return await echo(world.database)

    if world.kind == "sqlite":
        assert await work()
        return
    done = asyncio.gather(*(asyncio.ensure_future(work()) for _ in range(3)))
    assert all(await asyncio.wait_for(done, 60))
