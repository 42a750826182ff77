"""The pool of a server and the life of a process (groups D and J of the reliability cases)."""

import asyncio
import gc
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import pytest

import orm
from tests.servers.faultproxy import Fault

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


async def test_D1_the_error_names_the_tasks(fault):
    async with fault.notes(max_size=2, acquire_timeout=0.3) as (database, note):
        over = asyncio.Event()

        async def hold():
            async with database.transaction():
                await note.objects.count()
                await over.wait()

        async def ask():
            await database.fetch_val(sleep(fault, 60))

        holder = asyncio.create_task(hold(), name="importer")
        asker = asyncio.create_task(ask(), name="report")
        await asyncio.sleep(0.1)
        with pytest.raises(orm.PoolTimeout) as caught:
            await note.objects.count()
        text = str(caught.value)
        assert re.search(r"held by a transaction of task 'importer' for \d+ ms", text), text
        assert re.search(r"task 'report' for \d+ ms", text), text
        over.set()
        asker.cancel()
        await asyncio.gather(holder, asker, return_exceptions=True)


async def test_D1_whose_transaction_it_is(world):
    """Of a database that lets one write: who holds the writer."""
    world.fields()
    await world.create()
    database = orm.Database(world.url, max_size=1, acquire_timeout=0.3)
    begun, over = asyncio.Event(), asyncio.Event()

    async def hold():
        async with database.transaction():
            await database.execute("DELETE FROM thing")
            begun.set()
            await over.wait()

    task = asyncio.create_task(hold(), name="importer")
    await begun.wait()
    with pytest.raises(orm.PoolTimeout, match=r"a transaction of task 'importer' for [0-9]+ ms"):
        await database.execute("DELETE FROM thing")
    over.set()
    await task
    await database.disconnect()


async def test_D1_a_transaction_whose_task_has_ended(world):
    world.fields()
    await world.create()
    database = orm.Database(world.url, max_size=1, acquire_timeout=0.3)

    async def leave():
        transaction = await database.transaction().start()
        await database.execute("DELETE FROM thing")
        return transaction

    transaction = await asyncio.create_task(leave())
    with pytest.raises(orm.PoolTimeout, match=r"transaction whose task has ended for [0-9]+ ms"):
        await database.execute("DELETE FROM thing")
    await transaction.rollback()
    await database.execute("DELETE FROM thing")
    await database.disconnect()


async def test_D3_no_more_wait_than_may(world):
    """Who comes when as many wait as may is told so at once; the others are served."""
    await world.database.disconnect()
    database = orm.Database(world.url, max_size=1, max_waiting=2, acquire_timeout=LONG)
    world.database = database
    thing = world.fields()
    await world.create()
    begun, over, served = asyncio.Event(), asyncio.Event(), []

    async def hold():
        async with database.transaction():
            await thing.objects.delete()
            begun.set()
            await over.wait()

    async def write(number):
        await thing.objects.delete()
        served.append(number)

    holder = asyncio.create_task(hold())
    await begun.wait()
    waiting = [asyncio.create_task(write(number)) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(orm.PoolTimeout, match=r"max_waiting allows wait already \(2\)"):
        await thing.objects.delete()
    assert served == []
    over.set()
    await asyncio.gather(holder, *waiting)
    assert served == [0, 1]
    await thing.objects.delete()


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


@pytest.mark.parametrize("debug", [True, False])
async def test_D5_who_forgets_one_is_warned(world, debug):
    """In debug mode the warning says where it began; the connection is free again either way."""
    world.fields()
    await world.create()
    database = orm.Database(world.url, max_size=1, acquire_timeout=LONG)

    async def forget():
        await database.transaction().start()
        await database.execute("DELETE FROM thing")

    asyncio.get_running_loop().set_debug(debug)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await asyncio.create_task(forget())
        await asyncio.sleep(0.01)  # the loop lets go of the task's context
        gc.collect()
    (text,) = [str(each.message) for each in caught if each.category is ResourceWarning]
    assert text.startswith("a transaction was never ended and is rolled back")
    began = forget.__code__.co_firstlineno + 1
    assert (f"test_faults_d.py:{began}" in text) == debug
    assert ("debug mode says where" in text) != debug
    await database.execute("DELETE FROM thing")
    await database.disconnect()


async def test_D5_who_ends_it_is_not_warned(world):
    world.fields()
    await world.create()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for end in ("commit", "rollback"):
            transaction = await world.database.transaction().start()
            await world.database.execute("DELETE FROM thing")
            await getattr(transaction, end)()
        with pytest.raises(ZeroDivisionError):
            async with world.database.transaction():
                1 / 0  # noqa: B018
        never_begun = world.database.transaction()
        del transaction, never_begun
        gc.collect()
    assert [each for each in caught if each.category is ResourceWarning] == []


CLOCKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/timerfd.h>
#include <time.h>

static long long offset_s; /* of the monotonic clock */
static int calls;

static int real(clockid_t clock, struct timespec *t)
{
    int (*next)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return next(clock, t);
}

void begin_jumps(long long tick_ms)
{
    struct timespec t;
    real(CLOCK_MONOTONIC, &t);
    offset_s = tick_ms / 1000 - t.tv_sec - 1; /* it is passed in one second or two */
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int result = real(clock, t);
    if (clock == CLOCK_MONOTONIC) t->tv_sec += offset_s;
    if (clock == CLOCK_REALTIME) t->tv_sec += __sync_add_and_fetch(&calls, 1) % 2 ? 86400 : -86400;
    return result;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *to, struct itimerspec *from)
{
    int (*next)(int, int, const struct itimerspec *, struct itimerspec *) =
        (int (*)(int, int, const struct itimerspec *, struct itimerspec *))dlsym(
            RTLD_NEXT, "timerfd_settime");
    struct itimerspec shifted = *to;
    if (flags & TFD_TIMER_ABSTIME && (to->it_value.tv_sec || to->it_value.tv_nsec))
        shifted.it_value.tv_sec -= offset_s;
    return next(fd, flags, &shifted, from);
}
"""

JUMPS = """
import asyncio, ctypes, re, sys, time, orm

async def main(url, slow, tick):
    database = orm.Database(url, max_size=1, query_timeout=20, acquire_timeout=0.3)
    quick = orm.Database(url, max_size=1, query_timeout=0.3)
    began, rounds = time.monotonic(), 0
    while time.monotonic() * 1000 < tick + 300 or rounds < 20:
        assert await database.fetch_val("SELECT 1") == 1
        rounds += 1
        await asyncio.sleep(0.01)
    assert began * 1000 < tick < time.monotonic() * 1000, "the clock was not passed"
    try:
        await quick.fetch_val(slow)
        raise SystemExit("no QueryTimeout")
    except orm.QueryTimeout:
        pass
    begun = asyncio.Event()
    writer = asyncio.create_task(write(database, begun))
    async with database.transaction():
        await database.execute("DELETE FROM thing")
        begun.set()
        try:
            await writer
            raise SystemExit("no PoolTimeout")
        except orm.PoolTimeout as error:
            ages = [int(age) for age in re.findall(r"for (\\d+) ms", str(error))]
            assert ages and max(ages) < 60_000, error
    await quick.disconnect()
    await database.disconnect()

async def write(database, begun):
    await begun.wait()
    await database.execute("DELETE FROM thing")

url, slow, tick = sys.argv[1], sys.argv[2], int(sys.argv[3])
ctypes.CDLL(None).begin_jumps(ctypes.c_longlong(tick))
asyncio.run(main(url, slow, tick))
"""


@pytest.mark.parametrize("tick", [2**31, 2**32])
def test_D6_clocks_that_jump(world, folder, tick):
    """The wall clock goes back and forth by a day, and the ticks pass what 32 bits hold."""
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("another library is preloaded")
    (folder / "clocks.c").write_text(CLOCKS)
    (folder / "jumps.py").write_text(JUMPS)
    compiled = subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", "clocks.so", "clocks.c", "-ldl"], capture_output=True
    )
    if compiled.returncode:
        pytest.skip("no compiler")
    world.fields()
    asyncio.run(orm.create_all(world.metadata, world.database))
    ran = subprocess.run(
        [sys.executable, "jumps.py", world.url, world.slow(), str(tick)],
        env={**os.environ, "LD_PRELOAD": str(folder / "clocks.so")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr


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


async def test_D11_one_connection_that_is_slow_to_come_back(fault):
    """What was cancelled on it is read to its end, which does not come: the others go on."""
    quickest = LONG
    for _ in range(5):  # the machine may be slow as well, though not each time
        async with fault.notes(max_size=2) as (database, note):
            await note.objects.count()
            stuck = asyncio.create_task(_run(lambda: database.fetch_val(sleep(fault, 60))))
            await asyncio.sleep(0.1)
            fault.proxy.arm(Fault("server", 0, "stall"))
            await note.objects.count()  # on a connection of its own
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)
            began = time.monotonic()
            for _ in range(20):
                assert await note.objects.count() == 0
            quickest = min(quickest, time.monotonic() - began)
            fault.proxy.cut()
        if quickest < 1:
            return
    pytest.fail(f"the others waited for {quickest} s")


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
