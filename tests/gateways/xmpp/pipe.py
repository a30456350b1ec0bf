"""Two stream machines back to back, without a network: what performs the effects of each, and the pipe."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from imxrouter.gateways.xmpp.effects import (
    AskedExternal,
    ClaimIn,
    ClaimResultIn,
    Drop,
    Effect,
    External,
    HeaderSeen,
    StanzaIn,
    StartTls,
    TlsFollows,
    VerifyIn,
    Write,
)
from imxrouter.gateways.xmpp.keys import good, key_for
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.terms import StreamTerms

START = 1000.0
OURS, THEIRS = "ours.example", "theirs.example"
SECRET = b"of theirs.example"
#: What stands for a byte of TLS on the pipe.
SEAL = b"\xffTLS\xff"


def chance() -> Callable[[int], bytes]:
    """Bytes that are other ones each time, and the same in each run."""
    count = iter(range(1 << 30))
    return lambda size: hashlib.sha256(b"%d" % next(count)).digest()[:size]


@dataclass
class Party:
    """One end: performs what its machine wants, as a session would.

    Attributes:
        grants: the answer to `AskedExternal`.
        takes_claims: whether a right key is answered `valid` (the verification itself is not played).
    """

    machine: StreamMachine
    grants: bool = True
    takes_claims: bool = True
    claims: bool = True
    out: bytearray = field(default_factory=bytearray)
    seen: list[Effect] = field(default_factory=list)
    tls_wanted: bool = False
    now: float = START

    def perform(self, effects: Iterable[Effect]) -> None:
        """Do what they say, in order."""
        for effect in effects:
            self._one(effect)

    def _one(self, effect: Effect) -> None:
        machine = self.machine
        if isinstance(effect, Write):
            self.out += effect.data
            return
        self.seen.append(effect)
        if isinstance(effect, StartTls | TlsFollows):
            self.tls_wanted = True
        elif isinstance(effect, AskedExternal):
            self.perform(
                machine.authenticated(self.now) if self.grants else machine.not_authenticated(self.now)
            )
        elif isinstance(effect, ClaimIn):
            db = effect.db
            right = self.takes_claims and good([SECRET], db.to, db.from_, machine.stream_id, db.key)
            if right:
                machine.proved((db.from_, db.to))
            kind = DbType.VALID if right else DbType.INVALID
            self.perform(machine.answer_claim(db.to, db.from_, kind))
        elif isinstance(effect, ClaimResultIn) and effect.db.kind is DbType.VALID:
            machine.proved((effect.db.to, effect.db.from_))
        elif isinstance(effect, VerifyIn):
            db = effect.db
            kind = DbType.VALID if good([SECRET], db.from_, db.to, db.stream_id, db.key) else DbType.INVALID
            self.perform(machine.answer_verify(db.to, db.from_, db.stream_id, kind))

    def take(self, data: bytes) -> None:
        """Bytes come."""
        self.perform(self.machine.receive(data, self.now))

    def claim(self) -> None:
        """Claim the machine's own domain, as `Claimer` would."""
        machine = self.machine
        key = key_for(SECRET, machine.other, machine.own, machine.stream_id)
        self.perform(machine.claim(machine.own, machine.other, key))

    def of(self, kind: type) -> list[Effect]:
        """The effects of one kind that were performed."""
        return [one for one in self.seen if isinstance(one, kind)]

    @property
    def stanzas(self) -> list[bytes]:
        """The bytes of the stanzas that came in."""
        return [one.stanza.raw for one in self.seen if isinstance(one, StanzaIn)]

    @property
    def drop(self) -> Drop | None:
        """How it ended; there is one end at most."""
        drops = [one for one in self.seen if isinstance(one, Drop)]
        assert len(drops) <= 1
        return drops[0] if drops else None

    @property
    def headers(self) -> int:
        """How many headers of the other side were taken."""
        return len(self.of(HeaderSeen))

    @property
    def took_external(self) -> bool:
        """Whether the other side took us by our certificate."""
        return bool(self.of(External))


def a_party(role: StreamRole, own: str, other: str, terms: StreamTerms, *, tls: bool = False) -> Party:
    """One end with chance of its own."""
    return Party(StreamMachine(role, terms, own, other, START, chance(), tls=tls))


def run(left: Party, right: Party, chunk: Callable[[bytes], Iterable[bytes]] = lambda data: [data]) -> None:
    """Carry bytes to and fro until nothing moves; `chunk` cuts what one write becomes."""
    for _ in range(100):
        moved = False
        for source, target in ((left, right), (right, left)):
            if source.out:
                data = bytes(source.out)
                source.out.clear()
                for piece in chunk(data):
                    target.take(piece)
                moved = True
        if left.tls_wanted and right.tls_wanted and not (left.out or right.out):
            left.tls_wanted = right.tls_wanted = False
            for one in (right, left):
                one.perform(one.machine.encrypted(one.now))
            moved = True
        if not moved:
            return
    raise AssertionError("they do not come to rest")
