"""Fuzzes the life of an XMPP stream.

Invariant: whatever the other side sends, whenever, and whatever its owner asks in between, the machine raises
nothing; it drops the connection at most once and says nothing after that; it hands over stanzas of proved
pairs only, and nothing of dial-back before TLS where that is required.

An input is a role, whether TLS is required, and then steps: a byte of 0xF0 and more, which stands in no
UTF-8 of ours, asks something; everything between two of them is what comes in one read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Hashable
from typing import Final

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.gateways.xmpp.effects import (
        AskedExternal,
        ClaimIn,
        ClaimResultIn,
        Drop,
        Effect,
        External,
        StanzaIn,
        VerifyIn,
    )
    from imxrouter.gateways.xmpp.machine import StreamMachine
    from imxrouter.gateways.xmpp.say import DbType
    from imxrouter.gateways.xmpp.steps import SERVERS, Step, StreamRole
    from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
    from imxrouter.link.machine import LinkState
    from imxrouter.model.vocabulary import Reason

from tests.gateways.xmpp.pipe import OURS, START, THEIRS, chance
from tests.gateways.xmpp.test_recorded import STREAMS

_ROLES: Final = tuple(StreamRole)
_STEPS: Final = re.compile(rb"[\xf0-\xff]|[^\xf0-\xff]+")
_ASKS: Final = 0xF0


class Story:
    """A machine, its clock, and what was seen of it."""

    def __init__(self, first: int) -> None:
        self.now = START
        self.role = _ROLES[first % len(_ROLES)]
        self.required = bool(first & 0x10)
        terms = StreamTerms(
            TlsRule.REQUIRED if self.required else TlsRule.OFFERED,
            serves=lambda _: True, external=lambda _: True, dialback=lambda _: True,
            secret=lambda _: b"secret",
        )  # fmt: skip
        own, other = (OURS, THEIRS) if first & 0x20 else ("clear.a.example", "clear.b.example")
        self.machine = StreamMachine(self.role, terms, own, other, START, chance(), tls=bool(first & 0x40))
        self.drops = 0
        self.proved: set[tuple[str, str]] = set()
        self.seen: list[str] = []
        self.take(self.machine.start())

    def take(self, effects: list[Effect]) -> None:
        """Judge what became of one input, and do what a session would."""
        more: list[Effect] = []
        for effect in effects:
            assert not self.drops
            self.seen.append(type(effect).__name__)
            self.judge(effect)
            more += self.do(effect)
        if more:
            self.take(more)

    def judge(self, effect: Effect) -> None:
        """What it may be."""
        machine = self.machine
        if self.role in SERVERS and self.required and not machine.tls:
            assert not isinstance(effect, StanzaIn | ClaimIn | ClaimResultIn | VerifyIn | AskedExternal)
        if isinstance(effect, StanzaIn) and self.role in SERVERS:
            pair = (effect.from_, effect.to)
            assert pair in self.proved or (machine.pairs.bidi and pair[::-1] in self.proved)
        if isinstance(effect, Drop):
            self.drops += 1
            assert machine.state is LinkState.CLOSED

    def do(self, effect: Effect) -> list[Effect]:
        """What a session would do at once."""
        machine = self.machine
        if isinstance(effect, AskedExternal):
            self.proved.add((effect.from_, effect.to))
            return machine.authenticated(self.now)
        if isinstance(effect, External):
            self.proved.add((effect.from_, effect.to))
        elif isinstance(effect, ClaimIn):
            self.prove(effect.db.from_, effect.db.to)
            return machine.answer_claim(effect.db.to, effect.db.from_, DbType.VALID)
        elif isinstance(effect, ClaimResultIn) and effect.db.kind is DbType.VALID:
            self.prove(effect.db.to, effect.db.from_)
        elif isinstance(effect, VerifyIn):
            db = effect.db
            return machine.answer_verify(db.to, db.from_, db.stream_id, DbType.INVALID)
        return []

    def prove(self, from_: str, to: str) -> None:
        """A pair is proved."""
        self.proved.add((from_, to))
        self.machine.proved((from_, to))

    def ask(self, what: int) -> None:
        """The owner asks something."""
        machine, now = self.machine, self.now
        if what < 3:
            self.take(machine.encrypted(now) if machine.step is Step.TLS else [])
        elif what < 5:
            self.now += (0.06, 31.0)[what - 3]
            self.take(machine.tick(self.now))
        elif what < 15:
            self.take(self.asked(what))
        else:
            machine.lost()
            self.drops += 1

    def asked(self, what: int) -> list[Effect]:
        """What it says to that."""
        machine, now = self.machine, self.now
        own, other = machine.own, machine.other
        asks: tuple[Callable[[], list[Effect]], ...] = (
            lambda: machine.claim(own, other, "key"),
            lambda: machine.ask_verify(own, other, "id", "key"),
            lambda: machine.stanzas([b"<message/>"], [1], now) if machine.may_write(own, other) else [],
            lambda: machine.stanzas([b"<iq/>"], [None], now) if machine.may_write(own, other) else [],
            lambda: machine.barrier(machine.confirmations.barrier, now),
            machine.fence,
            lambda: machine.settle(0),
            lambda: machine.close(Reason.IDLE, now),
            lambda: machine.close(Reason.NOT_PROVED, now, text="\x00ü<"),
            lambda: machine.refuse(Reason.BUSY),
        )
        return asks[what - 5]()


def check(data: bytes) -> Hashable:
    """A story of one stream."""
    if not data:
        return None
    story = Story(data[0])
    for step in _STEPS.findall(data[1:]):
        if step[0] >= _ASKS:
            story.ask(step[0] - _ASKS)
        else:
            story.take(story.machine.receive(step, story.now))
        if story.drops:
            assert story.machine.receive(b"<message/>", story.now) == []
            break
    return story.role, story.machine.step, tuple(story.seen[-6:])


def stories() -> list[bytes]:
    """Both halves of every recorded stream, to each role, with a few asks between."""
    found = []
    for lines in STREAMS.values():
        for opens in (True, False):
            role = _ROLES.index(StreamRole.S2S_IN if opens else StreamRole.S2S_OUT)
            said = b"\xf0\xf5\xf6".join(line.raw for line in lines if line.opens is opens)
            found += [bytes([role | more]) + said[: engine.MAX_BYTES - 2] for more in (0, 0x10, 0x40)]
    component = (
        b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
        b" id='1' to='x.example'><handshake/>"
    )
    return [*found, *(bytes([_ROLES.index(one)]) + component for one in _ROLES if one not in SERVERS)]


if __name__ == "__main__":
    sys.exit(engine.main("streams", check, stories()))
