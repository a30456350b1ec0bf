"""What a service keeps in tables of the store: values as JSON, each with the number of its form.

A value of a later form is left alone, for a later version wrote it; what cannot be read at all goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from imxrouter.routing.interfaces import Store

T = TypeVar("T")

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError)


class _Form(msgspec.Struct, frozen=True):
    form: int


class Tables:
    """Writes values down and reads them again.

    Args:
        store: where.
        on_bad: told the table of an entry that cannot be read; it goes, unless a later version wrote it.
        form: of the values that are read; each has a field `form`.
    """

    def __init__(self, store: Store, on_bad: Callable[[str], None], form: int) -> None:
        self._store = store
        self._on_bad = on_bad
        self._form = form

    def put(
        self, table: str, key: bytes, kept: Any, until: float | None = None, *, durable: bool = False
    ) -> bool:
        """Keep a value, until a time in seconds since 1970; None: no more.

        Returns:
            False where its table is full, and with `durable` where it cannot be written now.
        """
        if kept is None:
            self._store.remove(table, key)
            return True
        return self._store.put(table, key, msgspec.json.encode(kept), until, durable=durable)

    def get(self, table: str, key: bytes, kind: type[T]) -> T | None:
        """One value; None where there is none that can be read."""
        value = self._store.get(table, key)
        try:
            return self._decoded(value, kind) if value is not None else None
        except _UNREADABLE:
            return None

    def drop(self, table: str, key: bytes) -> None:
        """Forget a value that turned out to be bad, and tell of it."""
        self._store.remove(table, key)
        self._on_bad(table)

    def items(self, table: str, kind: type[T]) -> Iterator[tuple[bytes, T, float | None]]:
        """Key, value and end of all that can be read."""
        for key, value, until in self._store.items(table):
            try:
                kept = self._decoded(value, kind)
            except _UNREADABLE:
                self.drop(table, key)
                continue
            if kept is None:
                self._on_bad(table)
            else:
                yield key, kept, until

    def new_epoch(self, table: str, wall: float) -> int:
        """The epoch of this life: milliseconds since 1970, greater than every one before (section 7.7).

        Args:
            table: where that of the last life stands, alone.
            wall: seconds since 1970.
        """
        before = self._store.get(table, b"")
        epoch = int(wall * 1000)
        if before is not None and before.isdigit():
            epoch = max(epoch, int(before) + 1)
        self._store.put(table, b"", b"%d" % epoch)
        return epoch

    def _decoded(self, value: bytes, kind: type[T]) -> T | None:
        form = msgspec.json.decode(value, type=_Form).form
        return msgspec.json.decode(value, type=kind) if form == self._form else None
