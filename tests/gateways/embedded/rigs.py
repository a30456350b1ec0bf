"""Embedded services joined without a network, on a clock that only tests move."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from imxrouter.gateways.embedded.directory import Directory
from imxrouter.gateways.embedded.register import Tools
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import (
    KIND_OF,
    AttributeQuery,
    AttributeValues,
    Kind,
    Message,
    Notify,
    Operation,
    Subscribe,
)
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.presence import Activities, Basic, Note, Person, Presence, PresenceTuple, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.domains import ServedDomain
from imxrouter.routing.interfaces import Answer, Store
from imxrouter.routing.rules import Defaults

#: When the tests' time begins: far from zero, and the two clocks differ.
MONOTONIC, WALL = 5_000.0, 1_700_000_000.0


def at(text: str) -> Address:
    """An address."""
    return Address.parse(text)


def state(status: str = "open", note: str = "", activity: str = "") -> Presence:
    """A state with one tuple, and with words or an activity."""
    persons = (Person("p", (Activities((activity,)),)),) if activity else ()
    notes = (Note(note, "en"),) if note else ()
    return Presence(at("x@x.example"), (PresenceTuple("t", Basic(status)),), notes, persons)


class Party(Protocol):
    """Who answers for domains."""

    def domains(self) -> frozenset[Domain]:
        """Which."""

    def deliver(self, operation: Operation, answer: Answer) -> None:
        """Take an operation."""

    def tick(self) -> None:
        """A second has passed."""


class World:
    """Services by domain, what is under way between them, and all that passed.

    Attributes:
        log: (operation, its one outcome) of everything that was answered.
        cut: domains that cannot be reached now.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.services: list[Party] = []
        self.log: list[tuple[Operation, Outcome]] = []
        self.cut: set[str] = set()
        self._soon: deque[Callable[[], None]] = deque()
        self._ids = 0

    def service(
        self,
        domain: str,
        users: Iterable[str],
        *,
        store: Store | None = None,
        defaults: Defaults | None = None,
        presence_off: str = "",
        records: Iterable[ServedDomain] = (),
    ) -> EmbeddedService:
        """A service for one domain, or for those of the records."""
        tools = Tools(
            self._submit, self.new_id, lambda: MONOTONIC + self.now, self.wall, lambda: 0.5, self._soon.append
        )
        made = EmbeddedService(Directory(users), tools, defaults or Defaults(), presence_off=presence_off)
        made.serve(list(records) or [ServedDomain(Domain.parse(domain), "home")])
        if store is not None:
            made.begin(store)
        self.services.append(made)
        self.run()
        return made

    def stop(self, service: EmbeddedService) -> None:
        """Take it away, as a crash does."""
        self.services.remove(service)

    def wall(self) -> float:
        """Seconds since 1970."""
        return WALL + self.now

    def new_id(self) -> bytes:
        """16 bytes, never the same."""
        self._ids += 1
        return self._ids.to_bytes(16, "big")

    def _submit(self, operation: Operation, answer: Answer) -> None:
        """As the router does: later, checked, and with one answer in its disclosed form."""
        self._soon.append(lambda: self._route(operation, answer))

    def _route(self, operation: Operation, answer: Answer) -> None:
        domain = operation.destination.domain
        there = next((one for one in self.services if domain in one.domains()), None)
        outcomes: list[Outcome] = []
        if there is None or domain.name in self.cut:
            outcomes.append(failure(Reason.SERVICE_DOWN, by=domain.name, role="peer", retry_after_s=5))
        else:
            there.deliver(operation, outcomes.append)
        (outcome,) = outcomes
        self.log.append((operation, outcome))
        answer(outcome.disclosed())

    def ask(self, operation: Operation) -> Outcome:
        """Hand a stranger's operation to whom it is for, and let everything settle; the full outcome."""
        self._route(operation, lambda _: None)
        outcome = self.log[-1][1]
        self.run()
        return outcome

    def run(self) -> None:
        """Let everything happen that is to happen now."""
        for _ in range(100_000):
            if not self._soon:
                return
            self._soon.popleft()()
        raise AssertionError("it never comes to rest")

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, with a tick each second."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + step, end)
            for service in self.services:
                service.tick()
            self.run()

    def of_kind(self, kind: Kind) -> list[tuple[Operation, Outcome]]:
        """What passed of one kind."""
        return [one for one in self.log if KIND_OF[type(one[0])] is kind]


class Stranger:
    """A watcher at a domain of his own, who writes everything down.

    Attributes:
        told: notifications, in order.
        moments: when each of them came.
        answer: to each of them.
    """

    def __init__(self, world: World, address: str) -> None:
        self.world = world
        self.address = at(address)
        self.told: list[Notify] = []
        self.moments: list[float] = []
        self.answer = SUCCESS
        world.services.append(self)

    def domains(self) -> frozenset[Domain]:
        """His alone."""
        return frozenset({self.address.domain})

    def tick(self) -> None:
        """Nothing."""

    def deliver(self, operation: Operation, answer: Answer) -> None:
        """Write it down."""
        assert isinstance(operation, Notify)
        self.told.append(operation)
        self.moments.append(self.world.now)
        answer(self.answer)

    def subscribe(self, presentity: str, ident: bytes = b"s", duration_s: int = 600) -> Outcome:
        """Begin, renew or end (0), or fetch (0); the notification comes before this returns."""
        asked = Subscribe(self.address, at(presentity), self.world.new_id(), ident, duration_s)
        return self.world.ask(asked)

    def query(self, owner: str, *names: str) -> dict[str, bytes] | Outcome:
        """The values told of somebody's attributes, or the failure."""
        outcome = self.world.ask(AttributeQuery(self.address, at(owner), self.world.new_id(), names))
        if not isinstance(outcome.result, AttributeValues):
            return outcome
        return {one.name: one.value for one in outcome.result.attributes}

    def write(self, destination: str, text: str = "hi") -> Outcome:
        """Send a message."""
        return self.world.ask(
            Message(self.address, at(destination), self.world.new_id(), "text/plain", text.encode())
        )

    def shown(self) -> list[str]:
        """Status of each state told: `open`, `closed`, `unknown`, or the word of the subscription's state."""
        return [
            one.presence.status.value if one.presence is not None else one.state.name.lower()
            for one in self.told
        ]


def words(presence: Presence | Unknown | None) -> str:
    """The status, and the first note."""
    if not isinstance(presence, Presence):
        return "unknown" if presence is not None else "nothing"
    return " ".join([presence.status.value, *(note.text for note in presence.notes[:1])])
