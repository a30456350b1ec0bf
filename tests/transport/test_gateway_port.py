"""A gateway inside the process: many records for it hold up nobody else."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import Ledger
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message, Operation
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Answer
from imxrouter.routing.limits import SenderRates
from imxrouter.switch import slots
from imxrouter.switch.ports import Route
from imxrouter.switch.switch import Switch
from imxrouter.transport.gateway_port import TAKE_S, GatewayPort
from imxrouter.transport.hub import Hub, Identity
from imxrouter.transport.settings import HubSettings
from imxrouter.transport.translate import message_to_record
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import encode_record


class SlowGateway:
    """Each operation takes 0.4 milliseconds; the seventh breaks something."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.taken: list[Operation] = []

    def domains(self) -> frozenset[Domain]:
        """Its own."""
        return frozenset({Domain("a.example")})

    def deliver(self, operation: Operation, answer: Answer) -> None:
        """Take it."""
        self._clock.advance(0.000_4)
        self.taken.append(operation)
        answer(SUCCESS)
        if len(self.taken) == 7:
            answer(SUCCESS)  # twice: a bug of the gateway's
            raise RuntimeError("broken")


def records(first: int, count: int) -> bytes:
    """Messages to one user."""
    bob, alice = Address.parse("bob@b.example"), Address.parse("alice@a.example")
    made = (
        message_to_record(Message(bob, alice, number.to_bytes(16, "big"), "text/plain", b"hello", 10))
        for number in range(first, first + count)
    )
    return b"".join(encode_record(replace(one, flags=FLAG_RESPONSE_WANTED)) for one in made)


def new_hub(clock: Clock) -> Hub:
    """One that serves nothing yet."""
    switch = Switch(
        Ledger(0, 1), DuplicateMemory(b"epoch-01", 60.0, 100), SenderRates(0.0, 10.0), slots.new_counters()
    )
    return Hub(clock.seconds, switch, HubSettings(), Identity(b"server-1", 0, b"i" * 16), os.urandom)


def test_what_is_sent_together_is_taken_together() -> None:
    """At the end, in order, before anything is written; each is answered once, also one that is refused."""
    hub, told = new_hub(Clock()), list[object]()
    port = GatewayPort(hub)
    port.bind(b"a.example", 0.0, 100.0)
    hub.switch.routes[b"b.example"] = Route([], 0, 100_000, frozenset({0x0100}))
    port.on_taken = lambda operation: told.append(("taken", operation.message_id))

    def send(name: bytes, source: str) -> None:
        ident = name * 16
        message = Message(
            Address.parse(source), Address.parse("bob@b.example"), ident, "text/plain", b"hello"
        )
        port.submit(message, lambda outcome: told.append((outcome.reason, ident)))

    with hub.together():
        send(b"1", "alice@a.example")
        with hub.together():
            send(b"2", "mallory@c.example")
        assert not told
        send(b"3", "alice@a.example")
    assert told == [
        *(("taken", name * 16) for name in (b"1", b"2", b"3")),
        (Reason.SERVICE_DOWN, b"1" * 16), (Reason.NOT_PROVED, b"2" * 16), (Reason.SERVICE_DOWN, b"3" * 16),
    ]  # fmt: skip
    send(b"4", "alice@a.example")
    assert told[6:] == [("taken", b"4" * 16), (Reason.SERVICE_DOWN, b"4" * 16)]


def test_what_was_sent_goes_out_where_something_breaks() -> None:
    """The others wait for an answer."""
    hub, told = new_hub(Clock()), list[Outcome]()
    port = GatewayPort(hub)
    message = Message(
        Address.parse("a@a.example"), Address.parse("b@b.example"), b"1" * 16, "text/plain", b""
    )

    def break_down() -> None:
        with hub.together():
            port.submit(message, told.append)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        break_down()
    assert [one.reason for one in told] == [Reason.NOT_PROVED]


def test_what_takes_long_goes_on_in_later_turns() -> None:
    """In order, each once, some in a turn; what comes meanwhile waits behind it."""
    clock, turns = Clock(), deque[Callable[[], None]]()
    hub = new_hub(clock)
    port, gateway = GatewayPort(hub, turns.append), SlowGateway(clock)
    port.connect(gateway)
    most, before = 0, 0
    port.take(records(0, 20))
    port.take(records(20, 10))
    while turns:
        most, before = max(most, len(gateway.taken) - before), len(gateway.taken)
        assert len(turns) == 1
        turns.popleft()()
    assert [int.from_bytes(one.message_id, "big") for one in gateway.taken] == list(range(30))
    assert most * 0.000_4 <= TAKE_S + 0.000_4
