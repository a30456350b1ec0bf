"""An honest router process of a simulated world: every part that decides is the real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred

from imxrouter.app.served.subscribed import BEGUN, KeptSubscriptions
from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import FROM_DOMAIN, IN_PORT, IN_TAG, KEY, OUT_PORT, SIZE, TO_DOMAIN, Entry, Ledger
from imxrouter.link.machine import LinkSettings, LinkState
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message, Operation
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.destinations import BackOff, DestinationTable
from imxrouter.routing.dialling import Permit
from imxrouter.routing.limits import SenderRates
from imxrouter.routing.subscriptions import SubscriptionLimits
from imxrouter.switch import slots
from imxrouter.switch.ports import Port, Route
from imxrouter.switch.switch import Switch
from imxrouter.transport.bus import MemoryExchange
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.dialing import DialFailed, Dialled, Reach, Reuse
from imxrouter.transport.federation import Federation
from imxrouter.transport.gateway_port import GatewayPort
from imxrouter.transport.handover import Handover
from imxrouter.transport.hub import Hub, Identity
from imxrouter.transport.inside import InsidePort
from imxrouter.transport.keyring import KeyRing
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.liveness import Liveness
from imxrouter.transport.session import LinkSession
from imxrouter.transport.settings import HubSettings
from imxrouter.transport.trust import Verdict
from imxrouter.transport.verifier import Verifier
from imxrouter.transport.watchers import RouterWatchers
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import RecordType
from tests.properties.files import File
from tests.properties.net import End, Endpoint

if TYPE_CHECKING:
    from tests.properties.world import World

#: Small limits and short times, so that a short script reaches all of them.
SETTINGS = HubSettings(
    link=LinkSettings(ping_s=3, dead_s=8, hello_timeout_s=4, idle_s=25, close_deadline_s=3),
    verify_idle_s=6,
    answer_timeout_s=12,
    max_record_bytes=2048,
    credit_requests=6,
    credit_bytes=4096,
    output_high_bytes=3000,
    unread_bytes=9000,
    claims_per_link=16,
    claims_before_proof=6,
    proof_timeout_s=20,
    claim_deadline_s=9,
    proof_max_age_s=60,
    links_per_peer=2,
    hold_s=5,
    hold_count=8,
    hold_bytes=8192,
    hold_total_bytes=12_000,
    duplicate_window_s=30,
)
#: The same with room for everything that a script can send at once; links take long to close, and nothing
#: may wait as long as that.
ROOMY = replace(
    SETTINGS,
    link=replace(SETTINGS.link, close_deadline_s=12),
    hold_s=7,
    answer_timeout_s=20,
    credit_requests=1000,
    credit_bytes=1 << 20,
    hold_count=1000,
    hold_bytes=1 << 20,
    hold_total_bytes=1 << 22,
    output_high_bytes=1 << 20,
    unread_bytes=1 << 22,
)
BACKOFF = BackOff(first_s=0.5, cap_s=3.0)
#: More than honest watchers need; a liar can ask for more.
SUBSCRIPTIONS = SubscriptionLimits(total=60, per_domain=30)
TYPES = frozenset({RecordType.MESSAGE.value, RecordType.SUBSCRIBE.value, RecordType.NOTIFY.value})
_ID_BYTES = 16


class Trusting:
    """A verifier's rules that let everything be tried, and count what is given back."""

    def __init__(self) -> None:
        self.running: set[tuple[int, Domain]] = set()
        self.ended: list[Reason] = []

    def may_claim(self, session: Link, from_domain: Domain, to_domain: Domain) -> Verdict:
        """Let it."""
        del to_domain
        assert (session.number, from_domain) not in self.running, "a permit was not given back"
        self.running.add((session.number, from_domain))
        return Verdict(Reason.NONE)

    def worth(self, first: Link, second: Link, from_domain: Domain) -> Verdict:
        """Dial-back in clear."""
        del first, second, from_domain
        return Verdict(Reason.NONE, 0, 1)

    def permit(self, session: Link, from_domain: Domain) -> Permit | None:
        """None is needed."""
        assert (session.number, from_domain) in self.running, "a verification goes on without its permit"
        return None

    def not_mine(self, session: Link, from_domain: Domain) -> None:
        """The next host may be dialled."""
        assert (session.number, from_domain) in self.running, "a verification goes on without its permit"

    def may_prove(self, session: Link, from_domain: Domain, level: int) -> Verdict:
        """Let it."""
        del session, from_domain, level
        return Verdict(Reason.NONE)

    def done(self, session: Link, from_domain: Domain, reason: Reason, level: int = 0) -> int:
        """Given back."""
        del level
        self.ended.append(reason)
        self.running.discard((session.number, from_domain))
        return 5

    def dropped(self, session: Link, from_domain: Domain) -> None:
        """Nothing is counted."""

    def closed(self, session: Link) -> None:
        """Nothing is counted."""

    def terms(self, from_domain: bytes) -> tuple[float, float]:
        """Everybody may send."""
        del from_domain
        return 0.0, 10.0


class SimulatedDialer:
    """Opens links as `app.trust.targets` does: what is open first, then addresses by chance."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def dial(
        self,
        domain: Domain,
        make: Callable[[], Link],
        *,
        reuse: Reuse,
        skip: AbstractSet[Endpoint] = frozenset(),
        permit: Permit | None = None,
        own: Domain | None = None,
        need: int = 0,
        first: Link | None = None,
        presence: bool = False,
    ) -> Deferred[Dialled]:
        """As `Dialer.dial`; in clear."""
        del permit, own, need, first, presence
        return Deferred.fromCoroutine(self._dial(domain, make, reuse, skip))

    async def _dial(
        self,
        domain: Domain,
        make: Callable[[], Link],
        reuse: Reuse,
        skip: AbstractSet[Endpoint],
    ) -> Dialled:
        world = self._process.world
        if domain.wire in self._process.domains:
            world.judge.broken.append(f"{domain} is served here and was dialled")
        known = world.addresses.get(domain.wire)
        if not known:
            raise DialFailed(Reason.NO_IMX_RECORD, "nothing is published")
        wanted = [one for one in known if one not in skip]
        if not wanted:
            raise DialFailed(Reason.CONNECTION_REFUSED, "every address was tried", exhausted=True)
        for endpoint in wanted:
            session = reuse(endpoint, lambda _session: True)
            if session is not None:
                return Dialled(session, endpoint, reused=True)
        world.chance.shuffle(wanted)
        for endpoint in wanted:
            end = await world.net.connect(self._process, endpoint)
            if end is not None:
                session = make()
                end.protocol = session
                cast("LinkSession", session).makeConnection(end)  # type: ignore[no-untyped-call]
                return Dialled(session, endpoint, reused=False)
        raise DialFailed(Reason.CONNECTION_REFUSED, "")


@dataclass
class Pending:
    """A message that the gateway has been given and has not answered."""

    message: Message
    answer: Callable[[Outcome], None]
    since: float


class Recorder:
    """The gateway of a process: tells the world what is delivered and answers when the script says so."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.pending: list[Pending] = []

    def deliver(self, operation: Operation, answer: Callable[[Outcome], None]) -> None:
        """Take a message; whatever else is for those who know it."""
        if not isinstance(operation, Message):
            self._process.world.deliver(self._process, operation, answer)
            return
        self._process.world.judge.delivered(self._process, operation)
        self.pending.append(Pending(operation, answer, self._process.world.clock.seconds()))

    def domains(self) -> frozenset[Domain]:
        """Ours."""
        return frozenset(Domain(domain.decode()) for domain in self._process.domains)


class ToldWatchers(RouterWatchers):
    """The world is told what the router says of presence, and asks, by itself."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.hub, process.inside, process.table)
        self._process = process

    def _send(
        self, kind: RecordType, envelope: Envelope, fields: tuple[Field, ...],
        respond: Callable[[Record], None],
    ) -> None:  # fmt: skip
        answered = self._process.world.router_says(self._process, kind, envelope, fields)

        def told(response: Record) -> None:
            answered(response)
            respond(response)

        super()._send(kind, envelope, fields, told)


@dataclass
class Process:
    """One life of one router process.

    Attributes:
        world: where it lives.
        domains: what it serves.
        endpoint: where it is reached.
        number: its number on its host.
        bus: joins the processes of its host.
    """

    world: World
    domains: tuple[bytes, ...]
    endpoint: Endpoint
    number: int
    exchange: MemoryExchange
    alive: bool = True
    #: links that drain: seconds since when, and how often they were seen with nothing left to wait for
    draining: dict[int, tuple[float, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        world = self.world
        self.domain = self.domains[0]
        self.ip = self.endpoint[0]
        self.switch = Switch(
            Ledger(self.number, world.secrets.getrandbits(64)),
            DuplicateMemory(world.secrets.randbytes(8), world.settings.duplicate_window_s, 300),
            SenderRates(0.0, 10.0),
            slots.new_counters(),
        )
        identity = Identity(
            sha256(self.domain + self.ip.encode()).digest()[:8], self.number, world.secrets.randbytes(16)
        )
        self.hub = Hub(world.clock.seconds, self.switch, world.settings, identity, world.secrets.randbytes)
        dialer = SimulatedDialer(self)
        self.bus = self.exchange.join(self.number)
        self.trust = Trusting()
        keys = KeyRing([b"secret of " + self.domain])
        self.claimer = Claimer(
            self.hub, keys, self.bus, lambda: 1e9 + world.clock.seconds(), self.trust.terms
        )
        self.verifier = Verifier(self.hub, dialer, self.trust, self.claimer.tongue)
        destinations = DestinationTable(world.chance.random, BACKOFF)
        self.federation = Federation(
            self.hub, {Protocol.IMX: Reach(dialer, self._new_link)}, self.claimer, destinations
        )
        self.verifier.on_proved = self.federation.peer_proved
        self.handover = Handover(self.hub, self.bus, self.claimer)
        self.hub.events += [self.claimer, self.verifier, self.federation]
        self._make_presence()
        self.gateway = GatewayPort(self.hub)
        self.recorder = Recorder(self)
        self.gateway.connect(self.recorder)
        for domain in self.domains:
            self.gateway.bind(domain, 0.0, 10.0)
            self.switch.routes[domain] = Route([self.gateway.port], 1, 1500, TYPES)

    def _new_link(self, _own: Domain | None, _peer: Domain) -> Link:
        return LinkSession(self.hub, Purpose.DATA)

    def _make_presence(self) -> None:
        world = self.world
        self.inside = InsidePort(self.hub)
        self.table = self.switch.presence.table
        self.table.limits = SUBSCRIPTIONS
        self.store = world.files.setdefault(self.endpoint, File(world.wall)).open()
        kept = KeptSubscriptions(self.table, self.store, self.bus, world.clock.seconds, world.wall)
        self.handover.others[BEGUN] = kept.begun_elsewhere
        self.liveness = Liveness(
            self.hub, self.table, ToldWatchers(self), self.federation, world.chance.random
        )
        self.federation.on_unreachable = self.liveness.failed
        self.federation.on_reached = self.liveness.reached
        self.verifier.on_dropped = lambda domain: self.liveness.left((domain,))
        self.hub.events.append(self.liveness)
        kept.begin()
        self.liveness.begin(world.clock.seconds())

    def tick(self) -> None:
        """A second has passed."""
        self.hub.tick()
        self.table.sweep(self.world.clock.seconds())
        self.store.flush()

    def accept(self) -> LinkSession:
        """Somebody connects."""
        return self.hub.accept()

    def kill(self) -> None:
        """End without a word."""
        self.alive = False
        self.recorder.pending.clear()
        self.world.net.kill(self)
        self.bus.close()
        self.store.lose()

    # -- what must hold ----------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """Rules 1, 2 and 5, and figures that must equal the ledger's."""
        switch = self.switch
        found = list(switch.conservation())
        found += [fault for entry in switch.ledger.entries.values() if (fault := self._rule_1(entry))]
        sent: dict[int, list[int]] = {}
        read: dict[int, list[int]] = {}
        towards: dict[tuple[int, bytes], int] = {}
        for entry in switch.ledger.entries.values():
            sent.setdefault(entry[OUT_PORT], []).append(entry[SIZE])
            read.setdefault(entry[IN_PORT], []).append(entry[SIZE])
            towards[entry[IN_PORT], entry[5]] = towards.get((entry[IN_PORT], entry[5]), 0) + 1
        for port in switch.ports.values():
            found += self._port_faults(port, sent.get(port.number, []), read.get(port.number, []))
            shares = {domain: n for (number, domain), n in towards.items() if number == port.number}
            if shares != port.destinations:
                found.append(f"port {port.number}: destinations {port.destinations}, ledger {shares}")
        found += self._unanswered()
        for session in self.hub.sessions.values():
            if session.is_open and not session.port.usable and not session.port.closed:
                found.append(f"link {session.number} is open and takes nothing")
        for by_source in switch.ways.values():
            for ports in by_source.values():
                found += [
                    f"a way over port {one.number}, gone" for one in ports if one.number not in switch.ports
                ]
        return found

    def _rule_1(self, entry: Entry) -> str:
        """What is wrong with a request that was accepted; empty where nothing is."""
        port = self.switch.ports.get(entry[IN_PORT])
        if port is self.inside.port:
            return "" if {entry[TO_DOMAIN], entry[FROM_DOMAIN]} & set(self.domains) else "the router relays"
        ours, theirs = entry[TO_DOMAIN] in self.domains, entry[FROM_DOMAIN] not in self.domains
        if port is self.gateway.port or port is None:
            return ""
        return "" if ours and theirs else f"taken from {entry[FROM_DOMAIN]!r} to {entry[TO_DOMAIN]!r}"

    @staticmethod
    def _port_faults(port: Port, sent: list[int], read: list[int]) -> list[str]:
        figures = (port.sent, port.sent_bytes, port.in_flight, port.in_bytes)
        ledger = (len(sent), sum(sent), len(read), sum(read))
        if figures != ledger:
            return [f"port {port.number}: sent, bytes, in flight, bytes {figures}; ledger {ledger}"]
        if port.in_flight > port.granted_requests or port.in_bytes > port.granted_bytes:
            return [f"port {port.number}: in flight, bytes {figures[2:]} are more than was granted"]
        return []

    def _in_flight(self, port: int) -> Counter[tuple[int, bytes]]:
        """Route tags and ids of requests that came over a link and have no answer."""
        entries = self.switch.ledger.entries
        waiting = [(tag, entry[IN_PORT], entry[IN_TAG]) for tag, entry in entries.items()]
        for tag, joined in self.switch._joined.items():
            waiting += [(tag, number, in_tag) for number, in_tag in joined]
        return Counter((theirs, entries[tag][KEY][:_ID_BYTES]) for tag, by, theirs in waiting if by == port)

    def _unanswered(self) -> Iterable[str]:
        """Each request that was read on a link is answered there or in flight, whoever sent it."""
        truth = self.world.truth[id(self)]
        for session in self.hub.sessions.values():
            asked, flying = truth.said[session.transport].asked, self._in_flight(session.number)
            if not session.port.closed and asked != flying:
                yield f"link {session.number}: {asked} unanswered, {flying} in flight"

    def link_ends(self, end: End) -> None:
        """We end a link: what was read there and is not in flight has its answer."""
        said = self.world.truth[id(self)].said[end]
        if end.reading and (said.is_mixed or not said.is_broken):
            return  # what followed the record that ended it was not read
        lost = said.asked - self._in_flight(end.protocol.number)
        if lost:
            self.world.judge.broken.append(f"{self.domain!r} ended a link with {lost} unanswered")

    def overdue(self) -> list[str]:
        """Links that drain for longer than they may; to be asked once after each second."""
        now, found = self.world.clock.seconds(), []
        before, self.draining = self.draining, {}
        for session in self.hub.sessions.values():
            machine, port = session.machine, session.port
            if machine.state is not LinkState.DRAINING:
                continue
            since, rests = before.get(session.number, (now, 0))
            rests = rests + 1 if machine.close_received and not port.in_flight + port.sent else 0
            self.draining[session.number] = since, rests
            if now - since > self.world.settings.link.close_deadline_s + 1 or rests > 2:
                found.append(f"link {session.number} drains for {now - since:g} s, {rests} with nothing left")
        return found

    def leftovers(self) -> list[str]:
        """What is still kept although nothing is under way and every window has passed."""
        figures = {
            "ledger": len(self.switch.ledger.entries),
            "joined": len(self.switch._joined),
            "memory": len(self.switch.memory.seen),
            "dirty": len(self.switch.dirty),
            "held": self.federation.held[0] + self.federation.held[1],
            "pursuits": len(self.federation.holding.pursuits),
            "verifications": len(self.verifier._by_claim) + len(self.verifier._asked),
            "permits": len(self.trust.running),
            "waiting": len(self.gateway._waiting) + len(self.inside._waiting),
            "subscriptions": len(self.table) + len(self.table._arrivals) + len(self.store),
            "answers to subscriptions": len(self.table._asked),
            "changes of subscriptions": len(self.switch.presence._changing),
            "losses": len(self.liveness._losses) + len(self.liveness.silence),
        }
        return [f"{word}: {count}" for word, count in figures.items() if count]
