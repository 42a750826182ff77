"""SQLAlchemy's asynchronous ORM on aiosqlite; a session for each operation, as in a service."""

import sqlalchemy
from peer import Peer, serve
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Track(Base):
    __tablename__ = "track"
    id: Mapped[int] = mapped_column(primary_key=True)
    album: Mapped[int]
    title: Mapped[str]
    position: Mapped[int]
    rating: Mapped[float]


class Scratch(Base):
    __tablename__ = "scratch"
    id: Mapped[int] = mapped_column(primary_key=True)
    album: Mapped[int]
    title: Mapped[str]
    position: Mapped[int]
    rating: Mapped[float]


class SQLAlchemy(Peer):
    name = f"SQLAlchemy async {sqlalchemy.__version__}"

    async def open(self, path):
        self.engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=20)
        self.session = async_sessionmaker(self.engine, expire_on_commit=False)

    async def get(self, id):
        async with self.session() as session:
            return (await session.scalars(select(Track).where(Track.id == id))).one()

    async def all(self):
        async with self.session() as session:
            return (await session.scalars(select(Track).order_by(Track.id).limit(1_000))).all()

    async def create(self, **values):
        async with self.session() as session:
            row = Scratch(**values)
            session.add(row)
            await session.commit()
            return row

    async def close(self):
        await self.engine.dispose()


serve(SQLAlchemy)
