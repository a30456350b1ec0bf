"""The processes of a laboratory: started, read line by line, and stopped in the reverse order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from imxrouter.model.errors import RouterError

#: Longer than the close deadline of the laboratory's routers (2 s).
_STOP_S: Final = 6.0

#: Lines of a process that are shown when it ends too early.
_LAST_LINES: Final = 15


class ChildFailed(RouterError):
    """A process of the laboratory ended by itself, or could not be started."""


class Child:
    """One process; everything it writes is read, and kept in `NAME.log`.

    Args:
        name: for people.
        arguments: the program and its arguments.
        folder: its working directory, where its log is kept.
        on_line: called with each line, in a thread of its own.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], folder: Path, on_line: Callable[[str], object]
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._on_line = on_line
        try:
            # A session of its own: Ctrl-C is for the laboratory, which stops its processes in order.
            self._process = subprocess.Popen(  # noqa: S603 - a list of ours, no shell
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise ChildFailed(f"{name} cannot be started: {error}") from None
        self._reader = threading.Thread(target=self._read, name=f"reader of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing where it has ended."""
        self._process.send_signal(number)

    def check(self) -> None:
        """Nothing, as long as it runs.

        Raises:
            ChildFailed: it has ended; with its last lines.
        """
        code = self._process.poll()
        if code is None:
            return
        self._reader.join(1)
        last = "\n".join(f"  {line}" for line in self._last)
        raise ChildFailed(f"{self.name} ended with code {code}; its last lines:\n{last}")

    def stop(self) -> bool:
        """Ask it to stop, wait, and end it by force if it does not; returns whether it stopped by itself."""
        self._process.send_signal(signal.SIGCONT)  # whoever was stopped could not obey
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        finally:
            self._reader.join(1)
        return True

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        with self.log.open("w", encoding="utf-8", buffering=1) as kept, stream:
            for line in stream:
                kept.write(line)
                self._last.append(line.rstrip())
                self._on_line(line)


def program(name: str) -> str:
    """The path of a program that was installed beside this interpreter."""
    return str(Path(sys.executable).with_name(name))
