"""What an engine cannot do, with words an operator can act on."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from imxrouter.model.errors import RouterError
from imxrouter.routing.interfaces import StoreProblem


class StoreError(RouterError):
    """Root of this room's errors."""


class StoreFailed(StoreError):
    """The file cannot be used now; it is tried again.

    Attributes:
        problem: the kind.
    """

    def __init__(self, problem: StoreProblem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


class StoreRefused(StoreError):
    """The file is not ours to use; nothing of it was touched, and trying again does not help."""


class NewerSchema(StoreRefused):
    """A later version of this program wrote the file."""


class NotOurs(StoreRefused):
    """The file is a database of another program."""


_PROBLEMS: Final = {
    errno.ENOSPC: StoreProblem.FULL,
    errno.EDQUOT: StoreProblem.FULL,
    errno.EROFS: StoreProblem.READ_ONLY,
    errno.EACCES: StoreProblem.READ_ONLY,
    errno.EPERM: StoreProblem.READ_ONLY,
}


def failed_by(error: OSError, path: Path) -> StoreFailed:
    """The failure that an error of the system is."""
    problem = _PROBLEMS.get(error.errno or 0, StoreProblem.BROKEN)
    return StoreFailed(problem, f"{path}: {error.strerror}")
