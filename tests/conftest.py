"""What every test relies on: the rule about skips, and the marks that need the machine's help.

With `IMXROUTER_NO_SKIPS=1` (set by `.ci/run`) a skipped test is a failed run: a check that quietly does
not run proves nothing.
"""

import os
import signal

import pytest
from hypothesis import settings

pytest_plugins = ["tests.plugins"]

# Timings are never asserted: a loaded machine is no defect.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

NO_SKIPS = "IMXROUTER_NO_SKIPS"

_skips = pytest.StashKey[list[str]]()


def is_root() -> bool:
    """Say whether this process may make network namespaces and listen below port 1024."""
    return os.geteuid() == 0


def skips_forbidden() -> bool:
    """Say whether this run counts a skip as a failure."""
    return os.environ.get(NO_SKIPS, "") not in {"", "0"}


def pytest_configure(config: pytest.Config) -> None:
    """Start the list of skips; hand programs their signals also where nohup or `&` began the run."""
    config.stash[_skips] = []
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root where we are not root; mark what lives in the folders of that name."""
    for item in items:
        folders = item.path.parts
        if "interop" in folders:
            item.add_marker(pytest.mark.interop)
        if "attacks" in folders:
            item.add_marker(pytest.mark.attacks)
        if item.get_closest_marker("needs_root") and not is_root():
            item.add_marker(pytest.mark.skip(reason="needs root"))


class _SkipWatch:
    """Notes each skip, of a test or of a whole file; an expected failure is not a skip."""

    def __init__(self, config: pytest.Config) -> None:
        self._found = config.stash[_skips]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that was skipped."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._found.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that skipped itself, as importorskip does."""
        if report.skipped:
            self._found.append(report.nodeid)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to watch for skips."""
    session.config.pluginmanager.register(_SkipWatch(session.config), "imxrouter-skip-watch")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a run with skips into a failed one where the environment asks for it."""
    if skips_forbidden() and session.config.stash[_skips] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which skips made the run fail."""
    skips = config.stash[_skips]
    if skips_forbidden() and skips:
        terminalreporter.section("skips are failures here", red=True)
        terminalreporter.write_line(f"{NO_SKIPS} is set, and these did not run:")
        for node_id in skips:
            terminalreporter.write_line(f"  {node_id}")


@pytest.fixture
def needs_root() -> None:
    """Skip the test that asks for it where we are not root; the mark of that name does it earlier."""
    if not is_root():
        pytest.skip("needs root")
