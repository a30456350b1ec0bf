"""Who may do what with the state file: one at a time opens it, then all processes of the router share it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from imxrouter.routing.interfaces import StoreProblem
from imxrouter.store.errors import StoreFailed, failed_by

_LOOK_EVERY_S: Final = 0.02


class SharedLock:
    """A lock file beside the state file, held as long as the file is open.

    Whoever opens takes it alone if it can: only then may a file be upgraded or moved away. Afterwards it is
    shared. It ends with the process, however that goes. It stays on disk, and so tells a first start from one
    whose file was lost.

    Attributes:
        is_new: the lock file was not there before.
        alone: nobody else has the file open; until `share` is called.
    """

    def __init__(self, path: Path, wait_s: float) -> None:
        """Take it, alone or shared.

        Raises:
            StoreFailed: the file cannot be made, or somebody keeps it alone for longer than `wait_s`.
        """
        self._path = path
        self.is_new = not path.exists()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise failed_by(error, path) from None
        self.alone = self._try(fcntl.LOCK_EX)
        until = time.monotonic() + wait_s
        while not self.alone and not self._try(fcntl.LOCK_SH):
            if time.monotonic() >= until:
                self.close()
                raise StoreFailed(StoreProblem.LOCKED, f"{path}: another process opens the file for too long")
            time.sleep(_LOOK_EVERY_S)

    def share(self) -> None:
        """Let others in."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        self.alone = False

    def close(self) -> None:
        """Give it back."""
        os.close(self._fd)

    def _try(self, how: int) -> bool:
        try:
            fcntl.flock(self._fd, how | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
