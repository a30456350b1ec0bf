"""One XMPP stream as a link of the router: its machine's effects performed, its stanzas joined to the switch.

What comes in is stanzas: the edge makes records of them, which take the path of all records. What goes out
is records: the edge makes stanzas of them, and what becomes of those (an acknowledgement, the answer to a
ping, a time-out) settles the requests. Claims and questions of dial-back go to who decides on them (`Trust`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

import imxrouter.routing.choice
from imxrouter.gateways.xmpp.effects import (
    AskedExternal,
    Attached,
    ClaimIn,
    ClaimResultIn,
    Drop,
    Effect,
    External,
    Handled,
    HeaderSeen,
    Ignored,
    Late,
    Open,
    PingOut,
    StanzaIn,
    StartTls,
    TlsFollows,
    VerifyIn,
    VerifyResultIn,
    Write,
)
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import condition_of
from imxrouter.gateways.xmpp.pairs import Pair
from imxrouter.gateways.xmpp.steps import COMPONENTS, Step, StreamRole
from imxrouter.gateways.xmpp.streams.claims import SaysClaims
from imxrouter.gateways.xmpp.streams.parts import StreamFailed, StreamParts
from imxrouter.gateways.xmpp.streams.ways_in import SETTLE_S
from imxrouter.gateways.xmpp.streams.writing import WritesStanzas
from imxrouter.gateways.xmpp.terms import StreamTerms
from imxrouter.link.machine import Draining, LinkState, Side
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.outcome import SUCCESS, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.switch import slots
from imxrouter.tls.contexts import XMPP_ALPN
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.byte_link import ByteLink
from imxrouter.transport.encryption import HandshakeFailed, TlsMaker, upgrade_tls
from imxrouter.transport.link import Centre, Door, Purpose
from imxrouter.wire.layout import HIGHEST_MAX_RECORD, TLS_FIRST_BYTE

#: What a record has beside the stanza in it: header, both addresses, fields.
ENVELOPE_BYTES: Final = 2048


_DRAINING: Final = Step.DRAINING
_BYTES_IN: Final = slots.BYTES_IN


class XmppSession(SaysClaims, WritesStanzas, ByteLink):
    """A stream: accepted by a listener, or opened by a dialer.

    Args:
        hub: its process.
        role: which end of what it is ours.
        parts: what all streams share.
        door: what is taken on it, where it was opened to us.
        purpose: why we have it.
        own: (opening) our domain.
        other: (opening) the domain that is reached.
        judge: (opening) raises `HandshakeFailed` where who is there may not be spoken to.
        only_tls: (accepting) TLS comes with the first byte.

    Attributes:
        role: the same.
        way: the port over which what it brings goes; its own, unless somebody puts another here.
        own, other: the parties; of an accepted stream, empty until its header is there.
        stanzas_in: how many came, of proved pairs.
        negotiated: (opening) fires when nothing is left to negotiate but claims; fails with `StreamFailed`.
    """

    __slots__ = (
        "_aimed", "_behind", "_depth", "_first_bytes", "_judge", "_only_tls", "_out", "_parts", "_pings",
        "_stanzas", "_tls_reason", "_waits", "negotiated", "role", "stanzas_in", "way",
    )  # fmt: skip

    machine: StreamMachine
    protocol = imxrouter.routing.choice.Protocol.XMPP
    alpn = XMPP_ALPN
    #: streams have no hello and no login
    peer = None
    challenge = None
    #: streams have no word for it
    has_room_in_s = 0.0

    def __init__(
        self,
        hub: Centre,
        role: StreamRole,
        parts: StreamParts,
        *,
        door: Door = Door.XMPP,
        purpose: Purpose = Purpose.ACCEPTED,
        own: str = "",
        other: str = "",
        judge: Callable[[TlsFacts], object] = bool,
        only_tls: bool = False,
    ) -> None:
        super().__init__(hub, purpose, door)
        self.role, self._parts = role, parts
        self.way = self.port
        self.port.internal = True
        self.port.acknowledges = True  # by itself: nothing that a stream brought is sent again under its id
        self.tongue = parts.tongue
        self._judge, self._only_tls = judge, only_tls
        #: the parties, while terms are asked for between them
        self._aimed: tuple[str, str] | None = None
        self._first_bytes = True
        self._tls_reason = Reason.TLS_FAILED
        #: calls of `perform` under way, and what they have not written or handed over yet
        self._depth = 0
        self._out: list[bytes] = []
        self._stanzas: list[StanzaIn] = []
        self.stanzas_in = 0
        #: ids of pings that are waited for, the oldest first
        self._pings: tuple[str, ...] = ()
        #: whole records that wait for the stream to go on
        self._behind = bytearray()
        #: a call is due that asks about stanzas
        self._waits = False
        self.negotiated: Deferred[None] | None = None if self.side is Side.ACCEPTOR else Deferred()
        self.port.carries_stanzas = True
        self.machine = self._new_machine(own, other)

    def aim(self, own: str, other: str, judge: Callable[[TlsFacts], object]) -> Deferred[None]:
        """Say before it connects between which domains it is to be, and who decides on who is there.

        Args:
            own: our domain.
            other: the domain that is reached.
            judge: raises `HandshakeFailed` where who is there may not be spoken to; asked after STARTTLS.

        Returns:
            `negotiated`.

        Raises:
            LocalMisuse: it is no stream that we open, or it is over.
        """
        if self.negotiated is None:
            raise LocalMisuse("nothing is negotiated on it")
        self._judge = judge
        self.machine = self._new_machine(own, other)
        return self.negotiated

    def _new_machine(self, own: str, other: str) -> StreamMachine:
        self._aimed = (own, other)
        machine = StreamMachine(
            self.role, self._parts.terms(self), own, other, self._hub.now(), self._hub.random_bytes,
            tls=self.tls is not None,
        )  # fmt: skip
        self._aimed = None
        return machine

    @property
    def own(self) -> str:
        """Our domain."""
        return self.machine.own if self._aimed is None else self._aimed[0]

    @property
    def other(self) -> str:
        """The other side's, as it says."""
        return self.machine.other if self._aimed is None else self._aimed[1]

    # -- bytes come --------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if self._gone or self.port.closed:
            return
        if self._first_bytes and not self._begun(data):
            return
        self.bytes_in += len(data)
        self._hub.switch.counters[_BYTES_IN] += len(data)
        self.perform(self.machine.receive(data, self._hub.now()))
        if self.machine.step is _DRAINING:
            self.settle()

    def _begun(self, data: bytes) -> bool:
        """The first bytes came, or those after `<proceed/>`; whether they are the stream's own."""
        self._first_bytes = False
        must_be_tls = self.machine.step is Step.TLS or (self._only_tls and self.tls is None)
        if must_be_tls and data[0] != TLS_FIRST_BYTE and self.refused is None:
            self.end(Reason.TLS_FAILED, "TLS must come here")
            return False
        return self._hub.begun(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        if self._gone:
            return
        self._give_back()
        super().connectionLost(reason)
        self._over()
        self.machine.terms = StreamTerms()  # they may know the session, which would be a circle

    def handshake_done(self, transport: Any, facts: TlsFacts) -> None:
        """TLS is there: the stream begins, or begins anew."""
        super().handshake_done(transport, facts)
        if self._gone or self.port.closed:
            return
        if self.machine.step is Step.TLS:
            self.perform(self.machine.encrypted(self._hub.now()))
        else:
            self.start()

    def _start_tls(self, server_name: str) -> None:
        maker = self._parts.maker
        if maker is None:
            self.end(Reason.TLS_FAILED, "there is no TLS here")
            return
        own = Domain.parse(self.own) if self.own else None
        make = partial(maker.opening, own, server_name, self.remote, b"")
        upgrade_tls(
            self.transport, make, partial(self._judged, maker), self, self.handshake_done,
            self._no_tls, self.handshaking,
        )  # fmt: skip

    def _no_tls(self, note: str) -> None:
        self.handshake_failed(note, self._tls_reason)

    def _judged(self, maker: TlsMaker, connection: SSL.Connection) -> TlsFacts:
        facts = maker.facts(connection)
        try:
            self._judge(facts)
        except HandshakeFailed as error:
            self._tls_reason = error.reason
            maker.forget(connection, facts.server_name, self.remote)
            raise
        return facts

    # -- the machine -------------------------------------------------------------------------------------

    def start(self) -> None:
        """The connection is up: who opened it says its header."""
        if self.tls is not None and not self.machine.tls:  # it came before the first byte
            self.machine = self._new_machine(self.own, self.other)
        self.perform(self.machine.start())

    def tick(self, now: float) -> None:
        """Look at the timers of the stream."""
        self.perform(self.machine.tick(now))

    def perform(self, effects: Sequence[Effect]) -> None:
        """Do what the machine says, in order; all that is written meanwhile goes out at once at the end."""
        acted, only_came = False, bool(effects)
        self._depth += 1
        try:
            for effect in effects:
                if isinstance(effect, StanzaIn):
                    self._stanzas.append(effect)
                elif isinstance(effect, Write):
                    self._out.append(effect.data)
                    only_came = False
                else:
                    if self._stanzas:
                        self._deliver()
                    self._act(effect)
                    acted, only_came = True, False
            if self._stanzas:
                self._deliver()  # which writes what comes of them
            if acted and self._depth == 1:
                self._hub.flush()
        finally:
            self._depth -= 1
        if not self._depth:
            if self._out:
                only_came = False
                self._write_out()
            if not self._waits and not only_came:
                self._ask_soon()
            if self._behind:
                self._go_on()

    def _write_out(self) -> None:
        out, self._out = self._out, []
        if out:
            self.put(b"".join(out))

    def _deliver(self) -> None:
        """Hand stanzas that came to the switch, all in one."""
        stanzas, self._stanzas = self._stanzas, []
        self.stanzas_in += len(stanzas)
        if self._parts.pings:
            for domain in {one.from_ for one in stanzas}:
                self._parts.pings.spoke(domain)
        records = self._parts.edge.records_of(self, stanzas)
        if records:
            self.port.max_record = HIGHEST_MAX_RECORD  # the machine took only what a proved domain may send
            self._hub.received(self, records)

    def bring(self, stanzas: Sequence[StanzaIn]) -> None:
        """Stanzas of this stream that have waited go on; of one that is gone nothing does."""
        if not self._gone and not self.port.closed:
            self._stanzas += stanzas
            self.perform(())

    def _ask_soon(self) -> None:
        """Have stanzas asked about that wait for the rest between two pings."""
        due_at = self.machine.confirmations.due_at
        if due_at is not None and not self._waits and not self._gone:
            self._waits = True
            self._parts.later(max(due_at - self._hub.now(), 0.0), self._ask_now)

    def _ask_now(self) -> None:
        self._waits = False
        if not self._gone:
            self.tick(self._hub.now())

    # -- effects -----------------------------------------------------------------------------------------

    def _act(self, effect: Effect) -> None:
        parts = self._parts
        match effect:
            case Handled():
                parts.edge.settled(self.way, effect.tags, SUCCESS)
            case PingOut():
                self._on_ping(effect)
            case HeaderSeen():
                parts.on_header(self)
            case StartTls():
                self._start_tls(effect.server_name)
            case TlsFollows():
                self._write_out()
                self._first_bytes = True
            case Open():
                self._on_open()
            case Draining():
                self.port.usable = False
                self._hub.draining(self, effect)
            case Drop():
                self._on_drop(effect)
            case Late():
                self._on_late(effect)
            case Ignored():
                self._hub.count(effect.reason)
            case _:
                self._ask_trust(effect)

    def _ask_trust(self, effect: Effect) -> None:
        trust = self._parts.trust
        match effect:
            case ClaimIn():
                trust.claim_in(self, effect.db)
            case ClaimResultIn():
                trust.claim_result_in(self, effect.db)
            case VerifyIn():
                trust.verify_in(self, effect.db)
            case VerifyResultIn():
                trust.verify_result_in(self, effect.db)
            case AskedExternal():
                trust.asked_external(self, effect)
            case External():
                self.note_ways_in()
                trust.external(self, effect.from_, effect.to)
            case Attached():
                trust.attached(self, effect.name)

    def note_ways_in(self) -> None:
        """Say which pairs' stanzas may come on it, now that more is proved."""
        if not self._gone and not self.port.closed:
            pairs = self._of_components or self.machine.pairs.coming()
            self._parts.ways_in.may_bring(self.number, pairs)

    @property
    def _of_components(self) -> set[Pair]:
        return {(self.other, "")} if self.role in COMPONENTS else set()

    def _on_open(self) -> None:
        self.note_ways_in()
        limit = self.machine.features.max_bytes or self.machine.terms.settings.limits.stanza_bytes
        self._hub.stream_opened(self, min(limit + ENVELOPE_BYTES, HIGHEST_MAX_RECORD))
        waiting, self.negotiated = self.negotiated, None
        if waiting is not None:
            waiting.callback(None)

    def _on_ping(self, effect: PingOut) -> None:
        self._forget_pings()
        self._parts.pings.out(
            effect.ident, effect.from_, effect.to, partial(self._pong, effect.ident, effect.to), self._heard
        )

    def _forget_pings(self) -> None:
        """Those that are not waited for any more: nothing that is said elsewhere is life on this stream."""
        out = self.machine.confirmations.pings
        for ident in self._pings:
            if ident not in out:
                self._parts.pings.forget(ident)
        self._pings = tuple(out)

    def _heard(self) -> None:
        self.machine.heard(self._hub.now())

    def _pong(self, ident: str, domain: str) -> None:
        self._parts.droppers.answered(domain)
        effects = self.machine.barrier(ident, self._hub.now())
        self._forget_pings()
        answering = self._of_components or self.machine.pairs.answering()
        if effects and self._parts.ways_in.are_several(answering):
            # the second call is behind what was to be read when the first was due
            later, held, effects = self._parts.later, effects, []
            later(SETTLE_S, lambda: later(0.0, lambda: self._arrived(held)))
        self._arrived(effects)

    def _arrived(self, effects: Sequence[Effect]) -> None:
        """No error came before the answer to the ping, nor in the moment that it was waited for."""
        self.perform(effects)
        if not self._gone:
            self.settle()

    def _on_late(self, effect: Late) -> None:
        self._forget_pings()
        if effect.tags:
            self._parts.on_late(len(effect.tags))
            self._parts.edge.settled(self.way, effect.tags, indeterminant(Reason.ANSWER_TIMEOUT, role="peer"))
        if effect.ping_dropped:
            self._parts.droppers.dropped(self.other, self._hub.now())
            if self.role is StreamRole.S2S_OUT:  # it may be dead, whatever is said on others: a new one tells
                self.close(Reason.NONE, text="pings on it are not answered")

    def _on_drop(self, effect: Drop) -> None:
        if effect.condition is not None:
            close = self.machine.close_received
            came = close is not None and close.condition is effect.condition
            self._parts.on_error(effect.condition, "received" if came else "sent")
        self._write_out()
        self.drop(effect.reason, effect.note)

    def drop(self, reason: Reason, note: str) -> None:
        """End the connection after what is written; `machine` has ended already."""
        self._give_back()
        super().drop(reason, note)
        self._over()

    def _over(self) -> None:
        """Nobody waits for it any more."""
        for ident in self._pings:
            self._parts.pings.forget(ident)
        self._parts.ways_in.gone(self.number)
        waiting, self.negotiated = self.negotiated, None
        if waiting is not None:
            waiting.errback(StreamFailed(self.drop_reason, self.drop_note))

    # -- the end -----------------------------------------------------------------------------------------

    def close(self, reason: Reason, *, retry_after_s: int | None = None, text: str | None = None) -> None:
        """Close in order: announced, what is in flight finishes."""
        del retry_after_s  # streams have no word for it
        self.perform(self.machine.close(reason, self._hub.now(), text=text))
        self.settle()

    def end(self, reason: Reason, note: str = "", *, retry_after_s: int | None = None) -> None:
        """End at once, with the stream error that says why."""
        del retry_after_s
        if self.machine.state is not LinkState.CLOSED:
            self.write_rest()
            self.perform(self.machine.refuse(reason, text=note or None))

    def turn_away(self, refused: Refusal) -> None:
        """End at once; what a stream error has no word for is when to come again."""
        if self.machine.state is not LinkState.CLOSED:
            condition = condition_of(refused.reason, refused.limit)
            self.perform(self.machine.refuse(refused.reason, condition=condition))

    def abort(self, reason: Reason, note: str) -> None:
        """End without waiting for what is unwritten."""
        self._give_back()
        super().abort(reason, note)
        self._over()

    def stop_requests(self) -> None:
        """Have the peer send nothing new here: what it opened is closed in order, for streams have no word.

        What we opened goes on, and is asked whether all of it was read.
        """
        if self.side is Side.ACCEPTOR:
            self.close(Reason.SHUTTING_DOWN)
        else:
            self.fence()

    def fence(self) -> None:
        """Ask the peer whether it has read all that was written until now; `machine.fenced` tells."""
        self.perform(self.machine.fence())

    def settle(self) -> None:
        """While draining: end once nothing is in flight."""
        if self.machine.step is _DRAINING:
            self.perform(self.machine.settle(self.port.in_flight + self.port.sent))
