"""What the router says to watchers, and asks in their name (specification section 7.7)."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.model.operations import MAX_HOPS, SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.subscriptions import Subscription, Subscriptions
from imxrouter.transport.hub import Hub
from imxrouter.transport.inside import InsidePort
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record, decode_outcome
from imxrouter.wire.registry import CRITICAL_BIT, FieldType, RecordType

_ACTIVE = bytes([SubscriptionState.ACTIVE, 0])
#: Requests of the router's own that wait for an answer at most; more would only be held.
IN_FLIGHT_AT_MOST = 2_000


class RouterWatchers:
    """Speaks through the router's own port. It is `liveness.Watchers`.

    Args:
        hub: the centre of the process.
        inside: the router's own port.
        table: who watches whom.
    """

    def __init__(self, hub: Hub, inside: InsidePort, table: Subscriptions) -> None:
        self._hub = hub
        self._inside = inside
        self._table = table

    def tell_unknown(
        self, key: bytes, reason: Reason, domain: bytes, answered: Callable[[Outcome], None]
    ) -> bool:
        """Tell a watcher that nobody knows, and where it failed; False where there is no room now.

        A watcher served here is told by the router of its own domain, another one by that of the presentity.
        """
        entry = self._table.find(key)
        if entry is None:
            return True
        if not self._room():
            return False
        watcher_local, _, watcher_domain = entry.watcher.rpartition(b"@")
        presentity_domain = entry.presentity.rpartition(b"@")[2]
        teller = watcher_domain if watcher_domain in self._hub.switch.routes else presentity_domain
        fields = (
            Field(FieldType.SUBSCRIPTION_ID, entry.ident),
            Field(FieldType.SUBSCRIPTION_STATE, _ACTIVE),
            Field(FieldType.UNKNOWN | CRITICAL_BIT, reason.code.to_bytes(2, "big") + domain),
            Field(FieldType.PRESENTITY | CRITICAL_BIT, entry.presentity),
        )
        envelope = Envelope(watcher_local, watcher_domain, b"", teller)
        self._table.asked_over = entry.over
        self._send(RecordType.NOTIFY, envelope, fields, lambda response: answered(decode_outcome(response)))
        return True

    def subscribe_again(self, key: bytes, answered: Callable[[Outcome], None]) -> bool:
        """Renew a subscription for what it has left; False where there is no room now."""
        entry = self._table.find(key)
        left = 0 if entry is None else int(entry.end - self._hub.now())
        if entry is None or left <= 0:
            return True
        if not self._room():
            return False
        fields = (
            Field(FieldType.SUBSCRIPTION_ID, entry.ident),
            Field(FieldType.DURATION, left.to_bytes(4, "big")),
        )
        self._send(
            RecordType.SUBSCRIBE, _asking(entry), fields, lambda response: answered(decode_outcome(response))
        )
        return True

    def _room(self) -> bool:
        return self._inside.port.in_flight < min(IN_FLIGHT_AT_MOST, self._inside.room)

    def _send(
        self, kind: RecordType, envelope: Envelope, fields: tuple[Field, ...],
        respond: Callable[[Record], None],
    ) -> None:  # fmt: skip
        ident = self._hub.random_bytes(16)
        record = Record(kind, hops_left=MAX_HOPS, message_id=ident, envelope=envelope, fields=fields)
        self._inside.submit(record, respond)


def _asking(entry: Subscription) -> Envelope:
    watcher_local, _, watcher_domain = entry.watcher.rpartition(b"@")
    local, _, domain = entry.presentity.rpartition(b"@")
    return Envelope(local, domain, watcher_local, watcher_domain)
