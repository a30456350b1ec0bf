"""Claims: one source domain on one link, verified against one destination domain (specification section 6).

Two pure tables. `ClaimsMade` is the claimer's side of a link, `ClaimsReceived` the verifier's. Neither
dials, mints nor sends: they say what is allowed, and count what is not.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from imxrouter.link.answer import ConnectionView, answer_for
from imxrouter.link.token import TokenFacts
from imxrouter.model.vocabulary import Reason

#: Claims a link may carry before one of them is proved (architecture 5.3).
CLAIMS_BEFORE_PROOF: Final = 16
#: Claims of ours that may be pending on a link at a time, however many the peer takes.
CLAIMS_PENDING: Final = 1024
#: Refusals that say that the peer verifies no more at a time: fewer are pending from then on.
_TOO_FAST: Final = frozenset({Reason.DIAL_LIMIT, Reason.TOO_MANY_CLAIMS})
#: A claim that is not settled by then has failed; longer than look-up, dial and hello together.
CLAIM_DEADLINE_S: Final = 30.0
#: After a right answer the verifier waits this long for the nonce from the second connection.
NONCE_GRACE_S: Final = 2.0


class ClaimState(Enum):
    """Where a claim stands."""

    ASKED = "asked"
    RELEASED = "released"
    PROVED = "proved"
    REFUSED = "refused"


@dataclass(slots=True)
class MadeClaim:
    """A claim of ours on a link we hold."""

    number: int
    from_domain: bytes
    to_domain: bytes
    token: bytes
    deadline: float
    state: ClaimState = ClaimState.ASKED
    reason: Reason = Reason.NONE
    nonces: dict[bytes, int] = field(default_factory=dict)
    retry_at: float = 0.0
    #: the result is the peer's word; otherwise we gave up by ourselves
    told: bool = False
    #: what the peer says that it proved, as bits; 0 before
    level: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """The claimer lets the answer go on the first connection."""

    number: int
    answer: bytes


class ClaimsMade:
    """The claimer's side of one link: what we claimed there, and when an answer may be released."""

    def __init__(
        self,
        view: ConnectionView = ConnectionView.CLEAR,
        exporter: bytes = b"",
        deadline_s: float = CLAIM_DEADLINE_S,
    ) -> None:
        self._deadline_s = deadline_s
        self.view = view
        self.exporter = exporter
        self._by_number: dict[int, MadeClaim] = {}
        self._by_pair: dict[tuple[bytes, bytes], MadeClaim] = {}
        self._next = 1
        #: domain of ours -> number of the claim of it that is pending: a peer takes one at a time
        self._pending: dict[bytes, int] = {}
        self._waiting: dict[tuple[bytes, bytes], None] = {}
        #: claims asked since the link began, until the peer takes one
        self._asked_before: int | None = 0
        #: claims that may be pending at a time: one more with each that is proved, as many as the peer took
        #: where it refused one. Hundreds at once would be refused, and each wait seconds to be made again.
        self._window = CLAIMS_BEFORE_PROOF

    def next_number(self) -> int:
        """The number the next claim gets."""
        return self._next

    def ask(self, from_domain: bytes, to_domain: bytes, token: bytes, now: float) -> MadeClaim:
        """Enter a claim that is being sent; replaces an older one of the same pair."""
        old = self._by_pair.get((from_domain, to_domain))
        if old is not None:
            self._drop(old)
        if self._asked_before is not None:
            self._asked_before += 1
        self._pending[from_domain] = self._next
        made = MadeClaim(self._next, from_domain, to_domain, token, now + self._deadline_s)
        self._next += 1
        self._by_number[made.number] = made
        self._by_pair[(from_domain, to_domain)] = made
        return made

    def has_room(self) -> bool:
        """Whether the peer can be expected to take one more domain's claim (specification section 6.1)."""
        if self._asked_before is not None:
            return self._asked_before < CLAIMS_BEFORE_PROOF
        return len(self._pending) < self._window

    def wait(self, from_domain: bytes, to_domain: bytes) -> None:
        """Remember a pair to be claimed when there is room."""
        self._waiting[from_domain, to_domain] = None

    def has_room_for(self, from_domain: bytes) -> bool:
        """The same of a domain of ours: no other claim of it is pending."""
        return from_domain not in self._pending and self.has_room()

    def next_waiting(self) -> tuple[bytes, bytes] | None:
        """The pair that has waited longest of those for which there is room."""
        if not self._waiting or not self.has_room():
            return None
        pair = next((pair for pair in self._waiting if pair[0] not in self._pending), None)
        if pair is not None:
            del self._waiting[pair]
        return pair

    def give_up_waiting(self) -> list[MadeClaim]:
        """Refuse what waits, where nothing is pending any more that could make room for it."""
        if self._pending or self.has_room():
            return []
        waiting, self._waiting = self._waiting, {}
        return [MadeClaim(0, *pair, b"", 0.0, ClaimState.REFUSED, Reason.TOO_MANY_CLAIMS) for pair in waiting]

    def of_pair(self, from_domain: bytes, to_domain: bytes) -> MadeClaim | None:
        """The newest claim of the pair."""
        return self._by_pair.get((from_domain, to_domain))

    def claims(self) -> list[MadeClaim]:
        """The newest claim of each pair."""
        return list(self._by_pair.values())

    def claimed_domains(self) -> frozenset[bytes]:
        """Every domain of ours that was proved here."""
        return frozenset(p[0] for p, claim in self._by_pair.items() if claim.state is ClaimState.PROVED)

    def release(
        self, facts: TokenFacts, from_domain: bytes, to_domain: bytes, token: bytes, secret: bytes,
        seen_by_verifier: int, now: float,
    ) -> Release | Reason:  # fmt: skip
        """Decide on a verification that names this link (specification section 6.2).

        The answer goes only if the claim of that number is pending here, is of this very pair and token, and
        both sides see the first connection alike. A second verification of a released claim is refused.
        """
        claim = self._by_number.get(facts.claim)
        if claim is None or claim.state is not ClaimState.ASKED or now > claim.deadline:
            return Reason.BAD_TOKEN
        if (claim.from_domain, claim.to_domain) != (from_domain, to_domain):
            return Reason.BAD_TOKEN
        if not hmac.compare_digest(claim.token, token):
            return Reason.BAD_TOKEN
        if seen_by_verifier != self.view:
            claim.state, claim.reason = ClaimState.REFUSED, Reason.TLS_VIEW_MISMATCH
            self._settled(claim)
            return Reason.TLS_VIEW_MISMATCH
        claim.state = ClaimState.RELEASED
        return Release(
            claim.number, answer_for(secret, self.view, self.exporter, from_domain, to_domain, token)
        )

    def remember_nonce(self, number: int, nonce: bytes, second_link: int) -> None:
        """Note the nonce we sent on the second connection; its return here proves the verifier there."""
        claim = self._by_number.get(number)
        if claim is not None:
            claim.nonces[nonce] = second_link

    def of_number(self, number: int) -> MadeClaim | None:
        """The claim of that number."""
        return self._by_number.get(number)

    def settle(
        self, number: int, reason: Reason, nonces: tuple[bytes, ...], *, by_certificate: bool = False
    ) -> tuple[MadeClaim, list[int]] | None:
        """Take the verifier's result.

        Args:
            number: of the claim.
            reason: NONE for success.
            nonces: of ours that the result repeats.
            by_certificate: success needs no answer of ours: the certificate that we presented is the proof.

        Returns:
            The claim and the numbers of the second links whose verifier is hereby proved; None where no such
            claim waits for a result (late, doubled or invented: the caller counts it).
        """
        claim = self._by_number.get(number)
        if claim is None or claim.state not in (ClaimState.ASKED, ClaimState.RELEASED):
            return None
        if reason is Reason.NONE and claim.state is not ClaimState.RELEASED and not by_certificate:
            return None  # success without our having answered: nothing was proved
        claim.state = ClaimState.PROVED if reason is Reason.NONE else ClaimState.REFUSED
        claim.reason, claim.told = reason, True
        self._settled(claim)
        if reason is Reason.NONE:
            self._asked_before = None
            self._window = min(self._window + 1, CLAIMS_PENDING)
        elif reason in _TOO_FAST:
            self._window = max(min(self._window, len(self._pending)), 1)
        proved_links = [claim.nonces[nonce] for nonce in nonces if nonce in claim.nonces]
        claim.nonces.clear()
        return claim, proved_links if reason is Reason.NONE else []

    def older_than(self, moment: float) -> list[MadeClaim]:
        """Proved claims whose deadline lay before the moment: those to be claimed anew."""
        return [
            claim
            for claim in self._by_pair.values()
            if claim.state is ClaimState.PROVED and claim.deadline < moment
        ]

    def withdraw(self, from_domain: bytes) -> list[MadeClaim]:
        """Forget every claim of a domain; returns them."""
        gone = [claim for pair, claim in self._by_pair.items() if pair[0] == from_domain]
        for claim in gone:
            self._drop(claim)
        for pair in [pair for pair in self._waiting if pair[0] == from_domain]:
            del self._waiting[pair]
        return gone

    def lapse(self, from_domain: bytes) -> None:
        """The verifier holds a proof no longer: forget the domain's proved claims.

        One that is pending was made after the proof that ended, and has a result of its own.
        """
        for claim in [claim for pair, claim in self._by_pair.items() if pair[0] == from_domain]:
            if claim.state is ClaimState.PROVED:
                self._drop(claim)

    def forget_towards(self, to_domain: bytes) -> None:
        """The peer serves the domain no longer: what we claimed towards it is void."""
        for claim in [claim for pair, claim in self._by_pair.items() if pair[1] == to_domain]:
            self._drop(claim)
        for pair in [pair for pair in self._waiting if pair[1] == to_domain]:
            del self._waiting[pair]

    def _drop(self, claim: MadeClaim) -> None:
        self._by_pair.pop((claim.from_domain, claim.to_domain), None)
        self._by_number.pop(claim.number, None)
        self._settled(claim)

    def _settled(self, claim: MadeClaim) -> None:
        if self._pending.get(claim.from_domain) == claim.number:
            del self._pending[claim.from_domain]

    def expire(self, now: float) -> list[MadeClaim]:
        """Refuse what passed its deadline; returns those claims."""
        late = [
            claim
            for claim in self._by_number.values()
            if claim.deadline < now and claim.state in (ClaimState.ASKED, ClaimState.RELEASED)
        ]
        for claim in late:
            claim.state, claim.reason = ClaimState.REFUSED, Reason.DIALBACK_TIMEOUT
            self._settled(claim)
        return late


@dataclass(slots=True)
class ReceivedClaim:
    """A stranger's claim under verification."""

    number: int
    from_domain: bytes
    to_domain: bytes
    token: bytes
    secret: bytes
    deadline: float
    state: ClaimState = ClaimState.ASKED
    nonces: tuple[bytes, ...] = ()
    wrong_answers: int = 0


class ClaimsReceived:
    """The verifier's side of one link."""

    def __init__(
        self, view: ConnectionView = ConnectionView.CLEAR, exporter: bytes = b"", *, limit: int = 4096,
        before_proof: int = CLAIMS_BEFORE_PROOF, deadline_s: float = CLAIM_DEADLINE_S,
    ) -> None:  # fmt: skip
        self._deadline_s = deadline_s
        self.view = view
        self.exporter = exporter
        self._limit = limit
        self._before_proof = before_proof
        self._pending: dict[int, ReceivedClaim] = {}
        self._pending_domains: set[bytes] = set()
        #: claims since the link began or last proved a domain
        self._seen = 0
        self._proved: set[bytes] = set()
        self.wrong_answers = 0

    def take(
        self, number: int, from_domain: bytes, to_domain: bytes, token: bytes, secret: bytes, now: float
    ) -> ReceivedClaim | Reason:
        """Enter a claim, or say why not. One verification at a time per (link, domain)."""
        limit = self._limit if self._proved else self._before_proof
        self._seen += 1
        if len(self._pending) + len(self._proved) >= limit or (not self._proved and self._seen > limit):
            return Reason.TOO_MANY_CLAIMS
        if number in self._pending or from_domain in self._pending_domains:
            return Reason.TOO_MANY_CLAIMS
        claim = ReceivedClaim(number, from_domain, to_domain, token, secret, now + self._deadline_s)
        self._pending[number] = claim
        self._pending_domains.add(from_domain)
        return claim

    def claims(self) -> list[ReceivedClaim]:
        """The claims under verification."""
        return list(self._pending.values())

    def pending(self, number: int) -> ReceivedClaim | None:
        """The claim under verification with that number."""
        return self._pending.get(number)

    def verifies(self, from_domain: bytes) -> bool:
        """Whether a claim of the domain is under verification."""
        return from_domain in self._pending_domains

    @property
    def waiting(self) -> int:
        """Claims under verification."""
        return len(self._pending)

    def answer(self, number: int, answer: bytes) -> ReceivedClaim | None:
        """Judge what returned on this link; a wrong or unasked answer is counted and changes nothing."""
        claim = self._pending.get(number)
        if claim is None or claim.state is not ClaimState.ASKED:
            self.wrong_answers += 1
            return None
        expected = answer_for(
            claim.secret, self.view, self.exporter, claim.from_domain, claim.to_domain, claim.token
        )
        if not hmac.compare_digest(expected, answer):
            claim.wrong_answers += 1
            self.wrong_answers += 1
            return None
        claim.state = ClaimState.RELEASED
        return claim

    def accept(self, number: int) -> None:
        """The certificate of this link is the proof; no answer is waited for."""
        claim = self._pending.get(number)
        if claim is not None:
            claim.state = ClaimState.RELEASED

    def prove(self, number: int) -> ReceivedClaim | None:
        """Close a claim whose right answer came; None for any other."""
        claim = self._pending.get(number)
        if claim is None or claim.state is not ClaimState.RELEASED:
            return None
        del self._pending[number]
        self._pending_domains.discard(claim.from_domain)
        claim.state = ClaimState.PROVED
        self._proved.add(claim.from_domain)
        self._seen = 0
        return claim

    def refuse(self, number: int) -> ReceivedClaim | None:
        """Close a claim as refused."""
        claim = self._pending.pop(number, None)
        if claim is not None:
            self._pending_domains.discard(claim.from_domain)
            claim.state = ClaimState.REFUSED
        return claim

    def forget(self, from_domain: bytes) -> None:
        """A proof ended (age, policy, withdrawal)."""
        self._proved.discard(from_domain)

    def expire(self, now: float) -> list[ReceivedClaim]:
        """Close what passed its deadline; returns those claims, the answered ones still RELEASED."""
        late = [claim for claim in self._pending.values() if claim.deadline < now]
        for claim in late:
            if claim.state is ClaimState.ASKED:
                self.refuse(claim.number)
        return late
