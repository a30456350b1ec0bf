"""A world of routers: what may happen in it, and what must hold whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.link.claims import ClaimState
from imxrouter.model.address import Address
from imxrouter.model.operations import Message, Operation
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.transport.bus import MemoryExchange
from imxrouter.wire.control import Control
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import RecordType
from tests.properties.files import File
from tests.properties.judge import LIARS_DOMAIN, LIARS_DOMAINS, MOVED_DOMAIN, Broken, Judge, Sent
from tests.properties.liar import Liar
from tests.properties.net import Connection, End, Endpoint, Net
from tests.properties.nodes import ROOMY, SETTINGS, Process
from tests.properties.truth import Truth

#: More deliveries than any script can cause; a world that never rests is a storm.
STORM = 20_000
#: Claims that the verifier has not judged.
PENDING = (ClaimState.ASKED, ClaimState.RELEASED)
#: A slow service answers after so many seconds.
SLOW_S = 10
#: Longer than every time-out of the settings together.
HEAL_S = 90


#: What failed inside of routers since the newest world began; they go on, and only their log tells.
_FAILURES: list[str] = []


def _observe(event: LogEvent) -> None:
    if "log_failure" in event:
        _FAILURES.append(event["log_failure"].getTraceback())


globalLogPublisher.addObserver(cast("ILogObserver", _observe))


#: Processes of each organisation, or of each of its hosts, by its domains.
Shape = dict[str, int | tuple[int, ...]]


class World:
    """Honest routers, perhaps a liar, and the network between them.

    Args:
        shape: processes of each organisation by its domains: {"a.example": 1, "b.example d.example": 2};
            of an organisation with more hosts, those of each: {"a.example": 1, "b.example": (1, 1)}.
        liar: whether there is one.
        calm: no attempt to connect fails, and there is room for every request.
    """

    def __init__(self, shape: Shape, *, liar: bool = False, calm: bool = False) -> None:
        _FAILURES.clear()
        self.settings = ROOMY if calm else SETTINGS
        self._calm = calm
        self.clock = Clock()
        #: decides what a script leaves open; seeded anew by each step, so that steps can be left out
        self.chance = Random(0)
        #: keys, ids and nonces; never seeded anew, for they must not repeat
        self.secrets = Random(1)
        self.net = Net(self.clock, self.chance)
        self.addresses: dict[bytes, list[Endpoint]] = {}
        #: what the processes of a host keep, by its address
        self.files: dict[Endpoint, File] = {}
        self.processes: list[Process] = []
        self.truth: dict[int, Truth] = {}
        self.judge = Judge()
        self.net.opened.append(self._opened)
        self._right: set[tuple[int, End, bytes]] = set()
        self.liar: Liar | None = None
        for number, (names, count) in enumerate(shape.items()):
            domains = tuple(names.encode().split())
            if liar and not number:
                domains += (MOVED_DOMAIN,)
            counts = count if isinstance(count, tuple) else (count,)
            self._organisation(
                domains, [(f"192.0.2.{number + 1 + 10 * n}", 6481) for n in range(len(counts))], counts
            )
        if liar:
            endpoint, other = ("192.0.2.66", 6481), ("192.0.2.67", 6481)
            self.addresses.update({LIARS_DOMAIN: [endpoint, other], MOVED_DOMAIN: [endpoint]})
            self.liar = self._new_liar(endpoint)
            self.net.listening.update({endpoint: [self.liar], other: [self.liar]})

    def _new_liar(self, endpoint: Endpoint) -> Liar:
        return Liar(self, endpoint)

    def _organisation(
        self, domains: tuple[bytes, ...], endpoints: list[Endpoint], counts: tuple[int, ...]
    ) -> None:
        self.addresses.update({one: list(endpoints) for one in domains})
        for endpoint, count in zip(endpoints, counts, strict=True):
            exchange = MemoryExchange(self.clock)
            self.net.listening[endpoint] = []
            for number in range(count):
                self._start(domains, endpoint, number, exchange)

    def _start(
        self, domains: tuple[bytes, ...], endpoint: Endpoint, number: int, exchange: MemoryExchange
    ) -> None:
        process = Process(self, domains, endpoint, number, exchange)
        self.processes.append(process)
        self.net.listening[endpoint].append(process)
        self.truth[id(process)] = Truth(
            self.addresses, partial(self._told, process), partial(self.judge.heard, process)
        )

    def _opened(self, connection: Connection) -> None:
        for end in connection.ends:
            truth = self.truth.get(id(end.party))
            if truth is not None and isinstance(end.party, Process):
                truth.watch(end, opener=end is connection.opener)
                end.closing = partial(end.party.link_ends, end)

    def _told(self, process: Process, record: Record, control: Control | None) -> None:
        """A router wrote a record."""
        if record.is_routed and not record.is_response:
            self.judge.written(process, record)
        if self.liar is not None:
            self.liar.overhear(record, control)

    def deliver(self, process: Process, operation: Operation, answer: Callable[[Outcome], None]) -> None:
        """What is no message reached the service behind a router."""
        del answer
        raise AssertionError(f"{process.domain!r} was given {operation}")

    def router_says(
        self, process: Process, kind: RecordType, envelope: Envelope, fields: tuple[Field, ...]
    ) -> Callable[[Record], None]:
        """A router asks or says something by itself; gives what takes the answer."""
        raise AssertionError(f"{process.domain!r} says {kind} to {envelope}: {fields}")

    def wall(self) -> float:
        """Seconds since 1970."""
        return 1e9 + self.clock.seconds()

    @property
    def living(self) -> list[Process]:
        """Honest processes that run."""
        return [one for one in self.processes if one.alive]

    # -- what happens ------------------------------------------------------------------------------------

    def step(self, name: str, seed: int) -> None:
        """Let something happen, then look at everything that must hold."""
        self.chance.seed(seed)
        getattr(self, "do_" + name)()
        self.clock.advance(0)
        self.check()

    def do_submit(self) -> None:
        """Somebody writes to somebody."""
        process = self.chance.choice(self.living)
        for _ in range(self.chance.randint(1, 4)):
            self.submit(process, self.chance.choice(self._targets(process)), self.chance.randint(0, 500))

    def do_crowd(self) -> None:
        """Somebody writes more to somebody than a link takes."""
        process = self.chance.choice(self.living)
        self._crowd(process, self.chance.choice(self._targets(process)))

    def _crowd(self, process: Process, domain: bytes) -> None:
        for _ in range(2 * SETTINGS.credit_requests):
            self.submit(process, domain)

    def _targets(self, process: Process) -> list[bytes]:
        return [one for one in self.addresses if one not in process.domains and one != MOVED_DOMAIN]

    def submit(self, process: Process, domain: bytes, size: int = 10) -> Sent:
        """One message."""
        sender = self.chance.choice([one for one in process.domains if one != MOVED_DOMAIN])
        message = Message(
            Address.parse("alice@" + sender.decode()), Address.parse("bob@" + domain.decode()),
            self.secrets.randbytes(16), TEXT_PLAIN, self.secrets.randbytes(size),
        )  # fmt: skip
        return self.judge.submit(process, message)

    def do_repeat(self) -> None:
        """A service says the same again before it has the answer."""
        open_ones = [one for one in self.judge.sent.values() if one.by.alive and not one.outcomes]
        if open_ones:
            self.judge.repeat(self.chance.choice(open_ones))

    def do_pump(self) -> None:
        """Some bytes arrive."""
        for _ in range(self.chance.randint(1, 12)):
            if not self._deliver_one():
                return

    def do_flow(self) -> None:
        """Everything arrives."""
        self.flow()

    def do_tick(self) -> None:
        """Time passes, with or without what is under way."""
        for _ in range(self.chance.randint(1, 4)):
            if self.chance.random() < 0.5:
                self.do_pump()
            self.tick()

    def do_answer(self) -> None:
        """Services answer."""
        for process in self.living:
            self.answer(process)

    def do_cut(self) -> None:
        """A connection breaks somewhere on the way."""
        if self.net.connections:
            self.chance.choice(self.net.connections).cut(self.chance)

    def do_freeze(self) -> None:
        """Nothing arrives on a connection for now."""
        if self.net.connections:
            self.chance.choice(self.net.connections).frozen = True

    def do_thaw(self) -> None:
        """What was late arrives from now on."""
        for connection in self.net.connections:
            connection.frozen = False

    def do_give_up(self) -> None:
        """A router hears nothing on a link and ends it; what it wrote there still is on its way, and late."""
        sessions = [one for process in self.living for one in process.hub.sessions.values()]
        late = [one for one in sessions if one.port.sent and one.transport.queue]
        if sessions:
            session = self.chance.choice(late or sessions)
            session.transport.connection.frozen = True
            session.machine.lost()
            session.drop(Reason.KEEPALIVE_TIMEOUT, "")

    def do_overtake(self) -> None:
        """As `give_up`, and what is sent again elsewhere is long settled when the first try arrives."""
        self.do_give_up()
        self.do_second()
        self.flow()
        self.do_thaw()

    def do_abandon(self) -> None:
        """A router ends a link while every other one is full: answers come over those, before a new link."""
        opened = [one for process in self.living for one in process.hub.sessions.values() if one.reached]
        used = [one for one in opened if one.is_open and one.port.speaks - {MOVED_DOMAIN}]
        if not used:
            return
        session = self.chance.choice(used)
        process = session.transport.party
        self._crowd(process, self.chance.choice(sorted(session.port.speaks - {MOVED_DOMAIN})))
        self.flow()
        session.machine.lost()
        session.drop(Reason.KEEPALIVE_TIMEOUT, "")
        self._arrive([session.transport.connection])
        for other in self.living:
            self.answer(other, always=True)
        self._arrive(self.net.connections)

    def do_restart(self, process: Process | None = None) -> None:
        """A process is killed, and another one takes its place."""
        process = process or self.chance.choice(self.living)
        process.kill()
        self.net.listening[process.endpoint].remove(process)
        self._start(process.domains, process.endpoint, process.number, process.exchange)

    def do_close(self) -> None:
        """A router closes a link in order."""
        sessions = [one for process in self.living for one in process.hub.sessions.values()]
        if sessions:
            self.chance.choice(sessions).close(self.chance.choice([Reason.IDLE, Reason.SHUTTING_DOWN]))

    def do_close_used(self) -> None:
        """A router closes a link in order on which something was proved, and something else perhaps not."""
        sessions = [one for process in self.living for one in process.hub.sessions.values()]
        used = [one for one in sessions if one.is_open and one.port.speaks]
        asking = [one for one in used if any(claim.state in PENDING for claim in one.made.claims())]
        if used:
            session = self.chance.choice(asking or used)
            session.close(self.chance.choice([Reason.IDLE, Reason.SHUTTING_DOWN]))

    def do_second(self) -> None:
        """A good second: everything arrives, services answer."""
        self.flow()
        for process in self.living:
            self.answer(process, always=True)
        self.flow()
        self.tick()

    def do_wait(self) -> None:
        """A second in which everything arrives, and services answer only what has waited for long."""
        self.flow()
        for process in self.living:
            self.answer(process, always=True, waited_s=SLOW_S)
        self.flow()
        self.tick()

    def do_drop_proof(self) -> None:
        """A verifier no longer holds a proof."""
        process = self.chance.choice(self.living)
        held = [(one, d) for one in process.hub.sessions.values() for d in one.port.sources]
        if held:
            process.verifier.drop_proof(*self.chance.choice(held), Reason.NOT_PROVED)

    def do_withdraw(self) -> None:
        """A claimer ends its claims; it claims again when something is to be sent."""
        process = self.chance.choice(self.living)
        process.claimer.withdraw(self.chance.choice(process.domains))

    def do_connect(self) -> None:
        """The liar connects to somebody."""
        if self.liar is not None:
            self.liar.connect()

    def do_play(self) -> None:
        """The liar plays by the rules."""
        if self.liar is not None:
            self.liar.play_along()

    def do_lie(self) -> None:
        """The liar lies, at random or with a plan."""
        if self.liar is not None:
            if self.chance.random() < 0.7:
                self.chance.choice(self.liar.plans)()
            for _ in range(self.chance.randint(1, 5)):
                self.liar.lie()

    # -- parts of it -------------------------------------------------------------------------------------

    def _deliver_one(self) -> bool:
        ends = self.net.deliverable()
        number = self.chance.randrange(len(ends) + len(self.net.dialling) or 1)
        if number < len(ends):
            whole = self.chance.random() < 0.7
            ends[number].deliver(1 << 30 if whole else self.chance.randint(1, 200))
        elif self.net.dialling:
            self.net.complete(number - len(ends), fail=not self._calm and self.chance.random() < 0.1)
        else:
            return False
        self.clock.advance(0)
        return True

    def _arrive(self, connections: list[Connection]) -> None:
        """What is under way on these connections arrives; what that leads to elsewhere does not yet."""
        for end in [end for one in connections if not one.frozen for end in one.ends]:
            for _ in range(len(end.queue) + 1):
                if end.can_deliver:
                    end.deliver(1 << 30)
                    self.clock.advance(0)

    def flow(self) -> None:
        """Deliver until nothing is under way."""
        for _ in range(STORM):
            if not self._deliver_one():
                return
        raise Broken("a storm: the world does not come to rest")

    def tick(self) -> None:
        """A second passes."""
        self.clock.advance(1)
        for process in self.living:
            process.tick()
        self.clock.advance(0)
        self.judge.broken += [fault for process in self.living for fault in process.overdue()]

    def answer(self, process: Process, *, always: bool = False, waited_s: float = 0.0) -> None:
        """The service behind a router answers some of what it was given so long ago, in any order."""
        until, recorder = self.clock.seconds() - waited_s, process.recorder
        pending = [one for one in recorder.pending if one.since <= until]
        recorder.pending = [one for one in recorder.pending if one.since > until]
        self.chance.shuffle(pending)
        while pending and (always or self.chance.random() < 0.8):
            one = pending.pop()
            drawn = self.chance.random()
            if drawn < 0.1 and not always:
                continue  # it never answers
            sent = self.judge.sent.get(one.message.message_id)
            outcome = failure(Reason.UNKNOWN_USER, role="service") if drawn < 0.3 else SUCCESS
            if sent is not None:
                sent.decided = outcome.status
            one.answer(outcome)
        recorder.pending += pending

    # -- what must hold ----------------------------------------------------------------------------------

    def check(self) -> None:
        """Rules 1 to 3 of every router, against what was really said; and nothing failed inside of any."""
        self.judge.look()
        if _FAILURES:
            raise Broken(f"a router failed inside: {_FAILURES[0]}")
        for process in self.living:
            faults = process.faults() + self.truth[id(process)].faults
            if faults:
                raise Broken(f"{process.domain!r}: {faults}")
            ways: dict[int, set[bytes]] = {}
            for domain, by_source in process.switch.ways.items():
                for ports in by_source.values():
                    for port in ports:
                        ways.setdefault(port.number, set()).add(domain)
            for session in process.hub.sessions.values():
                held = set(session.port.sources) | session.port.speaks | ways.get(session.number, set())
                for domain in held:
                    self._check_proof(process, session.transport, domain)

    def _check_proof(self, process: Process, end: End, domain: bytes) -> None:
        key = (id(process), end, domain)
        if key in self._right:
            return
        far = end.other.party
        if isinstance(far, Process):
            is_right = domain in far.domains and domain != MOVED_DOMAIN
        else:
            is_right = domain in LIARS_DOMAINS and domain not in process.domains
        if not is_right:
            raise Broken(f"{process.domain!r} holds {domain!r} proved on a link of {far!r}")
        if not self.truth[id(process)].may_hold(end, domain):
            raise Broken(f"{process.domain!r} holds {domain!r} proved without a right answer on that link")
        self._right.add(key)

    # -- the end -----------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Cuts stop and the liar falls silent: everything is answered, once."""
        self.do_thaw()
        self._calm = True
        self._until_none(self.judge.unanswered)

    def rest(self) -> None:
        """Nothing more is said: nothing is kept."""
        self._until_none(self.kept)

    def _until_none(self, left: Callable[[], list[str]]) -> None:
        for number in range(HEAL_S):
            self.chance.seed(number)
            self.do_second()
            self.check()
            if not left():
                return
        raise Broken("; ".join(left()))

    def kept(self) -> list[str]:
        """What routers keep of what is over."""
        kept = [(process, process.leftovers()) for process in self.living]
        return [f"{process.domain!r} keeps {left}" for process, left in kept if left]

    def end_proofs(self) -> None:
        """Verifiers hold some of the proofs no longer, as after a change of policy."""
        self.chance.seed(0)
        for process in self.living:
            for session in list(process.hub.sessions.values()):
                for domain in sorted(session.port.sources):
                    if self.chance.random() < 0.5:
                        process.verifier.drop_proof(session, domain, Reason.NOT_PROVED)

    def prove_all(self) -> None:
        """An honest domain is proved in the end: a message from each process to each domain succeeds."""
        for process in self.living:
            for domain in self.addresses:
                if domain not in LIARS_DOMAINS and domain not in process.domains:
                    self._prove(process, domain)

    def _prove(self, process: Process, domain: bytes) -> None:
        said: list[Outcome] = []
        for attempt in range(4):
            self.chance.seed(attempt)
            sent = self.submit(process, domain)
            for _ in range(10):
                self.flow()
                for other in self.living:
                    for one in other.recorder.pending:
                        self.judge.sent[one.message.message_id].decided = Status.SUCCESS
                        one.answer(SUCCESS)
                    other.recorder.pending.clear()
                self.flow()
                if sent.outcomes:
                    break
                self.tick()
            if sent.outcomes and sent.outcomes[0].ok:
                return
            said += sent.outcomes
            for _ in range(5):  # as long as a router may wait before it tries again
                self.do_second()
        raise Broken(f"{process.domain!r} cannot reach {domain!r}: {said}")
