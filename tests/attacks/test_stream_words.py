"""What Mallory's server may say on streams of XMPP, and when (RFC 6120 section 13).

`docs/specs/attacks.md` lists every attack with its check. What single elements may do to a stream is attacked
without sockets as well, in `tests/gateways/xmpp`.
"""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.app.trust.stream_rules import StreamRules
from imxrouter.gateways.xmpp import claiming, negotiation
from imxrouter.gateways.xmpp.acks import Confirmations
from imxrouter.gateways.xmpp.effects import VerifyIn
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.pairs import Pairs, Verdict
from imxrouter.gateways.xmpp.stanza import Element
from imxrouter.gateways.xmpp.stream import Stream
from imxrouter.gateways.xmpp.streams.inside import InsideFactory
from imxrouter.gateways.xmpp.terms import TlsRule
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.switch.checks import Checks
from imxrouter.transport.strengths import Judged, Strengths
from tests.attacks.seams import guarded
from tests.attacks.stream_routers import (
    a_proved_stream,
    a_server,
    publish_xmpp,
    refused,
    refused_if,
    wait_for_message,
    wait_for_the_end,
    xmpp_router,
)
from tests.doubles.raw_peer import RawListener
from tests.doubles.router_rig import Lab, free_port, fresh_address, issued
from tests.doubles.xmpp import SM, TLS, XmppPeer
from tests.doubles.xmpp_server import Conduct, XmppServer

A, B, M = "a.example", "b.example", "m.example"
BOB = f"bob@{B}"
STARTTLS = f"<starttls xmlns='{TLS}'/>"
ERROR = "<stream:error><{} xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{}</{}></stream:error></stream:stream>"


def message(from_: str, to: str = BOB) -> str:
    """A message."""
    return f"<message from='{from_}' to='{to}' id='1' type='chat'><body>pay mallory</body></message>"


def anybody_may_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the stream's check of who speaks away."""
    monkeypatch.setattr(Pairs, "judge", lambda *_: Verdict.GOOD)


two_walls = pytest.mark.parametrize(
    ("stream_checks", "switch_checks"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "switch alone", "stream alone", "check removed"],
)  # fmt: skip


@two_walls
def test_stanza_before_authentication(
    lab: Lab, stream_checks: bool, switch_checks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory writes as Alice on a stream on which nothing is proved.

    Check: the pair of domains is proved on this very stream, and the source on the link that it is to the
    switch. Either alone is enough.
    """
    if not stream_checks:
        anybody_may_speak(monkeypatch)
    b, where = xmpp_router(lab, B, checks=Checks(source=switch_checks))
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.open(M, B)
        peer.send(message(f"alice@{A}"))
        if stream_checks:
            refused(peer, b, Condition.NOT_AUTHORIZED)
        if not stream_checks and not switch_checks:
            wait_for_message(lab, b, BOB)
        else:
            peer.close()
            wait_for_the_end(lab, b)
            assert b.inbox(BOB) == []


@two_walls
def test_forged_sender_on_a_stream(
    lab: Lab, stream_checks: bool, switch_checks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory proves his own domain on a stream and writes as Alice.

    Check: the sender's domain is proved on this very stream, and the source on the link that it is to the
    switch. Either alone is enough.
    """
    if not stream_checks:
        anybody_may_speak(monkeypatch)
    b, where = xmpp_router(lab, B, checks=Checks(source=switch_checks))
    with a_server(lab, M) as server:
        peer = a_proved_stream(server, where, B)
        peer.send(message(f"alice@{A}"))
        if stream_checks:
            refused(peer, b, Condition.INVALID_FROM)
        if not stream_checks and not switch_checks:
            wait_for_message(lab, b, BOB)
            assert b.inbox(BOB) == [(f"alice@{A}", "pay mallory")]
        else:
            peer.send_or_gone(message(f"mallory@{M}"))
            peer.close()
            wait_for_the_end(lab, b)
            assert all(sender != f"alice@{A}" for sender, _ in b.inbox(BOB))


@guarded
def test_inside_behaviour_on_the_outside(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory opens a stream to a domain outside, as if he were a server behind us.

    Check: the door at which a stream comes in says which domains it may be to.
    """
    if not guarded:
        monkeypatch.setattr(StreamRules, "_serves", lambda *_: True)
    b, where = xmpp_router(lab, B)
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.header(M, "c.example")
        peer.expect_header()
        refused_if(guarded, peer, b, Condition.HOST_UNKNOWN)
        peer.close()


@guarded
def test_bytes_in_clear_behind_starttls(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody on the way adds a header in clear behind `<starttls/>`, to be read as if it came in TLS.

    Check: nothing may stand there, and what is read in TLS begins anew. Either alone is enough.
    """
    if not guarded:
        monkeypatch.setattr(negotiation, "_before_tls", lambda _stream: [])
        begin = Stream.begin

        def with_the_rest(one: Stream) -> Any:
            rest = one._parser.rest()
            effects = begin(one)
            one._parser._tail.add(rest)
            return effects

        monkeypatch.setattr(Stream, "begin", with_the_rest)
    b, where = xmpp_router(lab, B, certificates=[(B,)])
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.greet(M, B)
        opening = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"
        peer.send(STARTTLS, f"{opening} from='{M}' to='{B}' version='1.0'>")
        if guarded:
            refused(peer, b, Condition.NOT_AUTHORIZED)
        else:
            peer.expect("proceed")
            peer.secure(None, B)
            peer.send(" ")
            assert peer.expect_header().to == M  # the answer to what was said in clear
        peer.close()


@guarded
def test_another_domain_after_tls(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory begins a stream as himself, and goes on as Alice when it begins anew in TLS.

    Check: the headers of one stream are from and to the same domains.
    """
    if not guarded:
        monkeypatch.setattr(negotiation, "_changed", lambda *_: None)
    b, where = xmpp_router(lab, B, certificates=[(B,)])
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.greet(M, B)
        peer.start_tls(B)
        peer.header(A, B)
        peer.expect_header()
        refused_if(guarded, peer, b, Condition.INVALID_FROM)
        peer.close()


@guarded
def test_stripped_starttls(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody on the way takes the offer of TLS out of the features, and refuses it when it is asked for.

    Check: where TLS is needed nothing is said in clear, whatever is offered.
    """
    if not guarded:
        monkeypatch.setattr(StreamRules, "_tls", lambda *_, **__: TlsRule.OFFERED)
    b, _ = xmpp_router(lab, B, tls="required", certificates=[(B,)])
    with a_server(lab, M) as server:
        outcome = b.send(BOB, f"mallory@{M}", "my card number")
        if guarded:
            assert outcome.outcome().reason is Reason.WEAKER_THAN_POLICY
            assert not server.claimed
            assert not server.stanzas
        else:
            assert b"my card number" in server.wait_for_stanza().raw


@guarded
def test_questions_without_end(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory proves nothing and asks about keys for ever. Check: so many questions before a proof."""
    if not guarded:
        monkeypatch.setattr(claiming, "_question", lambda _stream, db: [VerifyIn(db)])
    b, where = xmpp_router(lab, B)
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.open(M, B)
        peer.send(f"<db:verify from='{M}' to='{B}' id='x'>0</db:verify>" * 300)
        if guarded:
            refused(peer, b, Condition.POLICY_VIOLATION)
        else:
            for _ in range(300):
                assert peer.find("verify").attributes["type"] == "invalid"
        peer.close()


@guarded
def test_a_header_byte_by_byte(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory takes his time for the first tag of a stream. Check: a header is due within a time."""
    if not guarded:
        monkeypatch.setattr(StreamMachine, "_look_at_timers", lambda *_: [])
    b, where = xmpp_router(lab, B, settings={"dial.hello_timeout_s": 1.0})
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.send("<stream:str")
        if guarded:
            peer.expect_header()
            refused(peer, b, Condition.CONNECTION_TIMEOUT)
        else:
            with pytest.raises(TimeoutError):
                peer.until_closed(within_s=3.0)
            assert b.sessions()
        peer.close()


def test_see_other_host_is_not_followed(lab: Lab) -> None:
    """Mallory's server sends us elsewhere: that is a failure of his server, and nobody else is dialled."""
    ip = fresh_address()
    elsewhere = RawListener(ip)
    there = f"{ip}:{elsewhere.endpoint[1]}"
    error = ERROR.format("see-other-host", there, "see-other-host")
    b, _ = xmpp_router(lab, B)
    with a_server(lab, M, Conduct(instead={"features": error})):
        assert not b.send(BOB, f"mallory@{M}").outcome().ok
        assert elsewhere.take_waiting() == []
    elsewhere.close()


@guarded
def test_inside_listener_for_a_stranger(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory finds the inside listener of a router, and writes to Carol elsewhere as one of Bob's domain.

    Check: the addresses that may connect there, before a byte is read.
    """
    if not guarded:
        monkeypatch.setattr(InsideFactory, "buildProtocol", lambda self, _addr: self._inside.accept())
    ip, server_ip = fresh_address(), fresh_address()
    inside = (ip, free_port(ip))
    b, _ = xmpp_router(
        lab, "h.example",
        settings={"xmpp.inside.listen": [f"{ip}:{inside[1]}"], "xmpp.inside.allow": [f"{server_ip}/32"]},
        tables=f'[[service]]\nname = "chat"\nkind = "xmpp"\naddress = "{server_ip}:5269"\n'
        f'[[domain]]\nname = "{B}"\nservice = "chat"\n',
    )  # fmt: skip
    peer = XmppPeer.connect(inside, fresh_address())
    if guarded:
        assert peer.next() is None
        assert b.refusals(Reason.RELAY_DENIED) == 1
    else:
        peer.open(B, "c.example")
        peer.claim(B, "c.example", b"a guess")
        assert peer.result() == "valid"
    peer.close()


class Boasting(XmppServer):
    """A server that says that it has handled more than it got."""

    def _act(self, peer: XmppPeer, conduct: Conduct, element: Element) -> None:
        if element.name == "r":
            peer.send(f"<a xmlns='{SM}' h='1000'/>")
        else:
            super()._act(peer, conduct, element)


def _believes(self: Confirmations, _handled: int) -> tuple[int, ...]:
    self._confirmed = self._sent
    return self._settled(self._confirmed)


@guarded
def test_more_is_acknowledged_than_was_sent(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's server acknowledges a thousand stanzas where it got one: what is on its way counts as there.

    Check: what is acknowledged against what was sent (XEP-0198 section 4).
    """
    if not guarded:
        monkeypatch.setattr(Confirmations, "acked", _believes)
    b, _ = xmpp_router(lab, B, certificates=[(B,)])
    with Boasting(M, fresh_address(), Conduct(issued(M), external="offer", sm=True)) as server:
        publish_xmpp(lab, M, server.endpoint)
        outcome = b.send(BOB, f"mallory@{M}").outcome()
        assert outcome.ok is not guarded
        if guarded:
            assert outcome.reason is Reason.LINK_LOST
            errors = b.call(lambda: dict(b.router.metrics.xmpp.errors))
            assert errors == {(Condition.UNDEFINED_CONDITION.value, "sent"): 1}
            assert any(b"handled-count-too-high" in bytes(one.raw) for one in server.peers)


@guarded
def test_certificate_of_one_domain_for_another(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory proves his own domain by EXTERNAL, and has Alice's taken with it on the same stream.

    Check: the certificate is judged for each domain that the stream brings, not once for the stream.
    """
    b, where = xmpp_router(lab, B, certificates=[(B,)], settings={"trust.xmpp_default": "certificate"})
    with a_server(lab, A, Conduct(issued(A))) as alice:
        peer = XmppPeer.connect(where, fresh_address())
        assert peer.open(M, B, issued(M))
        if not guarded:
            monkeypatch.setattr(Strengths, "judged", lambda *_, **_more: Judged(True))
        peer.claim(A, B, alice.secret)
        assert peer.result() == ("error" if guarded else "valid")
        assert bool(b.proved(A)) is not guarded
        assert b.refusals(Reason.CERTIFICATE_REFUSED) == guarded
        assert not alice.asked
        assert b.proved(M)
        peer.close()


@guarded
def test_stream_of_one_domain_for_another(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice's poisoned DNS leads to Mallory's server, to which a stream is open that his certificate proves.

    Check: each domain has a stream of its own, whose certificate covers it.
    """
    b, _ = xmpp_router(lab, B, certificates=[(B,)], settings={"trust.xmpp_default": "certificate"})
    with a_server(lab, M, Conduct(issued(M))) as server:
        publish_xmpp(lab, A, server.endpoint)
        b.send(BOB, f"mallory@{M}", "for Mallory")
        server.wait_for_stanza()
        if not guarded:
            monkeypatch.setattr(Strengths, "judged", lambda *_, **_more: Judged(True))
        sent = b.send(BOB, f"alice@{A}", "for Alice alone")
        if guarded:
            assert sent.outcome().reason is Reason.TLS_FAILED  # as senders are told of it
            to = b.call(lambda: b.router.federation.destinations.find(Domain(A), Protocol.XMPP))
            assert to.last_error.reason is Reason.CERTIFICATE_REFUSED
            assert [b"for Alice" in one.raw for one in server.stanzas] == [False]
        else:
            assert b"for Alice alone" in server.wait_for_stanza(2).raw
            b.call(b.cut)
            sent.outcome()
