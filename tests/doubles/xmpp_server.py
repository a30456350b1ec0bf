"""A server of its own for one domain, on loopback: takes streams and does by itself what its conduct says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from OpenSSL import SSL

from imxrouter.gateways.xmpp.heard import StreamEnd, XmlRefused
from imxrouter.gateways.xmpp.stanza import Element, Stanza
from tests.doubles.raw_peer import PATIENCE_S, Endpoint
from tests.doubles.xmpp import BIDI_FEATURE, DIALBACK_FEATURE, SASL, SM, TLS, What, XmppPeer, key_for

if TYPE_CHECKING:
    from imxrouter.tls.own import OwnCertificate

_T = TypeVar("_T")


@dataclass
class Conduct:
    """How an `XmppServer` behaves.

    Attributes:
        certificate: shown; None: there is no TLS.
        required: TLS must come first.
        direct: TLS from the first byte (XEP-0368).
        external: `offer`, `refuse` (offered, and answered with a failure) or `none`.
        dialback: what claims are answered with, `valid`, `invalid`, `error` or `` for nothing at all.
        offers_dialback: it is among the features.
        verifies: what questions are answered with; `by key` looks at the key.
        bidi: XEP-0288 is offered.
        sm: XEP-0198 is offered after EXTERNAL.
        instead: what is said in place of the right thing.
    """

    certificate: OwnCertificate | None = None
    required: bool = True
    direct: bool = False
    external: Literal["offer", "refuse", "none"] = "none"
    dialback: Literal["valid", "invalid", "error", ""] = "valid"
    offers_dialback: bool = True
    verifies: Literal["by key", "valid", "invalid", "error", ""] = "by key"
    bidi: bool = False
    sm: bool = False
    instead: dict[What, str | None] = field(default_factory=dict)


class XmppServer:
    """A listening server that does by itself what its conduct says, a thread for each connection.

    Use as a context manager.

    Args:
        domain: that it speaks for; other ones are answered for as well where somebody asks for them.
        ip: where it listens.
        conduct: how it behaves; may be changed between connections.
        port: to listen on; 0: any.

    Attributes:
        endpoint: address and port.
        secret: of its keys.
        peers: connections taken, in order.
        stanzas: everything that came as a stanza, over any connection, in order.
        asked: questions of dial-back that came: (from, to, id, key).
        claimed: claims that came: (from, to).
        reply: where answers to pings go; None: they are not answered.
    """

    def __init__(self, domain: str, ip: str, conduct: Conduct | None = None, port: int = 0) -> None:
        self.domain = domain
        self.conduct = conduct or Conduct()
        self.secret = f"secret of {domain}".encode()
        self.peers: list[XmppPeer] = []
        self.stanzas: list[Stanza] = []
        self.asked: list[tuple[str, str, str, str]] = []
        self.claimed: list[tuple[str, str]] = []
        self.reply: XmppPeer | None = None
        self._sock = socket.create_server((ip, port))
        self.endpoint: Endpoint = self._sock.getsockname()[:2]
        self._changed = threading.Condition()
        self._taking = threading.Thread(target=self._accept, daemon=True)
        self._serving: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Take connections from now on."""
        self._taking.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop, and cut what is open."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        # before its number may be another socket's, from which this thread would take a connection
        self._taking.join(PATIENCE_S)
        self._sock.close()
        for one in self.peers:
            one.end_waiting()
        for serving in self._serving:  # the same: OpenSSL reads by the number alone
            serving.join(PATIENCE_S)
        for one in self.peers:
            with contextlib.suppress(OSError):
                one.close()

    def wait_for(self, what: Callable[[XmppServer], object], within_s: float = PATIENCE_S) -> None:
        """Wait until something holds of it.

        Raises:
            AssertionError: it does not in time.
        """
        with self._changed:
            assert self._changed.wait_for(lambda: what(self), within_s), (
                f"not within {within_s:g} s; {[one.log for one in self.peers]}"
            )

    def wait_for_stanza(self, count: int = 1, within_s: float = PATIENCE_S) -> Stanza:
        """Wait until so many stanzas have come; the last of them."""
        self.wait_for(lambda server: len(server.stanzas) >= count, within_s)
        return self.stanzas[count - 1]

    def connect(self, to: Endpoint) -> XmppPeer:
        """Open a connection from where it is; nothing is said yet."""
        return XmppPeer.connect(to, self.endpoint[0])

    # -- what it does by itself ----------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            peer = XmppPeer(sock, accepts=True)
            peer.instead = self.conduct.instead
            with self._changed:
                self.peers.append(peer)
            serving = threading.Thread(target=self._serve, args=(peer, self.conduct), daemon=True)
            self._serving.append(serving)
            serving.start()

    def _serve(self, peer: XmppPeer, conduct: Conduct) -> None:
        with contextlib.suppress(OSError, AssertionError, XmlRefused, SSL.Error):
            if conduct.direct:
                peer.secure(conduct.certificate, None, alpn=b"xmpp-server")
            peer.answer("", _features(peer, conduct, authenticated=False))
            for element in _elements(peer):
                self._act(peer, conduct, element)
        with self._changed, contextlib.suppress(OSError):
            self._changed.notify_all()
            peer.close()

    def _act(self, peer: XmppPeer, conduct: Conduct, element: Element) -> None:
        said, name = element.attributes, element.name
        if isinstance(element, Stanza):
            self._take(element, peer)
        elif name == "starttls" and conduct.certificate is None:
            peer.send(f"<failure xmlns='{TLS}'/>")
            peer.end()
        elif name == "starttls":
            peer.say("proceed", f"<proceed xmlns='{TLS}'/>")
            peer.secure(conduct.certificate, None)
            peer.answer("", _features(peer, conduct, authenticated=False))
        elif name == "auth" and conduct.external == "offer":
            peer.say("success", f"<success xmlns='{SASL}'/>")
            peer.begin_anew()
            peer.answer("", _features(peer, conduct, authenticated=True))
        elif name == "auth":
            peer.say("success", f"<failure xmlns='{SASL}'><not-authorized/></failure>")
        elif name == "result" and "type" not in said:
            self._note(self.claimed, (said["from"], said["to"]))
            self._answer_db(peer, element, conduct.dialback, "result")
        elif name == "verify" and "type" not in said:
            self._question(peer, element, conduct.verifies)
        elif name == "enable":
            peer.say("enabled", f"<enabled xmlns='{SM}'/>")
        elif name == "r":
            count = sum(isinstance(one, Stanza) for one in peer.log)
            peer.send(f"<a xmlns='{SM}' h='{count}'/>")

    def _take(self, stanza: Stanza, peer: XmppPeer) -> None:
        del peer
        if b"urn:xmpp:ping" in stanza.raw and stanza.type == "get":
            if self.reply is not None:
                said = f"type='result' id='{stanza.ident}' from='{stanza.to}' to='{stanza.from_}'"
                self.reply.say("pong", f"<iq {said}/>")
            return
        self._note(self.stanzas, stanza)

    def _question(self, peer: XmppPeer, element: Element, verifies: str) -> None:
        said, key = element.attributes, element.tree().text.strip()
        self._note(self.asked, (said["from"], said["to"], said.get("id", ""), key))
        if verifies == "by key":
            right = key_for(self.secret, said["from"], said["to"], said.get("id", ""))
            verifies = "valid" if key == right else "invalid"
        self._answer_db(peer, element, verifies, "verified")

    def _answer_db(
        self, peer: XmppPeer, element: Element, kind: str, what: Literal["result", "verified"]
    ) -> None:
        if not kind:
            return
        said = element.attributes
        ident = f" id='{said['id']}'" if "id" in said else ""
        inside = (
            "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
            if kind == "error"
            else ""
        )
        start = f"<db:{element.name} from='{said['to']}' to='{said['from']}'{ident} type='{kind}'"
        peer.say(what, f"{start}>{inside}</db:{element.name}>")

    def _note(self, where: list[_T], one: _T) -> None:
        with self._changed:
            where.append(one)
            self._changed.notify_all()


def _features(peer: XmppPeer, conduct: Conduct, *, authenticated: bool) -> str:
    if peer.tls is None and conduct.certificate is not None and not conduct.direct:
        required = "<required/>" if conduct.required else ""
        more = "" if conduct.required else DIALBACK_FEATURE
        return f"<starttls xmlns='{TLS}'>{required}</starttls>{more}"
    out = DIALBACK_FEATURE if conduct.offers_dialback else ""
    if peer.tls is not None and conduct.external != "none" and not authenticated:
        out = f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>" + out
    if conduct.bidi and peer.tls is not None and not authenticated:
        out += BIDI_FEATURE
    if conduct.sm and authenticated:
        out += f"<sm xmlns='{SM}'/>"
    return out


def _elements(peer: XmppPeer) -> Iterator[Element]:
    """What comes, until the stream ends; it is ended in return."""
    while True:
        try:
            event = peer.next(3600)
        except TimeoutError:
            return
        if isinstance(event, Element):
            yield event
        else:
            if isinstance(event, StreamEnd):
                peer.end()
            return
