"""What the router says to watchers, as its own port gets it (specification section 7.7)."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from imxrouter.model.operations import SubscriptionState
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.subscriptions import Subscriptions
from imxrouter.transport.watchers import RouterWatchers
from imxrouter.wire.record import Record


def test_unknown_takes_the_link_that_the_subscription_was_asked_over() -> None:
    """Not that of whoever was notified last: another host of the watcher's domain does not know this one."""
    table, took = Subscriptions(), list[tuple[bytes, int]]()

    def submit(record: Record, _respond: Callable[[Record], None]) -> None:
        took.append((record.envelope.to_local, table.asked_over))

    for link, name in ((7, b"ann"), (8, b"bob")):
        table.begin(name, name + b"@x.example", b"carol@z.example", b"id", 0.0, link)
        table.settle(name, SubscriptionState.ACTIVE, 600, 600, 0.0)
    hub = SimpleNamespace(switch=SimpleNamespace(routes={}), random_bytes=bytes)
    inside = SimpleNamespace(submit=submit, port=SimpleNamespace(in_flight=0), room=10)
    watchers = RouterWatchers(cast("Any", hub), cast("Any", inside), table)
    assert table.judge_notify(b"bob", 1.0) is None
    for name in (b"ann", b"bob", b"ann"):
        assert watchers.tell_unknown(name, Reason.SERVICE_DOWN, b"z.example", lambda _outcome: None)
    assert took == [(b"ann", 7), (b"bob", 8), (b"ann", 7)]
