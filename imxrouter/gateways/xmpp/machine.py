"""The life of one XMPP stream, without I/O (RFC 6120, XEP-0220, 0178, 0288, 0198, 0114).

Inputs return effects, in order; whoever has the connection performs them. Which element may come when, and
to which role, is data (`steps.LEGAL`); a missing entry ends this stream only, with the stream error that
RFC 6120 names. Who is who is not decided here: the terms say what is offered, claims and questions of
dial-back are handed over, and `proved` says which stanzas are legal from then on.

It has the face of `link.machine.LinkMachine`, so that timers, drain, federation and views treat both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from imxrouter.gateways.xmpp import claiming, counting, negotiation, say
from imxrouter.gateways.xmpp.acks import WRAP
from imxrouter.gateways.xmpp.effects import Drop, Effect, StanzaIn
from imxrouter.gateways.xmpp.elements import BadElement, domain_of, stream_error_of
from imxrouter.gateways.xmpp.heard import Header, StreamEnd, XmlRefused
from imxrouter.gateways.xmpp.names import (
    BIDI,
    COMPONENT,
    DIALBACK,
    SASL,
    SM,
    STREAM,
    TLS,
    Condition,
    StanzaError,
    condition_of,
    reason_of,
)
from imxrouter.gateways.xmpp.pairs import Pair, Verdict
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.stanza import Element, Stanza
from imxrouter.gateways.xmpp.steps import COMPONENTS, LEGAL, Step, StreamRole
from imxrouter.gateways.xmpp.stream import PeerClosed, Stream
from imxrouter.gateways.xmpp.xml import Event
from imxrouter.link.machine import Draining, LinkState, Side
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason

#: Nothing is read: not begun, TLS under way, or over.
_DEAF: Final = frozenset({Step.NEW, Step.TLS, Step.CLOSED})
_LIVE: Final = frozenset({Step.OPEN, Step.DRAINING})
_GOOD, _SASL_STEP = Verdict.GOOD, Step.SASL
_NEVER: Final[tuple[frozenset[Step], frozenset[StreamRole]]] = (frozenset(), frozenset())
#: Ends that leave time for what is on its way; all others are stream errors at once.
_POLITE: Final = frozenset({Reason.NONE, Reason.IDLE, Reason.SHUTTING_DOWN, Reason.REDIRECTED})
_VERDICTS: Final[Mapping[Verdict, tuple[Condition, Reason]]] = MappingProxyType(
    {
        Verdict.NOTHING_PROVED: (Condition.NOT_AUTHORIZED, Reason.NOT_PROVED),
        Verdict.FORGED: (Condition.INVALID_FROM, Reason.NOT_PROVED),
        Verdict.OTHER_TARGET: (Condition.HOST_UNKNOWN, Reason.RELAY_DENIED),
    }
)


class StreamMachine(Stream):
    """One stream. Feed it bytes and the time; perform the effects it returns.

    Args:
        role: which end of what it is ours.
        terms: what it is held to.
        own: (opening) our domain, or our component's name; (host of a component) the name we go by.
        other: (opening) the domain that is reached; empty where it is not known yet.
        now: seconds of a monotonic clock.
        random_bytes: source of ids.
        tls: the connection is encrypted from its first byte (XEP-0368).
    """

    # -- the connection ------------------------------------------------------------------------------------

    def start(self) -> list[Effect]:
        """The connection is up: who opened it says its header, the other waits for it."""
        return self.begin()

    def receive(self, data: bytes, now: float) -> list[Effect]:
        """Take bytes of the stream.

        Never raises on any input: what is not allowed ends the stream with the error that says why, and a
        `Drop`.
        """
        if self.step in _DEAF:
            return []
        self.now = self._heard_at = now
        if self.step is _SASL_STEP and self.side is Side.ACCEPTOR and data.strip():
            return self.fail(Condition.NOT_AUTHORIZED, "something before the answer to authentication")
        effects: list[Effect] = []
        parser, refused = self._parser, None
        while True:
            more = parser.is_stepwise
            try:
                events: Sequence[Event] = parser.feed(data)
            except XmlRefused as error:
                events, refused = error.before, error
            for event in events:
                effects += self._on_stanza(event) if type(event) is Stanza else self._take(event)
                if self._parser is not parser or self.step in _DEAF:
                    return effects
            if refused is not None:
                reason = Reason.PROTOCOL_ERROR
                return effects + self.fail(refused.condition, refused.note, reason, refused.extra)
            if not events or not more:
                return effects
            data = b""

    def encrypted(self, now: float) -> list[Effect]:
        """The handshake that `StartTls` or `TlsFollows` asked for is done; the other side has been judged."""
        if self.step is not Step.TLS:
            raise LocalMisuse(f"TLS on a stream in step {self.step.value}")
        self.now = now
        self.tls = True
        return self.begin()

    def authenticated(self, now: float) -> list[Effect]:
        """What `AskedExternal` asked is granted: its pair is proved, the stream begins anew."""
        if self.step is not Step.SASL or self.side is not Side.ACCEPTOR:
            return []
        self.now = now
        return negotiation.take_auth(self)

    def not_authenticated(self, now: float) -> list[Effect]:
        """It is not; dial-back may follow."""
        if self.step is not Step.SASL or self.side is not Side.ACCEPTOR:
            return []
        self.now = now
        return negotiation.refuse_auth(self, "not-authorized")

    def lost(self) -> None:
        """The connection is gone."""
        self.step = Step.CLOSED
        self._parser.close()

    # -- dial-back -----------------------------------------------------------------------------------------

    def claim(self, from_: str, to: str, key: str) -> list[Effect]:
        """Claim to be `from_`, to speak to `to` (XEP-0220 section 2.1.1)."""
        if self.step is not Step.OPEN or not self.pairs.claimed((from_, to)):
            return []
        self._busy_at = self.now
        return [self.wrote(say.db("result", from_, to, key=key))]

    def answer_claim(
        self, from_: str, to: str, kind: DbType, error: StanzaError | None = None
    ) -> list[Effect]:
        """Say what became of a claim; `from_` is the domain that it was made to."""
        return self._db("result", from_, to, "", kind, error)

    def ask_verify(self, from_: str, to: str, stream_id: str, key: str) -> list[Effect]:
        """Ask whether `to` made this key for a stream of ours with this id (section 2.1.2)."""
        if self.step is not Step.OPEN or not self.pairs.asked(from_, to, stream_id):
            return []
        self._busy_at = self.now
        return [self.wrote(say.db("verify", from_, to, key=key, stream_id=stream_id))]

    def answer_verify(
        self, from_: str, to: str, stream_id: str, kind: DbType, error: StanzaError | None = None
    ) -> list[Effect]:
        """Say whether the key is ours."""
        return self._db("verify", from_, to, stream_id, kind, error)

    def _db(
        self, name: str, from_: str, to: str, stream_id: str, kind: DbType, error: StanzaError | None
    ) -> list[Effect]:
        if self.step not in _LIVE or self.said_end:
            return []
        return [self.wrote(say.db(name, from_, to, stream_id=stream_id, kind=kind, error=error))]

    def proved(self, pair: Pair, *, ours: bool | None = None) -> None:
        """A pair is proved: stanzas of it are legal from now on.

        Args:
            pair: the domain that speaks, and the one that is spoken to.
            ours: it is one of our domains that speaks; None: as the stream was opened.
        """
        if self.step is not Step.CLOSED:
            self.prove(pair, ours=self._is_ours(ours))

    def unproved(self, pair: Pair, *, ours: bool | None = None) -> None:
        """It is not any more."""
        self.pairs.unprove(pair, ours=self._is_ours(ours))

    def _is_ours(self, ours: bool | None) -> bool:
        return self.side is Side.OPENER if ours is None else ours

    # -- stanzas -------------------------------------------------------------------------------------------

    def may_write(self, from_: str, to: str) -> bool:
        """Whether a stanza from a domain of ours to one of theirs may go out here, were there room."""
        if self.role is StreamRole.COMPONENT_OUT:
            return from_ == self.own
        if self.role is StreamRole.COMPONENT_IN:
            return self._is_component(to)
        return self.pairs.may_write(from_, to)

    def stanzas(self, raw: Iterable[bytes], tags: Iterable[int | None], now: float) -> list[Effect]:
        """Write stanzas that `may_write` allows.

        Args:
            raw: their bytes, rooted in the stream's content namespace.
            tags: for each one, what its outcome is told under (`Handled`, `Late`); None where nobody asks.
            now: seconds.
        """
        if self.step not in _LIVE or self.said_end:
            return []
        self.now = self._busy_at = now
        return counting.wrote(self, b"".join(raw), tags)

    def barrier(self, ident: str, now: float) -> list[Effect]:
        """The ping with this id was answered by the domain that was asked (`PingOut`), wherever.

        An answer behind the end of this stream changes nothing: what became of its stanzas has been told.
        """
        if self.step is Step.CLOSED:
            return []
        self.now = self._heard_at = now
        return counting.answered(self, ident)

    # -- what comes ----------------------------------------------------------------------------------------

    def _take(self, event: Event) -> list[Effect]:
        if isinstance(event, Stanza):
            return self._on_stanza(event)
        if isinstance(event, Header):
            return negotiation.on_header(self, event)
        if isinstance(event, StreamEnd):
            return self._on_end()
        key = (event.namespace, event.name)
        steps, roles = LEGAL.get(key, _NEVER)
        if self.step not in steps or self.role not in roles:
            return self._illegal(event)
        try:
            return _ON[key](self, event)
        except BadElement as error:
            return self.fail(error.condition, error.note)

    def _illegal(self, element: Element) -> list[Effect]:
        """What LEGAL does not have: who it comes from decides how that is called."""
        note = f"{element.name:.40} does not belong here"
        if self.step is Step.NEGOTIATING:
            return self.fail(Condition.POLICY_VIOLATION, "TLS is needed first", Reason.WEAKER_THAN_POLICY)
        if not self.pairs and self.role not in COMPONENTS:
            return self.fail(Condition.NOT_AUTHORIZED, note)
        return self.fail(Condition.UNSUPPORTED_STANZA_TYPE, note)

    def _on_stanza(self, stanza: Stanza) -> list[Effect]:
        if self.step not in _LIVE:
            if self.step is Step.NEGOTIATING:
                return self._illegal(stanza)
            return self.fail(Condition.NOT_AUTHORIZED, "a stanza before authentication", Reason.NOT_PROVED)
        said = stanza.attributes.get
        from_, to = domain_of(said("from", "")), domain_of(said("to", ""))
        if from_ is None or to is None:
            return self._no_parties()
        verdict = self._may_bring(from_, to)
        if verdict is not _GOOD:
            condition, reason = _VERDICTS[verdict]
            return self.fail(condition, verdict.value, reason)
        self.handled += self.counting
        self._busy_at = self.now
        return [StanzaIn(stanza, from_, to)]

    def _no_parties(self) -> list[Effect]:
        if not self.pairs and self.role not in COMPONENTS:
            return self.fail(Condition.NOT_AUTHORIZED, Verdict.NOTHING_PROVED.value, Reason.NOT_PROVED)
        return self.fail(Condition.IMPROPER_ADDRESSING, "a stanza without two addresses", Reason.BAD_ADDRESS)

    def _may_bring(self, from_: str, to: str) -> Verdict:
        """The one check of who speaks on this stream (rule 1 of the architecture is the second wall)."""
        if self.role not in COMPONENTS:
            return self.pairs.judge(from_, to)
        if self.role is StreamRole.COMPONENT_IN:
            return Verdict.GOOD if self._is_component(from_) else Verdict.FORGED
        # what is for no name of ours is answered, and the stream goes on (`ComponentEdge`)
        return Verdict.GOOD

    def _is_component(self, name: str) -> bool:
        return name == self.other or self.terms.also(name)

    def on_error(self, element: Element) -> list[Effect]:
        """The other side ends the stream with an error; `see-other-host` is never followed."""
        condition, text = stream_error_of(element)
        reason, note = reason_of(condition), f"{condition.value}: {text}" if text else condition.value
        if self.step is Step.PROCEED and not self.features.starttls:
            reason = Reason.WEAKER_THAN_POLICY
        if self.takes_no_proof(reason, condition):
            reason, note = Reason.NO_COMMON_PROOF, f"{note}; {self.what_it_takes()}"
        self.peer_closed = self.step is not Step.DRAINING
        self.close_received = PeerClosed(reason, condition, text)
        return self.end(b"", Drop(reason, condition, note))

    def on_bidi(self, _element: Element) -> list[Effect]:
        """Both directions on this stream, where that is offered and nothing claimed (XEP-0288 section 2)."""
        if not self.offered.bidi or self.pairs.claimed_here or self.pairs.bidi:
            return self.fail(Condition.UNSUPPORTED_STANZA_TYPE, "bidi is not offered now")
        self.pairs.speak_both_ways()
        return []

    def _on_end(self) -> list[Effect]:
        if self.close_received is not None:
            return []
        self.close_received = PeerClosed(Reason.NONE)
        if self.state is not LinkState.DRAINING and self.step is not Step.OPEN:
            self.peer_closed = True
            return self.end(b"", Drop(Reason.LINK_LOST, None, "the other side ended the stream"))
        if self.takes_no_proof(Reason.NONE):
            self.peer_closed = True
            return self.end(b"", Drop(Reason.NO_COMMON_PROOF, None, self.what_it_takes()))
        if self.step is Step.OPEN:
            self.peer_closed = True
            self.wait_in(Step.DRAINING, self.terms.settings.close_s)
            return [Draining(Reason.NONE, True), *self._say_end()]
        return self._say_end()

    # -- the end -------------------------------------------------------------------------------------------

    def close(
        self, reason: Reason, now: float, *, retry_after_s: int | None = None, text: str | None = None
    ) -> list[Effect]:
        """End in order: what is on its way has `close_s`, and as much again for the other side's end.

        An end for a fault of the other side's is a stream error, and at once.
        """
        del retry_after_s  # streams have no word for it
        if self.step is Step.DRAINING:
            return []
        if self.step is not Step.OPEN:
            return self.refuse(reason, text=text)
        draining: Effect = Draining(reason, False)
        if reason not in _POLITE:
            return [draining, *self.refuse(reason, text=text)]
        self.now = now
        self._why = reason
        self.wait_in(Step.DRAINING, self.terms.settings.close_s)
        speaks = self.pairs.ours or self.pairs.bidi or self.role in COMPONENTS
        only_listens = self.side is Side.ACCEPTOR and not speaks
        return [draining, *(self._say_end() if only_listens else [])]

    def refuse(
        self,
        reason: Reason,
        *,
        retry_after_s: int | None = None,
        condition: Condition | None = None,
        text: str | None = None,
    ) -> list[Effect]:
        """End at once, with the stream error that says why."""
        del retry_after_s
        if self.step is Step.CLOSED:
            return []
        said = condition or condition_of(reason)
        if said is None:
            return self.end(b"", Drop(reason, None, text or ""))
        return self.fail(said, text or reason.word, reason)

    def settle(self, in_flight: int) -> list[Effect]:
        """While draining: where nothing is in flight our end is said, and with theirs the stream is over."""
        if self.step is not Step.DRAINING or in_flight:
            return []
        ended = self._say_end()
        return [*ended, *self._over("")] if self.close_received is not None else ended

    def _say_end(self) -> list[Effect]:
        """`</stream:stream>`, and before it how many of theirs were handled (XEP-0198 section 4)."""
        if self.said_end:
            return []
        self.said_end = True
        self._due_at = self.now + self.terms.settings.close_s
        ack = say.sm_ack(self.handled % WRAP) if self.counting else b""
        return [self.wrote(ack + say.END)]

    def _over(self, note: str) -> list[Effect]:
        self.step = Step.CLOSED
        self._parser.close()
        return [Drop(self._why, None, note)]

    # -- time ----------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Look at the timers, about once a second, and for a prompt barrier at `confirmations.due_at`."""
        if self.step in {Step.NEW, Step.CLOSED}:
            return []
        self.now = now
        asked_at = self.confirmations.asked_at
        late = counting.late(self, spoke=asked_at is not None and self._heard_at > asked_at)
        return late + self._look_at_timers(now, asked_at)

    def _look_at_timers(self, now: float, asked_at: float | None) -> list[Effect]:
        if self.step is Step.OPEN:
            return self._keep_alive(now, asked_at)
        if now < self._due_at:
            return []
        if self.step is not Step.DRAINING:
            note = f"nothing came in time in step {self.step.value}"
            return self.fail(Condition.CONNECTION_TIMEOUT, note, Reason.HELLO_TIMEOUT)
        if self.said_end:
            return self._over("close deadline")
        if self._why is Reason.SHUTTING_DOWN:
            return self.refuse(Reason.SHUTTING_DOWN, text="what is on its way is not confirmed")
        return self._say_end()

    def _keep_alive(self, now: float, asked_at: float | None) -> list[Effect]:
        settings = self.terms.settings
        silent = now - self._heard_at
        if asked_at is not None and now - asked_at >= settings.dead_s and silent >= settings.dead_s:
            note = f"silent for {silent:.0f} s"
            return self.fail(Condition.CONNECTION_TIMEOUT, note, Reason.KEEPALIVE_TIMEOUT)
        if silent >= settings.silent_s and asked_at is None:
            asked = counting.probe(self)
            if asked:
                return asked
        if now - self._wrote_at >= settings.keepalive_s:
            return [self.wrote(say.SPACE)]
        return []

    def heard(self, now: float) -> None:
        """The other side is alive: bytes came, or its domain spoke on another stream."""
        self._heard_at = now

    def busy(self, now: float) -> None:
        """A stanza or a claim passed: the stream is not idle."""
        self._busy_at = now

    def idle_for(self, now: float) -> float:
        """Seconds since a stanza or a claim passed."""
        return now - self._busy_at

    def silent_for(self, now: float) -> float:
        """Seconds since anything was heard; 0 of one that cannot be asked: nothing is owed on it."""
        return now - self._heard_at if counting.may_ask(self) else 0.0

    def fence(self) -> list[Effect]:
        """Ask the other side to say when it has read all that was written until now; see `fenced`."""
        if self.step not in _LIVE or self.said_end:
            return []
        return counting.asked(self, b"", self.confirmations.fence(self.now))

    @property
    def fenced(self) -> bool:
        """Whether what was written before the last `fence` has been read; so it is without one."""
        return self.confirmations.fenced


#: What each element does; the keys are those of `LEGAL` but for stanzas.
_ON: Final[Mapping[tuple[str, str], Callable[[StreamMachine, Element], list[Effect]]]] = MappingProxyType(
    {
        (STREAM, "error"): StreamMachine.on_error,
        (STREAM, "features"): negotiation.on_features,
        (TLS, "starttls"): negotiation.on_starttls,
        (TLS, "proceed"): negotiation.on_proceed,
        (TLS, "failure"): negotiation.on_tls_failure,
        (SASL, "auth"): negotiation.on_auth,
        (SASL, "abort"): negotiation.on_abort,
        (SASL, "challenge"): negotiation.on_challenge,
        (SASL, "success"): negotiation.on_success,
        (SASL, "failure"): negotiation.on_failure,
        (BIDI, "bidi"): StreamMachine.on_bidi,
        (DIALBACK, "result"): claiming.on_db,
        (DIALBACK, "verify"): claiming.on_db,
        (SM, "enable"): counting.on_enable,
        (SM, "resume"): counting.on_resume,
        (SM, "enabled"): counting.on_enabled,
        (SM, "failed"): counting.on_failed,
        (SM, "r"): counting.on_request,
        (SM, "a"): counting.on_ack,
        (COMPONENT, "handshake"): negotiation.on_handshake,
    }
)
