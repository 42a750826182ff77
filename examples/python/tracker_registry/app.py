"""An address book over HTTP: FastAPI, databases, and models in a registry.

    python app.py                 creates the tables
    uvicorn app:app               serves them

DATABASE_URL names the database; without it, people.db in the current folder.
"""

import asyncio
import os
import uuid
from contextlib import asynccontextmanager

import databases
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import orm

database = databases.Database(os.environ.get("DATABASE_URL", "sqlite:///people.db"))
models = orm.ModelRegistry(database=database)


class Team(orm.Model):
    tablename = "teams"
    registry = models
    fields = {
        "id": orm.Integer(primary_key=True),
        "name": orm.String(max_length=100, unique=True),
    }


class Person(orm.Model):
    tablename = "people"
    registry = models
    fields = {
        "id": orm.UUID(primary_key=True, default=uuid.uuid4),
        "name": orm.String(max_length=100, index=True),
        "email": orm.Email(max_length=100, unique=True),
        "team": orm.ForeignKey("Team", allow_null=True, on_delete=orm.SET_NULL),
        "notes": orm.Text(allow_blank=True),
        "joined": orm.Date(auto_now_add=True),
    }


class NewPerson(BaseModel):
    name: str
    email: str
    team: str | None = None


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with database:
        yield


app = FastAPI(lifespan=lifespan)


def as_json(person):
    return {
        "id": person.id,
        "name": person.name,
        "email": person.email,
        "team": person.team.pk,
        "joined": person.joined,
    }


async def find_person(person_id: uuid.UUID):
    try:
        return await Person.objects.get(id=person_id)
    except orm.NoMatch:
        raise HTTPException(404, "Nobody has that number") from None


@app.post("/people", status_code=201)
async def add_person(new: NewPerson):
    values = {"name": new.name, "email": new.email}
    if new.team is not None:
        values["team"], _ = await Team.objects.get_or_create({}, name=new.team)
    person, created = await Person.objects.update_or_create(
        {"name": values.pop("name"), **values}, email=new.email
    )
    return as_json(person) | {"created": created}


@app.get("/people")
async def list_people(search: str = "", starts: str = "", team: int | None = None):
    people = Person.objects.search(search).order_by("name")
    if starts:
        people = people.filter(
            Person.columns.name.startswith(starts) | Person.columns.email.startswith(starts)
        )
    if team is not None:
        people = people.filter(team=team)
    return [as_json(person) for person in await people.all()]


@app.get("/people/{person_id}")
async def get_person(person_id: uuid.UUID):
    person = await find_person(person_id)
    if person.team.pk is not None:
        await person.team.load()
        return as_json(person) | {"team": person.team.name}
    return as_json(person)


@app.delete("/people/{person_id}", status_code=204)
async def remove_person(person_id: uuid.UUID):
    await (await find_person(person_id)).delete()


@app.post("/teams/{team_id}/merge/{other_id}")
@database.transaction()
async def merge_teams(team_id: int, other_id: int):
    """Everybody of the other team comes over, and the other team goes."""
    moved = Person.objects.filter(team=other_id)
    count = await moved.count()
    await moved.update(team=await Team.objects.get(id=team_id))
    await (await Team.objects.get(id=other_id)).delete()
    return {"moved": count}


@app.delete("/teams/{team_id}", status_code=204)
async def remove_team(team_id: int):
    await Team.objects.filter(id=team_id).delete()


if __name__ == "__main__":
    asyncio.run(models.create_all())
    print("tables:", ", ".join(models.metadata.tables))
