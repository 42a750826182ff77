"""C15: histories under faults are judged by their isolation level, and the judge can condemn."""

import math
import random
import sqlite3

import pytest

from tests.py.conftest import World
from tests.soak import histories
from tests.soak.checker import LEVELS, Operation, Step, Transaction, check, check_counter

# ---- the checker.  A line is a transaction: "+ka" appends a to list k, "ka,b" reads it.


def values_of(part):
    """The values 1a and 1b of "1a,b": no two lists have one in common."""
    return tuple(part[0] + value for value in part[1:].split(",") if value)


def transaction(number, text):
    said, *parts = text.split()
    operations = []
    for part in parts:
        append, part = part.startswith("+"), part.removeprefix("+")
        values = values_of(part)
        operations.append(Operation("append" if append else "read", int(part[0]), values))
    names = {"ok": "acknowledged", "no": "refused", "?": "unknown"}
    begun = 0.0 if said != "late" else 1000.0
    return Transaction(f"T{number}", begun, number, names.get(said, "acknowledged"), operations)


def verdict(lines, final, level):
    history = [transaction(number, line) for number, line in enumerate(lines, 1)]
    lists = {int(part[0]): list(values_of(part)) for part in final.split()}
    return list(check(history, lists, level))


ALWAYS = dict.fromkeys(LEVELS, True)
NEVER = dict.fromkeys(LEVELS, False)
BEYOND_READ_COMMITTED = ALWAYS | {"read committed": False}
ONLY_SERIALIZABLE = NEVER | {"serializable": True}


@pytest.mark.parametrize(
    ("lines", "final", "forbidden"),
    [
        # what may be
        (["ok +1a 1a", "ok 1a +1b", "late 1a,b"], "1a,b", NEVER),
        (["? +1a +2a", "ok 1"], "1 2", NEVER),
        (["? +1a +2a", "ok 1a"], "1a 2a", NEVER),
        (["no +1a", "ok 1"], "1", NEVER),
        # what is stored
        (["ok +1a"], "1", ALWAYS),
        (["no +1a"], "1a", ALWAYS),
        (["? +1a +2a"], "1a 2", ALWAYS),
        (["ok +1a"], "1a,a", ALWAYS),
        (["ok 1"], "1x", ALWAYS),
        (["ok +1a"], "1 2a", ALWAYS),
        # what is read
        (["no +1a", "ok 1a"], "1", ALWAYS),  # aborted read
        (["ok +1a +1b", "ok 1a"], "1a,b", ALWAYS),  # intermediate read
        (["ok +1a", "ok +1b", "ok 1b,a"], "1a,b", ALWAYS),  # an order of its own
        (["ok +1a 1"], "1a", ALWAYS),  # without its own append
        (["ok +1a", "late 1"], "1a", ALWAYS),  # from before it began
        (["ok +1a", "ok 1a 1"], "1a", ALWAYS),  # back in time
        (["ok +1a", "ok 1 1a"], "1a", BEYOND_READ_COMMITTED),  # no snapshot
        # circles
        (["ok +1a +2a", "ok +1b +2b"], "1a,b 2b,a", ALWAYS),  # writes
        (["ok +1a 2b", "ok +2b 1a"], "1a 2b", ALWAYS),  # each has read the other's
        (["ok +1a +2a", "ok 1a 2"], "1a 2a", BEYOND_READ_COMMITTED),  # read skew
        (["ok 1 +1a", "ok 1 +1b"], "1a,b", BEYOND_READ_COMMITTED),  # lost update
        (["ok 1 2 +1a", "ok 1 2 +2b"], "1a 2b", ONLY_SERIALIZABLE),  # write skew
        (["ok +1a", "ok +2b", "ok 1a 2", "ok 1 2b"], "1a 2b", BEYOND_READ_COMMITTED),  # long fork
    ],
)
def test_C15_the_checker_condemns_what_a_level_forbids(lines, final, forbidden):
    for level in LEVELS:
        assert bool(verdict(lines, final, level)) == forbidden[level], level


def test_C15_a_level_that_there_is_not():
    with pytest.raises(ValueError, match="snapshot"):
        list(check([], {}, "eventual"))


@pytest.mark.parametrize(
    ("found", "final", "wrong"),
    [(2, 3, False), (3, 3, False), (1, 3, True), (4, 4, True), (2, 1, True), (2, 4, True)],
)
def test_C15_the_checker_condemns_a_counter(found, final, wrong):
    """Two additions are acknowledged before the read, one is unknown, one was refused."""
    steps = [Step(0, 1, "acknowledged"), Step(0, 1, "acknowledged"), Step(0, math.inf)]
    steps += [Step(0, 1, "refused"), Step(2, 3, "acknowledged", found)]
    assert bool(list(check_counter(steps, final))) == wrong


# ---- histories


def one_round(world, folder, level, control="", seed=0):
    chance = random.Random(seed)
    one = histories.Round(world.url, level, folder, chance, control, seconds=1.5)
    with histories.proxy_to(world.url) as proxy:
        found = one.run(proxy)
    return found, one.counts


@pytest.mark.parametrize("number", range(4))
def test_C15_what_was_told_under_faults_could_have_happened(world, folder, number):
    levels = histories.levels_of(world.kind)
    if number >= len(levels):
        pytest.skip(f"{world.kind} has {len(levels)} levels")
    found, counts = one_round(world, folder, levels[number], seed=number)
    assert found == []
    assert counts["attempts acknowledged"] > 20
    assert counts["client kills"] + counts["connections cut"] > 0


WEAK = {"postgresql": "repeatable read", "mariadb": "repeatable read"}


@pytest.mark.parametrize("control", ["broken", "weak"])
def test_C15_control_a_broken_client_and_a_weak_level_are_found(world, folder, control):
    if control == "weak" and world.kind not in WEAK:
        pytest.skip("has one level")
    level = WEAK.get(world.kind, "serializable")
    wanted = "is lost" if control == "broken" else "a circle that serializable forbids"
    for seed in range(5):  # it is a matter of chance, though of a good one
        found, _ = one_round(world, folder, level, control, seed)
        if any(wanted in text for text in found):
            return
    pytest.fail(f"nothing was found: {found[:5]}")


def test_C15_control_a_lost_acknowledged_append_is_found(folder):
    """Somebody takes an append away behind the clients' backs."""
    if World.kind != "sqlite":
        pytest.skip("changes the file")
    url = f"sqlite:///{folder}/db.sqlite"
    one = histories.Round(url, "serializable", folder, random.Random(1), seconds=0.3)
    assert one.run(None) == []
    connection = sqlite3.connect(folder / "db.sqlite")
    with connection:
        ((key, items),) = connection.execute(
            "SELECT id, items FROM history_list WHERE items <> '' LIMIT 1"
        )
        fewer = " ".join(items.split()[:-1])
        connection.execute("UPDATE history_list SET items = ? WHERE id = ?", (fewer, key))
    connection.close()
    assert any("lost" in text or "half" in text or "order" in text for text in one.judge())
