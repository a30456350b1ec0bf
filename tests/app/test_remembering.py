"""What survives a restart of the router: the wait for failing destinations, and the strength of domains."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
from typing import Any

import pytest
from twisted.internet.task import Clock

from imxrouter.admin.views import PeerView
from imxrouter.app.operators.console import Console
from imxrouter.app.remembering import BACK_OFF, STRENGTH, Remembering
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.destinations import BackOff, DestinationState, DestinationTable
from imxrouter.routing.interfaces import StoreProblem
from imxrouter.routing.policy import BOUND, Level, RememberedStrength
from imxrouter.store.memory import MemoryStore
from imxrouter.wire.control import Claim, ClaimResult
from tests.doubles.full_disk import fill_disk
from tests.doubles.raw_peer import PATIENCE_S, SOME_TOKEN
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address
from tests.store.rigs import filled

B = Domain("b.example")
DAY = 86400.0
SLOW = {"dial.backoff_first_s": 100.0, "dial.backoff_cap_s": 300.0}


class Life:
    """One life of a router process: clocks and tables; the store is handed from one to the next."""

    def __init__(self, store: MemoryStore, wall: Clock, age_s: float = 30 * DAY) -> None:
        self.monotonic = Clock()
        self.monotonic.advance(5000 + wall.seconds() % 777)  # begins anywhere
        self.wall = wall
        self.destinations = DestinationTable(lambda: 0.0, BackOff(10, 300))
        self.remembered = RememberedStrength(age_s=age_s)
        self.kept = Remembering(
            store, self.destinations, self.remembered, self.monotonic.seconds, wall.seconds
        )
        self.kept.begin()

    def advance(self, seconds: float) -> None:
        """Time passes on both clocks."""
        self.monotonic.advance(seconds)
        self.wall.advance(seconds)

    def fail(self, times: int = 1) -> None:
        """B cannot be reached."""
        now = self.monotonic.seconds()
        entry = self.destinations.open(B, now)
        assert entry is not None
        for _ in range(times):
            entry.failed(Reason.CONNECT_TIMEOUT, now, "192.0.2.1:6490")

    def wait_s(self) -> float | None:
        """How long until B is tried; None where nothing is known of it."""
        entry = self.destinations.find(B)
        return None if entry is None else entry.next_try - self.monotonic.seconds()

    def seen(self) -> int:
        """The strength of B."""
        return self.remembered.seen(B, self.monotonic.seconds())


@pytest.fixture
def wall() -> Clock:
    """Seconds since 1970."""
    clock = Clock()
    clock.advance(1.8e9)
    return clock


@pytest.fixture
def store(wall: Clock) -> MemoryStore:
    """What lives on."""
    return MemoryStore(wall.seconds)


# -- back-off ------------------------------------------------------------------------------------------------


def test_a_wait_goes_on_after_a_restart(store: MemoryStore, wall: Clock) -> None:
    """With its count and its last error; time that passed meanwhile counts, whatever the monotonic clock."""
    before = Life(store, wall)
    before.fail(3)
    assert before.wait_s() == 40
    wall.advance(15)
    after = Life(store, wall)
    assert after.wait_s() == pytest.approx(25, abs=0.01)
    entry = after.destinations.find(B)
    assert entry is not None
    assert entry.last_error is not None
    assert (entry.state, entry.failures) == (DestinationState.FAILING, 3)
    assert (entry.last_error.reason, entry.last_error.note) == (Reason.CONNECT_TIMEOUT, "192.0.2.1:6490")
    assert after.monotonic.seconds() - entry.last_error.at == pytest.approx(15, abs=0.01)
    after.advance(25)
    after.fail()
    assert after.wait_s() == 80


def test_a_success_or_an_operator_ends_it(store: MemoryStore, wall: Clock) -> None:
    """A link, the peer's own proof, and `peers retry`; the store has nothing to give back then."""
    life = Life(store, wall)
    for ends in (
        lambda entry: entry.up(life.monotonic.seconds()),
        lambda entry: entry.peer_proved(life.monotonic.seconds()),
        lambda entry: life.destinations.forget(entry.domain),
    ):
        life.fail()
        assert len(store.items(BACK_OFF)) == 1
        ends(life.destinations.find(B))
        assert store.items(BACK_OFF) == []
        assert Life(store, wall).wait_s() is None


def test_a_wait_that_nobody_asks_for_is_forgotten(store: MemoryStore, wall: Clock) -> None:
    """As long after it was due as in one life."""
    life = Life(store, wall)
    life.fail()
    wall.advance(10 + life.destinations.keep_s - 1)
    assert Life(store, wall).wait_s() is not None
    wall.advance(2)
    assert Life(store, wall).wait_s() is None


def test_a_clock_that_was_wrong_makes_no_long_wait(store: MemoryStore, wall: Clock) -> None:
    """Never longer than the longest."""
    Life(store, wall).fail(9)
    earlier = Clock()
    earlier.advance(wall.seconds() - 1000 * DAY)
    assert Life(store, earlier).wait_s() == 300


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"b.example", b"{"),
        (b"b.example", b'{"failures":0,"next_try":1}'),
        (b"B!", b'{"failures":1,"next_try":1}'),
    ],
)
def test_what_cannot_be_read_is_dropped(store: MemoryStore, wall: Clock, key: bytes, value: bytes) -> None:
    """Another version, or a hand in the file."""
    store.put(BACK_OFF, key, value)
    life = Life(store, wall)
    assert (len(life.destinations), store.items(BACK_OFF)) == (0, [])


def test_a_reason_of_another_version_is_only_a_wait(store: MemoryStore, wall: Clock) -> None:
    """What is not known stands as what we do."""
    value = {"failures": 2, "next_try": wall.seconds() + 5, "reason": "new-one", "at": wall.seconds()}
    store.put(BACK_OFF, B.wire, json.dumps(value).encode())
    entry = Life(store, wall).destinations.find(B)
    assert entry is not None
    assert entry.last_error is not None
    assert entry.last_error.reason is Reason.BACKING_OFF


# -- strength ------------------------------------------------------------------------------------------------


def test_strength_is_remembered_for_its_time(store: MemoryStore, wall: Clock) -> None:
    """Over any number of lives, and renewed only by being seen."""
    life = Life(store, wall)
    life.remembered.note(B, Level.DIALBACK_TLS, life.monotonic.seconds())
    wall.advance(29 * DAY)
    assert Life(store, wall).seen() == Level.DIALBACK_TLS
    wall.advance(DAY)
    life = Life(store, wall)
    assert (life.seen(), store.items(STRENGTH)) == (0, [])
    life.remembered.note(B, Level.DIALBACK, life.monotonic.seconds())
    assert life.remembered.forget(B)
    assert Life(store, wall).seen() == 0


def test_both_ways_are_remembered_over_a_restart(store: MemoryStore, wall: Clock) -> None:
    """How a domain was reached stands beside how it proved itself, and other processes add to both."""
    life = Life(store, wall)
    now = life.monotonic.seconds()
    life.remembered.note(B, Level.DIALBACK, now)
    life.remembered.note(B, Level.DIALBACK_CERTIFICATE | BOUND, now, reached=True)
    later = Life(store, wall)
    now = later.monotonic.seconds()
    assert later.remembered.seen(B, now) == Level.DIALBACK
    assert later.remembered.seen(B, now, reached=True) == Level.DIALBACK_CERTIFICATE | BOUND


def test_each_protocol_is_remembered_over_a_restart(store: MemoryStore, wall: Clock) -> None:
    """In one number, which a store from before there were two also has."""
    life = Life(store, wall)
    now = life.monotonic.seconds()
    life.remembered.note(B, Level.DIALBACK_CERTIFICATE | BOUND, now)
    life.remembered.note(B, Level.CERTIFICATE, now, protocol=Protocol.XMPP)
    life.remembered.note(B, Level.DIALBACK_CERTIFICATE, now, reached=True, protocol=Protocol.XMPP)
    assert [value for _, value, _ in store.items(STRENGTH)] == [b"%d" % 0x760F]
    later = Life(store, wall)
    now = later.monotonic.seconds()
    seen = [
        later.remembered.seen(B, now, reached=reached, protocol=protocol)
        for protocol in (Protocol.IMX, Protocol.XMPP)
        for reached in (False, True)
    ]
    strong = Level.DIALBACK_CERTIFICATE
    assert seen == [strong | BOUND, strong, Level.CERTIFICATE, strong]


def test_renewing_writes_once_an_hour(store: MemoryStore, wall: Clock) -> None:
    """A busy peer proves itself often; that costs no disk."""
    life, writes = Life(store, wall), list[object]()
    told = life.remembered.on_changed

    def note(*what: Any) -> None:
        writes.append(what)
        told(*what)

    life.remembered.on_changed = note
    for _ in range(7200):
        life.remembered.note(B, Level.DIALBACK, life.monotonic.seconds())
        life.advance(1)
    assert len(writes) == 2
    wall.advance(30 * DAY - 3602)
    assert Life(store, wall).seen() == Level.DIALBACK


def test_a_shorter_memory_holds_for_what_is_kept(store: MemoryStore, wall: Clock) -> None:
    """The configuration of today decides."""
    life = Life(store, wall)
    life.remembered.note(B, Level.DIALBACK, life.monotonic.seconds())
    shorter = Life(store, wall, age_s=DAY)
    assert shorter.seen() == Level.DIALBACK
    shorter.advance(DAY)
    assert shorter.seen() == 0


@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"0", b"2048", b"65536", b"9" * 5000])
def test_a_strength_that_is_none_is_dropped(store: MemoryStore, wall: Clock, value: bytes) -> None:
    """Bits that nobody knows cannot be met."""
    store.put(STRENGTH, B.wire, value, wall.seconds() + DAY)
    assert (Life(store, wall).seen(), store.items(STRENGTH)) == (0, [])


def test_what_another_process_saw_counts_here(store: MemoryStore, wall: Clock) -> None:
    """Both keep all bits, and the store has them; forgetting reaches everybody."""
    life = Life(store, wall)
    life.remembered.note(B, Level.DIALBACK, life.monotonic.seconds())
    life.kept._seen_elsewhere(B.wire, b"%d" % Level.CERTIFICATE, wall.seconds() + DAY)
    assert life.seen() == Level.DIALBACK_CERTIFICATE
    assert store.get(STRENGTH, B.wire) == b"%d" % Level.DIALBACK_CERTIFICATE
    life.kept._seen_elsewhere(B.wire, None, None)
    assert life.seen() == 0


# -- whole routers -------------------------------------------------------------------------------------------


def restarted(lab: Lab, old: RouterRig, state: str, **settings: object) -> RouterRig:
    """The same router in another life."""
    old.stop()
    lab.wait_until(lambda: old.router.store.health().problem.value == "closed", "the end of the old one")
    return lab.router("a.example", endpoint=old.endpoint, settings={**SLOW, "state_dir": state, **settings})


def peer(rig: RouterRig, name: str) -> PeerView:
    """What an operator sees of a peer."""
    views: list[PeerView] = rig.call(Console(rig.router).peers)
    return next(view for view in views if view["domain"] == name)


def dials(rig: RouterRig) -> float:
    """Connections tried."""
    families = rig.router.metrics.registry.collect()
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "imxrouter_dials_total"
    )


def test_back_off_survives_a_restart(lab: Lab) -> None:
    """The new life answers as the old one did, and knocks at nobody's door; until the wait is ended."""
    ip = fresh_address()
    lab.publish("b.example", (ip, free_port(ip)))
    state = str(lab.folder / "state-of-a")
    first = lab.router("a.example", settings={**SLOW, "state_dir": state})
    assert first.send("alice@a.example", "bob@b.example").outcome().reason is Reason.UNREACHABLE
    assert dials(first) == 1
    second = restarted(lab, first, state)
    outcome = second.send("alice@a.example", "bob@b.example").outcome()
    assert (outcome.reason, dials(second)) == (Reason.UNREACHABLE, 0)
    assert 0 < outcome.retry_after_s <= 100
    view = peer(second, "b.example")
    assert (view["state"], view["last_error"].split(" ")[:2]) == (
        "failing", ["connect:", "connection-refused"]
    )  # fmt: skip
    second.call(lambda: Console(second.router).peer_retry("b.example"))
    third = restarted(lab, second, state)
    assert third.call(Console(third.router).peers) == []


def test_remembered_strength_survives_a_restart(lab: Lab) -> None:
    """What was proved at is kept; less than what was seen is refused in the next life too."""
    state = str(lab.folder / "state-of-a")
    first, b = lab.router("a.example", settings={**SLOW, "state_dir": state}), lab.router("b.example")
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    assert first.router.gatekeeper.remembered.seen(B, first.router.hub.now()) == Level.DIALBACK
    second = restarted(lab, first, state)
    remembered = second.router.gatekeeper.remembered
    assert remembered.seen(B, second.router.hub.now()) == Level.DIALBACK
    second.call(lambda: remembered.note(B, Level.DIALBACK_TLS, second.router.hub.now()))
    third = restarted(lab, second, state)
    organisation = lab.organisation("b.example")
    link = organisation.connect(third)
    link.send(Claim(1, b"b.example", b"a.example", SOME_TOKEN))
    assert link.expect(ClaimResult).reason == Reason.WEAKER_THAN_REMEMBERED.code


def test_a_full_disk_lets_messages_pass(lab: Lab) -> None:
    """Status and metrics tell it; what must last is refused."""
    a = lab.router("a.example")
    lab.router("b.example")
    fill_disk(lab, a)
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert not a.call(lambda: a.router.store.put("test", b"more", b"v", durable=True))
    status = a.call(Console(a.router).status)
    assert (status["store"]["problem"], status["store"]["refused"]) == ("full", 1)
    page = a.router.metrics.exposition().decode()
    assert "\nimxrouter_store_works 0.0\n" in page
    assert '\nimxrouter_store_failures_total{problem="full"}' in page


@pytest.mark.needs_root
def test_a_start_on_a_full_disk(lab: Lab) -> None:
    """With its keys there, the router starts, and messages pass; what it had is known, and the disk heals."""
    state = lab.folder / "state-of-a"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(state)], check=True)
    try:
        first = lab.router("a.example", settings={**SLOW, "state_dir": str(state)})
        lab.router("b.example")
        first.call(lambda: first.router.gatekeeper.remembered.note(B, 1, first.router.hub.now()))
        first.stop()
        ballast = filled(state)
        second = restarted(lab, first, str(state))
        assert second.router.gatekeeper.remembered.seen(B, second.router.hub.now()) == 1
        second.call(lambda: second.router.store.put("test", b"k", b"v" * 50_000))
        health = second.router.store.health
        lab.wait_until(lambda: health().problem is StoreProblem.FULL, "the full disk")
        assert second.send("alice@a.example", "bob@b.example").outcome().ok
        ballast.unlink()
        lab.wait_until(lambda: health().problem is StoreProblem.NONE, "the end of it")
        second.stop()
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)


def test_a_lost_state_file_is_an_empty_one(lab: Lab) -> None:
    """The router starts, says so, and works."""
    state = str(lab.folder / "state-of-a")
    first = lab.router("a.example", settings={"state_dir": state})
    path = first.router.store.health().path
    first.stop()
    lab.wait_until(lambda: first.router.store.health().problem.value == "closed", "the end of the old one")
    (lab.folder / "state-of-a" / "state.db").unlink()
    second = restarted(lab, first, state)
    assert path == second.router.store.health().path
    assert second.router.store.health().problem.value == "none"


def test_a_disk_that_hangs_keeps_no_router_from_ending(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits a moment, says so, and goes."""
    monkeypatch.setattr("imxrouter.app.storing.CLOSE_S", 0.05)
    said: list[tuple[str, bool]] = []
    monkeypatch.setattr("imxrouter.app.storing._note", lambda *what: said.append(what))
    a, go_on = lab.router("a.example"), threading.Event()

    def hang(_: sqlite3.Connection) -> None:
        go_on.wait(PATIENCE_S)

    a.router.store._file._prepare = hang
    a.call(lambda: a.router.store.put("test", b"k", b"v"))
    try:
        a.stop()
        assert [text for text, _ in said if text.endswith("the disk took too long to close it")]
    finally:
        go_on.set()


def test_processes_of_one_router_remember_together(lab: Lab) -> None:
    """What one of them saw, or was told to forget, is the same at the other within a second or two."""
    shared = {"state_dir": str(lab.folder / "state-of-a"), "listen.reuse_port": True}
    one = lab.router("a.example", settings={**shared, "process": 0})
    two = lab.router("a.example", settings={**shared, "process": 1})

    def seen(rig: RouterRig) -> int:
        return rig.router.gatekeeper.remembered.seen(B, rig.router.hub.now())

    one.call(lambda: one.router.gatekeeper.remembered.note(B, Level.DIALBACK_TLS, one.router.hub.now()))
    lab.wait_until(lambda: seen(two) == Level.DIALBACK_TLS, "the other process to know")
    two.call(lambda: Console(two.router).peer_forget("b.example"))
    lab.wait_until(lambda: seen(one) == 0, "the first process to forget")
