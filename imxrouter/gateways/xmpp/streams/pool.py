"""All streams with one XMPP service of ours, joined to the switch as one port.

A served domain has one way in the switch. Towards its server there are many streams: one for each outside
domain where certificates prove, one for several where dial-back does. So what the switch has for the service
comes here, and goes out on the stream that is proved for the two domains; where none is, one is opened and
the records wait, bounded in number, bytes and time. Each is answered once: by what came of its stanza, or by
why it could not go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from twisted.logger import Logger

from imxrouter.gateways.xmpp.pairs import Pair
from imxrouter.gateways.xmpp.steps import COMPONENTS
from imxrouter.gateways.xmpp.streams.in_front import EdgeInFront
from imxrouter.gateways.xmpp.streams.parts import Edge, StreamLink
from imxrouter.gateways.xmpp.streams.records import is_asked, stanza_in
from imxrouter.model.outcome import Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import Port
from imxrouter.transport.hub import Hub
from imxrouter.transport.inner_port import ServicePort
from imxrouter.wire.record import Record, decode_record, encode_record, read_plain_success, response_to
from imxrouter.wire.registry import RecordType

#: After a failure the service is left alone: first for so long, then twice as long each time, at most.
RETRY_S: Final = (1.0, 30.0)
#: A pair of domains that the service refused is asked for again after so long.
REFUSED_S: Final = 5.0
#: A pair whose stream was cut before it was proved, and once more, is asked for again after so long.
CUT_S: Final = 1.0
#: Refused pairs that are remembered; the oldest goes.
REFUSED_AT_MOST: Final = 1024
#: Pairs that are remembered to go by one stream; a gateway's has those of the world (`gateway`).
WAYS_AT_MOST: Final = 4096
#: Told to senders while the service cannot be reached.
RETRY_AFTER_S: Final = 5
#: A stream that ended so ended because nobody answered.
_UNHEARD: Final = frozenset(
    {Reason.HELLO_TIMEOUT, Reason.KEEPALIVE_TIMEOUT, Reason.LINK_LOST, Reason.SERVICE_DOWN}
)
#: Told to senders when the process goes out of service.
_OUT_OF_SERVICE: Final = failure(Reason.SHUTTING_DOWN, retry_after_s=RETRY_AFTER_S)
#: Ends of streams that say nothing about the server.
IN_ORDER: Final = frozenset({Reason.NONE, Reason.IDLE})


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Bounds of what waits for a stream.

    Attributes:
        hold_s: how long.
        hold_count: records for one pair of domains.
        hold_bytes: of all pairs together.
        idle_s: a stream of ours without stanzas is closed after so long.
    """

    hold_s: float = 15.0
    hold_count: int = 1000
    hold_bytes: int = 4 << 20
    idle_s: float = 300.0


class Opener(Protocol):
    """What opens streams to the service, and what they say."""

    def open(self, pool: ServicePool, outside: str, served: str) -> None:
        """Open a stream on which `outside` may write to `served`, or prove the pair on one that is there.

        Ends in `ServicePool.ready` or `ServicePool.failed`, at once or later.
        """


@dataclass(eq=False, slots=True)
class _Waiting:
    """Records that wait for a pair's stream; `again`: the first one was cut, this is the second."""

    since: float
    records: list[bytes]
    again: bool = False


@dataclass(eq=False, slots=True)
class _Member:
    """A stream: the requests written on it whose outcome is not known, and the pairs that go by it."""

    tags: set[int] = field(default_factory=set)
    pairs: dict[Pair, None] = field(default_factory=dict)


class ServicePool(ServicePort):
    """One service.

    Args:
        name: of the service.
        hub: the centre of the process.
        edge: between stanzas and records.
        opener: opens streams.
        settings: bounds.

    Attributes:
        name: the same.
        settings: bounds of what waits; may be set.
        leaves: no stream of it is opened any more.
        hushed: nothing new goes out; what only answers does.
        edge: what its streams are given: tells the pool what became of requests.
        port: its end at the switch.
    """

    log = Logger()

    def __init__(
        self, name: str, hub: Hub, edge: Edge, opener: Opener, settings: PoolSettings | None = None
    ) -> None:
        super().__init__(hub)
        self.port.internal = True
        self.name = name
        self.settings = settings or PoolSettings()
        self.leaves = self.hushed = False
        self._opener = opener
        self.edge = PoolEdge(self, edge)
        self._plain = edge
        self._members: dict[int, _Member] = {}
        #: route tag of a request -> the stream that it was written on
        self._on: dict[int, _Member] = {}
        self._ways: dict[Pair, StreamLink] = {}
        self._waiting: dict[Pair, _Waiting] = {}
        self._held_bytes = 0
        self._refused: OrderedDict[Pair, tuple[float, Reason, str]] = OrderedDict()
        self._wait_s = RETRY_S[0]
        self._retry_at = 0.0
        #: whether its server answers; None while that is not known: nothing was tried, or a stream broke
        self._there: bool | None = None
        #: why the last stream that was wanted did not come; empty after one that did
        self.why = ""
        #: the pair that is asked for to learn it: the one that a stream was wanted for last
        self._asked_for: Pair | None = None
        hub.attach(self)

    # -- from the service --------------------------------------------------------------------------------

    def received(self, records: bytes) -> None:
        """Stanzas came from the service; as records they take the path of all others."""
        self._hub.inject(self.port, records)

    # -- from the switch ---------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Whole records: requests for the service's domains, answers to what it sent."""
        ready: dict[int, tuple[StreamLink, list[bytes]]] = {}
        done: list[int] = []
        for one in self._splitter.feed(data):
            raw = bytes(one)
            if (plain := read_plain_success(raw)) is not None:
                done.append(plain[0])
                continue
            record = decode_record(raw)
            if record.is_response:
                self._plain.answered(self.port, record)
                continue
            taken = self._plain.operated(record)
            if taken is not None:
                self._plain.settled(self.port, (record.route_tag,), taken)
                continue
            if self.hushed and _is_new(record):
                self._plain.settled(self.port, (record.route_tag,), _OUT_OF_SERVICE)
                continue
            pair = _pair_of(record)
            session = self._ways.get(pair)
            if session is None:
                self._wait(pair, raw)
            elif session.port.shedding:
                self._answer([raw], failure(Reason.BUSY, role="service", retry_after_s=RETRY_AFTER_S))
            else:
                ready.setdefault(session.number, (session, []))[1].append(raw)
        if done:
            self._plain.succeeded(done)
        for session, records in ready.values():
            self._write(session, records)

    def _write(self, session: StreamLink, records: Sequence[bytes]) -> None:
        member = self._member(session)
        for one in records:
            tag = decode_record(one).route_tag
            member.tags.add(tag)
            self._on[tag] = member
        session.write(b"".join(records))

    def _wait(self, pair: Pair, raw: bytes) -> None:
        why = self._why_not(pair, self._hub.now())
        if why is not None:
            self._answer([raw], why)
            return
        waiting = self._waiting.get(pair)
        if waiting is None:
            self._begin(pair, raw)
            return
        full = len(waiting.records) >= self.settings.hold_count
        if full or self._held_bytes + len(raw) > self.settings.hold_bytes:
            self._answer([raw], failure(Reason.BUSY, role="service", retry_after_s=RETRY_AFTER_S))
            return
        self._keep(waiting, raw)

    def _keep(self, waiting: _Waiting, raw: bytes) -> None:
        waiting.records.append(raw)
        self._held_bytes += len(raw)

    def _why_not(self, pair: Pair, now: float) -> Outcome | None:
        """Why no stream is opened for a pair now."""
        if pair in self._waiting:
            return None
        if now < self._retry_at:
            return _down(self._retry_at - now, "it could not be reached")
        refused = self._refused.get(pair)
        if refused is None:
            return None
        until, reason, note = refused
        if now >= until:
            del self._refused[pair]
            return None
        return _down(until - now, f"{reason.word}: {note}")

    def _answer(self, records: Iterable[bytes], outcome: Outcome) -> None:
        for raw in records:
            self._hub.inject(self.port, encode_record(response_to(decode_record(raw), outcome)))

    # -- streams -----------------------------------------------------------------------------------------

    def _member(self, session: StreamLink) -> _Member:
        return self._members.setdefault(session.number, _Member())

    def is_there(self, outside: str, served: str) -> bool:
        """Whether the server answers, as far as is known; where it is not, a stream is asked for.

        Args:
            outside: a domain that the stream is for, where none was wanted yet.
            served: one of the service's.
        """
        pair = self._asked_for or (outside, served)
        if pair in self._ways:
            self._there = True
        elif not self._there and pair not in self._waiting and self._why_not(pair, self._hub.now()) is None:
            self._begin(pair)
        return bool(self._there)

    @property
    def answers(self) -> bool | None:
        """Whether the server answered when it was asked last; None where it was not asked yet."""
        return self._there

    def anew(self) -> None:
        """Its server is elsewhere, or we are in service again: what failed before says nothing."""
        self._there, self.why = None, ""
        self._refused.clear()
        self.heard()

    def heard(self) -> None:
        """The server itself has opened a stream: what could not be reached is tried again at once."""
        self._wait_s, self._retry_at = RETRY_S[0], 0.0

    def _begin(self, pair: Pair, *records: bytes) -> None:
        """Have a stream opened; what comes for it meanwhile waits."""
        waiting = self._waiting[pair] = _Waiting(self._hub.now(), [])
        for raw in records:
            self._keep(waiting, raw)
        self._asked_for = pair
        self._opener.open(self, *pair)

    def way(self, outside: str, served: str) -> StreamLink | None:
        """The stream on which an outside domain writes to a served one; None where there is none now."""
        return self._ways.get((outside, served))

    def speaks_both_ways(self, outside: str, served: str) -> bool:
        """Whether what a served domain says to an outside one comes on the stream that `way` gives."""
        session = self.way(outside, served)
        return session is not None and session.role in COMPONENTS

    def ready(self, pair: Pair, session: StreamLink) -> None:
        """A pair (outside, served) is proved on a stream: what waits for it goes out there."""
        self._wait_s, self._retry_at = RETRY_S[0], 0.0
        self._there, self.why = True, ""
        self._refused.pop(pair, None)
        self._ways[pair] = session
        pairs = self._member(session).pairs
        pairs[pair] = None
        if len(pairs) > WAYS_AT_MOST:  # it is asked for again when it is wanted
            oldest = next(iter(pairs))
            del pairs[oldest]
            if self._ways.get(oldest) is session:
                del self._ways[oldest]
        records = self._taken(pair)
        if records:
            self._write(session, records)

    def came(self, goes: Callable[[str], bool], session: StreamLink) -> None:
        """All pairs of the outside domains that go by a stream do from now on: what waits goes out there."""
        for pair in [one for one in (*self._waiting, *self._refused) if goes(one[0])]:
            self.ready(pair, session)

    def in_vain(self, goes: Callable[[str], bool], reason: Reason, note: str) -> None:
        """No stream of these outside domains comes soon: what waits for it is answered."""
        for pair in [one for one in self._waiting if goes(one[0])]:
            self.failed(pair, reason, note)

    def failed(self, pair: Pair, reason: Reason, note: str, *, unreached: bool = False) -> None:
        """No stream came of a pair.

        Args:
            pair: (outside, served).
            reason: in the one vocabulary.
            note: what was said.
            unreached: nobody answers at all there, whatever the pair.
        """
        now = self._hub.now()
        waiting = self._waiting.get(pair)
        if reason is Reason.LINK_LOST and waiting is not None and not waiting.again:
            # The server ends its streams when it is told to, or goes down; that is no word against the pair.
            waiting.again = True
            self._opener.open(self, *pair)
            return
        self.log.warn(
            "no stream from {outside} to {served} of service {name}: {reason}", outside=pair[0],
            served=pair[1], name=self.name, reason=reason.word, stage=reason.stage.value, note=note,
        )  # fmt: skip
        self._there = bool(self._ways) or not (unreached or reason in _UNHEARD)
        self.why = f"{reason.word}: {note}"
        if unreached:
            self._retry_at = now + self._wait_s
            self._wait_s = min(self._wait_s * 2, RETRY_S[1])
        else:
            self._refused[pair] = (now + (CUT_S if reason is Reason.LINK_LOST else REFUSED_S), reason, note)
            while len(self._refused) > REFUSED_AT_MOST:
                self._refused.popitem(last=False)
        self._answer(self._taken(pair), _down(RETRY_AFTER_S, f"{reason.word}: {note}"))

    def _taken(self, pair: Pair) -> list[bytes]:
        waiting = self._waiting.pop(pair, None)
        records = waiting.records if waiting is not None else []
        self._held_bytes -= sum(map(len, records))
        return records

    def left(self, session: StreamLink) -> None:
        """Nothing new goes out on a stream."""
        member = self._members.get(session.number)
        for pair in member.pairs if member is not None else ():
            if self._ways.get(pair) is session:
                del self._ways[pair]

    def lost(self, session: StreamLink) -> None:
        """A stream is gone: nobody knows what became of what was written on it and not confirmed."""
        self.left(session)
        if session.drop_reason not in IN_ORDER:
            self._there = None
        member = self._members.pop(session.number, None)
        if member is not None and member.tags:
            tags = sorted(member.tags)
            self.settled(tags)
            self._plain.settled(self.port, tags, indeterminant(Reason.LINK_LOST, role="service"))

    def settled(self, tags: Sequence[int]) -> None:
        """What became of requests is known."""
        for tag in tags:
            member = self._on.pop(tag, None)
            if member is not None:
                member.tags.discard(tag)

    @property
    def is_asking(self) -> bool:
        """Whether something that the service sent has no answer yet, or an answer waits for a stream."""
        return bool(self.port.in_flight or self._waiting)

    @property
    def waits(self) -> bool:
        """Whether something waits for a stream."""
        return bool(self._waiting)

    @property
    def all_confirmed(self) -> bool:
        """Whether it is known of all that was written, on any stream, what became of it."""
        return not self._on

    def is_confirmed(self, session: StreamLink) -> bool:
        """Whether it is known of all that was written on a stream what became of it."""
        member = self._members.get(session.number)
        return member is None or not member.tags

    def is_idle(self, session: StreamLink, now: float) -> bool:
        """Whether a stream of ours has had nothing to do for long."""
        member = self._members.get(session.number)
        return session.machine.idle_for(now) >= self.settings.idle_s and not (member and member.tags)

    def tick(self, now: float) -> None:
        """Answer what has waited too long."""
        for pair, waiting in list(self._waiting.items()):
            if now - waiting.since > self.settings.hold_s:
                self.failed(pair, Reason.SERVICE_DOWN, "no stream in time")


class PoolEdge(EdgeInFront):
    """The edge of a pool's streams: their requests are those of the pool's port, and it hears their end.

    Args:
        pool: whose streams they are; answers come to it and not to its streams.
        edge: the process's own.
    """

    def __init__(self, pool: ServicePool, edge: Edge) -> None:
        super().__init__(edge)
        self._pool = pool

    def settled(self, port: Port, tags: Sequence[int], outcome: Outcome) -> None:
        """See `parts.Edge`."""
        self._pool.settled(tags)
        super().settled(port, tags, outcome)


def _is_new(record: Record) -> bool:
    """Whether it is no stanza that only answers, or is not waited for."""
    raw = stanza_in(record) if record.type == RecordType.STANZA else None
    return raw is None or is_asked(raw)


def _pair_of(record: Record) -> Pair:
    envelope = record.envelope
    return envelope.from_domain.decode("ascii"), envelope.to_domain.decode("ascii")


def _down(retry_after_s: float, note: str) -> Outcome:
    return failure(Reason.SERVICE_DOWN, role="service", retry_after_s=max(1, round(retry_after_s)), note=note)


#: (domain that is served) -> the name of its service, None for any other domain.
ServiceOf = Callable[[str], str | None]
