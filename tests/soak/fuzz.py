"""`make fuzz`: every target of tests/fuzz under libFuzzer, for so many minutes together.

python -m tests.soak.fuzz [--minutes 10] [--seed 1]

`tools/build --fuzz` has built the targets.  New inputs go to build-soak/found/<target> and are
seeds of the next run; inputs that crash go to build-soak/crashes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.soak import ledger
from tests.soak.common import KEPT, new_seed

BUILD = ledger.ROOT / "build-fuzz"
SANITIZED = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
EXECUTIONS = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
EDGES = re.compile(r" cov: (\d+)")
VERSION = re.compile(r"version (\S+)")


def clang() -> str:
    output = subprocess.run(["clang", "--version"], capture_output=True, text=True).stdout
    found = VERSION.search(output)
    return found[1] if found else "unknown"


def run(target: Path, seconds: int, seed: int) -> int:
    """Runs one target and adds its line; the number of inputs that crash it or take too long."""
    name = target.name.removeprefix("fuzz_")
    found, crashes = KEPT / "found" / name, KEPT / "crashes"
    found.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(exist_ok=True)
    before, start = set(crashes.iterdir()), time.monotonic()
    child = subprocess.Popen(
        [target, f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=5"]
        + ["-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-"]
        + [found, ledger.ROOT / "tests/fuzz/corpus" / name],
        env={**os.environ, **SANITIZED},
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        _, log = child.communicate()
        stopped = False
    except KeyboardInterrupt:  # libFuzzer has got it too, and prints what it did
        _, log = child.communicate()
        stopped = True
    new = sorted(set(crashes.iterdir()) - before)
    findings = max(len(new), 0 if stopped or child.returncode == 0 else 1)
    if findings:
        print(log[-4000:], file=sys.stderr)
        print(f"FOUND {name}: {', '.join(map(str, new))}", file=sys.stderr)
    executions, edges = EXECUTIONS.search(log), EDGES.findall(log)
    entry = ledger.line(
        f"fuzz {name}",
        seed,
        time.monotonic() - start,
        findings,
        clang=clang(),
        counts={"executions": int(executions[1]) if executions else 0},
        worst={"edges": max(map(int, edges), default=0)},
    )
    ledger.append(entry)
    print(ledger.table([entry]).splitlines()[-1], flush=True)
    if stopped:
        raise KeyboardInterrupt
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description="every fuzz target for a share of the time")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=new_seed())
    options = parser.parse_args()
    targets = sorted(
        path
        for path in (BUILD / "tests/fuzz").glob("fuzz_*")
        if path.is_file() and os.access(path, os.X_OK)
    )
    if not targets:
        print("no fuzz target is built: tools/build --fuzz", file=sys.stderr)
        return 1
    ledger.commit()
    seconds = max(1, round(options.minutes * 60 / len(targets)))
    try:
        findings = sum(run(target, seconds, options.seed) for target in targets)
    except KeyboardInterrupt:
        return 130
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
