"""Who wants to be taken for somebody else on XMPP streams, over sockets and with real certificates.

More of them, in memory, stand in `tests/gateways/xmpp/streams/test_trust_attacks.py`.
"""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp import negotiation
from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.pairs import Pairs
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.stanza import Element
from imxrouter.gateways.xmpp.streams import trust
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.trust import StreamTrust
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.routing.dialling import DialLimits, Permit
from imxrouter.routing.policy import Policy, decide
from imxrouter.routing.prefixes import address_keys
from imxrouter.transport import strengths
from imxrouter.transport.strengths import Judged, Strengths
from imxrouter.transport.verifier import Verifier
from imxrouter.wire.control import VerifyResult
from tests.attacks.seams import guarded
from tests.attacks.streams import StreamRouter, mallory, server
from tests.doubles.router_rig import Lab, fresh_address, issued
from tests.doubles.xmpp import What, key_for

A, B, M = "a.example", "b.example", "mallory.example"
AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{}</auth>"


@guarded
def test_stream_key_that_is_guessed(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's server asks Alice's whether a key is hers that he made up, as if he were Bob's.

    Check: the key is well made, and its pair is claimed on a stream with that id.
    """
    a = StreamRouter(lab, A, policy="dialback", certificates=False)
    if not guarded:
        monkeypatch.setattr(trust, "good", lambda *_: True)
        monkeypatch.setattr(StreamTrust, "_is_claimed", lambda *_: True)
    peer = mallory(a, B, tls=False)
    said = peer.ask(B, A, "some-id", "0" * 64)
    assert said == ("invalid" if guarded else "valid")
    assert a.rig.refusals(Reason.BAD_TOKEN) == guarded


@guarded
def test_stream_key_on_another_stream(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has read the key that proved Alice's domain on her stream, and says it on a stream of his own.

    Check: the id of each stream is random, and her server is asked with the id of this very stream.
    """
    b = StreamRouter(lab, B, policy="dialback", certificates=False)
    if not guarded:
        monkeypatch.setattr(b.rig.router.hub, "random_bytes", bytes)  # each stream has the same id
    with server(lab, A) as alice:
        true = mallory(b, A, tls=False)  # no, Alice's own
        key = key_for(alice.secret, B, A, true.ident)
        true.claim(A, B, alice.secret)
        assert true.result() == "valid"
        peer = mallory(b, A, tls=False)
        peer.send(f"<db:result from='{A}' to='{B}'>{key}</db:result>")
        assert peer.result() == ("invalid" if guarded else "valid")
        assert alice.asked[-1][2:] == (peer.ident, key)
        assert b.rig.proved(A) == (1 if guarded else 2)
        if not guarded:
            b.brings(peer, A)
            return
        assert peer.error() is Condition.NOT_AUTHORIZED
        assert b.errors() == {(Condition.NOT_AUTHORIZED.value, "sent"): 1}
        assert b.rig.refusals(Reason.DIALBACK_REFUSED) == 1
        true.close()


@pytest.mark.parametrize(
    ("mac", "pair"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "claim's pair alone", "key alone", "check removed"],
)  # fmt: skip
def test_stream_key_of_another_domain(
    lab: Lab, mac: bool, pair: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alice's server claims her domain at Mallory's, who gives it the id of his stream to Bob's, for the key.

    Check: whom a key is for is part of it, and it is good for the pair that Alice's server claimed with
    that id. Either alone is enough.
    """
    a = StreamRouter(lab, A, policy="dialback", certificates=False)
    b = StreamRouter(lab, B, policy="dialback", certificates=False)
    ip, port = a.endpoint
    lab.zones.load(f"$ORIGIN {A}.\n_xmpp-server._tcp 60 IN SRV 0 0 {port} xmpp\nxmpp 60 IN A {ip}\n")
    if not mac:
        monkeypatch.setattr(trust, "good", lambda *_: True)
    if not pair:
        monkeypatch.setattr(StreamTrust, "_is_claimed", lambda *_: True)
    peer = mallory(b, A, tls=False)
    his = (
        "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback'"
        f" xmlns:stream='http://etherx.jabber.org/streams' from='{M}' to='{A}'"
        f" id='{peer.ident}' version='1.0'>"
    )
    with server(lab, M, dialback="", instead={"header": his}) as waits:
        a.rig.send(f"alice@{A}", f"mallory@{M}", "hello")
        waits.wait_for(lambda one: one.claimed)
        found = [one for one in waits.peers[0].log if isinstance(one, Element) and one.name == "result"]
        key = found[0].tree().text
        peer.send(f"<db:result from='{A}' to='{B}'>{key}</db:result>")
        assert peer.result() == ("invalid" if mac or pair else "valid")
        if mac or pair:
            assert peer.error() is Condition.NOT_AUTHORIZED
            assert b.errors() == {(Condition.NOT_AUTHORIZED.value, "sent"): 1}
            assert a.rig.refusals(Reason.BAD_TOKEN) == 1
            assert not b.proved(A)
        else:
            b.brings(peer, A)


def _believes_answers(self: StreamTrust, _session: StreamLink, db: Db) -> None:
    """`verify_result_in` that looks only at the domains and the id."""
    for place, (number, first, claim) in list(self.tongue.asked.items()):
        if place[1:] == (db.to, db.from_, db.stream_id) and db.kind is DbType.VALID:
            first.received.accept(claim)
            self._verifier.verify_result(self._hub.sessions[place[0]], VerifyResult(number, 0, None))


@guarded
def test_stream_answer_of_somebody_else(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory claims Alice's domain and says himself that the key is hers, before her slow server does.

    Check: an answer counts only on the stream on which it was asked for.
    """
    b = StreamRouter(lab, B, policy="dialback", certificates=False)
    if not guarded:
        monkeypatch.setattr(Pairs, "is_answer_to_verify", lambda *_: True)
        monkeypatch.setattr(StreamTrust, "verify_result_in", _believes_answers)
    with server(lab, A, verifies="") as alice:
        peer = mallory(b, A, tls=False)
        peer.claim(A, B, b"a guess")
        alice.wait_for(lambda one: one.asked)
        answer = f"<db:verify from='{A}' to='{B}' id='{peer.ident}' type='valid'/>"
        peer.send(answer)
        if not guarded:
            assert peer.result() == "valid"
            b.brings(peer, A)
            return
        peer.send(answer * 16)
        assert peer.error() is Condition.POLICY_VIOLATION
        assert b.errors() == {(Condition.POLICY_VIOLATION.value, "sent"): 1}
        assert not b.proved(A)
        assert b.rig.refusals(Reason.BAD_TOKEN) >= 16


@guarded
def test_stream_key_of_whom_the_certificate_does_not_name(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory stands between Alice's server and Bob's with a certificate of his own, and passes her key on.

    Check: the stream's own certificate covers the domain, for nothing binds a key to its TLS.
    """
    b = StreamRouter(lab, B, policy="dialback+certificate")
    if not guarded:
        monkeypatch.setattr(b.rig.router.xmpp_strengths, "_binds", True)
    with server(lab, A, certificate=issued(A)) as alice:
        peer = mallory(b, A, issued(M))
        peer.claim(A, B, alice.secret)
        assert peer.result() == ("error" if guarded else "valid")
        assert b.proved(A) is not guarded
        assert bool(alice.asked) is not guarded
        if not guarded:
            b.brings(peer, A)
        assert b.rig.refusals(Reason.CERTIFICATE_REFUSED) == guarded


@guarded
def test_stream_key_under_the_policy_of_a_certificate(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory, whom Alice's poisoned DNS leads to, claims her domain, and would say himself that he may.

    Check: where policy asks for a certificate the stream's own decides, and nobody is asked.
    """
    b = StreamRouter(lab, B, policy="certificate")
    if not guarded:
        monkeypatch.setattr(Strengths, "judged", lambda *_, **_more: Judged(True))
    with server(lab, A, certificate=issued(M)) as poisoned:
        peer = mallory(b, A, issued(M))
        peer.claim(A, B, poisoned.secret)
        assert peer.result() == ("error" if guarded else "valid")
        assert b.proved(A) is not guarded
        assert not poisoned.asked
        if not guarded:
            b.brings(peer, A)
        assert b.rig.refusals(Reason.CERTIFICATE_REFUSED) == guarded


@guarded
def test_stream_external_with_a_certificate_of_somebody_else(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory says that he is Alice, and shows his own good certificate to SASL EXTERNAL.

    Check: it is judged for the domain of the stream header.
    """
    b = StreamRouter(lab, B, policy="certificate")
    if not guarded:
        monkeypatch.setattr(Strengths, "judged", lambda *_, **_more: Judged(True))
    peer = mallory(b, A, issued(M))
    peer.send(AUTH.format("="))
    answer = peer.find("failure" if guarded else "success")
    assert (b"<not-authorized" in answer.raw) is guarded
    assert b.proved(A) is not guarded
    if not guarded:
        peer.begin_anew()
        peer.greet(A, B)
        b.brings(peer, A)


@guarded
def test_stream_external_for_another_name(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has a good certificate for his own domain, and asks to be taken for Alice's.

    Check: who is asked for is who the stream header names.
    """
    b = StreamRouter(lab, B, policy="certificate")
    if not guarded:
        monkeypatch.setattr(negotiation, "_is_own_name", lambda *_: True)
    peer = mallory(b, M, issued(M))
    peer.send(AUTH.format("YS5leGFtcGxl"))  # a.example
    answer = peer.find("failure" if guarded else "success")
    assert (b"<invalid-authzid" in answer.raw) is guarded
    assert b.proved(M) is not guarded
    assert not b.proved(A)  # the certificate was judged for the header, whatever is asked for


@guarded
def test_stream_in_clear_where_tls_is_asked_for(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory, between Alice's server and Bob's, passes her key on in clear.

    Check: the one function that decides what a proof is worth, before anybody is dialled and after.
    """
    b = StreamRouter(lab, B, policy="dialback+tls")
    if not guarded:
        monkeypatch.setattr(
            strengths, "decide", lambda _policy, offer, _seen=0: decide(Policy.DIALBACK, offer)
        )
        monkeypatch.setattr(Strengths, "needed", lambda *_: 0)
    with server(lab, A, certificate=issued(A)) as alice:
        peer = mallory(b, A, tls=False)
        peer.claim(A, B, alice.secret)
        result = peer.find("result")
        assert result.attributes["type"] == ("error" if guarded else "valid")
        assert (b"policy-violation" in result.raw) is guarded
        assert b.proved(A) is not guarded
        assert bool(alice.asked) is not guarded
        if not guarded:
            b.brings(peer, A)
        assert b.rig.refusals(Reason.WEAKER_THAN_POLICY) == guarded


@guarded
def test_stream_of_a_domain_that_is_served_here(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory's poisoned DNS says that he is the server of Bob's domain, and he claims it at Bob's.

    Check: such a domain speaks by its own service's link alone; nobody is dialled.
    """
    b = StreamRouter(lab, B, policy="dialback", certificates=False)
    if not guarded:
        monkeypatch.setattr(Verifier, "_refusal", lambda *_: None)
    with server(lab, B) as poisoned:
        peer = mallory(b, M, tls=False)
        peer.claim(B, B, poisoned.secret)
        assert peer.result() == ("error" if guarded else "valid")
        assert b.proved(B) is not guarded
        assert bool(poisoned.asked) is not guarded
        assert b.rig.refusals(Reason.SERVED_HERE) == guarded


def _always(_limits: DialLimits, source: str, domain: object, _now: float, *, link: int = 0) -> Permit:
    return Permit(address_keys(source), domain, link, known=True)  # type: ignore[arg-type]


@guarded
def test_streams_that_make_us_dial(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory claims a hundred domains on streams, all of which lead to his victim.

    Check: what is dialled at a stranger's word is limited before it starts.
    """
    few = {"caps.verify_per_source_per_minute": 10}
    b = StreamRouter(lab, B, policy="dialback", certificates=False, settings=few)
    if not guarded:
        monkeypatch.setattr(DialLimits, "admit", _always)
        monkeypatch.setattr(DialLimits, "admit_target", lambda *_, **_more: None)
        monkeypatch.setattr(DialLimits, "release", lambda *_: None)
    with server(lab, "victim.example") as victim:
        ip, port = victim.endpoint
        for number in range(100):
            lab.zones.load(
                f"$ORIGIN d{number}.example.\n_xmpp-server._tcp 60 IN SRV 0 0 {port} x\nx 60 IN A {ip}\n"
            )
        results, his = [], fresh_address()
        for number in range(100):
            peer = mallory(b, f"d{number}.example", tls=False, at=his)
            peer.claim(f"d{number}.example", B, b"a guess")
            results.append(peer.result())
            peer.close()
        if guarded:
            assert len(victim.peers) < 30
            assert "error" in results
            assert b.rig.refusals(Reason.DIAL_LIMIT) > 0
        else:
            assert len(victim.asked) == 100


@guarded
def test_stream_whose_tls_is_taken_away(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, between Alice's server and Bob's, offers no TLS, and refuses it when he is asked all the same.

    Check: TLS is asked for where policy needs it, offered or not, and nothing else is said before it.
    """
    a = StreamRouter(lab, A, policy="dialback+tls")
    if not guarded:
        monkeypatch.setattr(Strengths, "asks_tls", lambda *_: False)
        monkeypatch.setattr(
            strengths, "decide", lambda _policy, offer, _seen=0: decide(Policy.DIALBACK, offer)
        )
    failure: dict[What, str | None] = {"proceed": "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}
    with server(lab, B, certificate=None, instead=failure) as between:
        sent = a.rig.send(f"alice@{A}", f"bob@{B}", "for Bob alone")
        if guarded:
            assert sent.outcome().reason.stage in (Stage.TLS, Stage.POLICY)
            assert between.stanzas == []
            assert between.claimed == []  # not even a key
            assert all(b"<starttls" in one.raw for one in between.peers)
        else:
            assert b"for Bob alone" in between.wait_for_stanza().raw
            a.rig.call(a.rig.cut)
            sent.outcome()
