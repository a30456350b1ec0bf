"""The verifier's side of dial-back: a stranger claims a domain, we ask that domain's own routers.

Specification section 6.2. Nothing of the first connection is used but the domain's name. Work done at a
stranger's word is limited before it starts (`routing.dialling`), and none of it touches the destination table
of our own traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.link.claims import NONCE_GRACE_S, ClaimState, ReceivedClaim
from imxrouter.link.machine import LinkState
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.vocabulary import REASON_BY_CODE, Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.prefixes import address_keys
from imxrouter.switch.ports import FOREVER, Role
from imxrouter.transport.dialing import Dialer, DialFailed, Dialled, Endpoint
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Door, Link, Purpose, Tongue
from imxrouter.transport.trust import Trust
from imxrouter.wire.control import Claim, Control, Hello, Proof, VerifyResult, Withdraw

#: Targets asked for one claim at most (architecture 5.3).
MAX_TARGETS = 8
#: Refused claims of a link that are logged before a domain is proved on it, so that no stranger fills logs.
LOGGED_REFUSALS = 16


@dataclass(slots=True)
class _Verification:
    """One claim being verified."""

    first: Link
    claim: ReceivedClaim
    domain: Domain
    tried: set[Endpoint] = field(default_factory=set)
    second: int = 0
    reused: Endpoint | None = None
    nonces: tuple[bytes, ...] = ()
    level: int = 0
    answered_at: float | None = None
    targets: int = 0
    last: Reason = Reason.NOT_MINE
    #: number of the VERIFY on the second connection that has no result; 0: there is none
    number: int = 0
    #: a connection ended with our question: the answer may have been released for it
    doubtful: bool = False
    fails_at: float | None = None


class Verifier:
    """Verifies strangers' claims.

    Args:
        hub: links of this process.
        dialer: opens second connections.
        trust: policy, caps and limits.
        tongue: how links speak that have no other.

    Attributes:
        dialers: what opens second connections, by what is spoken on them; `dialer` for IMX.
    """

    log = Logger()

    def __init__(self, hub: Hub, dialer: Dialer, trust: Trust, tongue: Tongue) -> None:
        self._hub = hub
        self.dialers: dict[Protocol, Dialer] = {tongue.protocol: dialer}
        self._trust = trust
        self._tongue = tongue
        self._next = 1
        #: number of a VERIFY -> its verification; numbers are ours alone and never repeat in this life
        self._asked: dict[int, _Verification] = {}
        self._by_claim: dict[tuple[int, int], _Verification] = {}
        #: second connections whose nonce went back, and until when the claimer may say PROVED there
        self._awaited: dict[int, float] = {}
        #: told (domain) when a peer domain is proved on a link of ours
        self.on_proved: Callable[[Link, bytes, bytes], None] = lambda *_: None
        #: told of a domain whose proof on a link we ended
        self.on_dropped: Callable[[bytes], None] = lambda _domain: None
        #: told why each claim ended, NONE where the domain was proved
        self.on_result: Callable[[Reason], None] = lambda _reason: None
        self.on_step: Callable[[str, Link, bytes, bytes, str], None] = lambda *_: None
        #: begins a verification, on a network's account, in a turn that has room for it
        self.in_turn: Callable[[Callable[[], None], bytes], None] = lambda begin, _network: begin()
        #: goes on with one, in such a turn
        self.go_on: Callable[[Callable[[], None]], None] = lambda then: then()
        hub.timers.also.append(self._look)

    def tongue_of(self, session: Link) -> Tongue:
        """How it is spoken on a link."""
        return session.tongue or self._tongue

    # -- a claim comes -----------------------------------------------------------------------------------

    def claim(self, first: Link, claim: Claim) -> None:
        """Take a claim, or refuse it by name without dialling."""
        reason = self._refusal(first, claim)
        if reason is not None:
            self.refuse(first, claim, reason)
            return
        domain, to_domain = Domain(claim.from_domain.decode()), Domain(claim.to_domain.decode())
        taken = first.received.take(
            claim.number, claim.from_domain, claim.to_domain, claim.token, self._hub.random_bytes(32),
            self._hub.now(),
        )  # fmt: skip
        if isinstance(taken, Reason):
            self.refuse(first, claim, taken, 5)
            return
        verdict = self._trust.may_claim(first, domain, to_domain)
        if verdict.reason is not Reason.NONE:
            first.received.refuse(claim.number)
            word = verdict.reason.word
            self.on_step("claim refused", first, claim.from_domain, claim.to_domain, word)
            self.refuse(first, claim, verdict.reason, verdict.retry_after_s, note=verdict.note)
            return
        self.on_step("claim received", first, claim.from_domain, claim.to_domain, "")
        verification = _Verification(first, taken, domain, level=verdict.level)
        self._by_claim[first.number, claim.number] = verification
        if verdict.level:
            first.received.accept(claim.number)
            self._prove(verification)
        else:
            network = address_keys(first.remote[0]).prefix
            self.in_turn(lambda: self._begin(verification), network)

    def _begin(self, verification: _Verification) -> None:
        if self._pending(verification):
            self._dial(verification)

    def _refusal(self, first: Link, claim: Claim) -> Reason | None:
        try:
            Domain.from_wire(claim.from_domain)
            Domain.from_wire(claim.to_domain)
        except BadDomain:
            return Reason.BAD_ADDRESS
        route = self._hub.switch.routes.get(claim.to_domain)
        if route is None or first.port.role is not Role.PEER or first.door is Door.SERVICES:
            return Reason.RELAY_DENIED
        if route.suspended:
            return Reason.SUSPENDED
        if claim.from_domain in self._hub.switch.routes:
            return Reason.SERVED_HERE  # such a domain speaks only by its own service link (rule 1)
        if first.machine.state is not LinkState.OPEN:
            return Reason.SHUTTING_DOWN
        return None

    def refuse(
        self, first: Link, claim: Claim | ReceivedClaim, reason: Reason, retry_after_s: int = 0,
        cause: Reason | None = None, note: str = "",
    ) -> None:  # fmt: skip
        """Refuse a claim; `cause` is told to ourselves where the peer is told something else."""
        if reason is Reason.BLOCKED:
            reason, cause = Reason.NOT_DELIVERED, reason
        self.on_result(cause or reason)
        first.port.refused += not first.port.sources
        if first.port.refused <= LOGGED_REFUSALS:
            self.log.info(
                "claim {number} on link {link} from {address} refused: {reason}", number=claim.number,
                link=first.number,
                address=first.remote[0], reason=reason.word, stage=reason.stage.value, note=note,
            )  # fmt: skip
        self._hub.count(reason)
        self.tongue_of(first).result(first, claim, reason, 0, (), retry_after_s)

    # -- the second connection ---------------------------------------------------------------------------

    def _dial(self, verification: _Verification) -> None:
        verification.targets += 1
        tongue, peer = self.tongue_of(verification.first), verification.domain
        own = Domain(verification.claim.to_domain.decode("ascii"))

        def can_ask(link: Link) -> bool:
            if link is verification.first or self.tongue_of(link) is not tongue:
                return False  # never on the connection that the claim came on (XEP-0288 section 2.2)
            return tongue.may_ask(link, own, peer)

        dialled = self.dialers[tongue.protocol].dial(
            peer,
            lambda: tongue.second(own, peer, self.go_on),
            reuse=lambda endpoint, fits: self._reusable(endpoint, lambda one: can_ask(one) and fits(one)),
            skip=frozenset(verification.tried),
            permit=self._trust.permit(verification.first, verification.domain),
            own=own,
            first=verification.first,
        )
        dialled.addCallbacks(self._dialled, self._not_dialled, (verification,), {}, (verification,))
        dialled.addErrback(self._broken, verification)

    def _reusable(self, endpoint: Endpoint, fits: Callable[[Link], bool]) -> Link | None:
        """A link that we opened to that very endpoint, not at a peer's word (architecture 5.3)."""
        for session in self._hub.opened_links.to(endpoint):
            if (
                session.purpose in (Purpose.VERIFY, Purpose.DATA)
                and not session.redirected
                and session.machine.state in (LinkState.AWAIT_HELLO, LinkState.OPEN)
                and not session.port.closed
                and not session.leaving
                and fits(session)
            ):
                return session
        return None

    def _dialled(self, dialled: Dialled, verification: _Verification) -> None:
        verification.tried.add(dialled.endpoint)
        if not self._pending(verification):
            return
        second = dialled.session
        verification.second = second.number
        verification.reused = dialled.endpoint if dialled.reused else None
        second.reached.add(verification.claim.from_domain)
        if second.port.closed:
            self._second_gone(verification, second)
        elif second.is_open:
            self._ask(second, verification)

    def _not_dialled(self, failure: Failure, verification: _Verification) -> None:
        failed = failure.value
        if not isinstance(failed, DialFailed):
            failure.raiseException()
        if not self._pending(verification):
            return  # the claim is gone, and its permit was given back
        none_left = failed.exhausted and verification.targets > 1
        reason = verification.last if none_left else failed.reason
        permit = self._trust.permit(verification.first, verification.domain)
        if permit is not None and permit.put_off:
            reason = Reason.DIAL_LIMIT  # nobody was asked: the claim may be made again
        self._fail(verification, reason, failed.note)

    def _broken(self, failure: Failure, verification: _Verification) -> None:
        self.log.failure("verification of {domain}", failure, domain=verification.domain.name)
        self._fail(verification, Reason.DIALBACK_TIMEOUT, "internal failure")

    def _ask(self, second: Link, verification: _Verification) -> None:
        worth = self._trust.worth(verification.first, second, verification.domain)
        if worth.reason is not Reason.NONE:
            self._fail(verification, worth.reason, worth.note)
            return
        verification.level = worth.level & (verification.level or worth.level)
        number = self._next
        self._next += 1
        self._asked[number] = verification
        verification.number = number
        claim = verification.claim
        self.on_step("verification asked", second, claim.from_domain, claim.to_domain, "")
        self.tongue_of(second).verify(second, number, claim, verification.first)

    def _pending(self, verification: _Verification) -> bool:
        first = verification.first
        return self._by_claim.get((first.number, verification.claim.number)) is verification

    # -- answers -----------------------------------------------------------------------------------------

    def verify_result(self, second: Link, result: VerifyResult) -> None:
        """The claiming domain's router says whether the claim is its own."""
        verification = self._asked.get(result.number)
        if verification is None or verification.second != second.number or not self._pending(verification):
            return
        self._put_by(verification)
        reason = REASON_BY_CODE.get(result.reason, Reason.DIALBACK_REFUSED)
        if reason is Reason.NONE:
            second.reached.add(verification.claim.from_domain)  # a WITHDRAW may have come before the answer
            if result.nonce is not None:
                verification.nonces = (result.nonce,)
            else:
                verification.second = 0  # it has answered: nothing is asked again when it ends
            if verification.claim.state is ClaimState.RELEASED:
                self._prove(verification)
        elif reason is Reason.NOT_MINE and verification.targets < MAX_TARGETS:
            self._trust.not_mine(verification.first, verification.domain)
            verification.last = Reason.NOT_MINE
            verification.second = 0  # its end, while the next target is dialled, is none of ours
            self._dial(verification)
        elif reason is Reason.BAD_TOKEN and verification.doubtful:
            verification.fails_at = self._hub.now() + NONCE_GRACE_S
        else:
            kept = reason in (Reason.NOT_MINE, Reason.LINK_LOST)
            told = reason if kept else Reason.DIALBACK_REFUSED
            self._fail(verification, told, reason.word, cause=reason)

    def proof(self, first: Link, proof: Proof) -> None:
        """The answer returned on the first connection; a wrong one is counted and changes nothing."""
        claim = first.received.answer(proof.number, proof.answer)
        if claim is None:
            self._hub.count(Reason.BAD_TOKEN)
            return
        verification = self._by_claim.get((first.number, proof.number))
        if verification is None:
            return
        verification.answered_at = self._hub.now()
        if verification.nonces or verification.fails_at is not None:
            self._prove(verification)

    def _prove(self, verification: _Verification) -> None:
        first, claim = verification.first, verification.claim
        self._close(verification)
        verdict = self._trust.may_prove(first, verification.domain, verification.level)
        if verdict.reason is not Reason.NONE:
            first.received.refuse(claim.number)
            self._trust.done(first, verification.domain, verdict.reason)
            self.refuse(first, claim, verdict.reason, verdict.retry_after_s)
            return
        if first.received.prove(claim.number) is None:
            return
        self._trust.done(first, verification.domain, Reason.NONE, verification.level)
        if verification.nonces and verification.second:
            self._awaited[verification.second] = self._hub.now() + NONCE_GRACE_S
        self.on_result(Reason.NONE)
        settings, port = self._hub.settings, first.port
        interval_s, burst_s = self._trust.terms(claim.from_domain)
        until = self._hub.now() + settings.proof_max_age_s
        port.sources[claim.from_domain] = (verification.level, None, until, interval_s, burst_s, FOREVER)
        tongue = self.tongue_of(first)
        answers = tongue.answers(first)
        if answers:
            port.speaks.add(claim.from_domain)
        port.max_record = settings.max_record_bytes
        self.on_step("domain proved", first, claim.from_domain, claim.to_domain, "")
        tongue.result(first, claim, Reason.NONE, verification.level, verification.nonces, 0)
        if first.is_open and answers:
            self._hub.switch.open_way(claim.from_domain, claim.to_domain, port, verification.level)
        self.on_proved(first, claim.from_domain, claim.to_domain)

    def _fail(
        self, verification: _Verification, reason: Reason, note: str, cause: Reason | None = None
    ) -> None:
        if not self._pending(verification):
            return
        self._close(verification)
        first, claim = verification.first, verification.claim
        first.received.refuse(claim.number)
        retry_after_s = self._trust.done(first, verification.domain, reason)
        self.on_step("claim refused", first, claim.from_domain, claim.to_domain, f"{reason.word} {note}")
        self.refuse(first, claim, reason, retry_after_s, cause)

    def _close(self, verification: _Verification) -> None:
        self._by_claim.pop((verification.first.number, verification.claim.number), None)
        self._put_by(verification)

    def _put_by(self, verification: _Verification) -> None:
        """The VERIFY that was sent needs no result any more: one that comes yet changes nothing."""
        self._asked.pop(verification.number, None)
        verification.number = 0

    def busy(self) -> set[int]:
        """Numbers of the second connections that a verification waits on, or on which PROVED is due."""
        waited = {verification.second for verification in self._by_claim.values() if verification.second}
        return waited | self._awaited.keys()

    # -- the end of proofs -------------------------------------------------------------------------------

    def drop_proof(self, session: Link, domain: bytes, reason: Reason) -> None:
        """A proof ends (age, policy, idleness): at once, and the peer is told."""
        if self._forget(session, domain):
            self.tongue_of(session).withdraw(session, domain, reason)
            self.on_dropped(domain)

    def _withdrawn(self, session: Link, domain: bytes) -> None:
        """The claimer ends what holds of a domain, and what it claimed of it; there is no answer."""
        for verification in list(self._by_claim.values()):
            if verification.first is session and verification.claim.from_domain == domain:
                self._close(verification)
                session.received.refuse(verification.claim.number)
                self._trust.done(session, verification.domain, Reason.LINK_LOST)
                self.on_result(Reason.LINK_LOST)
        self._forget(session, domain)

    def _forget(self, session: Link, domain: bytes) -> bool:
        """End a proof; False where there is none."""
        if session.port.sources.pop(domain, None) is None:
            return False
        session.port.speaks.discard(domain)
        session.received.forget(domain)
        self._hub.switch.ways.end_to(domain, session.port)
        self._trust.dropped(session, Domain(domain.decode()))
        return True

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """A second connection said hello: ask what waits for it."""
        del peer
        for verification in list(self._by_claim.values()):
            if verification.second == session.number:
                self._ask(session, verification)

    def control(self, session: Link, record: Control) -> None:
        """Records that concern others' claims."""
        if isinstance(record, Claim):
            self.claim(session, record)
        elif isinstance(record, Proof):
            self.proof(session, record)
        elif isinstance(record, VerifyResult):
            self.verify_result(session, record)
        elif isinstance(record, Withdraw) and session.purpose is Purpose.ACCEPTED:
            self._withdrawn(session, record.from_domain)

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Nothing to do."""

    def lost(self, session: Link) -> None:
        """A first connection takes its claims along; what a second one had goes to the next target."""
        for verification in list(self._by_claim.values()):
            if verification.first is session:
                self._close(verification)
                self._trust.done(session, verification.domain, Reason.LINK_LOST)
                self.on_result(Reason.LINK_LOST)
            elif verification.second == session.number and not verification.nonces:
                self._second_gone(verification, session)
        self._trust.closed(session)

    def _second_gone(self, verification: _Verification, second: Link) -> None:
        """The second connection ended without a result: the next target, unless the answer is here.

        A host that has no room for it now says nothing of the claim, which may be made again.
        """
        verification.second = 0
        over_cap = second.drop_reason is Reason.OVER_CAP
        verification.last = Reason.DIAL_LIMIT if over_cap else Reason.LINK_LOST
        verification.doubtful = verification.doubtful or verification.number > 0
        self._put_by(verification)
        if verification.reused is not None:  # it was old and ended: the host itself was not tried
            verification.tried.discard(verification.reused)
            verification.reused = None
        if verification.claim.state is ClaimState.RELEASED:
            self._prove(verification)
        elif verification.fails_at is None and verification.targets < MAX_TARGETS:
            self._dial(verification)
        elif verification.fails_at is None:
            self._fail(verification, verification.last, "second connection")

    def tick(self, now: float) -> None:
        """Deadlines, and answers whose nonce never came."""
        self._awaited = {number: until for number, until in self._awaited.items() if until > now}
        for verification in list(self._by_claim.values()):
            if verification.answered_at is not None and now - verification.answered_at >= NONCE_GRACE_S:
                self._prove(verification)
            elif verification.fails_at is not None and now >= verification.fails_at:
                bad = Reason.BAD_TOKEN
                self._fail(verification, Reason.DIALBACK_REFUSED, bad.word, cause=bad)
            elif now >= verification.claim.deadline:
                self._fail(verification, Reason.DIALBACK_TIMEOUT, "deadline")

    def _look(self, session: Link, now: float) -> None:
        """Proofs of a link past their age."""
        for domain, proof in list(session.port.sources.items()):
            if proof[2] <= now:
                self.drop_proof(session, domain, Reason.NOT_PROVED)
