"""What the long forms share: how long to go on, what was found, and the command line."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak import ledger

KEPT = ledger.ROOT / "build-soak"  # what a finding needs to be looked at


class Budget:
    """How long to go on: iterates 0, 1, 2… until so many rounds or seconds are over."""

    def __init__(self, rounds: int | None = None, seconds: float | None = None) -> None:
        self.rounds, self.seconds = rounds, seconds
        self.start, self.done = time.monotonic(), 0

    def spent(self) -> float:
        """The part that is over, 0 to 1 and beyond."""
        limits = [(self.done, self.rounds), (time.monotonic() - self.start, self.seconds)]
        return max(
            (used / limit if limit else 1.0 for used, limit in limits if limit is not None),
            default=0.0,
        )

    def __iter__(self) -> Iterator[int]:
        while self.spent() < 1:
            yield self.done
            self.done += 1


@dataclass
class Outcome:
    """What a run did and found; filled as it goes, so that a run cut short counts too."""

    counts: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)  # beyond those every line has

    def find(self, text: str, *files: Path) -> None:
        """Notes a finding, shows it, and keeps its files in build-soak/."""
        self.findings.append(text)
        print(f"FOUND {text}", file=sys.stderr, flush=True)
        for path in files:
            KEPT.mkdir(exist_ok=True)
            shutil.copy(path, KEPT / f"{time.time_ns()}-{path.name}")


Kind = Callable[[Outcome, Budget, random.Random, Path], None]


def record(what: str, kind: Kind, budget: Budget, seed: int, *, keep: bool = True) -> Outcome:
    """Runs a kind in a temporary folder and adds its line to the ledger, even when interrupted."""
    ledger.commit()
    outcome, start, stopped = Outcome(), time.monotonic(), None
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            kind(outcome, budget, random.Random(seed), Path(folder))
        except KeyboardInterrupt as error:
            stopped = error
    seconds = time.monotonic() - start
    entry = ledger.line(
        what,
        seed,
        seconds,
        len(outcome.findings),
        counts=dict(outcome.counts),
        worst=outcome.worst,
        **outcome.versions,
    )
    print(ledger.table([entry]).splitlines()[-1], flush=True)
    if keep:
        ledger.append(entry)
    if stopped:
        raise stopped
    return outcome


def new_seed() -> int:
    return random.SystemRandom().randrange(1 << 32)


def main(what: str, kind: Kind, description: str | None) -> int:
    """The command line of one kind: `--rounds N` or `--minutes M`, `--seed S`, `--no-ledger`."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=new_seed())
    parser.add_argument("--no-ledger", action="store_true", help="add no line to the ledger")
    options = parser.parse_args()
    seconds = options.minutes * 60 if options.minutes is not None else None
    if options.rounds is None and seconds is None:
        seconds = 60.0
    stop_on_term()
    budget = Budget(options.rounds, seconds)
    try:
        outcome = record(what, kind, budget, options.seed, keep=not options.no_ledger)
    except KeyboardInterrupt:
        return 130
    return 1 if outcome.findings else 0


def stop_on_term() -> None:
    """SIGTERM ends a run as Ctrl-C does: its line is written first."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
