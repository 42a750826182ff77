"""Public calls leave no reference behind, whether they end well or not."""

import asyncio
import copy
import gc
import pickle
import sys

import pytest

import orm

METADATA = orm.MetaData()
DATABASE = orm.Database("sqlite:///:memory:")


class Owner(orm.Model):
    __metadata__ = METADATA
    __database__ = DATABASE
    id = orm.Integer(primary_key=True)
    name = orm.Text()


class Item(orm.Model):
    __metadata__ = METADATA
    __database__ = DATABASE
    id = orm.Integer(primary_key=True)
    name = orm.Text(allow_null=True, max_length=20)
    owner = orm.ForeignKey(Owner, allow_null=True)
    data = orm.JSON(default=dict)
    price = orm.Decimal(10, 2, allow_null=True)
    when = orm.DateTime(auto_now=True)


async def refused(awaitable):
    try:
        await awaitable
    except orm.Error:
        pass
    else:
        raise AssertionError("it was not refused")


def refuse(make):
    try:
        make()
    except (orm.Error, TypeError, ValueError, AttributeError):
        pass
    else:
        raise AssertionError("it was not refused")


SYNCHRONOUS = {
    "construct": lambda: Item(id=1, name="a", owner=2, price="1.5"),
    "construct from a mapping": lambda: Item({"id": 1}),
    "construct wrongly": lambda: refuse(lambda: Item(nope=1)),
    "construct with a bad value": lambda: refuse(lambda: Item(name=5)),
    "read": lambda: (Item(id=1, name="a").name, Item(id=1).pk),
    "read what is not set": lambda: refuse(lambda: Owner(id=1).name),
    "assign": lambda: setattr(Item(id=1), "name", "x"),
    "assign wrongly": lambda: refuse(lambda: setattr(Item(id=1), "name", 5)),
    "sparse": lambda: (Item(owner=3).owner.pk, repr(Item(owner=3).owner)),
    "sparse attribute": lambda: refuse(lambda: Item(owner=3).owner.name),
    "extra attribute": lambda: setattr(Item(id=1), "extra", []),
    "repr": lambda: repr(Item(id=1, name="a", owner=Owner(id=2, name="b"))),
    "compare and hash": lambda: (Item(id=1) == Item(id=1), hash(Item(id=1)), Item(id=1) != 5),
    "hash without key": lambda: refuse(lambda: hash(Item())),
    "dict": lambda: (dict(Owner(id=1, name="a")), orm.asdict(Item(id=1, owner=2))),
    "pickle": lambda: pickle.loads(pickle.dumps(Item(id=1, owner=2))),
    "copy": lambda: (copy.copy(Item(id=1, owner=2)), copy.deepcopy(Item(id=1, data={"a": []}))),
    "class attributes": lambda: (Item.name, Item.owner, Item.objects, Item.fields),
    "filter": lambda: Item.objects.filter(name="a", owner__name__icontains="b", pk__in=[1, 2]),
    "filter by instance": lambda: Item.objects.filter(owner=Owner(id=1)).exclude(owner=None),
    "filter by subquery": lambda: Item.objects.filter(owner__in=Owner.objects.filter(name="a")),
    "filter wrongly": lambda: refuse(lambda: Item.objects.filter(nope=1)),
    "filter with a bad value": lambda: refuse(lambda: Item.objects.filter(id=2**70)),
    "filter from a dict": lambda: Item.objects.filter(**{"na" + "me": "a", "id" + "__gt": 1}),
    "steps": lambda: (
        Item.objects.order_by("-name", "pk").limit(1).offset(2).select_related("owner")
    ),
    "slices": lambda: Item.objects[1:5][2:],
    "order wrongly": lambda: refuse(lambda: Item.objects.order_by("nope")),
    "limit wrongly": lambda: refuse(lambda: Item.objects.limit(-1)),
    "queryset repr": lambda: (repr(Item.objects.filter(id=1)), bool(Item.objects)),
    "closed operation": lambda: Item.objects.filter(id=1).all().close(),
    "closed write": lambda: Item.objects.create(name="a", owner=Owner(id=1)).close(),
    "blocking": lambda: (len(Item.objects), list(Item.objects.filter(id=1)), Item.objects[0]),
}

ASYNCHRONOUS = {
    "all": lambda: Item.objects.all(),
    "await": lambda: _await(Item.objects.filter(id__gt=0)),
    "select_related": lambda: Item.objects.select_related("owner").all(),
    "get": lambda: Item.objects.get(pk=1),
    "no match": lambda: refused(Item.objects.get(pk=999)),
    "multiple matches": lambda: refused(Item.objects.get(pk__in=[1, 2])),
    "first and last": lambda: _all(Item.objects.first(), Item.objects.order_by("name").last()),
    "get_or_none": lambda: Item.objects.get_or_none(pk=999),
    "count and exists": lambda: _all(Item.objects.count(), Item.objects.exists()),
    "stream": lambda: _stream(),
    "left stream": lambda: _left_stream(),
    "create and delete": lambda: _create(),
    "save": lambda: _save(),
    "load": lambda: _load(),
    "bulk_create": lambda: _bulk(),
    "update": lambda: Item.objects.filter(pk=2).update(name="b", owner=1),
    "update nothing": lambda: Item.objects.filter(pk=999).update(name="b"),
    "bad update": lambda: _bad_update(),
    "get_or_create": lambda: Item.objects.get_or_create({"name": "x"}, pk=1),
    "update_or_create": lambda: Item.objects.update_or_create({"name": "b"}, pk=2),
    "unique violation": lambda: refused(Item.objects.create(id=1)),
    "foreign key violation": lambda: refused(Item.objects.create(owner=999)),
    "bad create": lambda: _bad_create(),
    "raw": lambda: Item.objects.raw("SELECT * FROM item WHERE id = ?", 1),
    "bad raw": lambda: refused(Item.objects.raw("SELEKT ?", 1)),
    "fetch": lambda: _all(
        DATABASE.fetch_all("SELECT ?, ?", [1, "a"]), DATABASE.fetch_val("SELECT ?", [b"x"])
    ),
    "transaction": lambda: _transaction(),
    "rolled back transaction": lambda: _rolled_back(),
    "task": lambda: asyncio.create_task(Item.objects.get(pk=1)),
    "gather": lambda: asyncio.gather(Item.objects.get(pk=1), Item.objects.count()),
    "cancel": lambda: _cancel(),
}


async def _await(awaitable):
    return await awaitable


async def _all(*awaitables):
    for awaitable in awaitables:
        await awaitable


async def _stream():
    async for item in Item.objects.order_by("id"):
        assert item.pk


async def _left_stream():
    async for _ in Item.objects.order_by("id"):
        break


async def _create():
    item = await Item.objects.create(name="new", owner=Owner(id=1, name="o"), data={"a": [1]})
    await item.update(name="newer")
    await item.delete()


async def _save():
    item = await Item.objects.get(pk=2)
    item.name = "b"
    item.price = "2.5"
    await item.save()


async def _load():
    item = await Item.objects.get(pk=1)
    await item.owner.load()
    await item.refresh()


async def _bulk():
    rows = await Item.objects.bulk_create([{"name": "x"}, Item(name="y", owner=1)])
    await Item.objects.filter(pk__in=rows).delete()


async def _bad_update():
    item = await Item.objects.get(pk=1)
    try:
        await item.update(name="x" * 50)
    except orm.ValidationError:
        pass


async def _bad_create():
    try:
        await Item.objects.create(name=5, nope=1)
    except orm.Error:
        pass


async def _transaction():
    async with DATABASE.transaction():
        await Item.objects.filter(pk=2).update(name="b")
        async with DATABASE.transaction():
            await Item.objects.count()


async def _rolled_back():
    try:
        async with DATABASE.transaction():
            await Item.objects.filter(pk=2).update(name="z")
            raise ValueError
    except ValueError:
        pass


async def _cancel():
    task = asyncio.create_task(_await_forever())
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass


async def _await_forever():
    await Item.objects.get(pk=1)
    await asyncio.sleep(60)


ROUNDS = 200


def measured():
    """Blocks of memory, and the references to what every call touches."""
    gc.collect()
    watched = (None, True, Item, Owner, DATABASE, METADATA, type(orm.Model), orm.NoMatch, dict)
    return [sys.getallocatedblocks(), *(sys.getrefcount(thing) for thing in watched)]


def leaks(rounds):
    """What grows by a whole reference or block per round, every time it is tried.  The noise of
    the interpreter (free lists, caches, tables that double) grows now and then only."""
    least = None
    for _ in range(4):
        before = measured()
        rounds()
        grown = [late - early for early, late in zip(before, measured(), strict=True)]
        least = grown if least is None else list(map(min, least, grown))
        if max(least) < ROUNDS * 0.6:
            return []
    return least


@pytest.fixture(scope="module")
def loop():
    loop = asyncio.new_event_loop()

    async def prepare():
        await orm.create_all(METADATA, DATABASE)
        await Owner.objects.create(name="o")
        await Item.objects.bulk_create([{"name": "a", "owner": 1}, {"name": "b", "owner": 1}])

    loop.run_until_complete(prepare())
    yield loop
    loop.run_until_complete(DATABASE.disconnect())
    loop.close()


@pytest.mark.parametrize("name", [name for name in SYNCHRONOUS if name != "blocking"])
def test_synchronous_calls(name):
    call = SYNCHRONOUS[name]
    assert leaks(lambda: [call() for _ in range(ROUNDS)] and None) == []


def test_the_blocking_forms(folder):
    """They run on an engine of the thread: a file that is there for both."""
    database = orm.Database("sqlite:///blocking.sqlite")
    metadata = orm.MetaData()
    body = {
        "__metadata__": metadata,
        "__database__": database,
        "id": orm.Integer(primary_key=True),
        "name": orm.Text(),
    }
    thing = type(orm.Model)("Thing", (orm.Model,), body)

    async def prepare():
        await orm.create_all(metadata, database)
        await thing.objects.bulk_create([{"name": str(n)} for n in range(3)])
        await database.disconnect()

    asyncio.run(prepare())

    def call():
        assert len(thing.objects) == 3
        assert next(iter(thing.objects.order_by("id"))).name == "0"
        assert thing.objects[0].pk == 1
        refuse(lambda: len(thing.objects.raw))

    assert leaks(lambda: [call() for _ in range(ROUNDS)] and None) == []


@pytest.mark.parametrize("name", ASYNCHRONOUS)
def test_asynchronous_calls(loop, name):
    call = ASYNCHRONOUS[name]

    async def rounds(count):
        for _ in range(count):
            await call()

    assert leaks(lambda: loop.run_until_complete(rounds(ROUNDS))) == []


def test_a_leak_would_be_seen():
    """The measure itself: one reference or one block left behind per round is found."""
    kept = []
    assert leaks(lambda: kept.extend([Item] * ROUNDS))
    if sys.getallocatedblocks():  # PYTHONMALLOC=malloc counts no blocks
        assert leaks(lambda: kept.extend(str(number) * 100 for number in range(ROUNDS)))
