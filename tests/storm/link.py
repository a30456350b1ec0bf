"""The link of a service to its router, for services that tell and take thousands of records a second.

Records are read and written at fixed offsets, as the router's own hot path does: the load must not be what is
measured.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.model.vocabulary import REASON_BY_CODE
from imxrouter.transport.services import sign_login
from imxrouter.wire.control import Ack, Close, Credit, Hello, LoginResult, Ping, Pong, decode_control
from imxrouter.wire.layout import (
    ADDRESSES_OFFSET,
    FIRST_ROUTED_TYPE,
    FLAG_RESPONSE_WANTED,
    HEADER,
    LENGTH_BYTES,
    MESSAGE_ID_BYTES,
    OUTCOME,
    RESPONSE_BIT,
)
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import Capability

_HOPS: Final = 110
_RECONNECT_S: Final = 0.1
_READ_BYTES: Final = 1 << 18
#: Bytes that a link may have unwritten before nothing new is sent.
_OUT_HIGH: Final = 1 << 20


class Request(NamedTuple):
    """A routed request that came.

    Attributes:
        type: of the record.
        to: `local@domain`.
        sender: the same.
        fields: number -> first value.
        body: bytes after the fields.
        head: the header's parts, for the answer.
    """

    type: int
    to: bytes
    sender: bytes
    fields: dict[int, bytes]
    body: bytes
    head: tuple[Any, ...]


class Answer(NamedTuple):
    """A response: `reason` is the word, empty on success."""

    reason: str
    retry_after_s: int
    fields: dict[int, bytes]


class ServiceLink:
    """Connects, logs in, keeps the protocol, comes back; `turn` is called again and again.

    Args:
        name: for reports.
        port: of the router.
        key: for the login.
        window: requests without an answer at most.
        host: address of the router.

    Attributes:
        outcomes: (record type, reason) of every answer, `lost` where the link ended first.
        waiting: route tag -> what the request was about.
        duplicates: answers that nothing waited for.
    """

    def __init__(
        self, name: str, port: int, key: Ed25519PrivateKey, window: int = 1000, host: str = "127.0.0.1"
    ) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.window = window
        self.sock: socket.socket | None = None
        self.outcomes: Counter[tuple[int, str]] = Counter()
        self.waiting: dict[int, tuple[int, Any]] = {}
        self.stray = 0
        self.is_ready = self._leaving = False
        self._key = key
        self._credit = window
        self._again_at = 0.0
        self._next_tag = 0
        self._out = bytearray()
        self._tail = b""
        self._read = self._acked = 0

    # -- what a service does -----------------------------------------------------------------------------

    def due(self, now: float) -> None:
        """Send what is to be sent now."""

    def asked(self, request: Request, now: float) -> None:
        """Take a request, and answer it."""

    def answered(self, what: Any, answer: Answer, now: float) -> None:
        """A request has its answer; `lost` is a reason as well."""

    # -- links -------------------------------------------------------------------------------------------

    def turn(self, now: float, readable: bool) -> None:
        """Do what is due."""
        if self.sock is None:
            if now >= self._again_at:
                self._connect(now)
            return
        try:
            if readable:
                self._receive(now)
            if self.is_ready:
                self.due(now)
            self._flush()
            if self._leaving and not self.waiting and not self._out:
                self._lose(now)  # everything is answered: the router may go
        except OSError:
            self._lose(now)

    def _connect(self, now: float) -> None:
        self._again_at = now + _RECONNECT_S
        try:
            self.sock = socket.create_connection((self.host, self.port), 2)
        except OSError:
            return
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = Hello(
            (1,), (Capability.ACKNOWLEDGE,), 65536, 4096, 1 << 22, os.urandom(16), os.urandom(8)
        )  # no recognition of duplicates: nothing is sent to us twice
        self._out = bytearray(hello.encode())
        self._tail, self._read, self._acked, self._credit = b"", 0, 0, self.window
        self._leaving = False
        try:
            self._flush()
        except OSError:  # a listener that closes resets what nobody has taken yet
            self._lose(now)

    def _lose(self, now: float) -> None:
        if self.sock is not None:
            self.sock.close()
        self.sock, self.is_ready = None, False
        self._again_at = now + _RECONNECT_S
        lost, self.waiting = self.waiting, {}
        for kind, what in lost.values():
            self._conclude(kind, what, Answer("lost", 0, {}), now)

    @property
    def room(self) -> int:
        """Requests that may be sent now."""
        if not self.is_ready or len(self._out) > _OUT_HIGH:
            return 0
        return self._credit - len(self.waiting)

    # -- reading -----------------------------------------------------------------------------------------

    def _receive(self, now: float) -> None:
        assert self.sock is not None
        with contextlib.suppress(BlockingIOError):
            data = self.sock.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError
            self._take_all(self._tail + data, now)
        if self._read != self._acked:
            self._acked = self._read
            self._out += Ack(self._read).encode()

    def _take_all(self, data: bytes, now: float) -> None:
        at, end = 0, len(data)
        while end - at >= LENGTH_BYTES:
            stop = at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "big")
            if stop > end:
                break
            self._take(data[at:stop], now)
            at = stop
        self._tail = data[at:]

    def _take(self, raw: bytes, now: float) -> None:
        head = HEADER.unpack_from(raw)
        kind, tag = head[1], head[4]
        if kind & ~RESPONSE_BIT < FIRST_ROUTED_TYPE:
            self._control(raw)
            return
        to_end = ADDRESSES_OFFSET + head[5] + 1 + head[6]
        from_end = to_end + head[7] + 1 + head[8]
        fields: dict[int, bytes] = {}
        at, body_at = from_end, from_end + head[9]
        while at < body_at:
            value_at = at + 4
            number = ((raw[at] & 0x7F) << 8) | raw[at + 1]
            at = value_at + ((raw[at + 2] << 8) | raw[at + 3])
            fields.setdefault(number, raw[value_at:at])
        if not kind & RESPONSE_BIT:
            addresses = raw[ADDRESSES_OFFSET:to_end], raw[to_end:from_end]
            self.asked(Request(kind, *addresses, fields, raw[body_at:], head), now)
            return
        self._read += 1
        known = self.waiting.pop(tag, None)
        if known is None:
            self.stray += 1
            return
        status, _, code, retry_after_s = OUTCOME.unpack_from(raw, body_at)
        word = "" if status == 0 else REASON_BY_CODE[code].word
        self._conclude(*known, Answer(word, retry_after_s, fields), now)

    def _conclude(self, kind: int, what: Any, answer: Answer, now: float) -> None:
        self.outcomes[kind, answer.reason] += 1
        self.answered(what, answer, now)

    def _control(self, raw: bytes) -> None:
        control = decode_control(decode_record(raw))
        if isinstance(control, Hello):
            assert control.challenge is not None
            self._credit = min(self.window, control.credit_requests)
            self._out += sign_login(self._key, control.challenge).encode()
        elif isinstance(control, Ping):
            self._out += Pong(control.nonce).encode()
        elif isinstance(control, Credit):
            self._credit = min(self.window, control.credit_requests)
        elif isinstance(control, Close):
            self.is_ready, self._leaving = False, True
        elif isinstance(control, LoginResult):
            self.is_ready = control.reason == 0

    # -- writing -----------------------------------------------------------------------------------------

    def send(self, kind: int, to: bytes, sender: bytes, fields: bytes, body: bytes, what: Any) -> None:
        """Send a request; `what` comes back with its answer."""
        self._next_tag = tag = self._next_tag + 1
        self.waiting[tag] = (kind, what)
        ident = os.urandom(MESSAGE_ID_BYTES)
        to_l, from_l = to.rindex(b"@"), sender.rindex(b"@")
        size = ADDRESSES_OFFSET + len(to) + len(sender) + len(fields) + len(body)
        self._out += HEADER.pack(
            size - LENGTH_BYTES, kind, FLAG_RESPONSE_WANTED, _HOPS, tag, to_l, len(to) - to_l - 1,
            from_l, len(sender) - from_l - 1, len(fields), 0, ident,
        )  # fmt: skip
        self._out += to + sender + fields + body

    def succeed(self, request: Request, fields: bytes = b"") -> None:
        """Answer a request with success."""
        _, kind, flags, _, tag, to_l, to_d, from_l, from_d, _, _, ident = request.head
        size = ADDRESSES_OFFSET + len(request.to) + len(request.sender) + len(fields) + OUTCOME.size
        self._out += HEADER.pack(
            size - LENGTH_BYTES, kind | RESPONSE_BIT, flags & ~FLAG_RESPONSE_WANTED, _HOPS, tag,
            from_l, from_d, to_l, to_d, len(fields), 0, ident,
        )  # fmt: skip
        self._out += request.sender + request.to + fields + OUTCOME.pack(0, 0, 0, 0)

    def _flush(self) -> None:
        assert self.sock is not None
        with contextlib.suppress(BlockingIOError):
            while self._out:
                del self._out[: self.sock.send(self._out)]


def field(number: int, value: bytes) -> bytes:
    """One extension field."""
    return number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
