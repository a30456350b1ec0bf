"""Pairs whose presence passes, for tests: one domain of ours, others elsewhere, a store, time that is set."""

from __future__ import annotations

from imxrouter.gateways.xmpp.subscriptions.kept import TABLE_ENTRIES, Keeping
from imxrouter.gateways.xmpp.subscriptions.passing import (
    DAY_S,
    PassingPair,
    PassingPairs,
    PassingSettings,
    Seen,
    seen_of,
)
from imxrouter.routing.interfaces import Store
from imxrouter.store.memory import MemoryStore

#: Alice is ours, Bob and Mallory are elsewhere.
ALICE, BOB, MALLORY = "alice@a.example", "bob@b.example", "mallory@m.example"
WALL = 1_800_000_000.0
SERVED = frozenset({"a.example", "a2.example"})


class PassingRig:
    """The table, and what passes it."""

    def __init__(self, settings: PassingSettings | None = None, store: Store | None = None) -> None:
        self.now = 0.0
        self.store = store or MemoryStore(lambda: WALL + self.now, TABLE_ENTRIES)
        self.served = set(SERVED)
        self.bad: list[str] = []
        self._settings = settings
        self.pairs = self.made()

    def made(self) -> PassingPairs:
        """The table, as it is after a start."""
        self.pairs = PassingPairs(
            Keeping(self.store, self.bad.append), lambda name: name in self.served, self._settings
        )
        self.pairs.restore(WALL + self.now)
        return self.pairs

    def passes(self, type_: str, from_: str, to: str, *, arrived: bool = True) -> PassingPair | None:
        """A presence is handed on."""
        seen = self.seen(type_, from_, to)
        return self.pairs.passed(seen, self.now, WALL + self.now, arrived=arrived)

    def asks(self, type_: str, from_: str, to: str) -> None:
        """A presence came, and it is not known yet what becomes of it."""
        self.pairs.asks(self.seen(type_, from_, to), self.now)

    def seen(self, type_: str, from_: str, to: str) -> Seen:
        """What is remembered of it until then."""
        way = tuple(one.partition("/")[0].rpartition("@")[2] for one in (from_, to))
        seen = seen_of(type_, from_, to, (way[0], way[1]), self.now)
        assert seen is not None
        return seen

    def days(self, days: float) -> None:
        """Time goes by, and every pair is looked at."""
        self.now += days * DAY_S
        for _ in range(3):
            self.pairs.look(WALL + self.now)

    def known(self) -> dict[tuple[str, str], bool]:
        """Who watches whom, and whether it was answered."""
        return {one.ends: one.granted for one in self.pairs.all()}

    def friends(self, watcher: str = ALICE, presentity: str = BOB, resource: str = "desk") -> PassingPair:
        """One asked, the other agreed and is there."""
        self.passes("subscribe", watcher, presentity)
        self.passes("subscribed", presentity, watcher)
        pair = self.passes("", f"{presentity}/{resource}", watcher)
        assert pair is not None
        return pair
