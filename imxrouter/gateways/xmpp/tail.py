"""Bytes of a stream that wait to be given to expat, and how many of them may be.

expat 2.5 reads an unfinished token again from its beginning with each piece. So it gets bytes up to the last
`>` that is there, and an unfinished tag, which a `>` inside of a value can make, only when its own `>` came.
"""

from __future__ import annotations

import re
from typing import Final

from imxrouter.gateways.xmpp.heard import XmlLimits, over

CDATA: Final = b"<![CDATA["
_BLANK: Final = re.compile(rb"[ \t\r\n]+")
_ENDS_TAG: Final = re.compile(rb"""["'>]""")
_GREATER: Final = ord(">")
_NO_TAG: Final = -1
_NO_QUOTE: Final = 0


class Tail:
    """The bytes that wait.

    Attributes:
        begun_bytes: of an unfinished token that expat was given already.
    """

    __slots__ = ("_bytes", "_quote", "_searched", "_tag_at", "begun_bytes")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._searched = 0  # no `>` before it
        self._tag_at = -1  # where an unfinished tag begins in it
        # Of an unfinished tag that expat has: the quote that is open in it.
        self._quote = _NO_TAG
        self.begun_bytes = 0

    def __len__(self) -> int:
        return len(self._bytes)

    def add(self, data: bytes) -> None:
        """More came."""
        self._bytes += data

    def first(self) -> bytes:
        """Drop blanks in front, and return up to four bytes of what is behind them."""
        blank = _BLANK.match(self._bytes)
        if blank:
            del self._bytes[: blank.end()]
            self._searched = max(self._searched - blank.end(), 0)
        return bytes(self._bytes[:4])

    def cut(self, limits: XmlLimits, room: int, *, stepwise: bool, in_cdata: bool) -> int:
        """How many bytes may be given to expat next, 0 for none.

        Args:
            limits: of the peer.
            room: bytes that the open element may still have.
            stepwise: up to the first `>`, not to the last.
            in_cdata: expat stands in a section of character data, where `<` begins no tag.

        Raises:
            XmlRefused: `stanza_bytes`, `tag_bytes`.
        """
        waiting, searched, stop = self._bytes, self._searched, max(room, 0)
        if self._quote != _NO_TAG:
            end = self._end_of_tag(waiting, searched, stop)
            if self.begun_bytes + (end or min(len(waiting), stop)) > limits.tag_bytes:
                raise over("tag_bytes")
        elif stepwise:
            end = waiting.find(b">", searched, stop) + 1
        else:
            end = waiting.rfind(b">", searched, stop) + 1
        if end:
            return end
        if len(waiting) > room:
            raise over("stanza_bytes")
        if self._tag_at < 0:
            self._tag_at = waiting.find(b"<", searched)
        self._searched = len(waiting)
        is_tag = self._tag_at >= 0 and not in_cdata and not waiting.startswith(CDATA, self._tag_at)
        if is_tag and len(waiting) - self._tag_at > limits.tag_bytes:
            raise over("tag_bytes")
        return 0

    def take(self, size: int) -> bytes:
        """Take so many bytes out, for expat."""
        piece = bytes(self._bytes[:size])
        del self._bytes[:size]
        self._searched, self._tag_at, self._quote, self.begun_bytes = 0, -1, _NO_TAG, 0
        return piece

    def begun(self, token: bytearray) -> None:
        """This is the beginning of a token that expat was given; its end waits or is to come."""
        self.begun_bytes = len(token)
        if token[:1] == b"<" and token[1:2] not in b"!?/":
            self._quote = _NO_QUOTE
            if self._end_of_tag(token, 0, len(token)):
                self._quote = _NO_TAG

    def put_back(self, token: bytes) -> None:
        """Nobody has this any more."""
        self._bytes[:0] = token
        self._searched, self._tag_at, self._quote, self.begun_bytes = 0, -1, _NO_TAG, 0

    def empty(self) -> bytes:
        """Take all out."""
        return self.take(len(self._bytes))

    def _end_of_tag(self, source: bytearray, start: int, stop: int) -> int:
        """Read on in a tag, for the `>` that is in no quotes: the place behind it, 0 if it is not there."""
        at = start
        while True:
            if self._quote:
                at = source.find(self._quote, at, stop) + 1
                if not at:
                    return 0
                self._quote = _NO_QUOTE
            found = _ENDS_TAG.search(source, at, stop)
            if found is None:
                return 0
            at = found.end()
            if source[at - 1] == _GREATER:
                return at
            self._quote = source[at - 1]
