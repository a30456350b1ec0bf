"""TLS that begins in the middle of a connection: what was said before stays in clear, what follows is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from imxrouter.model.domain import Domain
from imxrouter.tls.contexts import ALPN, XMPP_ALPN, TlsContexts
from imxrouter.tls.facts import TlsFacts, read_facts
from imxrouter.tls.folder import load_folder
from imxrouter.transport.encryption import HandshakeFailed, accept_tls, require_alpn, upgrade_tls
from imxrouter.transport.tls_ends import TlsEnds
from tests.doubles.authority import NOW, Authority

PLACE = ("192.0.2.1", 5269)


class Wire:
    """One end of a connection in memory, as far as TLS looks at it."""

    disconnecting = False

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written: list[bytes] = []
        self.cut = False

    def write(self, data: bytes) -> None:
        """Keep it for the other end."""
        self.written.append(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As Twisted's: who is asked for more is asked at once."""
        assert not streaming
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """As Twisted's."""

    def loseConnection(self) -> None:
        """As Twisted's."""
        self.cut = True

    abortConnection = loseConnection


class Party(Protocol):
    """Speaks in clear, then in TLS."""

    transport: Any

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.heard: list[bytes] = []
        self.facts: TlsFacts | None = None
        self.failed: list[str] = []
        wire.protocol = self
        self.makeConnection(wire)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Called by the wire, or by TLS."""
        self.heard.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called by TLS."""

    def begun(self, transport: Any) -> None:
        """TLS is below."""
        self.transport = transport

    def done(self, transport: Any, facts: TlsFacts) -> None:
        """The handshake is done."""
        assert transport is self.transport
        self.facts = facts


def carry(one: Party, other: Party) -> None:
    """Bring what was written to the other end, until nothing is left."""
    while one.wire.written or other.wire.written:
        for here, there in ((one, other), (other, one)):
            written, here.wire.written = here.wire.written, []
            for data in written:
                if not there.wire.cut:
                    there.wire.protocol.dataReceived(data)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> TlsEnds:
    """With certificates for a.example and b.example."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    root = Authority.root()
    for name in ("a.example", "b.example"):
        root.issue(name).write(folder, name)
    return TlsEnds(TlsContexts(load_folder(folder, NOW, domains=[Domain("a.example"), Domain("b.example")])))


def upgrade(
    ends: TlsEnds, offered: bytes = b"", read: Callable[[SSL.Connection], TlsFacts] = read_facts
) -> tuple[Party, Party]:
    """A says something in clear, B says that it is ready, and both go on in TLS."""
    a, b = Party(Wire()), Party(Wire())
    a.transport.write(b"<starttls/>")
    carry(a, b)
    b.transport.write(b"<proceed/>")
    carry(a, b)
    upgrade_tls(
        a.wire, lambda: ends.opening(Domain("a.example"), "b.example", PLACE, offered), read, a, a.done,
        a.failed.append, a.begun,
    )  # fmt: skip
    first, a.wire.written = b"".join(a.wire.written), []
    assert first[0] == 0x16
    accept_tls(b.wire, ends, b, b.done, b.failed.append, b.begun, first, XMPP_ALPN)
    carry(a, b)
    return a, b


def test_both_go_on_in_tls(ends: TlsEnds) -> None:
    """Both know the other's certificate, and what was said before is not said again."""
    a, b = upgrade(ends)
    assert a.facts is not None
    assert b.facts is not None
    assert a.facts.peer is not None
    assert b.facts.peer is not None
    assert (a.facts.peer.names, b.facts.peer.names) == (("b.example",), ("a.example",))
    assert a.facts.alpn == b.facts.alpn == b""
    a.transport.write(b"<stream:stream>")
    b.transport.write(b"<stream:features/>")
    assert b"stream" not in b"".join(a.wire.written + b.wire.written)
    carry(a, b)
    assert a.heard == [b"<proceed/>", b"<stream:features/>"]
    assert b.heard == [b"<starttls/>", b"<stream:stream>"]


def test_who_is_refused_reads_nothing(ends: TlsEnds) -> None:
    """Our side judges who is there before anything more is said."""

    def refuse(_connection: SSL.Connection) -> TlsFacts:
        raise HandshakeFailed("not whom we mean")

    a, _ = upgrade(ends, read=refuse)
    assert a.failed == ["not whom we mean"]
    assert a.facts is None
    assert a.wire.cut


def test_who_means_something_else_is_refused(ends: TlsEnds) -> None:
    """Who names another protocol is not taken for a stream."""
    _, b = upgrade(ends, offered=ALPN)
    assert b.facts is None
    assert b.failed == ["ALPN is 'another one', not 'xmpp-server'"]
    assert b.wire.cut
    for offered in (b"", XMPP_ALPN):
        a, b = upgrade(ends, offered=offered)
        assert a.facts is not None
        require_alpn(a.facts, XMPP_ALPN)
        assert b.facts is not None
