"""Two routers whose users of XMPP watch each other, joined by the records of their operations."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from twisted.internet.task import Clock

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.stanza import read_stanza, tree_of
from imxrouter.gateways.xmpp.streams.again import AgainOutside, PresenceAgain
from imxrouter.gateways.xmpp.streams.presence import PresenceOutside, StreamPresence
from imxrouter.gateways.xmpp.streams.records import stanza_in
from imxrouter.gateways.xmpp.subscriptions.kept import TABLE_ENTRIES
from imxrouter.model.address import Address
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.store.memory import MemoryStore
from imxrouter.switch.forms import is_state
from imxrouter.transport.operations import with_result
from imxrouter.wire.record import Record, decode_record, encode_record, response_to
from imxrouter.wire.registry import RecordType

ALICE, BOB = Address.parse("alice@a.example"), Address.parse("bob@b.example")
WALL = 1_800_000_000.0


class Side:
    """One router with its store; its users' services are lists of stanzas.

    Attributes:
        stanzas: what the services got, as `type from to`.
        records: operations that it sent.
        sheds: whether the switch has too much to do for presence.
        charged: users of whose rates something was taken, and whether of their own.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.store = MemoryStore(lambda: WALL + clock.seconds(), TABLE_ENTRIES)
        self.other: Side | None = None
        self.reached = self.is_served = self.arrives = True
        self.room = True
        self.forms = True
        self.dropped: Counter[str] = Counter()
        self.stanzas: list[str] = []
        self.sheds = False
        self.raw: list[bytes] = []
        self.records: list[Record] = []
        self.charged: list[tuple[str, bool]] = []
        self._random = random.Random(1)
        self.presence = self.made()

    def made(self) -> StreamPresence:
        """A joint over its store."""
        again = AgainOutside(
            self._submit, lambda: self.room, self.clock.seconds, self._random.random,
            lambda: self._random.randbytes(16), lambda word: self.dropped.update([word]),
        )  # fmt: skip
        self.again = PresenceAgain(again)
        outside = PresenceOutside(
            submit=self._submit,
            has_room=lambda: self.room,
            later=self.clock.callLater,
            now=self.clock.seconds,
            wall=lambda: WALL + self.clock.seconds(),
            chance=self._random.random,
            random_bytes=self._random.randbytes,
            reached=lambda _outside, _name: self.reached,
            is_served=lambda _name: self.is_served,
            dropped=lambda word: self.dropped.update([word]),
            again=self.again,
            forms=lambda: self.forms,
            over=self._over,
        )
        return StreamPresence(outside, self.store)

    def _over(self, _session: object, user: Address, _size: int, rated: bool) -> Outcome | None:
        self.charged.append((str(user), rated))
        return None

    def _submit(self, record: Record, respond: Callable[[Record], None]) -> None:
        data = encode_record(record)
        tells = record.type == RecordType.NOTIFY and record.envelope.from_local
        if self.sheds and (tells or (record.type == RecordType.STANZA and is_state(data))):
            respond(response_to(record, failure(Reason.BUSY, retry_after_s=5)))
            return
        if record.type == RecordType.STANZA:
            raw = stanza_in(record)
            assert raw is not None
            head = tree_of(raw).attributes
            self.raw.append(raw)
            if self.arrives:
                self.stanzas.append(f"{head.get('type', 'available')} {head['from']} {head['to']}")
            respond(response_to(record, SUCCESS if self.arrives else indeterminant(Reason.LINK_LOST)))
            return
        self.records.append(record)
        assert self.other is not None
        outcome = self.other.presence.request(decode_record(data))
        self.clock.callLater(0.01, lambda: respond(with_result(response_to(record, outcome), outcome)))

    def says(self, text: str) -> None:
        """A user's service sends a presence."""
        given = read_stanza(f"<presence {text}".encode())
        domains = [given.from_, given.to]
        from_, to = (one.partition("/")[0].rpartition("@")[2] for one in domains)
        taken = self.presence.take(None, StanzaIn(given, from_, to), given.tree())  # type: ignore[arg-type]
        assert taken == b""

    def new(self) -> list[str]:
        """What came since it was asked last."""
        found, self.stanzas = self.stanzas, []
        return found


class Sides:
    """Alice's router and Bob's."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.a, self.b = Side(self.clock), Side(self.clock)
        self.a.other, self.b.other = self.b, self.a

    def wait(self, seconds: float) -> None:
        """Time goes by."""
        for step in range(int(seconds * 4)):
            self.clock.advance(0.25)
            if step % 4 == 0:
                self.a.presence.tick()
                self.b.presence.tick()

    def friends(self) -> None:
        """Bob watches Alice, who is there."""
        self.b.says("from='bob@b.example' to='alice@a.example' type='subscribe'/>")
        self.wait(2)
        self.a.says("from='alice@a.example' to='bob@b.example' type='subscribed'/>")
        self.a.says("from='alice@a.example/desk' to='bob@b.example'><show>away</show></presence>")
        self.wait(3)
