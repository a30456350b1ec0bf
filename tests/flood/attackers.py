"""The attackers, in a process of their own; lines of JSON come in and go out, as in `tests.storm.children`.

{"do": "silent", "count": 10000}    strangers who connect, and never authenticate; half of them in TLS
{"do": "handshakes", "rate": 500}   strangers who have a handshake made, and go
{"do": "crowd", "count": 700}       strangers who connect, and then speak all at one time
{"do": "claim", "count": 1000}      strangers who claim domains that others own
{"do": "open", "count": 200}        a peer that proves itself on more and more links
{"do": "shout", "rate": 500}        a sender of that peer far over its rate
{"do": "invent", "count": 1000000}  that peer's senders, each with one message
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final

from imxrouter.model.vocabulary import REASON_BY_CODE
from imxrouter.wire.control import (
    Ack,
    Claim,
    ClaimResult,
    Close,
    Hello,
    Ping,
    Pong,
    Proof,
    Verify,
    VerifyResult,
    decode_control,
)
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import (
    ADDRESSES_OFFSET,
    FIRST_ROUTED_TYPE,
    FLAG_RESPONSE_WANTED,
    HEADER,
    LENGTH_BYTES,
    OUTCOME,
    RESPONSE_BIT,
)
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import Capability, RecordType
from tests.flood.commands import Commands
from tests.flood.sockets import OUT_HIGH, Connection, Loop, dialled

#: Where strangers come from: 16 prefixes (/24) with 16 addresses each.
SOURCES: Final = [f"127.1.{prefix}.{host}" for prefix in range(1, 17) for host in range(1, 17)]
#: New connections in one turn of the loop, and turns of a second at most.
_CONNECTIONS_A_TURN: Final = 20
_TURN_S: Final = 0.01
#: Domains that others own.
VICTIMS: Final = [f"v{number}.victim{number % 50}.example" for number in range(1000)]
_HOPS: Final = 110
_BODY: Final = b"Content-Type: text/plain\r\n\r\nloud"
#: Messages without an answer that the peer allows itself; the router's credit is 1,024.
_WINDOW: Final = 900


class Mood(Enum):
    """What a stranger does."""

    NOTHING = "says nothing"
    HALF = "half a hello"
    HELLO = "a hello"
    CLAIMS = "a hello, and then claims"
    WAITS = "a ClientHello, when it is told to"
    HALF_TLS = "half a ClientHello"
    TLS = "a ClientHello, and no more"
    GOES = "a ClientHello, and goes when it is answered"

    @property
    def in_tls(self) -> bool:
        """Whether it speaks TLS."""
        return self in (Mood.WAITS, Mood.HALF_TLS, Mood.TLS, Mood.GOES)


def _client_hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["imx"])
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="talk-z.example").do_handshake()
    return out.read()


_HELLO: Final = Hello((1,)).encode()
_CLIENT_HELLO: Final = _client_hello()
_SAYS: Final = {
    Mood.NOTHING: b"",
    Mood.HALF: _HELLO[:30],
    Mood.HELLO: _HELLO,
    Mood.CLAIMS: _HELLO,
    Mood.WAITS: _CLIENT_HELLO,
    Mood.HALF_TLS: _CLIENT_HELLO[:100],
    Mood.TLS: _CLIENT_HELLO,
    Mood.GOES: _CLIENT_HELLO,
}
#: One after the other.
SILENT: Final = (Mood.NOTHING, Mood.HALF_TLS, Mood.HALF, Mood.TLS, Mood.HELLO, Mood.TLS)


class Stranger(Connection):
    """Connects, says little, and stays.

    Args:
        mood: what it says.
    """

    __slots__ = ("_mood", "_owner", "_splitter")

    def __init__(self, owner: Attackers, sock: socket.socket, mood: Mood) -> None:
        self._owner = owner
        self._mood = mood
        self._splitter = RecordSplitter(1 << 20)
        super().__init__(owner.loop, sock, connected=False)

    def ready(self) -> None:
        """Say as much as the mood is."""
        self._owner.counts["connected"] += 1
        if self._mood is not Mood.WAITS:
            self.speak()

    def speak(self) -> None:
        """Say it now."""
        self.write(_SAYS[self._mood])

    def took(self, data: bytes) -> None:
        """Claim after the hello; count what is said to it."""
        if self._mood.in_tls:
            self._owner.counts["answered in TLS"] += 1
            if self._mood is Mood.GOES:
                self.close()
            return
        for raw in self._splitter.feed(data):
            control = decode_control(decode_record(raw))
            if isinstance(control, Hello) and self._mood is Mood.CLAIMS:
                names = self._owner.next_names(16)
                token = os.urandom(78)
                claims = [Claim(n, name, b"talk-z.example", token) for n, name in enumerate(names, 1)]
                self.write(b"".join(claim.encode() for claim in claims))
                self._owner.counts["claims"] += len(claims)
            elif isinstance(control, ClaimResult):
                self._owner.counts[f"claim {_word(control.reason)}"] += 1
            elif isinstance(control, Close):
                self._owner.counts[f"closed {_word(control.reason)}"] += 1
            elif isinstance(control, Ping):
                self.write(Pong(control.nonce).encode())

    def gone(self) -> None:
        """Count it."""
        self._owner.counts["gone"] += 1


class PeerLink(Connection):
    """A link of the attacking domain, whose claims are verified at its listener."""

    __slots__ = ("_owner", "_splitter", "_token", "_unread", "is_proved", "outstanding")

    def __init__(self, owner: Attackers, sock: socket.socket) -> None:
        self._owner = owner
        self._splitter = RecordSplitter(1 << 20)
        self._token = os.urandom(78)
        self._unread = 0
        self.is_proved = False
        self.outstanding = 0
        super().__init__(owner.loop, sock, connected=False)

    def ready(self) -> None:
        """Say hello."""
        self.write(Hello((1,), (Capability.ACKNOWLEDGE,)).encode())

    def took(self, data: bytes) -> None:
        """Count answers at fixed offsets; read the rest."""
        before = self._unread
        for raw in self._splitter.feed(data):
            kind = int.from_bytes(raw[4:6], "big")
            if kind & ~RESPONSE_BIT >= FIRST_ROUTED_TYPE:
                head = HEADER.unpack_from(raw)
                at = ADDRESSES_OFFSET + head[5] + head[6] + head[7] + head[8] + 2 + head[9]
                status, _, code, _ = OUTCOME.unpack_from(raw, at)
                self._owner.counts["message " + ("success" if status == 0 else _word(code))] += 1
                self.outstanding -= 1
                self._unread += 1
            else:
                self._control(raw)
        if self._unread != before:
            self.write(Ack(self._unread).encode())

    def _control(self, raw: bytes) -> None:
        control = decode_control(decode_record(raw))
        if isinstance(control, Hello):
            self._owner.pending[self._token] = self
            self.write(Claim(1, self._owner.domain, b"talk-z.example", self._token).encode())
        elif isinstance(control, ClaimResult):
            self._owner.pending.pop(self._token, None)
            self._owner.counts[f"link {_word(control.reason) if control.reason else 'proved'}"] += 1
            self.is_proved = control.reason == 0
            if control.reason:
                self.close()  # the next one tries again
        elif isinstance(control, Close):
            self._owner.counts[f"closed {_word(control.reason)}"] += 1
        elif isinstance(control, Ping):
            self.write(Pong(control.nonce).encode())

    def release(self, secret: bytes) -> None:
        """The claim is verified: the answer goes back here."""
        self.write(Proof(1, secret).encode())

    def send(self, sender: bytes) -> None:
        """One message, from whomever."""
        self._owner.sent += 1
        self.outstanding += 1
        to = b"ben@talk-z.example"
        size = ADDRESSES_OFFSET + len(to) + len(sender) + len(_BODY)
        from_l = sender.index(b"@")
        self.write(
            HEADER.pack(
                size - LENGTH_BYTES, RecordType.MESSAGE.value, FLAG_RESPONSE_WANTED, _HOPS, self._owner.sent,
                3, len(to) - 4, from_l, len(sender) - from_l - 1, 0, 0, self._owner.sent.to_bytes(16, "big"),
            ) + to + sender + _BODY
        )  # fmt: skip

    @property
    def room(self) -> int:
        """Messages that may go out now."""
        return _WINDOW - self.outstanding if self.is_proved and len(self.out) < OUT_HIGH else 0

    def gone(self) -> None:
        """It is no link any more."""
        self._owner.links.discard(self)
        self._owner.counts["link gone"] += 1


class Listening(Connection):
    """The attacking domain's own port."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Attackers, at: tuple[str, int]) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(at)
        sock.listen(1024)
        sock.setblocking(False)
        self._owner = owner
        super().__init__(owner.loop, sock, connected=True)

    def readable(self) -> None:
        """Take every connection that waits."""
        while True:
            try:
                sock, _ = self.sock.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            Verifying(self._owner, sock)


class Verifying(Connection):
    """A second connection of the router: every claim of ours is ours."""

    __slots__ = ("_owner", "_splitter")

    def __init__(self, owner: Attackers, sock: socket.socket) -> None:
        self._owner = owner
        self._splitter = RecordSplitter(1 << 20)
        super().__init__(owner.loop, sock, connected=True)

    def took(self, data: bytes) -> None:
        """Answer hello and verifications."""
        for raw in self._splitter.feed(data):
            control = decode_control(decode_record(raw))
            if isinstance(control, Hello):
                self.write(Hello((1,)).encode())
            elif isinstance(control, Verify):
                link = self._owner.pending.get(control.token)
                self.write(VerifyResult(control.number, 0, os.urandom(16)).encode())
                if link is not None:
                    link.release(control.secret)
            elif isinstance(control, Ping):
                self.write(Pong(control.nonce).encode())


class Attackers:
    """What the scene asks for is done until `stop`."""

    def __init__(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
        os.nice(19)
        self.loop = Loop()
        self.counts: Counter[str] = Counter()
        self.pending: dict[bytes, PeerLink] = {}
        self.links: set[PeerLink] = set()
        self.sent = 0
        self.domain = b""
        self._target = ("", 0)
        self._sources: Iterator[str] = itertools.cycle(SOURCES)
        self._names: Iterator[str] = itertools.cycle(VICTIMS)
        self._listening: Listening | None = None
        self._do: Callable[[], None] = lambda: None
        self._began = self._tried = 0.0

    # -- what the scene asks -----------------------------------------------------------------------------

    def start(self, target: list[Any], domain: str, at: list[Any]) -> None:
        """Know the router, and be a domain of one's own with a router at an address."""
        self._target = (target[0], target[1])
        self.domain = domain.encode()
        random.Random(7).shuffle(SOURCES)
        self._listening = Listening(self, (at[0], at[1]))

    def silent(self, count: int) -> None:
        """So many connections in all, which say nothing, half a hello, or a hello and no more."""
        self._do = self._strangers(count, lambda number: SILENT[number % len(SILENT)])

    def handshakes(self, rate: float) -> None:
        """So many a second, each of which has a handshake begun and goes."""
        self._began = time.monotonic()

        def more() -> None:
            due = int((time.monotonic() - self._began) * rate) - self.counts["opened"]
            self._stranger(min(due, _CONNECTIONS_A_TURN), Mood.GOES)

        self._do = more

    def crowd(self, count: int) -> None:
        """So many connections; when they are there, all speak at one time."""
        connect = self._strangers(count, lambda _number: Mood.WAITS)

        def more() -> None:
            connect()
            if self.counts["connected"] >= count and not self.counts["spoke"]:
                for one in self.loop.connections():
                    if isinstance(one, Stranger):
                        one.speak()
                        self.counts["spoke"] += 1

        self._do = more

    def claim(self, count: int) -> None:
        """So many connections, each of which claims 16 domains that others own."""
        self._do = self._strangers(count, lambda _number: Mood.CLAIMS)

    def open(self, count: int) -> None:
        """So many links of the domain, which all try to prove it; then ten a second."""
        self._began = time.monotonic()

        def more() -> None:
            due = count + int((time.monotonic() - self._began) * 10) - self.counts["link opened"]
            for _ in range(min(5, due)):
                self._link()

        self._do = more

    def shout(self, rate: float) -> None:
        """One sender, so many messages a second."""
        self._begin()

        def more() -> None:
            due = int((time.monotonic() - self._began) * rate) - self.sent
            for link in self._proved():
                for _ in range(min(due, link.room, 200)):
                    link.send(b"loud@" + self.domain)

        self._do = more

    def invent(self, count: int) -> None:
        """So many senders, one message of each, as fast as it goes; one more for each that was not looked at.

        A router on a slow machine may have as many under way as it takes before it comes to know senders.
        """
        self._begin()

        def more() -> None:
            for link in self._proved():
                for _ in range(min(count + self.counts["message busy"] - self.sent, link.room)):
                    link.send(b"s%07d@%b" % (self.sent, self.domain))

        self._do = more

    def stop(self) -> None:
        """Do no more; every connection but the listener goes."""
        self._do = lambda: None
        for one in self.loop.connections():
            if not isinstance(one, Listening | Commands):
                one.close()

    def status(self) -> dict[str, Any]:
        """Figures since the last word."""
        return {"sent": self.sent, "open": len(self.loop) - 2, **self.counts}

    def mark(self) -> None:
        """Count from here."""
        self.counts.clear()

    # -- inside ------------------------------------------------------------------------------------------

    def next_names(self, count: int) -> list[bytes]:
        """Domains that others own."""
        return [name.encode() for name in itertools.islice(self._names, count)]

    def turn(self) -> None:
        """Do what is to be done, and serve what is ready."""
        self._do()
        self.loop.turn(_TURN_S)

    def _strangers(self, count: int, mood: Callable[[int], Mood]) -> Callable[[], None]:
        def more() -> None:
            for _ in range(min(_CONNECTIONS_A_TURN, count - self.counts["opened"])):
                self._stranger(1, mood(self.counts["opened"]))

        return more

    def _stranger(self, count: int, mood: Mood) -> None:
        for _ in range(count):
            sock = dialled(self._target, next(self._sources))
            if sock is None:
                self.counts["not opened"] += 1
                return
            self.counts["opened"] += 1
            Stranger(self, sock, mood)

    def _link(self) -> None:
        assert self._listening is not None
        source: str = self._listening.sock.getsockname()[0]
        sock = dialled(self._target, source)
        if sock is not None:
            self.counts["link opened"] += 1
            self.links.add(PeerLink(self, sock))

    def _begin(self) -> None:
        self.sent, self._began = 0, time.monotonic()

    def _proved(self) -> list[PeerLink]:
        """Its links; one is opened again and again until there is one."""
        if not self.links and time.monotonic() - self._tried > 0.2:
            self._tried = time.monotonic()
            self._link()
        return [link for link in self.links if link.is_proved]


def _word(code: int) -> str:
    reason = REASON_BY_CODE.get(code)
    return reason.word if reason is not None else str(code)


def main() -> None:
    """Attack until the input ends."""
    attackers = Attackers()
    Commands(attackers)
    while True:
        attackers.turn()


if __name__ == "__main__":
    main()
