"""B2: cancel a statement, use its connection again at once: nobody else is ever hit.

    python -m tests.soak.cancel --rounds 100000 [--database mariadb]
    make cancel

Each round sends a statement, cancels it at a random moment (often when it is over on the server
and its answer is under way: then the cancel finds the next one) and has an innocent statement
follow on the same connection.  The innocent brings back its own nonce; when it fails, or brings
another's, it is a victim.  Bounded waits are measured on the side: how late an operation was that
ran into its deadline.

--control is the negative control: a library in front of libpq whose PQcancel returns before the
server was told, so that connections are used again without waiting.  There nearly every round
must have its victim, or the rounds prove nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orm
from tests.servers import servers
from tests.soak.common import Budget, Outcome, new_seed, record, stop_on_term

TASKS = 4  # each with a connection of its own
SLEEP = {"postgresql": "pg_sleep", "mariadb": "sleep"}

# The real call is made 100 ms later, on a thread, with a copy of its argument.
CONTROL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *later(void *copy)
{
    void *libpq = dlopen("libpq.so.5", RTLD_LAZY | RTLD_NOLOAD);
    int (*cancel)(void *, char *, int) = (int (*)(void *, char *, int))dlsym(libpq, "PQcancel");
    char reason[256];
    usleep(100000);
    cancel(copy, reason, sizeof reason);
    free(copy);
    return NULL;
}

int PQcancel(void *what, char *reason, int size)
{
    pthread_t thread;
    size_t bytes = malloc_usable_size(what);
    void *copy = malloc(bytes);
    memcpy(copy, what, bytes);
    (void)reason, (void)size;
    if (pthread_create(&thread, NULL, later, copy) == 0) pthread_detach(thread);
    return 1;
}
"""

VIEWS = {  # what a statement takes, by its name
    "quick": 0,
    "short": 0.001,
    "longer": 1,
    "endless": 60,
}


def statement(kind: str, view: str) -> str:
    """It brings back its parameter, and nothing when its sleep was cut short.  No function is
    called in its text, so that the session is not renewed behind it: that would take the trace
    of a late cancel."""
    if kind == "postgresql":
        return f"SELECT CAST($1 AS bigint) FROM {view} WHERE NOT slept"
    return f"SELECT CAST(? AS integer) FROM {view} WHERE slept = 0"


async def make_views(url: str, kind: str) -> str:
    """The version of the server."""
    database = orm.Database(url, max_size=1)
    for view, seconds in VIEWS.items():
        column = f"{SLEEP[kind]}({seconds})" + (" IS NULL" if kind == "postgresql" else "")
        await database.execute(f"DROP VIEW IF EXISTS {view}")
        await database.execute(f"CREATE VIEW {view} AS SELECT {column} AS slept")
    version = str(await database.fetch_val("SELECT version()"))
    await database.disconnect()
    return version.removeprefix("PostgreSQL ").split()[0]


async def one_round(
    database: orm.Database, kind: str, chance: random.Random, nonce: int, control: bool
) -> str:
    """ "" when it was too late to cancel, "cancelled", or what the victim got."""
    view = "quick" if control else chance.choice(["quick", "quick", "short", "endless"])
    moment = 0 if control or chance.random() < 0.5 else chance.uniform(0, 0.002)
    innocent = "longer" if control else chance.choice(["quick", "short"])

    async def guilty() -> None:
        await database.fetch_val(statement(kind, view), [0])

    task = asyncio.create_task(guilty())
    await asyncio.sleep(moment)  # 0: it is sent, and no answer was read
    task.cancel()
    try:
        found = await database.fetch_val(statement(kind, innocent), [nonce])
    except orm.Error as error:
        return f"victim: {type(error).__name__}: {error}"
    try:
        await task
        was_cancelled = False
    except asyncio.CancelledError:
        was_cancelled = True
    if found != nonce:
        return f"victim: {found!r} instead of {nonce}"
    return "cancelled" if was_cancelled else ""


async def overrun(database: orm.Database, kind: str, timeout: float) -> float:
    """How late it was told that a statement did not end in time, ms."""
    began = time.monotonic()
    try:
        await database.fetch_val(statement(kind, "endless"), [0])
    except orm.QueryTimeout:
        return (time.monotonic() - began - timeout) * 1000
    raise AssertionError("an endless statement has ended")


async def work(
    url: str, kind: str, outcome: Outcome, budget: Budget, chance: random.Random, control: bool
) -> None:
    outcome.versions[kind] = await make_views(url, kind)
    numbers = iter(budget)

    async def task() -> None:
        database = orm.Database(url, max_size=1)
        for view in ("quick", "short", "longer"):  # connected, and all prepared
            await database.fetch_val(statement(kind, view), [0])
        for number in numbers:
            told = await one_round(database, kind, chance, number + 1, control)
            outcome.counts["rounds"] += 1
            outcome.counts["cancelled"] += told == "cancelled"
            if told.startswith("victim"):
                outcome.counts["victims"] += 1
                if not control:
                    outcome.find(f"cancel {kind}, round {number}: {told}")
        await database.disconnect()

    async def late() -> None:
        timeout = 0.2
        database = orm.Database(url, max_size=1, query_timeout=timeout)
        while budget.spent() < 1:
            ms = round(await overrun(database, kind, timeout), 1)
            outcome.worst["overrun ms"] = max(ms, outcome.worst.get("overrun ms", ms))
        await database.disconnect()

    beside = [] if control else [late()]
    await asyncio.gather(*beside, *(task() for _ in range(TASKS)))
    outcome.counts.setdefault("victims", 0)


def run_on(url: str, kind: str, control: bool = False):  # type: ignore[no-untyped-def]
    """The kind of run, for tests.soak.common.record, on a server that is there."""

    def run(outcome: Outcome, budget: Budget, chance: random.Random, folder: Path) -> None:
        asyncio.run(work(url, kind, outcome, budget, chance, control))

    return run


def control_library(folder: Path) -> Path:
    """Builds it; $CC or cc."""
    source, library = folder / "control.c", folder / "control.so"
    source.write_text(CONTROL)
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True
    )
    return library


def is_shown(outcome: Outcome) -> bool:
    """Of a control: whether more than 90 % of the rounds had their victim."""
    return outcome.counts["victims"] > 0.9 * outcome.counts["rounds"]


def main() -> int:
    parser = argparse.ArgumentParser(description="cancel and use again at once")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--database", choices=sorted(SLEEP), default="postgresql")
    parser.add_argument("--url", help="of a server that runs already; else one is started")
    parser.add_argument("--seed", type=int, default=new_seed())
    parser.add_argument("--control", action="store_true", help="use again without waiting")
    parser.add_argument("--no-ledger", action="store_true", help="add no line to the ledger")
    options = parser.parse_args()
    if options.control and "control.so" not in os.environ.get("LD_PRELOAD", ""):
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            environment = {**os.environ, "LD_PRELOAD": str(control_library(Path(folder)))}
            command = [sys.executable, "-m", "tests.soak.cancel", *sys.argv[1:]]
            return subprocess.run(command, env=environment).returncode
    if options.rounds is None and options.minutes is None:
        options.rounds = 2000
    seconds = options.minutes * 60 if options.minutes is not None else None
    kind, name = options.database, "cancel, control" if options.control else "cancel"
    stop_on_term()
    try:
        with contextlib.ExitStack() as stack:
            url = options.url
            if not url:
                url = stack.enter_context(servers.running(kind, fast=True)).url
            outcome = record(
                f"{name}, {kind}",
                run_on(url, kind, options.control),
                Budget(options.rounds, seconds),
                options.seed,
                keep=not options.no_ledger,
            )
    except servers.Unavailable as reason:
        print(f"{kind}: {reason}", file=sys.stderr)
        return servers.SKIPPED
    except KeyboardInterrupt:
        return 130
    if options.control:
        return 0 if is_shown(outcome) else 1
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
