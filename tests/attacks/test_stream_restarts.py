"""Games with the begin of XMPP streams: what is said once holds, and what was proved in clear stays there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from imxrouter.gateways.xmpp import negotiation, stream
from imxrouter.gateways.xmpp.names import CLIENT, SERVER, Condition
from imxrouter.gateways.xmpp.steps import Step
from imxrouter.gateways.xmpp.stream import Stream
from imxrouter.gateways.xmpp.xml import StreamParser
from imxrouter.model.vocabulary import Reason
from tests.attacks.seams import guarded
from tests.attacks.stream_routers import (
    a_proved_stream,
    a_server,
    refused,
    refused_if,
    wait_for_the_end,
    xmpp_router,
)
from tests.doubles.router_rig import Lab, RouterRig, fresh_address, issued
from tests.doubles.xmpp import TLS, XmppPeer

if TYPE_CHECKING:
    from imxrouter.gateways.xmpp.streams.session import XmppSession

A, B, C, M = "a.example", "b.example", "c.example", "m.example"


def a_tag(from_: str, to: str, content: str = SERVER) -> str:
    """A stream's tag."""
    said = f"xmlns='{content}' xmlns:stream='http://etherx.jabber.org/streams'"
    return f"<stream:stream {said} from='{from_}' to='{to}' version='1.0'>"


def _takes_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a header whenever it comes, from and to anybody."""
    on_header = negotiation.on_header

    def whenever(one: Stream, header: Any) -> Any:
        one.step = Step.HEADER
        return on_header(one, header)

    monkeypatch.setattr(negotiation, "on_header", whenever)
    monkeypatch.setattr(negotiation, "_changed", lambda *_: None)


def _forgets_claims(rig: RouterRig) -> None:
    """Let a router forget that something was claimed on its streams; what is proved stays proved."""
    for one in rig.sessions():
        cast("XmppSession", one).machine.pairs.claimed_here = False


@guarded
def test_second_header_in_clear(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory begins a stream as himself, and says another header as Alice, with no TLS nor SASL between.

    Check: a header is due once each time that the stream begins, and names the same domains. Either alone is
    enough.
    """
    if not guarded:
        _takes_any(monkeypatch)
    b, where = xmpp_router(lab, B)
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.greet(M, B)
        peer.send(a_tag(A, B))
        refused_if(guarded, peer, b, Condition.NOT_AUTHORIZED)
        peer.close()


@guarded
def test_second_header_behind_a_proof(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory proves his own domain by dial-back, and goes on as Alice with another header.

    Check: a header is due once each time that the stream begins, and names the same domains. Either alone is
    enough.
    """
    if not guarded:
        _takes_any(monkeypatch)
    b, where = xmpp_router(lab, B)
    with a_server(lab, M) as server:
        peer = a_proved_stream(server, where, B)
        peer.send(a_tag(A, B))
        refused_if(guarded, peer, b, Condition.NOT_AUTHORIZED)
        assert not b.proved(A)  # a header proves nothing
        peer.close()


@guarded
def test_another_target_after_tls(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory begins a stream to one domain, whose rules are lax, and goes on to another of the same router.

    Check: the headers of one stream are from and to the same domains.
    """
    if not guarded:
        monkeypatch.setattr(negotiation, "_changed", lambda *_: None)
    b, where = xmpp_router(lab, B, C, certificates=[(B, C)])
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.greet(M, B)
        peer.start_tls(B)
        peer.header(M, C)
        peer.expect_header()
        refused_if(guarded, peer, b, Condition.IMPROPER_ADDRESSING)
        peer.close()


@guarded
def test_another_namespace_after_tls(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory begins a stream between servers, and goes on in TLS as if he were a client.

    Check: each header has the content namespace of the listener.
    """
    b, where = xmpp_router(lab, B, certificates=[(B,)])
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.greet(M, B)
        if not guarded:
            monkeypatch.setattr(
                stream, "StreamParser", lambda limits, _content, **more: StreamParser(limits, CLIENT, **more)
            )
        peer.start_tls(B)
        peer.send(a_tag(M, B, CLIENT))
        if guarded:
            peer.expect_header()
            refused(peer, b, Condition.INVALID_NAMESPACE)
        else:
            peer.expect_header()
            peer.expect("features")
        peer.close()


@guarded
def test_another_domain_after_a_proof(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory proves his own domain by EXTERNAL, and goes on as Alice when the stream begins anew.

    Check: the headers of one stream are from and to the same domains.
    """
    if not guarded:
        monkeypatch.setattr(negotiation, "_changed", lambda *_: None)
    b, where = xmpp_router(lab, B, certificates=[(B,)], settings={"trust.xmpp_default": "certificate"})
    peer = XmppPeer.connect(where, fresh_address())
    peer.greet(M, B)
    peer.start_tls(B, issued(M))
    peer.greet(M, B)
    assert peer.authenticate(M) == "success"
    peer.begin_anew()
    peer.header(A, B)
    peer.expect_header()
    refused_if(guarded, peer, b, Condition.INVALID_FROM)
    assert not b.proved(A)  # what is proved is the pair of the header before it
    peer.close()


@guarded
def test_proof_in_clear_that_is_kept_in_tls(lab: Lab, guarded: bool) -> None:
    """Mallory proves a domain in clear, and asks for TLS then: what he proved would count as proved in TLS.

    Check: TLS begins before anything is claimed, or not at all.
    """
    b, where = xmpp_router(lab, B, certificates=[(B,)])
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.greet(M, B)
        peer.claim(M, B, server.secret)
        assert peer.result() == "valid"
        if not guarded:
            _forgets_claims(b)
        peer.send(f"<starttls xmlns='{TLS}'/>")
        if guarded:
            assert TLS.encode() in peer.expect("failure").raw
            peer.until_closed()
            assert peer.raw.endswith(b"</stream:stream>")
            assert b.call(lambda: dict(b.router.metrics.xmpp.errors)) == {}
            wait_for_the_end(lab, b)
            why = {"stage": Reason.PROTOCOL_ERROR.stage.value, "reason": Reason.PROTOCOL_ERROR.word}
            counted = b.router.metrics.registry.get_sample_value
            assert b.call(lambda: counted("imxrouter_link_ends_total", why)) == 1
            assert not b.proved(M)
        else:
            peer.expect("proceed")
            peer.secure(None, B)
            peer.greet(M, B)
            assert b.proved(M)
        peer.close()


@guarded
def test_authentication_behind_a_claim(lab: Lab, guarded: bool) -> None:
    """Mallory proves a domain by dial-back in TLS, and asks for EXTERNAL then, to begin anew with both.

    Check: one way to prove who opened the stream.
    """
    b, where = xmpp_router(lab, B, certificates=[(B,)])
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.open(M, B, issued(M), external=False)
        peer.claim(M, B, server.secret)
        assert peer.result() == "valid"
        if not guarded:
            _forgets_claims(b)
        said = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>"
        peer.send(said)
        if guarded:
            refused(peer, b, Condition.NOT_AUTHORIZED)
            assert not b.proved(M)
        else:
            peer.expect("failure")  # of SASL; the stream goes on
            assert b.proved(M)
        peer.close()
