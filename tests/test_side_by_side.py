"""Tests that several processes carry out are one run: one list, one summary, one exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import side_by_side

HERE = Path(__file__).parent

#: A file of the first process and two of a helper; each test writes down the process that carried it out.
_NOTING = "import os, pathlib\ndef note(name): pathlib.Path(name).write_text(str(os.getpid()))\n"
FILES = {
    "tests/wire/test_ours.py": _NOTING + "def test_here(): note('here')\ndef test_too(): pass\n",
    "tests/app/test_theirs.py": _NOTING + "def test_there(): note('there')\n",
    "tests/attacks/test_more.py": _NOTING + "def test_there_too(): note('there_too')\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a few tests and with what is tested here."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tests/__init__.py").touch()
    text = (HERE / "side_by_side.py").read_text()
    (tmp_path / "tests/side_by_side.py").write_text(text + 'PARTS = (("app", "attacks"), ("lab",))\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run its tests."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.side_by_side", *arguments]
    environment = {**os.environ, "PYTHONPATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


def test_all_are_carried_out_once_and_counted_together(project: Path) -> None:
    """Each file by its own process, with one summary at the end."""
    done = run(project, "tests")
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert "4 passed" in done.stdout.splitlines()[-1]
    here, there, too = ((project / name).read_text() for name in ("here", "there", "there_too"))
    assert here != there == too


def test_what_fails_in_a_helper_is_shown_and_fails_the_run(project: Path) -> None:
    """With its place, what it printed and its warnings; a skip is listed too."""
    (project / "tests/attacks/test_more.py").write_text(
        "import pytest, warnings\n"
        "def test_wrong():\n print('said before')\n warnings.warn('mind this')\n assert 1 == 2\n"
        "def test_left_out(): pytest.skip('not here')\n"
    )
    done = run(project, "tests", "-rs")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 failed, 3 passed, 1 skipped, 1 warning" in done.stdout.splitlines()[-1]
    for words in ("test_more.py:5: AssertionError", "said before", "UserWarning: mind this", "not here"):
        assert words in done.stdout


@pytest.mark.parametrize("where", ["tests/wire/test_ours.py", "tests/app/test_theirs.py"])
def test_the_first_failure_ends_the_run_where_that_is_asked_for(project: Path, where: str) -> None:
    """With -x, wherever it is; the other part does not go on for ever."""
    (project / where).write_text("def test_wrong(): assert False\n")
    (project / "tests/attacks/test_more.py").write_text("def test_slow():\n import time; time.sleep(60)\n")
    done = run(project, "tests", "-x")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 failed" in done.stdout.splitlines()[-1]


def test_a_helper_that_dies_fails_the_run(project: Path) -> None:
    """What it did not carry out is not taken for good, and what it printed is shown."""
    (project / "tests/attacks/test_more.py").write_text("def test_dies():\n import os; os._exit(0)\n")
    done = run(project, "tests")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 tests of helpers did not run; what helper 1 printed" in done.stdout
    (project / "tests/attacks/test_more.py").write_text("def test_dies():\n import os; os._exit(9)\n")
    assert "helper 1 ended with 9" in run(project, "tests").stdout


def test_some_of_the_tests(project: Path) -> None:
    """Chosen by name, or by file, also where a part has none."""
    for chosen in (["tests", "-k", "there"], ["tests/attacks/test_more.py", "tests/app"]):
        done = run(project, *chosen)
        assert "2 passed" in done.stdout.splitlines()[-1], done.stdout + done.stderr
    assert "1 passed" in run(project, "tests", "-k", "test_too").stdout.splitlines()[-1]


def test_a_test_that_is_watched_has_one_process(project: Path) -> None:
    """What is printed with -s is seen."""
    assert "4 passed" in run(project, "tests", "-s").stdout.splitlines()[-1]
    assert (project / "here").read_text() == (project / "there").read_text()


def test_parts_are_there() -> None:
    """A folder that was renamed would be carried out by the first process, and nobody would notice."""
    for part in side_by_side.PARTS:
        for one in part:
            assert (HERE / one).exists(), one
