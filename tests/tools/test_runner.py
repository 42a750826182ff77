"""How tools/test counts: a runner that miscounts makes every other test worthless."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

RUNNER = Path(__file__).resolve().parents[2] / "tools/test"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    loader = SourceFileLoader("runner", str(RUNNER))
    spec = importlib.util.spec_from_loader("runner", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["runner"] = module
    loader.exec_module(module)
    return module


CMOCKA_GOOD = "[==========] 3 test(s) run.\n[  PASSED  ] 3 test(s).\n"
CMOCKA_BAD = "[  PASSED  ] 2 test(s).\n[  FAILED  ] 1 test(s), listed below:\n"
CMOCKA_SKIP = "[  PASSED  ] 2 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n"


@pytest.mark.parametrize(
    ("result", "output", "expected"),
    [
        ("OK", CMOCKA_GOOD, (3, 0, 0)),
        ("OK", CMOCKA_GOOD * 2, (6, 0, 0)),
        ("FAIL", CMOCKA_BAD, (2, 1, 0)),
        ("OK", CMOCKA_SKIP, (2, 0, 1)),
        ("FAIL", CMOCKA_GOOD, (3, 1, 0)),  # a leak reported after the last test
        ("TIMEOUT", "", (0, 1, 0)),
        ("ERROR", "", (0, 1, 0)),
        ("OK", "", (1, 0, 0)),
        ("OK", "hello\n", (1, 0, 0)),
        ("SKIP", "", (0, 0, 1)),
        ("OK", "1..3\nok 1 - a\nok 2 - b # SKIP none\nok 3 - c\n", (2, 0, 1)),
        ("FAIL", "1..2\nok 1 - a\nnot ok 2 - b\n", (1, 1, 0)),
        ("OK", "418 cases, 0 different\n", (418, 0, 0)),
        ("FAIL", "418 cases, 2 different\n", (416, 2, 0)),
        ("UNEXPECTEDPASS", "", (0, 1, 0)),
    ],
)
def test_counts(
    runner: ModuleType, result: str, output: str, expected: tuple[int, int, int]
) -> None:
    count = runner.count_output(result, output)
    assert (count.passed, count.failed, count.skipped) == expected


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((3, 0, 0), "3 passed, 0 failed"),
        ((3, 1, 0), "3 passed, 1 failed"),
        ((3, 1, 2), "3 passed, 1 failed, 2 skipped"),
    ],
)
def test_summary(runner: ModuleType, numbers: tuple[int, int, int], text: str) -> None:
    assert runner.summary(runner.Count(*numbers)) == text


@pytest.mark.parametrize(
    ("body", "status", "last"),
    [
        ("return Count(2)", 0, "2 passed, 0 failed"),
        ("return Count(2, 1, 0, 'why')", 1, "2 passed, 1 failed"),
        ("return Count(failed=1, log=run(['sleep', '9'], timeout=1)[1])", 1, "0 passed, 1 failed"),
        ("raise OSError('gone')", 1, "0 passed, 1 failed"),
        ("return check(['/nonexistent'])", 1, "0 passed, 1 failed"),
        ("return pytest('{folder}')", 1, "1 passed, 1 failed"),
        ("return pytest('{folder}/none')", 1, "0 passed, 1 failed"),
    ],
)
def test_a_failure_is_seen(tmp_path: Path, body: str, status: int, last: str) -> None:
    """A runner with one suite of our own: its last line and its exit status."""
    (tmp_path / "test_two.py").write_text("def test_a(): pass\ndef test_b(): assert False\n")
    script = RUNNER.read_text().replace(
        "# ---- the run ----",
        f"SUITES.clear()\n@suite('own', 'own')\ndef own() -> Count:\n"
        f"    {body.format(folder=tmp_path)}\n",
    )
    script = script.replace(
        "Path(__file__).resolve().parent.parent", f"Path({str(RUNNER)!r}).parent.parent"
    )
    result = subprocess.run(
        [sys.executable, "-", "own"], input=script, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines()[-1] == last
    assert result.returncode == status


@pytest.mark.parametrize(
    ("file", "times", "last"),
    [
        ("test_faults_x.py", 1, "2 passed, 0 failed"),
        ("test_faults_x.py", 2, "1 passed, 1 failed"),
        ("test_other.py", 1, "1 passed, 1 failed"),
    ],
)
def test_what_may_fail_by_time_is_run_again(
    runner: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    times: int,
    last: str,
) -> None:
    """Once, and only where time decides; the log says so."""
    folder = tmp_path / "tests" / "py"
    folder.mkdir(parents=True)
    (folder / file).write_text(
        "import pathlib\n"
        "def test_a(): pass\n"
        "def test_b():\n"
        "    runs = pathlib.Path(__file__).with_name('runs')\n"
        "    n = len(runs.read_text()) if runs.exists() else 0\n"
        "    runs.write_text('x' * (n + 1))\n"
        f"    assert n >= {times}\n"
    )
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    count = runner.pytest("tests/py", python=Path(sys.executable))
    assert runner.summary(count) == last
    assert count.log.startswith("passed when run again: ") == (count.failed == 0)


def test_an_unknown_suite_is_refused() -> None:
    result = subprocess.run(
        [sys.executable, str(RUNNER), "nosuch"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "nosuch" in result.stderr
