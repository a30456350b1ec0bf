"""What the switch knows of a link, of a domain, and of the ways to a remote domain."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from typing import Final

from imxrouter.routing.inboxes import NO_TERMS, WATCHED_S, DomainTerms
from imxrouter.routing.traffic import LinkMeter, Meter
from imxrouter.wire.layout import DEFAULT_MAX_RECORD, LENGTH_BYTES, MAX_RECORD_BEFORE_PROOF

#: strength (bits, `routing.policy`), destinations it holds for (None: any served here), end (monotonic s),
#: GCRA interval and burst (s), the largest body it may send (bytes)
Proof = tuple[int, frozenset[bytes] | None, float, float, float, float]
#: GCRA interval and burst (s), and the largest body (bytes), of what a domain served here sends.
SendTerms = tuple[float, float, float]

FOREVER: Final = float("inf")
#: Answers a link may leave unacknowledged before its new requests are answered `busy`.
MAX_UNACKNOWLEDGED: Final = 65_536


#: What requests of links of one kind are held to: they are a service's; whether the checks of source, size,
#: duplicates, traffic, sender's rate, recipient's rate, access and shedding are made; and types never taken.
HeldTo = tuple[bool, bool, bool, bool, bool, bool, bool, bool, bool, frozenset[int]]
#: What a retry adds to a record: its epoch field (specification section 8.2).
RETRY_BYTES: Final = 12


class Role(IntEnum):
    """Whose link it is (architecture section 2)."""

    PEER = 0
    SERVICE = 1
    UPLINK = 2
    #: another process of this host, which has judged what it passes on
    PROCESS = 3


@lru_cache(maxsize=1024)
def bound_proof(interval_s: float, burst_s: float, largest: float = FOREVER) -> Proof:
    """What stands for a domain that is bound to a link of ours; one value for all with the same limits."""
    return (0, None, FOREVER, interval_s, burst_s, largest)


class Port:
    """The switch's end of one link, or of a gateway inside this process.

    Attributes:
        number: unique in this process's life, from 1.
        role: peer, service, uplink, or another process.
        sources: source domains this link may bring, with what was proved of each.
        speaks: domains whose answers this link may bring.
        refused: requests and claims refused while nothing was proved.
        used: domains that a request came from, or an answer, since whoever empties the set looked.
        out: chunks to be written; taken by the transport after each read.
        shedding: what goes to this link is answered `busy` (its receiver does not read).
        usable: new requests may be sent over it.
        carries_stanzas: it is a stream of a foreign protocol, which takes that protocol's own words as well.
        largest: the largest request the other side takes, a retry's epoch included.
        meter: requests and bytes a second; None of a gateway inside this process.
        internal: may bring what never comes over IMX (`wire.registry.INTERNAL_TYPES`): a gateway of ours
            reads what is on its other side.
    """

    __slots__ = (
        "__weakref__",
        "acked", "acknowledges", "carries_stanzas", "closed", "credit_bytes", "credit_requests",
        "destinations", "dirty", "epoch", "granted_bytes", "granted_requests", "in_bytes", "in_flight",
        "internal", "largest", "max_record", "meter", "need", "number", "on_control", "out", "refused",
        "responses_read", "role", "sent", "sent_bytes", "shedding", "sources", "speaks", "tail", "unacked",
        "usable", "used",
    )  # fmt: skip

    def __init__(self, number: int, role: Role, on_control: Callable[[bytes], None]) -> None:
        self.number = number
        self.role = role
        self.on_control = on_control
        self.max_record = MAX_RECORD_BEFORE_PROOF
        self.sources: dict[bytes, Proof] = {}
        self.speaks: set[bytes] = set()
        self.used: set[bytes] = set()
        self.largest = DEFAULT_MAX_RECORD - RETRY_BYTES
        self.tail = bytearray()
        self.need = LENGTH_BYTES
        self.out: list[bytes | bytearray] = []
        self.dirty = False
        self.closed = False
        self.usable = True
        self.shedding = False
        self.carries_stanzas = False
        self.internal = role is Role.PROCESS
        self.granted_requests = 1024
        self.granted_bytes = 1 << 20
        self.in_flight = 0
        self.in_bytes = 0
        self.destinations: dict[bytes, int] = {}
        self.credit_requests = 1024
        self.credit_bytes = 1 << 20
        self.sent = 0
        self.sent_bytes = 0
        self.epoch: bytes | None = None
        self.acknowledges = False
        self.responses_read = 0
        self.refused = 0
        self.acked = 0
        self.meter: LinkMeter | None = None
        self.unacked: deque[bytes] = deque()


#: Of a domain that takes messages only.
MESSAGES: Final = frozenset({0x0100})


class Route:
    """A domain served here, by whatever of its names, as the hot path needs it.

    Attributes:
        ports: links of the service behind it that are up.
        level: strength (bits) a source domain needs towards it.
        max_bytes: largest body towards it.
        types: routed types it takes.
        home: the domain's own name, where that is another than the one it is looked up by.
        suspended: everything to it is refused for now.
        inbox: what one of its recipients takes of those who are known, and of strangers.
        meter: requests and bytes a second to it; None where it has no rate of its own.
        calm: messages that may come before it is asked how long they took; below 0 they are counted on.
        watched_until: until then each recipient is looked at.
    """

    __slots__ = (
        "_calm_since", "calm", "home", "inbox", "level", "max_bytes", "meter", "ports", "suspended", "types",
        "watched_until",
    )  # fmt: skip

    def __init__(
        self, ports: list[Port], level: int, max_bytes: int, types: frozenset[int] = MESSAGES
    ) -> None:
        self.ports = ports
        self.level = level
        self.max_bytes = max_bytes
        self.types = types
        self.home = b""
        self.suspended = False
        self.inbox: DomainTerms = NO_TERMS
        self.meter: Meter | None = None
        self.calm = 0
        self.watched_until = self._calm_since = float("-inf")

    def is_calm(self, now: float) -> bool:
        """Whether fewer messages came than one recipient may get; asked when they are counted down."""
        most, per_s = self.inbox[2]
        came, seconds = most - self.calm, now - self._calm_since
        self._calm_since, self.calm = now, most
        if most and came <= seconds * per_s:
            return True
        self.calm, self.watched_until = -1, now + WATCHED_S
        return False

    def would_be_calm(self, now: float) -> bool:
        """Whether one more message would pass without a look at its recipient; nothing is counted."""
        left = self.calm - 1
        if left >= 0:
            return True
        most, per_s = self.inbox[2]
        return now >= self.watched_until and bool(most) and most - left <= (now - self._calm_since) * per_s


class RouteTable(dict[bytes, Route]):
    """Routes by domain; tells when a domain comes or goes, so that nobody remembers a route that is gone.

    Args:
        on_change: called before each such change.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change

    def __setitem__(self, domain: bytes, route: Route) -> None:
        self._on_change()
        super().__setitem__(domain, route)

    def __delitem__(self, domain: bytes) -> None:
        self._on_change()
        super().__delitem__(domain)

    def remove(self, domain: bytes) -> Route | None:
        """Take a domain out, if it is there."""
        self._on_change()
        return super().pop(domain, None)
