"""A reading cursor that cannot read past its end."""

from __future__ import annotations

from imxrouter.wire.errors import WireError


class Cursor:
    """Reads fixed-width numbers and counted bytes from one buffer.

    Every getter raises `WireError` where fewer bytes are left than asked for.
    """

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self._data = data
        self._pos = start
        self._end = len(data) if end is None else end

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return self._end - self._pos

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self._end - self._pos:
            raise WireError(f"{count} bytes wanted, {self.left} left")
        start = self._pos
        self._pos = start + count
        return self._data[start : self._pos]

    def number(self, width: int) -> int:
        """The next unsigned big-endian number of `width` bytes."""
        return int.from_bytes(self.take(width), "big")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def finish(self) -> None:
        """Raise `WireError` where bytes are left over."""
        if self.left:
            raise WireError(f"{self.left} bytes left over")
