"""One run of pytest whose tests are carried out by several processes side by side.

`python -m pytest -p tests.side_by_side ...`, as the Makefile does: most tests wait, or keep one core busy.
The process that was started collects all tests and starts helpers with the same arguments; each carries out
the files of its part, and what happens in a helper is told to the first process, which shows all of it. So
there is one list of failures, one summary and one exit code.

Which file belongs to which helper is written down in `PARTS`, so the same tests run in the same order in the
same process each time. A helper has network addresses and ports of its own where we are root.

Where a test is to be watched (`-s`, `--pdb`) there is one process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest

#: What the helpers carry out: folders and files below `tests`, chosen so that all end at about the same time.
#: What is not named here is carried out by the process that was started.
PARTS: Final[tuple[tuple[str, ...], ...]] = (
    ("app", "cli", "interop/edge", "rolling"),
    ("attacks", "gateways/xmpp/streams", "interop", "lab", "staged", "transport"),
)

#: In a helper's environment: its place in `PARTS` and the file in which it writes what happens.
_HELPER: Final = "IMXROUTER_TESTS_HELPER"

#: A helper is asked to end, as by Ctrl-C, and is given this long to take down what its tests started.
_END_S: Final = 30

#: Between two looks at what helpers wrote, once our own part is done.
_LOOK_S: Final = 0.1

Told = dict[str, Any]


def part_of(path: str) -> int | None:
    """Return the place in `PARTS` of a file of tests, or of one of its tests; None: in none of them.

    Args:
        path: relative to the project, with slashes, such as `tests/app/test_x.py::test_y`.
    """
    inner = path.partition("::")[0].removeprefix("tests/")
    for place, part in enumerate(PARTS):
        if any(inner == one or inner.startswith(f"{one}/") for one in part):
            return place
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Take our role: the first process, a helper, or neither where a test is to be watched."""
    role = os.environ.pop(_HELPER, None)
    if role is not None:
        place, _, told_to = role.partition(" ")
        config.pluginmanager.register(_Helper(config, int(place), Path(told_to)), "imxrouter-helper")
    elif not (config.option.collectonly or config.option.usepdb or config.option.capture == "no"):
        config.pluginmanager.register(_First(config), "imxrouter-first")


class _Helper:
    """Carries out its part and tells it, a line of JSON for each thing that happens."""

    def __init__(self, config: pytest.Config, place: int, told_to: Path) -> None:
        self._config = config
        self._place = place
        self._out = told_to.open("w", buffering=1)
        self._named = {config.invocation_params.dir / one.partition("::")[0] for one in config.args}

    def _tell(self, what: str, **more: object) -> None:
        self._out.write(json.dumps({"what": what, **more}, default=str) + "\n")

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Do not read files of other parts, but for those on the command line: they have to be there."""
        if collection_path.is_dir() or collection_path in self._named:
            return None
        path = collection_path.relative_to(self._config.rootpath).as_posix()
        return True if part_of(path) != self._place else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep our part of what was read."""
        items[:] = [item for item in items if part_of(item.nodeid) == self._place]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Say when all tests of a file are done."""
        result = yield
        if nextitem is None or nextitem.path != item.path:
            self._tell("file")
        return result

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """Tell that a test begins."""
        self._tell("start", nodeid=nodeid, location=location)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell how a part of a test went."""
        hook = self._config.hook
        self._tell("report", report=hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """Tell that a test has ended."""
        self._tell("finish", nodeid=nodeid, location=location)

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str
    ) -> None:
        """Tell a warning; what is warned of while collecting, the first sees itself."""
        if when == "runtest":
            self._tell(
                "warning",
                text=str(warning_message.message),
                kind=warning_message.category.__name__,
                filename=warning_message.filename,
                line=warning_message.lineno,
                nodeid=nodeid,
            )


class _Running:
    """A helper that the first process started.

    What it tells stands in a file, and is read between tests: a thread that reads all the time would be seen
    by tests that measure memory.
    """

    def __init__(self, config: pytest.Config, place: int, folder: Path) -> None:
        self.name = f"helper {place + 1}"
        self._printed = folder / f"printed-{place}"
        told = folder / f"told-{place}"
        told.touch()
        self._told = told.open()
        self._line = ""
        self._of_file: list[Told] = []
        command = [*_apart(), sys.executable, "-m", "pytest", *config.invocation_params.args]
        if config.option.basetemp:
            command.append(f"--basetemp={config.option.basetemp}-{place + 1}")
        with self._printed.open("wb") as printed:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                cwd=config.invocation_params.dir,
                env=os.environ | {_HELPER: f"{place} {told}"},
            )

    def news(self) -> list[Told]:
        """What it told since the last time: whole files of tests, and the rest once it has ended."""
        ended = self._process.poll() is not None
        files: list[Told] = []
        for text in self._told:
            self._line += text
            if not self._line.endswith("\n"):
                break
            self._of_file.append(json.loads(self._line))
            self._line = ""
            if self._of_file[-1]["what"] == "file" or ended:
                files += self._of_file
                self._of_file = []
        if ended:
            files, self._of_file = files + self._of_file, []
        return files

    @property
    def at_work(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def trouble(self) -> str:
        """Wait for its end, and say what was wrong with it where something was."""
        code = self._process.wait()
        good = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}
        return "" if code in good else f"{self.name} ended with {code}"

    def output(self) -> str:
        """What it printed."""
        return self._printed.read_text(errors="replace")

    def stop(self) -> None:
        """End it in order where it runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._told.close()


class _First:
    """Carries out what is in no part, and shows what the helpers tell, file by file."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._helpers: list[_Running] = []
        self._folder = tempfile.TemporaryDirectory(prefix="imx-tests-")
        self._awaited: set[str] = set()
        self._trouble = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Start the helpers, so that all collect at the same time."""
        folder = Path(self._folder.name)
        self._helpers += [_Running(self._config, place, folder) for place in range(len(PARTS))]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Carry out what is ours, then wait for the others."""
        self._awaited = {item.nodeid for item in session.items if part_of(item.nodeid) is not None}
        session.items[:] = [item for item in session.items if item.nodeid not in self._awaited]
        try:
            result = yield
            self._show_rest(session)
        finally:
            for helper in self._helpers:
                helper.stop()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Between two files of ours, show those that helpers have done."""
        result = yield
        if nextitem is None or nextitem.path != item.path:
            for helper in self._helpers:
                self._show(helper.news())
        return result

    def _show_rest(self, session: pytest.Session) -> None:
        """Show what helpers do until all have ended.

        Raises:
            pytest.Session.Failed: the run is to end at this failure, or a helper did not do its part.
            pytest.Session.Interrupted: the run is to end.
        """
        at_work = True
        while at_work and not session.shouldfail and not session.shouldstop:
            at_work = any(helper.at_work for helper in self._helpers)  # looked at before their news
            for helper in self._helpers:
                self._show(helper.news())
            time.sleep(_LOOK_S if at_work else 0)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        self._trouble = "; ".join(filter(None, [helper.trouble() for helper in self._helpers]))
        if self._awaited and not self._trouble:
            self._trouble = f"{len(self._awaited)} tests of helpers did not run"
        if self._trouble:
            raise session.Failed(self._trouble)

    def _show(self, told: list[Told]) -> None:
        """Do as if that had happened here."""
        hook = self._config.hook
        for one in told:
            match one.pop("what"):
                case "start":
                    hook.pytest_runtest_logstart(**one)
                case "report":
                    report = hook.pytest_report_from_serializable(config=self._config, data=one["report"])
                    if isinstance(report.longrepr, list):  # of a skip; JSON has no tuples
                        report.longrepr = tuple(report.longrepr)
                    hook.pytest_runtest_logreport(report=report)
                case "finish":
                    hook.pytest_runtest_logfinish(**one)
                    self._awaited.discard(one["nodeid"])
                case "warning":
                    self._warn(**one)

    def _warn(self, text: str, kind: str, filename: str, line: int, nodeid: str) -> None:
        category = cast("type[Warning]", type(kind, (Warning,), {}))
        message = warnings.WarningMessage(category(text), category, filename, line)
        self._config.hook.pytest_warning_recorded.call_historic(
            kwargs={"warning_message": message, "when": "runtest", "nodeid": nodeid, "location": None}
        )

    def pytest_unconfigure(self) -> None:
        """Leave no file behind."""
        self._folder.cleanup()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what helpers printed where one did not do its part."""
        for helper in self._helpers if self._trouble else ():
            terminalreporter.section(f"{self._trouble}; what {helper.name} printed", red=True)
            terminalreporter.write(helper.output())


def _apart() -> Iterator[str]:
    """The words before a command that give it a network of its own, with nothing but a loopback; as root."""
    words = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"']
    if os.geteuid() == 0 and all(map(shutil.which, ("unshare", "ip"))):
        tried = subprocess.run([*words, "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            yield from words
