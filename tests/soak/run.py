"""`make soak`: the long forms one after another, for so many minutes together.

python -m tests.soak.run [--minutes 10]

Each run has a seed of its own and adds its line to the ledger; Ctrl-C ends the run that is under
way, whose line is written too.  The next call goes on: the sum is what counts.
"""

from __future__ import annotations

import argparse
import sys

from tests.soak import damage, kills, operations
from tests.soak.common import Budget, new_seed, record, stop_on_term

KINDS = {"kills": kills.run, "damage": damage.run, "operations": operations.run}


def main() -> int:
    parser = argparse.ArgumentParser(description="every kind for a share of the time")
    parser.add_argument("--minutes", type=float, default=10)
    seconds = parser.parse_args().minutes * 60 / len(KINDS)
    stop_on_term()
    findings = 0
    try:
        for what, kind in KINDS.items():
            findings += len(record(what, kind, Budget(seconds=seconds), new_seed()).findings)
    except KeyboardInterrupt:
        return 130
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
