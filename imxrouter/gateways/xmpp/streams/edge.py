"""Between stanzas on streams and records in the switch (the `Edge` of `parts.py`).

A stanza for a domain that is reached by XMPP goes on as it is, in a STANZA record; for every other one the
plan of the mapping says what becomes of it. What the switch, or whoever is behind it, answers to a stanza is
told to its sender as a stanza error (`replies.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from imxrouter.formats.xmltree import BadXml, Element
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.flat import read_flat
from imxrouter.gateways.xmpp.names import COMPONENT, PING, SERVER, StanzaCondition, stanza_error
from imxrouter.gateways.xmpp.stanza import Stanza, read_stanza, rescoped
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.again import PresenceAgain
from imxrouter.gateways.xmpp.streams.brought_presence import BroughtPresence
from imxrouter.gateways.xmpp.streams.leaving_messages import InFlight, LeavingMessages
from imxrouter.gateways.xmpp.streams.one_answer import OneAnswer
from imxrouter.gateways.xmpp.streams.parts import Said, StreamLink
from imxrouter.gateways.xmpp.streams.pings import Pings
from imxrouter.gateways.xmpp.streams.queries import Settled, StreamQueries
from imxrouter.gateways.xmpp.streams.records import (
    head_of,
    is_asked,
    party_of,
    passing_record,
    stanza_in,
    stanza_record,
)
from imxrouter.gateways.xmpp.streams.replies import Replies
from imxrouter.gateways.xmpp.streams.told import Question, Told, ToldTable, told_of
from imxrouter.gateways.xmpp.streams.usual import Way, usual_record
from imxrouter.gateways.xmpp.streams.world import Known, Outside
from imxrouter.gateways.xmpp.translate.awaited import QUERY_S, Awaited
from imxrouter.gateways.xmpp.translate.foreign import stanza_of_foreign
from imxrouter.gateways.xmpp.translate.forms import STANZA_ID, without_forged_ids
from imxrouter.gateways.xmpp.translate.jid import BadJid
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
from imxrouter.link.ledger import KEY, OUT_PORT, RECORD, TYPE
from imxrouter.model.operations import Foreign, Operation
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.choice import Protocol
from imxrouter.switch.ports import Port
from imxrouter.transport.operations import operation_to_bytes, record_to_foreign, result_of, with_result
from imxrouter.transport.translate import TranslationError
from imxrouter.wire.errors import WireError
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import (
    Record,
    decode_outcome,
    decode_record,
    encode_record,
    plain_success_to,
    response_to,
)
from imxrouter.wire.registry import RecordType

_PRESENCE: Final = frozenset({RecordType.SUBSCRIBE.value, RecordType.NOTIFY.value})
_ANSWERS: Final = frozenset({"result", "error"})
_XMPP: Final = Protocol.XMPP
_STANZA: Final = RecordType.STANZA.value
#: What is reached by XMPP goes on as it is.
_PASSING: Final = Way(translates=False)
#: Told to senders of what comes too late; seconds as for links.
_OUT_OF_SERVICE: Final = failure(Reason.SHUTTING_DOWN, retry_after_s=5)
_COMPONENTS: Final = frozenset({StreamRole.COMPONENT_IN, StreamRole.COMPONENT_OUT})


class _Asked(NamedTuple):
    """A query that went on: who is told if nobody answers; None where another router tells it."""

    told: Told | None


class StreamEdge:
    """See the module.

    Args:
        outside: what it needs of its process.
        known: what it asks of the world.
        pings: those that are out.
        again: presence that is on its way.

    Attributes:
        told: what streams brought and the switch has not answered.
        hushed: the process goes out of service: nothing leaves whose arrival matters, for nobody could say
            any more whether it has arrived.
    """

    def __init__(
        self, outside: Outside, known: Known, pings: Pings, again: PresenceAgain | None = None
    ) -> None:
        self._outside, self._known, self._pings = outside, known, pings
        self._replies, self._presence = Replies(outside), BroughtPresence(known, again)
        self._next_tag = 1
        self.told, self.hushed = ToldTable(), False
        self._one_answer = OneAnswer(self.told)
        self._queries: Awaited[_Asked] = Awaited(QUERY_S)
        self._messages = LeavingMessages(outside, known)
        self._attributes = StreamQueries(outside, known)

    def tick(self) -> None:
        """About once a second: queries that nobody answered are answered for the other side (row iq-wait)."""
        now = self._outside.now()
        for overdue in self._queries.due(now):
            told = overdue.value.told
            if told is not None:
                self._replies.say(told, told.timed_out(stanza_error(StanzaCondition.REMOTE_SERVER_TIMEOUT)))
        self._messages.tick(now)
        for settled in self._attributes.due():
            self._settle_query(settled)
        self.told.tick(now)
        self._one_answer.tick(now)
        self._presence.tick(now)

    # -- stanzas come ------------------------------------------------------------------------------------

    def records_of(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        """Whole records for what came, empty where nothing is to be routed."""
        ways: dict[tuple[str, str], Way] = {}
        if len(stanzas) == 1:
            return self._usual(stanzas[0], ways) or self._record_of(session, stanzas[0])
        return b"".join([self._usual(one, ways) or self._record_of(session, one) for one in stanzas])

    def _usual(self, got: StanzaIn, ways: dict[tuple[str, str], Way]) -> bytes | None:
        """The record of a message that passes, or of a usual one; None of all else: `_record_of` takes it."""
        given = got.stanza
        if given.name != "message" or self.awaits(got):
            return None
        pair = got.from_, got.to
        way = ways.get(pair)
        if way is None:
            way = ways[pair] = self._way(*pair)
        tag, new_id, said = self._next_tag, self._outside.random_bytes(16), given.attributes.get
        if way.translates:
            flat = read_flat(given)
            if flat is None:
                return None
            record = usual_record(flat, said("from", ""), said("to", ""), way, new_id, tag, self._known.wrote)
        else:
            raw = rescoped(given, SERVER) if given.outer or given.language or given.touchy else given.raw
            if STANZA_ID in raw:
                return None
            record = passing_record(raw, said("from", ""), said("to", ""), new_id, tag)
        if record is not None:
            self._tag(told_of(given, got.to, got.from_))
        return record

    def _way(self, from_: str, to: str) -> Way:
        known = self._known
        if known.spoken(to) is _XMPP:
            return _PASSING
        return Way(True, known.takes(from_, to).max_bytes, known.forms(from_), known.largest_record(to))

    def _record_of(self, session: StreamLink, got: StanzaIn) -> bytes:
        given = got.stanza
        is_answer = given.kind == "iq" and given.type in _ANSWERS
        if is_answer and (self._pings.answer(given.ident, got.from_, got.to) or self._brings_values(got)):
            return b""
        told = told_of(given, got.to, got.from_)
        try:
            if self.awaits(got):
                return self._late(got, given.tree())
            foreign = is_answer and self._asked_as_foreign(given)
            if not foreign and self._known.spoken(got.to) is Protocol.XMPP and not self._is_held(got):
                from_, to = party_of(given.from_), party_of(given.to)
                raw = rescoped(given, SERVER)
                if STANZA_ID in raw:
                    raw = self._without_forged_ids(raw, got.from_)
                record = stanza_record(raw, from_, to, self._outside.random_bytes(16))
                now = self._outside.now()
                if is_answer and not self._one_answer.answers(given, now):
                    return self._unasked()
                tag = self._tag(told, b"" if told is None else self._one_answer.asked(told, now))
                if given.kind == "presence":
                    self._presence.went(got, record, tag)
                return encode_record(record, FLAG_RESPONSE_WANTED, tag)
            return self._translated(session, got, told)
        except BadJid as error:
            return self._refused(told, failure(error.reason, note=str(error)))
        except BadXml as error:
            return self._refused(told, failure(Reason.BAD_BODY, note=str(error)))
        except (TranslationError, WireError) as error:
            reason = error.reason if isinstance(error, TranslationError) else Reason.BAD_RECORD
            return self._refused(told, failure(reason, note=str(error)))

    def awaits(self, got: StanzaIn) -> bool:
        """Whether it is an error for a message of the model that left on a stream.

        It is for who sent that, by the way that it came: what his domain is reached by now says nothing.
        """
        given = got.stanza
        return given.type == "error" and given.name == "message" and self._messages.awaits(given)

    def settles(self, got: StanzaIn) -> bool:
        """Whether it says what became of something that left here, and goes no further."""
        given = got.stanza
        if given.kind == "iq" and given.type in _ANSWERS:
            return self._pings.awaits(given.ident, got.from_, got.to) or self._attributes.awaits(given)
        return self.awaits(got)

    def _is_held(self, got: StanzaIn) -> bool:
        """Whether it is of two users whose subscription began otherwise than by XMPP, and stays with that."""
        given, known = got.stanza, self._known
        is_outward = given.kind == "presence" and not known.is_served(got.to)
        return is_outward and known.pair(given.from_, given.to)

    def _without_forged_ids(self, raw: bytes, sender: str) -> bytes:
        """What passes, without stanza-ids that a domain served here seems to have given it (row pass-sid)."""
        is_served = self._known.is_served
        return without_forged_ids(raw, lambda name: name != sender and is_served(name))

    def _translated(self, session: StreamLink, got: StanzaIn, told: Told | None) -> bytes:
        """For a domain that is reached otherwise than by XMPP."""
        tree = got.stanza.tree()
        if self._known.is_served(got.to) and _is_ping(got, tree):
            self._replies.pong(told)
            return b""
        match plan(tree, self._facts(got)):
            case Operate(operation):
                self._known.wrote(operation.source, operation.destination)
                return self._operation(operation, told)
            case AsForeign(operation):
                return self._foreign(got, tree, operation, told)
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

    def _foreign(self, got: StanzaIn, tree: Element, operation: Foreign, told: Told | None) -> bytes:
        given = got.stanza
        if given.kind == "iq":
            if told is not None:  # what it asks may be had otherwise, where nothing foreign is taken
                told = told._replace(question=self._attributes.question(got, tree))
            key = (given.from_, given.to, given.ident)
            sender = operation.source.key.decode()
            if not self._queries.sent(key, sender, got.to, _Asked(told), self._outside.now()):
                return self._refused(told, failure(Reason.BUSY, retry_after_s=5))
        return self._operation(operation, told)

    def _answer(self, got: StanzaIn, foreign: Foreign | None) -> bytes:
        given, now = got.stanza, self._outside.now()
        asked = self._queries.answered(given.from_, given.to, given.ident, now)
        if foreign is None or asked is None:
            return self._unasked()
        return self._operation(foreign, None)

    def _asked_as_foreign(self, answer: Stanza) -> bool:
        """Whether what an iq answers came as a foreign form: then the answer goes as one, too.

        Nobody may have asked what its domain is reached by, and may not for an answer: anybody can send one.
        """
        asked = self._queries.waiting(answer.from_, answer.to, answer.ident, self._outside.now())
        return asked is not None and asked.told is None

    def _late(self, got: StanzaIn, tree: Element) -> bytes:
        """An error for a message: of one in flight its outcome, of one that was taken a late failure."""
        failed = self._messages.failed(got, tree)
        if isinstance(failed, InFlight):
            self.settled(failed.port, (failed.tag,), failed.outcome)
            return b""
        if failed is None:
            return self._unasked()
        return self._operation(failed, None)

    def _by_others(self, session: StreamLink, got: StanzaIn, tree: Element, told: Told | None) -> bytes:
        """Queries, and presence of a pair; where that is not translated it is refused."""
        if got.stanza.kind == "iq":
            return self._query(self._attributes.question(got, tree), told)
        if self._known.presence is None:
            return self._refused(told, failure(Reason.TYPE_NOT_ENABLED, note="it is not translated here"))
        taken = self._known.presence(session, got, tree)
        return self._refused(told, taken) if isinstance(taken, Outcome) else taken

    def _query(self, question: Question | None, told: Told | None) -> bytes:
        """An iq that is answered here, or by who has what it asks for."""
        if told is None:
            return b""
        asked = self._attributes.asked(question, told)
        if isinstance(asked, Outcome):
            return self._refused(told, asked)
        if isinstance(asked, bytes):
            self._replies.say_later(told, asked)
            return b""
        tag = self._next_tag
        data = operation_to_bytes(asked, FLAG_RESPONSE_WANTED, tag)
        if not self.told.add(tag, told._replace(question=question), self._outside.now()):
            return self._refused(told, failure(Reason.BUSY, retry_after_s=5))
        self._next_tag += 1
        return data

    def _brings_values(self, got: StanzaIn) -> bool:
        """An iq that answers: whether it is what a query of the model waits for."""
        settled = self._attributes.answered(got)
        if settled is None:
            return False
        self._settle_query(settled)
        return True

    def _settle_query(self, settled: Settled) -> None:
        entry = self._outside.entries.get(settled.tag)
        port = self._outside.ports.get(entry[OUT_PORT]) if entry is not None else None
        if entry is not None and port is not None and entry[KEY].startswith(settled.message_id):
            self._settle(port, (settled.tag,), settled.outcome)

    def _tag(self, told: Told | None, key: bytes = b"") -> int:
        tag = self._next_tag
        self._next_tag += 1
        if told is not None and not self.told.add(tag, told, self._outside.now(), key):
            self._outside.dropped("untold")
        return tag

    # -- what became of them -----------------------------------------------------------------------------

    def succeeded(self, tags: Sequence[int]) -> None:
        """Nothing is told of what streams brought under these tags: all went well."""
        for tag in tags:
            self.told.take(tag)
        self._presence.succeeded(tags)

    def answered(self, port: Port, record: Record) -> None:
        """A response to what a stream brought: a failure is told, once, and what an iq asked for."""
        self._presence.answered(record)
        told = self.told.take(record.route_tag)
        if told is None:
            return
        outcome = decode_outcome(record)
        if record.type == RecordType.ATTRIBUTES_RESPONSE:
            self._replies.say(told, self._attributes.answer(told, result_of(record, outcome)))
            return
        if outcome.ok:
            return
        is_foreign = record.type == RecordType.FOREIGN_RESPONSE
        refused = is_foreign and outcome.reason is Reason.TYPE_NOT_ENABLED
        if refused:
            self._known.refused(told.domain)
        if told.kind == "iq":
            asked = self._queries.answered(told.to, told.from_, told.ident, self._outside.now())
            if is_foreign and asked is None:
                return  # it has its answer, and an iq has one alone (RFC 6120 section 8.2.3)
            if not is_foreign and outcome.in_doubt and not self._may_doubt(told):
                self._outside.dropped("untold")
                return
        if refused and told.question is not None:
            # tags are of the edge, no two streams have the same: any way of the sender's will do
            self._outside.inject(port, self._query(told.question, told))
            return
        self._replies.say(told, told.error(outcome))

    def _may_doubt(self, told: Told) -> bool:
        """Whether it may be told that nobody knows what became of an iq that passed: an answer may come."""
        return not self._outside.has_room() or self._one_answer.doubted(told, self._outside.now())

    def _unasked(self) -> bytes:
        """An answer that nobody waits for goes no further."""
        self._outside.dropped("unasked")
        return b""

    def _refused(self, told: Told | None, outcome: Outcome) -> bytes:
        """Tell it; nothing is to be routed."""
        self._replies.refuse(told, outcome)
        return b""

    # -- records go --------------------------------------------------------------------------------------

    def stanza_of(self, session: StreamLink, record: Record) -> Said | Outcome:
        """The stanza for a request that leaves on a stream, or why it cannot."""
        try:
            if record.type == RecordType.STANZA:
                raw: bytes | Outcome = stanza_in(record) or failure(Reason.BAD_BODY, note="no stanza")
            elif record.type == RecordType.FOREIGN:
                return self._as_was(session, record)
            elif record.type == RecordType.MESSAGE:
                raw = self._messages.stanza_of(session, record)
            elif record.type == RecordType.ATTRIBUTES:
                raw = self._attributes.leave(record)
            else:
                taken = self.operated(record)
                raw = (
                    taken
                    if taken is not None
                    else failure(Reason.TYPE_NOT_ENABLED, note="it is not translated here")
                )
        except TranslationError as error:
            return failure(error.reason, note=str(error))
        except (BadXml, WireError) as error:
            return failure(Reason.BAD_BODY, note=str(error))
        return raw if isinstance(raw, Outcome) else self.leaving(session, raw)

    def leaving(self, session: StreamLink, raw: bytes) -> Said | Outcome:
        """A stanza, rooted in `jabber:server`, as it leaves on a stream, or why it cannot."""
        if session.role in _COMPONENTS:
            try:
                raw = rescoped(read_stanza(raw), COMPONENT)
            except BadXml as error:
                return failure(Reason.BAD_BODY, note=str(error))
        most = session.machine.features.max_bytes
        if most and len(raw) > most:
            return failure(Reason.TOO_LARGE, note=f"a stanza of {len(raw)} bytes; {most} are taken")
        said = Said(raw, is_asked(raw))
        return _OUT_OF_SERVICE if self.hushed and said.is_asked else said

    def operated(self, record: Record) -> Outcome | None:
        """The outcome of a SUBSCRIBE or NOTIFY for a user of XMPP; None of what needs a stream."""
        if record.type not in _PRESENCE or self._known.operations is None:
            return None
        return self._known.operations(record)

    def _as_was(self, session: StreamLink, record: Record) -> Said | Outcome:
        """A foreign form: held to its envelope, and of an iq that answers to what was asked."""
        operation = record_to_foreign(record)
        domain = operation.destination.domain.name
        raw = stanza_of_foreign(operation, lambda name: name == domain)
        if isinstance(raw, Refusal):
            return failure(raw.reason, note=raw.note)
        head, said = head_of(raw), self.leaving(session, raw)
        if head.name != "iq" or isinstance(said, Outcome):
            return said  # of an answer that does not leave: who asked is told in time that there is none
        from_, to, ident, type_ = (head.attributes.get(one, "") for one in ("from", "to", "id", "type"))
        now = self._outside.now()
        if type_ not in _ANSWERS:
            sender = operation.source.key.decode()
            taken = self._queries.sent((from_, to, ident), sender, domain, _Asked(None), now)
            return said if taken else failure(Reason.BUSY, retry_after_s=5)
        if self._queries.answered(from_, to, ident, now) is None:
            return failure(Reason.BAD_BODY, note="the answer to an iq that nobody asked")
        return said

    def settled(self, port: Port, tags: Sequence[int], outcome: Outcome) -> None:
        """What became of requests that left over a port, by their route tags; each is told once."""
        self._settle(port, self._attributes.handled(tags, outcome), outcome)

    def _settle(self, port: Port, tags: Sequence[int], outcome: Outcome) -> None:
        entries = self._outside.entries
        out = bytearray()
        for tag in tags:
            entry = entries.get(tag)
            if entry is not None and entry[TYPE] == _STANZA and (outcome is SUCCESS or outcome == SUCCESS):
                out += plain_success_to(entry[RECORD], tag)
            elif entry is not None:
                request = decode_record(entry[RECORD])
                response = with_result(response_to(request, outcome), outcome)
                out += encode_record(response, route_tag=tag)
        if out:
            self._outside.inject(port, bytes(out))


def _is_ping(got: StanzaIn, tree: Element) -> bool:
    """Whether it asks the domain itself for a sign of life (XEP-0199)."""
    given: Stanza = got.stanza
    if given.type != "get" or "@" in given.to or "/" in given.to:
        return False
    return any((one.namespace, one.name) == (PING, "ping") for one in tree.children)
