"""The pool of a server and the life of a process (groups D and J of the reliability cases)."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import pytest

import orm

LONG = 20  # s: nothing that is bounded takes as long, on however busy a machine


async def _run(make):
    return await make()


def sleep(fault, seconds):
    return f"SELECT {'pg_sleep' if fault.kind == 'postgresql' else 'sleep'}({seconds})"


async def until(condition):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < LONG
        await asyncio.sleep(0.02)


# ---- exhausted


async def test_D1_a_full_pool_says_who_holds_it(fault):
    async with fault.notes(max_size=2, acquire_timeout=0.3) as (database, note):
        async with database.transaction(tasks="detach"):
            await note.objects.count()
            other = asyncio.create_task(_run(lambda: database.fetch_val(sleep(fault, 60))))
            await asyncio.sleep(0.1)
            with pytest.raises(orm.PoolTimeout) as caught:
                await asyncio.create_task(_run(note.objects.count))
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
        text = str(caught.value)
        assert "2 of 2 are held" in text
        assert "1 of them by transactions" in text
        assert "oldest for" in text
        assert isinstance(caught.value, TimeoutError)
        assert await note.objects.count() == 0


async def test_D2_more_tasks_than_connections(fault):
    done = []
    async with fault.notes(max_size=1) as (database, _):

        async def ask(number):
            assert await database.fetch_val(f"SELECT {number}") == number
            done.append(number)

        await asyncio.gather(*(ask(number) for number in range(300)))
        assert done == list(range(300))  # first come, first served
    async with fault.notes(max_size=4) as (database, _):
        await asyncio.gather(*(ask(number) for number in range(1000)))
    assert sorted(done[300:]) == list(range(1000))
    assert fault.proxy.accepted <= 5


async def test_D4_every_attempt_to_connect_fails(fault):
    fault.proxy.refuse()
    async with fault.notes(max_size=3, acquire_timeout=5) as (_, note):
        results = await asyncio.wait_for(
            asyncio.gather(*(note.objects.count() for _ in range(30)), return_exceptions=True), LONG
        )
        assert all(isinstance(result, orm.OperationalError) for result in results)
        assert any(isinstance(result, orm.ConnectError) for result in results)
        fault.proxy.listen()
        began = time.monotonic()
        while True:
            try:
                assert await note.objects.count() == 0
                break
            except orm.ConnectError:
                assert time.monotonic() - began < LONG


async def test_D5_a_transaction_that_is_forgotten(fault):
    async with fault.notes(max_size=1, acquire_timeout=LONG) as (database, note):

        async def forget():
            transaction = await database.transaction().start()
            await note.objects.create(text="forgotten")
            del transaction

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            await asyncio.create_task(forget())
            gc.collect()
            assert await note.objects.count() == 0


@pytest.mark.parametrize("options", [{"min_size": 3, "max_size": 2}, {"max_size": 5000}])
def test_D9_sizes_that_make_no_sense(fault, options):
    with pytest.raises((ValueError, orm.ConfigurationError)):
        orm.Database(fault.proxy.url, **options)


async def test_D9_never_more_connections_than_allowed(fault):
    most = 0
    async with fault.notes(max_size=3) as (database, _):
        tasks = [
            asyncio.create_task(_run(lambda: database.fetch_val(sleep(fault, 0.01))))
            for _ in range(60)
        ]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                task.cancel()
        while not all(task.done() for task in tasks):
            most = max(most, fault.proxy.open)
            await asyncio.sleep(0.002)
        await asyncio.gather(*tasks, return_exceptions=True)
    assert most <= 3


async def test_D12_connections_that_grow_old(fault):
    async with fault.notes(max_size=3, max_lifetime=0.1) as (database, _):
        began = time.monotonic()
        while fault.proxy.accepted < 8:
            assert await asyncio.gather(*(database.fetch_val("SELECT 1") for _ in range(6)))
            assert time.monotonic() - began < LONG
        assert fault.proxy.open <= 4


async def test_D12_connections_that_grow_old_while_nobody_wants_them(fault):
    async with fault.notes(max_size=1, max_lifetime=0.3) as (database, _):
        assert await database.fetch_val("SELECT 1") == 1
        before = fault.proxy.accepted
        await asyncio.sleep(0.4)
        assert await database.fetch_val("SELECT 1") == 1
        assert fault.proxy.accepted > before


# ---- the end


async def test_D7_closing_with_work_under_way(fault):
    async with fault.notes(max_size=3) as (database, note):
        tasks = [
            asyncio.create_task(_run(lambda: database.fetch_val(sleep(fault, 60))))
            for _ in range(6)
        ]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await database.disconnect()
        await database.disconnect()
        assert time.monotonic() - began < LONG
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, orm.Error) for result in results)
        assert await note.objects.count() == 0  # connects again

    await until(lambda: fault.proxy.open == 0)


def test_D8_a_second_loop(fault, asyncio_run):
    """Made outside of any loop, used in one after the other, without a word between them."""
    asyncio.run(orm.create_all(fault.world.metadata, fault.world.database))
    database = orm.Database(fault.proxy.url, max_size=2)

    async def ask(number):
        results = await asyncio.gather(
            *(database.fetch_val(f"SELECT {number + k}") for k in range(6))
        )
        assert results == [number + k for k in range(6)]

    for number in range(3):
        asyncio_run(ask(number * 10))
    gc.collect()

    async def end():
        await until(lambda: fault.proxy.open <= 2)  # those of loops that are gone are closed
        await database.disconnect()
        await fault.world.database.disconnect()
        await until(lambda: fault.proxy.open == 0)

    asyncio_run(end())


def test_D8_loops_in_several_threads(fault, asyncio_run):
    database = orm.Database(fault.proxy.url, max_size=2)
    failures = []

    async def ask(thread):
        for number in range(20):
            results = await asyncio.gather(
                *(database.fetch_val(f"SELECT {thread * 1000 + number + k}") for k in range(4))
            )
            assert results == [thread * 1000 + number + k for k in range(4)]
        await database.disconnect()

    def work(thread):
        try:
            asyncio.run(ask(thread))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert failures == []


def test_D10_a_database_that_is_forgotten(fault, asyncio_run):
    async def use():
        database = orm.Database(fault.proxy.url, max_size=2)
        await asyncio.gather(*(database.fetch_val("SELECT 1") for _ in range(4)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio_run(use())
        gc.collect()

    asyncio_run(until(lambda: fault.proxy.open == 0))


# ---- processes

PREAMBLE = """
import asyncio, os, sys, orm

database = orm.Database(sys.argv[1], max_size=3)
forever = sys.argv[2]

async def run(make):
    return await make()
"""


def script(folder, fault, body):
    (folder / "script.py").write_text(PREAMBLE + textwrap.dedent(body))
    return subprocess.run(
        [sys.executable, "script.py", fault.proxy.url, sleep(fault, 60)],
        capture_output=True,
        text=True,
        timeout=LONG,
        cwd=folder,
    )


@pytest.mark.parametrize(
    "body",
    [
        "await database.fetch_val('SELECT 1')",
        "asyncio.create_task(run(lambda: database.fetch_val(forever))); await asyncio.sleep(0.2)",
        "await database.transaction().start(); await database.fetch_val('SELECT 1')",
    ],
    ids=["open", "running", "transaction"],
)
def test_J7_exit_with_work_left(fault, folder, body):
    run = script(
        folder,
        fault,
        f"""
        async def main():
            {body}

        asyncio.run(main())
        """,
    )
    assert run.returncode == 0, run.stderr
    for line in run.stderr.splitlines():
        assert "Warning" in line or line.startswith("  "), run.stderr


@pytest.mark.parametrize("how", ["exit", "use"])
def test_J8_fork_with_open_connections(fault, folder, how):
    """The child says nothing to the server: the parent's sessions and transaction go on."""
    run = script(
        folder,
        fault,
        f"""
        async def main():
            await asyncio.gather(*(database.fetch_val("SELECT 1") for _ in range(6)))
            async with database.transaction():
                await database.execute("CREATE TEMPORARY TABLE mine (id integer)")
                child = os.fork()
                if child == 0:
                    if {how == "use"}:
                        try:
                            await database.fetch_val("SELECT 1")
                        except orm.ForkedError:
                            os._exit(7)
                        os._exit(1)
                    sys.exit(7)
                _, status = os.waitpid(child, 0)
                assert os.waitstatus_to_exitcode(status) == 7, status
                assert await database.fetch_val("SELECT count(*) FROM mine") == 0
            await asyncio.gather(*(database.fetch_val("SELECT 1") for _ in range(6)))
            await database.disconnect()

        asyncio.run(main())
        """,
    )
    assert run.returncode == 0, run.stderr
    assert fault.proxy.accepted <= 3  # nobody had to connect again


def test_J8_a_child_may_open_its_own(fault, folder):
    run = script(
        folder,
        fault,
        """
        async def main():
            assert await database.fetch_val("SELECT 1") == 1

        asyncio.run(main())
        child = os.fork()
        if child == 0:
            mine = orm.Database(sys.argv[1])

            async def ask():
                assert await mine.fetch_val("SELECT 2") == 2
                await mine.disconnect()

            asyncio.run(ask())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
        asyncio.run(main())
        """,
    )
    assert run.returncode == 0, run.stderr
