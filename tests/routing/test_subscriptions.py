"""The table of subscriptions that passed here."""

from __future__ import annotations

from imxrouter.model.operations import SubscriptionState
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.subscriptions import (
    LATE_S,
    Subscription,
    SubscriptionLimits,
    Subscriptions,
    subscription_key,
)

NOW = 1000.0


def enter(table: Subscriptions, watcher: bytes, presentity: bytes, ident: bytes = b"id") -> bytes:
    """One that was asked and granted."""
    key = subscription_key(watcher, presentity, ident)
    table.begin(key, watcher, presentity, ident, NOW)
    table.settle(key, SubscriptionState.ACTIVE, 600, 600, NOW)
    return key


def test_what_is_between_strangers_goes() -> None:
    """Where one side is served it stays; whoever keeps the table is told."""
    table, told = Subscriptions(), list[tuple[bytes, Subscription | None]]()
    stays = enter(table, b"bob@x.example", b"alice@z.example")
    also = enter(table, b"carol@y.example", b"bob@x.example")
    goes = enter(table, b"carol@y.example", b"alice@z.example")
    table.on_changed = lambda key, entry: told.append((key, entry))
    assert table.forget_unserved({b"x.example"}, [b"x.example"]) == 0
    assert table.forget_unserved({b"x.example"}, [b"y.example"]) == 1
    assert told == [(goes, None)]
    assert {key for key, _ in table.items()} == {stays, also}
    assert table.forget_unserved(()) == 2
    assert not table.concerns(b"x.example")


def test_one_zone_leaves_room_for_the_others() -> None:
    """Names below a registered one cost nothing: their watchers are counted together."""
    table = Subscriptions(SubscriptionLimits(total=1_000, per_domain=80))
    table.served = {b"x.example", b"other.example", b"a.host.example", b"b.host.example"}
    keys = []
    for number in range(80):
        watcher = b"u@s%d.crowd.example" % number
        assert table.judge_subscribe(b"new", watcher.rpartition(b"@")[2], b"x.example", 600) is None
        keys.append(enter(table, watcher, b"alice@x.example"))
    for presentity in (b"x.example", b"other.example"):
        assert table.judge_subscribe(b"new", b"more.crowd.example", presentity, 600) is Reason.BUSY
    assert table.judge_subscribe(keys[0], b"s0.crowd.example", b"x.example", 600) is None
    for number in range(10):
        assert table.judge_subscribe(b"new", b"y.example", b"x.example", 600) is None
        keys.append(enter(table, b"u%d@y.example" % number, b"alice@x.example"))
    assert table.judge_subscribe(b"new", b"y.example", b"x.example", 600) is Reason.BUSY
    keys += [enter(table, b"u%d@a.host.example" % number, b"carol@far.example") for number in range(80)]
    assert table.judge_subscribe(b"new", b"b.host.example", b"z.example", 600) is None, "one of ours"
    for key in keys:
        table.forget(key)
    assert table.judge_subscribe(b"new", b"more.crowd.example", b"x.example", 600) is None
    assert not table._of_zone


def test_what_is_asked_waits_for_its_answer_as_long_as_the_router_does() -> None:
    """A granted subscription that was forgotten meanwhile would never be notified."""
    table = Subscriptions()
    table.answer_s = 120.0
    key = subscription_key(b"bob@x.example", b"alice@z.example", b"id")
    table.begin(key, b"bob@x.example", b"alice@z.example", b"id", NOW)
    table.sweep(NOW + 119)
    assert table.judge_notify(key, NOW + 119) is None
    table.settle(key, SubscriptionState.ACTIVE, 600, 600, NOW + 119)
    assert table.judge_notify(key, NOW + 700) is None
    table.sweep(NOW + 119 + 600 + LATE_S)
    assert len(table) == 0


def test_what_another_process_says_changes_neither_the_rate_nor_what_is_asked_for() -> None:
    """A peer that is asked again and again by one process would get a new burst at each of the others."""
    table = Subscriptions()
    key = enter(table, b"bob@x.example", b"alice@z.example")
    while table.judge_notify(key, NOW) is None:
        pass
    table.begin(key, b"bob@x.example", b"alice@z.example", b"id", NOW)
    table.restore(key, Subscription(NOW - LATE_S, b"bob@x.example", b"alice@z.example", b"id", True, False))
    refusal = table.judge_notify(key, NOW)
    assert refusal is not None
    assert refusal[0] is Reason.RATE_LIMITED
    assert table.judge_notify(key, NOW + 5) is None
    table.settle(key, None, 0, 600, NOW + 5)
    refusal = table.judge_notify(key, NOW + 5)
    assert refusal is not None
    assert refusal[0] is Reason.NOT_SUBSCRIBED
