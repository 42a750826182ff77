"""What is special about SQLite (group F of the reliability cases)."""

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import textwrap

import pytest

import orm
from tests.soak import damage, kills
from tests.soak.common import Budget, Outcome


async def test_F1_read_then_write_against_another_writer(world):
    thing = world.fields(name=orm.Text())
    await world.create()
    await thing.objects.create(name="a")
    async with world.database.transaction():
        row = await thing.objects.get()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other = sqlite3.connect(world.path, timeout=0)
            try:
                other.execute("UPDATE thing SET name = 'other'")
            finally:
                other.close()
        await row.update(name="mine")
    assert (await thing.objects.get()).name == "mine"


@pytest.mark.loops
async def test_F2_a_writer_that_holds_the_lock_does_not_hold_the_loop(world):
    thing = world.fields()
    await world.create()
    other = sqlite3.connect(world.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(_create(thing))
    for _ in range(40):  # a loop that waited for the lock would see the end of busy_timeout
        await asyncio.sleep(0.005)
        assert not task.done()
    assert await thing.objects.count() == 0
    other.execute("COMMIT")
    other.close()
    await asyncio.wait_for(task, 60)
    assert await thing.objects.count() == 1


async def _create(thing):
    return await thing.objects.create()


async def test_F3_a_full_database(world):
    """max_page_count stands for a full disk: it holds for one connection, so inside a block."""
    thing = world.fields(data=orm.Binary())
    await world.create()
    with pytest.raises(orm.DiskFull) as caught:
        async with world.database.transaction():
            await world.database.execute("PRAGMA max_page_count = 20")
            for _ in range(50):
                await thing.objects.create(data=b"x" * 4000)
    assert caught.value.backend == "sqlite"
    assert await thing.objects.count() == 0
    async with world.database.transaction():
        await world.database.execute("PRAGMA max_page_count = 1000000")
    await thing.objects.create(data=b"x" * 400_000)
    assert await thing.objects.count() == 1
    assert world.stdlib("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="needs root for a small file system",
)
def test_F3_a_full_disk(folder):
    script = textwrap.dedent(
        """
        import asyncio, orm, os

        metadata = orm.MetaData()
        database = orm.Database("sqlite:///small/db.sqlite")

        class Thing(orm.Model):
            __metadata__ = metadata
            __database__ = database
            id = orm.Integer(primary_key=True)
            data = orm.Binary()

        async def main():
            with open("small/filler", "wb") as filler:
                filler.write(bytes(200_000))
            await orm.create_all(metadata, database)
            await Thing.objects.create(data=b"first")
            written = 1
            try:
                while written < 500:
                    await Thing.objects.create(data=b"x" * 4000)
                    written += 1
            except orm.DiskFull as error:
                assert error.backend == "sqlite", error
            else:
                raise SystemExit("never full")
            assert await Thing.objects.count() == written
            os.unlink("small/filler")
            await Thing.objects.create(data=b"again")
            assert await Thing.objects.count() == written + 1
            await database.disconnect()
            print("fine")

        asyncio.run(main())
        """
    )
    (folder / "small").mkdir()
    (folder / "script.py").write_text(script)
    command = (
        f"mount -t tmpfs -o size=600k tmpfs {folder}/small && "
        f"cd {folder} && exec {sys.executable} script.py"
    )
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert run.stdout.strip() == "fine", run.stderr


@pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="needs root for a file system of its own",
)
def test_F5_a_read_only_file_system(folder):
    script = textwrap.dedent(
        """
        import asyncio, orm, subprocess

        async def main():
            database = orm.Database("sqlite:///small/db.sqlite?journal_mode=delete")
            await database.execute("CREATE TABLE t (x)")
            await database.disconnect()
            subprocess.run(["mount", "-o", "remount,ro", "small"], check=True)
            database = orm.Database("sqlite:///small/db.sqlite")
            assert await database.fetch_val("SELECT count(*) FROM t") == 0
            try:
                await database.execute("INSERT INTO t VALUES (1)")
            except orm.OperationalError as error:
                assert error.backend == "sqlite" and error.code & 0xFF == 8, (error, error.code)
            else:
                raise SystemExit("written")
            subprocess.run(["mount", "-o", "remount,rw", "small"], check=True)
            await database.disconnect()
            assert await database.execute("INSERT INTO t VALUES (1)") == 1
            await database.disconnect()
            print("fine")

        asyncio.run(main())
        """
    )
    (folder / "small").mkdir()
    (folder / "script.py").write_text(script)
    command = (
        f"mount -t tmpfs tmpfs {folder}/small && cd {folder} && exec {sys.executable} script.py"
    )
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert run.stdout.strip() == "fine", run.stderr


async def test_F5_a_file_that_is_deleted_while_it_is_open(folder):
    """Nothing is written into a file that nobody can find any more, and work goes on after."""
    database = orm.Database(f"sqlite:///{folder}/db.sqlite?journal_mode=delete")
    await database.execute("CREATE TABLE t (x)")
    await database.execute("INSERT INTO t VALUES (1)")
    for path in list(folder.glob("db.sqlite*")):
        path.unlink()
    with pytest.raises(orm.DatabaseError):
        await database.execute("INSERT INTO t VALUES (2)")
        await database.execute("INSERT INTO t VALUES (3)")
    await database.execute("CREATE TABLE IF NOT EXISTS t (x)")
    await database.execute("INSERT INTO t VALUES (4)")
    assert sqlite3_rows(folder) == [(4,)]
    await database.disconnect()


def sqlite3_rows(folder):
    connection = sqlite3.connect(folder / "db.sqlite")
    try:
        return connection.execute("SELECT x FROM t").fetchall()
    finally:
        connection.close()


def test_F6_damaged_files_are_errors_or_right_rows(folder):
    outcome = Outcome()
    damage.run(outcome, Budget(rounds=60), random.Random(6), folder)
    assert outcome.findings == []
    assert outcome.counts["files"] == 60
    assert min(outcome.counts["error"], outcome.counts["rows"]) > 5


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_F7_every_acknowledged_row_survives_a_killed_writer(folder, journal_mode):
    for cycle in range(4):
        assert kills.kill(folder, journal_mode, "full", cycle * 0.05, early=False) == ""
        acked, wrong = kills.losses(folder)
        assert wrong == []
        assert len(acked) > cycle


async def test_F8_memory_is_one_shared_connection(folder):
    database = orm.Database("sqlite:///:memory:")
    await database.execute("CREATE TABLE t (x)")
    await asyncio.gather(*(database.execute("INSERT INTO t VALUES (?)", [n]) for n in range(10)))
    assert await database.fetch_val("SELECT count(*) FROM t") == 10
    await database.disconnect()


async def test_F10_more_members_than_the_database_takes_variables(music):
    await music.fill()
    found = await music.Track.objects.filter(pk__in=list(range(300_000))).count()
    assert found == 5
    names = [str(number) for number in range(40_000)]
    try:
        assert await music.Track.objects.filter(title__in=names).count() == 0
    except orm.QueryTooComplex as error:
        assert "\n" not in str(error)
    assert await music.Track.objects.count() == 5


async def test_F10_a_pattern_longer_than_the_database_takes(music):
    await music.fill()
    try:
        assert await music.Track.objects.filter(title__contains="%" * 60_000).count() == 0
    except orm.QueryTooComplex:
        pass


async def test_F11_a_name_in_double_quotes_is_never_text(music):
    await music.fill()
    name = "`nosuch`" if music.kind == "mariadb" else '"nosuch"'
    with pytest.raises(orm.NoSuchColumn, match="nosuch"):
        await music.Track.objects.raw(f"SELECT id, {name} AS title FROM track")


async def test_F12_foreign_keys_are_on_and_read_back(music):
    if music.kind == "sqlite":
        assert await music.database.fetch_val("PRAGMA foreign_keys") == 1
    with pytest.raises(orm.ForeignKeyViolation):
        await music.Track.objects.create(album=1, title="x", position=1)


async def test_F13_attach_extensions_and_uris_are_off(music, folder):
    with pytest.raises(orm.Error):
        await music.database.execute("ATTACH DATABASE 'other.sqlite' AS other")
    assert not (folder / "other.sqlite").exists()
    with pytest.raises(orm.Error):
        await music.database.fetch_val("SELECT load_extension('nosuch')")
    with pytest.raises(orm.Error):
        await music.database.execute("PRAGMA writable_schema = ON; DELETE FROM sqlite_master")
    await music.fill()
    assert await music.Track.objects.count() == 5


@pytest.mark.parametrize(
    ("field", "stored"),
    [
        (orm.Integer(), "'abc'"),
        (orm.Boolean(), "2"),
        (orm.DateTime(), "'garbage'"),
        (orm.Date(), "'2020-13-45'"),
        (orm.Time(), "'25:00'"),
        (orm.UUID(), "'xyz'"),
        (orm.Float(), "'abc'"),
        (orm.Decimal(10, 2), "'abc'"),
        (orm.JSON(), "'{'"),
        (orm.IPAddress(), "'abc'"),
        (orm.Text(), "CAST(x'ff' AS TEXT)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, orm.fields.Field) else "",
)
async def test_F14_a_stored_value_that_is_not_of_its_type(world, field, stored):
    thing = world.fields(value=field)
    await world.create()
    world.stdlib(f"INSERT INTO thing (id, value) VALUES (1, {stored})")
    with pytest.raises(orm.DataError, match="value") as caught:
        await thing.objects.all()
    assert (caught.value.table, caught.value.column) == ("thing", "value")
    assert await thing.objects.count() == 1
    assert len(await world.database.fetch_all("SELECT id FROM thing")) == 1


async def test_F15_a_table_changed_by_another_process(world):
    thing = world.fields(name=orm.Text())
    await world.create()
    await thing.objects.create(name="a")
    assert len(await thing.objects.all()) == 1
    world.outside("ALTER TABLE thing ADD COLUMN extra TEXT")
    assert [row.name for row in await thing.objects.all()] == ["a"]
    world.outside("ALTER TABLE thing RENAME COLUMN name TO title")
    with pytest.raises(orm.NoSuchColumn, match="name"):
        await thing.objects.all()
