"""Every test begins with the same database: what a test writes is rolled back at its end.

pytest test_shop.py
"""

import asyncio
import decimal
import functools
import os

import pytest
import sqlalchemy

os.environ["TESTING"] = "1"

from models import Article, Order, SoldOut, database, metadata, order


@pytest.fixture(autouse=True, scope="module")
def tables():
    url = str(database.url)
    if not url.startswith("sqlite"):  # the tables are made before the tests begin
        yield
        return
    engine = sqlalchemy.create_engine(url)
    metadata.create_all(engine)
    yield
    metadata.drop_all(engine)
    engine.dispose()


def async_adapter(test):
    """Runs an async test between the connect() and disconnect() of its own."""

    @functools.wraps(test)
    def run_sync(*args, **kwargs):
        async def run():
            async with database:
                await test(*args, **kwargs)

        asyncio.run(run())

    return run_sync


@pytest.mark.parametrize("turn", [1, 2])
@async_adapter
async def test_nothing_is_left_of_the_test_before(turn):
    assert await Article.objects.count() == 0
    assert await Order.objects.exists() is False
    await Article.objects.create(name="Cup", price=decimal.Decimal("4.50"), stock=turn)
    assert await Article.objects.count() == 1


@async_adapter
async def test_an_order():
    await Article.objects.create(name="Cup", price="4.50", stock=3)
    placed = await order("Cup", 2)
    assert placed.number == 2
    cup = await Article.objects.get(name="Cup")
    assert (cup.stock, cup.price) == (1, decimal.Decimal("4.50"))
    assert [o.article.pk for o in await Order.objects.all()] == [cup.pk]


@async_adapter
async def test_what_is_sold_out_leaves_no_order():
    await Article.objects.create(name="Cup", price="4.50", stock=1)
    with pytest.raises(SoldOut):
        await order("Cup", 2)
    assert await Order.objects.count() == 0
    assert (await Article.objects.get(name="Cup")).stock == 1


@async_adapter
async def test_raw_sql_sees_the_same_rows():
    await Article.objects.create(name="Cup", price="4.50")
    rows = await database.fetch_all("SELECT name FROM articles")
    assert [row["name"] for row in rows] == ["Cup"]
    await database.execute("UPDATE articles SET name = :name", {"name": "Mug"})
    assert (await Article.objects.get()).name == "Mug"


@async_adapter
async def test_at_once():
    await Article.objects.create(name="Cup", price="4.50")
    counts = await asyncio.gather(*(Article.objects.count() for _ in range(5)))
    assert counts == [1] * 5
