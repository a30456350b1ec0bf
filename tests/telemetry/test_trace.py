"""The trace ring: bounded by count and age, private."""

from __future__ import annotations

from twisted.internet.task import Clock

from imxrouter.model.address import Address
from imxrouter.telemetry.privacy import AddressMask, Privacy
from imxrouter.telemetry.trace import TraceRing

ONE, TWO = b"\x01" * 16, b"\x02" * 16
MASK = AddressMask(Privacy.DOMAIN)


def test_finds_the_steps_of_one_message() -> None:
    """In order, addresses masked, unknown fields dropped."""
    clock = Clock()
    ring = TraceRing(clock.seconds, MASK)
    ring.add(ONE, "accepted", source=Address.parse("alice@a.example"), body="secret", link=3)
    ring.add(TWO, "accepted")
    clock.advance(1)
    ring.add(ONE, "sent", peer="b.example")
    first, second = ring.find(ONE)
    assert dict(first.fields) == {"source": "*@a.example", "link": 3}
    assert (second.at_s, second.event) == (1, "sent")
    assert len(list(ring)) == 3


def test_old_and_many_go() -> None:
    """Age and count both bound it; 0 entries keep nothing."""
    clock = Clock()
    ring = TraceRing(clock.seconds, MASK, max_entries=2, max_age_s=10)
    for _ in range(3):
        ring.add(ONE, "x")
    assert len(ring) == 2
    clock.advance(11)
    assert ring.find(ONE) == []
    assert len(ring) == 0
    none = TraceRing(clock.seconds, MASK, max_entries=0)
    none.add(ONE, "x")
    assert none.find(ONE) == []
