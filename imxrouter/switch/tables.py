"""Tables of the switch: links, what is in flight, what is known of addresses, what is to be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Protocol

from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import (
    IN_PORT,
    RECORD,
    TYPE,
    Entry,
    Ledger,
)
from imxrouter.model.address import BadAddress, address_key
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.operations import MAX_HOPS, Kind
from imxrouter.model.outcome import Outcome
from imxrouter.routing.gate import FIRST_CONTACT, Bar, Gate
from imxrouter.routing.inboxes import Inboxes
from imxrouter.routing.overload import Level
from imxrouter.routing.refused import RefusalBook
from imxrouter.routing.rules import Right
from imxrouter.routing.subscriptions import Subscriptions
from imxrouter.routing.traffic import Traffic
from imxrouter.switch import slots
from imxrouter.switch.checks import ALL_CHECKS, Checks
from imxrouter.switch.forms import only_ends_or_answers, right_of_form
from imxrouter.switch.ports import RETRY_BYTES, HeldTo, Port, Role, Route, RouteTable
from imxrouter.switch.presence import OF_DOMAINS, OF_SUBSCRIPTIONS, Lane, PresenceChecks
from imxrouter.switch.rewrite import (
    shortened,
)
from imxrouter.switch.tally import Tally
from imxrouter.switch.ways import STANZA, Ways
from imxrouter.wire.layout import ADDRESSES_OFFSET
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import FORMS, KIND_OF_TYPE, FieldType, RecordType

#: Addresses remembered as checked, in each of two generations; a cache, so losing an entry costs time only.
NAMES_PER_GENERATION: Final = 131_072
#: What the router itself may say to whom it has blocked: that nothing is known, that he is reported, and what
#: a stranger is told as well (stanzas that answer, or take presence back).
OWN_WORDS: Final = frozenset({RecordType.NOTIFY.value, RecordType.REPORT.value, STANZA})
#: Requests of one type that want something else are judged apart.
_PLACE_OF_RIGHT: Final[dict[Right | None, bytes]] = {
    Right.FETCH: b"\0", Right.SUBSCRIBE: b"\1", Right.MESSAGE: b"\2", None: b"\3",
}  # fmt: skip


class Rates(Protocol):
    """Per-sender rates (GCRA): what the hot loop reads, and the slow path it asks."""

    arrivals: dict[bytes, float]

    def admit(
        self, key: bytes, domain: bytes, now: float, interval_s: float, burst_s: float, part: float = 1.0
    ) -> float:
        """0 where the sender may go on, below where he is to be warned, else the seconds to wait."""

    def is_exception(self, key: bytes) -> bool:
        """Whether the sender has a rate of his own."""


class SwitchTables:
    """State of the switch.

    Args:
        ledger: requests in flight.
        memory: duplicates.
        rates: per-sender limits.
        counters: integer slots (`slots.new_counters()`).
        checks: which checks are made; all of them outside tests.
    """

    def __init__(
        self,
        ledger: Ledger,
        memory: DuplicateMemory,
        rates: Rates,
        counters: list[int],
        checks: Checks = ALL_CHECKS,
    ) -> None:
        self.ledger = ledger
        self.memory = memory
        self.rates = rates
        self.counters = counters
        self.checks = checks
        #: hops left of what comes in are cut down to this (CPIM-3)
        self.max_hops = MAX_HOPS
        self.ports: dict[int, Port] = {}
        #: domains served here
        self.routes = RouteTable(self._forget_targets)
        self.tally = Tally(counters, self.routes)
        self.ways = Ways()
        #: links to our aggregator, which takes what our services send elsewhere
        self.uplinks: list[Port] = []
        #: the router's own: what a domain served here is asked itself goes there
        self.inside: list[Port] = []
        self.presence = PresenceChecks(self._known_key, Subscriptions())
        self.presence.table.served = self.routes
        self.dirty: list[Port] = []
        #: route tags of requests that wait for a link; taken by the transport
        self.held: list[int] = []
        #: judges pairs of addresses; None while nothing is to be judged
        self.gate: Gate | None = None
        #: (route tag, why) of requests that may not pass; taken by the transport
        self.barred: list[tuple[int, Bar]] = []
        #: both addresses as they stand in a message -> why it may not pass; of other types with the type
        self._passes: dict[bytes, Bar | Literal[False]] = {}
        #: (process, record, speaking domains) of responses that another process waits for
        self.foreign: list[tuple[int, bytes, frozenset[bytes]]] = []
        #: told of every request that did not end in plain success
        self.on_settled: Callable[[Entry, Outcome], None] | None = None
        #: told (link, request, outcome) of every answer that was not the plain success, before it is settled
        self.on_answered: Callable[[Port, Entry, Outcome], None] | None = None
        #: told of every plain success; costs on the hot path, so None unless somebody watches
        self.on_delivered: Callable[[Entry], None] | None = None
        self._begin_limits()
        self._begin_looking_up()

    def _begin_limits(self) -> None:
        #: rates of links, peers, served domains and tenants
        self.traffic = Traffic()
        #: messages to one recipient
        self.inboxes = Inboxes()
        #: domains that are no strangers to recipients here, beside those served here
        self.acquainted: frozenset[bytes] = frozenset()
        #: what is left out under overload
        self.shed = Level.NOTHING
        #: refusals by limit
        self.book = RefusalBook()
        #: requests in flight whose sender is near his limit -> messages that he has left
        self.warned: dict[int, int] = {}
        self._told_second = self._told_left = self._shed_turn = 0

    def _begin_looking_up(self) -> None:
        #: what is not in the ledger of a request in flight: (link, tag) of its copies
        self._joined: dict[int, list[tuple[int, int]]] = {}
        #: tags of requests that were sent to another host after one had refused them
        self._asked_elsewhere: set[int] = set()
        #: requests in flight whose answer is not passed on as it comes
        self._odd: set[int] = set()
        self._domains: dict[bytes, bytes] = {}
        self._names: dict[bytes, tuple[bytes, bytes]] = {}
        self._older_names: dict[bytes, tuple[bytes, bytes]] = {}
        self._targets: dict[bytes, tuple[bytes, Route | None, int]] = {}
        self._turn = 0
        #: by role, and whether a link is internal, and the router's own
        self._held_to: dict[tuple[Role, bool, bool], HeldTo] = {}

    # -- addresses -------------------------------------------------------------------------------------

    def _check_sender(self, raw: bytes) -> tuple[bytes, bytes] | None:
        """Key and domain of a sender seen for the first time; None where it is no valid address."""
        known = self._older_names.get(raw)
        if known is None:
            key = key_of(raw)
            if key is None:
                return None
            domain = key.rpartition(b"@")[2]
            known = (key, self._domains.setdefault(domain, domain))
        if len(self._names) >= NAMES_PER_GENERATION:
            self._older_names, self._names, self._domains = self._names, {}, {}
        self._names[raw] = known
        return known

    def _check_target(self, raw: bytes) -> tuple[bytes, Route | None, int] | None:
        """Domain, route and place of a recipient seen for the first time; None where it is no address."""
        key = key_of(raw)
        if key is None:
            return None
        if len(self._targets) >= NAMES_PER_GENERATION:
            self._targets = {}
        domain = raw.rpartition(b"@")[2]
        route = self.routes.get(domain)
        if route is not None and route.home:  # one recipient by all names of his domain
            key = key.rpartition(b"@")[0] + b"@" + route.home
        known = self._targets[raw] = (domain, route, self.inboxes.place(key))
        return known

    def _known_key(self, raw: bytes) -> bytes | None:
        """The key of an address; looked up where it is known."""
        known = self._names.get(raw) or self._check_sender(raw)
        return known[0] if known is not None else None

    def _forget_targets(self) -> None:
        self._targets, self._passes = {}, {}

    # -- access ----------------------------------------------------------------------------------------

    def guard(self, gate: Gate | None) -> None:
        """Judge pairs of addresses by this from now on, and forget what was judged before."""
        self.gate, self._passes = gate, {}

    def _bar(self, data: bytes, rtype: int, from_end: int, sender: bytes) -> Bar | Literal[False]:
        """Why a request may not pass; remembered by both addresses.

        Args:
            data: the whole record.
            rtype: its type.
            from_end: where its addresses end.
            sender: the key of From.
        """
        pair = data[ADDRESSES_OFFSET:from_end]
        place, right = pair, right_of(data, rtype)
        if rtype != RecordType.MESSAGE:
            place = rtype.to_bytes(2, "big") + _PLACE_OF_RIGHT[right] + pair
        known = self._passes.get(place)
        if known is not None or self.gate is None:
            return known or False
        recipient = key_of(data[ADDRESSES_OFFSET : ADDRESSES_OFFSET + data[16] + 1 + data[17]])
        bar = self.gate.judge(sender, recipient, right) if sender and recipient else None
        if bar is not None and bar.kind == FIRST_CONTACT:
            return bar  # he may be agreed to at any moment, and not by an entry or rule alone
        if bar is None and sender and recipient:
            self.gate.passed(sender, recipient, right)
        if len(self._passes) >= NAMES_PER_GENERATION:
            self._passes = {}
        self._passes[place] = bar or False
        return bar or False

    def _is_own_word(self, port: Port | None, data: bytes, rtype: int) -> bool:
        """Whether a request of `OWN_WORDS` is the router's own, not somebody's for whom it says it again."""
        return port in self.inside and (rtype != STANZA or only_ends_or_answers(data))

    def bars_now(self, tag: int) -> bool:
        """Judge a request that has waited, before it leaves: who may write to whom may have changed.

        Where it may not pass, it is among `barred` now, and must not be sent.
        """
        entry = self.ledger.entries.get(tag)
        if self.gate is None or not self.checks.access or entry is None:
            return False
        data = entry[RECORD]
        if entry[TYPE] in OWN_WORDS and self._is_own_word(self.ports.get(entry[IN_PORT]), data, entry[TYPE]):
            return False
        from_at = ADDRESSES_OFFSET + data[16] + 1 + data[17]
        from_end = from_at + data[18] + 1 + data[19]
        bar = self._bar(data, entry[TYPE], from_end, key_of(data[from_at:from_end]) or b"")
        if bar:
            self.barred.append((tag, bar))
        return bool(bar)

    # -- writing ---------------------------------------------------------------------------------------

    def level_is_enough(self, from_domain: bytes, level: int) -> bool:
        """Whether links of that level may carry what a domain of ours sends: its own policy says (rule 4)."""
        route = self.routes.get(from_domain)
        return route is None or not route.level & ~level

    def open_way(self, to_domain: bytes, from_domain: bytes, port: Port, level: int) -> None:
        """A link, proved at that level, may carry what a domain of ours sends, if its policy is content."""
        if self.level_is_enough(from_domain, level):
            self.ways.open(to_domain, from_domain, port)

    def ways_of(self, to_domain: bytes, from_domain: bytes, rtype: int, lane: Lane) -> list[Port]:
        """The links to a remote domain for a type of request, in the lane that it has."""
        if rtype == STANZA or lane is Lane.STREAMS:
            table = self.ways.streams
        elif rtype in OF_SUBSCRIPTIONS:
            table = self.ways.presence
        else:
            table = self.ways
        ports = table.get(to_domain, {}).get(from_domain, [])
        if lane is Lane.LINKS:
            return [port for port in ports if not port.carries_stanzas]
        return ports

    def way(
        self, to_domain: bytes, from_domain: bytes, size: int = 0, rtype: int = RecordType.MESSAGE,
        lane: Lane = Lane.CHOSEN,
    ) -> Port | None:  # fmt: skip
        """A link to a remote domain (or, for one served here, to its service) that takes that many bytes.

        A foreign protocol's own words go over its streams alone.
        """
        route = self.routes.get(to_domain)
        ports = route.ports if route is not None else self.ways_of(to_domain, from_domain, rtype, lane)
        if not ports and route is None and rtype != STANZA:
            ports = self.uplinks
        for port in ports:
            if self.takes(port, size):
                return port
        return None

    def takes(self, port: Port, size: int) -> bool:
        """Whether one more request may go over a link now."""
        if not port.usable or port.shedding or size > port.largest:
            return False
        within = port.sent < port.credit_requests and port.sent_bytes + size <= port.credit_bytes
        return within or not self.checks.credit

    def put(self, port: Port, chunk: bytes | bytearray) -> None:
        """Queue bytes for a link."""
        port.out.append(chunk)
        if not port.dirty:
            port.dirty = True
            self.dirty.append(port)

    def take_dirty(self) -> list[Port]:
        """Links that have bytes to write; each is listed once."""
        dirty, self.dirty = self.dirty, []
        for port in dirty:
            port.dirty = False
        return dirty

    def _answer(self, port: Port, response: bytes, key: bytes) -> None:
        """Queue one routed response; `key` is what an acknowledgement forgets (empty: nothing)."""
        if len(response) > port.largest + RETRY_BYTES:
            response = shortened(response, port.largest + RETRY_BYTES)
        self.put(port, response)
        self.counters[slots.RECORDS_OUT] += 1
        if port.acknowledges:
            port.unacked.append(key)

    # -- the books -------------------------------------------------------------------------------------

    def in_flight_by_kind(self) -> list[int]:
        """Requests in flight per kind (rule 2)."""
        figures = [0] * len(Kind)
        for entry in self.ledger.entries.values():
            figures[KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER)] += 1
        return figures

    def conservation(self) -> list[str]:
        """What breaks rule 2; empty when every accepted request is accounted for."""
        problems = []
        for kind, flying in zip(Kind, self.in_flight_by_kind(), strict=True):
            base = kind * slots.KIND_STRIDE
            accepted, delivered, refused, failed, unknown = self.counters[base : base + slots.DUPLICATE]
            if accepted != delivered + refused + failed + unknown + flying:
                problems.append(
                    f"{kind.name.lower()}: accepted {accepted}, delivered {delivered}, refused {refused}, "
                    f"failed {failed}, indeterminant {unknown}, in flight {flying}"
                )
        return problems


def right_of(data: bytes, rtype: int) -> Right | None:
    """What a request wants of its recipient; None of what he asked for, and of what wants nothing of him."""
    if rtype == RecordType.NOTIFY or rtype in OF_DOMAINS:
        return None
    if rtype == RecordType.SUBSCRIBE:
        duration = decode_record(data).value(FieldType.DURATION)
        return Right.FETCH if duration is not None and not any(duration) else Right.SUBSCRIBE
    if rtype in FORMS:
        return right_of_form(data)
    return Right.FETCH if rtype == RecordType.ATTRIBUTES else Right.MESSAGE


def key_of(raw: bytes) -> bytes | None:
    """The key of `local@domain`, or of a domain itself; None where it is neither."""
    try:
        return address_key(raw) if not raw.startswith(b"@") else b"@" + Domain.from_wire(raw[1:]).wire
    except (BadAddress, BadDomain):
        return None
