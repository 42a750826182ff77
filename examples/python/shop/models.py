"""The models of a small shop.  TESTING=1 rolls everything back when the database disconnects."""

import os

import databases
import sqlalchemy

import orm

TESTING = os.environ.get("TESTING") == "1"

database = databases.Database(
    os.environ.get("DATABASE_URL", "sqlite:///shop.db"), force_rollback=TESTING
)
metadata = sqlalchemy.MetaData()


class Article(orm.Model):
    __tablename__ = "articles"
    __database__ = database
    __metadata__ = metadata

    id = orm.Integer(primary_key=True)
    name = orm.String(max_length=100, unique=True)
    price = orm.Decimal(max_digits=10, decimal_places=2)
    stock = orm.Integer(minimum=0, default=0)


class Order(orm.Model):
    __tablename__ = "orders"
    __database__ = database
    __metadata__ = metadata

    id = orm.Integer(primary_key=True)
    article = orm.ForeignKey(Article)
    number = orm.Integer(minimum=1)


class SoldOut(Exception):
    """There is less in stock than was ordered."""


@database.transaction()
async def order(name: str, number: int) -> Order:
    article = await Article.objects.get(name=name)
    placed = await Order.objects.create(article=article, number=number)
    if article.stock < number:
        raise SoldOut(name)
    await article.update(stock=article.stock - number)
    return placed
