"""SQLAlchemy and Alembic on the database of a world, through asynchronous drivers."""

from urllib.parse import urlsplit

import sqlalchemy
from alembic import autogenerate
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "mariadb": "mysql+aiomysql",
}
OPTIONS = {"compare_type": True, "compare_server_default": True}


def alchemy_url(world):
    """The URL of the world's database as SQLAlchemy's drivers want it."""
    return DRIVERS[world.kind] + world.url.removeprefix(urlsplit(world.url).scheme)


def alchemy_engine(world):
    """An engine of SQLAlchemy; each connection is closed when it is given back."""
    return create_async_engine(alchemy_url(world), poolclass=sqlalchemy.pool.NullPool)


async def differences(engine, metadata):
    """What Alembic's autogenerate finds between the database and the models."""

    def compare(connection):
        context = MigrationContext.configure(connection, opts=OPTIONS)
        return autogenerate.compare_metadata(context, metadata)

    async with engine.connect() as connection:
        return await connection.run_sync(compare)


def described(found):
    """(kind, name) of every change, sorted: (modify_type, price), (add_index, ix_thing_a) …"""
    changes = []
    for change in found:
        if isinstance(change, list):  # what changes in one column
            changes += [(kind, column) for kind, _, _, column, *_ in change]
        elif change[0] == "add_constraint":
            changes.append((change[0], ", ".join(change[1].columns.keys())))
        else:
            changes.append((change[0], change[-1].name))
    return sorted(changes)
