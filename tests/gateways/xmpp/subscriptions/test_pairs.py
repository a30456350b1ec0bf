"""What is kept of one pair's resources, and of all pairs of a domain: never more than there is room for."""

from __future__ import annotations

from imxrouter.gateways.xmpp.subscriptions.pairs import (
    MAX_PAIR_BYTES,
    PACE_BURST,
    PACE_S,
    Resources,
    Shares,
    paced,
    slim_tuple,
    spend,
)
from imxrouter.gateways.xmpp.translate.presence import Resource, resource_of, weight
from imxrouter.model.presence import MAX_TUPLES, Basic
from tests.gateways.xmpp.translate.presences import ALICE, NOW, stanza

TEXT = "y" * 20_000


def said(name: str, inside: str = "", type_: str = "") -> Resource:
    """What a resource says."""
    return resource_of(stanza(inside, f"type='{type_}'" if type_ else ""), name, ALICE, NOW)


def names(resources: Resources) -> list[str]:
    """Of those that are kept."""
    return [one.name for one in resources.all()]


def fits(resources: Resources) -> bool:
    """Its size is that of what is there, and within bounds."""
    there = sum(weight(one.tuple) for one in resources.all())
    return there == resources.size <= MAX_PAIR_BYTES


def test_the_size_is_that_of_what_is_there() -> None:
    """Whatever comes, changes, goes, is told and is made smaller: else it grows, and all is left out."""
    kept = Resources()
    for round_ in range(3):
        assert kept.take(said("r1", f"<status>{TEXT}</status>"))
        assert kept.take(said("r2"))
        assert fits(kept)
        assert kept.take(said("r1", f"<status>{round_}</status>"))
        assert fits(kept)
        assert kept.take(said("r2", type_="unavailable"))
        kept.told()
        assert fits(kept)
        assert kept.take(said("r3", f"<status>{TEXT}</status>"))  # the closed one has been told, and goes
        assert names(kept) == ["r1", "r3"]
        assert fits(kept)
        kept.slim()
        assert fits(kept)
        assert kept.size < 2000
        kept.expect()
        assert kept.settle()
        assert fits(kept)
        kept.told()
        kept.take(said("r9", type_="unavailable"))
        assert (names(kept), kept.size) == ([], 0)
    kept.take(said("r1"))
    kept.clear()
    assert (names(kept), kept.size) == ([], 0)


def test_texts_go_before_resources() -> None:
    """What has no room is kept without its details, those of the others if need be: nobody is gone for it."""
    kept = Resources()
    for number in range(50):
        assert kept.take(said(f"r{number}", f"<show>away</show><status>{TEXT}</status>"))
        assert fits(kept)
        assert len(names(kept)) == number + 1
        assert bool(next(iter(kept.all())).tuple.notes) or number > 10
    assert all(one.tuple.status_extensions for one in kept.all())


def test_the_least_preferred_resources_are_left_out() -> None:
    """Where there are too many of them, or their names alone are too long."""
    kept = Resources()
    kept.take(said("high", "<priority>9</priority>"))
    kept.take(said("low"))
    for number in range(MAX_TUPLES - 1):
        assert "low" in names(kept)
        kept.take(said(f"r{number}", "<priority>5</priority>"))
    assert len(names(kept)) == MAX_TUPLES
    assert "low" not in names(kept)
    assert "high" in names(kept)
    kept = Resources()
    for number in range(50):
        kept.take(said("_" * 1000 + str(number)))
        assert fits(kept)
    assert kept.size > MAX_PAIR_BYTES * 0.9


def test_without_details_it_still_means_the_same() -> None:
    """Whether he is there, how, and that a resource takes no messages."""
    caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>"
    full = said("r1", f"<show>dnd</show><priority>-5</priority><status>{TEXT}</status>{caps}").tuple
    slim = slim_tuple(full)
    assert (slim.basic, slim.notes) == (Basic.OPEN, ())
    assert [one.name for one in slim.extensions] == ["priority"]
    assert [one.name for one in slim.status_extensions] == ["show"]
    assert len(full.extensions) == 2


def test_a_domain_has_its_share() -> None:
    """Those of long ago are to become smaller first; what is forgotten is not counted."""
    shares = Shares(100)
    assert shares.total(b"a") == 0
    assert [shares.put(b"a", key, 40) for key in (b"1", b"2")] == [[], []]
    assert shares.put(b"b", b"1", 90) == []
    assert shares.put(b"a", b"3", 20) == []
    assert shares.put(b"a", b"4", 1) == [b"1"]
    assert shares.put(b"a", b"1", 5) == []
    assert shares.total(b"a") == 66
    assert shares.put(b"a", b"5", 90) == [b"2", b"3"]
    for key in (b"1", b"2", b"3", b"4", b"5"):
        shares.put(b"a", key, 0)
    assert (shares.total(b"a"), shares.total(b"b")) == (0, 90)
    assert len(shares._sizes) == len(shares._totals) == 1


def test_some_at_once_then_one_a_second() -> None:
    """Who was quiet has all tokens again, and no more than them."""
    spent = 0.0
    for now in (100.0, 1000.0):
        for _ in range(PACE_BURST):
            assert paced(spent, now) == 0
            spent = spend(spent, now)
        assert paced(spent, now) == PACE_S
        assert paced(spent, now + PACE_S) == 0
