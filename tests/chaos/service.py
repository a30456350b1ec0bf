"""A service of a router: logs in by its key, sends numbered messages, retries as the specification says."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.outcome import SUCCESS, Outcome, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.services import sign_login
from imxrouter.transport.translate import message_to_record
from imxrouter.wire.control import Ack, Hello, LoginResult, Ping, Pong, decode_control
from imxrouter.wire.fields import Field
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, FLAG_RETRY
from imxrouter.wire.record import Record, decode_outcome, decode_record, encode_record, response_to
from imxrouter.wire.registry import CRITICAL_BIT, Capability, FieldType
from tests.chaos.book import SPAN, Book
from tests.chaos.routers import CREDIT

#: A message that was open on a lost link is given up when no link came back in this time.
RETRY_WITHIN_S = 3.0
_RECONNECT_S = 0.1


@dataclass
class Open:
    """A message that waits for its outcome.

    Attributes:
        sent: when it was sent first.
        epoch: of the link over which it was sent first.
        port: of the process it was sent to first.
        lost_at: when that link was lost; it is to be sent again.
        retried: it was.
    """

    sent: float
    epoch: bytes
    port: int
    lost_at: float = 0.0
    retried: bool = False


@dataclass(frozen=True)
class Plan:
    """What one service does.

    Attributes:
        name: for reports.
        ports: of its routers; it goes to the next when a link is lost.
        pair: sender's and recipient's domain; None: it only receives.
        span: its numbers start at this multiple of `SPAN`.
        rate: messages a second.
        window: messages without an outcome at most.
    """

    name: str
    ports: tuple[int, ...]
    pair: tuple[str, str] | None = None
    span: int = 0
    rate: float = 0.0
    window: int = 32


class Service:
    """One service; `turn` is called again and again.

    Args:
        plan: what it does.
        key: its login key.
        epoch: names the memory of deliveries that all services of this process share.
        book: where everything is written down.
    """

    def __init__(self, plan: Plan, key: Ed25519PrivateKey, epoch: bytes, book: Book) -> None:
        self.plan = plan
        self.sock: socket.socket | None = None
        self.sending = plan.pair is not None
        self.open: dict[int, Open] = {}
        self._key, self._epoch, self._book = key, epoch, book
        self._turn = 0
        self._made = 0
        self._ready = False
        self._router_epoch = b""
        self._deaf_until = 0.0
        self._again_at = 0.0
        self._next_at = 0.0
        self._out = bytearray()
        self._read = self._acked = 0
        self._splitter = RecordSplitter(1 << 20)

    # -- links -------------------------------------------------------------------------------------------

    def cut(self, deaf_s: float) -> None:
        """Read nothing for so long, then lose the link: answers are lost."""
        self._deaf_until = time.monotonic() + deaf_s

    def away(self, now: float, seconds: float) -> None:
        """Lose the link now, and come back later."""
        if self.sock is not None:
            self._lose(now)
        self._again_at = now + seconds

    def turn(self, now: float) -> None:
        """Do what is due."""
        if self.sock is None:
            self._give_up(now)
            if now >= self._again_at:
                self._connect(now)
            return
        try:
            if self._deaf_until:
                if now >= self._deaf_until:
                    self._lose(now)
                    return
            else:
                self._receive(now)
            if self._ready:
                self._retry()
                self._send(now)
            self._flush()
        except OSError:
            self._lose(now)

    def _connect(self, now: float) -> None:
        self._again_at = now + _RECONNECT_S
        port = self.plan.ports[self._turn % len(self.plan.ports)]
        try:
            self.sock = socket.create_connection(("127.0.0.1", port), 2)
        except OSError:
            self._turn += 1
            return
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ready, self._read, self._acked, self._deaf_until = False, 0, 0, 0.0
        self._splitter = RecordSplitter(1 << 20)
        capabilities = (Capability.DUPLICATES, Capability.ACKNOWLEDGE)
        hello = Hello((1,), capabilities, 65536, CREDIT, 1 << 22, os.urandom(16), self._epoch)
        self._out = bytearray(hello.encode())

    def _lose(self, now: float) -> None:
        assert self.sock is not None
        self.sock.close()
        self.sock = None
        self._turn += 1
        self._deaf_until = 0.0
        self._again_at = now + _RECONNECT_S
        self._book.lost(now, self.plan.name, len(self.open))
        for number, one in list(self.open.items()):
            if one.retried:
                self._conclude(number, None, now)
            else:
                one.lost_at = one.lost_at or now

    def _give_up(self, now: float) -> None:
        for number, one in list(self.open.items()):
            if one.lost_at and now - one.lost_at > RETRY_WITHIN_S:
                self._conclude(number, None, now)

    @property
    def port(self) -> int:
        """Of the router it is connected to, or will be."""
        return self.plan.ports[self._turn % len(self.plan.ports)]

    # -- reading -----------------------------------------------------------------------------------------

    def _receive(self, now: float) -> None:
        assert self.sock is not None
        with contextlib.suppress(BlockingIOError):
            data = self.sock.recv(1 << 18)
            if not data:
                raise ConnectionResetError
            for one in self._splitter.feed(data):
                self._take(decode_record(one), now)

    def _take(self, record: Record, now: float) -> None:
        if record.is_response and record.is_routed:
            self._read += 1
            number, outcome = int.from_bytes(record.message_id, "big"), decode_outcome(record)
            if number in self.open:
                self._conclude(number, outcome, now)
            else:
                self._book.answered_again(number, outcome)
        elif record.is_routed:
            self._out += encode_record(response_to(record, self._deliver(record)))
        else:
            self._control(record)

    def _deliver(self, record: Record) -> Outcome:
        number = int.from_bytes(record.message_id, "big")
        if record.flags & FLAG_RETRY:
            if record.value(FieldType.EPOCH) != self._epoch:
                return indeterminant(Reason.EPOCH_UNKNOWN)
            self._book.report.redelivered += 1
            if self._book.is_delivered(number):
                return SUCCESS
            self._book.delivered(number, by_retry=True)
            return SUCCESS
        if self._book.is_from_retry(number):  # overtaken: it lay in a link that we read late
            self._book.report.redelivered += 1
            return SUCCESS
        self._book.delivered(number)
        return SUCCESS

    def _control(self, record: Record) -> None:
        control = decode_control(record)
        if isinstance(control, Hello):
            assert control.challenge is not None
            self._router_epoch = control.epoch
            self._out += sign_login(self._key, control.challenge).encode()
        elif isinstance(control, Ping):
            self._out += Pong(control.nonce).encode()
        elif isinstance(control, LoginResult) and control.reason == 0:
            self._ready = True

    def _conclude(self, number: int, outcome: Outcome | None, now: float) -> None:
        one = self.open.pop(number)
        self._book.ended(number, outcome, self.plan.name, one.sent, now, retried=one.retried)

    # -- writing -----------------------------------------------------------------------------------------

    def _send(self, now: float) -> None:
        while self.sending and now >= self._next_at and len(self.open) < self.plan.window:
            self._next_at = max(self._next_at + 1 / self.plan.rate, now - 0.05)
            self._made += 1
            number = self.plan.span * SPAN + self._made
            self._book.sent(number)
            self.open[number] = Open(now, self._router_epoch, self.port)
            self._out += self._record(number, None)

    def _retry(self) -> None:
        for number, one in self.open.items():
            if not one.lost_at or one.retried:
                continue
            one.retried = True
            if one.epoch == self._router_epoch:
                self._book.retried("the same process")
            else:
                self._book.retried("its later life" if one.port == self.port else "another process")
            self._out += self._record(number, one.epoch)

    def _record(self, number: int, epoch: bytes | None) -> bytes:
        assert self.plan.pair is not None
        source, to = (Address.parse(f"u@{domain}") for domain in self.plan.pair)
        message = Message(source, to, number.to_bytes(16, "big"), TEXT_PLAIN, b"number %d" % number)
        made = message_to_record(message)
        flags, fields = FLAG_RESPONSE_WANTED, made.fields
        if epoch is not None:
            flags |= FLAG_RETRY
            fields = (*fields, Field(FieldType.EPOCH | CRITICAL_BIT, epoch))
        return encode_record(
            Record(
                made.type, flags, made.hops_left, number, made.message_id, made.envelope, fields, made.body
            )
        )

    def _flush(self) -> None:
        assert self.sock is not None
        if self._read != self._acked:
            self._acked = self._read
            self._out += Ack(self._read).encode()
        with contextlib.suppress(BlockingIOError):
            while self._out:
                del self._out[: self.sock.send(self._out)]
