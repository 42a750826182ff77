"""The example services, driven over HTTP, and the example suite with force_rollback, run as its
users run it.  They are written as the users of encode/orm wrote theirs."""

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

import orm

APPS = Path(__file__).resolve().parents[2] / "examples/python"


def url_of(world):
    """The world's URL as `databases` knows it."""
    return world.url.replace("mariadb://", "mysql://")


def load(world, name, monkeypatch):
    """The module of an example, on the world's database."""
    monkeypatch.setenv("DATABASE_URL", url_of(world))
    path = APPS / name / "app.py"
    spec = importlib.util.spec_from_file_location(f"{name}_app", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def client_of(app):
    """A client in the place of the network, between startup and shutdown of the app."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            yield client


@pytest.fixture
def tracker(world, monkeypatch):
    module = load(world, "tracker", monkeypatch)
    # SQLAlchemy's synchronous drivers of servers are not at hand
    if world.kind == "sqlite":
        module.create_tables()
    else:
        asyncio.run(orm.create_all(module.metadata))
    return module


@pytest.fixture
def people_app(world, monkeypatch):
    module = load(world, "tracker_registry", monkeypatch)
    asyncio.run(module.models.create_all())
    return module


async def test_the_tracker(tracker):
    async with client_of(tracker.app) as client:
        project = (await client.post("/projects", json={"name": "liborm"})).json()
        assert project == {"id": project["id"], "name": "liborm", "archived": False}
        assert (await client.post("/projects", json={"name": "liborm"})).status_code == 409
        issues = f"/projects/{project['id']}/issues"
        for new in (
            {"title": "Read 100%", "labels": ["docs", "é"], "due": "2030-01-02"},
            {"title": "Write", "body": "all of it"},
            {"title": "Read again"},
        ):
            answer = await client.post(issues, json=new)
            assert answer.status_code == 201
        last = answer.json()
        assert last["state"] == "open"
        assert last["project"] == project["id"]
        assert (await client.post("/projects/99/issues", json={"title": "x"})).status_code == 404

        found = (await client.get("/issues", params={"title": "100%"})).json()
        assert found["total"] == 1
        assert found["issues"][0]["labels"] == ["docs", "é"]
        assert found["issues"][0]["due"] == "2030-01-02"
        assert found["issues"][0]["project"] == "liborm"
        found = (await client.get("/issues", params={"project": "LibORM", "limit": 2})).json()
        assert (found["total"], [i["title"] for i in found["issues"]]) == (
            3,
            ["Read again", "Write"],
        )
        found = (await client.get("/issues", params={"due_before": "2031-01-01"})).json()
        assert [issue["title"] for issue in found["issues"]] == ["Read 100%"]
        assert (await client.get("/issues", params={"offset": 3})).json()["issues"] == []

        one = (await client.get(f"/issues/{last['id']}")).json()
        assert one["project"] == project
        answer = await client.patch(f"/issues/{last['id']}", json={"state": "done"})
        assert answer.json()["state"] == "done"
        found = (await client.get("/issues", params={"state": "done"})).json()
        assert found["total"] == 1
        assert (await client.delete(f"/issues/{last['id']}")).status_code == 204
        assert (await client.get(f"/issues/{last['id']}")).status_code == 404


async def test_the_tracker_rolls_back(tracker):
    async with client_of(tracker.app) as client:
        project = (await client.post("/projects", json={"name": "p"})).json()
        issues = [
            (await client.post(f"/projects/{project['id']}/issues", json={"title": title})).json()
            for title in ("one", "two")
        ]
        await client.patch(f"/issues/{issues[1]['id']}", json={"state": "blocked"})
        answer = await client.post(f"/projects/{project['id']}/archive")
        assert answer.status_code == 409
        assert (await client.get("/projects")).json() == [project]
        assert (await client.get("/issues", params={"state": "open"})).json()["total"] == 1

        await client.patch(f"/issues/{issues[1]['id']}", json={"state": "open"})
        answer = await client.post(f"/projects/{project['id']}/archive")
        assert answer.json() == {"closed": 2}
        assert (await client.get("/projects")).json() == []
        assert len((await client.get("/projects", params={"archived": True})).json()) == 1


async def test_the_tracker_at_once(tracker):
    async with client_of(tracker.app) as client:
        project = (await client.post("/projects", json={"name": "p"})).json()
        issues = f"/projects/{project['id']}/issues"
        answers = await asyncio.gather(
            *(client.post(issues, json={"title": f"issue {n}"}) for n in range(20)),
            *(client.get("/issues") for _ in range(20)),
        )
        assert {answer.status_code for answer in answers} == {200, 201}
        assert (await client.get("/issues")).json()["total"] == 20


async def test_the_address_book(people_app):
    async with client_of(people_app.app) as client:
        ann = {"name": "Ann", "email": "ann@example.org", "team": "red"}
        answer = await client.post("/people", json=ann)
        assert answer.status_code == 201
        ann = answer.json()
        assert ann["created"] is True
        again = await client.post("/people", json={"name": "Anna", "email": "ann@example.org"})
        assert again.json() == ann | {"name": "Anna", "created": False}
        bob = {"name": "Bob_x", "email": "bob@example.org"}
        bob = (await client.post("/people", json=bob)).json()
        assert bob["team"] is None
        cy = {"name": "Cy", "email": "cy@example.org", "team": "blue"}
        cy = (await client.post("/people", json=cy)).json()

        one = (await client.get(f"/people/{ann['id']}")).json()
        assert (one["name"], one["team"]) == ("Anna", "red")
        assert (await client.get(f"/people/{bob['id']}")).json()["team"] is None
        assert (await client.get(f"/people/{uuid.uuid4()}")).status_code == 404

        async def names(**params):
            answer = await client.get("/people", params=params)
            return [person["name"] for person in answer.json()]

        assert await names() == ["Anna", "Bob_x", "Cy"]
        assert await names(search="B_X") == ["Bob_x"]
        assert await names(search="n_a") == []
        assert await names(starts="bob@") == ["Bob_x"]
        assert await names(starts="C") == ["Cy"]
        assert await names(team=cy["team"]) == ["Cy"]

        answer = await client.post(f"/teams/{ann['team']}/merge/{cy['team']}")
        assert answer.json() == {"moved": 1}
        assert await names(team=ann["team"]) == ["Anna", "Cy"]
        assert (await client.delete(f"/teams/{ann['team']}")).status_code == 204
        assert (await client.get(f"/people/{cy['id']}")).json()["team"] is None
        assert (await client.delete(f"/people/{bob['id']}")).status_code == 204
        assert await names() == ["Anna", "Cy"]


async def test_merging_with_a_team_that_is_not_there_moves_nobody(people_app):
    async with client_of(people_app.app) as client:
        ann = {"name": "Ann", "email": "ann@example.org", "team": "red"}
        ann = (await client.post("/people", json=ann)).json()
        with pytest.raises(orm.NoMatch):  # no handler: a 500 behind a server
            await client.post(f"/teams/{ann['team'] + 1}/merge/{ann['team']}")
        assert (await client.get("/people", params={"team": ann["team"]})).json() != []


@pytest.mark.parametrize("name", ["tracker", "tracker_registry"])
def test_behind_a_real_server(world, name):
    """The commands of the example: tables, then a server in a process of its own.

    It is handed a socket that listens already, so that nobody has to wait until it is up.
    """
    environment = os.environ | {"DATABASE_URL": url_of(world)}
    python = [sys.executable, "-W", "error"]
    if world.kind == "sqlite" or name == "tracker_registry":
        made = subprocess.run(
            [*python, "app.py"],
            cwd=APPS / name,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert made.stdout.startswith("tables: ")
    else:
        make = "import asyncio, app, orm; asyncio.run(orm.create_all(app.metadata))"
        subprocess.run([*python, "-c", make], cwd=APPS / name, env=environment, check=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = subprocess.Popen(
            [*python, "-m", "uvicorn", "app:app", "--fd", str(listening.fileno())],
            cwd=APPS / name,
            env=environment,
            pass_fds=[listening.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            if name == "tracker":
                assert client.post("/projects", json={"name": "p"}).status_code == 201
                assert [project["name"] for project in client.get("/projects").json()] == ["p"]
                assert client.get("/issues/1").status_code == 404
            else:
                person = {"name": "Ann", "email": "ann@example.org", "team": "red"}
                assert client.post("/people", json=person).status_code == 201
                assert [person["name"] for person in client.get("/people").json()] == ["Ann"]
    finally:
        server.send_signal(signal.SIGINT)
        output = server.communicate(timeout=120)[0]
    assert "Application shutdown complete" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("debug", ["0", "1"], ids=["usual", "asyncio-debug"])
def test_the_suite_with_force_rollback(world, folder, debug):
    shutil.copytree(APPS / "shop", folder / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {
        "DATABASE_URL": url_of(world),
        "PYTHONASYNCIODEBUG": debug,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    python = [sys.executable, "-W", "error"]
    if world.kind != "sqlite":
        make = "import asyncio, models, orm; asyncio.run(orm.create_all(models.metadata))"
        subprocess.run([*python, "-c", make], cwd=folder / "shop", env=environment, check=True)
    run = subprocess.run(
        [*python, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_shop.py"],
        cwd=folder / "shop",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 passed" in run.stdout
