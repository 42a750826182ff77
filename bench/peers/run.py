"""The peers: `make peers`.  Other ORMs, and encode/orm, beside ours in one run.

Every contestant is a process of its own, in the environment that it needs, on the same SQLite file,
which lies in memory where the machine has such a folder: clients are compared and not the disk.
They take turns, one workload at a time, in rotating order, all on one CPU: a hop to another costs
10 or 60 µs by luck.  A cell is the median over the rounds of the ratio to the standard library in
the same round.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "py"))
from contestants import make_database  # noqa: E402

WORKLOADS = {
    "get": "get, by key",
    "gets100": "100 gets at once, each",
    "all": "1,000 rows, each",
    "create": "create",
}
OURS, ENCODE, OTHERS = "", "encode-orm", "others"
# module, environment, what its process is told
CONTESTANTS = [
    ("with_stdlib", OURS, {}),
    ("with_liborm", OURS, {}),
    ("with_liborm", OURS, {"PEER_DATABASES": "1"}),
    ("with_encode_orm", ENCODE, {}),
    ("with_yara", OTHERS, {}),
    ("with_oxyde", OTHERS, {}),
    ("with_ryx", OTHERS, {}),
    ("with_tortoise", OTHERS, {}),
    ("with_peewee", OTHERS, {}),
    ("with_piccolo", OTHERS, {}),
    ("with_sqlalchemy", OTHERS, {}),
]


class Contestant:
    """A process, and what it measured: seconds by workload, a list with one for each round."""

    def __init__(self, python: pathlib.Path, module: str, told: dict[str, str], path: str) -> None:
        self.process = subprocess.Popen(
            [str(python), str(HERE / f"{module}.py"), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | told,
        )
        self.seconds: dict[str, list[float]] = {workload: [] for workload in WORKLOADS}
        self.name = self.read() or module

    def read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            self.fail()
        return line

    def fail(self) -> None:
        error = self.process.communicate()[1]
        raise SystemExit(f"{self.process.args} ended:\n{error[-2000:]}")

    def measure(self, workload: str) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(workload + "\n")
        self.process.stdin.flush()
        return float(self.read())

    def close(self) -> None:
        self.process.communicate("\n", timeout=60)


def show(contestants: list[Contestant]) -> None:
    first = contestants[0]
    width = max(len(c.name) for c in contestants)
    print(" " * width, *(title.rjust(22) for title in WORKLOADS.values()))
    for contestant in contestants:
        cells = []
        for workload in WORKLOADS:
            own = contestant.seconds[workload]
            if contestant is first:
                cells.append(f"{statistics.median(own) * 1e6:.2f} µs")
                continue
            ratios = [mine / base for mine, base in zip(own, first.seconds[workload], strict=True)]
            cells.append(f"{statistics.median(ratios):.3g}")
        print(contestant.name.ljust(width), *(cell.rjust(22) for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", default=".venv-peers", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-pin", action="store_true", help="use every CPU")
    parser.add_argument("--only", action="append", help="these modules, beside the library's")
    arguments = parser.parse_args()
    chosen = [
        entry
        for entry in CONTESTANTS
        if not arguments.only or entry[0] in ("with_stdlib", *arguments.only)
    ]
    if not arguments.no_pin:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = pathlib.Path(folder) / "peers.db"
        make_database(path)
        contestants = []
        for module, environment, told in chosen:
            python = pathlib.Path(sys.executable)
            if environment:
                python = arguments.environments / environment / "bin/python"
            contestants.append(Contestant(python, module, told, str(path)))
        for turn in range(-1, arguments.rounds):  # turn -1 warms up
            at = turn % len(contestants)
            for workload in WORKLOADS:
                for contestant in contestants[at:] + contestants[:at]:
                    seconds = contestant.measure(workload)
                    if turn >= 0:
                        contestant.seconds[workload].append(seconds)
        for contestant in contestants:
            contestant.close()
    print(
        f"CPython {platform.python_version()}, {arguments.rounds} rounds, file in "
        f"{memory or 'the temporary folder'}, "
        f"{'every CPU' if arguments.no_pin else 'one CPU'}; "
        "the first row in µs, the others as its multiples\n"
    )
    show(contestants)


if __name__ == "__main__":
    main()
