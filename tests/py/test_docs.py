"""Every Python block of README and documentation runs and says the truth; so do the examples."""

import ast
import asyncio
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from orm import guide

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_the_page_runs_and_holds(page):
    parsed = guide.parse(page.read_text(encoding="utf-8"), page.name)
    checks = asyncio.run(guide.run(parsed))
    stated = sum(
        step.prints is not None or step.raises is not None or step.source.startswith("assert")
        for block in parsed.blocks
        for step in block.steps
    )
    assert checks == stated
    assert stated


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_every_example_runs(example, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(example)])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


def test_the_c_block_of_the_readme_is_part_of_the_example():
    (block,) = re.findall(r"```c\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    program = " ".join((ROOT / "examples/guide.c").read_text(encoding="utf-8").split())
    for paragraph in block.strip().split("\n\n"):
        assert " ".join(paragraph.split()) in program


def blocks_of(page):
    """(language, text) of each block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def test_the_program_of_the_c_page_compiles_and_prints_what_it_says(folder):
    """With every warning an error."""
    blocks = blocks_of(ROOT / "docs/c-interface.md")
    source, printed = [text for language, text in blocks if language in ("c", "text")]
    build = ROOT / os.environ.get("BUILD", "build")
    Path("program.c").write_text(source)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}"]
    links = [f"-L{build}", "-lorm", f"-Wl,-rpath,{build}"]
    plain = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    command = ["cc", *flags, "program.c", "-o", "program", *links]
    subprocess.run(command, check=True, env=plain, timeout=120)
    found = subprocess.run(["./program"], check=True, env=plain, timeout=60, capture_output=True)
    assert found.stdout.decode() == printed


def test_blocks_that_are_not_run_can_be():
    """Python in `py` blocks stands on its own elsewhere: it parses; `make` knows the targets."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    seen = set()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for language, text in blocks_of(page):
            seen.add(language)
            if language == "py":
                ast.parse(text)
            for target in re.findall(r"^make ([\w-]+)", text, re.M) if language == "sh" else ():
                assert target in targets, f"{page.name}: make {target}"
    assert seen <= {"python", "c", "py", "sh", "sql", "text", ""}, "a block that nothing looks at"


def test_every_link_leads_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
