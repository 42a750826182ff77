"""Every Python block of README and documentation runs and says the truth; so do the examples."""

import asyncio
import re
import runpy
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


def test_every_link_leads_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
