"""The guide holds, word for word; and every one of its expectations can turn this red."""

import asyncio
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orm import guide

TEXT = guide.default_path().read_text(encoding="utf-8")
EXPECTATION = re.compile(r"^(print\(.*# (?P<text>.*)|assert .*)$")
EXPECTATIONS = [
    number for number, line in enumerate(TEXT.split("\n"), 1) if EXPECTATION.match(line)
]


def run(text, story=None):
    return asyncio.run(guide.run(guide.parse(text, "copy.md"), story))


def test_the_guide_holds(asyncio_run):
    assert run(TEXT) == len(EXPECTATIONS) == 7


def test_the_guide_holds_on_uvloop(asyncio_run):
    assert asyncio_run(guide.run(guide.parse(TEXT)), "uvloop") == 7


def spoil(line):
    """The same line with another expectation."""
    if "# Raises" in line:
        return line.replace("AttributeError", "KeyError")
    if line.startswith("print"):
        code, _, text = line.partition("# ")
        return f"{code}# {text}?"
    if "len(" in line:
        return line.replace("== 2", "== 3")
    return line.replace('"Malibu"', '"Malibus"')


@pytest.mark.parametrize("number", EXPECTATIONS)
def test_a_changed_expectation_fails_and_says_where(number):
    lines = TEXT.split("\n")
    changed = spoil(lines[number - 1])
    assert changed != lines[number - 1]
    lines[number - 1] = changed
    with pytest.raises(guide.Failure) as caught:
        run("\n".join(lines))
    text = str(caught.value)
    assert caught.value.line == number
    assert text.startswith(f"copy.md:{number}\n    {changed}\n  - ")
    assert "\n  + " in text


@pytest.mark.parametrize("number", EXPECTATIONS)
def test_a_raise_that_does_not_come_fails(number):
    lines = TEXT.split("\n")
    if "# Raises" in lines[number - 1]:
        pytest.skip("it does raise")
    lines[number - 1] = lines[number - 1].partition("#")[0].rstrip() + "  # Raises AttributeError"
    with pytest.raises(guide.Failure, match="raises AttributeError"):
        run("\n".join(lines))


def test_every_statement_of_the_guide_is_needed():
    """Leaving out the load, or the tables, is noticed."""
    with pytest.raises(guide.Failure, match="AttributeError"):
        run(TEXT.replace("await track.album.load()\n", "pass\n"))


def test_every_block_is_run():
    blocks = guide.parse(TEXT).blocks
    assert len(blocks) == TEXT.count("```python") == 6
    code = sum(len(block.steps) for block in blocks)
    assert code == 26


def test_the_copy_in_the_documentation_has_its_odd_bytes():
    assert b"#\xc3\x82\xc2\xa0We have an album" in guide.default_path().read_bytes()


def test_the_story_shows_a_space_where_the_guide_has_a_broken_one():
    output = io.StringIO()
    run("```python\n#\u00c2\u00a0 note\nx = 1\n```\n", guide.Story(output))
    assert "\u00c2" not in output.getvalue()


def test_the_story_shows_code_sql_and_checks():
    output = io.StringIO()
    run(TEXT, guide.Story(output))
    story = output.getvalue()
    for part in (
        "You can load the relationship from the database:",
        "  print(track.album)       # Album(id=1) [sparse]",
        "ok prints Album(id=1) [sparse]",
        'INSERT INTO "track" ("album", "title", "position") VALUES (?, ?, ?)',
        "CREATE TABLE track",
        "INNER JOIN",
        "ok raises AttributeError",
        "7 expectations hold",
    ):
        assert part in story
    assert "\x1b" not in story


def main(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "orm", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )


def test_the_command_line(folder):
    result = main("guide", PYTHONASYNCIODEBUG="")
    assert result.returncode == 0, result.stderr
    assert "7 expectations hold" in result.stdout
    assert result.stderr == ""
    assert list(folder.iterdir()) == []


def test_the_command_line_with_a_broken_guide():
    Path("broken.md").write_text(TEXT.replace("# 1\n", "# 2\n"), encoding="utf-8")
    result = main("guide", "broken.md")
    assert result.returncode == 1
    assert "broken.md:56" in result.stdout
    assert "  - prints 2\n  + prints 1" in result.stdout


@pytest.mark.parametrize("arguments", [(), ("nope",), ("guide", "a", "b"), ("guide", "missing.md")])
def test_the_command_line_used_wrongly(arguments):
    result = main(*arguments)
    assert result.returncode == 2
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_colours_only_where_there_is_a_terminal(folder):
    import pty

    def spoken(**environment):
        try:
            reader, writer = pty.openpty()
        except OSError as error:
            pytest.skip(f"needs a pseudo terminal: {error}")
        process = subprocess.Popen(
            [sys.executable, "-m", "orm", "guide"],
            stdout=writer,
            stderr=writer,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        os.close(writer)
        output = b""
        while True:
            try:
                part = os.read(reader, 65536)
            except OSError:
                break
            if not part:
                break
            output += part
        os.close(reader)
        assert process.wait() == 0
        return output

    environment = {"NO_COLOR": ""}
    assert b"\x1b[" in spoken(**environment)
    assert b"\x1b[" not in spoken(NO_COLOR="1")


# ---- the runner itself


def small(code):
    return f"Words.\n\n```python\n{code}\n```\n"


@pytest.mark.parametrize(
    ("code", "checks"),
    [
        ("print(1)  # 1", 1),
        ("print('a', 'b')  # a b", 1),
        ("print(1)", 0),
        ("x = 1  # a comment", 0),
        ("assert True", 1),
        ("1 / 0  # Raises ZeroDivisionError", 1),
        ("1 / 0  # Raises ArithmeticError", 1),
        ("import asyncio\nawait asyncio.sleep(0)\nassert await asyncio.sleep(0, 5) == 5", 1),
        ("def f():\n    return 1  # not an expectation\n\nprint(f())  # 1", 1),
        ("for n in range(2):\n    print(n)", 0),
        ("# alone\nprint(\n    1,\n)  # 1", 1),
    ],
)
def test_what_the_runner_holds(code, checks):
    assert run_small(code) == checks


@pytest.mark.parametrize(
    "code",
    [
        "print(1)  # 2",
        "print(1)  # Raises ValueError",
        "assert False",
        "assert 1 == 2",
        "1 / 0",
        "1 / 0  # Raises KeyError",
        "int('x')  # Raises Value",
        "raise AssertionError('mine')",
    ],
)
def test_what_the_runner_refuses(code):
    with pytest.raises(guide.Failure):
        run_small(code)


def run_small(code):
    parsed = guide.parse(small(code))

    class NoTables(guide._Run):
        async def create_tables(self):
            pass

    telling = NoTables(parsed, guide.Silence())
    asyncio.run(telling.all())
    return telling.checks


def test_a_failed_comparison_shows_both_sides():
    with pytest.raises(guide.Failure, match="does not hold: 1 and 2"):
        run_small("assert 1 == 2")


def test_only_python_blocks_are_code():
    text = "```sh\nrm -rf /\n```\n\n```python\nx = 1\n```\n\nEnd."
    parsed = guide.parse(text)
    assert len(parsed.blocks) == 1
    assert parsed.ending == "End."
