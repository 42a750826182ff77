"""Transactions, savepoints, and what a task may do inside of somebody else's."""

import asyncio

import pytest

import orm


async def names(music):
    return [album.name for album in await music.Album.objects.order_by("id")]


# ---- begin, commit, roll back


async def test_gather_takes_querysets_and_operations(music):
    await music.fill()
    albums = music.Album.objects.order_by("id")
    async with music.database.transaction():
        rows, count, first = await music.database.gather(
            albums[:2], albums.count(), music.Track.objects.first()
        )
    assert rows == await albums[:2]
    assert (count, first.pk) == (await albums.count(), 1)
    with pytest.raises(TypeError, match="takes querysets and operations of this database"):
        music.database.gather(music.Album)


@pytest.mark.loops
async def test_a_block_commits(music):
    async with music.database.transaction():
        await music.Album.objects.create(name="a")
        await music.Album.objects.create(name="b")
    assert await names(music) == ["a", "b"]
    assert music.outside("SELECT name FROM album ORDER BY id") == [("a",), ("b",)]


@pytest.mark.loops
async def test_a_block_that_raises_rolls_back(music):
    with pytest.raises(RuntimeError, match="mine"):
        async with music.database.transaction():
            await music.Album.objects.create(name="a")
            raise RuntimeError("mine")
    assert await names(music) == []


async def test_the_block_sees_its_own_writes_and_nobody_else_does(music):
    async with music.database.transaction():
        await music.Album.objects.create(name="a")
        assert await names(music) == ["a"]
        assert music.outside("SELECT * FROM album") == []


async def test_begin_travels_with_the_first_statement(music):
    async with music.database.transaction():
        assert music.statements == []
        await music.Album.objects.create(name="a")
        assert any(sql.startswith("INSERT") for sql in music.statements)


async def test_an_empty_block_sends_nothing(music, nothing_sent):
    with nothing_sent(music):
        async with music.database.transaction():
            pass


async def test_transactions_are_immediate(music):
    """A block that reads first and writes then never fails because somebody wrote between."""
    async with music.database.transaction():
        await music.Album.objects.count()
        import sqlite3

        other = sqlite3.connect(music.path, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO album (name) VALUES ('x')")
        other.close()
        await music.Album.objects.create(name="a")
    assert await names(music) == ["a"]


async def test_explicit_start_commit_and_rollback(music):
    transaction = await music.database.transaction()
    await music.Album.objects.create(name="a")
    await transaction.rollback()
    assert await names(music) == []
    transaction = music.database.transaction()
    await transaction.start()
    await music.Album.objects.create(name="b")
    await transaction.commit()
    assert await names(music) == ["b"]


async def test_as_a_decorator(music):
    @music.database.transaction()
    async def add(name, fail=False):
        await music.Album.objects.create(name=name)
        if fail:
            raise RuntimeError("mine")
        return name

    assert await add("a") == "a"
    with pytest.raises(RuntimeError):
        await add("b", fail=True)
    assert await add("c") == "c"
    assert await names(music) == ["a", "c"]


async def test_a_transaction_ends_once(music):
    transaction = await music.database.transaction()
    await transaction.commit()
    for end in (transaction.commit, transaction.rollback):
        with pytest.raises(orm.TransactionClosed):
            await end()


async def test_a_statement_that_fails_leaves_the_transaction_usable(music):
    async with music.database.transaction():
        await music.Album.objects.create(id=1, name="a")
        with pytest.raises(orm.UniqueViolation):
            await music.Album.objects.create(id=1, name="b")
        await music.Album.objects.create(name="c")
    assert await names(music) == ["a", "c"]


@pytest.mark.parametrize("arguments", [{"tasks": "nope"}, {"isolation": "nope"}, {"nope": 1}])
async def test_arguments_that_are_none(music, arguments):
    with pytest.raises((ValueError, TypeError)):
        music.database.transaction(**arguments)


async def test_C17_the_users_exception_wins_over_that_of_the_rollback(music):
    with pytest.raises(RuntimeError, match="mine"):
        async with music.database.transaction():
            await music.Album.objects.create(name="a")
            await music.database.execute("ROLLBACK")
            raise RuntimeError("mine")


async def test_a_lost_transaction_is_lost_until_the_block_ends(music):
    """A transaction that the database has ended by itself must not go on in autocommit."""
    with pytest.raises(orm.TransactionRolledBack):
        async with music.database.transaction():
            await music.Album.objects.create(name="a")
            try:
                await music.Album.objects.raw("ROLLBACK")
            except orm.Error:
                pass
            await music.Album.objects.create(name="b")
    assert await names(music) == []
    await music.Album.objects.create(name="c")
    assert await names(music) == ["c"]


async def test_C8_a_constraint_that_fails_at_commit(world):
    thing = world.fields()
    await world.create()
    if world.kind == "mariadb":
        pytest.skip("its foreign keys are checked at once")
    world.outside(
        "CREATE TABLE late (id INTEGER PRIMARY KEY, "
        "thing INTEGER REFERENCES thing (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(orm.IntegrityError):
        async with world.database.transaction():
            await thing.objects.create(id=1)
            await world.database.execute("INSERT INTO late VALUES (1, 999)")
    assert await thing.objects.count() == 0
    await thing.objects.create(id=2)
    assert world.outside("SELECT count(*) FROM late") == [(0,)]


# ---- savepoints


async def test_a_nested_block_is_a_savepoint(music):
    async with music.database.transaction():
        await music.Album.objects.create(name="a")
        with pytest.raises(RuntimeError):
            async with music.database.transaction():
                await music.Album.objects.create(name="b")
                raise RuntimeError
        async with music.database.transaction():
            await music.Album.objects.create(name="c")
        assert await names(music) == ["a", "c"]
    assert await names(music) == ["a", "c"]


async def test_the_outer_block_takes_the_inner_with_it(music):
    with pytest.raises(RuntimeError):
        async with music.database.transaction():
            async with music.database.transaction():
                await music.Album.objects.create(name="a")
            raise RuntimeError
    assert await names(music) == []


@pytest.mark.parametrize("failing", range(10))
async def test_C4_ten_levels_with_a_failure_at_each(music, failing):
    async def nest(level):
        async with music.database.transaction():
            await music.Album.objects.create(name=str(level))
            if level < 9:
                await nest(level + 1)
            if level == failing:
                raise RuntimeError(str(level))

    with pytest.raises(RuntimeError, match=str(failing)):
        await nest(0)
    assert await names(music) == []

    async def nest_and_catch(level):
        try:
            async with music.database.transaction():
                await music.Album.objects.create(name=str(level))
                if level < 9:
                    await nest_and_catch(level + 1)
                if level == failing:
                    raise RuntimeError
        except RuntimeError:
            pass

    await nest_and_catch(0)
    assert await names(music) == [str(level) for level in range(failing)]


# ---- readonly


async def test_a_readonly_transaction_is_a_snapshot(music):
    await music.fill()
    async with music.database.transaction(readonly=True):
        assert await music.Album.objects.count() == 3
        music.stdlib("INSERT INTO album (name) VALUES ('x')")
        assert await music.Album.objects.count() == 3
    assert await music.Album.objects.count() == 4


async def test_a_readonly_transaction_refuses_writes(music):
    async with music.database.transaction(readonly=True):
        with pytest.raises(orm.Error):
            await music.Album.objects.create(name="x")
    assert await music.Album.objects.count() == 0


# ---- tasks


async def test_C1_a_child_task_may_not_use_the_parents_transaction(music):
    async def child():
        return await music.Album.objects.create(name="child")

    async with music.database.transaction():
        await music.Album.objects.create(name="parent")
        with pytest.raises(orm.ConcurrentUse) as caught:
            await asyncio.create_task(child())
    assert "join" in str(caught.value)
    assert "detach" in str(caught.value)
    assert await names(music) == ["parent"]


async def test_C1_with_tasks_join_it_runs_in_the_transaction(music):
    async def child(number):
        await music.Album.objects.create(name=str(number))

    with pytest.raises(RuntimeError):
        async with music.database.transaction(tasks="join"):
            await asyncio.gather(*(child(number) for number in range(5)))
            assert await music.Album.objects.count() == 5
            raise RuntimeError
    assert await names(music) == []


async def test_C1_with_tasks_detach_it_has_a_connection_of_its_own(music):
    await music.Album.objects.create(name="before")

    async def child():
        return await music.Album.objects.count()

    async with music.database.transaction(tasks="detach"):
        await music.Album.objects.create(name="inside")
        assert await asyncio.create_task(child()) == 1
    assert await music.Album.objects.count() == 2


async def test_C1_a_detached_write_that_waits_for_its_own_parent_is_an_error_not_a_deadlock(music):
    async def child():
        await music.Album.objects.create(name="child")

    async with music.database.transaction(tasks="detach"):
        await music.Album.objects.create(name="parent")
        with pytest.raises(orm.ConcurrentUse):
            await asyncio.wait_for(asyncio.create_task(child()), 5)
    assert await names(music) == ["parent"]


async def test_the_database_sets_the_rule_for_all_its_transactions(music):
    database = orm.Database(music.url, tasks="detach")

    async def child():
        return await database.fetch_val("SELECT count(*) FROM album")

    async with database.transaction():
        await database.execute(music.sql("INSERT INTO album (name) VALUES (?)"), ["a"])
        assert await asyncio.create_task(child()) == 0
    await database.disconnect()


async def test_an_operation_belongs_to_the_task_that_created_it(music):
    """gather() and wait_for() drive it in a child task; that is no concurrent use."""
    async with music.database.transaction():
        await asyncio.wait_for(music.Album.objects.create(name="a"), 5)
        await asyncio.gather(
            music.Album.objects.create(name="b"), music.Album.objects.create(name="c")
        )
        await asyncio.create_task(music.Album.objects.create(name="d"))
    assert sorted(await names(music)) == ["a", "b", "c", "d"]


async def test_C3_a_task_that_outlives_the_block(music):
    gate = asyncio.Event()

    async def child():
        await gate.wait()
        await music.Album.objects.create(name="late")

    async with music.database.transaction(tasks="join"):
        task = asyncio.create_task(child())
        await music.Album.objects.create(name="a")
    gate.set()
    with pytest.raises(orm.TransactionClosed):
        await task
    assert await names(music) == ["a"]


async def test_a_task_from_before_the_block_has_nothing_to_do_with_it(music):
    gate = asyncio.Event()

    async def neighbour():
        await gate.wait()
        return await music.Album.objects.count()

    task = asyncio.create_task(neighbour())
    async with music.database.transaction():
        await music.Album.objects.create(name="a")
        gate.set()
        assert await task == 0


async def test_two_transactions_wait_for_each_other(music):
    order = []

    async def work(name):
        async with music.database.transaction():
            order.append(f"{name} in")
            await music.Album.objects.create(name=name)
            await asyncio.sleep(0.01)
            await music.Album.objects.create(name=name)
            order.append(f"{name} out")

    await asyncio.gather(work("a"), work("b"), work("c"))
    written = await names(music)
    assert sorted(written) == ["a", "a", "b", "b", "c", "c"]
    assert written[0::2] == written[1::2]


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite:///queue.sqlite"])
async def test_transactions_that_read_first_wait_for_each_other_too(folder, url):
    """Who waits is told by the task that asks, whatever statement was the last one."""
    database = orm.Database(url)
    await database.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, taken INTEGER DEFAULT 0)")
    for _ in range(12):
        await database.execute("INSERT INTO job DEFAULT VALUES")

    async def take():
        async with database.transaction():
            key = await database.fetch_val("SELECT min(id) FROM job WHERE taken = 0")
            await asyncio.sleep(0)
            if key is not None:
                await database.execute("UPDATE job SET taken = 1 WHERE id = ?", [key])
            return key

    async def work():
        found = []
        while (key := await take()) is not None:
            found.append(key)
        return found

    shares = await asyncio.gather(work(), work(), work())
    assert sorted(key for share in shares for key in share) == list(range(1, 13))
    await database.disconnect()


async def test_writes_outside_wait_for_the_transaction(music):
    async def outside():
        await music.Album.objects.create(name="outside")

    task = None
    started = asyncio.Event()

    async def starter():
        await started.wait()
        await outside()

    task = asyncio.create_task(starter())
    async with music.database.transaction():
        await music.Album.objects.create(name="inside")
        started.set()
        await asyncio.sleep(0.02)
        assert not task.done()
    await asyncio.wait_for(task, 5)
    assert await names(music) == ["inside", "outside"]


async def test_C2_many_writes_on_one_transaction_at_once(music):
    async with music.database.transaction():
        await asyncio.gather(*(music.Album.objects.create(name=str(n)) for n in range(50)))
    assert sorted(await names(music), key=int) == [str(n) for n in range(50)]


# ---- cancellation


@pytest.mark.loops
async def test_B8_B9_B10_cancelling_a_block_at_any_point(music):
    """Whatever await the cancellation hits: all or nothing, and the next block works."""

    async def work():
        async with music.database.transaction():
            await music.Album.objects.create(name="a")
            await asyncio.sleep(0)
            async with music.database.transaction():
                await music.Album.objects.create(name="b")
            await asyncio.sleep(0)

    for turns in range(40):
        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        found = await names(music)
        assert found in ([], ["a", "b"]), f"cancelled after {turns} turns"
        await music.Album.objects.delete()


async def test_a_cancelled_block_raises_cancelled_error(music):
    async def work():
        async with music.database.transaction():
            await music.Album.objects.create(name="a")
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    while not music.statements:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(music) == []


# ---- loops


def test_a_transaction_carried_to_another_loop(music, asyncio_run):
    async def begin():
        await orm.create_all(music.metadata, music.database)
        return await music.database.transaction()

    loop = asyncio.new_event_loop()
    transaction = loop.run_until_complete(begin())

    async def end():
        await transaction.commit()

    with pytest.raises((orm.WrongLoop, orm.TransactionClosed)):
        asyncio_run(end())
    loop.run_until_complete(transaction.rollback())
    loop.close()


async def test_C9_a_transaction_that_sqlite_has_ended(world):
    """The error that came first is kept; until the block ends nothing runs outside of it."""
    if world.kind != "sqlite":
        pytest.skip("SQLite rolls back by itself")
    thing = world.fields(number=orm.Integer(unique=True))
    await world.create()
    await thing.objects.create(number=1)
    with pytest.raises(orm.TransactionRolledBack):
        async with world.database.transaction():
            await thing.objects.create(number=2)
            with pytest.raises(orm.UniqueViolation):
                await world.database.execute("INSERT OR ROLLBACK INTO thing (number) VALUES (1)")
            with pytest.raises(orm.TransactionRolledBack):
                await thing.objects.create(number=3)
    assert [each.number for each in await thing.objects.all()] == [1]
    await thing.objects.create(number=2)
