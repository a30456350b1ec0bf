"""The table of subscriptions that passed here."""

from __future__ import annotations

from imxrouter.model.operations import SubscriptionState
from imxrouter.routing.subscriptions import Subscription, Subscriptions, subscription_key

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
