"""The trace ring: bounded by count and age, private."""

from __future__ import annotations

from twisted.internet.task import Clock

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
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


def test_addresses_in_wire_form_and_numbers_are_kept() -> None:
    """Bytes are an address; empty values say nothing; a ring of no entries does no work."""
    ring = TraceRing(Clock().seconds, MASK)
    ring.add(ONE, "settled", source=b"alice@a.example", destination=b"", seconds=0.5, hops=0, note="")
    (entry,) = ring.find(ONE)
    assert dict(entry.fields) == {"source": "*@a.example", "seconds": 0.5, "hops": 0}
    assert (entry.get("hops"), entry.get("note")) == ("0", "")


def test_a_search_is_by_both_sides_and_time() -> None:
    """The newest message first; a step that names the domain only does not decide a user."""
    clock = Clock()
    full = TraceRing(clock.seconds, AddressMask(Privacy.FULL))
    full.add(ONE, "held", source=b"alice@a.example", domain="b.example")
    clock.advance(5)
    full.add(TWO, "accepted", source=b"Alice@a.example", destination=b"bob@c.example")
    alice = full.wanted(Address.parse("alice@a.example"))
    assert list(full.search(alice, None)) == [TWO, ONE]
    assert list(full.search(alice, None, since_s=1)) == [TWO]
    assert list(full.search(None, full.wanted(Address.parse("bob@b.example")))) == []
    assert list(full.search(None, full.wanted(Address("", Domain("b.example"))))) == [ONE]
    full.add(ONE, "settled", destination=b"bob@b.example")
    assert [len(steps) for steps in full.search(alice, None).values()] == [2, 1]
