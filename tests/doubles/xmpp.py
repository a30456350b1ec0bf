"""A scripted XMPP server on blocking sockets, either end of a stream; it can misbehave at every step.

It shares the reader of XML with the router and nothing else: what it says is written out here, as RFC 6120
and the XEPs have it. A whole server of it stands in `xmpp_server`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import socket
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal, cast

from imxrouter.gateways.xmpp.heard import AFTER, Header, StreamEnd, XmlRefused
from imxrouter.gateways.xmpp.names import SERVER, Condition, condition_named
from imxrouter.gateways.xmpp.stanza import Element, Stanza
from imxrouter.gateways.xmpp.xml import StreamParser
from tests.doubles.raw_peer import PATIENCE_S, Endpoint
from tests.doubles.tls_peer import TlsSocket

if TYPE_CHECKING:
    from imxrouter.tls.own import OwnCertificate

Event = Header | Element | StreamEnd
#: What may be said otherwise (`XmppPeer.instead`).
What = Literal[
    "header", "features", "starttls", "proceed", "auth", "success", "claim", "result", "verify", "verified",
    "enabled", "pong", "end",
]  # fmt: skip
TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
SM: Final = "urn:xmpp:sm:3"
#: Declared prefixes of a stream between servers.
_OPENING: Final = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback'"
    " xmlns:stream='http://etherx.jabber.org/streams'"
)
DIALBACK_FEATURE: Final = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
BIDI_FEATURE: Final = "<bidi xmlns='urn:xmpp:features:bidi'/>"


def key_for(secret: bytes, receiving: str, originating: str, stream_id: str) -> str:
    """A key of dial-back (XEP-0185 section 2), written out a second time."""
    inner = hashlib.sha256(secret).hexdigest().encode()
    return hmac.new(inner, f"{receiving} {originating} {stream_id}".encode(), "sha256").hexdigest()


class XmppPeer:
    """One connection, spoken by hand.

    Args:
        sock: connected.
        accepts: the other side opened it.

    Attributes:
        instead: what is said in place of the right thing; None: nothing.
        ident: id of the stream, whoever gave it.
        theirs: the other side's last header.
        log: everything that came, in order.
        raw: every byte that came, as it was before TLS or in it.
        tls: the session, once there is one.
    """

    def __init__(self, sock: socket.socket, *, accepts: bool) -> None:
        self.accepts = accepts
        self.instead: dict[What, str | None] = {}
        self.ident = ""
        self.theirs: Header | None = None
        self.log: list[Event] = []
        self.raw = bytearray()
        self.tls: TlsSocket | None = None
        self._sock = sock
        self._waiting: deque[Event] = deque()
        self._parser = StreamParser(AFTER, SERVER, stepwise=True)
        self._ended = False

    @classmethod
    def connect(cls, to: Endpoint, at: str = "") -> XmppPeer:
        """Connect from a chosen address; nothing is said yet."""
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((at, 0))
        sock.settimeout(PATIENCE_S)
        sock.connect(to)
        return cls(sock, accepts=False)

    @property
    def at(self) -> Endpoint:
        """Where it is connected from, or to where it accepted."""
        return cast("Endpoint", self._sock.getsockname()[:2])

    # -- saying --------------------------------------------------------------------------------------------

    def send(self, *parts: str | bytes) -> None:
        """Write in one piece."""
        self._sock.sendall(b"".join(one.encode() if isinstance(one, str) else one for one in parts))

    def send_or_gone(self, *parts: str | bytes) -> None:
        """Write, or find that the other side has ended the connection."""
        with contextlib.suppress(OSError):
            self.send(*parts)

    def say(self, what: What, right: str) -> None:
        """Write the right thing, or what a test wants instead."""
        said = self.instead.get(what, right)
        if said is not None:
            self.send(said)

    def secure(
        self, certificate: OwnCertificate | None, server_name: str | None, *, alpn: bytes = b""
    ) -> None:
        """Go on in TLS: as its client with a name for SNI, as its server without; the stream begins anew."""
        self.tls = TlsSocket(self._sock, certificate, server_name, alpn=alpn, asks=server_name is None)
        self._sock = cast("socket.socket", self.tls)
        self.begin_anew()

    def begin_anew(self) -> None:
        """The next that comes is a header."""
        self._parser.close()
        self._parser = StreamParser(AFTER, SERVER, stepwise=True)

    def header(self, from_: str, to: str, ident: str = "") -> None:
        """Say our header; `ident` of who accepts."""
        said = "".join(
            f" {name}='{value}'" for name, value in (("from", from_), ("to", to), ("id", ident)) if value
        )
        self.say("header", f"{_OPENING}{said} version='1.0'>")

    def end(self) -> None:
        """Close the stream in order."""
        self.say("end", "</stream:stream>")

    def end_waiting(self) -> None:
        """Cut the connection; a thread that waits for something finds its end, and closes it."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut the connection."""
        self._sock.close()

    # -- hearing -------------------------------------------------------------------------------------------

    def next(self, within_s: float = PATIENCE_S) -> Event | None:
        """What comes next; None where the connection ended.

        Raises:
            TimeoutError: nothing came.
        """
        until = monotonic() + within_s
        while not self._waiting:
            if self._step():
                break
            if self._ended or not self._read(until):
                return None
        return self._waiting.popleft()

    def expect(self, name: str, within_s: float = PATIENCE_S) -> Element:
        """The next element, which must have this local name."""
        try:
            event = self.next(within_s)
        except TimeoutError:
            raise AssertionError(f"<{name}/> was expected; nothing came after {self.log}") from None
        assert isinstance(event, Element), f"<{name}/> was expected after {self.log}"
        assert event.name == name, f"<{name}/> was expected, this came: {event.raw!r}"
        return event

    def expect_header(self, within_s: float = PATIENCE_S) -> Header:
        """The next thing, which must be a header."""
        event = self.next(within_s)
        assert isinstance(event, Header), f"a header was expected after {self.log}"
        self.theirs = event
        self.ident = event.ident or self.ident
        return event

    def find(self, name: str, within_s: float = PATIENCE_S) -> Element:
        """The next element with this local name; what comes before it is passed over."""
        until = monotonic() + within_s
        while True:
            event = self.next(max(until - monotonic(), 0.001))
            assert event is not None, f"<{name}/> was expected; the connection ended after {self.log}"
            if isinstance(event, Element) and event.name == name:
                return event

    def stanza(self, within_s: float = PATIENCE_S) -> Stanza:
        """The next stanza; what comes before it is passed over."""
        until = monotonic() + within_s
        while True:
            event = self.next(max(until - monotonic(), 0.001))
            assert event is not None, f"a stanza was expected; the connection ended after {self.log}"
            if isinstance(event, Stanza):
                return event

    def error(self, within_s: float = PATIENCE_S) -> Condition:
        """The stream error with which the other side ends, read to the end of the connection."""
        condition = condition_named(self.find("error", within_s).tree().children[0].name)
        self.until_closed(within_s)
        return condition

    def until_closed(self, within_s: float = PATIENCE_S) -> None:
        """Read to the end of the connection.

        Raises:
            TimeoutError: it does not end.
        """
        until = monotonic() + within_s
        while self._step() or self._read(until):
            pass

    def _step(self) -> bool:
        """Take one event of what is there."""
        try:
            events = self._parser.feed(b"")
        except XmlRefused:
            return False
        for event in events:
            self.log.append(event)
            self._waiting.append(event)
        return bool(events)

    def _read(self, until: float) -> bool:
        self._sock.settimeout(max(until - monotonic(), 0.001))
        try:
            data = self._sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._ended = True
            return False
        self.raw += data
        events = self._parser.feed(data)
        self.log += events
        self._waiting += events
        return True

    # -- negotiation, as who opens -------------------------------------------------------------------------

    def greet(self, own: str, other: str) -> Element:
        """Say our header, and take theirs and their features."""
        self.header(own, other)
        self.expect_header()
        return self.expect("features")

    def open(
        self,
        own: str,
        other: str,
        certificate: OwnCertificate | None = None,
        *,
        external: bool = True,
        direct: bool = False,
    ) -> bool:
        """Negotiate all there is; whether our certificate was taken as proof.

        Args:
            own: our domain.
            other: theirs.
            certificate: to be shown; None: none.
            external: SASL EXTERNAL is used where it is offered.
            direct: TLS from the first byte.
        """
        if direct:
            self.secure(certificate, other, alpn=b"xmpp-server")
        offered = self.greet(own, other).raw
        if b"<starttls" in offered and self.tls is None:
            self.start_tls(other, certificate)
            offered = self.greet(own, other).raw
        if not external or certificate is None or b"EXTERNAL" not in offered:
            return False
        if self.authenticate(own) == "success":
            self.begin_anew()
            self.greet(own, other)
            return True
        return False

    def start_tls(self, server_name: str, certificate: OwnCertificate | None = None) -> None:
        """STARTTLS; our header is to be said next."""
        self.say("starttls", f"<starttls xmlns='{TLS}'/>")
        self.expect("proceed")
        self.secure(certificate, server_name)

    def authenticate(self, own: str) -> str:
        """SASL EXTERNAL; `success` or `failure`."""
        text = base64.b64encode(own.encode()).decode()
        self.say("auth", f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{text}</auth>")
        answer = self.next()
        assert isinstance(answer, Element), f"an answer to <auth/> was expected after {self.log}"
        return answer.name

    def claim(self, own: str, other: str, secret: bytes) -> None:
        """Claim a domain, with a key that its server makes with this secret."""
        key = key_for(secret, other, own, self.ident)
        self.say("claim", f"<db:result from='{own}' to='{other}'>{key}</db:result>")

    def result(self, within_s: float = PATIENCE_S) -> str:
        """What became of a claim: `valid`, `invalid` or `error`."""
        return str(self.find("result", within_s).attributes.get("type", ""))

    def ask(self, own: str, other: str, ident: str, key: str) -> str:
        """Ask whether a key is good; `valid`, `invalid` or `error`."""
        self.say("verify", f"<db:verify from='{own}' to='{other}' id='{ident}'>{key}</db:verify>")
        return str(self.find("verify").attributes.get("type", ""))

    # -- negotiation, as who accepts -----------------------------------------------------------------------

    def answer(self, own: str, features: str) -> None:
        """Take their header; say ours, with a new id, and features."""
        theirs = self.expect_header()
        self.ident = secrets.token_hex(8)
        self.header(own or theirs.to, theirs.from_, self.ident)
        self.say("features", f"<stream:features>{features}</stream:features>")
