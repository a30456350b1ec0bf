"""Between stanzas on streams and records in the switch (the `Edge` of `parts.py`).

A stanza for a domain that is reached by XMPP goes on as it is, in a STANZA record; for every other one the
plan of the mapping says what becomes of it. What the switch, or whoever is behind it, answers to a stanza is
told to its sender as a stanza error, which takes the way of every stanza from the recipient's domain: it is
handed to the switch as the router's own, and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from imxrouter.formats.xmltree import BadXml, Element
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.names import COMPONENT, PING, SERVER, StanzaCondition, stanza_error
from imxrouter.gateways.xmpp.stanza import Stanza, read_stanza, rescoped
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.again import Going, PresenceAgain
from imxrouter.gateways.xmpp.streams.parts import Said, StreamLink
from imxrouter.gateways.xmpp.streams.pings import Pings
from imxrouter.gateways.xmpp.streams.records import (
    Party,
    head_of,
    is_asked,
    party_of,
    stanza_in,
    stanza_record,
)
from imxrouter.gateways.xmpp.streams.told import Told, ToldTable, told_of
from imxrouter.gateways.xmpp.translate.awaited import LATE_S, QUERY_S, Awaited
from imxrouter.gateways.xmpp.translate.failures import late_failure, outcome_of
from imxrouter.gateways.xmpp.translate.foreign import stanza_of_foreign
from imxrouter.gateways.xmpp.translate.forms import Misfit
from imxrouter.gateways.xmpp.translate.jid import BadJid
from imxrouter.gateways.xmpp.translate.messages import Takes
from imxrouter.gateways.xmpp.translate.original import ORIGINAL_FORM, judge
from imxrouter.gateways.xmpp.translate.plan import (
    Answer,
    AsForeign,
    Drop,
    Facts,
    Handshake,
    Late,
    Operate,
    Query,
    Refuse,
    plan,
)
from imxrouter.gateways.xmpp.translate.saying import stanza_of
from imxrouter.link.ledger import KEY, OUT_PORT, RECORD, Entry
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Foreign, Message, Operation
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.choice import Protocol
from imxrouter.switch.ports import Port
from imxrouter.transport.operations import operation_to_bytes, record_to_foreign, with_result
from imxrouter.transport.translate import TranslationError, record_to_message
from imxrouter.wire.errors import WireError
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, decode_outcome, decode_record, encode_record, response_to
from imxrouter.wire.registry import RecordType

_PRESENCE: Final = frozenset({RecordType.SUBSCRIBE.value, RecordType.NOTIFY.value})
_ANSWERS: Final = frozenset({"result", "error"})
_COMPONENTS: Final = frozenset({StreamRole.COMPONENT_IN, StreamRole.COMPONENT_OUT})


def _takes(_from: str, _to: str) -> Takes:
    return Takes()


def _no(_from: str, _to: str) -> bool:
    return False


def _yes(_domain: str) -> bool:
    return True


def _largest(_domain: str) -> int:
    return 65_536


def _no_pair(_from: str, _to: str) -> bool:
    return False


def _wrote(_from: Address, _to: Address) -> None:
    """Nobody wants to know."""


#: Takes a stanza that is neither message nor foreign form; whole records for it, or a refusal.
Takers = Callable[[StreamLink, StanzaIn, Element], bytes | Outcome]


@dataclass(frozen=True, slots=True)
class Known:
    """What an edge asks of the world. Domains are A-labels.

    Attributes:
        spoken: what the domain is reached by, one that is served here included.
        is_served: whether it is served here.
        takes: what a message from one domain for another may be.
        foreign: whether, from one domain, another takes FOREIGN of XMPP.
        refused: told that a domain refused it.
        forms: whether original forms are used for a served domain.
        largest_record: bytes of a record that the way to it takes.
        pair: whether a consent is known between two addresses.
        presence: takes presence of a pair; None: presence is not translated here.
        queries: takes an iq that is translated; None: none is.
        operations: answers a SUBSCRIBE or NOTIFY for a user of XMPP; None: neither is translated here.
        wrote: told of each message of a user of XMPP that was translated.
    """

    spoken: Callable[[str], Protocol]
    is_served: Callable[[str], bool]
    takes: Callable[[str, str], Takes] = _takes
    foreign: Callable[[str, str], bool] = _no
    refused: Callable[[str], object] = _yes
    forms: Callable[[str], bool] = _yes
    largest_record: Callable[[str], int] = _largest
    pair: Callable[[str, str], bool] = _no_pair
    presence: Takers | None = None
    queries: Takers | None = None
    operations: Callable[[Record], Outcome] | None = None
    wrote: Callable[[Address, Address], None] = _wrote


@dataclass(frozen=True, slots=True)
class Outside:
    """What an edge needs of its process.

    Attributes:
        submit: hands a request of the router itself to the switch (`InsidePort.submit`).
        has_room: whether the switch takes one more of those.
        inject: hands records to the switch as of a port (`Hub.inject`).
        entries: requests in flight by their route tag (`Ledger.entries`).
        ports: the ends of the switch by their number (`Switch.ports`).
        later: calls a function after seconds.
        now: seconds of the monotonic clock.
        clock: the time of day, with its zone.
        random_bytes: source of message ids.
        dropped: told the word of each stanza that went nowhere, and of each original form not used.
    """

    submit: Callable[[Record, Callable[[Record], None]], None]
    has_room: Callable[[], bool]
    inject: Callable[[Port, bytes], None]
    entries: Mapping[int, Entry]
    ports: Mapping[int, Port]
    later: Callable[[float, Callable[[], object]], object]
    now: Callable[[], float]
    clock: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    dropped: Callable[[str], None]


class _Asked(NamedTuple):
    """A query that went on: who is told if nobody answers; None where another router tells it."""

    told: Told | None


class _Sent(NamedTuple):
    """A message that left, whose failure may still come."""

    tag: int
    message_id: bytes


def _unheard(_response: Record) -> None:
    """Nobody waits for what became of an error, or of an answer of the router."""


class StreamEdge:
    """See the module.

    Args:
        outside: what it needs of its process.
        known: what it asks of the world.
        pings: those that are out.
        again: presence that is on its way.

    Attributes:
        told: what streams brought and the switch has not answered.
    """

    def __init__(
        self, outside: Outside, known: Known, pings: Pings, again: PresenceAgain | None = None
    ) -> None:
        self._outside, self._known, self._pings, self._again = outside, known, pings, again
        #: presence that streams brought, by the tag of its record
        self._presences: dict[int, Going] = {}
        self._next_tag = 1
        self.told = ToldTable()
        self._queries: Awaited[_Asked] = Awaited(QUERY_S)
        self._messages: Awaited[_Sent] = Awaited(LATE_S)

    def tick(self) -> None:
        """About once a second: queries that nobody answered are answered for the other side (row iq-wait)."""
        now = self._outside.now()
        for overdue in self._queries.due(now):
            told = overdue.value.told
            if told is not None:
                self._say(told, told.timed_out(stanza_error(StanzaCondition.REMOTE_SERVER_TIMEOUT)))
        self._messages.due(now)
        self.told.tick(now)
        while self._presences and (first := next(iter(self._presences.items())))[1].over:
            del self._presences[first[0]]  # of a stream that was gone when the answer came
        if self._again is not None:
            self._again.tick()

    # -- stanzas come ------------------------------------------------------------------------------------

    def records_of(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        """Whole records for what came, empty where nothing is to be routed."""
        return b"".join([self._record_of(session, one) for one in stanzas])

    def _record_of(self, session: StreamLink, got: StanzaIn) -> bytes:
        given = got.stanza
        is_answer = given.kind == "iq" and given.type in _ANSWERS
        if is_answer and self._pings.answer(given.ident, got.from_, got.to):
            return b""
        told = told_of(given, got.to, got.from_)
        try:
            if self._known.spoken(got.to) is Protocol.XMPP:
                from_, to = party_of(given.from_), party_of(given.to)
                record = stanza_record(rescoped(given, SERVER), from_, to, self._outside.random_bytes(16))
                tag = self._tag(told)
                if given.kind == "presence":
                    self._note_presence(given, record, tag)
                return encode_record(record, FLAG_RESPONSE_WANTED, tag)
            return self._translated(session, got, told)
        except BadJid as error:
            return self._refused(told, failure(error.reason, note=str(error)))
        except BadXml as error:
            return self._refused(told, failure(Reason.BAD_BODY, note=str(error)))
        except (TranslationError, WireError) as error:
            reason = error.reason if isinstance(error, TranslationError) else Reason.BAD_RECORD
            return self._refused(told, failure(reason, note=str(error)))

    def _note_presence(self, given: Stanza, record: Record, tag: int) -> None:
        if self._again is not None:
            going = self._again.going(given.from_, given.to, given.type, record)
            if going is not None:
                self._presences[tag] = going

    def _translated(self, session: StreamLink, got: StanzaIn, told: Told | None) -> bytes:
        """For a domain that is reached otherwise than by XMPP."""
        tree = got.stanza.tree()
        if self._known.is_served(got.to) and _is_ping(got, tree):
            self._pong(told)
            return b""
        match plan(tree, self._facts(got)):
            case Operate(operation):
                self._known.wrote(operation.source, operation.destination)
                return self._operation(operation, told)
            case AsForeign(operation):
                return self._foreign(got, operation, told)
            case Answer(foreign):
                return self._answer(got, foreign)
            case Late():
                return self._late(got, tree)
            case Handshake() | Query():
                return self._by_others(session, got, tree, told)
            case Refuse(outcome):
                return self._refused(told, outcome)
            case Drop(why):
                self._outside.dropped(why.value)
                return b""

    def _facts(self, got: StanzaIn) -> Facts:
        known, outside = self._known, self._outside
        return Facts(
            outside.clock(), outside.random_bytes(16), known.takes(got.from_, got.to),
            known.foreign(got.from_, got.to),
            known.pair(got.stanza.from_, got.stanza.to), known.forms(got.from_), known.largest_record(got.to),
        )  # fmt: skip

    def _operation(self, operation: Operation, told: Told | None) -> bytes:
        tag = self._next_tag
        data = operation_to_bytes(operation, FLAG_RESPONSE_WANTED, tag)  # raises before anything is kept
        self._tag(told)
        return data

    def _foreign(self, got: StanzaIn, operation: Foreign, told: Told | None) -> bytes:
        given = got.stanza
        if given.kind == "iq":
            key = (given.from_, given.to, given.ident)
            if not self._queries.sent(key, got.to, _Asked(told), self._outside.now()):
                return self._refused(told, failure(Reason.BUSY, retry_after_s=5))
        return self._operation(operation, told)

    def _answer(self, got: StanzaIn, foreign: Foreign | None) -> bytes:
        given, now = got.stanza, self._outside.now()
        asked = self._queries.answered(given.from_, given.to, given.ident, now)
        if foreign is None or asked is None:
            self._outside.dropped("unasked")
            return b""
        return self._operation(foreign, None)

    def _late(self, got: StanzaIn, tree: Element) -> bytes:
        """An error for a message: of one in flight its outcome, of one that was taken a late failure."""
        given, outside = got.stanza, self._outside
        sent = self._messages.answered(given.from_, given.to, given.ident, outside.now())
        if sent is None:
            outside.dropped("unasked")
            return b""
        entry = outside.entries.get(sent.tag)
        port = outside.ports.get(entry[OUT_PORT]) if entry is not None else None
        if entry is not None and port is not None and entry[KEY].startswith(sent.message_id):
            role = "service" if self._known.is_served(got.from_) else "peer"
            self.settled(port, (sent.tag,), outcome_of(tree, Domain(got.from_), role))
            return b""
        late = late_failure(tree, outside.random_bytes(16), outside.clock(), sent.message_id)
        if isinstance(late, Refusal):
            outside.dropped("unasked")
            return b""
        return self._operation(late, None)

    def _by_others(self, session: StreamLink, got: StanzaIn, tree: Element, told: Told | None) -> bytes:
        """Presence of a pair, and queries; what is not translated is refused."""
        takers = self._known.presence if got.stanza.kind == "presence" else self._known.queries
        if takers is None:
            return self._refused(told, failure(Reason.TYPE_NOT_ENABLED, note="it is not translated here"))
        taken = takers(session, got, tree)
        return self._refused(told, taken) if isinstance(taken, Outcome) else taken

    def _tag(self, told: Told | None) -> int:
        tag = self._next_tag
        self._next_tag += 1
        if told is not None and not self.told.add(tag, told, self._outside.now()):
            self._outside.dropped("untold")
        return tag

    # -- what became of them -----------------------------------------------------------------------------

    def answered(self, port: Port, record: Record) -> None:
        """A response to what a stream brought: a failure is told, once."""
        del port  # tags are of the edge, and no two streams have the same
        going = self._presences.pop(record.route_tag, None)
        if going is not None and self._again is not None:
            self._again.answered(going, decode_outcome(record))
        told = self.told.take(record.route_tag)
        if told is None:
            return
        outcome = decode_outcome(record)
        if outcome.ok:
            return
        if record.type == RecordType.FOREIGN_RESPONSE and outcome.reason is Reason.TYPE_NOT_ENABLED:
            self._known.refused(told.domain)
        if told.kind == "iq":
            self._queries.answered(told.to, told.from_, told.ident, self._outside.now())
        self._say(told, told.error(outcome))

    def _refused(self, told: Told | None, outcome: Outcome) -> bytes:
        """Tell it, behind what the same read brought."""
        if told is None:
            self._outside.dropped("quiet")
        else:
            self._outside.later(0.0, lambda: self._say(told, told.error(outcome)))
        return b""

    def _pong(self, told: Told | None) -> None:
        """Answer a ping for a domain, behind what the same read brought: all of that has been taken."""
        if told is not None:
            self._outside.later(0.0, lambda: self._say(told, told.answer(type_="result")))

    def _say(self, told: Told, raw: bytes | None) -> None:
        """Send a stanza of the recipient's domain to the sender of what came, as the router's own."""
        if raw is None:
            return
        if not self._outside.has_room():
            self._outside.dropped("no-room")
            return
        try:
            record = stanza_record(
                raw, _party(told.to, told.domain), _party(told.from_, told.sender),
                self._outside.random_bytes(16),
            )  # fmt: skip
            self._outside.submit(record, _unheard)
        except WireError:
            self._outside.dropped("no-stanza")

    # -- records go --------------------------------------------------------------------------------------

    def stanza_of(self, session: StreamLink, record: Record) -> Said | Outcome:
        """The stanza for a request that leaves on a stream, or why it cannot."""
        try:
            if record.type == RecordType.STANZA:
                raw: bytes | Outcome = stanza_in(record) or failure(Reason.BAD_BODY, note="no stanza")
            elif record.type == RecordType.FOREIGN:
                raw = self._as_was(record)
            elif record.type == RecordType.MESSAGE:
                raw = self._message(session, record)
            else:
                taken = self.operated(record)
                raw = (
                    taken
                    if taken is not None
                    else failure(Reason.TYPE_NOT_ENABLED, note="it is not translated here")
                )
            if isinstance(raw, Outcome):
                return raw
            if session.role in _COMPONENTS:
                raw = rescoped(read_stanza(raw), COMPONENT)
        except TranslationError as error:
            return failure(error.reason, note=str(error))
        except (BadXml, WireError) as error:
            return failure(Reason.BAD_BODY, note=str(error))
        most = session.machine.features.max_bytes
        if most and len(raw) > most:
            return failure(Reason.TOO_LARGE, note=f"a stanza of {len(raw)} bytes; {most} are taken")
        return Said(raw, is_asked(raw))

    def operated(self, record: Record) -> Outcome | None:
        """The outcome of a SUBSCRIBE or NOTIFY for a user of XMPP; None of what needs a stream."""
        if record.type not in _PRESENCE or self._known.operations is None:
            return None
        return self._known.operations(record)

    def _as_was(self, record: Record) -> bytes | Outcome:
        """A foreign form: held to its envelope, and of an iq that answers to what was asked."""
        operation = record_to_foreign(record)
        domain = operation.destination.domain.name
        raw = stanza_of_foreign(operation, lambda name: name == domain)
        if isinstance(raw, Refusal):
            return failure(raw.reason, note=raw.note)
        head = head_of(raw)
        if head.name != "iq":
            return raw
        from_, to, ident, type_ = (head.attributes.get(one, "") for one in ("from", "to", "id", "type"))
        now = self._outside.now()
        if type_ not in _ANSWERS:
            taken = self._queries.sent((from_, to, ident), domain, _Asked(None), now)
            return raw if taken else failure(Reason.BUSY, retry_after_s=5)
        if self._queries.answered(from_, to, ident, now) is None:
            return failure(Reason.BAD_BODY, note="the answer to an iq that nobody asked")
        return raw

    def _message(self, session: StreamLink, record: Record) -> bytes | Outcome:
        """A message of the model: its original form where that says the same, else what says it best."""
        message = record_to_message(record)
        domain = message.destination.domain.name
        raw = self._original(message, domain)
        if raw is None:
            features = session.machine.features
            caps = Takes(stanza_bytes=features.max_bytes) if features.max_bytes else Takes()
            said = stanza_of(message, caps)
            if isinstance(said, Refusal):
                return failure(said.reason, note=said.note)
            raw = said
        said_to = head_of(raw).attributes
        key = (said_to.get("from", ""), said_to.get("to", ""), said_to.get("id", ""))
        sent = _Sent(record.route_tag, record.message_id)
        self._messages.sent(key, domain, sent, self._outside.now())
        return raw

    def _original(self, message: Message, domain: str) -> bytes | None:
        form = message.attributes.get(ORIGINAL_FORM)
        if form is None:
            return None
        judged: bytes | Misfit = Misfit.OFF
        if self._known.forms(domain):
            judged = judge(form, message, Protocol.XMPP, self._outside.clock(), lambda name: name == domain)
        if isinstance(judged, Misfit):
            self._outside.dropped(f"form-{judged.value}")
            return None
        return judged

    def settled(self, port: Port, tags: Sequence[int], outcome: Outcome) -> None:
        """What became of requests that left over a port, by their route tags; each is told once."""
        entries = self._outside.entries
        out = bytearray()
        for tag in tags:
            entry = entries.get(tag)
            if entry is not None:
                request = decode_record(entry[RECORD])
                response = with_result(response_to(request, outcome), outcome)
                out += encode_record(response, route_tag=tag)
        if out:
            self._outside.inject(port, bytes(out))


def _party(jid: str, domain: str) -> Party:
    """An end of a stanza that came: one that is no address counts as its domain."""
    try:
        return party_of(jid)
    except BadJid:
        return Party(b"", domain.encode(), b"")


def _is_ping(got: StanzaIn, tree: Element) -> bool:
    """Whether it asks the domain itself for a sign of life (XEP-0199)."""
    given: Stanza = got.stanza
    if given.type != "get" or "@" in given.to or "/" in given.to:
        return False
    return any((one.namespace, one.name) == (PING, "ping") for one in tree.children)
