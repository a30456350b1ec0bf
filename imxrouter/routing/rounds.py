"""Walking through a large table a little at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Rounds(Generic[Key]):
    """Gives the keys of a table some at a time, and begins anew when all had their turn.

    A key may be gone from the table when it is given; one that came since has its turn in the next round.
    """

    def __init__(self) -> None:
        self._left: list[Key] = []

    def next(self, keys: Iterable[Key], most: int) -> list[Key]:
        """At most so many keys; `keys` are all of the table, read only where a round begins."""
        if not self._left:
            self._left = list(keys)
        taken = self._left[-most:]
        del self._left[-most:]
        return taken
