"""Transactions and sessions under faults (group C of the reliability cases), on servers."""

import asyncio

import pytest

import orm
from tests.servers.faultproxy import Fault

LOST = (orm.ConnectionLost, orm.ConnectError, orm.TransactionRolledBack)


async def _await(operation):
    return await operation


async def eventually(make):
    """The first result of make() that is no error."""
    for _ in range(1000):
        try:
            return await make()
        except orm.OperationalError:
            await asyncio.sleep(0.02)
    return await make()


# ---- sessions

LEFT_BEHIND = {
    "postgresql": [
        ("SET work_mem = '3MB'", "SHOW work_mem"),
        ("SELECT set_config('search_path', 'pg_catalog', false)", "SHOW search_path"),
        ("SET timezone = 'Asia/Tokyo'", "SHOW timezone"),
        (
            "CREATE TEMP TABLE left_behind (id integer)",
            "SELECT count(*) FROM pg_class WHERE relname = 'left_behind'",
        ),
        (
            "SELECT pg_advisory_lock(7)",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        ),
        ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()"),
        ("SET my.variable = 'x'", "SELECT coalesce(current_setting('my.variable', true), '')"),
        ("BEGIN", "SELECT pg_current_xact_id_if_assigned()::text"),
    ],
    "mariadb": [
        ("SET SESSION sort_buffer_size = 65536", "SELECT @@sort_buffer_size"),
        ("SET SESSION sql_mode = ''", "SELECT @@sql_mode"),
        ("SET time_zone = '+09:00'", "SELECT @@time_zone"),
        ("SELECT @mine := 5", "SELECT @mine"),
        ("SELECT GET_LOCK('mine', 1)", "SELECT IS_USED_LOCK('mine')"),
        ("START TRANSACTION", "SELECT @@in_transaction"),
    ],
}


async def test_C13_what_a_borrower_leaves_behind_the_next_does_not_see(fault):
    async with fault.notes(max_size=1) as (database, note):
        await note.objects.create(text="prepared before")
        pid = "pg_backend_pid()" if fault.kind == "postgresql" else "connection_id()"
        first = await database.fetch_val(f"SELECT {pid}")
        for leave, look in LEFT_BEHIND[fault.kind]:
            before = await database.fetch_val(look)
            await database.execute(leave)
            assert await database.fetch_val(look) == before, leave
            assert await note.objects.filter(text="prepared before").count() == 1
        assert await database.fetch_val(f"SELECT {pid}") == first  # renewed, not replaced


async def test_C13_within_a_transaction_it_stays(fault):
    statement, look = LEFT_BEHIND[fault.kind][0]
    async with fault.notes(max_size=1) as (database, _):
        before = await database.fetch_val(look)
        async with database.transaction():
            await database.execute(statement)
            inside = await database.fetch_val(look)
            assert inside != before
        assert await database.fetch_val(look) == before


async def test_C13_a_temporary_table_of_mariadb(fault):
    if fault.kind != "mariadb":
        pytest.skip("its catalog does not show them")
    async with fault.notes(max_size=1) as (database, _):
        for _ in range(2):  # a second one of the name would be an error
            await database.execute("CREATE TEMPORARY TABLE left_behind (id integer)")


async def test_C13_a_connection_that_cannot_be_renewed_is_closed(fault):
    async with fault.notes(max_size=1) as (database, note):
        await note.objects.count()
        # its own answer passes, what comes then does not
        for at in (0, 40, 200):
            await eventually(note.objects.count)
            task = asyncio.create_task(_await(database.execute(LEFT_BEHIND[fault.kind][0][0])))
            fault.proxy.arm(Fault("server", at))
            await asyncio.gather(task, return_exceptions=True)
            assert await eventually(note.objects.count) == 0


# ---- savepoints and failures


async def test_C5_a_savepoint_that_cannot_be_made(fault):
    async with fault.notes(max_size=1) as (database, note):
        with pytest.raises(orm.TransactionRolledBack):
            async with database.transaction():
                await note.objects.create(text="outer")
                fault.proxy.arm(Fault("server"))
                with pytest.raises(LOST):
                    async with database.transaction():
                        await note.objects.create(text="inner")
                with pytest.raises(orm.TransactionRolledBack):
                    await note.objects.create(text="outer again")
        async with database.transaction():
            await note.objects.create(text="next")
        assert [row.text for row in await note.objects.all()] == ["next"]


async def test_C6_C16_a_statement_that_fails_fails_the_transaction(fault):
    if fault.kind != "postgresql":
        pytest.skip("only the statement is undone there")
    first = await fault.Note.objects.create(text="first")
    async with fault.notes() as (database, note):
        with pytest.raises(orm.TransactionRolledBack, match="duplicate key") as caught:
            async with database.transaction():
                await note.objects.create(text="gone")
                with pytest.raises(orm.UniqueViolation):
                    await note.objects.create(id=first.pk, text="again")
        assert caught.value.outcome == "rolled_back"
        with pytest.raises(orm.TransactionRolledBack, match="duplicate key"):
            async with database.transaction():
                with pytest.raises(orm.UniqueViolation):
                    await note.objects.create(id=first.pk, text="again")
                await note.objects.count()
        assert await note.objects.count() == 1


@pytest.mark.parametrize("how", ["raised", "caught inside", "caught outside"])
async def test_a_failure_within_a_nested_block_is_undone_with_it(fault, how):
    first = await fault.Note.objects.create(text="first")
    async with fault.notes() as (database, note):
        async with database.transaction():
            await note.objects.create(text="outer")
            try:
                async with database.transaction():
                    await note.objects.create(text="inner")
                    try:
                        await note.objects.create(id=first.pk, text="again")
                    except orm.UniqueViolation:
                        if how != "caught inside":
                            raise
            except (orm.UniqueViolation, orm.TransactionRolledBack):
                pass
            await note.objects.create(text="behind")
        texts = {row.text for row in await note.objects.all()}
        # where only the statement is undone, a block that caught its error has succeeded
        kept = {"inner"} if fault.kind == "mariadb" and how == "caught inside" else set()
        assert texts == {"first", "outer", "behind"} | kept


async def test_C11_ddl_inside_of_a_transaction(fault):
    async with fault.notes() as (database, note):
        ddl = "CREATE TABLE made_inside (id integer)"
        with pytest.raises(LookupError):
            async with database.transaction():
                await note.objects.create(text="a")
                if fault.kind == "mariadb":
                    with pytest.raises(orm.NotSupportedError, match="commit"):
                        await database.execute(ddl)
                    with pytest.raises(orm.NotSupportedError, match="outside"):
                        await orm.create_all(note.__metadata__, database)
                    await database.execute("CREATE TEMPORARY TABLE made_inside (id integer)")
                else:
                    await database.execute(ddl)
                raise LookupError
        assert await note.objects.count() == 0
        with pytest.raises(orm.NoSuchTable):
            await database.fetch_all("SELECT id FROM made_inside")


# ---- COMMIT, cut everywhere


@pytest.mark.parametrize("side", ["client", "server"])
async def test_C7_a_commit_that_is_cut(fault, side):
    """Whatever byte of it is lost: what was said holds."""
    said = []
    async with fault.notes(max_size=1) as (database, note):
        for at in range(0, 400, 5):
            if said[-2:] == ["committed"] * 2:
                break
            transaction = await database.transaction().start()
            await note.objects.create(text=str(at))
            fault.proxy.arm(Fault(side, at))
            sent = fault.proxy.accepted
            try:
                await transaction.commit()
                outcome = "committed"
            except orm.CommitUnknown as error:
                assert error.outcome == "unknown"
                assert not error.is_retryable
                outcome = "unknown"
            except orm.OperationalError as error:
                assert error.outcome == "rolled_back"
                outcome = "rolled back"
            assert fault.proxy.accepted == sent  # never sent again, on no other connection
            stored = await fault.Note.objects.filter(text=str(at)).count()
            if outcome != "unknown":
                assert stored == (outcome == "committed"), at
            said.append(outcome)
            fault.proxy.cut()
            assert await eventually(note.objects.count) >= 0
    assert "unknown" in said
    assert "committed" in said


async def test_C14_a_rollback_that_is_cut(fault):
    async with fault.notes(max_size=1) as (database, note):
        for at in (0, 5, 11):
            with pytest.raises(LookupError):  # the block's own error, whatever the rollback's is
                async with database.transaction():
                    await note.objects.create(text="a")
                    fault.proxy.arm(Fault("server", at))
                    raise LookupError
            assert await eventually(note.objects.count) == 0


# ---- transactions that lose to others


async def two_notes(fault):
    return await fault.Note.objects.bulk_create([{"text": "a"}, {"text": "b"}])


class Meeting:
    """Where two tasks wait for each other, once."""

    def __init__(self):
        self.here = 0

    async def wait(self):
        self.here += 1
        while self.here < 2:
            await asyncio.sleep(0.001)


async def test_C10_C12_a_deadlock(fault):
    a, b = await two_notes(fault)
    async with fault.notes() as (database, note):
        meeting, runs = Meeting(), 0

        @orm.retry()
        @database.transaction()
        async def work(first, second, text):
            nonlocal runs
            runs += 1
            await note.objects.filter(pk=first).update(text=text)
            await meeting.wait()
            await note.objects.filter(pk=second).update(text=text)

        await asyncio.gather(work(a.pk, b.pk, "x"), work(b.pk, a.pk, "y"))
        assert runs == 3
        assert len({row.text for row in await note.objects.all()}) == 1

        meeting = Meeting()

        async def without_retry(first, second):
            async with database.transaction():
                await note.objects.filter(pk=first).update(text="z")
                await meeting.wait()
                await note.objects.filter(pk=second).update(text="z")

        results = await asyncio.gather(
            without_retry(a.pk, b.pk), without_retry(b.pk, a.pk), return_exceptions=True
        )
        errors = [result for result in results if result is not None]
        assert [type(error) for error in errors] == [orm.DeadlockDetected]
        assert errors[0].is_retryable


async def test_C12_a_serialization_failure(fault):
    a, b = await two_notes(fault)
    async with fault.notes() as (database, note):
        meeting, runs = Meeting(), 0

        @orm.retry()
        @database.transaction(isolation="serializable")
        async def work(read, write):
            nonlocal runs
            runs += 1
            text = (await note.objects.get(pk=read)).text
            await meeting.wait()
            await note.objects.filter(pk=write).update(text=text + "!")

        await asyncio.gather(work(a.pk, b.pk), work(b.pk, a.pk))
        assert runs >= 3
        # one after the other, in either order
        texts = [row.text for row in await note.objects.order_by("id")]
        assert texts in (["a!!", "a!"], ["b!", "b!!"])


async def test_retry_gives_up_and_never_repeats_what_it_should_not(fault):
    runs = 0

    async def count(error):
        nonlocal runs
        runs += 1
        raise error

    def failure(cls, outcome, retryable=True):
        error = cls("as told")
        error.is_retryable, error.outcome = retryable, outcome
        return error

    for error, wanted in (
        (failure(orm.DeadlockDetected, "rolled_back"), 3),
        (failure(orm.ConnectionLost, "none"), 3),
        (failure(orm.ConnectionLost, "unknown"), 1),
        (failure(orm.CommitUnknown, "unknown", False), 1),
        (failure(orm.UniqueViolation, "none", False), 1),
        (LookupError(), 1),
        (asyncio.CancelledError(), 1),
    ):
        runs = 0
        with pytest.raises(type(error)):
            await orm.retry(3, wait=0.001)(count)(error)
        assert runs == wanted, error
    with pytest.raises(ValueError, match="expected at least 1"):
        orm.retry(0)
    with pytest.raises(TypeError, match="coroutine function"):
        orm.retry()(print)


async def test_C10_a_lock_that_is_not_to_be_had(fault):
    a, _ = await two_notes(fault)
    async with fault.notes() as (database, note):
        if fault.kind == "postgresql":
            setting = "SET LOCAL lock_timeout = '50ms'"
        else:
            setting = "SET SESSION innodb_lock_wait_timeout = 1"
        async with fault.world.database.transaction():
            await fault.Note.objects.filter(pk=a.pk).update(text="held")
            with pytest.raises(orm.TransactionRolledBack):
                async with database.transaction():
                    await database.execute(setting)
                    await note.objects.create(text="the half before")
                    with pytest.raises(orm.LockTimeout) as caught:
                        await note.objects.filter(pk=a.pk).update(text="wanted")
                    assert caught.value.is_retryable
                    with pytest.raises(orm.TransactionRolledBack):
                        await note.objects.create(text="the half behind")
        assert sorted(row.text for row in await note.objects.all()) == ["b", "held"]


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
async def test_isolation_levels_are_what_they_say(fault, level):
    """What a second look sees of what another has committed meanwhile."""
    await two_notes(fault)
    async with fault.notes() as (database, note):
        async with database.transaction(isolation=level, readonly=True):
            assert await note.objects.count() == 2
            writer = asyncio.ensure_future(_await(fault.Note.objects.create(text="c")))
            if level != "serializable" or fault.kind == "postgresql":
                await writer
            assert await note.objects.count() == (3 if level == "read committed" else 2)
        await writer
        assert await note.objects.count() == 3
        # the level was the transaction's own
        async with database.transaction():
            assert await note.objects.count() == 3
