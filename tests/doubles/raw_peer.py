"""A scripted IMX peer on a blocking socket: says what a test tells it, and nothing of its own but pongs."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.link.machine import Side
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.transport.services import sign_login
from imxrouter.transport.translate import message_to_record
from imxrouter.wire.control import (
    Ack,
    Claim,
    ClaimResult,
    Close,
    Control,
    Credit,
    Hello,
    LoginResult,
    Ping,
    Pong,
    Proof,
    Verify,
    VerifyResult,
    decode_control,
)
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, HIGHEST_MAX_RECORD
from imxrouter.wire.record import Record, decode_outcome, decode_record, encode_record, response_to
from imxrouter.wire.registry import PROTOCOL_VERSION

#: An IP address and a port.
Endpoint = tuple[str, int]
#: What travels: one of the link's own records, or a routed one.
Item = Control | Record
C = TypeVar("C", bound=Item)

#: Every wait ends by then; only a hanging test needs it.
PATIENCE_S = 15.0
#: Any token is opaque to whom it is shown; this one is nobody's.
SOME_TOKEN = b"a token that no router ever made"
SOME_NONCE = b"sixteen bytes ..."[:16]


class RawPeer:
    """One connection spoken by hand.

    Attributes:
        side: who opened it.
        theirs: the other side's hello, once it came.
        raw: every byte that came.
        log: every record that came, in order, noise included.
        answers_pings: as everybody must.
    """

    def __init__(self, sock: socket.socket, side: Side) -> None:
        self.side = side
        self.theirs: Hello | None = None
        self.raw = bytearray()
        self.log: list[Item] = []
        self._sock = sock
        self._splitter = RecordSplitter(HIGHEST_MAX_RECORD)
        self._waiting: deque[Item] = deque()
        self._ended = False
        self._pings = 0
        self.answers_pings = True

    @classmethod
    def connect(cls, to: Endpoint, at: str = "", receive_buffer: int = 0) -> RawPeer:
        """Connect from a chosen address, perhaps with a small receive buffer; no hello is said yet."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((at, 0))
        sock.settimeout(PATIENCE_S)
        sock.connect(to)
        return cls(sock, Side.OPENER)

    @property
    def here(self) -> Endpoint:
        """Our own address and port."""
        return self._sock.getsockname()[:2]  # type: ignore[no-any-return]

    @property
    def there(self) -> Endpoint:
        """The other side's address and port."""
        return self._sock.getpeername()[:2]  # type: ignore[no-any-return]

    # -- sending -----------------------------------------------------------------------------------------

    def send(self, *items: Item | bytes) -> None:
        """Write records, or bytes as they are, in one piece."""
        parts = [
            item if isinstance(item, bytes)
            else item.encode() if isinstance(item, Control)
            else encode_record(item)
            for item in items
        ]  # fmt: skip
        self._sock.sendall(b"".join(parts))

    def hello(
        self,
        *,
        max_record: int = 65536,
        capabilities: tuple[int, ...] = (),
        challenge: bytes | None = None,
    ) -> Hello:
        """Exchange hellos, in the order of our side; returns the other side's."""
        ours = Hello((PROTOCOL_VERSION,), capabilities, max_record, challenge=challenge)
        if self.side is Side.OPENER:
            self.send(ours)
            self.theirs = self.expect(Hello)
        else:
            self.theirs = self.expect(Hello)
            self.send(ours)
        return self.theirs

    def answer(self, request: Record, outcome: Outcome = SUCCESS, values: bytes = b"") -> None:
        """Answer a routed request."""
        self.send(response_to(request, outcome, values))

    def log_in(self, key: Ed25519PrivateKey) -> int:
        """Log in as a service, both hellos exchanged; returns the result's reason."""
        assert self.theirs is not None
        assert self.theirs.challenge is not None
        self.send(sign_login(key, self.theirs.challenge))
        return self.expect(LoginResult).reason

    def close(self) -> None:
        """Cut the connection."""
        self._sock.close()

    # -- receiving ---------------------------------------------------------------------------------------

    def next(self, within_s: float = PATIENCE_S) -> Item | None:
        """The next record that is not noise (pings are answered); None where the connection ended.

        Raises:
            TimeoutError: nothing came.
        """
        until = monotonic() + within_s
        while not self._waiting:
            if self._ended or not self._read(until):
                return None
        return self._waiting.popleft()

    def expect(self, kind: type[C], within_s: float = PATIENCE_S) -> C:
        """The next record, which must be of that kind."""
        item = self._next_or_fail(kind.__name__, within_s)
        assert isinstance(item, kind), f"{kind.__name__} was expected, this came: {item}"
        return item

    def find(self, kind: type[C], within_s: float = PATIENCE_S) -> C:
        """The next record of that kind; what comes before it is passed over."""
        while not isinstance(item := self._next_or_fail(kind.__name__, within_s), kind):
            pass
        return item

    def request(self, within_s: float = PATIENCE_S) -> Record:
        """The next record, which must be a routed request."""
        item = self._next_or_fail("a request", within_s)
        assert isinstance(item, Record), f"a request was expected, this came: {item}"
        assert not item.is_response, f"a request was expected, this came: {item}"
        return item

    def outcome(self, within_s: float = PATIENCE_S) -> Outcome:
        """The outcome that the next response tells; what comes before it is passed over."""
        return decode_outcome(self.response(within_s))

    def response(self, within_s: float = PATIENCE_S) -> Record:
        """The next response; what comes before it is passed over."""
        item = self._next_or_fail("a response", within_s)
        while not (isinstance(item, Record) and item.is_response):
            item = self._next_or_fail("a response", within_s)
        return item

    def drain(self) -> list[Item]:
        """Everything that came until the other side had answered all we sent: two pings, and their pongs.

        Two, because what a read brings is answered with routed records at its end only. Where the connection
        ends instead, everything that came until then.
        """
        for _ in range(2):
            self._pings += 1
            nonce = b"drained?" + self._pings.to_bytes(8, "big")
            with suppress(OSError):  # it may have ended; what came before is still to be read
                self.send(Ping(nonce))
            until = monotonic() + PATIENCE_S
            while not any(isinstance(item, Pong) and item.nonce == nonce for item in self.log):
                if self._ended or not self._read(until):
                    break
        items = list(self._waiting)
        self._waiting.clear()
        return items

    def until_closed(self, within_s: float = PATIENCE_S) -> Close | None:
        """Read to the end of the connection; gives the last CLOSE that came.

        Raises:
            TimeoutError: it does not end.
        """
        until = monotonic() + within_s
        while self._read(until):
            pass
        closes = [item for item in self.log if isinstance(item, Close)]
        return closes[-1] if closes else None

    def until_told_to_stop(self, within_s: float = PATIENCE_S) -> None:
        """Read until the other side takes no new request.

        Raises:
            TimeoutError: it does not say so.
        """
        until = monotonic() + within_s
        while not any(isinstance(item, Credit) and not item.credit_requests for item in self.log):
            assert self._read(until), f"the connection ended after {self.log}"

    @property
    def requests(self) -> list[Record]:
        """Every routed request that came so far."""
        return [item for item in self.log if isinstance(item, Record) and not item.is_response]

    # -- inside ------------------------------------------------------------------------------------------

    def _next_or_fail(self, what: str, within_s: float) -> Item:
        try:
            item = self.next(within_s)
        except TimeoutError:
            raise AssertionError(f"{what} was expected; nothing came after {self.log}") from None
        assert item is not None, f"{what} was expected; the connection ended after {self.log}"
        return item

    def _read(self, until: float) -> bool:
        """Read once; False at the end of the connection."""
        self._sock.settimeout(max(until - monotonic(), 0.001))
        try:
            data = self._sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._ended = True
            return False
        self.raw += data
        for one in self._splitter.feed(data):
            self._take(decode_record(one))
        return True

    def _take(self, record: Record) -> None:
        item: Item = record
        if not record.is_routed:
            control = decode_control(record)
            assert control is not None, f"an unknown record came: {record}"
            item = control
        self.log.append(item)
        if isinstance(item, Ping) and self.answers_pings:
            self._pong(item)
        if not isinstance(item, Ping | Pong | Ack | Credit):
            self._waiting.append(item)

    def _pong(self, ping: Ping) -> None:
        try:
            self.send(Pong(ping.nonce))
        except OSError:
            self._ended = True


class RawListener:
    """A listening socket that takes connections when a test says so.

    Attributes:
        endpoint: address and port.
        accepted: connections taken so far.
    """

    def __init__(self, ip: str, port: int = 0) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind((ip, port))
        self._sock.listen(1024)
        self.endpoint: Endpoint = self._sock.getsockname()
        self.accepted: list[RawPeer] = []

    def accept(self, within_s: float = PATIENCE_S) -> RawPeer:
        """Take the next connection; no hello is said yet.

        Raises:
            TimeoutError: none came.
        """
        self._sock.settimeout(within_s)
        sock, _ = self._sock.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted.append(RawPeer(sock, Side.ACCEPTOR))
        return self.accepted[-1]

    def take_waiting(self) -> list[RawPeer]:
        """Take every connection that waits, without waiting for another."""
        taken: list[RawPeer] = []
        self._sock.setblocking(False)
        while True:
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return taken
            sock.setblocking(True)
            taken.append(RawPeer(sock, Side.ACCEPTOR))
            self.accepted.append(taken[-1])

    def close(self) -> None:
        """Stop listening and cut what was accepted."""
        self._sock.close()
        for peer in self.accepted:
            peer.close()


def prove(
    first: RawPeer,
    to_domain: str,
    from_domain: str,
    second: Callable[[], RawPeer],
    number: int = 1,
    token: bytes = SOME_TOKEN,
) -> ClaimResult:
    """Claim a domain of one's own on a link, answer its verification, and return the result.

    Args:
        first: the link, both hellos exchanged.
        to_domain: the router's domain.
        from_domain: the domain claimed.
        second: gives the connection on which the verification comes, both hellos exchanged.
        number: of the claim.
        token: of the claim.
    """
    first.send(Claim(number, from_domain.encode(), to_domain.encode(), token))
    verifying = second()
    verify = verifying.expect(Verify)
    assert (verify.from_domain, verify.token) == (from_domain.encode(), token)
    verifying.send(VerifyResult(verify.number, 0, SOME_NONCE))
    first.send(Proof(number, verify.secret))
    return first.expect(ClaimResult)


def text_message(source: str, destination: str, text: str, number: int = 1) -> Record:
    """The record of a text message; `number` is its route tag and in its id."""
    message = Message(
        Address.parse(source), Address.parse(destination), number.to_bytes(16, "big"), TEXT_PLAIN,
        text.encode(),
    )  # fmt: skip
    record = message_to_record(message)
    return Record(
        record.type, FLAG_RESPONSE_WANTED, record.hops_left, number, record.message_id, record.envelope,
        record.fields, record.body,
    )  # fmt: skip
