"""The ledger of outages: its checker can fail, and a short form of tests.soak.outages."""

import random
from pathlib import Path

import pytest

from tests.servers import servers
from tests.soak import outages
from tests.soak.common import Budget, Outcome


def log_of(folder, *entries):
    log = outages.Log(folder / "log")
    for entry in entries:
        log.take(entry)
    return log


@pytest.mark.parametrize(
    ("said", "stored", "wrong"),
    [
        ("acknowledged", 1, ""),
        ("acknowledged", 0, "acknowledged row 'a' is there 0 times"),
        ("acknowledged", 2, "there 2 times"),
        ("refused", 0, ""),
        ("refused", 1, "refused row 'a' is there"),
        ("unknown", 0, ""),
        ("unknown", 1, ""),
        ("unknown", 2, "there 2 times"),
        ("begun", 1, ""),
    ],
)
def test_the_checker_sees_rows_that_are_not_as_was_said(folder, said, stored, wrong):
    log = log_of(folder, {"said": "begun", "rows": ["a"]}, {"said": said, "rows": ["a"]})
    found = list(outages.check(log, {"a": stored} if stored else {}, 10, 10))
    assert bool(found) == bool(wrong)
    assert wrong in "".join(found)


def test_the_checker_sees_halves_and_strangers(folder):
    log = log_of(
        folder,
        {"said": "unknown", "rows": ["a", "b"]},
        {"said": "foreign", "what": "x instead of y"},
    )
    found = list(outages.check(log, {"a": 1, "c": 1}, 9, 10))
    for wrong in ("half of a transaction", "'c' was never written", "hold 9", "x instead of y"):
        assert any(wrong in text for text in found), wrong


@pytest.fixture(params=sorted(servers.KINDS))
def server(request):
    if request.config.getoption("--database") != request.param:
        pytest.skip(f"needs --database {request.param}")
    with servers.running(request.param) as server:  # what is acknowledged must survive
        yield server


def test_A11_A12_C18_outages(server, folder):
    for victim, rounds in (("server", 2), ("client", 4), ("connection", 25)):
        outcome = Outcome()
        home = Path(folder / victim)
        home.mkdir()
        outages.run_on(server, victim)(outcome, Budget(rounds), random.Random(rounds), home)
        assert outcome.findings == []
        assert outcome.counts["rows acknowledged"] > rounds
