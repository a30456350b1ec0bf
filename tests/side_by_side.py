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

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest

#: What the helpers carry out: folders and files below `tests`, chosen so that all end at about the same time.
#: What is not named here is carried out by the process that was started.
PARTS: Final[tuple[tuple[str, ...], ...]] = (("app", "attacks"),)

#: In a helper's environment: its place in `PARTS` and the descriptor to which it tells what happens.
_HELPER: Final = "IMXROUTER_TESTS_HELPER"

#: A helper is asked to end, as by Ctrl-C, and is given this long to take down what its tests started.
_END_S: Final = 30

#: How long we wait for news of the helpers before we look whether the run is to end.
_LOOK_S: Final = 0.5

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
        place, told_to = map(int, role.split())
        config.pluginmanager.register(_Helper(config, place, told_to), "imxrouter-helper")
    elif not (config.option.collectonly or config.option.usepdb or config.option.capture == "no"):
        config.pluginmanager.register(_First(config), "imxrouter-first")


class _Helper:
    """Carries out its part and tells it, a line of JSON for each thing that happens."""

    def __init__(self, config: pytest.Config, place: int, told_to: int) -> None:
        os.set_inheritable(told_to, False)  # not kept open by what a test starts
        self._config = config
        self._place = place
        self._out = os.fdopen(told_to, "w", buffering=1)
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
    """A helper that the first process started."""

    def __init__(self, config: pytest.Config, place: int, news: queue.Queue[list[Told]]) -> None:
        self._news = news
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the run
        self.name = f"helper {place + 1}"
        reading, writing = os.pipe()
        command = [*_apart(), sys.executable, "-m", "pytest", *config.invocation_params.args]
        if config.option.basetemp:
            command.append(f"--basetemp={config.option.basetemp}-{place + 1}")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            cwd=config.invocation_params.dir,
            env=os.environ | {_HELPER: f"{place} {writing}"},
            pass_fds=[writing],
        )
        os.close(writing)
        threading.Thread(target=self._read, args=(reading,), name=self.name, daemon=True).start()

    def _read(self, reading: int) -> None:
        """Pass on what is told, all of a file at once; the last is what no `end` came behind, or nothing."""
        of_file: list[Told] = []
        with os.fdopen(reading) as lines:
            for line in lines:
                of_file.append(json.loads(line))
                if of_file[-1]["what"] == "file":
                    self._news.put(of_file)
                    of_file = []
        self._news.put([*of_file, {"what": "gone"}])

    def trouble(self) -> str:
        """Wait for its end, and say what was wrong with it where something was."""
        code = self._process.wait()
        good = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}
        return "" if code in good else f"{self.name} ended with {code}"

    def output(self) -> str:
        """What it printed."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def stop(self) -> None:
        """End it in order where it runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class _First:
    """Carries out what is in no part, and shows what the helpers tell, file by file."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._helpers: list[_Running] = []
        self._at_work = 0
        self._news: queue.Queue[list[Told]] = queue.Queue()
        self._awaited: set[str] = set()
        self._trouble = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Start the helpers, so that all collect at the same time."""
        self._helpers += [_Running(self._config, place, self._news) for place in range(len(PARTS))]
        self._at_work = len(self._helpers)

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
            with contextlib.suppress(queue.Empty):
                while True:
                    self._show(self._news.get_nowait())
        return result

    def _show_rest(self, session: pytest.Session) -> None:
        """Show what helpers do until all have ended.

        Raises:
            pytest.Session.Failed: the run is to end at this failure, or a helper did not do its part.
            pytest.Session.Interrupted: the run is to end.
        """
        while self._at_work and not session.shouldfail and not session.shouldstop:
            with contextlib.suppress(queue.Empty):
                self._show(self._news.get(timeout=_LOOK_S))
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        self._trouble = "; ".join(filter(None, [helper.trouble() for helper in self._helpers]))
        if self._awaited and not self._trouble:
            self._trouble = f"{len(self._awaited)} tests of helpers did not run"
        if self._trouble:
            raise session.Failed(self._trouble)

    def _show(self, of_file: list[Told]) -> None:
        """Do as if that had happened here."""
        hook = self._config.hook
        for one in of_file:
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
                case "gone":
                    self._at_work -= 1

    def _warn(self, text: str, kind: str, filename: str, line: int, nodeid: str) -> None:
        category = cast("type[Warning]", type(kind, (Warning,), {}))
        message = warnings.WarningMessage(category(text), category, filename, line)
        self._config.hook.pytest_warning_recorded.call_historic(
            kwargs={"warning_message": message, "when": "runtest", "nodeid": nodeid, "location": None}
        )

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
