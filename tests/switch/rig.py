"""A switch with a peer, a service and an uplink, driven by bytes."""

from dataclasses import dataclass, field

from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import Ledger
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.switch import slots
from imxrouter.switch.checks import ALL_CHECKS, Checks
from imxrouter.switch.ports import FOREVER, Port, Role, Route
from imxrouter.switch.switch import Switch
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.record import Envelope, Record, decode_outcome, decode_record, encode_record, response_to

ALICE, BOB = b"alice", b"bob"
PEER, HERE, FAR = b"peer.example", b"here.example", b"far.example"
EPOCH = b"epoch-01"
DIALBACK = 1


@dataclass
class Rates:
    """Rates that always allow, or refuse whom a test names."""

    wait_s: dict[bytes, float] = field(default_factory=dict)
    arrivals: dict[bytes, float] = field(default_factory=dict)

    def admit(
        self, key: bytes, _domain: bytes, now: float, interval_s: float, burst_s: float, part: float = 1.0
    ) -> float:
        """Count every sender as new."""
        if key in self.wait_s:
            return self.wait_s[key]
        self.arrivals[key] = max(self.arrivals.get(key, now), now) + interval_s * part
        return max(0.0, self.arrivals[key] - now - burst_s - interval_s)

    def is_exception(self, key: bytes) -> bool:
        """Those whom a test names."""
        return key in self.wait_s


class Rig:
    """`peer` proved PEER; `service` is bound to HERE; both acknowledge and recognise duplicates."""

    def __init__(self, checks: Checks = ALL_CHECKS, *, memory_limit: int = 1000, process: int = 3) -> None:
        self.rates = Rates()
        self.memory = DuplicateMemory(EPOCH, 60.0, memory_limit)
        self.switch = Switch(Ledger(process, 77), self.memory, self.rates, slots.new_counters(), checks)
        self.now = 100.0
        #: from a read to the write of what it brought
        self.share_s = 0.0
        self.peer = self.port(1, Role.PEER)
        self.service = self.port(2, Role.SERVICE)
        self.prove(self.peer, PEER)
        self.serve(HERE, self.service)

    def port(self, number: int, role: Role) -> Port:
        """One more link."""
        port = Port(number, role, self.controls.append if hasattr(self, "controls") else lambda _data: None)
        port.max_record = 65536
        port.acknowledges = True
        port.epoch = b"peer-%03d" % number
        self.switch.add_port(port)
        return port

    def prove(
        self, port: Port, domain: bytes, strength: int = DIALBACK, only: frozenset[bytes] | None = None
    ) -> None:
        """A domain is proved on a link."""
        port.sources[domain] = (strength, only, FOREVER, 0.001, 10.0, FOREVER)
        port.speaks.add(domain)

    def serve(self, domain: bytes, *ports: Port, level: int = DIALBACK) -> Route:
        """A domain is served here by these links."""
        route = Route(list(ports), level, 5000)
        self.switch.routes[domain] = route
        for port in ports:
            port.sources[domain] = (0, None, FOREVER, 0.001, 10.0, FOREVER)
            port.speaks.add(domain)
        return route

    def feed(self, port: Port, *records: Record | bytes) -> None:
        """Bytes come over a link."""
        data = b"".join(r if isinstance(r, bytes) else encode_record(r) for r in records)
        self.switch.receive(port, data, self.now)
        tally = self.switch.tally
        tally.wrote(0, self.now, self.share_s, tally.taken_runs())

    def out(self, port: Port) -> list[Record]:
        """What was put out for a link since the last look."""
        data = b"".join(port.out)
        port.out.clear()
        self.switch.take_dirty()
        return [decode_record(one) for one in RecordSplitter(1 << 20).feed(data)]

    def outcome(self, port: Port) -> Outcome:
        """The one answer put out for a link."""
        (record,) = self.out(port)
        return decode_outcome(record)

    def answer(self, port: Port, request: Record, outcome: Outcome = SUCCESS) -> None:
        """The far side of a link answers."""
        self.feed(port, response_to(request, outcome))


def message(number: int = 1, **changes: object) -> Record:
    """A message from alice@peer.example to bob@here.example."""
    values: dict[str, object] = {
        "type": 0x0100,
        "flags": 0x80,
        "hops_left": 110,
        "route_tag": number,
        "message_id": number.to_bytes(16, "big"),
        "envelope": Envelope(BOB, HERE, ALICE, PEER),
        "body": b"hello",
    }
    return Record(**(values | changes))  # type: ignore[arg-type]
