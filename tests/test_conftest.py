"""The rule about skips is itself tested: a run with a skip fails exactly where it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

SKIPPING_TESTS = {
    "mark": "import pytest\n@pytest.mark.skip(reason='x')\ndef test_a(): pass\ndef test_b(): pass\n",
    "call": "import pytest\ndef test_a(): pytest.skip('x')\ndef test_b(): pass\n",
    "whole file": "import pytest\npytest.importorskip('no_such_module_here')\n",
}
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail\ndef test_a(): assert False\ndef test_b(): pass\n"


def run_pytest(folder: Path, source: str, *, no_skips: bool) -> subprocess.CompletedProcess[str]:
    """Run one test file with our conftest in a process of its own."""
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_x.py").write_text(source)
    (folder / "test_y.py").write_text("def test_runs(): pass\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = os.environ | {"IMXROUTER_NO_SKIPS": "1" if no_skips else ""}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("kind", SKIPPING_TESTS)
def test_a_skip_fails_the_run_in_ci(tmp_path: Path, kind: str) -> None:
    """However a test skips, the run fails and names it."""
    done = run_pytest(tmp_path, SKIPPING_TESTS[kind], no_skips=True)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "IMXROUTER_NO_SKIPS is set" in done.stdout
    assert "test_x.py" in done.stdout.partition("IMXROUTER_NO_SKIPS is set")[2]


def test_a_skip_is_allowed_elsewhere(tmp_path: Path) -> None:
    """A developer without root still gets a green run."""
    assert run_pytest(tmp_path, SKIPPING_TESTS["mark"], no_skips=False).returncode == pytest.ExitCode.OK


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    """The rule is about tests that did not run, and this one did."""
    assert run_pytest(tmp_path, EXPECTED_FAILURE, no_skips=True).returncode == pytest.ExitCode.OK
