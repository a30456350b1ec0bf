"""Claims: an honest domain is proved in the end, a lying one never."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from imxrouter.link.answer import ConnectionView
from imxrouter.link.claims import (
    CLAIM_DEADLINE_S,
    CLAIMS_BEFORE_PROOF,
    ClaimsMade,
    ClaimsReceived,
    ClaimState,
    ReceivedClaim,
    Release,
)
from imxrouter.link.token import (
    CLOCK_SKEW_S,
    TOKEN_TTL_S,
    TokenFacts,
    TokenRefused,
    key_id,
    mint_token,
    open_token,
)
from imxrouter.model.vocabulary import Reason

A, B, M = b"a.example", b"b.example", b"m.example"
KEY = b"key of a.example".ljust(32, b".")
SECRET, NONCE = b"s" * 32, b"n" * 16


def facts(number: int, link: int = 1) -> TokenFacts:
    """What the tokens of these tests say."""
    return TokenFacts(b"server-1", 0, link, number, number.to_bytes(16, "big"), TOKEN_TTL_S)


def claim(made: ClaimsMade, to_domain: bytes = B, now: float = 0.0, link: int = 1) -> tuple[int, bytes]:
    """A's claim on a link: its number and token."""
    token = mint_token(KEY, A, to_domain, facts(made.next_number(), link))
    return made.ask(A, to_domain, token, now).number, token


def proved(view: ConnectionView = ConnectionView.CLEAR) -> tuple[ClaimsMade, ClaimsReceived, int]:
    """Both sides after a claim that went well."""
    made, received = ClaimsMade(view, b"e" * 32), ClaimsReceived(view, b"e" * 32)
    number, token = claim(made)
    assert isinstance(received.take(number, A, B, token, SECRET, 0.0), ReceivedClaim)
    release = made.release(facts(number), A, B, token, SECRET, view, 1.0)
    assert isinstance(release, Release)
    assert received.answer(release.number, release.answer) is not None
    assert received.prove(number) is not None
    return made, received, number


@pytest.mark.parametrize("view", ConnectionView)
def test_an_honest_claim_is_proved(view: ConnectionView) -> None:
    """In clear and over TLS, and the nonce of the second connection proves the verifier there."""
    made, _, number = proved(view)
    made.remember_nonce(number, NONCE, 7)
    settled = made.settle(number, Reason.NONE, (b"x" * 16, NONCE))
    assert settled is not None
    assert (settled[0].state, settled[1]) == (ClaimState.PROVED, [7])
    assert A in made.claimed_domains()
    assert made.claimed_domains() == {A}


def test_success_without_our_answer_proves_nothing() -> None:
    """A verifier that never asked cannot say yes."""
    made = ClaimsMade()
    number, _ = claim(made)
    assert made.settle(number, Reason.NONE, ()) is None
    assert A not in made.claimed_domains()


def test_a_nonce_nobody_sent_proves_no_second_link() -> None:
    """Nor does one that comes with a refusal."""
    made, _, number = proved()
    made.remember_nonce(number, NONCE, 7)
    settled = made.settle(number, Reason.DIALBACK_REFUSED, (NONCE,))
    assert settled is not None
    assert settled[1] == []
    assert made.settle(number, Reason.NONE, (NONCE,)) is None


@pytest.mark.parametrize(
    ("from_domain", "to_domain", "number", "view", "now", "reason"),
    [
        (M, B, 1, ConnectionView.CLEAR, 1.0, Reason.BAD_TOKEN),
        (A, M, 1, ConnectionView.CLEAR, 1.0, Reason.BAD_TOKEN),
        (A, B, 2, ConnectionView.CLEAR, 1.0, Reason.BAD_TOKEN),
        (A, B, 1, ConnectionView.CLEAR, CLAIM_DEADLINE_S + 1, Reason.BAD_TOKEN),
        (A, B, 1, ConnectionView.TLS_BOUND, 1.0, Reason.TLS_VIEW_MISMATCH),
    ],
)
def test_an_answer_is_released_for_the_very_claim_only(
    from_domain: bytes, to_domain: bytes, number: int, view: ConnectionView, now: float, reason: Reason
) -> None:
    """The pair, the number, the time, the view: each alone stops it."""
    made = ClaimsMade()
    _, token = claim(made)
    assert made.release(facts(number), from_domain, to_domain, token, SECRET, view, now) is reason


def test_another_token_of_the_same_pair_releases_nothing() -> None:
    """An older claim's token is of no use."""
    made = ClaimsMade()
    _, old = claim(made)
    number, _ = claim(made)
    assert made.release(facts(number), A, B, old, SECRET, ConnectionView.CLEAR, 1.0) is Reason.BAD_TOKEN
    assert made.release(facts(1), A, B, old, SECRET, ConnectionView.CLEAR, 1.0) is Reason.BAD_TOKEN


def test_an_answer_is_released_once() -> None:
    """A token is good for one claim."""
    made = ClaimsMade()
    number, token = claim(made)
    arguments = (facts(number), A, B, token, SECRET, ConnectionView.CLEAR, 1.0)
    assert isinstance(made.release(*arguments), Release)
    assert made.release(*arguments) is Reason.BAD_TOKEN


def test_a_wrong_answer_is_counted_and_changes_nothing() -> None:
    """Guessed, for another claim, doubled."""
    received = ClaimsReceived()
    received.take(1, A, B, b"token", SECRET, 0.0)
    assert received.answer(1, b"x" * 32) is None
    assert received.answer(2, SECRET) is None
    assert received.wrong_answers == 2
    assert received.prove(1) is None
    assert received.answer(1, SECRET) is not None
    assert received.answer(1, SECRET) is None
    assert received.prove(1) is not None
    assert received.prove(1) is None


def test_a_man_in_the_middle_of_the_first_connection_is_found_out() -> None:
    """He relays everything faithfully, but his two TLS sessions have two exporters (BEY-1)."""
    made = ClaimsMade(ConnectionView.TLS_BOUND, b"session a-m".ljust(32))
    received = ClaimsReceived(ConnectionView.TLS_BOUND, b"session m-b".ljust(32))
    number, token = claim(made)
    received.take(number, A, B, token, SECRET, 0.0)
    release = made.release(facts(number), A, B, token, SECRET, received.view, 1.0)
    assert isinstance(release, Release)
    assert received.answer(number, release.answer) is None


def test_one_verification_at_a_time_for_a_domain() -> None:
    """Per link and claimed domain."""
    received = ClaimsReceived()
    received.take(1, A, B, b"t", SECRET, 0.0)
    assert received.take(2, A, M, b"t", SECRET, 0.0) is Reason.TOO_MANY_CLAIMS
    assert received.take(1, M, B, b"t", SECRET, 0.0) is Reason.TOO_MANY_CLAIMS
    received.refuse(1)
    assert isinstance(received.take(3, A, M, b"t", SECRET, 0.0), ReceivedClaim)


def prove_at_once(received: ClaimsReceived, number: int, domain: bytes) -> ReceivedClaim | None:
    """Claim, right answer, proof."""
    received.take(number, domain, B, b"t", SECRET, 0.0)
    received.answer(number, SECRET)
    return received.prove(number)


def test_a_stranger_may_ask_sixteen_times() -> None:
    """Before the first proof every claim counts, the settled ones too."""
    received = ClaimsReceived()
    for number in range(CLAIMS_BEFORE_PROOF):
        assert isinstance(received.take(number, b"%d.example" % number, B, b"t", SECRET, 0.0), ReceivedClaim)
        received.refuse(number)
    assert received.take(99, A, B, b"t", SECRET, 0.0) is Reason.TOO_MANY_CLAIMS


def test_a_peer_that_verifies_no_more_at_a_time_is_asked_no_more() -> None:
    """One more is pending with each proof, until one is refused; then as many as the peer took."""
    made = ClaimsMade()

    def asked(*numbers: int) -> None:
        for number in numbers:
            made.ask(b"d%d.example" % number, B, b"token %d" % number, 0.0)

    def prove(number: int) -> None:
        named = (facts(number), b"d%d.example" % (number - 1), B, b"token %d" % (number - 1))
        assert isinstance(made.release(*named, SECRET, int(ConnectionView.CLEAR), 0.0), Release)
        made.settle(number, Reason.NONE, ())

    asked(*range(16))
    assert not made.has_room()
    prove(1)
    asked(16, 17)
    assert not made.has_room()
    prove(2)
    assert made.settle(3, Reason.DIAL_LIMIT, ()) is not None
    assert made.settle(4, Reason.DIAL_LIMIT, ()) is not None
    assert not made.has_room()
    prove(5)
    assert made.has_room()


def test_after_a_proof_the_link_has_a_maximum() -> None:
    """Pending and proved ones together; a forgotten one makes room."""
    received = ClaimsReceived(limit=20)
    for number in range(20):
        assert prove_at_once(received, number, b"%d.example" % number) is not None
    assert received.take(20, A, B, b"t", SECRET, 0.0) is Reason.TOO_MANY_CLAIMS
    received.forget(b"3.example")
    assert isinstance(received.take(21, A, B, b"t", SECRET, 0.0), ReceivedClaim)


def test_a_link_whose_proofs_all_ended_may_claim_again() -> None:
    """An honest peer with many domains, all idle for long, is a stranger again, not an outcast."""
    received = ClaimsReceived()
    domains = [b"%d.example" % number for number in range(2 * CLAIMS_BEFORE_PROOF)]
    for number, domain in enumerate(domains):
        assert prove_at_once(received, number, domain) is not None
    for domain in domains:
        received.forget(domain)
    assert prove_at_once(received, 1000, A) is not None


def test_a_renewed_claim_replaces_the_old_one() -> None:
    """However often: what is settled is not kept."""
    made, received, number = proved()
    made.settle(number, Reason.NONE, ())
    for _ in range(50):
        number, token = claim(made)
        received.take(number, A, B, token, SECRET, 0.0)
        release = made.release(facts(number), A, B, token, SECRET, ConnectionView.CLEAR, 1.0)
        assert isinstance(release, Release)
        received.answer(number, release.answer)
        received.prove(number)
        assert made.settle(number, Reason.NONE, ()) is not None
    assert A in made.claimed_domains()
    assert len(made._by_number) == 1


def test_late_claims_are_refused() -> None:
    """On both sides; what was answered right waits for its nonce."""
    made, received = ClaimsMade(), ClaimsReceived()
    claim(made)
    received.take(1, A, B, b"t", SECRET, 0.0)
    received.take(2, M, B, b"t", SECRET, 0.0)
    received.answer(2, SECRET)
    late = CLAIM_DEADLINE_S + 1
    (ours,) = made.expire(late)
    assert (ours.state, ours.reason) == (ClaimState.REFUSED, Reason.DIALBACK_TIMEOUT)
    assert made.expire(late) == []
    assert [(one.number, one.state) for one in received.expire(late)] == [
        (1, ClaimState.REFUSED),
        (2, ClaimState.RELEASED),
    ]
    assert received.pending(1) is None
    assert received.prove(2) is not None


def test_a_withdrawn_domain_is_forgotten() -> None:
    """Its claims are gone, others stay."""
    made, _, number = proved()
    made.settle(number, Reason.NONE, ())
    made.ask(M, B, b"t", 0.0)
    assert [one.from_domain for one in made.withdraw(A)] == [A]
    assert A not in made.claimed_domains()
    assert made.of_pair(A, B) is None
    assert made.of_pair(M, B) is not None


@dataclass
class Link:
    """One connection to the verifier: its two ends, and what is on the way."""

    number: int
    made: ClaimsMade
    received: ClaimsReceived
    honest: bool
    asked: list[ReceivedClaim] = field(default_factory=list)


class Dialback(RuleBasedStateMachine):
    """A claims honestly to B (link 1) and to M (link 2); M claims A to B (link 3), and lies as it likes.

    The verifier B dials A itself, so its questions reach A's `release`. M knows every token A ever gave to it
    and, as a worst case, those A gave to B; it may ask A for answers with tokens, pairs and secrets of its
    choice; answers go to the link the token names, where M reads those of link 2. Everything on the way may
    be delayed, doubled or lost.
    """

    tokens = Bundle("tokens")
    secrets = Bundle("secrets")
    proofs = Bundle("proofs")

    def __init__(self) -> None:
        super().__init__()
        view, exporter = ConnectionView.CLEAR, b""
        self.links = {
            1: Link(1, ClaimsMade(view, exporter), ClaimsReceived(view, exporter), honest=True),
            2: Link(2, ClaimsMade(view, exporter), ClaimsReceived(view, exporter), honest=True),
            3: Link(3, ClaimsMade(view, exporter), ClaimsReceived(view, exporter), honest=False),
        }
        self.now = 0.0
        self.count = 0
        self.m_number = 1000
        #: (link, claim number) for which the very secret went over B's own dialling and came back right
        self.answered: set[tuple[int, int]] = set()
        self.proved: set[tuple[int, bytes]] = set()
        self.asked_of_a: list[tuple[ReceivedClaim, int]] = []

    def secret(self) -> bytes:
        """One nobody can guess: they all differ, and M is told only what it may see."""
        self.count += 1
        return b"secret of B %020d" % self.count

    def ask_a(
        self, from_domain: bytes, to_domain: bytes, token: bytes, secret: bytes
    ) -> tuple[int, Release] | None:
        """A VERIFY reaches A over a second connection, whoever opened it."""
        try:
            found = open_token({key_id(KEY): KEY}, from_domain, to_domain, token, 0.0)
        except TokenRefused:
            return None
        link = self.links[found.link]
        decided = link.made.release(found, from_domain, to_domain, token, secret, 0, self.now)
        return (found.link, decided) if isinstance(decided, Release) else None

    @rule(target=tokens)
    def a_claims_to_b(self) -> bytes:
        """Honest; B starts a verification if it may."""
        return self._claim(self.links[1], B)

    @rule(target=tokens)
    def a_claims_to_m(self) -> bytes:
        """Honest, to a peer that is not."""
        number, token = claim(self.links[2].made, M, self.now, 2)
        del number
        return token

    def _claim(self, link: Link, to_domain: bytes) -> bytes:
        number, token = claim(link.made, to_domain, self.now, link.number)
        taken = link.received.take(number, A, to_domain, token, self.secret(), self.now)
        if isinstance(taken, ReceivedClaim):
            self.asked_of_a.append((taken, link.number))
        return token

    @rule(token=tokens)
    def m_claims_a_to_b(self, token: bytes) -> None:
        """With a token it has seen; B takes claims for domains that it serves only."""
        self.m_number += 1
        taken = self.links[3].received.take(self.m_number, A, B, token, self.secret(), self.now)
        if isinstance(taken, ReceivedClaim):
            self.asked_of_a.append((taken, 3))

    @rule(target=proofs, place=st.integers(0, 5), lose=st.booleans(), again=st.booleans())
    def b_verifies(self, place: int, lose: bool, again: bool) -> object:
        """One of B's questions reaches A; it may come twice; the answer goes where the token says."""
        if not self.asked_of_a:
            return multiple()
        place %= len(self.asked_of_a)
        asked, _ = self.asked_of_a[place] if again else self.asked_of_a.pop(place)
        answer = self.ask_a(asked.from_domain, asked.to_domain, asked.token, asked.secret)
        if answer is None or lose:
            return multiple()
        return (answer[0], answer[1].number, answer[1].answer)

    @rule(target=secrets)
    def m_makes_a_secret(self) -> bytes:
        """Of its own."""
        self.count += 1
        return b"secret of M %020d" % self.count

    @rule(target=proofs, token=tokens, secret=secrets, to_domain=st.sampled_from([B, M]))
    def m_asks_a(self, token: bytes, secret: bytes, to_domain: bytes) -> object:
        """With any token, for any pair; what A releases goes over the link that the token names."""
        answer = self.ask_a(A, to_domain, token, secret)
        return multiple() if answer is None else (answer[0], answer[1].number, answer[1].answer)

    @rule(proof=proofs, again=st.booleans())
    def a_proof_arrives(self, proof: tuple[int, int, bytes], again: bool) -> None:
        """Sent by A; over link 1 to B, over link 2 to M, which may try it anywhere."""
        link, number, answer = proof
        for _ in range(1 + again):
            self._answer(link, number, answer)

    @rule(proof=consumes(proofs), to=st.integers(0, 6))
    def m_replays_a_proof(self, proof: tuple[int, int, bytes], to: int) -> None:
        """What A sent to M over link 2 is tried on link 3, for any claim pending there."""
        link, _, answer = proof
        if link != 2:
            return
        self._answer(3, self.m_number - to, answer)

    @rule(secret=secrets, to=st.integers(0, 6))
    def m_guesses(self, secret: bytes, to: int) -> None:
        """Its own secrets, on its own link."""
        self._answer(3, self.m_number - to, secret)

    def _answer(self, number: int, claim_number: int, answer: bytes) -> None:
        link = self.links[number]
        right = link.received.answer(claim_number, answer)
        if right is not None:
            assert answer == right.secret
            self.answered.add((number, claim_number))
        done = link.received.prove(claim_number)
        if done is not None:
            assert (number, claim_number) in self.answered
            self.proved.add((number, done.from_domain))
            link.made.settle(claim_number, Reason.NONE, ())

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        """Deadlines run."""
        self.now += seconds
        for link in self.links.values():
            link.made.expire(self.now)
            link.received.expire(self.now)

    @invariant()
    def nobody_is_proved_without_an_answer(self) -> None:
        """Never on the liar's link; on the honest one both sides agree."""
        assert not any(number != 1 for number, _ in self.proved)
        assert not self.links[3].received._proved
        if A in self.links[1].made.claimed_domains():
            assert (1, A) in self.proved

    def teardown(self) -> None:
        """Once the liar is silent and nothing is lost, an honest claim on a new link is proved."""
        fresh = Link(1, ClaimsMade(), ClaimsReceived(), honest=True)
        self.links[1] = fresh
        self.now += CLAIM_DEADLINE_S + CLOCK_SKEW_S
        self.asked_of_a.clear()
        self._claim(fresh, B)
        (asked, number) = self.asked_of_a.pop()
        answer = self.ask_a(asked.from_domain, asked.to_domain, asked.token, asked.secret)
        assert answer is not None
        self._answer(number, answer[1].number, answer[1].answer)
        assert A in fresh.made.claimed_domains()


class NoPairCheck(Dialback):
    """The same world with a claimer that does not look at the pair VERIFY names: it must be broken."""

    pairs = (B, M)

    def ask_a(
        self, from_domain: bytes, to_domain: bytes, token: bytes, secret: bytes
    ) -> tuple[int, Release] | None:
        """Releases for whatever pair the token was made for."""
        del to_domain
        answers = (super(NoPairCheck, self).ask_a(from_domain, pair, token, secret) for pair in self.pairs)
        return next((answer for answer in answers if answer is not None), None)


TestDialback = Dialback.TestCase
TestDialback.settings = settings(max_examples=300, stateful_step_count=40)


@pytest.mark.parametrize("kind", [Dialback, NoPairCheck])
def test_the_machine_above_finds_a_missing_check(kind: type[Dialback]) -> None:
    """Its invariant is not blind: with the check of the pair taken away, these steps prove M as A."""
    world = kind()
    token = world.a_claims_to_m()
    world.m_claims_a_to_b(token)
    released = world.b_verifies(0, lose=False, again=False)
    if kind is Dialback:
        assert released == multiple()
        world.nobody_is_proved_without_an_answer()
    else:
        assert isinstance(released, tuple)
        world.m_replays_a_proof(released, 0)
        with pytest.raises(AssertionError):
            world.nobody_is_proved_without_an_answer()
