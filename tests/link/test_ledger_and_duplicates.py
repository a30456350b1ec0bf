"""Requests in flight and the memory of what was answered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import Entry, Ledger, process_of


def entry(since: float, in_port: int = 1, out_port: int = 2) -> Entry:
    """A request that came at a moment."""
    return (in_port, 0, 100, b"key", 0, b"b.example", b"a.example", 256, 110, since, out_port, b"", 0, since)


@given(st.integers(0, 0xFFFF), st.integers(0, 2**64 - 1))
def test_tags_differ_and_name_their_process(process: int, seed: int) -> None:
    """Whatever the seed, and in 64 bits."""
    ledger = Ledger(process, seed)
    tags = [ledger.next_tag() for _ in range(200)]
    assert len(set(tags)) == 200
    assert all(process_of(tag) == process and tag < 1 << 64 for tag in tags)


def test_a_former_life_gave_other_tags() -> None:
    """An answer to a request of a former process life matches nothing (almost surely)."""
    first, second = Ledger(1, 0x1234_5678_9ABC_DEF0), Ledger(1, 0x0FED_CBA9_8765_4321)
    same = sum(first.next_tag() == second.next_tag() for _ in range(10_000))
    assert same < 10


def test_entries_are_found_by_age_and_port() -> None:
    """The oldest stand first."""
    ledger = Ledger(1, 1)
    tags = [ledger.next_tag() for _ in range(3)]
    for number, tag in enumerate(tags):
        ledger.entries[tag] = entry(float(number), in_port=number, out_port=number % 2)
    assert ledger.older_than(1.5) == tags[:2]
    assert ledger.sent_to(0) == [tags[0], tags[2]]


def test_an_unacknowledged_answer_is_kept_for_the_window() -> None:
    """And what is still in flight is never dropped."""
    memory = DuplicateMemory(b"epoch---", window_s=60)
    memory.seen.update({b"answered": (1, b"response"), b"flying": (2, 77)})
    memory.keep_for_window(b"answered", 100.0)
    memory.keep_for_window(b"flying", 100.0)
    assert memory.expire(159.9) == 0
    assert memory.expire(160.0) == 1
    assert set(memory.seen) == {b"flying"}


def test_what_is_acknowledged_is_forgotten_at_once() -> None:
    """Unknown and doubled acknowledgements are harmless."""
    memory = DuplicateMemory(b"epoch---")
    memory.seen[b"key"] = (1, b"response")
    memory.forget(b"key")
    memory.forget(b"key")
    assert not memory.seen
