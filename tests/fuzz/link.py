"""Fuzzes the life of a link.

Invariant: whatever the peer sends, whenever, and whatever its owner asks in between, the machine raises
nothing; its state follows the table; what it sends can be read; it hands over legal records only; it drops
the connection at most once and says nothing after that.

An input is a side, whether both hellos are there already, and then steps: one byte that says which, and what
belongs to it; anything that starts like a record is one.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.link.machine import (
        LEGAL,
        Drop,
        Effect,
        LinkMachine,
        LinkSettings,
        LinkState,
        Received,
        Send,
        Side,
    )
    from imxrouter.model.vocabulary import Reason
    from imxrouter.wire.control import Hello, decode_control
    from imxrouter.wire.record import decode_record

from tests.vectors.load import seeds

_NEXT = {
    LinkState.NEW: {LinkState.AWAIT_HELLO, LinkState.CLOSED},
    LinkState.AWAIT_HELLO: {LinkState.OPEN, LinkState.CLOSED},
    LinkState.OPEN: {LinkState.DRAINING, LinkState.CLOSED},
    LinkState.DRAINING: {LinkState.CLOSED},
    LinkState.CLOSED: set(),
}
_REASONS = tuple(Reason)
_HELLO = Hello((1,), (1, 2, 3))


class Story:
    """A machine, its clock, and what was seen of it."""

    def __init__(self, first: int) -> None:
        self.now = 0.0
        self.side = Side.OPENER if first & 1 else Side.ACCEPTOR
        self.machine = LinkMachine(self.side, _HELLO, LinkSettings(), 0.0, lambda count: b"\x01" * count)
        self.drops = 0
        self.seen: list[str] = []
        self.step(self.machine.start(), LinkState.NEW)
        if first & 2:
            self.receive(_HELLO.encode())

    def receive(self, data: bytes) -> None:
        """The peer says something."""
        before = self.machine.state
        self.step(self.machine.receive(data, self.now), before)

    def step(self, effects: list[Effect], before: LinkState) -> None:
        """Judge what became of one input."""
        state = self.machine.state
        assert state is before or state in _NEXT[before]
        assert not (before is LinkState.CLOSED and effects)
        for effect in effects:
            assert not self.drops
            if isinstance(effect, Send):
                assert decode_control(decode_record(effect.data)) is not None
            elif isinstance(effect, Received):
                states, sides = LEGAL[type(effect.record)]
                assert before in states
                assert self.side in sides
            elif isinstance(effect, Drop):
                self.drops += 1
                assert state is LinkState.CLOSED
            self.seen.append(type(effect).__name__)

    def ask(self, what: int) -> None:
        """The owner asks something."""
        machine, before = self.machine, self.machine.state
        reason = _REASONS[what % len(_REASONS)]
        match what % 6:
            case 0:
                self.now += (what >> 4) * 2.0
                effects = machine.tick(self.now)
            case 1:
                effects = machine.close(reason, self.now, retry_after_s=what, text="ü" * what)
            case 2:
                effects = machine.refuse(reason, text="x" * what)
            case 3:
                effects = machine.settle(what >> 6)
            case 4:
                machine.heard(self.now)
                machine.busy(self.now)
                effects = []
            case _:
                if what > 250:
                    machine.lost()
                effects = []
        self.step(effects, before)


def check(data: bytes) -> Hashable:
    """A story of one link."""
    if not data:
        return None
    story, at = Story(data[0]), 1
    while at < len(data):
        if data[at] == 0:
            size = int.from_bytes(data[at : at + 4], "big") + 4
            story.receive(data[at : at + size])
            at += min(max(size, 4), len(data))
        else:
            story.ask(data[at])
            at += 1
    return story.machine.state, tuple(story.seen[-6:])


def stories() -> list[bytes]:
    """Every vector as a story: for each side, before and after the hellos, with a few asks behind."""
    return [bytes([first]) + data + bytes([6, 97, 3]) for data in seeds() for first in range(4)]


if __name__ == "__main__":
    sys.exit(engine.main("link", check, stories()))
