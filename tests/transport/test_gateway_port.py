"""A gateway inside the process: many records for it hold up nobody else."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from twisted.internet.task import Clock

from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import Ledger
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message, Operation
from imxrouter.model.outcome import SUCCESS
from imxrouter.routing.interfaces import Answer
from imxrouter.routing.limits import SenderRates
from imxrouter.switch import slots
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


def test_what_takes_long_goes_on_in_later_turns() -> None:
    """In order, each once, some in a turn; what comes meanwhile waits behind it."""
    clock, turns = Clock(), deque[Callable[[], None]]()
    switch = Switch(
        Ledger(0, 1), DuplicateMemory(b"epoch-01", 60.0, 100), SenderRates(0.0, 10.0), slots.new_counters()
    )
    hub = Hub(clock.seconds, switch, HubSettings(), Identity(b"server-1", 0, b"i" * 16), os.urandom)
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
