"""Of whom it is remembered that presence passes: by what a user of ours did, bounded, over a restart."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from imxrouter.gateways.xmpp.subscriptions.kept import PASSING, TABLE_ENTRIES
from imxrouter.gateways.xmpp.subscriptions.passing import (
    MOST_PROBED,
    MOST_SHOWN,
    PROBED_S,
    RESOURCE_BYTES,
    PassingSettings,
    seen_of,
)
from imxrouter.store.memory import MemoryStore
from tests.gateways.xmpp.subscriptions.passing_rig import ALICE, BOB, MALLORY, WALL, PassingRig
from tests.store.rigs import SqliteRig, closed


class CountingStore(MemoryStore):
    """A store that counts what it is given."""

    writes = 0

    def put(self, *args: Any, **more: Any) -> bool:
        """As any other."""
        self.writes += 1
        return super().put(*args, **more)


def test_a_wish_and_its_answer_make_a_pair() -> None:
    """What is shown is remembered by resource, until it goes."""
    rig = PassingRig()
    rig.passes("subscribe", ALICE, BOB)
    assert rig.known() == {(ALICE, BOB): False}
    rig.passes("subscribed", BOB, ALICE)
    assert rig.known() == {(ALICE, BOB): True}
    rig.passes("", f"{BOB}/desk", ALICE)
    pair = rig.passes("", f"{BOB}/phone", ALICE)
    assert pair is not None
    assert list(pair.shown) == ["desk", "phone"]
    rig.passes("unavailable", f"{BOB}/desk", ALICE)
    assert list(pair.shown) == ["phone"]
    rig.passes("unavailable", BOB, ALICE)
    assert list(pair.shown) == []
    assert rig.known() == {(ALICE, BOB): True}  # who is not there may be seen all the same
    assert [one.watcher for one in rig.pairs.of_user(ALICE, watches=True)] == [ALICE]
    assert rig.pairs.of_user(ALICE, watches=False) == []


def test_an_answer_that_is_known_to_have_passed_before_the_wish_is() -> None:
    """A server answers at once, and only then the ping that shows that the wish arrived."""
    rig = PassingRig()
    rig.asks("subscribe", ALICE, BOB)
    rig.asks("subscribe", BOB, MALLORY)  # nobody of ours asks that
    rig.passes("subscribed", BOB, ALICE)
    rig.passes("subscribe", ALICE, BOB)
    rig.passes("subscribed", MALLORY, BOB)
    assert rig.known() == {(ALICE, BOB): True}


@pytest.mark.parametrize("ends", ["unsubscribe", "unsubscribed"])
def test_a_subscription_that_ends_is_forgotten(ends: str) -> None:
    """Whoever of the two ends it; in the store as well."""
    rig = PassingRig()
    rig.friends()
    rig.passes(ends, *((ALICE, BOB) if ends == "unsubscribe" else (BOB, ALICE)))
    assert rig.known() == {}
    assert rig.store.items(PASSING) == []
    assert rig.pairs.ways() == []


def test_whom_our_user_lets_watch_or_his_server_tells() -> None:
    """Both are his own server's words; what is said to one resource alone, or is a refusal, is not that."""
    rig = PassingRig()
    rig.passes("subscribed", ALICE, BOB)
    rig.passes("", f"{ALICE}/desk", MALLORY)
    assert rig.known() == {(BOB, ALICE): True, (MALLORY, ALICE): True}
    rig = PassingRig()
    rig.passes("", f"{ALICE}/desk", "room@conference.b.example/alice")
    rig.passes("unavailable", ALICE, BOB)
    rig.passes("error", ALICE, BOB)
    assert rig.known() == {}
    rig.passes("unsubscribed", ALICE, BOB)
    assert rig.known() == {}


def test_nobody_is_remembered_at_a_strangers_word() -> None:
    """He shows himself, wishes, agrees or asks, and none of ours ever did anything."""
    rig = PassingRig()
    for type_ in ("", "subscribe", "subscribed", "probe", "unavailable", "error"):
        assert rig.passes(type_, f"{MALLORY}/x" if not type_ else MALLORY, ALICE) is None
    assert rig.known() == {}


def test_a_probe_of_our_server_and_its_answer_make_a_pair() -> None:
    """Also one from a full JID, which is answered there; not after a minute, and not without an answer."""
    rig = PassingRig()
    rig.passes("probe", f"{ALICE}/desk", BOB)
    assert rig.known() == {}
    rig.passes("", f"{BOB}/desk", f"{ALICE}/desk")
    assert rig.known() == {(ALICE, BOB): True}
    rig.passes("probe", ALICE, MALLORY)
    rig.now += PROBED_S
    rig.passes("", f"{MALLORY}/desk", f"{ALICE}/desk")
    assert rig.known() == {(ALICE, BOB): True}


def test_the_last_probe_counts() -> None:
    """Who was silent before may answer the second one; what is asked first is still forgotten first."""
    rig = PassingRig()
    rig.passes("probe", ALICE, MALLORY)
    rig.passes("probe", ALICE, BOB)
    rig.now += PROBED_S - 1
    rig.passes("probe", ALICE, MALLORY)
    rig.now += 2
    rig.passes("", f"{BOB}/desk", f"{ALICE}/desk")
    rig.passes("", f"{MALLORY}/desk", f"{ALICE}/desk")
    assert rig.known() == {(ALICE, MALLORY): True}
    rig.passes("probe", ALICE, BOB)
    rig.passes("probe", ALICE, "carol@b.example")
    rig.now += PROBED_S - 1
    rig.passes("probe", ALICE, BOB)
    rig.now += 1
    rig.passes("probe", ALICE, "late@b.example")
    assert list(rig.pairs._asked) == [(ALICE, BOB), (ALICE, "late@b.example")]


def test_who_is_watched_by_whom_he_is_shown_to() -> None:
    """After a table was lost: Alice's server tells Bob of her, and his tells her of him."""
    rig = PassingRig()
    rig.passes("", f"{BOB}/desk", ALICE)
    assert rig.known() == {}
    rig.passes("", f"{ALICE}/desk", BOB)
    rig.passes("", f"{BOB}/desk", ALICE)
    assert rig.known() == {(BOB, ALICE): True, (ALICE, BOB): True}


def test_what_did_not_arrive_makes_no_pair_and_tells_of_one() -> None:
    """It is said again until it arrives, so its resource is shown sooner or later."""
    rig = PassingRig()
    rig.passes("subscribe", ALICE, BOB, arrived=False)
    rig.passes("subscribed", ALICE, BOB, arrived=False)
    assert rig.known() == {}
    pair = rig.friends()
    rig.passes("", f"{BOB}/phone", ALICE, arrived=False)
    assert pair.shown == ("desk", "phone")


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
def test_pairs_survive_a_restart(engine: str, tmp_path: Path) -> None:
    """With what was shown; of who is not served any more nothing is left."""
    sqlite = SqliteRig(tmp_path) if engine == "sqlite" else None
    rig = PassingRig(store=sqlite.store if sqlite is not None else None)
    rig.friends()
    rig.friends("carol@a2.example", BOB)
    rig.passes("subscribe", ALICE, MALLORY)
    if sqlite is not None:
        sqlite.reopen()
        rig.store = sqlite.store
    rig.served.discard("a2.example")
    rig.made()
    assert rig.known() == {(ALICE, BOB): True, (ALICE, MALLORY): False}
    (pair,) = rig.pairs.of_way(("b.example", "a.example"))
    assert pair.shown == ("desk",)
    assert len(rig.store.items(PASSING)) == 2
    if sqlite is not None:
        closed(sqlite.store)


def test_an_entry_that_cannot_be_read_goes() -> None:
    """And is told; the others stay."""
    rig = PassingRig()
    rig.friends()
    rig.store.put(PASSING, b"x@\xff\n", rig.store.items(PASSING)[0][1])
    rig.store.put(PASSING, b"x@-.-\ny@b.example", rig.store.items(PASSING)[0][1])
    rig.store.put(PASSING, b"p@a.example\nq@b.example", b"nothing")
    rig.made()
    assert rig.known() == {(ALICE, BOB): True}
    assert rig.bad == [PASSING] * 3


def test_what_nothing_is_heard_of_is_forgotten() -> None:
    """A wish after a week, a pair after a month; each word of it begins that anew."""
    rig = PassingRig()
    rig.friends()
    rig.passes("subscribe", ALICE, MALLORY)
    rig.days(7)
    assert len(rig.pairs) == 2
    rig.days(1)
    assert rig.known() == {(ALICE, BOB): True}
    rig.days(20)
    rig.passes("", f"{BOB}/desk", ALICE)
    rig.days(30)
    assert len(rig.pairs) == 1
    rig.days(1)
    assert rig.store.items(PASSING) == []


def test_domains_that_are_served_no_more() -> None:
    """Only pairs with an end that is still served stay."""
    rig = PassingRig()
    rig.friends()
    rig.friends(ALICE, "carol@a2.example")
    rig.friends("carol@a2.example", BOB)
    rig.served.discard("a2.example")
    rig.pairs.removed()
    assert set(rig.known()) == {(ALICE, BOB), (ALICE, "carol@a2.example")}


@pytest.mark.parametrize(
    ("bounds", "fits"),
    [(PassingSettings(most=3), 3), (PassingSettings(per_user=2), 2), (PassingSettings(per_zone=4), 4)],
)
def test_what_has_no_room_is_not_remembered(bounds: PassingSettings, fits: int) -> None:
    """Nobody goes for it; it is counted, and there is room when one ends."""
    rig = PassingRig(bounds)
    for number in range(fits + 1):
        rig.passes("subscribe", ALICE, f"u{number}@h{number}.m.example")
    assert len(rig.pairs) == fits
    assert rig.pairs.counts["no-room"] == 1
    rig.passes("unsubscribe", ALICE, "u0@h0.m.example")
    rig.passes("subscribe", ALICE, "new@m.example")
    assert (ALICE, "new@m.example") in rig.known()
    rig.passes("subscribe", ALICE, "newer@m.example")
    assert len(rig.pairs) == fits
    assert rig.pairs.counts["no-room"] == 2


def test_a_user_and_a_zone_have_each_its_own_room() -> None:
    """A zone has more of it than a user, who has as much again in his other role."""
    rig = PassingRig(PassingSettings(per_user=2, per_zone=3))
    for watcher in (ALICE, "carol@a.example"):
        for name in ("x", "y"):
            rig.passes("subscribe", watcher, f"{name}@m.example")
    assert set(rig.known()) == {
        (ALICE, "x@m.example"), (ALICE, "y@m.example"), ("carol@a.example", "x@m.example"),
    }  # fmt: skip
    rig.passes("subscribe", "carol@a.example", BOB)
    rig.passes("subscribe", "carol@a.example", "dave@n.example")
    rig.passes("subscribed", ALICE, "eve@n.example")
    rig.passes("subscribed", ALICE, "erin@n.example")
    rig.passes("subscribed", ALICE, "edna@n.example")
    assert set(list(rig.known())[3:]) == {
        ("carol@a.example", BOB), ("eve@n.example", ALICE), ("erin@n.example", ALICE),
    }  # fmt: skip


def test_no_domain_takes_the_room_of_another() -> None:
    """One that has many users and asks everybody leaves a quarter to the others that are served here."""
    rig = PassingRig(PassingSettings(most=40))
    for number in range(60):
        rig.passes("subscribe", f"u{number}@a.example", f"x@h{number}.example")
    assert len(rig.pairs) == 30
    for number in range(60):
        rig.passes("subscribe", f"u{number}@a2.example", f"x@h{number}.example")
    assert len(rig.pairs) == 40
    for number in range(60):
        rig.passes("unsubscribe", f"u{number}@a.example", f"x@h{number}.example")
    assert rig.pairs._of_domain == {"a2.example": 10}
    for number in range(60):
        rig.passes("unsubscribe", f"u{number}@a2.example", f"x@h{number}.example")
    assert not rig.pairs._of_domain


def test_no_domain_keeps_what_another_one_asks_from_being_known() -> None:
    """A customer whose server probes everybody does not fill the memory of what was asked."""
    rig = PassingRig()
    for number in range(MOST_PROBED):
        rig.passes("probe", ALICE, f"u{number}@b.example")
    rig.passes("probe", "carol@a2.example", BOB)
    rig.passes("", f"{BOB}/x", "carol@a2.example")
    assert ("carol@a2.example", BOB) in rig.known()
    rig.now += PROBED_S
    rig.passes("probe", ALICE, MALLORY)
    assert rig.pairs._asked_by == {"a.example": 1}


def test_the_store_has_no_room() -> None:
    """What it does not take is remembered until the next start, and counted."""
    rig = PassingRig(store=MemoryStore(lambda: WALL, {PASSING: 1}))
    rig.friends(ALICE, MALLORY)
    rig.friends()
    assert rig.known() == {(ALICE, MALLORY): True, (ALICE, BOB): True}
    assert rig.pairs.counts["not-kept"] > 0


def test_resources_and_probes_are_bounded() -> None:
    """More resources, longer ones and more probes than are remembered."""
    rig = PassingRig()
    pair = rig.friends()
    rig.passes("", f"{BOB}/{'x' * (RESOURCE_BYTES + 1)}", ALICE)
    for number in range(2 * MOST_SHOWN):
        rig.passes("", f"{BOB}/{number}", ALICE)
    assert len(pair.shown) == MOST_SHOWN
    for domain in ("a.example", "a2.example"):
        for number in range(MOST_PROBED):
            rig.passes("probe", f"alice@{domain}", f"u{number}@b.example")
    assert len(rig.pairs._asked) == MOST_PROBED
    rig.now += PROBED_S
    rig.passes("probe", ALICE, "late@b.example")
    assert len(rig.pairs._asked) == 1


def test_a_pair_is_written_once_a_day_at_most_while_nothing_comes_or_goes() -> None:
    """A status that changes each minute costs the disk nothing."""
    store = CountingStore(lambda: WALL, TABLE_ENTRIES)
    rig = PassingRig(store=store)
    rig.friends()
    before = store.writes
    for _ in range(10):
        rig.passes("", f"{BOB}/desk", ALICE)
    assert store.writes == before
    rig.now += 86_400
    rig.passes("", f"{BOB}/desk", ALICE)
    assert store.writes == before + 1


def test_other_types_say_nothing() -> None:
    """They pass, and are not remembered."""
    assert seen_of("shout", ALICE, BOB, ("a.example", "b.example"), WALL) is None


def test_what_a_pair_costs() -> None:
    """As the page of limits says, of users with twenty contacts each, with the copy of the store."""
    rig = PassingRig()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5000):
        contact = f"contact{number:06d}@h{number % 50}.b.example"
        rig.friends(f"user{number // 20:06d}@a.example", contact, "Talk.f3a91c")
    cost = (tracemalloc.get_traced_memory()[0] - before) / 5000
    tracemalloc.stop()
    assert 500 < cost < 950, cost
