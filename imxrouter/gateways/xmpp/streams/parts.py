"""What all streams of a process share, and what of a stream the parts around it use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from imxrouter.gateways.xmpp.acks import PingDroppers
from imxrouter.gateways.xmpp.effects import AskedExternal, StanzaIn
from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import Condition, StanzaError
from imxrouter.gateways.xmpp.pairs import Pair
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.pings import Pings
from imxrouter.gateways.xmpp.streams.ways_in import WaysIn
from imxrouter.gateways.xmpp.terms import StreamTerms
from imxrouter.model.errors import RouterError
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import Port
from imxrouter.transport.encryption import TlsMaker
from imxrouter.transport.link import Link, Tongue
from imxrouter.wire.record import Record


class StreamLink(Link, Protocol):
    """An XMPP stream, as edge, trust and tongue use it (`session.XmppSession`).

    Attributes:
        role: which end of what it is ours.
        way: the port over which what it brings goes: its own, or that of the service whose stream it is.
    """

    role: StreamRole
    way: Port

    @property
    def machine(self) -> StreamMachine:
        """Its life."""

    @property
    def own(self) -> str:
        """Our domain; of an accepted stream, empty until its header is there."""

    @property
    def other(self) -> str:
        """The other side's, as it says."""

    def bring(self, stanzas: Sequence[StanzaIn]) -> None:
        """Stanzas of this stream that have waited go on."""

    def authenticated(self) -> None:
        """What SASL EXTERNAL asked is granted."""

    def not_authenticated(self) -> None:
        """It is not."""

    def claim(self, from_: str, to: str, key: str) -> None:
        """Claim a domain of ours."""

    def answer_claim(self, from_: str, to: str, kind: DbType, error: StanzaError | None = None) -> None:
        """Say what became of a claim of theirs; `from_` is the domain that it was made to."""

    def ask_verify(self, from_: str, to: str, stream_id: str, key: str) -> None:
        """Ask whether `to` made a key."""

    def answer_verify(
        self, from_: str, to: str, stream_id: str, kind: DbType, error: StanzaError | None = None
    ) -> None:
        """Say whether a key is ours."""

    def proved(self, pair: Pair, *, ours: bool | None = None) -> None:
        """Stanzas of a pair are legal from now on (`StreamMachine.proved`)."""

    def unproved(self, pair: Pair, *, ours: bool | None = None) -> None:
        """They are not any more."""


class Said(NamedTuple):
    """One stanza of a record.

    Attributes:
        raw: its bytes, rooted in the stream's content namespace.
        is_asked: its sender is told whether it arrived; else that it was written is enough.
    """

    raw: bytes
    is_asked: bool = True


class Edge(Protocol):
    """Makes records of stanzas, and stanzas of records."""

    def records_of(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        """Whole records for what came, empty where nothing is to be routed (now).

        They are answered to `answered` with the port `session.way`; their route tags are unique there.
        """

    def stanza_of(self, session: StreamLink, record: Record) -> Said | Outcome:
        """The stanza for a request that leaves on a stream, or why it cannot."""

    def leaving(self, session: StreamLink, raw: bytes) -> Said | Outcome:
        """A stanza, rooted in `jabber:server`, as it leaves on a stream, or why it cannot."""

    def operated(self, record: Record) -> Outcome | None:
        """The outcome of a request that is the gateway's own matter, stream or not; None of any other."""

    def answered(self, port: Port, record: Record) -> None:
        """A response to what streams brought over a port."""

    def succeeded(self, tags: Sequence[int]) -> None:
        """What streams brought under these tags came to a success that says nothing more."""

    def settled(self, port: Port, tags: Sequence[int], outcome: Outcome) -> None:
        """What became of requests that left over a port, by their route tags."""


class Trust(Protocol):
    """Decides who is who on streams."""

    def asked_external(self, session: StreamLink, asked: AskedExternal) -> None:
        """Decide, and call `session.authenticated` or `session.not_authenticated`, now or later."""

    def external(self, session: StreamLink, from_: str, to: str) -> None:
        """The other side took us for a domain of ours by our certificate."""

    def claim_in(self, session: StreamLink, db: Db) -> None:
        """The other side claims a domain."""

    def claim_result_in(self, session: StreamLink, db: Db) -> None:
        """What it says of a claim that we made on this stream."""

    def verify_in(self, session: StreamLink, db: Db) -> None:
        """It asks whether we made a key."""

    def verify_result_in(self, session: StreamLink, db: Db) -> None:
        """What it says of a key that we asked about on this stream."""

    def attached(self, session: StreamLink, name: str) -> None:
        """The secret of a component is proved."""


class StreamFailed(RouterError):
    """A stream that we opened came to nothing.

    Attributes:
        reason: in the one vocabulary.
        note: what the other side, or TLS, said.
    """

    def __init__(self, reason: Reason, note: str) -> None:
        super().__init__(f"{reason.word}: {note}" if note else reason.word)
        self.reason, self.note = reason, note


def _nothing(*_args: object) -> None:
    """Nobody is told."""


@dataclass(slots=True)
class StreamParts:
    """What all streams of a process share.

    Attributes:
        edge: between stanzas and records.
        trust: who is who.
        tongue: how claims are said on streams.
        terms: what a stream is held to, asked when it begins; its functions may look at `session.tls`.
        later: calls a function after seconds (`reactor.callLater`).
        maker: makes our ends of TLS connections that we open; None: there is no TLS.
        droppers: domains that leave pings unanswered.
        pings: those that are out.
        on_error: told the condition of each stream error, and whether we `sent` or `received` it.
        on_late: told how many stanzas were not confirmed in time.
        on_header: told of each stream whose parties are known.
        ways_in: which streams may bring answers.
    """

    edge: Edge
    trust: Trust
    tongue: Tongue | None
    terms: Callable[[StreamLink], StreamTerms]
    later: Callable[[float, Callable[[], object]], object]
    maker: TlsMaker | None = None
    droppers: PingDroppers = field(default_factory=PingDroppers)
    pings: Pings = field(default_factory=Pings)
    on_error: Callable[[Condition, str], None] = _nothing
    on_late: Callable[[int], None] = _nothing
    on_header: Callable[[StreamLink], None] = _nothing
    ways_in: WaysIn = field(default_factory=WaysIn)
