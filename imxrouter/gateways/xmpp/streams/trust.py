"""Who is who on the streams of peers: what they claim, ask and answer, given to those who decide.

`transport.verifier` judges claims and `transport.dialback` makes ours, as on links of our own; `tongue` says
what they decide. Here stand the rules that are XMPP's own:

- A key of ours is good only if it is well made *and* this very pair is claimed, or proved, on a stream of
  ours to which the other side gave this very id (XEP-0220 section 2.1.2). The first alone would let whoever
  we claimed to use the key elsewhere for as long as our secret holds.
- SASL EXTERNAL is taken only where a certificate alone is enough, and never leads to dialling.
- Whatever nobody asked for changes nothing. The machine sees to that on each stream; here it is the pair.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

import msgspec
from twisted.logger import Logger

from imxrouter.gateways.xmpp.effects import AskedExternal
from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.keys import good
from imxrouter.gateways.xmpp.names import StanzaCondition, claim_refused_by, stanza_error
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.tongue import NO_KEY, KeyPlace, XmppTongue, xmpp_secret
from imxrouter.link.claims import ClaimState, MadeClaim
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Bus
from imxrouter.routing.policy import Level
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.hub import REFUSED_BEFORE_PROOF, Hub
from imxrouter.transport.keyring import Keys
from imxrouter.transport.link import Link
from imxrouter.transport.strengths import Strengths
from imxrouter.transport.verifier import Verifier
from imxrouter.wire.control import Claim, ClaimResult, Control, Hello, VerifyResult

#: What processes of a host ask each other: whether a key is of a claim of theirs.
XMPP_KEY: Final = "xmpp-key"
#: The other processes of a host answer by then, or not at all.
_OTHERS_S: Final = 5.0
#: Keys of XEP-0185 have 64 characters; another way to make them is the claimer's own business.
KEY_CHARACTERS_AT_MOST: Final = 1024
_YES, _NO = b"\x01", b"\x00"


class _KeyAsked(msgspec.Struct, frozen=True, array_like=True):
    """Whether this pair is claimed on a stream with this id."""

    stream_id: str
    ours: str
    theirs: str


class StreamTrust:
    """Gives what comes on streams to claimer and verifier. It is a `Trust`, and a `LinkEvents`.

    Args:
        hub: links of this process.
        claimer: makes our claims.
        verifier: judges theirs.
        tongue: says what they decide.
        keys: dial-back keys of served domains.
        bus: other processes of this host.
        strengths: what streams are worth.

    Attributes:
        tongue: the same.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        claimer: Claimer,
        verifier: Verifier,
        tongue: XmppTongue,
        keys: Keys,
        bus: Bus,
        strengths: Strengths,
    ) -> None:
        self._hub = hub
        self._claimer = claimer
        self._verifier = verifier
        self.tongue = tongue
        self._keys = keys
        self._bus = bus
        self._strengths = strengths
        #: whether a domain of ours may have made a key on another host, which cannot be asked
        self.has_other_hosts: Callable[[], bool] = lambda: False
        self._numbers = count(1)
        tongue.settle = self._proved_by_certificate

    # -- their claims ------------------------------------------------------------------------------------

    def claim_in(self, session: StreamLink, db: Db) -> None:
        """`<db:result>` with a key: judged like a CLAIM."""
        claim = self._claim(db.from_, db.to, db.key.encode("utf-8", "surrogatepass"))
        if not 0 < len(db.key) <= KEY_CHARACTERS_AT_MOST:
            self._verifier.refuse(session, claim, Reason.BAD_TOKEN)
            return
        self._verifier.claim(session, claim)
        if session.port.refused > REFUSED_BEFORE_PROOF and not session.port.sources:
            session.end(Reason.NOT_PROVED, "too much without a proof")

    def asked_external(self, session: StreamLink, asked: AskedExternal) -> None:
        """SASL EXTERNAL: a claim without a key, good by the certificate that the stream showed or not at all.

        Policy may have changed since it was offered; nobody is dialled for it.
        """
        claim = self._claim(asked.from_, asked.to, NO_KEY)
        if self._strengths.xmpp_proofs(Domain(asked.from_)).external:
            self._verifier.claim(session, claim)
        else:
            self._verifier.refuse(session, claim, Reason.CERTIFICATE_REFUSED)

    def _claim(self, theirs: str, ours: str, token: bytes) -> Claim:
        """Elements have no numbers: ours are our own."""
        return Claim(next(self._numbers), theirs.encode("ascii"), ours.encode("ascii"), token)

    def verify_result_in(self, session: StreamLink, db: Db) -> None:
        """The claimed domain's server says whether the key is its own."""
        asked = self.tongue.asked.pop((session.number, db.to, db.from_, db.stream_id), None)
        if asked is None:
            self._hub.count(Reason.BAD_TOKEN)
            return
        number, first, claim = asked
        reason = Reason.NONE
        if db.kind is DbType.VALID:
            first.received.accept(claim)
        else:  # an error says nothing of the claim: another server of the domain may know it
            reason = Reason.DIALBACK_REFUSED if db.kind is DbType.INVALID else Reason.NOT_MINE
        self._verifier.verify_result(session, VerifyResult(number, reason.code, None))

    # -- our claims --------------------------------------------------------------------------------------

    def claim_result_in(self, session: StreamLink, db: Db) -> None:
        """What became of a claim of ours on this stream."""
        made = session.made.of_pair(db.to.encode("ascii"), db.from_.encode("ascii"))
        if made is None or made.state is not ClaimState.ASKED:
            self._hub.count(Reason.BAD_TOKEN)
            return
        if db.kind is DbType.VALID:
            session.proved((db.to, db.from_), ours=True)
            level = Level.DIALBACK if session.tls is None else Level.DIALBACK_TLS
            self._claimer.settle(session, ClaimResult(made.number, 0, int(level)))
            return
        reason = Reason.DIALBACK_REFUSED
        if db.kind is DbType.ERROR and db.error is not None:
            reason = claim_refused_by(db.error.condition)
        self._claimer.settle(session, ClaimResult(made.number, reason.code))

    def external(self, session: StreamLink, from_: str, to: str) -> None:
        """We were taken for a domain by our certificate; a claim that waits is settled."""
        ours, theirs = from_.encode("ascii"), to.encode("ascii")
        made = session.made.of_pair(ours, theirs) or session.made.ask(ours, theirs, NO_KEY, self._hub.now())
        self._proved_by_certificate(session, made)

    def _proved_by_certificate(self, session: StreamLink, made: MadeClaim) -> None:
        if made.state is ClaimState.ASKED and not session.gone:
            self._claimer.settle(session, ClaimResult(made.number, 0, int(Level.CERTIFICATE)))

    # -- their questions ---------------------------------------------------------------------------------

    def verify_in(self, session: StreamLink, db: Db) -> None:
        """Whether a key is of a claim of ours; `invalid`, not an error, for every domain that is ours."""
        domain, place = db.to.encode("ascii"), (db.stream_id, db.to, db.from_)
        if domain not in self._hub.switch.routes:
            error = stanza_error(StanzaCondition.ITEM_NOT_FOUND)
            self._told(session, db, Reason.NOT_MINE)
            session.answer_verify(db.to, db.from_, db.stream_id, DbType.ERROR, error)
            return
        secrets = [xmpp_secret(key) for key in self._keys.known(domain).values()]
        if not good(secrets, db.from_, db.to, db.stream_id, db.key):
            self._answer(session, db, is_ours=False)
        elif self._is_claimed(place):
            self._answer(session, db, is_ours=True)
        else:
            self._ask_others(session, db, place)

    def _is_claimed(self, place: KeyPlace) -> bool:
        """Whether that pair is claimed, or proved, on a stream of this process with that id."""
        if place in self.tongue.checking:
            return True
        session = self._hub.sessions.get(self.tongue.claimed.get(place, 0))
        if session is None:
            return False
        _, ours, theirs = place
        made = session.made.of_pair(ours.encode("ascii"), theirs.encode("ascii"))
        return made is not None and made.state in (ClaimState.ASKED, ClaimState.PROVED)

    def _ask_others(self, session: StreamLink, db: Db, place: KeyPlace) -> None:
        """The key is ours: whether the claim is, another process of this host may know, or another host."""
        if self.has_other_hosts():
            self._answer(session, db, is_ours=True)
            return
        others = self._bus.peers()
        waiting = len(others)
        if not waiting:
            self._answer(session, db, is_ours=False)
            return

        def answered(reply: bytes | None) -> None:
            nonlocal waiting
            waiting -= 1
            if reply == _YES and waiting >= 0:
                waiting = -1  # what the others say does not matter any more
                self._answer(session, db, is_ours=True)
            elif waiting == 0:
                self._answer(session, db, is_ours=False)

        payload = msgspec.msgpack.encode(_KeyAsked(*place))
        for process in others:
            self._bus.ask(process, XMPP_KEY, payload, answered, _OTHERS_S)

    def key_asked(self, payload: bytes, reply: Callable[[bytes], None]) -> None:
        """Another process of this host was asked about a well-made key."""
        asked = msgspec.msgpack.decode(payload, type=_KeyAsked)
        reply(_YES if self._is_claimed((asked.stream_id, asked.ours, asked.theirs)) else _NO)

    def _answer(self, session: StreamLink, db: Db, *, is_ours: bool) -> None:
        self._told(session, db, Reason.NONE if is_ours else Reason.BAD_TOKEN)
        kind = DbType.VALID if is_ours else DbType.INVALID
        session.answer_verify(db.to, db.from_, db.stream_id, kind)

    def _told(self, session: StreamLink, db: Db, reason: Reason) -> None:
        ours, theirs = db.to.encode("ascii"), db.from_.encode("ascii")
        if reason is Reason.NONE:
            self._claimer.on_step("answer released", session, ours, theirs, "")
            return
        self._hub.count(reason)
        self.log.info(
            "verification of {domain} refused: {reason}", domain=db.to, reason=reason.word,
            stage=reason.stage.value,
        )  # fmt: skip

    def attached(self, session: StreamLink, name: str) -> None:
        """Components have a home of their own.

        Raises:
            LocalMisuse: always.
        """
        raise LocalMisuse(f"{name} attached on link {session.number}, a stream of peers")

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Nothing is claimed until something is to be sent."""

    def control(self, session: Link, record: Control) -> None:
        """Streams have no records."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """What was claimed stays claimed until it ends."""

    def lost(self, session: Link) -> None:
        """Its keys are good no more."""
        if session.tongue is self.tongue:
            self.tongue.forget(session)

    def tick(self, now: float) -> None:
        """Deadlines are those of claimer and verifier."""
