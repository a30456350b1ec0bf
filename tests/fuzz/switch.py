"""Fuzzes the hot path.

Invariant: whatever comes over links of all roles, in any pieces, the switch raises `WireError` and nothing
else; every request it accepted is accounted for (rule 2), also after all links are gone and time has passed;
what counts as sent was put out, also where the bytes behind it break; what it puts out are whole records;
nothing of a stranger goes to another stranger, and no notification without a SUBSCRIBE before (rule 1).

An input is a row of pieces: a byte that names the link, two bytes of length, and the bytes that came over it.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.link.ledger import OUT_PORT
    from imxrouter.model.address import address_key
    from imxrouter.routing.domains import ALL_TYPES
    from imxrouter.switch.ports import FOREVER, Port, Role
    from imxrouter.wire.errors import WireError
    from imxrouter.wire.fields import Field
    from imxrouter.wire.framing import RecordSplitter
    from imxrouter.wire.layout import FLAG_RETRY
    from imxrouter.wire.record import Envelope, Record, decode_record, encode_record
    from imxrouter.wire.registry import CRITICAL_BIT, FieldType, RecordType
    from tests.switch.rig import EPOCH, FAR, HERE, PEER, Rig, message

from tests.vectors.load import seeds

OTHER = b"other.example"


class World:
    """Two strangers, a service and an uplink."""

    def __init__(self) -> None:
        self.rig = rig = Rig()
        other = rig.port(3, Role.PEER)
        rig.prove(other, OTHER)
        rig.switch.routes[HERE].types = ALL_TYPES
        rig.switch.ways.open(PEER, HERE, rig.peer)
        uplink = rig.port(4, Role.UPLINK)
        uplink.sources[b"*"] = (0xFF, None, FOREVER, 0.001, 10.0, FOREVER)
        self.ports: list[Port] = [rig.peer, rig.service, other, uplink]
        self.kinds: list[Hashable] = []
        self.sent: set[tuple[int, int]] = set()
        self.asked: set[tuple[bytes, bytes, bytes]] = set()

    def feed(self, place: int, data: bytes) -> None:
        """Bytes over one link; a link that breaks ends."""
        port = self.ports[place % 4]
        if port.closed:
            return
        self.rig.now += 0.01
        try:
            self.rig.feed(port, data)
        except WireError as error:
            self.kinds.append(str(error)[:12])
            self.look()
            self.rig.switch.remove_port(port, self.rig.now)
        self.look()

    def look(self) -> None:
        """Everything that was put out, and the books."""
        switch = self.rig.switch
        assert switch.conservation() == []
        for port in switch.take_dirty():
            block = b"".join(port.out)
            port.out.clear()
            splitter = RecordSplitter(1 << 20)
            for raw in splitter.feed(block):
                record = decode_record(raw)
                self.kinds.append((port.number, record.type, record.body[2:4] if record.is_response else b""))
                self.sent.add((port.number, record.route_tag))
                if port.role is Role.PEER and not record.is_response:
                    assert record.envelope.from_domain == HERE
                self.judge_presence(record)
            assert splitter.waiting_bytes == 0
        for tag, entry in switch.ledger.entries.items():
            assert not entry[OUT_PORT] or (entry[OUT_PORT], tag) in self.sent
        switch.held.clear()

    def judge_presence(self, record: Record) -> None:
        """What is told was asked for."""
        if record.type not in (RecordType.SUBSCRIBE, RecordType.NOTIFY):
            return
        to_from, ident = record.envelope, record.value(FieldType.SUBSCRIPTION_ID) or b""
        to = address_key(to_from.to_local + b"@" + to_from.to_domain)
        sender = address_key(to_from.from_local + b"@" + to_from.from_domain)
        if record.type == RecordType.SUBSCRIBE:
            self.asked.add((sender, to, ident))
        else:
            named = record.value(FieldType.PRESENTITY)
            assert (to, sender if named is None else address_key(named), ident) in self.asked

    def end(self) -> None:
        """All links go, time passes: nothing stays in flight."""
        for port in self.ports:
            if not port.closed:
                self.rig.switch.remove_port(port, self.rig.now)
            self.look()
        self.rig.now += 1000
        self.rig.switch.sweep(self.rig.now, 30.0)
        self.look()
        assert not self.rig.switch.ledger.entries


def check(data: bytes) -> Hashable:
    """A short life of a router."""
    world, at = World(), 0
    while at + 3 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        world.feed(data[at], data[at + 3 : at + 3 + size])
        at += 3 + size
    world.end()
    return tuple(world.kinds[-5:])


def piece(place: int, *records: Record | bytes) -> bytes:
    """One piece of an input."""
    data = b"".join(one if isinstance(one, bytes) else encode_record(one) for one in records)
    return bytes([place]) + len(data).to_bytes(2, "big") + data


def lives() -> list[bytes]:
    """Messages in both directions, doubled, sent again, answered; every vector over every link."""
    out = message(2, envelope=message().envelope.swapped())
    far = message(3, envelope=Envelope(b"x", FAR, b"bob", HERE))
    epoch = Field(FieldType.EPOCH | CRITICAL_BIT, EPOCH)
    again = message(1, flags=0x80 | FLAG_RETRY, fields=(epoch,))
    rows = [
        piece(0, message(1), message(1), message(4)),
        piece(0, message(1)) + piece(0, again),
        piece(1, out, far) + piece(2, message(5)) + piece(3, message(6)),
        piece(0, message(7, fields=tuple(Field(0x7000, b"") for _ in range(256)))),
        piece(0, message(8), b"\0\0\0\0"),
        piece(1, message(9, envelope=Envelope(b"", b"far\xff", b"bob", HERE))),
    ]
    rows += presence()
    return rows + [piece(place, data) for data in seeds() for place in range(4)]


def presence() -> list[bytes]:
    """A subscription, its answer, and notifications that are and are not about it."""
    ident = Field(FieldType.SUBSCRIPTION_ID, b"s1")
    asked = message(
        11, type=0x101, envelope=message().envelope.swapped(),
        fields=(ident, Field(FieldType.DURATION, bytes([0, 0, 0, 60]))), body=b"",
    )  # fmt: skip
    state, end = Field(FieldType.SUBSCRIPTION_STATE, b"\1"), Field(FieldType.SUBSCRIPTION_STATE, b"\2\3")
    word = Field(FieldType.UNKNOWN | CRITICAL_BIT, b"\0\x2c" + PEER)
    whom = Field(FieldType.PRESENTITY | CRITICAL_BIT, b"alice@" + PEER)
    states = enumerate((state, state, end, end))
    told = [message(20 + number, type=0x102, fields=(ident, one)) for number, one in states]
    here = Envelope(b"bob", HERE, b"", PEER)
    router = message(30, type=0x102, envelope=here, fields=(ident, state, word, whom), body=b"")
    return [
        piece(1, asked) + piece(0, *told),
        piece(1, asked) + piece(0, router, *told[2:]),
        piece(0, *told, router),
        piece(0, message(40, type=0x104, envelope=Envelope(b"", HERE, b"", PEER))),
    ]


if __name__ == "__main__":
    sys.exit(engine.main("switch", check, lives()))
