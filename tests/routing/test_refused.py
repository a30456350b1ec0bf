"""Refusals by limit: exact counts, and in little memory who was refused most."""

from __future__ import annotations

from imxrouter.model.limits import Limit
from imxrouter.routing.refused import HALF_LIFE_S, OFFENDERS, RefusalBook


def test_counts_are_exact_and_the_worst_are_named() -> None:
    """Each limit by itself."""
    book = RefusalBook()
    for number, who in enumerate((b"a.example", b"b.example", b"c.example"), 1):
        for _ in range(number):
            book.add(Limit.PEER_RATE, who)
    book.add(Limit.SENDER)
    assert book.counts[Limit.PEER_RATE] == 6
    assert book.counts[Limit.SENDER] == 1
    assert book.worst(Limit.PEER_RATE, 2) == [(b"c.example", 3), (b"b.example", 2)]
    assert book.worst(Limit.SENDER) == []


def test_a_flood_of_names_does_not_hide_who_is_worst() -> None:
    """Sixty-four names are kept; who has a large part of all is among them."""
    book = RefusalBook()
    for number in range(5000):
        book.add(Limit.SENDER, b"u%d@x" % number)
        if number % 10 == 0:
            book.add(Limit.SENDER, b"bulk@x")
    assert len(book._who[Limit.SENDER]) == OFFENDERS
    assert book.worst(Limit.SENDER)[0][0] == b"bulk@x"


def test_what_is_past_counts_less() -> None:
    """Names fall to a half in five minutes, counts never."""
    book = RefusalBook()
    book.age(0.0)
    for _ in range(8):
        book.add(Limit.SENDER, b"a@x")
    book.age(HALF_LIFE_S - 1)
    assert book.worst(Limit.SENDER) == [(b"a@x", 8)]
    book.age(HALF_LIFE_S)
    assert book.worst(Limit.SENDER) == [(b"a@x", 4)]
    for number in range(2, 9):
        book.age(HALF_LIFE_S * number)
    assert book.worst(Limit.SENDER) == []
    assert book.counts[Limit.SENDER] == 8
