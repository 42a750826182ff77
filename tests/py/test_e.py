"""Group E: prepared statements are bounded, survive changes of their tables, and can be done
without, behind a pooler of transactions."""

import asyncio
import enum
import gc

import pytest

import orm
from tests.py.conftest import is_pooled
from tests.servers import servers


def one_connection(world, **options):
    """The world's database again, with a single connection."""
    return orm.Database(world.url, max_size=1, **options)


def on(world, database, **fields):
    """A model `Thing` of these fields on that database, and no other."""
    body = {
        "__metadata__": orm.MetaData(),
        "__database__": database,
        "id": orm.Integer(primary_key=True),
        **fields,
    }
    return type(orm.Model)("Thing", (orm.Model,), body)


async def known_statements(world, database):
    """How many statements the server keeps for us; SQLite keeps them in the connection."""
    if world.kind == "postgresql":
        return await database.fetch_val("SELECT count(*) FROM pg_prepared_statements")
    row = await database.fetch_one("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'")
    return int(row[1])


# ---- tables that change


async def test_E1_E3_E4_a_table_changed_by_somebody_else(world):
    thing = world.fields(name=orm.String(max_length=20), age=orm.Integer())
    await world.create()
    await thing.objects.create(name="a", age=1)
    everything = "SELECT * FROM thing ORDER BY id"
    for _ in range(2):
        assert (await thing.objects.get(name="a")).age == 1
        assert [tuple(row) for row in await world.database.fetch_all(everything)] == [(1, "a", 1)]
    if world.kind != "sqlite":
        change = {"postgresql": "ALTER COLUMN age TYPE BIGINT", "mariadb": "MODIFY age BIGINT"}
        world.outside(f"ALTER TABLE thing {change[world.kind]}")
        assert (await thing.objects.get(name="a")).age == 1
    world.outside("ALTER TABLE thing ADD COLUMN extra INTEGER DEFAULT 7")
    for _ in range(2):
        assert (await thing.objects.get(name="a")).age == 1
        (row,) = await world.database.fetch_all(everything)
        assert tuple(row) == (1, "a", 1, 7)
    world.outside("ALTER TABLE thing DROP COLUMN extra")
    (row,) = await world.database.fetch_all(everything)
    assert tuple(row) == (1, "a", 1)
    assert (await thing.objects.create(name="b", age=2)).pk == 2


async def test_E1_each_statement_is_prepared_anew_once(world):
    if world.kind != "postgresql" or is_pooled():
        pytest.skip("counts what PostgreSQL keeps for a session")
    database = one_connection(world)
    thing = on(world, database, name=orm.String(max_length=20))
    await orm.create_all(thing.__metadata__, database)
    await thing.objects.create(name="a")
    await thing.objects.get(name="a")
    prepared = await known_statements(world, database)
    world.outside("ALTER TABLE thing ALTER COLUMN name TYPE VARCHAR(30)")
    for _ in range(5):
        assert (await thing.objects.get(name="a")).pk == 1
        assert await known_statements(world, database) == prepared
    await database.disconnect()


# Twice something that makes a statement with `RETURNING id` stale on PostgreSQL.
CHANGES = {
    "sqlite": ("ADD COLUMN more INTEGER", "ADD COLUMN yet_more INTEGER"),
    "postgresql": ("ALTER COLUMN id TYPE BIGINT", "ALTER COLUMN id TYPE INTEGER"),
    "mariadb": ("MODIFY id BIGINT AUTO_INCREMENT", "MODIFY id INTEGER AUTO_INCREMENT"),
}


async def in_a_transaction(database, operation):
    async with database.transaction():
        return await operation


async def by_itself(database, operation):
    return await operation


@pytest.mark.parametrize("way", [by_itself, in_a_transaction])
@pytest.mark.parametrize("n", [2, 2500])
async def test_E1_bulk_create_is_run_again_as_a_whole(world, n, way):
    """Within a transaction too: it is a savepoint there.  2,500 are a transaction by itself."""
    thing = world.fields(name=orm.String(max_length=20))
    rows = [{"name": str(i)} for i in range(n)]
    await world.create()
    await way(world.database, thing.objects.bulk_create(rows))
    for i, change in enumerate(CHANGES[world.kind], start=1):
        world.outside(f"ALTER TABLE thing {change}")
        made = await way(world.database, thing.objects.bulk_create(rows))
        names = {row.pk: row.name for row in await thing.objects.order_by("id").offset(n * i).all()}
        assert {row.pk: row.name for row in made} == names
        assert await thing.objects.count() == n * (i + 1)


@pytest.mark.parametrize("way", [by_itself, in_a_transaction])
async def test_E1_update_or_create_is_run_again_as_a_whole(world, way):
    thing = world.fields(name=orm.String(max_length=20), age=orm.Integer())
    await world.create()
    for age, change in enumerate(("", *CHANGES[world.kind])):
        if change:
            world.outside(f"ALTER TABLE thing {change}")
        values = {"name": "a", "defaults": {"age": age}}
        row, created = await way(world.database, thing.objects.update_or_create(**values))
        assert (row.age, created) == (age, age == 0)
    assert await thing.objects.count() == 1


async def test_E2_within_a_transaction_it_is_said_and_a_second_try_succeeds(world):
    if world.kind != "postgresql" or is_pooled():
        pytest.skip("the other backends prepare anew within a transaction too")
    thing = world.fields(name=orm.String(max_length=20))
    await world.create()
    await thing.objects.create(name="a")
    # every connection of the pool knows the statement
    await asyncio.gather(*(thing.objects.get(name="a") for _ in range(30)))
    world.outside("ALTER TABLE thing ALTER COLUMN name TYPE VARCHAR(30)")
    with pytest.raises(orm.CachedStatementInvalid) as caught:
        async with world.database.transaction():
            await thing.objects.get(name="a")
    assert caught.value.is_retryable
    for _ in range(30):  # whatever connections these get
        async with world.database.transaction():
            assert (await thing.objects.get(name="a")).pk == 1


async def test_E5_a_type_that_is_made_anew(world):
    """Its number is another then; for MariaDB an enum is part of the table."""

    class Color(enum.Enum):
        RED = 1
        BLUE = 2

    thing = world.fields(color=orm.Enum(Color))
    await world.create()
    for _ in range(2):
        await orm.drop_all(world.metadata, world.database)
        await orm.create_all(world.metadata, world.database)
        for _ in range(2):
            await thing.objects.create(color=Color.BLUE)
            assert (await thing.objects.filter(color=Color.BLUE).first()).color is Color.BLUE
        rows = [{"color": Color.RED}, {"color": Color.BLUE}]
        assert len(await thing.objects.bulk_create(rows)) == 2
        assert await thing.objects.filter(color__in=[Color.RED]).count() == 1


# ---- poolers


@pytest.fixture
def pooler(world):
    """A PgBouncer of the test's own; its sessions change with every transaction."""
    if world.kind != "postgresql" or is_pooled():
        pytest.skip("about PostgreSQL")
    try:
        with servers.running("pgbouncer", fast=True) as pooler:
            yield pooler
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


async def swap_sessions(database):
    """Makes the pooler open several sessions."""
    await asyncio.gather(*(database.fetch_val("SELECT pg_sleep(0.1)") for _ in range(6)))


async def test_E6_without_prepare_off_the_error_says_what_to_do(pooler):
    plain = orm.Database(pooler.pooled_url)
    with pytest.raises(orm.CachedStatementInvalid, match="prepare=off") as caught:
        await swap_sessions(plain)
        for _ in range(20):
            assert await plain.fetch_val("SELECT 1") == 1  # the answer is right, or there is none
    assert caught.value.sqlstate in ("26000", "42P05")
    await plain.disconnect()


async def test_E6_with_it_every_session_will_do(pooler):
    database = orm.Database(pooler.pooled_url, prepare="off")
    thing = on(None, database, name=orm.Text(), when=orm.DateTime(timezone=True, allow_null=True))
    await orm.create_all(thing.__metadata__, database)
    await swap_sessions(database)
    sessions = set()
    for n in range(20):
        await thing.objects.create(name=str(n))
        assert (await thing.objects.get(name=str(n))).pk == n + 1
        sessions.add(await database.fetch_val("SELECT pg_backend_pid()"))
        assert await database.fetch_val("SHOW timezone") == "UTC"
        assert await database.fetch_val("SELECT count(*) FROM pg_prepared_statements") == 0
    assert len(sessions) > 1, "the sessions did not change: this shows nothing"
    async with database.transaction():
        pids = {await database.fetch_val("SELECT pg_backend_pid()") for _ in range(5)}
        assert len(pids) == 1
    await database.disconnect()


@pytest.mark.parametrize("options", [{"mode": "ro"}, {"statement_timeout": 1000}])
async def test_E6_what_needs_a_session_is_refused_with_it(pooler, options):
    database = orm.Database(pooler.pooled_url, prepare="off", **options)
    with pytest.raises(orm.ConfigurationError, match="needs a session of its own"):
        await database.fetch_val("SELECT 1")


async def test_E6_a_value_that_prepare_does_not_have(world):
    if world.kind != "postgresql" or is_pooled():
        pytest.skip("an option of PostgreSQL's driver")
    with pytest.raises(orm.ConfigurationError, match="prepare: expected on or off"):
        await orm.Database(world.url, prepare="maybe").fetch_val("SELECT 1")


# ---- bounds


async def test_E7_distinct_texts_are_bounded_on_the_server(world):
    if world.kind == "sqlite" or is_pooled():
        pytest.skip("counts what a server keeps")
    database = one_connection(world, statement_cache_size=16)
    thing = on(world, database, name=orm.Text(), age=orm.Integer())
    await orm.create_all(thing.__metadata__, database)
    before = await known_statements(world, database)
    lookups = ["gt", "gte", "lt", "lte", "ne", "exact"]
    for n in range(216):
        a, b, c = lookups[n % 6], lookups[n // 6 % 6], lookups[n // 36]
        query = thing.objects.filter(**{f"age__{a}": 1, f"id__{b}": 1, f"name__{c}": "x"})
        assert await query.count() == 0
        assert await database.fetch_val(f"SELECT {n}") == n
    assert await known_statements(world, database) - before <= 24
    await database.disconnect()


@pytest.mark.slow
async def test_E7_memory_stays_flat(world):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    database = one_connection(world, statement_cache_size=64)
    sizes = []
    for _ in range(6):
        for n in range(1500):
            await database.fetch_val(f"SELECT {n}, {n} + 1")
        gc.collect()
        sizes.append(resident())
    assert sizes[-1] - sizes[1] < 4 * 2**20
    await database.disconnect()


async def test_E8_one_text_and_parameters_of_every_kind(world):
    thing = world.fields(name=orm.Text(allow_null=True), age=orm.Integer(allow_null=True))
    await world.create()
    await thing.objects.create(name="1", age=1)
    for _ in range(2):
        for value, keys in ((1, [1]), (None, []), ("1", [1]), (2, []), (1.0, [1])):
            assert [row.pk for row in await thing.objects.filter(age=value or 0)] == keys
        sql = world.sql("SELECT id FROM thing WHERE age = ?")
        for value, keys in ((1, [1]), (None, []), (2, []), (1, [1])):
            assert [row[0] for row in await world.database.fetch_all(sql, [value])] == keys
        sql = world.sql("SELECT ?")
        for value in (1, "a", None, b"b", 1, "c", None, True):
            assert await world.database.fetch_val(sql, [value]) == value


async def test_E9_a_text_of_a_megabyte_is_not_kept(world):
    if world.kind == "sqlite" or is_pooled():
        pytest.skip("counts what a server keeps")
    database = one_connection(world)
    assert await database.fetch_val("SELECT 1") == 1
    before = await known_statements(world, database)
    for n in range(3):
        text = "x" * 2**20
        assert await database.fetch_val(f"SELECT {n} /* {text} */") == n
    assert await known_statements(world, database) <= before + 1
    await database.disconnect()
