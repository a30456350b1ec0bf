"""Figures of peers stay bounded, and no sum over all labels ever goes down."""

from __future__ import annotations

import random
from collections.abc import Iterable

from imxrouter.model import quality
from imxrouter.model.operations import Kind
from imxrouter.model.quality import Cells, End, Part
from imxrouter.telemetry import catalogue
from imxrouter.telemetry.peers import FORMER, HALF_LIFE_S, OTHER, RANK_EVERY_S, PeerTable


def flow(came: int = 0, went: int = 0, took_s: float = 0.0) -> Cells:
    """So many requests of a domain, and to it, that were delivered."""
    return {
        quality.ended(True, Kind.MESSAGE, End.DELIVERED): came,
        quality.ended(False, Kind.MESSAGE, End.DELIVERED): went,
        quality.total_us(Part.THEIRS, False, Kind.MESSAGE): round(took_s * 1e6),
    }


def came_of(cells: Cells) -> int:
    """Delivered requests of a domain."""
    return quality.ends(cells, True)[End.DELIVERED]


def peer(number: int) -> bytes:
    """A domain."""
    return b"p%d.example" % number


def total(rows: Iterable[Cells]) -> Cells:
    """The sum over all labels."""
    kept: Cells = {}
    for row in rows:
        quality.add(kept, row)
    return {cell: count for cell, count in kept.items() if count}


def test_results_are_those_of_the_switch() -> None:
    """Cells and words of the metric are in the same order."""
    assert tuple(end.name.lower() for end in End) == catalogue.PEER_RESULTS


def test_top_and_the_rest() -> None:
    """With more peers than labels, each label is a peer's and what has none is `other`."""
    table = PeerTable(top=50)
    for number in range(60):
        table.add({peer(number): flow(came=1)}, 0.0)
    rows = table.rows()
    assert len(rows) == 52
    assert came_of(rows[OTHER]) == 10
    assert came_of(rows["p3.example"]) == 1


def test_a_watched_peer_has_its_label_always() -> None:
    """Before it did anything, and when it is the quietest of all; it takes no label from the others."""
    table = PeerTable([b"quiet.example"], top=2)
    assert set(table.rows()) == {"quiet.example", OTHER, FORMER}
    table.add({peer(1): flow(5), peer(2): flow(5), peer(3): flow(5), b"quiet.example": flow(1, 2, 0.5)}, 0.0)
    rows = table.rows()
    assert len(rows) == 5
    assert rows["quiet.example"] == flow(1, 2, 0.5)


def test_a_label_goes_to_a_peer_that_carries_more_than_twice_as_much() -> None:
    """Not to one that carries a bit more; what the first one counted stays as `former`."""
    table = PeerTable(top=1)
    table.add({peer(1): flow(100)}, 0.0)
    table.add({peer(2): flow(150)}, 1.0)
    table.add({}, RANK_EVERY_S)
    assert set(table.rows()) == {"p1.example", OTHER, FORMER}
    table.add({peer(2): flow(100)}, RANK_EVERY_S + 1)
    table.add({}, 2 * RANK_EVERY_S)
    rows = table.rows()
    assert set(rows) == {"p2.example", OTHER, FORMER}
    assert tuple(came_of(rows[one]) for one in (FORMER, OTHER, "p2.example")) == (100, 250, 0)
    table.add({peer(1): flow(7), peer(2): flow(9)}, 2 * RANK_EVERY_S + 1)
    rows = table.rows()
    assert tuple(came_of(rows[one]) for one in (FORMER, OTHER, "p2.example")) == (100, 257, 9)


def test_who_was_busy_long_ago_is_overtaken() -> None:
    """Traffic of the past counts half after each half-life."""
    table = PeerTable(top=1)
    table.add({peer(1): flow(1000)}, 0.0)
    table.add({peer(2): flow(10)}, 10 * HALF_LIFE_S)
    table.add({peer(2): flow(10)}, 10 * HALF_LIFE_S + RANK_EVERY_S)
    assert "p2.example" in table.rows()


def test_what_is_no_name_is_other() -> None:
    """Neither a label nor a place among the candidates; nor for a domain called like the rest."""
    table = PeerTable()
    odd = [b"*", b"", b"other", b"former", b"UPPER.example", b"a b.example", b'x"y.example', b"\xff.example"]
    table.add(dict.fromkeys(odd, flow(1)), 0.0)
    rows = table.rows()
    assert set(rows) == {OTHER, FORMER}
    assert came_of(rows[OTHER]) == len(odd)


def test_sums_never_go_down_and_everything_stays_bounded() -> None:
    """A hundred thousand domains in changing order: every flow is in the sums once, and labels stay few."""
    chance = random.Random(7)
    table = PeerTable([peer(1), peer(2)], top=10)
    expected: Cells = {}
    last_other = 0
    for turn in range(400):
        centre = turn // 40 * 100
        flows = {
            peer(centre + chance.randrange(20 if chance.random() < 0.5 else 100_000)): flow(
                chance.randrange(50), chance.randrange(50), chance.randrange(8) / 8
            )
            for _ in range(30)
        }
        table.add(flows, turn * 20.0)
        expected = total([expected, *flows.values()])
        rows = table.rows()
        assert len(rows) <= 2 + 10 + 2
        assert total(rows.values()) == expected
        here = sum(map(came_of, flows.values()))
        assert 0 <= came_of(rows[OTHER]) - last_other <= here
        last_other = came_of(rows[OTHER])
    assert came_of(table.rows()[FORMER]) > 0


def test_many_names_at_once_leave_a_bounded_memory() -> None:
    """Candidates are cut down to the busiest, who keep their chance."""
    table = PeerTable(top=1)
    table.add({b"first.example": flow(10)}, 0.0)
    for turn in range(5):
        flows = {peer(turn * 4000 + number): flow(1) for number in range(4000)}
        table.add({**flows, b"busy.example": flow(10)}, turn)
        assert len(table._scores) <= 2000
    table.add({}, RANK_EVERY_S)
    assert "busy.example" in table.rows()


def test_the_watch_list_may_change_and_no_sum_goes_down() -> None:
    """Who is watched now has a label; who was keeps his row until the room is needed, then it is `former`."""
    table = PeerTable([b"old.example", b"kept.example"], top=1)
    table.add({b"old.example": flow(7), b"kept.example": flow(3), peer(1): flow(5)}, 0.0)
    before = total(table.rows().values())
    table.watch([b"kept.example", b"new.example"])
    rows = table.rows()
    assert {"kept.example", "new.example"} < set(rows)
    assert len(rows) == 2 + 1 + 2
    assert total(rows.values()) == before
    table.add({b"new.example": flow(2), b"old.example": flow(1)}, 1.0)
    assert came_of(table.rows()["new.example"]) == 2
    assert came_of(total(table.rows().values())) == came_of(before) + 3
