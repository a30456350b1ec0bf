"""Exit codes of `imxctl`; documented in `docs/reference/imxctl.md`."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the code says to a script."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    UNREACHABLE = 4
    NOT_FOUND = 5
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.OK: "it was done",
    Exit.FAILED: "the operation failed or was refused; the answer says by whom, at which stage and why",
    Exit.USAGE: "the command line is wrong",
    Exit.CONFIG: "the configuration is not valid",
    Exit.UNREACHABLE: "no router answers at the socket, or it has left",
    Exit.NOT_FOUND: "no such domain, user or message",
    Exit.INTERRUPTED: "interrupted from the keyboard",
}
