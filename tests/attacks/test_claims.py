"""Dial-back: who can be taken for whom (specification 11.2 to 11.5 and 11.10)."""

from typing import Any

import pytest

from imxrouter.link import token as tokens
from imxrouter.link.claims import ClaimsMade, ClaimsReceived, ClaimState, MadeClaim, ReceivedClaim, Release
from imxrouter.link.token import TokenFacts
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.checks import Checks
from imxrouter.transport import dialback
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.session import LinkSession
from imxrouter.transport.verifier import Verifier
from imxrouter.wire.control import Claim, ClaimResult, Proof, Proved, Verify, VerifyResult
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import SOME_NONCE, SOME_TOKEN, RawPeer, text_message
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig


def _any_pair(
    _keys: object, _from_domain: bytes, _to_domain: bytes, token: bytes, *_times: float
) -> TokenFacts:
    """`open_token` that believes what stands in the token, whatever pair it is presented for."""
    return TokenFacts(*tokens._FACTS.unpack(token[: tokens._FACTS.size])[1:])


@pytest.mark.parametrize(
    ("mac", "pair"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "claim's pair alone", "MAC alone", "check removed"],
)  # fmt: skip
def test_token_of_one_pair_presented_for_another(
    lab: Lab, mac: bool, pair: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory shows Alice's router the token that Bob's router made for him, and is taken for Bob's router.

    Check: the token is for this very pair. It is made twice, by the token's MAC and by the pending claim, and
    either alone is enough.
    """
    if not mac:
        monkeypatch.setattr(dialback, "open_token", _any_pair)
    if not pair:
        release = ClaimsMade.release

        def of_any_pair(made: ClaimsMade, facts: TokenFacts, *args: Any) -> Release | Reason:
            claim = made._by_number[facts.claim]
            return release(made, facts, claim.from_domain, claim.to_domain, *args[2:])

        monkeypatch.setattr(ClaimsMade, "release", of_any_pair)
    a, b, m = lab.router("a.example"), lab.router("b.example"), lab.organisation("m.example")
    b.send("bob@b.example", "mallory@m.example")
    from_bob = m.accept()
    claim = from_bob.expect(Claim)
    link = m.connect(a)
    link.send(Claim(1, b"b.example", b"a.example", claim.token))
    if mac or pair:
        assert link.expect(ClaimResult).reason == Reason.DIALBACK_REFUSED.code
    else:
        link.send(Proof(1, from_bob.expect(Proof).answer))
        assert link.expect(ClaimResult).reason == 0
    link.send(text_message("bob@b.example", "alice@a.example", "send it to mallory"))
    assert link.outcome().ok == (not mac and not pair)
    assert len(a.inbox("alice@a.example")) == (0 if mac or pair else 1)


@guarded
def test_foreign_second_connection_with_a_stolen_token(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory has seen Bob's token for Alice, and verifies it to be taken for Alice on that connection.

    Check: the second connection carries nothing until its nonce came back on the first.
    """
    if not guarded:
        release = Claimer.release

        def at_once(claimer: Claimer, facts: TokenFacts, verify: Verify, nonce: bytes, second: int) -> Reason:
            decided = release(claimer, facts, verify, nonce, second)
            made = MadeClaim(0, verify.from_domain, verify.to_domain, b"", 0.0)
            if decided is Reason.NONE:
                to_alice = claimer._hub.sessions[facts.link]
                claimer._use_second(to_alice, claimer._hub.sessions.get(second), made)
            return decided

        monkeypatch.setattr(Claimer, "release", at_once)
    b, a, m = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("m.example")
    first = b.send("bob@b.example", "alice@a.example", "one")
    from_bob = a.accept()
    claim = from_bob.expect(Claim)
    foreign = m.connect(b)
    foreign.send(Verify(7, b"b.example", b"a.example", claim.token, bytes(32), 0))
    assert foreign.find(VerifyResult).reason == 0
    assert from_bob.expect(Proof).answer == bytes(32)  # not the secret of Alice's router, which knows better
    true = a.connect(b)
    true.send(Verify(8, b"b.example", b"a.example", claim.token, b"s" * 32, 0))
    assert true.expect(VerifyResult).reason == Reason.BAD_TOKEN.code  # a claim is released once
    from_bob.send(ClaimResult(claim.number, Reason.DIALBACK_REFUSED.code))
    if guarded:
        assert first.outcome().reason is Reason.DIALBACK_REFUSED
    second = b.send("bob@b.example", "alice@a.example", "two")
    if guarded:
        assert second.outcome().reason is Reason.DIALBACK_REFUSED
        assert foreign.drain() == []
    else:
        assert b"two" in foreign.request().body


def _silent_verification(b: RouterRig, a: RawOrganisation, m: RawOrganisation) -> tuple[RawPeer, RawPeer]:
    """Mallory claims Alice's domain; Alice's router was asked and is silent. Mallory's link, and hers."""
    link = m.connect(b)
    link.send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    second = a.accept()
    second.expect(Verify)
    return link, second


@guarded
def test_guessed_answer(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory claims Alice's domain and guesses the answer. Check: the answer is the claim's secret."""
    if not guarded:

        def any_answer(received: ClaimsReceived, number: int, answer: bytes) -> ReceivedClaim:
            del answer
            claim = received._pending[number]
            claim.state = ClaimState.RELEASED
            return claim

        monkeypatch.setattr(ClaimsReceived, "answer", any_answer)
    b, a, m = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("m.example")
    link, _ = _silent_verification(b, a, m)
    guesses = 200 if guarded else 1
    link.send(*(Proof(1, number.to_bytes(32, "big")) for number in range(guesses)))
    if guarded:
        assert link.drain() == []
        assert b.refusals(Reason.BAD_TOKEN) == guesses
    else:
        assert link.expect(ClaimResult).reason == 0
    link.send(text_message("alice@a.example", "bob@b.example", "guess who"))
    assert link.outcome().ok == (not guarded)
    assert len(b.inbox("bob@b.example")) == (0 if guarded else 1)


@guarded
def test_replayed_answer(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has seen the answer with which Alice proved herself. Check: each claim has a fresh secret."""
    b, a, m = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("m.example")
    if not guarded:
        monkeypatch.setattr(b.router.hub, "random_bytes", bytes)
    honest = a.connect(b)
    honest.send(Claim(1, b"a.example", b"b.example", b"a true token"))
    second = a.accept()
    seen = second.expect(Verify).secret
    second.send(VerifyResult(1, 0, SOME_NONCE))
    honest.send(Proof(1, seen))
    assert honest.expect(ClaimResult).reason == 0
    honest.close()
    link = m.connect(b)
    link.send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    second.expect(Verify)
    link.send(Proof(1, seen))
    if guarded:
        assert link.drain() == []
    else:
        assert link.expect(ClaimResult).reason == 0
    link.send(text_message("alice@a.example", "bob@b.example", "again"))
    assert link.outcome().ok == (not guarded)


@guarded
def test_success_without_a_proof(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory accepts a claim that he never verified, to be sent what waits for it.

    Check: the claimer takes success only for a claim whose answer it has released.
    """
    if not guarded:
        settle = ClaimsMade.settle

        def anyhow(made: ClaimsMade, number: int, *args: Any, **more: Any) -> Any:
            for claim in made.claims():
                claim.state = ClaimState.RELEASED
            return settle(made, number, *args, **more)

        monkeypatch.setattr(ClaimsMade, "settle", anyhow)
    b, m = lab.router("b.example"), lab.organisation("m.example")
    b.send("bob@b.example", "mallory@m.example", "for proved eyes")
    from_bob = m.accept()
    claim = from_bob.expect(Claim)
    from_bob.send(ClaimResult(claim.number, 0, 1), ClaimResult(claim.number + 1, 0, 1))
    if not guarded:
        assert b"for proved eyes" in from_bob.request().body
        return
    assert from_bob.drain() == []
    second = m.connect(b)
    second.send(Verify(9, b"b.example", b"m.example", claim.token, b"s" * 32, 0))
    assert second.expect(VerifyResult).reason == 0
    assert from_bob.expect(Proof).answer == b"s" * 32
    from_bob.send(ClaimResult(claim.number, 0, 1))
    assert b"for proved eyes" in from_bob.request().body  # the true way is not harmed


@guarded
def test_stolen_data_by_proved(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's host, asked about his own domain, says PROVED for Alice's.

    Check: a link that we opened is used for the domains it was reached for by their own DNS, no others.
    """
    if not guarded:
        believe = Claimer.proved_on_second

        def whatever(claimer: Claimer, session: LinkSession, record: Proved) -> None:
            session.reached.add(record.to_domain)
            believe(claimer, session, record)

        monkeypatch.setattr(Claimer, "proved_on_second", whatever)
    a, b, m = lab.router("a.example"), lab.router("b.example"), lab.organisation("m.example")
    m.connect(b).send(Claim(1, b"m.example", b"b.example", SOME_TOKEN))
    second = m.accept()
    second.expect(Verify)
    second.send(Proved(b"b.example", b"a.example"))
    assert second.drain() == []
    sent = b.send("bob@b.example", "alice@a.example", "for alice only")
    if guarded:
        assert sent.outcome().ok
        assert second.drain() == []
        assert a.inbox("alice@a.example") == [("bob@b.example", "for alice only")]
    else:
        assert b"for alice only" in second.request().body


@guarded
def test_domains_of_one_host_do_not_speak_for_each_other(lab: Lab, guarded: bool) -> None:
    """Alice and Mallory are hosted at one address; his link sends as her.

    Check: a proof is of a domain on a link, never of an address.
    """
    b = lab.router("b.example", checks=Checks(source=guarded))
    host = lab.organisation("m.example", "a.example")
    b.send("bob@b.example", "mallory@m.example")
    from_bob = host.accept()
    from_bob.expect(Claim)  # reached for m.example by DNS, where a.example leads as well
    from_bob.send(text_message("alice@a.example", "bob@b.example", "same address", 2))
    assert from_bob.outcome().ok == (not guarded)
    host.second = from_bob  # an open link to that very endpoint serves the verification
    link = host.connect(b)
    assert host.prove(link, "b.example", "m.example").reason == 0
    link.send(text_message("alice@a.example", "bob@b.example", "same address"))
    assert link.outcome().ok == (not guarded)
    assert len(b.inbox("bob@b.example")) == (0 if guarded else 2)


@guarded
def test_verification_over_a_link_of_another_domain(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory claims Alice's domain while we have a link open to him.

    Check: a verification uses an open link only if its address and port are in the claimed domain's own DNS.
    """
    if not guarded:

        def any_link(verifier: Verifier, endpoint: object, fits: object) -> Link | None:
            del endpoint, fits
            sessions = verifier._hub.sessions.values()
            return next((one for one in sessions if one.purpose in (Purpose.DATA, Purpose.VERIFY)), None)

        monkeypatch.setattr(Verifier, "_reusable", any_link)
    b, a, m = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("m.example")
    b.send("bob@b.example", "mallory@m.example")
    from_bob = m.accept()
    from_bob.expect(Claim)
    link = m.connect(b)
    link.send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    if guarded:
        a.accept().expect(Verify)
        assert from_bob.drain() == []
        return
    verify = from_bob.expect(Verify)
    from_bob.send(VerifyResult(verify.number, 0, SOME_NONCE))
    link.send(Proof(1, verify.secret))
    assert link.expect(ClaimResult).reason == 0
    link.send(text_message("alice@a.example", "bob@b.example", "yours, alice"))
    assert link.outcome().ok
    assert b.inbox("bob@b.example") == [("alice@a.example", "yours, alice")]
