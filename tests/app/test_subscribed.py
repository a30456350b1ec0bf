"""Subscriptions survive a restart, and are known to every process of a host (architecture section 9)."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from imxrouter.app.served.subscribed import BEGUN, LATELY_S, SUBSCRIPTIONS, KeptSubscriptions
from imxrouter.model.operations import SubscriptionState
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Bus, Reply, StoreHealth, StoreProblem
from imxrouter.routing.subscriptions import LATE_S, Subscriptions, subscription_key
from imxrouter.store.memory import MemoryStore
from imxrouter.transport.bus import MemoryExchange

BOB, ALICE, ID = b"Bob@x.example", b"alice@z.example", b"s1"
KEY = subscription_key(b"bob@x.example", ALICE, ID)


class Life:
    """One life of a process: its clock and its table; store and exchange are handed from one to the next."""

    def __init__(self, store: MemoryStore, wall: Clock, bus: Bus, *, processes: int = 0) -> None:
        self.monotonic = Clock()
        self.monotonic.advance(5000 + wall.seconds() % 777)  # begins anywhere
        self.table = Subscriptions()
        self.kept = KeptSubscriptions(
            self.table, store, bus, self.monotonic.seconds, wall.seconds, processes=processes
        )
        self.kept.begin()
        bus.listen(self._take)

    def _take(self, kind: str, payload: bytes, _reply: Reply) -> None:
        assert kind == BEGUN
        self.kept.begun_elsewhere(payload)

    def subscribe(self, seconds: int = 600) -> None:
        """Bob watches alice; it was asked and granted."""
        self.begin()
        self.table.settle(KEY, SubscriptionState.ACTIVE, seconds, seconds, self.monotonic.seconds())

    def begin(self) -> None:
        """It is asked for."""
        self.table.begin(KEY, BOB, ALICE, ID, self.monotonic.seconds())

    def is_live(self) -> bool:
        """Whether a notification would pass."""
        return self.table.judge_notify(KEY, self.monotonic.seconds()) is None

    def watching(self) -> list[bytes]:
        """Those to alice's domain that this process looks after."""
        return self.table.watching(b"z.example", self.monotonic.seconds())


@pytest.fixture
def wall() -> Clock:
    """Seconds since 1970."""
    clock = Clock()
    clock.advance(1_700_000_000)
    return clock


@pytest.fixture
def store(wall: Clock) -> MemoryStore:
    """Kept from one life to the next."""
    return MemoryStore(wall.seconds)


def alone() -> Bus:
    """The bus of a host with one process."""
    return MemoryExchange(Clock()).join(1)


def test_it_goes_on_after_a_restart(store: MemoryStore, wall: Clock) -> None:
    """With the time that it had left, in the spelling that it had."""
    Life(store, wall, alone()).subscribe(600)
    wall.advance(500)
    again = Life(store, wall, alone())
    assert again.is_live()
    assert again.watching() == [KEY]
    entry = again.table.find(KEY)
    assert entry is not None
    assert (entry.watcher, entry.presentity, entry.ident) == (BOB, ALICE, ID)
    assert entry.end - again.monotonic.seconds() == pytest.approx(100)
    again.monotonic.advance(100 + LATE_S)
    assert not again.is_live()


def test_what_ended_does_not_come_back(store: MemoryStore, wall: Clock) -> None:
    """Ended by its watcher, by its presentity, by time."""
    life = Life(store, wall, alone())
    life.subscribe()
    life.table.settle(KEY, SubscriptionState.TERMINATED, 0, 0, life.monotonic.seconds())
    assert len(Life(store, wall, alone()).table) == 0
    life.subscribe()
    life.table.ended(KEY)
    assert len(Life(store, wall, alone()).table) == 0
    life.subscribe(600)
    wall.advance(601)
    assert len(Life(store, wall, alone()).table) == 0


@pytest.mark.parametrize("value", [b"", b"\x93\xa1a\xa1b\xa1c", b"no messagepack"])
def test_an_entry_that_cannot_be_read_is_dropped(store: MemoryStore, wall: Clock, value: bytes) -> None:
    """The others are read."""
    store.put(SUBSCRIPTIONS, b"key", value, wall.seconds() + 100)
    Life(store, wall, alone()).subscribe()
    life = Life(store, wall, alone())
    assert life.is_live()
    assert [key for key, _, _ in store.items(SUBSCRIPTIONS)] == [KEY]


def test_another_process_knows_it_at_once_and_does_not_look_after_it(store: MemoryStore, wall: Clock) -> None:
    """A notification may arrive there before the answer to SUBSCRIBE has come here."""
    clock = Clock()
    exchange = MemoryExchange(clock)
    one, two = Life(store, wall, exchange.join(1)), Life(store, wall, exchange.join(2))
    one.begin()
    assert not two.is_live()
    clock.advance(1)
    clock.advance(1)
    assert two.is_live()
    one.subscribe()
    assert Life(store, wall, exchange.join(3)).watching() == []
    assert one.watching() == [KEY]


def test_a_process_that_starts_is_told_what_the_file_did_not_have_yet(wall: Clock) -> None:
    """What was handed over a moment before it read the file is known to it as soon as it is heard of."""
    clock = Clock()
    exchange = MemoryExchange(clock)
    one = Life(MemoryStore(wall.seconds), wall, exchange.join(1))
    one.subscribe()
    two = Life(MemoryStore(wall.seconds), wall, exchange.join(2))
    assert not two.is_live()
    one.kept.introduce(2)
    clock.advance(1)
    clock.advance(1)
    assert two.is_live()
    assert two.watching() == []
    one.monotonic.advance(LATELY_S + 1)
    three = Life(MemoryStore(wall.seconds), wall, exchange.join(3))
    one.kept.introduce(3)
    clock.advance(1)
    clock.advance(1)
    assert not three.is_live()


def test_what_other_processes_left_is_looked_after_where_there_are_none_now(
    store: MemoryStore, wall: Clock
) -> None:
    """`workers` was made 1: else nobody would subscribe again, or say that nothing is known."""
    Life(store, wall, MemoryExchange(Clock()).join(2)).subscribe()
    assert Life(store, wall, alone(), processes=1).watching() == [KEY]


def test_what_gone_processes_left_is_shared_out(store: MemoryStore, wall: Clock) -> None:
    """`workers` went from 8 to 3: exactly one of those that are left looks after it."""
    Life(store, wall, MemoryExchange(Clock()).join(7)).subscribe()
    exchange = MemoryExchange(Clock())
    assert [Life(store, wall, exchange.join(n), processes=3).watching() for n in range(3)] == [[], [KEY], []]


def test_a_full_disk_refuses_new_ones_by_name(wall: Clock) -> None:
    """And nothing else."""

    class Full(MemoryStore):
        problem = StoreProblem.NONE

        def health(self) -> StoreHealth:
            return StoreHealth("state.db", 0, 0, 0, None, self.problem, "disk full", {}, 0)

    store = Full(wall.seconds)
    life = Life(store, wall, alone())
    life.subscribe()
    store.problem = StoreProblem.FULL
    judge = life.table.judge_subscribe
    assert judge(b"another", b"x.example", b"z.example", 600) is Reason.STATE_UNAVAILABLE
    assert judge(b"a fetch", b"x.example", b"z.example", 0) is None
    assert judge(KEY, b"x.example", b"z.example", 600) is None
    assert life.is_live()
    store.problem = StoreProblem.NONE
    assert judge(b"another", b"x.example", b"z.example", 600) is None
