"""Who wants to be taken for somebody else on streams; each attack also without its check, where it succeeds.

In memory: Mallory speaks by hand to routers whose claimer, verifier, policy, limits and machine are real.
"""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp import keys, say
from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.pairs import Pairs
from imxrouter.gateways.xmpp.streams import trust as trust_module
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.tongue import xmpp_secret
from imxrouter.gateways.xmpp.streams.trust import StreamTrust
from imxrouter.gateways.xmpp.terms import StreamSettings, StreamTerms, TlsRule
from imxrouter.link.machine import LinkState
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.dialling import DialLimits, Permit
from imxrouter.routing.policy import Policy, decide
from imxrouter.routing.prefixes import address_keys
from imxrouter.transport import strengths
from imxrouter.transport.strengths import Strengths
from imxrouter.transport.verifier import Verifier
from imxrouter.wire.control import ClaimResult, VerifyResult
from tests.attacks.seams import guarded
from tests.gateways.xmpp.streams.rig import alone
from tests.gateways.xmpp.streams.trusting import TrustingRouter, World, as_link, facts, refused

#: The one who is impersonated, the one who is deceived, a third one, and the attacker.
A, B, C, M = "a.example", "b.example", "c.example", "mallory.example"

two_walls = pytest.mark.parametrize(
    ("mac", "pair"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "claim's pair alone", "key alone", "check removed"],
)  # fmt: skip


def _without_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_module, "good", lambda *_: True)


def _without_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamTrust, "_is_claimed", lambda *_: True)


# -- keys ----------------------------------------------------------------------------------------------------


@two_walls
def test_key_that_is_guessed(mac: bool, pair: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory claims Alice's domain with a key that he made up.

    Check: the key is well made, and Alice's server claims that pair on that stream. Either alone is enough.
    """
    world = World()
    a, b = world.router(A), world.router(B)
    if not mac:
        _without_mac(monkeypatch)
    if not pair:
        _without_pair(monkeypatch)
    peer = b.stranger(A)
    heard = peer.claim("0" * 64)
    if not mac and not pair:
        assert b.takes_from(peer.session, A)
        return
    assert "type='invalid'" in heard
    assert "not-authorized" in heard  # nothing else is on the stream: it ends (XEP-0220 section 2.2.1)
    assert peer.session.port.closed
    refused(b, Reason.DIALBACK_REFUSED)
    assert a.counted(Reason.BAD_TOKEN) == 1


@two_walls
def test_key_of_another_pair(mac: bool, pair: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice's server claims her domain at Mallory's, who gives it the id that Bob's gave him.

    Check: the receiving domain is in the key, and it is the pair that Alice's server claimed there. Either
    alone is enough.
    """
    world = World()
    a, b = world.router(A), world.router(B)
    if not mac:
        _without_mac(monkeypatch)
    if not pair:
        _without_pair(monkeypatch)
    peer = b.stranger(A)
    key = _claimed_at_mallory(a, peer.ident)
    heard = peer.claim(key)
    if mac or pair:
        assert "type='invalid'" in heard
        refused(b, Reason.DIALBACK_REFUSED)
    else:
        assert b.takes_from(peer.session, A)


def _claimed_at_mallory(a: TrustingRouter, ident: str) -> str:
    """A opens a stream to Mallory, who says this id; the key that he gets."""
    heard: list[str] = []
    session = a.open(M)
    wire = alone(session)
    session.dataReceived(say.header("jabber:server", from_=M, to=A, stream_id=ident))
    session.dataReceived(say.features(say.Features(dialback=True, errors=True)))
    a.claimer.claim(as_link(session), A.encode(), M.encode())
    heard.append(b"".join(wire.writes).decode())
    key = heard[0].partition("</db:result>")[0].rpartition(">")[2]
    assert keys.good(map(xmpp_secret, a.keys.known(A.encode()).values()), M, A, ident, key)
    return key


@guarded
def test_key_of_a_stream_that_is_gone(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory saw Alice's key, and Bob's server gives his stream the same id later.

    Check: a key is good as long as its claim stands, on the stream with that id.
    """
    world = World()
    a, b = world.router(A), world.router(B)
    b.hub.random_bytes = bytes  # Bob's server has a bad source of chance
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    made = out.made.of_pair(A.encode(), B.encode())
    assert made is not None
    assert b.takes_from(accepted, A)
    out.end(Reason.IDLE)
    world.settle()
    if not guarded:
        _without_pair(monkeypatch)
    peer = b.stranger(A)
    heard = peer.claim(made.token.decode())
    if guarded:
        assert "type='invalid'" in heard
        assert not b.takes_from(peer.session, A)
        refused(b, Reason.DIALBACK_REFUSED)
    else:
        assert b.takes_from(peer.session, A)


# -- answers that nobody asked for ---------------------------------------------------------------------------


def _believes_results(self: StreamTrust, session: StreamLink, db: Db) -> None:
    """`claim_result_in` that asks nobody whether the pair was claimed there."""
    made = session.made.ask(db.to.encode(), db.from_.encode(), b"", self._hub.now())
    session.proved((db.to, db.from_), ours=True)
    self._claimer.settle(session, ClaimResult(made.number, 0, 1))


@pytest.mark.parametrize(
    ("machine", "table"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "table alone", "machine alone", "check removed"],
)  # fmt: skip
def test_result_that_nobody_asked_for(machine: bool, table: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory says that Bob's domain takes Alice's, on the stream that Alice's server opened to him.

    Check: a result answers a claim that is pending on that very stream. The machine and the table of claims
    each see to it.
    """
    world = World()
    a = world.router(A)
    session = a.open(M)
    wire = alone(session)
    session.dataReceived(say.header("jabber:server", from_=M, to=A, stream_id="id"))
    session.dataReceived(say.features(say.Features(dialback=True, errors=True)))
    a.claimer.claim(as_link(session), A.encode(), M.encode())
    if not machine:
        monkeypatch.setattr(Pairs, "is_answer_to_claim", lambda *_: True)
    if not table:
        monkeypatch.setattr(StreamTrust, "claim_result_in", _believes_results)
    result = say.db("result", B, A, kind=say.DbType.VALID)
    session.dataReceived(result)
    if not machine and not table:
        assert a.sends_to(session, B)  # what is for Bob goes to Mallory
        return
    assert not a.sends_to(session, B)
    assert a.counted(Reason.BAD_TOKEN) == 1
    for _ in range(StreamSettings().unasked):
        session.dataReceived(result)
    if machine:
        assert wire.ended
        assert a.errors == [("policy-violation", "sent")]
        assert session.drop_reason is Reason.BAD_TOKEN


def _believes_answers(self: StreamTrust, _session: StreamLink, db: Db) -> None:
    """`verify_result_in` that looks only at the domains and the id."""
    for place, (number, first, claim) in list(self.tongue.asked.items()):
        if place[1:] == (db.to, db.from_, db.stream_id):
            second = self._hub.sessions[place[0]]
            reason = Reason.NONE if db.kind is say.DbType.VALID else Reason.DIALBACK_REFUSED
            if reason is Reason.NONE:
                first.received.accept(claim)
            self._verifier.verify_result(second, VerifyResult(number, reason.code, None))


@pytest.mark.parametrize(
    ("machine", "table"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "table alone", "machine alone", "check removed"],
)  # fmt: skip
def test_answer_of_somebody_else(machine: bool, table: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bob's server asks Alice's about Mallory's claim; he answers himself, on a stream of Bob's to him.

    Check: an answer counts on the stream on which it was asked for. The machine and the table of questions
    each see to it.
    """
    world = World()
    world.router(A), world.router(M)
    b = world.router(B)
    peer = b.stranger(A)
    peer.session.dataReceived(say.db("result", A, B, key="0" * 64))  # its question is on its way
    own = b.open(M)
    wire = alone(own)
    own.dataReceived(say.header("jabber:server", from_=M, to=B, stream_id="id"))
    own.dataReceived(say.features(say.Features(dialback=True, errors=True)))
    for one in world.wires:  # Alice's server is slow
        one.bring()
    waiting = [one for one in world.wires if one.writes]
    for one in waiting:
        one.bring()
    _until_asked(world, b)
    if not machine:
        monkeypatch.setattr(Pairs, "is_answer_to_verify", lambda *_: True)
    if not table:
        monkeypatch.setattr(StreamTrust, "verify_result_in", _believes_answers)
    own.dataReceived(say.db("verify", A, B, stream_id=peer.ident, kind=say.DbType.VALID))
    if machine or table:
        assert b.counted(Reason.BAD_TOKEN) == 1
        assert not b.takes_from(peer.session, A)
        assert not wire.ended
        assert "type='invalid'" in peer.answers()
        refused(b, Reason.DIALBACK_REFUSED)
    else:
        assert b.takes_from(peer.session, A)


def _until_asked(world: World, b: TrustingRouter) -> None:
    for _ in range(50):
        if b.tongue.asked:
            return
        for one in list(world.wires):
            one.bring()
            if b.tongue.asked:
                return
    raise AssertionError("nobody was asked")


# -- what is claimed -----------------------------------------------------------------------------------------


@guarded
def test_domain_that_is_served_here(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's DNS, or one that he poisons, says that he is the server of a domain that Bob's serves.

    Check: such a domain speaks by its own service's link alone; it is refused without dialling.
    """
    world = World()
    b, mallory = world.router(B), world.router(M)
    b.switch.routes[C.encode()] = b.switch.routes[B.encode()]
    mallory.switch.routes[C.encode()] = mallory.switch.routes[M.encode()]
    world.dns[C] = [mallory]
    if not guarded:
        monkeypatch.setattr(Verifier, "_refusal", lambda *_: None)
    out, accepted = mallory.stream_to(b)
    mallory.claim(out, B, C)
    if guarded:
        made = out.made.of_pair(C.encode(), B.encode())
        assert made is not None
        assert made.reason is Reason.CERTIFICATE_REFUSED  # what not-authorized means (XEP-0220 section 2.5)
        assert not b.takes_from(accepted, C)
        assert world.dialled == []
        refused(b, Reason.SERVED_HERE)
    else:
        assert b.takes_from(accepted, C)


def test_header_of_a_domain_that_is_served_here() -> None:
    """It is refused at the first word, with a stream error."""
    b = World().router(B)
    peer = b.stranger(B)
    assert "not-authorized" in peer.began
    assert peer.session.port.closed


@guarded
def test_proof_that_is_weaker_than_the_policy(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory took the TLS away between Alice's server and Bob's: the claim comes in clear.

    Check: the one function that decides, asked before anybody is dialled and after.
    """
    world = World()
    a, b = world.router(A), world.router(B, policy=Policy.DIALBACK_TLS, in_tls=True)
    if not guarded:
        monkeypatch.setattr(
            strengths, "decide", lambda _policy, offer, _seen=0: decide(Policy.DIALBACK, offer)
        )
        monkeypatch.setattr(Strengths, "needed", lambda *_: 0)
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    if guarded:
        made = out.made.of_pair(A.encode(), B.encode())
        assert made is not None
        assert made.reason is Reason.WEAKER_THAN_POLICY
        assert not b.takes_from(accepted, A)
        assert world.dialled == []
        refused(b, Reason.WEAKER_THAN_POLICY)
    else:
        assert b.takes_from(accepted, A)


@guarded
def test_key_without_the_certificate(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory stands between, with a certificate of his own, and passes Alice's key on to Bob's server.

    Nothing binds a key to the stream's TLS. Check: the stream's own certificate covers the domain.
    """
    world = World()
    a = world.router(A, policy=Policy.DIALBACK_CERTIFICATE, in_tls=True)
    b = world.router(B, policy=Policy.DIALBACK_CERTIFICATE, in_tls=True)
    if not guarded:
        monkeypatch.setattr(b.strengths, "_binds", True)  # as if it were an answer of IMX
    peer = b.stranger(A, names={M})
    session = a.open(B)
    session.encrypted(facts({M}, {A}))
    wire = alone(session)
    session.dataReceived(say.header("jabber:server", from_=B, to=A, stream_id=peer.ident))
    session.dataReceived(say.features(say.Features(dialback=True, errors=True)))
    a.claimer.claim(as_link(session), A.encode(), B.encode())
    key = b"".join(wire.writes).decode().partition("</db:result>")[0].rpartition(">")[2]
    heard = peer.claim(key)
    if guarded:
        assert "not-authorized" in heard
        assert not b.takes_from(peer.session, A)
        assert world.dialled == []
        refused(b, Reason.CERTIFICATE_REFUSED)
    else:
        assert b.takes_from(peer.session, A)


# -- floods --------------------------------------------------------------------------------------------------


@guarded
def test_flood_of_claims_that_make_us_dial(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory claims hundreds of domains, each on a stream of its own, so that Bob's server dials them.

    Check: what is dialled at a stranger's word is limited before it starts.
    """
    world = World()
    b = world.router(B)
    if not guarded:
        monkeypatch.setattr(DialLimits, "admit", _always)
        monkeypatch.setattr(DialLimits, "release", lambda *_: None)
    claims = 120
    for number in range(claims):
        name = f"d{number}.example"
        world.router(name)
        b.stranger(name).claim("0" * 64)
    if guarded:
        assert len(world.dialled) < claims / 2
        last = b.stranger("last.example")
        assert "resource-constraint" in last.claim("0" * 64)
        refused(b, Reason.DIAL_LIMIT)
        assert not last.session.port.closed
    else:
        assert len(world.dialled) == claims


def _always(_limits: DialLimits, source: str, domain: Domain, _now: float, *, link: int = 0) -> Permit:
    return Permit(address_keys(source), domain, link, known=False)


@guarded
def test_flood_of_claims_on_one_stream(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory goes on to claim after each refusal. Check: what is refused before a proof is counted."""
    world = World()
    b = world.router(B)
    if not guarded:
        monkeypatch.setattr(trust_module, "REFUSED_BEFORE_PROOF", 1_000_000)
    peer = b.stranger(M)
    for number in range(270):
        peer.claim("0" * 64, f"d{number}.example", C)
    assert peer.session.port.closed is guarded
    if guarded:
        assert peer.session.drop_reason is Reason.NOT_PROVED
        assert b.errors == [("not-authorized", "sent")]


@guarded
def test_flood_of_questions(guarded: bool) -> None:
    """Mallory tries keys as fast as he can. Check: questions before a proof are counted."""
    world = World()
    b = world.router(B)
    peer = b.stranger(M)
    limit = peer.session.machine.terms.settings.verifies_before_proof
    if not guarded:
        limit += 1
        peer.session.machine.terms = type(peer.session.machine.terms)(
            settings=StreamSettings(verifies_before_proof=1_000_000)
        )
    for number in range(limit):
        assert "type='invalid'" in peer.ask(f"{number:064x}", "id")
    assert not peer.wire.ended
    assert ("policy-violation" in peer.ask("0" * 64, "id")) is guarded
    assert peer.session.port.closed is guarded
    if guarded:
        assert b.errors == [("policy-violation", "sent")]


# -- stripping -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "features", "result"])
@guarded
def test_starttls_that_is_taken_away(guarded: bool, then: str) -> None:
    """Mallory stands between and takes STARTTLS out of the features, or answers it himself.

    Check: TLS is asked for where policy needs it, offered or not, and nothing else is said before it.
    """
    world = World()
    a = world.router(A, policy=Policy.DIALBACK_TLS, in_tls=True)
    needed = a.strengths.asks_tls(Domain(B), None) if guarded else False
    a.terms = lambda _session: StreamTerms(tls=TlsRule.REQUIRED if needed else TlsRule.OFFERED)
    session = a.open(B)
    waits = session.negotiated
    assert waits is not None
    waits.addErrback(lambda _problem: None)
    wire = alone(session)
    stripped = say.features(say.Features(dialback=True, errors=True))
    session.dataReceived(say.header("jabber:server", from_=B, to=A, stream_id="id"))
    session.dataReceived(stripped)
    a.claimer.claim(as_link(session), A.encode(), B.encode())
    said = b"".join(wire.writes).decode()
    if not guarded:
        assert "<db:result" in said
        return
    assert said.endswith(say.STARTTLS.decode())
    answers: dict[str, bytes] = {
        "features": stripped, "result": say.db("result", B, A, kind=say.DbType.VALID)
    }  # fmt: skip
    session.dataReceived(answers.get(then, then.encode()))
    assert session.machine.state is LinkState.CLOSED
    assert not a.sends_to(session, B)
    if then not in answers:
        assert session.drop_reason is Reason.WEAKER_THAN_POLICY
    assert "<db:result" not in b"".join(wire.writes).decode()
