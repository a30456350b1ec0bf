"""A service that logs in by its key, sends numbered messages, and records what becomes of them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.model.vocabulary import Status
from imxrouter.transport.services import sign_login
from imxrouter.transport.translate import message_to_record
from imxrouter.wire.control import Ack, Hello, LoginResult, Ping, Pong, decode_control
from imxrouter.wire.errors import WireError
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, decode_outcome, decode_record, encode_record, response_to
from imxrouter.wire.registry import Capability


@dataclass
class Book:
    """What really happened to each message, by its number; shared by all services of a test.

    Attributes:
        deliveries: how often each was handed to a service.
        outcomes: what its originating service was told, or had to conclude.
        concluded: those that it concluded because its own link was lost.
    """

    deliveries: dict[int, int] = field(default_factory=dict)
    outcomes: dict[int, list[Status]] = field(default_factory=dict)
    concluded: set[int] = field(default_factory=set)
    reasons: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def delivered(self, number: int) -> None:
        """A service was given it."""
        with self.lock:
            self.deliveries[number] = self.deliveries.get(number, 0) + 1

    def ended(self, number: int, outcome: Outcome | None) -> None:
        """Its originating service knows what became of it; None: that nobody can know."""
        with self.lock:
            status = Status.INDETERMINANT if outcome is None else outcome.status
            self.outcomes.setdefault(number, []).append(status)
            if outcome is None:
                self.concluded.add(number)
            word = "link-lost here" if outcome is None else outcome.reason.word
            self.reasons[word] = self.reasons.get(word, 0) + 1


class Service:
    """One link of a service to one router process, opened again when it is lost.

    Args:
        port: of the router.
        key: the service's.
        book: where everything is written down.
        numbers: gives the number of the next message to send; None: it only receives.
        pair: sender's and recipient's domain.
        rate: messages a second.
    """

    def __init__(
        self, port: int, key: Ed25519PrivateKey, book: Book, *, pair: tuple[str, str] | None = None,
        start: int = 0, rate: float = 200.0, window: int = 48,
    ) -> None:  # fmt: skip
        self.sending = pair is not None
        self.sent = 0
        self._port, self._key, self._book, self._pair = port, key, book, pair
        self._start, self._rate, self._window = start, rate, window
        self._open: set[int] = set()
        self._sock: socket.socket | None = None
        self._stopping = threading.Event()
        self._cut = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Lose the link to the router."""
        self._cut.set()

    @property
    def waiting(self) -> int:
        """Messages without an outcome."""
        return len(self._open)

    def close(self) -> None:
        """Stop; what is open is concluded."""
        self._stopping.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(OSError, EOFError, WireError):
                self._life()
            for number in list(self._open):
                self._book.ended(number, None)
            self._open.clear()
            time.sleep(0.1)

    def _life(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 2) as sock:
            sock.settimeout(0.02)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            capabilities = (Capability.DUPLICATES, Capability.ACKNOWLEDGE)
            hello = Hello((1,), capabilities, 65536, 4096, 1 << 22, os.urandom(16), os.urandom(8))
            sock.sendall(hello.encode())
            self._cut.clear()
            splitter, ready, read, next_at = RecordSplitter(1 << 20), False, 0, time.monotonic()
            while not self._stopping.is_set() and not self._cut.is_set():
                try:
                    data = sock.recv(65536)
                    if not data:
                        raise EOFError
                except TimeoutError:
                    data = b""
                out: list[bytes] = []
                for one in splitter.feed(data):
                    record = decode_record(one)
                    if record.is_response and record.is_routed:
                        read += 1
                        self._answered(record)
                    elif record.is_routed:
                        self._book.delivered(int.from_bytes(record.message_id, "big"))
                        out.append(encode_record(response_to(record, SUCCESS)))
                    else:
                        ready = self._control(record, out) or ready
                if data and read:
                    out.append(Ack(read).encode())
                while (
                    ready and self.sending and time.monotonic() >= next_at and len(self._open) < self._window
                ):
                    next_at = max(next_at + 1 / self._rate, time.monotonic() - 0.1)
                    out.append(self._next())
                if out:
                    sock.settimeout(5)
                    sock.sendall(b"".join(out))
                    sock.settimeout(0.02)

    def _control(self, record: Record, out: list[bytes]) -> bool:
        control = decode_control(record)
        if isinstance(control, Hello):
            assert control.challenge is not None
            out.append(sign_login(self._key, control.challenge).encode())
        elif isinstance(control, Ping):
            out.append(Pong(control.nonce).encode())
        return isinstance(control, LoginResult) and control.reason == 0

    def _answered(self, record: Record) -> None:
        number = int.from_bytes(record.message_id, "big")
        if number in self._open:
            self._open.discard(number)
            self._book.ended(number, decode_outcome(record))

    def _next(self) -> bytes:
        assert self._pair is not None
        self.sent += 1
        number = self._start + self.sent
        self._open.add(number)
        source, to = (Address.parse(f"u@{domain}") for domain in self._pair)
        message = Message(source, to, number.to_bytes(16, "big"), TEXT_PLAIN, b"number %d" % number)
        record = message_to_record(message)
        return encode_record(
            Record(
                record.type, FLAG_RESPONSE_WANTED, record.hops_left, number, record.message_id,
                record.envelope, record.fields, record.body,
            )
        )  # fmt: skip
