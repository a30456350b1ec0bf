"""Two routers with streams both ways and their real edges; switches, streams and machines are real."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from twisted.internet.task import Clock

from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.streams.again import AgainOutside, PresenceAgain
from imxrouter.gateways.xmpp.streams.edge import StreamEdge
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.streams.world import Known, Outside
from imxrouter.model.outcome import SUCCESS
from imxrouter.model.patterns import Pattern
from imxrouter.routing.access import AccessLists, Action, Direction, Entry, Home
from imxrouter.routing.choice import Protocol
from imxrouter.routing.gate import Gate
from imxrouter.routing.recipients import FirstContact, Recipients
from imxrouter.switch.ports import Route
from imxrouter.transport.inside import InsidePort
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, HIGHEST_MAX_RECORD
from imxrouter.wire.record import Record, decode_record, encode_record, response_to
from imxrouter.wire.registry import RecordType
from tests.gateways.xmpp.streams.rig import A, B, Router, Service, joined, settle

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
TYPES = frozenset(
    one.value for one in (RecordType.STANZA, RecordType.MESSAGE, RecordType.FOREIGN, RecordType.ATTRIBUTES)
)


class Server(Service):
    """An XMPP server behind the router: it answers pings, and takes the rest as the service that it is.

    Attributes:
        pinged: how often.
    """

    pinged = 0

    def take(self, data: bytes) -> None:
        """Whole records."""
        for raw in RecordSplitter(HIGHEST_MAX_RECORD).feed(data):
            record = decode_record(raw)
            if record.is_response or b"<ping" not in record.body:
                super().take(bytes(raw))
                continue
            self.pinged += 1
            self.hub.inject(self.port, encode_record(response_to(record, SUCCESS)))
            head = tree_of(record.body.partition(b"\0")[2]).attributes
            pong = f"<iq type='result' from='{head['to']}' to='{head['from']}' id='{head['id']}'/>"
            self.send(pong.encode(), head["to"], head["from"])


class EdgeRouter(Router):
    """A router whose stanzas go through the real edge.

    Attributes:
        dropped: words of what went nowhere.
        spoken: what a domain is reached by; XMPP where it is not here.
        said: what the router itself handed to the switch.
    """

    def __init__(self, clock: Clock, domain: str) -> None:
        super().__init__(clock, domain)
        self.inside = InsidePort(self.hub)
        self.server = self.service = Server(self, domain)
        self.dropped: Counter[str] = Counter()
        self.spoken: dict[str, Protocol] = {}
        self.foreign: set[str] = set()
        self.room = True
        self.said: list[Record] = []
        self.known: dict[str, Any] = {}
        self.real = self._edge()
        self.parts.edge = self.real
        self.switch.routes[domain.encode()] = Route([self.service.port], 1, 1 << 20, TYPES)
        self.service.outcome = SUCCESS

    def again(self, **known: Any) -> None:
        """Make the edge anew, knowing other things."""
        self.known = known
        self.real = self.parts.edge = self._edge()

    def _edge(self) -> StreamEdge:
        outside = Outside(
            submit=self._submit,
            has_room=lambda: self.room,
            inject=self.hub.inject,
            entries=self.switch.ledger.entries,
            ports=self.switch.ports,
            later=self.clock.callLater,
            now=self.clock.seconds,
            clock=lambda: NOW,
            random_bytes=random.randbytes,
            dropped=lambda word: self.dropped.update([word]),
        )
        known = Known(
            spoken=lambda domain: self.spoken.get(domain, Protocol.XMPP),
            is_served=lambda domain: domain == self.domain,
            foreign=lambda _from, domain: domain in self.foreign,
            **self.known,
        )
        again = AgainOutside(
            self._submit, lambda: self.inside.room > 0, self.clock.seconds, lambda: 0.0,
            lambda: random.randbytes(16), lambda word: self.dropped.update([word]),
        )  # fmt: skip
        return StreamEdge(outside, known, self.parts.pings, PresenceAgain(again))

    def _submit(self, record: Record, respond: Any) -> None:
        self.said.append(record)
        self.inside.submit(record, respond)

    def request(self, record: Record) -> int:
        """A request of the service behind; returns the number under which its outcome comes."""
        number = 1000 + len(self.service.outcomes) + len(self.said)
        self.hub.inject(self.service.port, encode_record(record, FLAG_RESPONSE_WANTED, number))
        return number


class EdgePair:
    """A and B, with a proved stream each way.

    Attributes:
        out: A's stream to B; `accepted` its other end.
        back: B's stream to A; `taken` its other end.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.a, self.b = EdgeRouter(self.clock, A), EdgeRouter(self.clock, B)
        self.b.trust.true.add((A, B))
        self.a.trust.true.add((B, A))
        self.out, self.accepted, self.wires = self._joined(self.a, self.b)
        self.back, self.taken, self.wires_back = self._joined(self.b, self.a)
        # XMPP is chosen: all that goes to the other domain goes over its streams.
        self.a.switch.ways.admit(B.encode())
        self.b.switch.ways.admit(A.encode())

    def _joined(self, opener: EdgeRouter, acceptor: EdgeRouter) -> tuple[XmppSession, XmppSession, Any]:
        out, accepted = opener.open(acceptor.domain), acceptor.accept()
        wires = joined(out, accepted)
        settle(*wires)
        out.claim(opener.domain, acceptor.domain, "key")
        settle(*wires)
        return out, accepted, wires

    def settle(self) -> None:
        """Bring everything everywhere; what is due now is done."""
        for _ in range(20):
            self.clock.advance(0)
            settle(*self.wires, *self.wires_back)

    def pass_s(self, seconds: int) -> None:
        """Time passes."""
        for _ in range(seconds):
            self.clock.advance(1)
            for router in (self.a, self.b):
                router.hub.tick()
                router.real.tick()
            self.settle()

    def stanzas(self, router: EdgeRouter) -> list[bytes]:
        """The stanzas that the service of a router was given."""
        return [one.body.partition(b"\0")[2] for one in router.service.requests]


def gate_without(blocked: str, domain: str = B) -> Gate:
    """A gate of a router that serves a domain: one address is blocked, both ways."""
    here = domain.encode()
    lists = AccessLists(lambda name: Home((here,), b"acme") if name == here else None)
    lists.add(Entry("r-1", Pattern.parse(blocked), Action.BLOCK, Direction.BOTH))
    recipients = Recipients(lambda name: here if name == here else None, lambda _: FirstContact.SERVICE)
    return Gate(lists, recipients)
