"""A world of routers: what may happen in it, and what must hold whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from twisted.internet.task import Clock

from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.link.machine import Drop
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.transport.bus import MemoryExchange
from imxrouter.wire.record import Record
from tests.properties.liar import Liar
from tests.properties.net import Connection, End, Endpoint, Net
from tests.properties.nodes import ROOMY, SETTINGS, Process
from tests.properties.truth import Truth

LIARS_DOMAIN = b"m.example"
#: More deliveries than any script can cause; a world that never rests is a storm.
STORM = 20_000
#: Longer than every time-out of the settings together.
HEAL_S = 90


@dataclass
class Sent:
    """A message that a gateway submitted.

    Attributes:
        by: the process life that took it.
        deliveries: times it was handed to the service that answers for its recipient.
        decided: what that service said.
        outcomes: what each submission of it was answered.
        submissions: how often it was submitted.
    """

    message: Message
    by: Process
    deliveries: int = 0
    decided: Status | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    submissions: int = 1

    def __str__(self) -> str:
        pair = f"{self.message.source.domain} to {self.message.destination.domain}"
        words = [f"{one.status.name.lower()} {one.reason.word}" for one in self.outcomes]
        decided = self.decided.name.lower() if self.decided is not None else "nothing"
        return (
            f"message {self.message.message_id.hex()[:8]} from {pair}, submitted {self.submissions}, "
            f"delivered {self.deliveries}, service said {decided}, answers {words}"
        )


class Broken(AssertionError):
    """Something that is always true was not."""


class World:
    """Honest routers, perhaps a liar, and the network between them.

    Args:
        shape: processes of each domain, such as {"a.example": 1, "b.example": 2}.
        liar: whether there is one.
        calm: no attempt to connect fails, and there is room for every request.
    """

    def __init__(self, shape: dict[str, int], *, liar: bool = False, calm: bool = False) -> None:
        self.settings = ROOMY if calm else SETTINGS
        self._calm = calm
        self.clock = Clock()
        #: decides what a script leaves open; seeded anew by each step, so that steps can be left out
        self.chance = Random(0)
        #: keys, ids and nonces; never seeded anew, for they must not repeat
        self.secrets = Random(1)
        self.net = Net(self.clock, self.chance)
        self.addresses: dict[bytes, list[Endpoint]] = {}
        self.processes: list[Process] = []
        self.truth: dict[int, Truth] = {}
        self.sent: dict[bytes, Sent] = {}
        self.net.opened.append(self._opened)
        self._right: set[tuple[int, End, bytes]] = set()
        #: what was seen in the middle of something; told by the next look
        self.broken: list[str] = []
        for number, (name, count) in enumerate(shape.items()):
            self._organisation(name.encode(), (f"192.0.2.{number + 1}", 6481), count)
        self.liar: Liar | None = None
        if liar:
            endpoint = ("192.0.2.66", 6481)
            self.addresses[LIARS_DOMAIN] = [endpoint]
            self.liar = Liar(self, LIARS_DOMAIN, endpoint)
            self.net.listening[endpoint] = [self.liar]

    def _organisation(self, domain: bytes, endpoint: Endpoint, count: int) -> None:
        self.addresses[domain] = [endpoint]
        exchange = MemoryExchange(self.clock)
        self.net.listening[endpoint] = []
        for number in range(count):
            self._start(domain, endpoint, number, exchange)

    def _start(self, domain: bytes, endpoint: Endpoint, number: int, exchange: MemoryExchange) -> None:
        process = Process(self, domain, endpoint, number, exchange)
        self.processes.append(process)
        self.net.listening[endpoint].append(process)
        self.truth[id(process)] = Truth(self.addresses)

    def _opened(self, connection: Connection) -> None:
        for end in connection.ends:
            truth = self.truth.get(id(end.party))
            if truth is not None:
                truth.watch(end, opener=end is connection.opener)

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
        targets = [domain for domain in self.addresses if domain != process.domain]
        for _ in range(self.chance.randint(1, 4)):
            self.submit(process, self.chance.choice(targets), self.chance.randint(0, 500))

    def submit(self, process: Process, domain: bytes, size: int = 10) -> Sent:
        """One message."""
        message = Message(
            Address.parse("alice@" + process.domain.decode()), Address.parse("bob@" + domain.decode()),
            self.secrets.randbytes(16), TEXT_PLAIN, self.secrets.randbytes(size),
        )  # fmt: skip
        sent = self.sent[message.message_id] = Sent(message, process)
        process.gateway.submit(message, self._answer_to(sent))
        return sent

    def do_repeat(self) -> None:
        """A service says the same again before it has the answer."""
        open_ones = [one for one in self.sent.values() if one.by.alive and not one.outcomes]
        if open_ones:
            sent = self.chance.choice(open_ones)
            sent.submissions += 1
            sent.by.gateway.submit(sent.message, self._answer_to(sent))

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
            session.perform([Drop(Reason.KEEPALIVE_TIMEOUT)])

    def do_overtake(self) -> None:
        """As `give_up`, and what is sent again elsewhere is long settled when the first try arrives."""
        self.do_give_up()
        self.do_second()
        self.flow()
        self.do_thaw()

    def do_restart(self) -> None:
        """A process is killed, and another one takes its place."""
        process = self.chance.choice(self.living)
        process.kill()
        self.net.listening[process.endpoint].remove(process)
        self._start(process.domain, process.endpoint, process.number, process.exchange)

    def do_close(self) -> None:
        """A router closes a link in order."""
        sessions = [one for process in self.living for one in process.hub.sessions.values()]
        if sessions:
            self.chance.choice(sessions).close(self.chance.choice([Reason.IDLE, Reason.SHUTTING_DOWN]))

    def do_close_used(self) -> None:
        """A router closes a link in order on which something was proved."""
        sessions = [one for process in self.living for one in process.hub.sessions.values()]
        used = [one for one in sessions if one.is_open and one.port.speaks]
        if used:
            self.chance.choice(used).close(self.chance.choice([Reason.IDLE, Reason.SHUTTING_DOWN]))

    def do_second(self) -> None:
        """A good second: everything arrives, services answer."""
        self.flow()
        for process in self.living:
            self.answer(process, always=True)
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
        process.claimer.withdraw(process.domain)

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
            plans = [self.liar.impersonate, self.liar.replay, self.liar.pretend]
            if self.chance.random() < 0.7:
                self.chance.choice(plans)()
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
            process.hub.tick()
        self.clock.advance(0)

    def answer(self, process: Process, *, always: bool = False) -> None:
        """The service behind a router answers some of what it was given, in any order."""
        pending = process.recorder.pending
        self.chance.shuffle(pending)
        while pending and (always or self.chance.random() < 0.8):
            one = pending.pop()
            drawn = self.chance.random()
            if drawn < 0.1 and not always:
                continue  # it never answers
            sent = self.sent.get(one.message.message_id)
            outcome = failure(Reason.UNKNOWN_USER, role="service") if drawn < 0.3 else SUCCESS
            if sent is not None:
                sent.decided = outcome.status
            one.answer(outcome)

    # -- what is told ------------------------------------------------------------------------------------

    def _answer_to(self, sent: Sent) -> Callable[[Outcome], None]:
        calls: list[Outcome] = []

        def answer(outcome: Outcome) -> None:
            calls.append(outcome)
            if not sent.by.alive:
                return
            if len(calls) > 1:
                self.broken.append(f"answered {len(calls)} times: {calls}")
            sent.outcomes.append(outcome)
            self._check_outcome(sent, outcome)

        return answer

    def _check_outcome(self, sent: Sent, outcome: Outcome) -> None:
        if sent.message.destination.domain.wire == LIARS_DOMAIN:
            return
        if outcome.status is Status.SUCCESS and (sent.deliveries != 1 or sent.decided is not Status.SUCCESS):
            self.broken.append(f"success is said of a message that nobody took: {sent}")
        if outcome.status is Status.FAILURE and sent.deliveries and sent.decided is not Status.FAILURE:
            self.broken.append(f"failure is said of a message that was delivered: {sent}")

    def delivered(self, process: Process, message: Message) -> None:
        """A message reached the service behind a router."""
        source, destination = message.source.domain.wire, message.destination.domain.wire
        if destination != process.domain:
            self.broken.append(f"{process.domain!r} was given a message to {destination!r}")
        if source == LIARS_DOMAIN:
            return
        sent = self.sent.get(message.message_id)
        if sent is None or (sent.message.source, sent.message.destination, sent.message.content) != (
            message.source, message.destination, message.content,
        ):  # fmt: skip
            self.broken.append(f"nobody sent {message}")
            return
        sent.deliveries += 1
        if sent.deliveries > 1:
            self.broken.append(f"delivered {sent.deliveries} times: {sent}")
        if any(outcome.status is Status.FAILURE for outcome in sent.outcomes):
            self.broken.append(f"delivered after a failure was said: {sent}")

    def reached_liar(self, record: Record) -> None:
        """A request reached the liar: only what somebody wrote to his domain may."""
        envelope = record.envelope
        sent = self.sent.get(record.message_id)
        if envelope.to_domain != LIARS_DOMAIN or sent is None:
            self.broken.append(f"relayed to the liar: {envelope}")
        elif envelope.from_domain != sent.message.source.domain.wire:
            self.broken.append(f"under another name: {envelope}")

    # -- what must hold ----------------------------------------------------------------------------------

    def check(self) -> None:
        """Rules 1 to 3 of every router, against what was really said."""
        if self.broken:
            raise Broken("; ".join(self.broken))
        for process in self.living:
            faults = process.faults()
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
        is_far = isinstance(far, Process) and far.domain == domain
        if not is_far and not (far is self.liar and domain == LIARS_DOMAIN):
            raise Broken(f"{process.domain!r} holds {domain!r} proved on a link of {far!r}")
        if not self.truth[id(process)].may_hold(end, domain):
            raise Broken(f"{process.domain!r} holds {domain!r} proved without a right answer on that link")
        self._right.add(key)

    # -- the end -----------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Cuts stop and the liar falls silent: everything is answered, once."""
        self.do_thaw()
        self._calm = True
        for number in range(HEAL_S):
            self.chance.seed(number)
            self.flow()
            for process in self.living:
                self.answer(process, always=True)
            self.flow()
            self.tick()
            self.check()
            if not self.open_ends():
                return
        raise Broken("; ".join(self.open_ends()))

    def open_ends(self) -> list[str]:
        """What has no answer yet, and what is kept of what has."""
        return [
            f"{len(sent.outcomes)} answers of {sent.submissions}: {sent}"
            for sent in self.sent.values()
            if sent.by.alive and len(sent.outcomes) != sent.submissions
        ] + [f"{process.domain!r} keeps {left}" for process in self.living if (left := process.leftovers())]

    def prove_all(self) -> None:
        """An honest domain is proved in the end: a message from each process to each domain succeeds."""
        for process in self.living:
            for domain in self.addresses:
                if domain not in (process.domain, LIARS_DOMAIN):
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
                        self.sent[one.message.message_id].decided = Status.SUCCESS
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
