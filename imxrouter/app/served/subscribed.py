"""The table of subscriptions, kept over restarts and shared by the processes of a host (architecture 9)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
from twisted.logger import Logger

from imxrouter.model.address import BadAddress, address_key
from imxrouter.routing.interfaces import Bus, Store
from imxrouter.routing.subscriptions import Subscription, Subscriptions, subscription_key

#: The table of the store; its keys are those of `Subscriptions`.
SUBSCRIPTIONS: Final = "subscriptions"
#: The kind of message on the bus: a subscription is being asked for.
BEGUN: Final = "subscription"
#: A process that starts is told of what changed within so long: the state file that it read may not have it.
LATELY_S: Final = 5.0
#: Of these at most so many.
_LATELY_AT_MOST: Final = 65_536


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """The value in `SUBSCRIPTIONS`, as MessagePack; when it ends is the entry's expiry.

    `process` is the number of the process that passed it on last, and looks after it.
    """

    watcher: bytes
    presentity: bytes
    ident: bytes
    process: int = 0


class KeptSubscriptions:
    """Keeps a store and the other processes in step with the table, and gives it back after a start.

    Args:
        table: who watches whom.
        store: where it is kept.
        bus: the other processes of this host.
        now: monotonic seconds.
        wall: seconds since 1970.
        processes: how many there are now, numbered from 0; 0: not known. What processes that are gone
            looked after is shared out among them.
    """

    log = Logger()

    def __init__(
        self,
        table: Subscriptions,
        store: Store,
        bus: Bus,
        now: Callable[[], float],
        wall: Callable[[], float],
        *,
        processes: int = 0,
    ) -> None:
        self._table = table
        self._store = store
        self._bus = bus
        self._now = now
        self._wall = wall
        self._processes = processes
        self._lately: deque[tuple[float, bytes]] = deque(maxlen=_LATELY_AT_MOST)

    def begin(self) -> None:
        """Give back what the store has; from now on keep what changes."""
        for key, value, expires_at in self._store.items(SUBSCRIPTIONS):
            self._restore(key, value, expires_at)
        self._table.on_changed = self._changed
        self._table.on_begun = self._begun
        self._table.may_keep = lambda: self._store.health().works
        self._store.watch(SUBSCRIPTIONS, self._restore)
        if len(self._table):
            self.log.info("state: {count} subscription(s) go on", count=len(self._table))

    def begun_elsewhere(self, payload: bytes) -> None:
        """Another process passes a SUBSCRIBE on: its notifications may arrive here."""
        kept = msgspec.msgpack.decode(payload, type=_Kept)
        key = _key(kept)
        if key is None:
            return
        end, entry = self._table.waits_until(self._now()), self._table.find(key)
        if entry is None:
            entry = Subscription(end, kept.watcher, kept.presentity, kept.ident, False, False)
            self._table.restore(key, entry)
        elif entry.end < end:
            self._table.restore(key, entry._replace(end=end))

    def introduce(self, process: int) -> None:
        """Another process has started: what it may not have found in the store."""
        since = self._now() - LATELY_S
        for key in dict.fromkeys(key for at, key in self._lately if at >= since):
            entry = self._table.find(key)
            if entry is not None:
                self._bus.tell(process, BEGUN, self._encode(entry))

    def _begun(self, entry: Subscription) -> None:
        others = self._bus.peers()
        if others:
            payload = self._encode(entry)
            for process in others:
                self._bus.tell(process, BEGUN, payload)

    def _encode(self, entry: Subscription) -> bytes:
        kept = _Kept(entry.watcher, entry.presentity, entry.ident, self._bus.process)
        return msgspec.msgpack.encode(kept)

    def _changed(self, key: bytes, entry: Subscription | None) -> None:
        if entry is None:
            self._store.remove(SUBSCRIPTIONS, key)
            return
        self._lately.append((self._now(), key))
        value = self._encode(entry)
        until = entry.end - self._now() + self._wall()
        self._store.put(SUBSCRIPTIONS, key, value, until, durable=True)

    def _restore(self, key: bytes, value: bytes | None, expires_at: float | None) -> None:
        if value is None:
            self._table.forget(key)
            return
        try:
            kept = msgspec.msgpack.decode(value, type=_Kept)
        except msgspec.MsgspecError:
            kept = None
        if kept is None or expires_at is None or _key(kept) != key:
            self.log.warn("state: an entry of {table} cannot be read and is dropped", table=SUBSCRIPTIONS)
            self._store.remove(SUBSCRIPTIONS, key)
            return
        mine = self._is_mine(kept.process)
        end = expires_at - self._wall() + self._now()
        self._table.restore(key, Subscription(end, kept.watcher, kept.presentity, kept.ident, True, mine))

    def _is_mine(self, process: int) -> bool:
        if process == self._bus.process or self._processes == 1:
            return True
        return 1 < self._processes <= process and process % self._processes == self._bus.process


def _key(kept: _Kept) -> bytes | None:
    try:
        return subscription_key(address_key(kept.watcher), address_key(kept.presentity), kept.ident)
    except BadAddress:
        return None
