"""Whoever has no stream by which presence could come is asked for one, by a ping."""

from __future__ import annotations

import random
from collections.abc import Callable

from imxrouter.gateways.xmpp.stanza import read_stanza
from imxrouter.gateways.xmpp.streams.knocking import ANSWER_S, BETWEEN_S, Knocking, KnockOutside
from imxrouter.gateways.xmpp.streams.pings import Pings
from imxrouter.gateways.xmpp.streams.records import stanza_in
from imxrouter.gateways.xmpp.streams.ways_in import WaysIn
from imxrouter.wire.record import Record

OURS, THEIRS = "a.example", "b.example"


class Rig:
    """What knocks, with a clock.

    Attributes:
        said: what was handed to the switch.
    """

    def __init__(self) -> None:
        self.now, self.room = 0.0, True
        self.said: list[bytes] = []
        self._later: list[tuple[float, Callable[[], object]]] = []
        self.ways, self.pings = WaysIn(), Pings()
        outside = KnockOutside(
            self._submit, lambda: self.room, self._call_later, lambda: self.now, random.Random(1).randbytes
        )
        self.knocking = Knocking(outside, self.ways, self.pings)

    def _submit(self, record: Record, _respond: Callable[[Record], None]) -> None:
        raw = stanza_in(record)
        assert raw is not None
        self.said.append(raw)

    def _call_later(self, seconds: float, what: Callable[[], object]) -> None:
        self._later.append((self.now + seconds, what))

    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds
        due = [what for at, what in self._later if at <= self.now]
        self._later = [one for one in self._later if one[0] > self.now]
        for what in due:
            what()


def test_who_has_no_way_is_asked_for_one() -> None:
    """From domain to domain; its answer goes no further, and is forgotten where none comes."""
    rig = Rig()
    assert not rig.knocking.leads(THEIRS, OURS)
    (raw,) = rig.said
    ping = read_stanza(raw)
    assert (ping.kind, ping.type, ping.from_, ping.to) == ("iq", "get", OURS, THEIRS)
    assert b"urn:xmpp:ping" in raw
    assert not rig.pings.answer(ping.ident, "c.example", OURS)
    assert rig.pings.answer(ping.ident, THEIRS, OURS)
    rig.wait(BETWEEN_S)
    assert not rig.knocking.leads(THEIRS, OURS)
    assert len(rig.pings) == 1
    rig.wait(ANSWER_S)
    assert len(rig.pings) == 0


def test_it_is_asked_for_once_in_a_while() -> None:
    """Not where there is one, nor where there is no room; each pair by itself."""
    rig = Rig()
    for _ in range(10):
        assert not rig.knocking.leads(THEIRS, OURS)
        rig.wait(BETWEEN_S / 20)
    assert len(rig.said) == 1
    rig.knocking.leads(THEIRS, "c.example")
    assert len(rig.said) == 2
    rig.wait(BETWEEN_S)
    rig.room = False
    assert not rig.knocking.leads(THEIRS, OURS)
    assert len(rig.said) == 2
    rig.room = True
    rig.ways.may_bring(1, [(THEIRS, OURS)])
    assert rig.knocking.leads(THEIRS, OURS)
    assert len(rig.said) == 2
