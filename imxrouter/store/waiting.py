"""Changes that wait to be written: the newest of each key, bounded in number and bytes."""

from __future__ import annotations

from typing import Final

from imxrouter.store.file import Change, Place

#: A second's worth of the hardest storm, and some 60 MB with short keys and values.
WAITING_ENTRIES: Final = 200_000
WAITING_BYTES: Final = 32 * 1024 * 1024


class WaitingChanges:
    """What is to be written. When it does not fit it is dropped as a whole, and everything is to be written.

    Not safe for threads by itself: its owner has the lock.

    Attributes:
        all: everything is to be written, whatever `changes` says.
    """

    def __init__(self, most: int = WAITING_ENTRIES, most_bytes: int = WAITING_BYTES) -> None:
        self.changes: dict[Place, Change] = {}
        self.all = False
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0

    def __bool__(self) -> bool:
        return self.all or bool(self.changes)

    def __contains__(self, place: Place) -> bool:
        return self.all or place in self.changes

    def has_room(self, place: Place, size_bytes: int) -> bool:
        """Whether one more fits."""
        if self.all or place in self.changes:
            return True
        return len(self.changes) < self._most and self._bytes + size_bytes <= self._most_bytes

    def add(self, place: Place, change: Change, size_bytes: int) -> None:
        """Note one more change; what does not fit turns the whole into `all`."""
        if self.all:
            return
        if not self.has_room(place, size_bytes):
            self.add_all()
            return
        self.changes[place] = change
        self._bytes += size_bytes  # a key that changes twice counts twice: a bound, no balance

    def add_all(self) -> None:
        """Everything is to be written."""
        self.all = True
        self.changes = {}
        self._bytes = 0

    def take(self) -> tuple[dict[Place, Change], bool]:
        """Everything that waits, and whether all is to be written; nothing waits afterwards."""
        taken = self.changes, self.all
        self.changes, self.all, self._bytes = {}, False, 0
        return taken

    def give_back(self, changes: dict[Place, Change], everything: bool) -> None:
        """What was taken could not be written; what came since is newer."""
        newer, newer_all = self.take()
        if everything or newer_all:
            self.add_all()
            return
        for place, change in {**changes, **newer}.items():
            self.add(place, change, len(place[1]) + (len(change[0]) if change else 0))
