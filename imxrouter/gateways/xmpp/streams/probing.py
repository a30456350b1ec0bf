"""Looks at another domain's XMPP server on a connection that is there: negotiates, asks, and leaves.

It claims nothing and proves nothing. Whether the server answers for its domain shows in dial-back: asked
about a key that nobody made it must say `invalid` (XEP-0220 section 2.2.2 lets anybody ask).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from imxrouter.gateways.xmpp.effects import AskedExternal, StanzaIn
from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.names import StanzaCondition
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.parts import Said, StreamFailed, StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import Ledger
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.limits import SenderRates
from imxrouter.switch import slots
from imxrouter.switch.ports import Port
from imxrouter.switch.switch import Switch
from imxrouter.tls.contexts import XMPP_ALPN
from imxrouter.tls.facts import TlsFacts, read_facts
from imxrouter.transport.hub import Hub, Identity
from imxrouter.transport.link import Purpose
from imxrouter.transport.opening import Endpoint, OpenedSocket
from imxrouter.transport.settings import HubSettings
from imxrouter.wire.record import Record

#: As whom we ask: a name that is nobody's (RFC 2606 section 2).
ASKS_AS: Final = "check.invalid"

_ASKING: Final = StreamTerms(tls=TlsRule.OFFERED, bidi=False, sm=False)
MakesEnd = Callable[[str, Endpoint, bytes], SSL.Connection]


@dataclass(slots=True)
class Probed:
    """What was seen of a server; everything after a failure is as it was before.

    Attributes:
        reason: why it did not come to an open stream; NONE where it did.
        note: what the other side, or TLS, said.
        starttls: `required`, `offered`, or empty.
        tls: what the handshake came to; None in clear.
        tls_s: seconds until TLS was there; 0 without.
        open_s: seconds until the stream was open; 0 where that did not come.
        features: what it offers.
        mechanisms: of SASL.
        stream_id: as it named the stream.
        said: its answer to the key that nobody made: `invalid` as it must be; empty where none came.
        refused: what it answered in place of that, as a reason.
        said_s: seconds that took.
    """

    reason: Reason = Reason.NONE
    note: str = ""
    starttls: str = ""
    tls: TlsFacts | None = None
    tls_s: float = 0.0
    open_s: float = 0.0
    features: tuple[str, ...] = ()
    mechanisms: tuple[str, ...] = ()
    stream_id: str = ""
    said: str = ""
    refused: Reason = Reason.NONE
    said_s: float = 0.0


class StreamProbe:
    """Looks at one server; use once.

    Args:
        clock: time.
        domain: whom the server should answer for.
        make: makes our end of a TLS connection: server name, endpoint, ALPN.
        judge: raises `HandshakeFailed` where who is there is not the domain's server.
        random_bytes: for ids and the key.
        limit_s: for the negotiation, and for the answer.
        own: as whom we ask.
        terms: what the stream is held to.
    """

    def __init__(
        self,
        clock: IReactorTime,
        domain: Domain,
        make: MakesEnd,
        judge: Callable[[TlsFacts], object],
        random_bytes: Callable[[int], bytes],
        limit_s: float,
        own: str = ASKS_AS,
        terms: StreamTerms = _ASKING,
    ) -> None:
        self._clock, self._domain, self._limit_s = clock, domain, limit_s
        self._judge, self._random_bytes, self._own = judge, random_bytes, own
        self._answer: Deferred[Db] = Deferred()
        self._seen = Probed()
        switch = Switch(
            Ledger(0, 0), DuplicateMemory(bytes(8), 60.0, 16), SenderRates(0.0, 1.0), slots.new_counters()
        )
        self._hub = Hub(clock.seconds, switch, HubSettings(), Identity(bytes(8), 0, bytes(16)), random_bytes)
        parts = StreamParts(self, self, None, lambda _: terms, clock.callLater, maker=_Ends(make))
        self._session = XmppSession(self._hub, StreamRole.S2S_OUT, parts, purpose=Purpose.VERIFY)

    async def look(self, socket: OpenedSocket) -> Probed:
        """Negotiate on a connection (in TLS already where that came first), ask, and leave."""
        seen, session, begun = self._seen, self._session, self._clock.seconds()
        negotiated = session.aim(self._own, self._domain.name, self._judged)
        socket.attach(session)
        try:
            await negotiated.addTimeout(self._limit_s, self._clock)
        except (StreamFailed, DeferredTimeout) as error:
            self._note_features()
            late = (Reason.HELLO_TIMEOUT, f"no open stream within {self._limit_s:g} s")
            seen.reason, seen.note = (error.reason, error.note) if isinstance(error, StreamFailed) else late
            session.abort(seen.reason, "looked at")
            return seen
        seen.open_s, seen.tls = self._clock.seconds() - begun, session.tls
        self._note_features()
        await self._ask()
        session.close(Reason.NONE)
        self._clock.callLater(1.0, self._cut)
        return seen

    def _cut(self) -> None:
        if not self._session.gone:
            self._session.abort(Reason.NONE, "looked at")

    async def _ask(self) -> None:
        machine = self._session.machine
        if machine.heard_features and not machine.features.dialback:
            return  # who has none may leave the question unanswered
        stream_id, key = self._random_bytes(8).hex(), self._random_bytes(32).hex()
        await self._ask_about(stream_id, key, DbType.INVALID, Reason.BAD_TOKEN)

    async def _ask_about(self, stream_id: str, key: str, right: DbType, wrong: Reason) -> None:
        """Ask whether a key is the domain's own.

        Args:
            stream_id: of the stream that the key would be for.
            key: it.
            right: what must be said.
            wrong: what it is if the opposite is said.
        """
        begun = self._clock.seconds()
        self._session.ask_verify(ASKS_AS, self._domain.name, stream_id, key)
        try:
            answer = await self._answer.addTimeout(self._limit_s, self._clock)
        except DeferredTimeout:
            return
        self._seen.said = answer.kind.value if answer.kind is not None else ""
        self._seen.said_s = self._clock.seconds() - begun
        if answer.kind is DbType.ERROR:
            unknown = answer.error is not None and answer.error.condition is StanzaCondition.ITEM_NOT_FOUND
            self._seen.refused = Reason.NOT_HOSTED if unknown else Reason.DIALBACK_REFUSED
        elif answer.kind is not right:
            self._seen.refused = wrong

    def _judged(self, facts: TlsFacts) -> None:
        self._seen.tls, self._seen.tls_s = facts, self._clock.seconds() - self._session.opened_at
        self._seen.starttls = "required" if self._session.machine.features.required else "offered"
        self._judge(facts)

    def _note_features(self) -> None:
        offered = self._session.machine.features
        names = ("starttls", "dialback", "errors", "bidi", "sm")
        self._seen.features = tuple(name for name in names if getattr(offered, name))
        self._seen.mechanisms = offered.mechanisms

    # -- what a session asks of the parts around it --------------------------------------------------------

    def verify_result_in(self, session: StreamLink, db: Db) -> None:
        """The answer."""
        del session
        if not self._answer.called:
            self._answer.callback(db)

    def asked_external(self, session: StreamLink, asked: AskedExternal) -> None:
        """Nobody is taken here."""
        del asked
        session.not_authenticated()

    def external(self, session: StreamLink, from_: str, to: str) -> None:
        """No certificate is shown."""

    def claim_in(self, session: StreamLink, db: Db) -> None:
        """Nobody is taken here."""

    def claim_result_in(self, session: StreamLink, db: Db) -> None:
        """Nothing is claimed."""

    def verify_in(self, session: StreamLink, db: Db) -> None:
        """No key was made."""

    def attached(self, session: StreamLink, name: str) -> None:
        """There are no components."""

    def records_of(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        """Nothing is taken."""
        del session, stanzas
        return b""

    def stanza_of(self, session: StreamLink, record: Record) -> Said | Outcome:
        """Nothing is said."""
        del session, record
        return failure(Reason.NO_SERVICE)

    def leaving(self, session: StreamLink, raw: bytes) -> Said | Outcome:
        """Nothing is said."""
        del session, raw
        return failure(Reason.NO_SERVICE)

    def answered(self, port: Port, record: Record) -> None:
        """Nothing was asked."""

    def operated(self, record: Record) -> Outcome | None:
        """Nothing is the gateway's own matter here."""

    def succeeded(self, tags: Sequence[int]) -> None:
        """Nothing was asked."""

    def settled(self, port: Port, tags: Sequence[int], outcome: Outcome) -> None:
        """Nothing was said."""


class _Ends:
    """Makes our ends; nothing is resumed (`transport.encryption.TlsMaker`)."""

    def __init__(self, make: MakesEnd) -> None:
        self._make = make

    def accepting(self, alpn: bytes = XMPP_ALPN) -> SSL.Connection:
        """Nothing is accepted."""
        raise NotImplementedError

    def opening(
        self, own: Domain | None, server_name: str, endpoint: Endpoint, alpn: bytes = XMPP_ALPN
    ) -> SSL.Connection:
        """An end without a certificate."""
        del own
        return self._make(server_name, endpoint, alpn)

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        """Read what the handshake came to."""
        return read_facts(connection)

    def forget(self, connection: Any, server_name: str, endpoint: Endpoint) -> None:
        """Nothing is remembered."""

    def keep(self, connection: Any, server_name: str, endpoint: Endpoint) -> None:
        """Nothing is remembered."""
