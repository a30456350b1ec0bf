"""Proves a domain of ours to another domain's server, and sends nothing: what a neighbour makes of us.

Each way of proof has a stream of its own, so that one does not stand in for the other: on one nothing but
dial-back is tried (the server asks our own servers about the key, as our records lead it there), on another
nothing but SASL EXTERNAL with our certificate.

`OwnKeyProbe` goes the other way round: it asks our own servers, where our records lead, as a neighbour would.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.names import claim_refused_by
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.probing import ASKS_AS, MakesEnd, StreamProbe
from imxrouter.gateways.xmpp.streams.tongue import KeyPlace, XmppTongue
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.link import Link
from imxrouter.transport.opening import OpenedSocket
from imxrouter.wire.control import Control, Hello


class OwnKeyProbe(StreamProbe):
    """Asks who answers for a domain of ours about a key of ours, as any other server would; use once.

    It must say `valid`: then whoever asks there about us is told that our keys are ours.

    Args:
        clock: time.
        domain: ours.
        make: makes our end of a TLS connection.
        judge: raises `HandshakeFailed` where who is there may not be spoken to.
        tongue: makes keys that our own routers recognise.
        random_bytes: for ids.
        limit_s: for the negotiation, and for the answer.
    """

    def __init__(
        self,
        clock: IReactorTime,
        domain: Domain,
        make: MakesEnd,
        judge: Callable[[TlsFacts], object],
        tongue: XmppTongue,
        random_bytes: Callable[[int], bytes],
        limit_s: float,
    ) -> None:
        super().__init__(clock, domain, make, judge, random_bytes, limit_s)
        self._tongue = tongue

    async def _ask(self) -> None:
        place = (self._random_bytes(8).hex(), self._domain.name, ASKS_AS)
        key = self._tongue.key_of_check(place)
        try:
            await self._ask_about(place[0], key, DbType.VALID, Reason.NOT_MINE)
        finally:
            self._tongue.checking.discard(place)


class Proof(Enum):
    """How a domain proves itself on a stream."""

    DIALBACK = "dial-back"
    EXTERNAL = "SASL EXTERNAL"


@dataclass(frozen=True, slots=True)
class Proved:
    """What became of one way of proof.

    Attributes:
        proof: which.
        answer: `taken`, `not offered`, or `refused`.
        reason: NONE where it was taken.
        note: what the other side said.
        took_s: seconds of the whole stream.
    """

    proof: Proof
    answer: str
    reason: Reason = Reason.NONE
    note: str = ""
    took_s: float = 0.0

    @property
    def taken(self) -> bool:
        """Whether we are taken for our domain."""
        return self.answer == "taken"


class ProofProbe(StreamProbe):
    """Tries one way of proof on one connection; use once.

    Args:
        clock: time.
        ours: the domain that is proved.
        domain: to whom.
        proof: which way.
        make: makes our end of a TLS connection, with our certificate.
        judge: raises `HandshakeFailed` where who is there is not the domain's server.
        tongue: makes keys that our own routers recognise.
        random_bytes: for ids.
        limit_s: for the negotiation.
        verify_s: for the answer to a key, for which the other side connects to us.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ours: Domain,
        domain: Domain,
        proof: Proof,
        make: MakesEnd,
        judge: Callable[[TlsFacts], object],
        tongue: XmppTongue,
        random_bytes: Callable[[int], bytes],
        limit_s: float,
        verify_s: float,
    ) -> None:
        shows = proof is Proof.EXTERNAL
        terms = StreamTerms(tls=TlsRule.OFFERED, external=lambda _own: shows, bidi=False, sm=False)
        super().__init__(clock, domain, make, judge, random_bytes, limit_s, ours.name, terms)
        self._proof, self._tongue, self._verify_s = proof, tongue, verify_s
        self._result: Deferred[Db | None] = Deferred()
        self._became: Proved | None = None
        self._hub.events.append(self)

    async def prove(self, socket: OpenedSocket) -> Proved:
        """Negotiate on a connection (in TLS already where that came first), prove, and leave."""
        begun = self._clock.seconds()
        seen = await self.look(socket)
        became = self._became or Proved(self._proof, "refused", seen.reason, seen.note)
        return replace(became, took_s=self._clock.seconds() - begun)

    async def _ask(self) -> None:
        """The stream is open, and no certificate but that of EXTERNAL was taken for proof."""
        machine = self._session.machine
        if self._proof is Proof.EXTERNAL:
            offered = "EXTERNAL" in self._seen.mechanisms or machine.external
            if machine.external:
                self._became = Proved(self._proof, "taken")
            elif not offered:
                self._became = Proved(
                    self._proof, "not offered", Reason.NO_COMMON_PROOF, machine.what_it_takes()
                )
            else:
                note = machine.auth_said or "no answer"
                self._became = Proved(self._proof, "refused", Reason.NO_COMMON_PROOF, note)
        elif machine.heard_features and not machine.features.dialback:
            note = machine.what_it_takes()
            self._became = Proved(self._proof, "not offered", Reason.NO_COMMON_PROOF, note)
        else:
            await self._claim((machine.stream_id, self._own, self._domain.name))

    async def _claim(self, place: KeyPlace) -> None:
        """Claim our domain, and wait for what the other side heard from our own servers."""
        key = self._tongue.key_of_check(place)
        try:
            self._session.claim(self._own, self._domain.name, key)
            with suppress(DeferredTimeout):
                answer = await self._result.addTimeout(self._verify_s, self._clock)
                self._became = self._judged_answer(answer)
                return
            note = f"no answer to our key within {self._verify_s:g} s"
            self._became = Proved(self._proof, "refused", Reason.DIALBACK_TIMEOUT, note)
        finally:
            self._tongue.checking.discard(place)

    def _judged_answer(self, answer: Db | None) -> Proved:
        if answer is None:
            session = self._session
            return Proved(self._proof, "refused", session.drop_reason, session.drop_note)
        if answer.kind is DbType.VALID:
            return Proved(self._proof, "taken")
        if answer.kind is DbType.ERROR and answer.error is not None:
            error = answer.error
            note = f"{error.condition.value}: {error.text}" if error.text else error.condition.value
            return Proved(self._proof, "refused", claim_refused_by(error.condition), note)
        note = "our own servers, as it reaches them, did not know the key"
        return Proved(self._proof, "refused", Reason.DIALBACK_REFUSED, note)

    def claim_result_in(self, session: StreamLink, db: Db) -> None:
        """What became of our claim."""
        del session
        if not self._result.called:
            self._result.callback(db)

    # -- events of its only link -----------------------------------------------------------------------------

    def lost(self, session: Link) -> None:
        """Nobody answers any more."""
        del session
        if not self._result.called:
            self._result.callback(None)

    def opened(self, session: Link, peer: Hello | None) -> None:
        """It is waited for."""

    def control(self, session: Link, record: Control) -> None:
        """Streams have no records."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """It ends soon."""

    def tick(self, now: float) -> None:
        """Nobody calls it."""
