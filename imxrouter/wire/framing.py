"""Cutting a byte stream into records. The length is judged as soon as its four bytes are there."""

from __future__ import annotations

from imxrouter.wire.errors import RecordTooLarge, WireError
from imxrouter.wire.layout import DEFAULT_MAX_RECORD, HEADER_BYTES, LENGTH, LENGTH_BYTES


class RecordSplitter:
    """Collects bytes and gives whole records; each byte is copied a constant number of times.

    Attributes:
        limit_bytes: the largest record taken, length field included; may be raised between two feeds.
    """

    __slots__ = ("_have", "_need", "limit_bytes")

    def __init__(self, limit_bytes: int = DEFAULT_MAX_RECORD) -> None:
        self.limit_bytes = limit_bytes
        self._have = bytearray()
        self._need = LENGTH_BYTES

    @property
    def waiting_bytes(self) -> int:
        """Bytes of a record that is not whole yet."""
        return len(self._have)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the whole records.

        Raises:
            RecordTooLarge: a header announces more than the limit.
            WireError: a header announces less than a header. Records that precede the broken one are
                returned first; the call after that raises, and each one from then on.
        """
        self._have += data
        if len(self._have) < self._need:
            return []
        block = bytes(self._have)
        records: list[bytes] = []
        at, end = 0, len(block)
        self._need = LENGTH_BYTES
        while end - at >= LENGTH_BYTES:
            try:
                size = judge_length(block, at, self.limit_bytes)
            except WireError:
                if not records:
                    raise
                break
            if end - at < size:
                self._need = size
                break
            records.append(block[at : at + size])
            at += size
        self._have = bytearray(block[at:])
        return records


def judge_length(data: bytes, at: int, limit_bytes: int) -> int:
    """The whole size in bytes of the record that starts at `at`.

    Raises:
        RecordTooLarge: over the limit.
        WireError: under a header's size.
    """
    size = int(LENGTH.unpack_from(data, at)[0]) + LENGTH_BYTES
    if size > limit_bytes:
        raise RecordTooLarge(size, limit_bytes)
    if size < HEADER_BYTES:
        raise WireError(f"record of {size} bytes; the header alone has {HEADER_BYTES}")
    return size
