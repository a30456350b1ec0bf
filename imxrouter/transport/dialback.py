"""Dial-back as the specification's section 6 has it: our claims on links we opened, and answering for them.

`Claimer` makes claims, releases answers when a verification arrives on any of our links, and opens the ways
once a peer says that a domain of ours is proved. `verifier.py` is the other side.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.logger import Logger

from imxrouter.link.claims import ClaimState, MadeClaim, Release
from imxrouter.link.ledger import TO_DOMAIN
from imxrouter.link.machine import Side
from imxrouter.link.token import TokenFacts, TokenRefused, open_token
from imxrouter.model.vocabulary import REASON_BY_CODE, Reason
from imxrouter.routing.interfaces import Bus
from imxrouter.routing.policy import Decision, Level
from imxrouter.switch.ports import FOREVER
from imxrouter.transport.hub import Hub
from imxrouter.transport.keyring import Keys
from imxrouter.transport.link import Door, Link, Purpose, Tongue
from imxrouter.transport.tongue import ImxTongue
from imxrouter.wire.control import (
    ClaimResult,
    Control,
    Hello,
    Proof,
    Proved,
    Verify,
    VerifyResult,
    Withdraw,
)

#: A proof of ours is claimed anew when this part of its life has passed.
RENEW_AFTER = 0.75
#: Where a nonce opened a link of ours and nothing has renewed that since, our domain is claimed there. It is
#: later than the other side's claim, whose verification may come over that link and renew it.
CLAIM_AFTER = 0.85
#: Seconds after which a claim that failed may be made again, where the peer does not say.
AGAIN_S = 5
_BY_DIALBACK = Decision(Level.DIALBACK, int(Level.DIALBACK))


class BusVerify(msgspec.Struct, frozen=True, array_like=True):
    """What one process of a domain asks another: release the answer of your claim."""

    link: int
    claim: int
    nonce: bytes
    expires_at: int
    server: bytes
    process: int
    from_domain: bytes
    to_domain: bytes
    token: bytes
    secret: bytes
    first_view: int
    second_nonce: bytes


class Claimer:
    """Our side of dial-back.

    Args:
        hub: links of this process.
        keys: dial-back keys.
        bus: other processes of this host.
        wall: this host's clock, seconds since 1970 (tokens expire by it).
        on_settled: told (session, claim) when a claim of ours is proved or refused.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        keys: Keys,
        bus: Bus,
        wall: Callable[[], float],
        proof_terms: Callable[[bytes], tuple[float, float]],
    ) -> None:
        self._hub = hub
        self._keys = keys
        self._bus = bus
        self._wall = wall
        self._terms = proof_terms
        #: how links speak that have no other tongue
        self.tongue: Tongue = ImxTongue(hub, keys, wall)
        self.on_settled: Callable[[Link, MadeClaim], None] = lambda *_: None
        #: told why each claim ended, NONE where our domain was proved
        self.on_result: Callable[[Reason], None] = lambda _reason: None
        self.on_step: Callable[[str, Link, bytes, bytes, str], None] = lambda *_: None
        #: bits that the best link of ours can have
        self.best_level: int = Level.DIALBACK
        #: what a link is worth that we opened, towards a domain that was reached over it
        self.worth: Callable[[Link, bytes], Decision] = lambda *_: _BY_DIALBACK
        #: what our nonce proves that came back on the first link, of who had sent VERIFY on the second one
        self.worth_returned: Callable[[Link, Link, bytes], Decision] = lambda *_: _BY_DIALBACK
        #: whether a link that a verifier opened may count as its domain's, and no more as a stranger's
        self.may_use_second: Callable[[Link, bytes], bool] = lambda *_: True
        #: told (link, domain) of each domain that was reached over a link and may be used there
        self.on_reached: Callable[[Link, bytes], None] = lambda *_: None
        #: (link, our domain, their domain) -> when PROVED came there
        self._by_nonce: dict[tuple[int, bytes, bytes], float] = {}
        hub.timers.also.append(self._look)

    def tongue_of(self, session: Link) -> Tongue:
        """How it is spoken on a link."""
        return session.tongue or self.tongue

    # -- claiming ----------------------------------------------------------------------------------------

    def claim(self, session: Link, from_domain: bytes, to_domain: bytes) -> None:
        """Ask the peer to verify that we speak for a domain; a pending claim of the pair is kept.

        Where more are pending already than the peer would take, it waits for one of them to be settled.
        """
        pending = session.made.of_pair(from_domain, to_domain)
        if pending is not None and pending.state in (ClaimState.ASKED, ClaimState.RELEASED):
            return
        if not session.made.has_room_for(from_domain):
            session.made.wait(from_domain, to_domain)
            return
        tongue = self.tongue_of(session)
        token = tongue.token(session, from_domain, to_domain)
        made = session.made.ask(from_domain, to_domain, token, self._hub.now())
        self.on_step("claim sent", session, from_domain, to_domain, "")
        tongue.claim(session, made)

    def _claim_waiting(self, session: Link) -> None:
        """A claim was settled: there may be room for the next ones."""
        while session.is_open and (pair := session.made.next_waiting()) is not None:
            if pair[0] in self._hub.switch.routes:
                self.claim(session, *pair)
        for made in session.made.give_up_waiting():
            made.retry_at = self._hub.now() + AGAIN_S
            self.on_settled(session, made)

    def withdraw(self, domain: bytes) -> None:
        """A domain is served here no longer: it ends on every link where it was in use, the links stay.

        Also on links that the peer opened, or it would go on sending there what is for the domain.
        """
        used = self._hub.switch.ways.end_source(domain)
        for session in list(self._hub.sessions.values()):
            made = session.made.withdraw(domain)
            for source, proof in list(session.port.sources.items()):
                allowed = proof[1]
                if allowed is not None and domain in allowed:
                    session.port.sources[source] = (proof[0], allowed - {domain}, *proof[2:])
            tongue = self.tongue_of(session)
            if made or session.number in used or tongue.carries(session, domain):
                tongue.withdraw(session, domain, Reason.NONE)

    def leave(self, session: Link, domain: bytes) -> None:
        """A link that we opened is used for a remote domain no more: we were led elsewhere, or ask for more.

        What is in flight is answered, the link stays for others.
        """
        self._peer_left(session, domain)
        self.tongue_of(session).withdraw(session, domain, Reason.NONE)

    # -- answering a verification ------------------------------------------------------------------------

    def verify(self, second: Link, verify: Verify) -> None:
        """A verification came on a link that somebody opened to us."""
        nonce = self._hub.random_bytes(16)
        try:
            if second.door is Door.SERVICES:
                raise TokenRefused(Reason.NOT_MINE, "this port is for logins of services")
            if verify.from_domain not in self._hub.switch.routes:
                raise TokenRefused(Reason.NOT_MINE, "the domain is not served here")
            keys = self._keys.known(verify.from_domain)
            facts = open_token(
                keys, verify.from_domain, verify.to_domain, verify.token, self._wall(),
                self._hub.settings.clock_skew_s,
            )  # fmt: skip
            if facts.server != self._hub.identity.server:
                raise TokenRefused(Reason.NOT_MINE, "the claim was made by another host")
        except TokenRefused as refused:
            self._answer(second, verify, refused.reason, b"", str(refused))
            return
        if facts.process == self._hub.identity.process:
            self._answer(second, verify, self.release(facts, verify, nonce, second.number), nonce)
            return
        ask = BusVerify(
            facts.link, facts.claim, facts.nonce, facts.expires_at, facts.server, facts.process,
            verify.from_domain, verify.to_domain, verify.token, verify.secret, verify.first_view, nonce,
        )  # fmt: skip

        def answered(reply: bytes | None) -> None:
            code = Reason.LINK_LOST.code if reply is None else int.from_bytes(reply, "big")  # it is gone
            self._answer(second, verify, REASON_BY_CODE.get(code, Reason.DIALBACK_REFUSED), nonce)

        self._bus.ask(facts.process, "verify", msgspec.msgpack.encode(ask), answered, 5.0)

    def verify_for_other(self, payload: bytes) -> bytes:
        """Another process of this host received a verification of a claim of ours."""
        ask = msgspec.msgpack.decode(payload, type=BusVerify)
        facts = TokenFacts(ask.server, ask.process, ask.link, ask.claim, ask.nonce, ask.expires_at)
        verify = Verify(ask.claim, ask.from_domain, ask.to_domain, ask.token, ask.secret, ask.first_view)
        return self.release(facts, verify, ask.second_nonce, 0).code.to_bytes(2, "big")

    def release(self, facts: TokenFacts, verify: Verify, nonce: bytes, second: int) -> Reason:
        """Let the answer go on the first connection, if the claim is pending there; say what was decided."""
        first = self._hub.sessions.get(facts.link)
        if first is None:  # the token is good, the connection is gone: nobody tried to deceive
            return Reason.LINK_LOST
        decided = first.made.release(
            facts, verify.from_domain, verify.to_domain, verify.token, verify.secret, verify.first_view,
            self._hub.now(),
        )  # fmt: skip
        if decided is Reason.TLS_VIEW_MISMATCH:
            self._failed(first, verify.from_domain, verify.to_domain)
        if not isinstance(decided, Release):
            return decided
        if second:
            first.made.remember_nonce(decided.number, nonce, second)
        self.on_step("answer released", first, verify.from_domain, verify.to_domain, "")
        first.send(Proof(decided.number, decided.answer))
        return Reason.NONE

    def _failed(self, first: Link, from_domain: bytes, to_domain: bytes) -> None:
        """A claim of ours has failed by what we saw; whatever result comes for it says nothing more."""
        made = first.made.of_pair(from_domain, to_domain)
        if made is not None:
            made.retry_at = self._hub.now() + AGAIN_S
            self._tell(first, made, made.reason.word)

    def _tell(self, session: Link, made: MadeClaim, word: str) -> None:
        """A claim is settled: tell who waits for it; there may be room for the next one."""
        self.on_step("claim settled", session, made.from_domain, made.to_domain, word)
        self.on_result(made.reason)
        self.on_settled(session, made)
        self._claim_waiting(session)

    def _answer(self, second: Link, verify: Verify, reason: Reason, nonce: bytes, note: str = "") -> None:
        if reason is not Reason.NONE:
            self.log.info(
                "verification of {domain} refused: {reason}", domain=verify.from_domain.decode(),
                reason=reason.word, stage=reason.stage.value, note=note,
            )  # fmt: skip
        second.send(VerifyResult(verify.number, reason.code, nonce if reason is Reason.NONE else None))

    # -- the peer's result -------------------------------------------------------------------------------

    def settle(self, session: Link, result: ClaimResult) -> None:
        """The verifier's result on the first connection: open the ways in both directions of rule 3."""
        reason = REASON_BY_CODE.get(result.reason, Reason.PEER_FAILED)
        by_certificate = self.tongue_of(session).result_is_proof(session, result)
        settled = session.made.settle(result.number, reason, result.nonces, by_certificate=by_certificate)
        if settled is None:
            return
        claim, second_links = settled
        if claim.state is ClaimState.PROVED:
            claim.level = result.level or 0
            self._use(session, claim)
            for number in second_links:
                self._use_second(session, self._hub.sessions.get(number), claim)
        else:
            claim.retry_at = self._hub.now() + (result.retry_after_s or AGAIN_S)
            self._hub.switch.ways.end(claim.to_domain, claim.from_domain, session.port)
        word = "proved" if claim.state is ClaimState.PROVED else reason.word
        self._tell(session, claim, word)

    def _use(self, session: Link, claim: MadeClaim) -> None:
        """We opened this link to `to_domain`: send for `from_domain`, accept what comes back to it."""
        port = session.port
        if session.redirected and claim.to_domain not in session.reached:
            return
        worth = self.worth(session, claim.to_domain)
        if not worth.accepted:
            return
        port.max_record = self._hub.settings.max_record_bytes
        port.speaks.add(claim.to_domain)
        self._accept(session, claim.to_domain, claim.from_domain, worth.strength)
        self.on_reached(session, claim.to_domain)
        if session.is_open:
            self._hub.switch.open_way(claim.to_domain, claim.from_domain, port, worth.strength)

    def _accept(
        self, session: Link, source: bytes, to_domain: bytes, level: int, until: float = FOREVER
    ) -> None:
        known = session.port.sources.get(source)
        if known is not None and known[1] is None:
            return  # it proved itself here by its own claim, for every domain: that is not narrowed
        allowed = frozenset({to_domain}) | (known[1] or frozenset() if known is not None else frozenset())
        interval_s, burst_s = self._terms(source)
        session.port.sources[source] = (level, allowed, until, interval_s, burst_s, FOREVER)

    def _use_second(self, first: Link, second: Link | None, claim: MadeClaim) -> None:
        """The nonce came back: whoever opened the second connection is the verifier, for a proof's time."""
        if second is None or not second.is_open:
            return
        worth = self.worth_returned(first, second, claim.to_domain)
        if not worth.accepted or not self.may_use_second(second, claim.to_domain):
            return
        second.port.max_record = self._hub.settings.max_record_bytes
        second.port.speaks.add(claim.to_domain)
        until = self._hub.now() + self._hub.settings.proof_max_age_s
        self._accept(second, claim.to_domain, claim.from_domain, worth.strength, until)
        switch = self._hub.switch  # its host is the first one's, be that for messages or for presence alone
        switch.ways.restrict(claim.to_domain, second.port, switch.ways.only(claim.to_domain, first.port))
        switch.open_way(claim.to_domain, claim.from_domain, second.port, worth.strength)
        second.send(Proved(claim.to_domain, claim.from_domain))

    def proved_on_second(self, session: Link, record: Proved) -> None:
        """The claimer accepted us on the second connection, which we opened: we may use it for data."""
        if record.to_domain not in session.reached or session.redirected:
            return
        worth = self.worth(session, record.to_domain)
        if record.from_domain not in self._hub.switch.routes or not worth.accepted:
            return
        session.purpose = Purpose.DATA
        self._by_nonce[session.number, record.from_domain, record.to_domain] = self._hub.now()
        session.port.max_record = self._hub.settings.max_record_bytes
        session.port.speaks.add(record.to_domain)
        self._accept(session, record.to_domain, record.from_domain, worth.strength)
        self.on_reached(session, record.to_domain)
        if session.is_open:
            self._hub.switch.open_way(record.to_domain, record.from_domain, session.port, worth.strength)

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Nothing is claimed until something is to be sent."""

    def control(self, session: Link, record: Control) -> None:
        """Records that concern our claims."""
        if isinstance(record, Verify):
            self.verify(session, record)
        elif isinstance(record, ClaimResult):
            self.settle(session, record)
        elif isinstance(record, Proved):
            self.proved_on_second(session, record)
        elif isinstance(record, Withdraw):
            self._peer_withdrew(session, record.from_domain)

    def _peer_withdrew(self, session: Link, domain: bytes) -> None:
        """Of a domain of ours: it is claimed again when needed. Of a domain of theirs: DNS is asked anew."""
        session.made.lapse(domain)
        self._hub.switch.ways.end_from(domain, session.port)  # also what PROVED opened, without our claim
        if session.side is Side.OPENER and domain not in self._hub.switch.routes:
            self._peer_left(session, domain)

    def _peer_left(self, session: Link, domain: bytes) -> None:
        """The router we reached for a domain serves it no longer."""
        session.reached.discard(domain)
        session.made.forget_towards(domain)
        port, switch = session.port, self._hub.switch
        port.sources.pop(domain, None)
        switch.ways.end_to(domain, port)
        waiting = (switch.ledger.entries[tag][TO_DOMAIN] for tag in switch.ledger.sent_to(port.number))
        if domain not in waiting:  # requests in flight are answered (specification section 6.5)
            port.speaks.discard(domain)

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Nothing to do: the switch uses the link no more."""

    def lost(self, session: Link) -> None:
        """Claims that waited for a result on it are refused."""
        for known in [known for known in self._by_nonce if known[0] == session.number]:
            del self._by_nonce[known]
        for made in session.made.expire(FOREVER):
            made.reason = session.drop_reason
            self.on_result(Reason.LINK_LOST if made.reason is Reason.NONE else made.reason)
            self.on_settled(session, made)

    def tick(self, now: float) -> None:
        """Renewal of what nonces proved; links are looked at one by one."""
        self._claim_after_nonces(now)

    def _look(self, session: Link, now: float) -> None:
        """Deadlines of a link's claims; renewal of proofs before they end."""
        for made in session.made.expire(now):
            self.on_step("claim settled", session, made.from_domain, made.to_domain, made.reason.word)
            self.on_result(made.reason)
            self.on_settled(session, made)
        if session.is_open:
            if self.tongue_of(session).renews:
                self._renew(session, now)
            self._claim_waiting(session)

    def _renew(self, session: Link, now: float) -> None:
        age = self._hub.settings.proof_max_age_s * RENEW_AFTER
        for made in session.made.older_than(now - age + self._hub.settings.claim_deadline_s):
            if made.from_domain in self._hub.switch.routes:
                self.claim(session, made.from_domain, made.to_domain)

    def _claim_after_nonces(self, now: float) -> None:
        """What rests on a nonce alone ends like every proof: claim before, where it is in use."""
        due = now - self._hub.settings.proof_max_age_s * CLAIM_AFTER
        for known, since in list(self._by_nonce.items()):
            if since > due:
                continue
            del self._by_nonce[known]
            number, ours, theirs = known
            session = self._hub.sessions.get(number)
            ways = self._hub.switch.ways.get(theirs, {}).get(ours, ())
            if session is not None and session.is_open and session.port in ways:
                self.claim(session, ours, theirs)
