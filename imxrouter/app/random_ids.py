"""Message ids that nobody can guess, many at a time."""

from __future__ import annotations

import os
from typing import Final

from imxrouter.model.operations import MESSAGE_ID_BYTES

#: Message ids that are asked of the system at a time.
_IDS: Final = 256


class RandomIds:
    """Gives random message ids; asks the system for many at a time, for a call costs more than the rest."""

    def __init__(self) -> None:
        self._left: list[bytes] = []

    def __call__(self, size: int = MESSAGE_ID_BYTES) -> bytes:
        """One that was never given before; of another size, random bytes from the system."""
        if size != MESSAGE_ID_BYTES:
            return os.urandom(size)
        if not self._left:
            many = os.urandom(MESSAGE_ID_BYTES * _IDS)
            self._left = [many[at : at + MESSAGE_ID_BYTES] for at in range(0, len(many), MESSAGE_ID_BYTES)]
        return self._left.pop()
