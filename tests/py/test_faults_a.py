"""Network and server faults (group A of the reliability cases): a proxy between us and the server.

What is late is told by order, not by clocks: a wait of seconds that ended while a fault of a
minute lasted was bounded.  How close to the deadline is measured by `make cancel`.
"""

import asyncio
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import orm
from tests.servers.faultproxy import Fault

LOST = (orm.ConnectionLost, orm.ConnectError)
LONG = 20  # s: nothing that is bounded takes as long, on however busy a machine


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def sleep(fault, seconds):
    return f"SELECT {'pg_sleep' if fault.kind == 'postgresql' else 'sleep'}({seconds})"


async def fails(awaitable, *classes):
    """The error of an operation that has to fail, well before LONG is over."""
    began = time.monotonic()
    with pytest.raises(classes or orm.Error) as caught:
        await awaitable
    assert time.monotonic() - began < LONG
    return caught.value


async def eventually(make):
    """The first result of make() that is no error: service goes on by itself."""
    began = time.monotonic()
    while True:
        try:
            return await make()
        except orm.OperationalError:
            assert time.monotonic() - began < LONG
            await asyncio.sleep(0.02)


def password(url):
    return url.partition("://")[2].partition(":")[2].partition("@")[0]


# ---- connecting


async def test_A1_a_port_where_nobody_listens(fault):
    url = fault.proxy.url.replace(f":{fault.proxy.port}/", f":{free_port()}/")
    database = orm.Database(url)
    error = await fails(database.fetch_val("SELECT 1"), orm.ConnectError)
    assert error.is_disconnect
    assert password(url) not in f"{error!r} {error} {database!r}"
    await database.disconnect()


async def test_A2_a_listener_that_never_speaks(fault):
    fault.proxy.stall()
    async with fault.notes(connect_timeout=0.3) as (_, note):
        await fails(note.objects.count(), orm.ConnectError)
    async with fault.notes(query_timeout=0.3) as (_, note):
        await fails(note.objects.count(), orm.QueryTimeout)
    before = descriptors()
    for _ in range(5):
        async with fault.notes(connect_timeout=0.1, max_size=1) as (_, note):
            await fails(note.objects.count(), orm.ConnectError)
    fault.proxy.flow()
    await asyncio.sleep(0.1)
    assert descriptors() <= before + 4


SLOW_DNS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");
    if (node && strcmp(node, "slow.invalid") == 0) {
        sleep(30);
        return EAI_AGAIN;
    }
    return next(node, service, hints, out);
}
"""


def test_A3_a_name_that_takes_long_to_resolve(fault, folder):
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("another library is preloaded")
    (folder / "dns.c").write_text(SLOW_DNS)
    compiled = subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", "dns.so", "dns.c", "-ldl"], capture_output=True
    )
    assert compiled.returncode == 0, compiled.stderr
    url = fault.proxy.url.replace("127.0.0.1", "slow.invalid")
    (folder / "script.py").write_text(
        textwrap.dedent("""
        import asyncio, sys, time, orm

        async def main():
            database = orm.Database(sys.argv[1], query_timeout=0.5)
            beats = 0
            began = time.monotonic()
            task = asyncio.create_task(fails(database))
            while not task.done():
                await asyncio.sleep(0.01)
                beats += 1
            assert isinstance(task.result(), orm.QueryTimeout), task.result()
            assert beats > 5, beats
            await database.disconnect()
            assert time.monotonic() - began < 20

        async def fails(database):
            try:
                await database.fetch_val("SELECT 1")
            except orm.Error as error:
                return error

        asyncio.run(main())
        """)
    )
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-W", "error", "script.py", url],
        env={**os.environ, "LD_PRELOAD": str(folder / "dns.so")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert time.monotonic() - began < 25  # nothing waits for the name at exit either


async def test_A15_too_many_connections(fault):
    """The server's limit is 60."""
    async with fault.notes(max_size=80) as (database, note):
        results = await asyncio.gather(
            *(_await(database.fetch_val(sleep(fault, 3))) for _ in range(80)),
            return_exceptions=True,
        )
        errors = [result for result in results if isinstance(result, BaseException)]
        assert errors
        assert all(isinstance(error, orm.ConnectError) for error in errors)
        assert all(error.is_retryable for error in errors)
        assert await eventually(note.objects.count) == 0


async def _await(operation):
    return await operation


async def test_A16_a_wrong_password(fault):
    secret = "canary-Zq81"
    url = fault.proxy.url.replace(password(fault.proxy.url), secret)
    database = orm.Database(url)
    before = fault.proxy.accepted
    error = await fails(database.fetch_val("SELECT 1"), orm.AuthError)
    assert not error.is_retryable
    assert secret not in f"{error!r} {error} {error.__dict__}"
    assert fault.proxy.accepted - before == 1
    await database.disconnect()


async def test_A17_a_server_that_flaps(fault):
    async with fault.notes(max_size=4) as (_, note):
        await note.objects.count()
        await asyncio.gather(*(note.objects.count() for _ in range(20)))
        threads, files = threading.active_count(), descriptors()
        stop = asyncio.Event()
        done = failed = 0

        async def work():
            nonlocal done, failed
            while not stop.is_set():
                try:
                    await note.objects.count()
                    done += 1
                except orm.OperationalError:
                    failed += 1
                    await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(work()) for _ in range(4)]
        for _ in range(8):
            fault.proxy.refuse()
            fault.proxy.cut()
            await asyncio.sleep(0.1)
            fault.proxy.listen()
            await asyncio.sleep(0.1)
        await eventually(note.objects.count)
        stop.set()
        await asyncio.gather(*tasks)
        assert done and failed
        await asyncio.gather(*(note.objects.count() for _ in range(20)))
        assert threading.active_count() <= threads
        assert descriptors() <= files + 8


# ---- connections that break


async def test_A4_a_reset_before_the_first_byte_of_the_answer(fault):
    async with fault.notes(max_size=1) as (_, note):
        for side in ("server", "client"):
            assert await eventually(note.objects.count) == 0
            fault.proxy.arm(Fault(side))
            error = await fails(note.objects.all(), *LOST)
            assert error.is_disconnect
            assert error.outcome == "none"
            assert await eventually(note.objects.count) == 0
            fault.proxy.arm(Fault(side))
            error = await fails(note.objects.create(text=side), *LOST)
            assert error.outcome == "none"  # it was not prepared yet
            made = await eventually(lambda: note.objects.create(text="prepared"))
            await made.delete()
            fault.proxy.arm(Fault(side))
            error = await fails(note.objects.create(text=side), *LOST)
            assert error.outcome == "unknown"
            assert await fault.Note.objects.count() == (side == "server")
            await fault.Note.objects.delete()


SESSION_TEXTS = ["", "a", "x" * 100]


async def session(fault, **options):
    """A short life with every kind of answer: its results."""
    async with fault.notes(max_size=1, **options) as (database, note):
        rows = await note.objects.order_by("id").all()
        one = await note.objects.get(pk=rows[0].pk)
        async with database.transaction():
            made = await note.objects.create(text="mine")
            await made.delete()
        return [row.text for row in rows], one.text, await note.objects.count()


async def fill(fault):
    for text in SESSION_TEXTS:
        await fault.Note(text=text).save() if text else None
    rows = [text for text in SESSION_TEXTS if text]
    return rows, rows[0], len(rows)


async def recorded(fault):
    """What the session gives when nothing happens, and the bytes of the server in it."""
    expected = await fill(fault)
    before = fault.proxy.bytes["server"]
    assert await session(fault) == expected
    return expected, fault.proxy.bytes["server"] - before


def positions(total, n):
    """n of the positions, spread; tests.soak.cuts takes all of them."""
    chance = random.Random(total)
    step = max(total // n, 1)
    return [start + chance.randrange(step) for start in range(0, total, step)]


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_A5_a_cut_at_any_byte_of_the_answers(fault, how):
    expected, total = await recorded(fault)
    outcomes = set()
    for at in positions(total, 40):
        fault.proxy.faults = [Fault("server", at, how)]
        try:
            result = await asyncio.wait_for(session(fault), LONG)
        except orm.Error:
            outcomes.add("error")
        else:
            assert result == expected, at  # whole, or not at all
            outcomes.add("result")
        fault.proxy.faults = []
    assert "error" in outcomes
    await fault.Note.objects.filter(text="mine").delete()
    assert await session(fault) == expected


async def test_A6_one_byte_at_a_time(fault):
    expected = await fill(fault)
    fault.proxy.faults = [Fault("server", 0, "dribble"), Fault("client", 0, "dribble")]
    assert await session(fault) == expected


async def test_A10_bytes_that_are_wrong(fault):
    """A wrong value cannot be told from a right one; but nothing hangs and nothing crashes."""
    _, total = await recorded(fault)
    chance = random.Random(total)

    async def one(at):
        fault.proxy.faults = [Fault("server", at, "flip", chance.randrange(8))]
        try:
            await session(fault, connect_timeout=0.5, query_timeout=0.5)
        except (orm.Error, UnicodeError):
            pass

    for at in positions(total, 16):
        await asyncio.wait_for(one(at), LONG)
    fault.proxy.faults = []
    assert await fault.Note.objects.filter(text="a").count() == 1


async def test_A13_idle_connections_that_are_cut(fault):
    async with fault.notes() as (_, note):
        for how in ("reset", "close"):
            await asyncio.gather(*(note.objects.count() for _ in range(20)))
            assert fault.proxy.cut(how) > 1
            await asyncio.sleep(0.1)
            assert await note.objects.count() == 0


async def test_A14_the_server_ends_an_idle_transaction(fault):
    statement = (
        "SET idle_in_transaction_session_timeout = '100ms'"
        if fault.kind == "postgresql"
        else "SET SESSION wait_timeout = 1"
    )
    async with fault.notes() as (database, note):
        with pytest.raises(orm.TransactionRolledBack):
            async with database.transaction():
                await note.objects.create(text="a")
                await database.execute(statement)
                await asyncio.sleep(0.5 if fault.kind == "postgresql" else 2)
                with pytest.raises((orm.ConnectionLost, orm.TransactionRolledBack)):
                    await note.objects.create(text="b")
        assert await note.objects.count() == 0


# ---- silence


async def test_A7_a_black_hole_during_a_query(fault):
    async with fault.notes(max_size=1, query_timeout=0.3) as (_, note):
        assert await note.objects.count() == 0
        fault.proxy.stall()
        for _ in range(3):
            await fails(note.objects.count(), orm.QueryTimeout, orm.PoolTimeout)
        error = await fails(note.objects.create(text="a"), orm.QueryTimeout, orm.PoolTimeout)
        fault.proxy.flow()
        assert await eventually(note.objects.count) in (0, 1)
        if error.outcome == "none":
            assert await fault.Note.objects.count() == 0


async def test_A9_a_black_hole_while_a_transaction_ends(fault):
    for end in ("commit", "rollback"):
        async with fault.notes(max_size=1, query_timeout=0.3) as (database, note):
            transaction = database.transaction()
            await transaction.start()
            await note.objects.create(text=end)
            fault.proxy.stall()
            if end == "commit":
                error = await fails(transaction.commit(), orm.CommitUnknown)
                assert error.outcome == "unknown"
            else:
                try:
                    await asyncio.wait_for(transaction.rollback(), LONG)
                except orm.OperationalError:
                    pass
            fault.proxy.flow()
            await eventually(note.objects.count)
            if end == "rollback":
                assert await note.objects.filter(text=end).count() == 0


async def test_A9_a_black_hole_while_the_database_is_closed(fault):
    async with fault.notes(max_size=3) as (database, note):
        async with database.transaction():
            await note.objects.create(text="a")
            tasks = [asyncio.create_task(_await(fault.world.database.fetch_val("SELECT 1")))]
            fault.proxy.stall()
            began = time.monotonic()
            await database.disconnect()
            assert time.monotonic() - began < LONG
            await asyncio.gather(*tasks)
        fault.proxy.flow()


# ---- the process


async def test_A18_more_than_1024_descriptors(fault):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2500:
        pytest.skip(f"at most {hard} descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2500, hard))
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(2000)]
    try:
        async with fault.notes() as (_, note):
            assert await asyncio.gather(*(note.objects.count() for _ in range(20))) == [0] * 20
    finally:
        for number in files:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_A19_a_thousand_signals_a_second(fault):
    hits = 0

    def hit(*_):
        nonlocal hits
        hits += 1

    before = signal.signal(signal.SIGALRM, hit)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        async with fault.notes(max_size=3) as (database, note):
            for n in range(20):
                await note.objects.create(text=str(n))
                await asyncio.gather(*(note.objects.count() for _ in range(5)))
            await database.fetch_val(sleep(fault, 0.2))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert hits
    assert await fault.Note.objects.count() == 20


async def test_A20_a_closed_socket_is_no_signal(fault):
    """As in a C program that ignores nothing."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        async with fault.notes(max_size=1) as (database, note):
            with pytest.raises(orm.TransactionRolledBack):
                async with database.transaction():
                    await note.objects.create(text="a")
                    fault.proxy.cut()
                    for _ in range(3):
                        await asyncio.sleep(0.05)
                        await fails(note.objects.create(text="b"), orm.OperationalError)
            assert await eventually(note.objects.count) == 0
    finally:
        signal.signal(signal.SIGPIPE, before)
