"""Where log lines go, changed while the router runs; a file is opened anew at each reload (log rotation)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

from twisted.logger import ILogObserver
from zope.interface import implementer

from imxrouter.app.prepared import Step
from imxrouter.config.diff import Changes
from imxrouter.config.schema import Config
from imxrouter.config.sections import Log
from imxrouter.model.errors import RouterError
from imxrouter.telemetry.logs import observer
from imxrouter.telemetry.privacy import AddressMask


class CannotLog(RouterError):
    """The log file cannot be opened; says which and why."""


@implementer(ILogObserver)
class LogLines:
    """The observer of the [log] table.

    Args:
        log: the table at the start.
        mask: how addresses are shown.

    Raises:
        CannotLog: the log file cannot be opened.
    """

    def __init__(self, log: Log, mask: AddressMask) -> None:
        self._mask = mask
        self._file: IO[str] | None = None
        self._observe: Any = None
        self._take(log, _opened(log))

    def __call__(self, event: dict[str, Any]) -> None:
        """Write an event, or leave it."""
        self._observe(event)

    def prepare(self, config: Config, changes: Changes) -> Step | None:
        """Open the file anew; it may have been moved away since. A `reloading.Owner`."""
        log, changed = config.log, changes.touch("log.level", "log.format", "log.file")
        if not changed and not log.file:
            return None
        fresh = _opened(log)
        return Step(lambda: self._take(log, fresh), counts=changed, cancel=lambda: _close(fresh))

    def _take(self, log: Log, fresh: IO[str] | None) -> None:
        before, self._file = self._file, fresh
        write = fresh.write if fresh is not None else sys.stderr.write
        self._observe = observer(write, self._mask, log.format, log.level)
        _close(before)


def _opened(log: Log) -> IO[str] | None:
    if not log.file:
        return None
    try:
        return Path(log.file).open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise CannotLog(f"log.file {log.file}: {error}") from None


def _close(file: IO[str] | None) -> None:
    if file is not None:
        file.close()
