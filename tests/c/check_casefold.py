"""Compares the case folding of every code point with str.casefold().

usage: check_casefold.py CASEFOLD_DUMP CASEFOLD_TABLE

The table is of one version of Unicode, this Python perhaps of another; letters that only one of
the two knows fold to themselves in the other, which is no failure when the versions differ.
"""

import re
import subprocess
import sys
import unicodedata
from pathlib import Path


def check(dump, table):
    version = re.search(r"Unicode (\d+\.\d+\.\d+)", Path(table).read_text(encoding="utf-8"))[1]
    same_version = version == unicodedata.unidata_version
    text = subprocess.run([dump], capture_output=True, check=True).stdout.decode("utf-8")
    # The line feed itself prints an empty line and its own end.
    lines = iter(text.replace("\n\n\n", "\n\x00\n", 1).split("\n"))
    wrong = []
    for code in [*range(1, 0xD800), *range(0xE000, sys.maxunicode + 1)]:
        char, folded = chr(code), next(lines).replace("\x00", "\n")
        unknown = not same_version and char in (folded, char.casefold())
        if folded != char.casefold() and not unknown:
            wrong.append(f"U+{code:04X}: {folded!a}, expected {char.casefold()!a}")
    print(f"Unicode {version}, Python's {unicodedata.unidata_version}: {len(wrong)} wrong")
    print("\n".join(wrong[:20]))
    return 1 if wrong or next(lines) else 0


sys.exit(check(*sys.argv[1:]))
