"""Two routers with streams between them, in memory: real switches and sessions; who is who is a table."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.effects import AskedExternal, StanzaIn
from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.stanza import rescoped
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.parts import Said, StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import Ledger
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.routing.limits import SenderRates
from imxrouter.switch import slots
from imxrouter.switch.ports import FOREVER, Port, Role, Route, bound_proof
from imxrouter.switch.switch import Switch
from imxrouter.transport.hub import Hub, Identity
from imxrouter.transport.link import Purpose
from imxrouter.transport.operations import result_of, with_result
from imxrouter.transport.settings import HubSettings
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, HIGHEST_MAX_RECORD
from imxrouter.wire.record import Envelope, Record, decode_outcome, decode_record, encode_record, response_to
from imxrouter.wire.registry import RecordType

XMPP = b"xmpp\0"
A, B = "a.example", "b.example"


class Wire:
    """One end of a connection in memory: Twisted's transport of the protocol there.

    Attributes:
        writes: each write, not yet brought to the other end.
        takes: the kernel takes what is written.
        ended: it is closed from here.
    """

    disconnecting = False

    def __init__(self) -> None:
        self.protocol: Any = None
        self.other: Wire
        self.writes: list[bytes] = []
        self.takes = True
        self.ended = False
        self.paused = False
        self._producer: Any = None

    def getPeer(self) -> Any:
        """Who is on the other side."""
        return _Place("192.0.2.1", 5269)

    def setTcpNoDelay(self, _on: bool) -> None:  # noqa: N802 - Twisted's name
        """Nothing to set."""

    def registerProducer(self, producer: Any, _streaming: bool) -> None:
        """Somebody wants to know when all is written."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """He no longer wants to."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Read nothing."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Read again."""
        self.paused = False

    def write(self, data: bytes) -> None:
        """Put bytes on their way."""
        if data:
            self.writes.append(bytes(data))
        if self.takes and self._producer is not None:
            self._producer.resumeProducing()

    def loseConnection(self) -> None:
        """Close after what is written."""
        self.ended = True

    abortConnection = loseConnection

    def bring(self) -> bool:
        """Bring what was written to the other end; whether there was anything, or an end."""
        writes, self.writes = self.writes, []
        for data in writes:
            if not self.other.ended and self.other.protocol is not None:
                self.other.protocol.dataReceived(data)
        if self.ended and self.protocol is not None:
            for one in (self, self.other):
                protocol, one.protocol = one.protocol, None
                if protocol is not None:
                    protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
            return True
        return bool(writes)


@dataclass(frozen=True)
class _Place:
    host: str
    port: int


class TableEdge:
    """Between stanzas and STANZA records, and no more.

    Attributes:
        answers: outcomes of what streams brought.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._next = 1
        self.answers: list[Outcome] = []
        #: of what is the gateway's own matter, by type
        self.operations: dict[int, Outcome] = {}
        #: instead of a stanza
        self.refuses: Outcome | None = None

    def records_of(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        """STANZA records; what belongs to a ping goes no further."""
        del session
        records = []
        for one in stanzas:
            stanza = one.stanza
            if stanza.kind == "iq" and stanza.type in ("result", "error"):
                assert self._router.parts.pings.answer(stanza.ident, one.from_, one.to)
                continue
            if stanza.kind == "iq" and b"urn:xmpp:ping" in stanza.raw:
                self._router.pinged.append((stanza.ident, one.from_, one.to))
                continue
            self._next += 1
            record = Record(
                RecordType.STANZA, FLAG_RESPONSE_WANTED, 16, self._next, random.randbytes(16),
                Envelope(b"bob", one.to.encode(), b"alice", one.from_.encode()), (),
                XMPP + rescoped(stanza, "jabber:server"),
            )  # fmt: skip
            records.append(encode_record(record))
        return b"".join(records)

    def stanza_of(self, session: StreamLink, record: Record) -> Said | Outcome:
        """The very bytes."""
        return self.leaving(session, record.body.removeprefix(XMPP))

    def leaving(self, session: StreamLink, raw: bytes) -> Said | Outcome:
        """The very bytes."""
        del session
        if self.refuses is not None:
            return self.refuses
        return Said(raw, not raw.startswith(b"<presence"))

    def answered(self, port: Port, record: Record) -> None:
        """Note it."""
        del port
        self.answers.append(decode_outcome(record))

    def operated(self, record: Record) -> Outcome | None:
        """What is the gateway's own matter: what the test says."""
        return self.operations.get(record.type)

    def succeeded(self, tags: Sequence[int]) -> None:
        """Note them."""
        self.answers += [SUCCESS] * len(tags)

    def settled(self, port: Port, tags: Sequence[int], outcome: Outcome) -> None:
        """Answer, as whoever is at the other end of the port would."""
        entries = self._router.switch.ledger.entries
        for tag in tags:
            if tag not in entries:
                continue  # told already
            request = decode_record(entries[tag][11])
            answer = encode_record(response_to(request, outcome), route_tag=tag)
            self._router.hub.inject(port, answer)


class Table:
    """Who is who on streams: a claim is true where the table has it.

    Attributes:
        true: (their domain, ours).
        heard: what was asked and told.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self.true: set[tuple[str, str]] = set()
        self.heard: list[tuple[str, object]] = []

    def claim_in(self, session: StreamLink, db: Db) -> None:
        """Prove it at once, or refuse it."""
        self.heard.append(("claim", (db.from_, db.to, db.key)))
        if (db.from_, db.to) not in self.true:
            session.answer_claim(db.to, db.from_, DbType.INVALID)
            return
        self.prove(session, db.from_, db.to)
        session.answer_claim(db.to, db.from_, DbType.VALID)

    def prove(self, session: StreamLink, theirs: str, ours: str) -> None:
        """A pair of theirs is proved."""
        session.proved((theirs, ours), ours=False)
        session.port.sources[theirs.encode()] = (1, None, FOREVER, 0.0, 10.0, FOREVER)
        session.port.speaks.add(theirs.encode())

    def claim_result_in(self, session: StreamLink, db: Db) -> None:
        """A pair of ours is proved: open the way."""
        self.heard.append(("result", (db.from_, db.to, db.kind)))
        if db.kind is DbType.VALID:
            self.use(session, db.to, db.from_)

    def use(self, session: StreamLink, ours: str, theirs: str) -> None:
        """Send for ours to theirs over the stream."""
        session.proved((ours, theirs), ours=True)
        session.port.speaks.add(theirs.encode())
        session.port.sources[theirs.encode()] = (1, None, FOREVER, 0.0, 10.0, FOREVER)
        self._router.switch.open_way(theirs.encode(), ours.encode(), session.port, 1)

    def external(self, session: StreamLink, from_: str, to: str) -> None:
        """They took us by our certificate."""
        self.heard.append(("external", (from_, to)))
        self.use(session, from_, to)

    def asked_external(self, session: StreamLink, asked: AskedExternal) -> None:
        """Take them by theirs, where the table has it."""
        self.heard.append(("asked", (asked.from_, asked.to)))
        if (asked.from_, asked.to) in self.true:
            self.prove(session, asked.from_, asked.to)
            session.authenticated()
        else:
            session.not_authenticated()

    def verify_in(self, session: StreamLink, db: Db) -> None:
        """Every key is ours."""
        session.answer_verify(db.to, db.from_, db.stream_id, DbType.VALID)

    def verify_result_in(self, session: StreamLink, db: Db) -> None:
        """Note it."""
        del session
        self.heard.append(("verified", (db.from_, db.to, db.stream_id, db.kind)))

    def attached(self, session: StreamLink, name: str) -> None:
        """Note it."""
        del session
        self.heard.append(("attached", name))


class Service:
    """What is behind a router: takes requests and keeps them."""

    def __init__(self, router: Router, domain: str) -> None:
        self.hub = router.hub
        self._splitter = RecordSplitter(HIGHEST_MAX_RECORD)
        self.port = Port(router.hub.next_port_number(), Role.SERVICE, lambda _data: None)
        self.port.max_record = self.port.largest = HIGHEST_MAX_RECORD
        self.port.internal = self.port.acknowledges = True
        self.port.sources[domain.encode()] = bound_proof(0.0, 10.0)
        self.port.speaks.add(domain.encode())
        self.requests: list[Record] = []
        self.outcomes: dict[int, Outcome] = {}
        #: what it answers
        self.outcome: Outcome | None = None
        self._next = 0
        router.hub.attach(self)

    def take(self, data: bytes) -> None:
        """Whole records."""
        for raw in self._splitter.feed(data):
            record = decode_record(raw)
            if record.is_response:
                self.outcomes[record.route_tag] = result_of(record, decode_outcome(record))
                continue
            self.requests.append(record)
            if self.outcome is not None:
                response = with_result(response_to(record, self.outcome), self.outcome)
                self.hub.inject(self.port, encode_record(response))

    def send(self, stanza: bytes, from_: str, to: str, type_: int = RecordType.STANZA) -> int:
        """Send a stanza; returns the number under which its outcome comes."""
        self._next += 1
        record = Record(
            type_, FLAG_RESPONSE_WANTED, 16, self._next, random.randbytes(16),
            Envelope(b"bob", to.encode(), b"alice", from_.encode()), (), XMPP + stanza,
        )  # fmt: skip
        self.hub.inject(self.port, encode_record(record))
        return self._next


class Router:
    """One process with one domain."""

    def __init__(self, clock: Clock, domain: str, **settings: Any) -> None:
        self.clock, self.domain = clock, domain
        self.switch = Switch(
            Ledger(0, 7),
            DuplicateMemory(b"epoch678", 60.0, 1000),
            SenderRates(0.0, 10.0),
            slots.new_counters(),
        )
        identity = Identity(b"server78", 0, bytes(16))
        self.hub = Hub(clock.seconds, self.switch, HubSettings(**settings), identity, random.randbytes)
        self.held: list[int] = []
        self.hub.hold = self.held.extend
        self.pinged: list[tuple[str, str, str]] = []
        self.edge, self.trust = TableEdge(self), Table(self)
        self.errors: list[tuple[str, str]] = []
        self.late: list[int] = []
        self.terms: Callable[[StreamLink], StreamTerms] = lambda _session: StreamTerms(
            tls=TlsRule.NONE, serves=lambda name: name == domain, dialback=lambda _name: True
        )
        self.parts = StreamParts(
            self.edge, self.trust, None, self._terms, clock.callLater,
            on_error=lambda condition, way: self.errors.append((condition.value, way)),
            on_late=self.late.append,
        )  # fmt: skip
        self.service = Service(self, domain)
        types = frozenset({RecordType.STANZA.value, RecordType.MESSAGE.value})
        self.switch.routes[domain.encode()] = Route([self.service.port], 1, 1 << 20, types)

    def _terms(self, session: StreamLink) -> StreamTerms:
        return self.terms(session)

    def accept(self) -> XmppSession:
        """The protocol of a connection that came in."""
        return XmppSession(self.hub, StreamRole.S2S_IN, self.parts)

    def open(self, other: str, **more: Any) -> XmppSession:
        """The protocol of a connection of ours."""
        return XmppSession(
            self.hub, StreamRole.S2S_OUT, self.parts, purpose=Purpose.DATA, own=self.domain, other=other,
            **more,
        )  # fmt: skip

    def pong(self, over: XmppSession) -> None:
        """Answer the pings that came, on a stream of ours."""
        for ident, from_, to in self.pinged:
            answer = f"<iq type='result' id='{ident}' from='{to}' to='{from_}'/>".encode()
            over.perform(over.machine.stanzas([answer], [None], self.clock.seconds()))
        self.pinged.clear()


def joined(opener: XmppSession, acceptor: XmppSession) -> tuple[Wire, Wire]:
    """Connect two sessions."""
    here, there = Wire(), Wire()
    here.other, there.other = there, here
    here.protocol, there.protocol = opener, acceptor
    acceptor.makeConnection(there)  # type: ignore[no-untyped-call]
    opener.makeConnection(here)  # type: ignore[no-untyped-call]
    return here, there


def alone(session: XmppSession) -> Wire:
    """Connect a session to somebody who is played by the test."""
    here, there = Wire(), Wire()
    here.other, there.other = there, here
    here.protocol = session
    session.makeConnection(here)  # type: ignore[no-untyped-call]
    return here


def settle(*wires: Wire) -> None:
    """Bring everything that is written, until nothing is."""
    for _ in range(100):
        brought = [one.bring() for one in wires]
        if not any(brought):
            return
    raise AssertionError("they never come to rest")


HEADER = say.header("jabber:server", from_=A, to=B)


def message(ident: str = "1", body: str = "hello") -> bytes:
    """From alice to bob."""
    return f"<message from='alice@{A}' to='bob@{B}' id='{ident}'><body>{body}</body></message>".encode()
