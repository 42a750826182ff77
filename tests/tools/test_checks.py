"""Negative controls: each check of tools/ turns red on a tree with one violation, and is green on
the same tree without it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"

MANUAL = """/* room.h - a header that explains itself at length, as every header here is to do. */
int orm_room_size(void); /* how many things the room holds */
"""
SOURCE = """#include "base/room.h"

int orm_room_size(void)
{
    return 1;
}
"""
ROW = "| 1 | counts | `src/base/room.c` | `orm_room_size` | `orm_room` | `orm_count` |\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree that every check accepts."""
    for folder in ("include/orm", "src/base", "src/query", "src/driver", "python/src"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "include/orm/orm.h").write_text(MANUAL + "/* orm_room -> orm_count */\n")
    (tmp_path / "src/base/room.h").write_text(MANUAL)
    (tmp_path / "src/base/room.c").write_text(SOURCE)
    (tmp_path / "src/query/query.h").write_text(MANUAL)
    (tmp_path / "ARCHITECTURE.md").write_text(
        "# Architecture\n\n## Life of a query\n\n| step | | file | function | in | out |\n"
        "|---|---|---|---|---|---|\n" + ROW * 9
    )
    return tmp_path


def check(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs one check; the caller looks at its status and its words."""
    return subprocess.run(
        [sys.executable, str(TOOLS / f"check_{name}"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["layers", "sizes", "headers", "life"])
def test_accepts_a_clean_tree(name: str, tree: Path) -> None:
    result = check(name, tree)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["layers", "sizes", "headers", "life"])
def test_refuses_an_empty_tree(name: str, tmp_path: Path) -> None:
    assert check(name, tmp_path).returncode != 0


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("src/base/room.c", '#include "query/query.h"', "src/base must not see src/query"),
        ("src/driver/d.c", '#include "query/query.h"', "src/driver must not see src/query"),
        ("src/base/room.c", "#include <query/query.h>", "src/base must not see src/query"),
        ("src/base/room.c", '#include "../query/query.h"', "src/base must not see src/query"),
        ("src/query/q.c", "#  include <Python.h>", "must not see <Python.h>"),
        ("src/query/q.c", "#include <sqlite3.h>", "must not see <sqlite3.h>"),
        ("python/src/p.c", '#include "base/room.h"', "python/src must not see src/base"),
        ("include/orm/orm.h", '#include "base/room.h"', "include/orm must not see src/base"),
        ("src/base/room.c", '#include "nowhere.h"', "is no header of this project"),
    ],
)
def test_layers(tree: Path, file: str, line: str, words: str) -> None:
    path = tree / file
    path.write_text((path.read_text() if path.exists() else "") + line + "\n")
    result = check("layers", tree)
    assert result.returncode == 1
    assert words in result.stderr
    assert f"{file}:" in result.stderr


def test_sizes_of_functions(tree: Path) -> None:
    body = "    orm_room_size();\n" * 98
    (tree / "src/base/room.c").write_text(f"int longest(void)\n{{\n{body}}}\n")
    assert check("sizes", tree).returncode == 1
    (tree / "src/base/room.c").write_text(f"int longest(void)\n{{\n{body[21:]}}}\n")
    assert check("sizes", tree).returncode == 0


def test_sizes_of_python_functions(tree: Path) -> None:
    (tree / "python/long.py").write_text("def longest():\n" + "    longest()\n" * 100)
    assert "longest: 101 lines" in check("sizes", tree).stderr


def test_complexity(tree: Path) -> None:
    body = "    if (n) n--;\n" * 25
    (tree / "src/base/room.c").write_text(f"int knot(int n)\n{{\n{body}    return n;\n}}\n")
    assert "knot: complexity 26" in check("sizes", tree).stderr


def test_a_switch_counts_once(tree: Path) -> None:
    cases = "".join(f"    case {i}: return {i + 1};\n" for i in range(30))
    text = f"int table(int n)\n{{\n    switch (n) {{\n{cases}    }}\n    return n;\n}}\n"
    (tree / "src/base/room.c").write_text(text)
    assert check("sizes", tree).returncode == 0


def test_sizes_of_files(tree: Path) -> None:
    (tree / "src/base/room.c").write_text("int x;\n" * 1201)
    assert "room.c: 1201 lines" in check("sizes", tree).stderr


def test_headers(tree: Path) -> None:
    (tree / "src/base/room.h").write_text("/* room.h */\n" + "int orm_room_size(void);\n" * 3)
    assert "room.h" in check("headers", tree).stderr


def test_headers_do_not_count_strings(tree: Path) -> None:
    (tree / "src/base/room.h").write_text(
        'static const char *orm_text = "/* not a comment, however long it may be made */";\n'
    )
    assert check("headers", tree).returncode == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("src/base/room.c", "src/base/gone.c", "src/base/gone.c does not exist"),
        ("orm_room_size", "orm_room_gone", "does not define orm_room_gone"),
        ("`orm_count`", "`orm_nothing`", "no source names the type orm_nothing"),
        (ROW * 9, ROW, "1 rows"),
        ("## Life of a query", "## Life of something", "0 rows"),
        ("| `orm_room` |", "|", "expected: step"),
    ],
)
def test_life(tree: Path, old: str, new: str, words: str) -> None:
    path = tree / "ARCHITECTURE.md"
    path.write_text(path.read_text().replace(old, new))
    result = check("life", tree)
    assert result.returncode == 1
    assert words in result.stderr


def test_life_wants_a_definition_not_a_mention(tree: Path) -> None:
    (tree / "src/base/room.c").write_text("int orm_room_size(void);\n")
    assert "does not define orm_room_size" in check("life", tree).stderr


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("int orm_good(void) { return 1; }", ""),
        ("int orm_good(void) { return 1; } int stray(void) { return 2; }", "exports stray"),
        ("#include <stdlib.h>\nvoid orm_bad(void) { abort(); }", "uses abort"),
        (
            '#include <stdio.h>\nint orm_bad(char *s, int n) { return sprintf(s, "%d", n); }',
            "uses sprintf",
        ),
        ("static int none(void) { return 1; } int (*const hidden)(void);", "orm_*"),
    ],
)
def test_symbols(tmp_path: Path, source: str, words: str) -> None:
    compiler = shutil.which("cc")
    assert compiler is not None
    (tmp_path / "x.c").write_text(source + "\n")
    library = tmp_path / "libx.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", library, tmp_path / "x.c"], check=True
    )
    result = check("symbols", library, tmp_path)
    assert result.returncode == (1 if words else 0)
    assert words in result.stderr


def test_symbols_wants_some(tmp_path: Path) -> None:
    library = tmp_path / "libx.so"
    (tmp_path / "x.c").write_text("static int none = 1; int *orm_(void); \n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "x.c"], check=True)
    assert "exports nothing" in check("symbols", library).stderr


def test_the_map_hides_what_is_not_ours(tmp_path: Path) -> None:
    library = tmp_path / "libx.so"
    (tmp_path / "x.c").write_text("int orm_ours(void) { return 1; } int stray(void) { return 2; }")
    version_script = f"-Wl,--version-script={TOOLS / 'liborm.map'}"
    subprocess.run(
        ["cc", "-shared", "-fPIC", version_script, "-o", library, tmp_path / "x.c"], check=True
    )
    assert check("symbols", library, tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("int n = atoi(text);", "room.c:6: calls atoi"),
        ("char *p = alloca (n);", "room.c:6: calls alloca"),
        ("return exit(1), 0;", "room.c:6: calls exit"),
        ("/* never strcpy(a, b) */ loop->exit(1); my_exit(2); // abort()", ""),
        ('const char *say = "printf(x)";', ""),
    ],
)
def test_banned_calls_in_sources(tree: Path, line: str, words: str) -> None:
    source = tree / "src/base/room.c"
    source.write_text(SOURCE.replace("{\n", "{\n/* \n */" + line + "\n"))
    library = tree / "libx.so"
    (tree / "x.c").write_text("int orm_x(void) { return 1; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tree / "x.c"], check=True)
    result = check("symbols", library, tree)
    assert result.returncode == (1 if words else 0)
    assert words in result.stderr
