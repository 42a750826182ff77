"""An issue tracker over HTTP: FastAPI, databases, and models with class attributes.

    python app.py                 creates the tables
    uvicorn app:app               serves them

DATABASE_URL names the database; without it, tracker.db in the current folder.
"""

import datetime
import enum
import os
from contextlib import asynccontextmanager

import databases
import sqlalchemy
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

import orm

DATABASE_URL = os.environ.get("DATABASE_URL", "sqlite:///tracker.db")

database = databases.Database(DATABASE_URL)
metadata = sqlalchemy.MetaData()


class State(enum.Enum):
    OPEN = "open"
    BLOCKED = "blocked"
    DONE = "done"


class Project(orm.Model):
    __tablename__ = "projects"
    __database__ = database
    __metadata__ = metadata

    id = orm.Integer(primary_key=True)
    name = orm.String(max_length=100, unique=True, index=True)
    archived = orm.Boolean(default=False)


class Issue(orm.Model):
    __tablename__ = "issues"
    __database__ = database
    __metadata__ = metadata

    id = orm.Integer(primary_key=True)
    project = orm.ForeignKey(Project)
    title = orm.String(max_length=200)
    body = orm.Text(default="", allow_blank=True)
    state = orm.Enum(State, default=State.OPEN)
    labels = orm.JSON(default=list)
    created = orm.DateTime(default=datetime.datetime.now)
    due = orm.Date(allow_null=True)


class NewProject(BaseModel):
    name: str


class NewIssue(BaseModel):
    title: str
    body: str = ""
    labels: list[str] = []
    due: datetime.date | None = None


class Changes(BaseModel):
    title: str | None = None
    state: State | None = None
    due: datetime.date | None = None


@asynccontextmanager
async def lifespan(app: FastAPI):
    await database.connect()
    yield
    await database.disconnect()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(orm.NoMatch)
async def no_match(request: Request, error: orm.NoMatch):
    return JSONResponse({"detail": "Not found"}, status_code=404)


def as_json(issue: Issue):
    return {
        "id": issue.id,
        "project": issue.project.pk,
        "title": issue.title,
        "body": issue.body,
        "state": issue.state.value,
        "labels": issue.labels,
        "due": issue.due,
    }


@app.post("/projects", status_code=201)
async def create_project(new: NewProject):
    if await Project.objects.filter(name=new.name).exists():
        raise HTTPException(409, "A project of that name exists")
    return dict(await Project.objects.create(name=new.name))


@app.get("/projects")
async def list_projects(archived: bool = False):
    projects = await Project.objects.filter(archived=archived).order_by("name").all()
    return [dict(project) for project in projects]


@app.post("/projects/{project_id}/issues", status_code=201)
async def create_issue(project_id: int, new: NewIssue):
    project = await Project.objects.get(id=project_id)
    return as_json(await Issue.objects.create(project=project, **new.model_dump()))


@app.get("/issues")
async def list_issues(
    project: str | None = None,
    state: State | None = None,
    title: str | None = None,
    due_before: datetime.date | None = None,
    limit: int = 50,
    offset: int = 0,
):
    issues = Issue.objects.select_related("project").exclude(project__archived=True)
    if project is not None:
        issues = issues.filter(project__name__iexact=project)
    if state is not None:
        issues = issues.filter(state=state)
    if title is not None:
        issues = issues.filter(title__icontains=title)
    if due_before is not None:
        issues = issues.filter(due__lt=due_before)
    page = await issues.order_by("-id").limit(limit).offset(offset).all()
    return {
        "total": await issues.count(),
        "issues": [as_json(issue) | {"project": issue.project.name} for issue in page],
    }


@app.get("/issues/{issue_id}")
async def get_issue(issue_id: int):
    issue = await Issue.objects.get(pk=issue_id)
    await issue.project.load()
    return as_json(issue) | {"project": dict(issue.project)}


@app.patch("/issues/{issue_id}")
async def change_issue(issue_id: int, changes: Changes):
    issue = await Issue.objects.get(id=issue_id)
    await issue.update(**changes.model_dump(exclude_unset=True))
    return as_json(issue)


@app.delete("/issues/{issue_id}", status_code=204)
async def delete_issue(issue_id: int):
    issue = await Issue.objects.get(id=issue_id)
    await issue.delete()


@app.post("/projects/{project_id}/archive")
async def archive_project(project_id: int):
    """Closes what is open; with a blocked issue nothing changes at all."""
    async with database.transaction():
        project = await Project.objects.get(id=project_id)
        await project.update(archived=True)
        closed = 0
        for issue in await Issue.objects.filter(project=project).exclude(state=State.DONE).all():
            if issue.state is State.BLOCKED:
                raise HTTPException(409, f"Issue {issue.id} is blocked")
            await issue.update(state=State.DONE)
            closed += 1
    return {"closed": closed}


def create_tables():
    engine = sqlalchemy.create_engine(DATABASE_URL)
    metadata.create_all(engine)
    engine.dispose()


if __name__ == "__main__":
    create_tables()
    print("tables:", ", ".join(metadata.tables))
