"""What one stream is at a moment, and how it goes on, begins anew and ends.

`machine.StreamMachine` is this with its inputs; what single elements do to it stands in `negotiation`,
`claiming` and `counting`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.acks import Confirmations
from imxrouter.gateways.xmpp.effects import Drop, Effect, Open, Write
from imxrouter.gateways.xmpp.heard import BEFORE
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.pairs import Pair, Pairs
from imxrouter.gateways.xmpp.say import Features
from imxrouter.gateways.xmpp.steps import COMPONENTS, STATE, Step, StreamRole
from imxrouter.gateways.xmpp.terms import StreamTerms
from imxrouter.gateways.xmpp.xml import StreamParser
from imxrouter.link.machine import LinkState, Side
from imxrouter.model.vocabulary import Reason

#: Bytes of chance in the id of an accepted stream: a key of dial-back holds for this one only (XEP-0185).
STREAM_ID_BYTES: Final = 16
_TEXT_AT_MOST: Final = 200
#: What servers without dial-back end a stream with on which something is claimed.
_UNPROVED: Final = frozenset(
    {Reason.NONE, Reason.NOT_PROVED, Reason.PROTOCOL_ERROR, Reason.PEER_FAILED, Reason.WEAKER_THAN_POLICY}
)
#: Nothing of ours can be read: not begun, TLS under way, or over.
_MUTE: Final = frozenset({Step.NEW, Step.TLS, Step.CLOSED})


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """How the other side ended the stream.

    Attributes:
        reason: what that means; `NONE` for `</stream:stream>` alone.
        condition: of its stream error.
        text: its words.
        retry_after_s: streams have no word for it.
    """

    reason: Reason
    condition: Condition | None = None
    text: str = ""
    retry_after_s: int | None = None


class Stream:
    """State of a stream.

    Attributes:
        role: which end of what it is ours.
        terms: what it is held to.
        own: the domain that is ours; of an accepted stream once its header is there.
        other: the other side's domain, as it says; empty where it does not. Nothing is proved by it.
        step: how far it is.
        tls: whether it is encrypted.
        stream_id: of the accepting side, as keys of dial-back name it.
        features: what the other side offered last.
        heard_features: it has said so since the stream began (anew).
        pairs: who may speak on it.
        confirmations: which stanzas of ours arrived.
        external: SASL EXTERNAL was done on it.
        peer_closed: the other side ended it first.
        close_received: how it did.
        round_trip_s: seconds until the last question was answered.

    The rest is for the handlers of elements:

    Attributes:
        now: of the input that is being worked on.
        seen: a first header was taken, so `own` and `other` stand.
        called: what the last header of the other side said that it is, refused or not.
        said_end: our `</stream:stream>` went out.
        was_open: `Open` was told.
        offered: what we offered last.
        auth_failures: refused attempts of SASL.
        auth_said: why the other side refused ours.
        counting: stanzas that come are counted (XEP-0198).
        handled: how many came since.
        unasked: results that nobody asked for.
        verifies: questions of dial-back taken before anything is proved.
    """

    #: Streams have no hello (see `LinkMachine`).
    peer: None = None

    def __init__(
        self,
        role: StreamRole,
        terms: StreamTerms,
        own: str,
        other: str,
        now: float,
        random_bytes: Callable[[int], bytes],
        *,
        tls: bool = False,
    ) -> None:
        self.role, self.terms = role, terms
        self.side = role.side
        self.own, self.other, self.called = own, other, ""
        self.step = Step.NEW
        self.tls = tls
        self.stream_id = ""
        self.features = Features()
        self.heard_features = False
        self.pairs = Pairs()
        self.confirmations = Confirmations(terms.confirm, terms.settings, random_bytes)
        self.external = False
        self.peer_closed = False
        self.close_received: PeerClosed | None = None
        self.round_trip_s: float | None = None
        self.now = now
        self.seen = self.said_end = self.was_open = False
        self.offered = Features()
        self.auth_failures = 0
        self.auth_said = ""
        self.counting = False
        self.handled = self.unasked = self.verifies = 0
        self._random_bytes = random_bytes
        self._parser = StreamParser(BEFORE, role.content, stepwise=True)
        self._said_header = False
        self._heard_at = self._busy_at = self._wrote_at = now
        self._due_at = now
        #: why it is draining
        self._why = Reason.NONE

    @property
    def state(self) -> LinkState:
        """What the rest of the house reads; a stream that begins anew after it was open is open."""
        return STATE.get(self.step) or (LinkState.OPEN if self.was_open else LinkState.AWAIT_HELLO)

    def begin(self) -> list[Effect]:
        """Begin, or begin anew: nothing that was read before counts (RFC 6120 sections 5.4.3.3, 6.4.6)."""
        self._parser.close()
        limits = self.terms.settings.limits if self.pairs else BEFORE
        self._parser = StreamParser(limits, self.role.content, stepwise=True)
        self._said_header = False
        self.features = self.offered = Features()
        self.heard_features = False
        self.wait_in(Step.HEADER, self.terms.settings.header_s)
        return [self.wrote(self.header())] if self.side is Side.OPENER else []

    @property
    def parser_renewals(self) -> int:
        """How often its parser was replaced since the stream began (anew), for it knew too many names."""
        return self._parser.renewals

    @property
    def more_came(self) -> bool:
        """Whether something but blanks stands behind the element that is worked on; asked once."""
        return bool(self._parser.rest().strip())

    def what_it_takes(self) -> str:
        """(Opening) what the other side offers for proof, in words, and what became of our certificate."""
        taken = [*self.features.mechanisms, *(["dial-back"] if self.features.dialback else [])]
        said = f"; our certificate: {self.auth_said}" if self.auth_said else ""
        return f"it offers {', '.join(taken) or 'neither EXTERNAL nor dial-back'}{said}"

    def takes_no_proof(self, reason: Reason, condition: Condition | None = None) -> bool:
        """(Opening) whether the other side ended the stream because nothing that we can give will do for it.

        So it is where a stream in TLS is refused for lack of authority before anything is proved, and where
        the features came without dial-back, our certificate did not do, and what we claimed all the same was
        answered with the end of the stream. A server that takes dial-back and does not say so is not judged.

        COMPAT(Prosody 0.12): one without mod_dialback that does not trust our certificate has "no stream
        features to offer" and says `undefined-condition` in their place.

        Args:
            reason: what its stream error means; `NONE` without one.
            condition: of the stream error.
        """
        if self.role is not StreamRole.S2S_OUT or self.pairs or self.external:
            return False
        if self.tls and (reason is Reason.NOT_PROVED or self._without_features(condition)):
            return True
        return self.was_open and not self.features.dialback and self.heard_features and reason in _UNPROVED

    def _without_features(self, condition: Condition | None) -> bool:
        return condition is Condition.UNDEFINED_CONDITION and self.step is Step.FEATURES

    def header(self) -> bytes:
        """Write our header, where it is not out yet."""
        if self._said_header:
            return b""
        self._said_header = True
        if self.side is Side.ACCEPTOR:
            self.stream_id = self._random_bytes(STREAM_ID_BYTES).hex()
        ident = self.stream_id if self.side is Side.ACCEPTOR else ""
        content = self.role.content
        if self.role is StreamRole.COMPONENT_OUT:
            return say.header(content, to=self.own, version=False)
        if self.role in COMPONENTS:
            return say.header(content, from_=self.other, stream_id=ident, version=False)
        to = self.other or (self.called if ident else "")
        return say.header(content, from_=self.own, to=to, stream_id=ident, answers=bool(ident))

    def opened(self) -> list[Effect]:
        """Nothing is left to negotiate."""
        self.step = Step.OPEN
        if self.was_open:
            return []
        self.was_open = True
        self._busy_at = self.now
        return [Open()]

    def wait_in(self, step: Step, for_s: float) -> None:
        """The other side must bring it on from here, in so many seconds."""
        self.step = step
        self._due_at = self.now + for_s

    def wrote(self, data: bytes) -> Write:
        """Note that something goes out."""
        self._wrote_at = self.now
        return Write(data)

    def fail(
        self, condition: Condition, note: str, reason: Reason = Reason.PROTOCOL_ERROR, extra: bytes = b""
    ) -> list[Effect]:
        """End with a stream error (RFC 6120 section 4.9.1); a header of ours goes before it if need be."""
        last = say.stream_error(condition, note[:_TEXT_AT_MOST], extra)
        return self.end(last, Drop(reason, condition, note))

    def end(self, last: bytes, drop: Drop) -> list[Effect]:
        """End at once.

        Args:
            last: what is said before `</stream:stream>`.
            drop: why.
        """
        can_say = self.step not in _MUTE and not self.said_end
        data = self.header() + last + say.END if can_say else b""
        self.step, self.said_end = Step.CLOSED, True
        self._parser.close()
        return [self.wrote(data), drop] if data else [drop]

    def prove(self, pair: Pair, *, ours: bool) -> None:
        """A pair is proved, ours at the other side or theirs here; larger stanzas are taken."""
        self.pairs.prove(pair, ours=ours)
        self.widen()

    def widen(self) -> None:
        """Who speaks is known: larger stanzas are taken."""
        self._parser.widen(self.terms.settings.limits)
