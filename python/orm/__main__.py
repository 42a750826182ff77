"""`python -m orm guide [--database URL] [path]`: runs a guide and tells its story."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    command, *rest = arguments or [""]
    url = None
    if rest[:1] == ["--database"] and len(rest) > 1:
        url, rest = rest[1], rest[2:]
    if command != "guide" or len(rest) > 1 or any(word.startswith("-") for word in rest):
        print("usage: python -m orm guide [--database URL] [file.md]", file=sys.stderr)
        return 2
    from .guide import main as guide

    return guide(*rest, url=url)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
