"""What a server by others has logged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.interop.netlab import wait_until


@dataclass(frozen=True, slots=True)
class Log:
    """A log file that grows.

    Attributes:
        path: the file.
    """

    path: Path

    @property
    def end(self) -> int:
        """Its length now."""
        return self.path.stat().st_size if self.path.exists() else 0

    def since(self, position: int) -> str:
        """What was logged after a position."""
        return self.path.read_bytes()[position:].decode(errors="replace")

    def until_says(self, pattern: str, position: int) -> None:
        """Wait until something that fits was logged after a position; servers write with some delay."""
        wait_until(lambda: re.search(pattern, self.since(position)), f"{self.path.name} has: {pattern}")
