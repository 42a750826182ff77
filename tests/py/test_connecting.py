"""Connecting and cancelling: on how many threads, and what hangs there when the program goes on."""

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
import time

import pytest

import orm

LONG = 20  # s: nothing that is bounded takes as long, on however busy a machine
MANY = 20
CONNECTORS = 2


def threads():
    return len(os.listdir("/proc/self/task"))


def descriptors():
    return len(os.listdir("/proc/self/fd"))


async def until(condition):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < LONG
        await asyncio.sleep(0.01)


async def test_many_connections_at_once_use_two_threads(fault):
    async with fault.notes(max_size=MANY) as (database, _):
        before, most = threads(), 0
        inside, go = [], asyncio.Event()

        async def work(number):
            async with database.transaction():
                inside.append(await database.fetch_val(f"SELECT {number}"))
                await go.wait()

        tasks = [asyncio.create_task(work(number)) for number in range(MANY)]

        def are_all_inside():
            nonlocal most
            most = max(most, threads())
            for task in tasks:
                assert not task.done() or task.result()
            return len(inside) == MANY

        await until(are_all_inside)
        assert fault.proxy.open == MANY
        assert 1 <= most - before <= CONNECTORS
        go.set()
        await asyncio.gather(*tasks)


async def test_a_slow_server_does_not_hold_up_another(fault):
    """Its attempts take their own threads."""
    fault.proxy.stall()
    async with fault.notes(connect_timeout=LONG) as (_, note):
        tasks = [asyncio.create_task(_await(note.objects.count())) for _ in range(4)]
        await until(lambda: fault.proxy.open == CONNECTORS)
        other = orm.Database(fault.world.url, connect_timeout=LONG)
        assert await other.fetch_val("SELECT 7") == 7
        await other.disconnect()
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _await(operation):
    return await operation


async def test_attempts_that_were_given_up_leave_nothing(fault):
    before = descriptors(), threads()
    fault.proxy.stall()
    for _ in range(3):
        async with fault.notes(connect_timeout=0.2, query_timeout=0.1) as (_, note):
            results = await asyncio.gather(
                *(_await(note.objects.count()) for _ in range(MANY)), return_exceptions=True
            )
            assert all(isinstance(result, orm.OperationalError) for result in results)
    fault.proxy.flow()
    await until(lambda: fault.proxy.open == 0)
    await until(lambda: (descriptors(), threads()) <= before)


# ---- cancelling

RUNNING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity "
    "WHERE state = 'active' AND query LIKE '%sleep(61)%' AND pid <> pg_backend_pid()",
    "mariadb": "SELECT count(*) FROM information_schema.processlist "
    "WHERE info LIKE '%sleep(61)%' AND id <> connection_id()",
}


def cancellers():
    names = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/self/task/{task}/comm") as file:
                names.append(file.read().strip())
    return names.count("orm-cancel")


async def test_cancels_go_out_on_one_thread(fault):
    """200 of them, in rounds of as many as the server allows connections."""
    size, rounds = 40, 5
    endless = f"SELECT {'pg_sleep' if fault.kind == 'postgresql' else 'sleep'}(61)"
    observer = orm.Database(fault.world.url, max_size=1)

    async def are_running(number):
        return await observer.fetch_val(RUNNING[fault.kind]) == number

    database = orm.Database(fault.world.url, max_size=size)
    most = 0
    for _ in range(rounds):
        tasks = [asyncio.create_task(_await(database.fetch_val(endless))) for _ in range(size)]
        await eventually(are_running, size)
        for task in tasks:
            task.cancel()
        began = time.monotonic()
        while not all(task.done() for task in tasks):
            most = max(most, cancellers())
            await asyncio.sleep(0.001)
        assert time.monotonic() - began < LONG
        assert all(task.cancelled() for task in tasks)
        nonces = await asyncio.gather(
            *(_await(database.fetch_val(f"SELECT {n}")) for n in range(size))
        )
        assert nonces == list(range(size))  # none of them was hit
    assert most == 1
    await eventually(are_running, 0)
    await database.disconnect()
    await observer.disconnect()


async def eventually(condition, *arguments):
    began = time.monotonic()
    while not await condition(*arguments):
        assert time.monotonic() - began < LONG
        await asyncio.sleep(0.02)


# ---- processes

SCRIPT = """
import asyncio, os, sys, time, orm

database = orm.Database(sys.argv[1], connect_timeout=60)

async def hang():
    asyncio.create_task(run())
    await asyncio.sleep(0.3)

async def run():
    await database.fetch_val("SELECT 1")
"""


def script(folder, fault, body):
    (folder / "script.py").write_text(SCRIPT + textwrap.dedent(body))
    fault.proxy.stall()
    run = subprocess.run(
        [sys.executable, "script.py", fault.proxy.url, fault.world.url],
        capture_output=True,
        text=True,
        timeout=LONG,  # connecting would take 60 s
        cwd=folder,
    )
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.parametrize(
    "how", ["asyncio.run(hang())", "asyncio.run(hang()); sys.exit()", "raise_in(hang)"]
)
def test_exit_while_it_connects(fault, folder, how):
    script(
        folder,
        fault,
        f"""
        def raise_in(what):
            async def main():
                await what()
                raise SystemExit

            asyncio.run(main())

        {how}
        """,
    )


def test_fork_while_it_connects(fault, folder):
    """The child neither waits for the parent's attempts nor ends them."""
    script(
        folder,
        fault,
        """
        async def main():
            await hang()
            child = os.fork()
            if child == 0:
                try:
                    await database.fetch_val("SELECT 1")
                except orm.ForkedError:
                    sys.exit(7)
                os._exit(1)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 7, status
            other = orm.Database(sys.argv[2])
            assert await other.fetch_val("SELECT 2") == 2
            await other.disconnect()

        asyncio.run(main())
        """,
    )
