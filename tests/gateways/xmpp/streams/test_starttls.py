"""Streams that go on in TLS, in memory: real handshakes, from the first header to a proof by certificate."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from imxrouter.gateways.xmpp.streams.parts import StreamFailed, StreamLink
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import SUCCESS
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.contexts import XMPP_ALPN, TlsContexts
from imxrouter.tls.facts import TlsFacts
from imxrouter.tls.folder import load_folder
from imxrouter.transport.encryption import HandshakeFailed
from imxrouter.transport.handshakes import Handshakes
from imxrouter.transport.tls_ends import TlsEnds
from tests.doubles.authority import NOW, Authority
from tests.gateways.xmpp.streams.rig import HEADER, A, B, Router, alone, joined, message, settle

STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsEnds]:
    """Each router's own."""
    root, made = Authority.root(), {}
    for name in (A, B):
        folder: Path = tmp_path_factory.mktemp(name)
        root.issue(name).write(folder, name)
        made[name] = TlsEnds(TlsContexts(load_folder(folder, NOW, domains=[Domain(name)])))
    return made


def router(clock: Clock, domain: str, ends: dict[str, TlsEnds]) -> Router:
    """One that needs TLS, and takes certificates that name the domain."""
    made = Router(clock, domain)
    made.parts.maker = made.hub.first_bytes.maker = ends[domain]

    def terms(session: StreamLink) -> StreamTerms:
        def external(name: str) -> bool:
            facts = session.tls
            if session.role.side.value == "opener":
                return session.presents(name.encode())
            return facts is not None and facts.peer is not None and facts.peer.covers(Domain(name))

        return StreamTerms(
            tls=TlsRule.REQUIRED, serves=lambda name: name == domain, external=external,
            dialback=lambda _name: True,
        )  # fmt: skip

    made.terms = terms
    return made


def test_starttls_then_external(ends: dict[str, TlsEnds]) -> None:
    """Nothing but the begin of the stream is in clear; the certificate is the proof, and stanzas pass."""
    clock = Clock()
    a, b = router(clock, A, ends), router(clock, B, ends)
    b.trust.true.add((A, B))
    judged: list[TlsFacts] = []
    out, accepted = a.open(B, judge=judged.append), b.accept()
    wires = joined(out, accepted)
    settle(*wires)
    assert a.trust.heard == [("external", (A, B))]
    assert b.trust.heard == [("asked", (A, B))]
    assert judged == [out.tls]
    assert out.tls is not None
    assert accepted.tls is not None
    assert out.tls.server_name == B
    assert out.tls.alpn == b""
    number = a.service.send(message(body="in secret"), A, B)
    assert all(b"secret" not in data for data in wires[0].writes)
    settle(*wires)
    (request,) = b.service.requests
    assert request.body == b"xmpp\0" + message(body="in secret")
    assert a.service.outcomes == {number: SUCCESS}  # by XEP-0198: no other stream is needed


def test_tls_from_the_first_byte(ends: dict[str, TlsEnds]) -> None:
    """A ClientHello instead of a header (XEP-0368): the stream begins in TLS."""
    clock = Clock()
    a, b = router(clock, A, ends), router(clock, B, ends)
    b.trust.true.add((A, B))
    out, accepted = a.open(B), b.accept()
    out.start = lambda: out._start_tls(B)  # type: ignore[method-assign]
    wires = joined(out, accepted)
    del out.start
    settle(*wires)
    assert a.trust.heard == [("external", (A, B))]
    assert accepted.machine.tls
    assert out.machine.tls


def test_who_is_there_is_judged_before_anything_is_said(
    ends: dict[str, TlsEnds], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that will not do ends the connection; nothing was said in TLS, nothing is resumed."""
    clock = Clock()
    a, b = router(clock, A, ends), router(clock, B, ends)
    forgotten: list[object] = []
    monkeypatch.setattr(ends[A], "forget", lambda _connection, *at: forgotten.append(at))

    def refuse(_facts: TlsFacts) -> None:
        raise HandshakeFailed("not whom we mean", Reason.CERTIFICATE_REFUSED)

    out, accepted = a.open(B, judge=refuse), b.accept()
    failed: list[Any] = []

    def note(problem: Failure) -> None:
        failed.append(problem.value)

    assert out.negotiated is not None
    out.negotiated.addErrback(note)
    settle(*joined(out, accepted))
    (problem,) = failed
    assert isinstance(problem, StreamFailed)
    assert problem.reason is Reason.CERTIFICATE_REFUSED
    assert accepted.machine.other == A
    assert b.trust.heard == []
    assert not a.hub.sessions
    assert not b.hub.sessions
    assert forgotten == [(B, ("192.0.2.1", 5269))]


def test_without_tls_of_ours_a_stream_that_needs_it_ends(ends: dict[str, TlsEnds]) -> None:
    """The certificates went while it was opened: nobody waits for a handshake that never comes."""
    clock = Clock()
    a, b = router(clock, A, ends), router(clock, B, ends)
    a.parts.maker = None
    out, accepted = a.open(B), b.accept()
    failed: list[Any] = []
    assert out.negotiated is not None
    out.negotiated.addErrback(lambda problem: failed.append(problem.value))
    settle(*joined(out, accepted))
    (problem,) = failed
    assert problem.reason is Reason.TLS_FAILED
    assert not a.hub.sessions


def test_without_certificates_nothing_goes_on_in_clear(ends: dict[str, TlsEnds]) -> None:
    """Whose other side lacks TLS, or takes the offer away, ends."""
    clock = Clock()
    a, b = router(clock, A, ends), Router(clock, B)
    out = a.open(B)
    failed: list[Any] = []

    def note(problem: Failure) -> None:
        failed.append(problem.value)

    assert out.negotiated is not None
    out.negotiated.addErrback(note)
    settle(*joined(out, b.accept()))
    (problem,) = failed
    assert problem.reason is Reason.WEAKER_THAN_POLICY
    assert b.trust.heard == []


@pytest.mark.parametrize("guarded", [True, False])
def test_handshakes_behind_starttls_have_their_turn(
    ends: dict[str, TlsEnds], guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers who come through STARTTLS get no more handshakes a second than others.

    Check: the ClientHello behind `<proceed/>` is asked about like one that comes first.
    """
    clock = Clock()
    b = router(clock, B, ends)
    b.hub.first_bytes.handshakes = Handshakes(2.0, 0.0, clock.seconds)
    begun: list[int] = []
    accepting = ends[B].accepting

    def counted(alpn: bytes = XMPP_ALPN) -> SSL.Connection:
        begun.append(1)
        return accepting(alpn)

    monkeypatch.setattr(ends[B], "accepting", counted)
    if not guarded:
        monkeypatch.setattr(Handshakes, "ask", lambda _self, _session, begin: begin())
    hello = _client_hello(ends[A])
    wires = []
    for _ in range(10):
        wire = alone(b.accept())
        wires.append(wire)
        wire.protocol.dataReceived(HEADER)
        wire.protocol.dataReceived(STARTTLS)
        wire.protocol.dataReceived(hello)
    assert len(begun) == (2 if guarded else 10)
    assert sum(wire.paused for wire in wires) == (8 if guarded else 0)


def _client_hello(ends: TlsEnds) -> bytes:
    connection = ends.opening(None, B, ("192.0.2.1", 5269), b"")
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)
