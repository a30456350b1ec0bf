"""Two services that exchange everything, across restarts from what their stores kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from imxrouter.gateways.embedded.attributes import OwnAttribute, Visibility
from imxrouter.gateways.embedded.contacts import Contact
from imxrouter.gateways.embedded.following import End
from imxrouter.gateways.embedded.keeping import RULES, WATCHED, NotKept
from imxrouter.gateways.embedded.register import Change, Topic
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.gateways.embedded.settings import PRESENCE_RIGHTS, Role
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Attribute, EndReason, Kind, SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.domains import ServedDomain
from imxrouter.routing.interfaces import Store
from imxrouter.routing.rules import Decision, Right, Scope
from imxrouter.store.memory import MemoryStore
from tests.gateways.embedded.rigs import WALL, Stranger, World, at, state, words
from tests.store.rigs import Clock, SqliteRig

ALICE, BOB = at("alice@a.example"), at("bob@b.example")
A = Domain("a.example")
LIFETIME_S = 1_800


class Scene:
    """Alice's service and Bob's, each with a store that outlives it."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.world = World()
        self._engine = engine
        self._folder = folder
        self._rigs: dict[str, SqliteRig] = {}
        self._memories: dict[str, MemoryStore] = {}
        self.a = self.start("a.example", "alice")
        self.b = self.start("b.example", "bob")

    def store(self, domain: str) -> Store:
        """A service's store, opened anew."""
        if self._engine == "memory":
            return self._memories.setdefault(domain, MemoryStore(self.world.wall))
        if domain in self._rigs:
            self._rigs[domain].reopen()
        else:
            (self._folder / domain).mkdir()
            clock = Clock(WALL)
            self._rigs[domain] = SqliteRig(self._folder / domain, clock)
        return self._rigs[domain].store

    def start(self, domain: str, user: str) -> EmbeddedService:
        """A service for one user."""
        return self.world.service(domain, [user], store=self.store(domain))

    def restart_a(self, pause_s: float = 5.0) -> None:
        """Alice's is away for some seconds."""
        self.world.stop(self.a)
        self._pass(pause_s)
        self.a = self.start("a.example", "alice")

    def restart_b(self, pause_s: float = 5.0) -> None:
        """Bob's is away for some seconds."""
        self.world.stop(self.b)
        self._pass(pause_s)
        self.b = self.start("b.example", "bob")

    def _pass(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        for rig in self._rigs.values():
            rig.clock.at = self.world.wall()

    def bob_sees(self) -> str:
        """Status and note, as Bob is shown."""
        followed = self.b.subscription(BOB, ALICE)
        return words(followed.presence) if followed is not None else "not watched"

    def close(self) -> None:
        """Close files."""
        for rig in self._rigs.values():
            rig.close()


@pytest.fixture(params=["memory", "sqlite"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Both, with either engine."""
    made = Scene(tmp_path, request.param)
    yield made
    made.close()


def test_all_of_it_crosses(scene: Scene) -> None:
    """Consent, presence, messages with attributes, queries, fetch, ends: each side sees what it should."""
    a, b, world = scene.a, scene.b, scene.world
    a.set_attribute(ALICE, OwnAttribute(Attribute("alias", b"Alice A.", 600), along=True))
    a.set_attribute(
        ALICE, OwnAttribute(Attribute("a.example/room", b"4", 600), Visibility.parse(["group:friends"]))
    )
    a.publish(ALICE, "desk", state("open", "at work"))
    b.subscribe(BOB, ALICE)
    world.run()
    followed = b.subscription(BOB, ALICE)
    assert followed is not None
    assert (followed.standing.state, followed.presence) == (SubscriptionState.PENDING, None)
    a.set_contact(ALICE, Contact(BOB, "Bob", frozenset({"friends"}), watch=True))
    a.decide(ALICE, BOB, Decision.ALLOW)
    world.run()
    assert scene.bob_sees() == "open at work"
    assert b.known(BOB, ALICE, "alias") == Attribute("alias", b"Alice A.", 600)
    assert [(one.watcher, one.state.name) for one in b.watchers(BOB)] == [(ALICE, "PENDING")]

    outcomes: list[Outcome] = []
    b.query(BOB, ALICE, ["a.example/room", "alias"], outcomes.append)
    world.run()
    queries = len(world.of_kind(Kind.ATTRIBUTES))
    b.query(BOB, ALICE, ["a.example/room"], outcomes.append)
    world.run()
    told = [{one.name: one.value for one in outcome.result.attributes} for outcome in outcomes]  # type: ignore[union-attr]
    assert told == [{"a.example/room": b"4", "alias": b"Alice A."}, {"a.example/room": b"4"}]
    assert len(world.of_kind(Kind.ATTRIBUTES)) == queries == 1

    fetched: list[Presence | Unknown] = []
    a.fetch(ALICE, BOB, fetched.append)
    b.fetch(BOB, ALICE, fetched.append)
    world.run()
    assert [words(one) for one in fetched] == ["unknown", "open at work"]
    assert isinstance(fetched[0], Unknown)
    assert fetched[0].reason is Reason.CONSENT_NEEDED

    a.send(ALICE, BOB, "hello", outcomes.append)
    world.run()
    (message,) = b.inbox(BOB)
    assert (message.content, message.user_attributes[0].value) == (b"hello", b"Alice A.")
    a.remove_contact(ALICE, BOB)
    assert b.unsubscribe(BOB, ALICE)
    world.run()
    assert (a.watchers(ALICE), b.watchers(BOB)) == ((), ())
    assert (a.subscriptions(ALICE), b.subscriptions(BOB)) == ((), ())
    assert all(outcome.ok for operation, outcome in world.log if outcome.reason is not Reason.CONSENT_NEEDED)


def test_restart_of_the_presentity_s_side(scene: Scene) -> None:
    """What users set, decided and published is there again, and watchers are told what is so now."""
    a, world = scene.a, scene.world
    a.decide(ALICE, BOB, Decision.ALLOW)
    a.decide(ALICE, at("eve@e.example"), Decision.BLOCK, Scope.MESSAGES)
    a.set_rule(ALICE, "*.e.example", PRESENCE_RIGHTS, Decision.REFUSE)
    a.set_contact(ALICE, Contact(at("carol@c.example"), "Carol", frozenset({"work"})))
    visibility = Visibility.parse(["group:work", "watchers"])
    a.set_attribute(ALICE, OwnAttribute(Attribute("alias", "Älice".encode(), 60), visibility, along=True))
    a.allow(ALICE, BOB, Role.PUBLISH)
    a.allow(ALICE, BOB, Role.READ)
    a.publish(ALICE, "desk", state("open", "at work", "busy"), expires_s=3_600)
    a.publish(ALICE, "phone", state("open", "with me"), expires_s=20, audience=["group:work"])
    scene.b.subscribe(BOB, ALICE)
    world.run()
    assert scene.bob_sees() == "open at work"
    facts = (a.consents, a.rules, a.contacts, a.attributes)
    before = [fact(ALICE) for fact in facts]
    version = scene.b.subscriptions(BOB)[0].standing.version
    desk = dict(a.instances(ALICE))["desk"]
    scene.restart_a(pause_s=40)
    a = scene.a
    assert [fact(ALICE) for fact in (a.consents, a.rules, a.contacts, a.attributes)] == before
    assert a.delegates(ALICE, Role.PUBLISH) == a.delegates(ALICE, Role.READ) == (BOB,)
    assert a.instances(ALICE) == (("desk", desk),)  # the other one expired meanwhile
    (watcher,) = a.watchers(ALICE)
    assert (watcher.watcher, watcher.state) == (BOB, SubscriptionState.ACTIVE)
    assert LIFETIME_S - 60 < watcher.left_s < LIFETIME_S
    world.pass_time(40)
    after = scene.b.subscriptions(BOB)[0].standing.version
    assert version is not None
    assert after is not None
    assert after > version
    a.publish(ALICE, "desk", state("closed", "gone"))
    world.pass_time(5)
    assert scene.bob_sees() == "closed gone"


def test_restart_of_the_watcher_s_side(scene: Scene) -> None:
    """It goes on with the same subscription and is told the state soon; what he ended stays ended."""
    a, world = scene.a, scene.world
    a.decide(ALICE, BOB, Decision.ALLOW)
    a.publish(ALICE, "desk", state("open", "at work"), expires_s=10_000)
    scene.b.subscribe(BOB, ALICE)
    scene.b.subscribe(BOB, at("nobody@a.example"))
    world.run()
    assert [one.reason for one in scene.b.ends(BOB)] == [Reason.NOT_DELIVERED]
    scene.b.subscribe(BOB, at("carol@c.example"))
    scene.b.unsubscribe(BOB, at("carol@c.example"))
    world.run()
    ident = scene.b.subscriptions(BOB)[0].standing.subscription_id
    scene.restart_b()
    assert [one.standing.subscription_id for one in scene.b.subscriptions(BOB)] == [ident]
    world.pass_time(2)
    assert scene.bob_sees() == "open at work"
    assert len(a.watchers(ALICE)) == 1
    world.pass_time(3 * LIFETIME_S, step=5)  # renewed, and never twice
    assert scene.bob_sees() == "open at work"
    assert len(a.watchers(ALICE)) == 1


def test_a_consent_withdrawn_over_a_restart(scene: Scene) -> None:
    """A subscription that is pending stays so, and is told when it is granted."""
    a, world = scene.a, scene.world
    scene.b.subscribe(BOB, ALICE)
    world.run()
    scene.restart_a()
    a = scene.a
    assert [one.state.name for one in a.watchers(ALICE)] == ["PENDING"]
    a.decide(ALICE, BOB, Decision.ALLOW)
    world.pass_time(2)
    assert scene.bob_sees() == "closed"
    a.withdraw(ALICE, BOB)
    world.run()
    assert scene.bob_sees() == "not watched"
    assert scene.b.ends(BOB) == (End(ALICE, world.wall(), EndReason.REJECTED, Reason.NONE),)
    scene.restart_a()
    assert (scene.a.consents(ALICE), scene.a.watchers(ALICE)) == ((), ())


def test_when_the_other_side_is_away(scene: Scene) -> None:
    """A state that cannot be told is told when it can be; a watcher whose renewals fail is shown unknown."""
    a, world = scene.a, scene.world
    changes: list[Change] = []
    a.decide(ALICE, BOB, Decision.ALLOW)
    scene.b.listen(BOB, changes.append)
    scene.b.subscribe(BOB, ALICE)
    world.run()
    world.cut.add("b.example")
    a.publish(ALICE, "desk", state("open", "missed"), expires_s=10_000)
    world.pass_time(20)
    assert scene.bob_sees() == "closed"
    world.cut.clear()
    world.pass_time(30)
    assert scene.bob_sees() == "open missed"
    world.cut.add("a.example")
    world.pass_time(LIFETIME_S + 10, step=5)
    followed = scene.b.subscription(BOB, ALICE)
    assert followed is not None
    assert followed.presence == Unknown(ALICE, Reason.SERVICE_DOWN, ALICE.domain)
    assert changes[-1].topic is Topic.WATCHING
    world.cut.clear()
    world.pass_time(400)
    assert scene.bob_sees() == "open missed"


class Full(MemoryStore):
    """A store whose disk is full at times."""

    full = False

    def put(
        self, table: str, key: bytes, value: bytes, expires_at: float | None = None, *, durable: bool = False
    ) -> bool:
        """Refuses what is to be durable."""
        return not (self.full and durable) and super().put(table, key, value, expires_at, durable=durable)


def test_a_full_disk_refuses_what_must_not_be_forgotten() -> None:
    """New subscriptions and consents, by name; the rest goes on, messages and refusals too."""
    world = World()
    store = Full(world.wall)
    service = world.service("a.example", ["alice"], store=store)
    bob, carol = Stranger(world, "bob@b.example"), Stranger(world, "carol@c.example")
    service.set_rule(ALICE, "*.example", PRESENCE_RIGHTS, Decision.ALLOW)
    assert bob.subscribe("alice@a.example").ok
    store.full = True
    refused = carol.subscribe("alice@a.example")
    assert (refused.reason, refused.retry_after_s > 0) == (Reason.STATE_UNAVAILABLE, True)
    assert carol.told == []
    assert carol.subscribe("alice@a.example", b"fetch", 0).ok
    assert bob.subscribe("alice@a.example").ok
    assert [one.watcher for one in service.watchers(ALICE)] == [BOB]
    with pytest.raises(NotKept):
        service.decide(ALICE, BOB, Decision.ALLOW)
    with pytest.raises(NotKept):
        service.subscribe(ALICE, BOB)
    with pytest.raises(NotKept):
        service.set_contact(ALICE, Contact(BOB, watch=True))
    assert (service.consents(ALICE), service.subscriptions(ALICE), service.contacts(ALICE)) == ((), (), ())
    service.decide(ALICE, carol.address, Decision.REFUSE)
    service.set_rule(ALICE, "b.example", [Right.MESSAGE], Decision.REFUSE)
    service.publish(ALICE, "desk", state())
    world.run()
    assert bob.shown()[-1] == "open"
    assert carol.write("alice@a.example").ok
    store.full = False
    assert carol.subscribe("alice@a.example").reason is Reason.BLOCKED
    service.subscribe(ALICE, BOB)


def test_what_cannot_be_read_is_left_out() -> None:
    """A broken entry goes; one of a later version stays for that version; neither stops the start."""
    world = World()
    store = MemoryStore(world.wall)
    store.put(RULES, b"alice@a.example", b"{broken")
    store.put(RULES, b"bob@a.example", b'{"form": 2, "other": true}')
    bad_rule = b'{"form": 1, "rules": [{"who": "a@b@c", "right": "fetch", "decision": "ask"}]}'
    store.put(RULES, b"carol@a.example", bad_rule)
    store.put(WATCHED, b"x", b'{"form": 1}')
    service = world.service("a.example", ["alice", "bob", "carol"])
    with capturedLogs() as events:
        service.begin(store)
    assert sorted(event["table"] for event in events) == [RULES, RULES, RULES, WATCHED]
    assert [key for key, _, _ in store.items(RULES)] == [b"bob@a.example", b"carol@a.example"]
    assert service.rules(ALICE) == ()


def test_a_user_who_comes_back_has_what_he_had() -> None:
    """A domain that is served again after a while; meanwhile nobody inherits it."""
    world = World()
    store = MemoryStore(world.wall)
    records = [ServedDomain(A, "home")]
    service = world.service("", ["alice"], store=store, records=records)
    service.decide(ALICE, BOB, Decision.ALLOW)
    service.publish(ALICE, "desk", state(), expires_s=1_000)
    bob = Stranger(world, "bob@b.example")
    bob.subscribe("alice@a.example")
    service.serve([])
    assert not service.knows(ALICE)
    service.serve(records)
    world.run()
    assert [one.person for one in service.consents(ALICE)] == [BOB]
    assert service.state_of(ALICE).status.value == "open"
    assert bob.subscribe("alice@a.example").ok
    assert bob.shown()[-1] == "open"


def test_users_who_do_nothing_cost_nothing() -> None:
    """An account is made when its user is first asked for, or has something kept."""
    world = World()
    store = MemoryStore(world.wall)
    users = [f"u{number}" for number in range(100)]
    first = world.service("a.example", users, store=store)
    first.set_contact(at("u1@a.example"), Contact(BOB))
    world.stop(first)
    second = world.service("a.example", users, store=store)
    assert [account.address for account in second._register.accounts.values()] == [at("u1@a.example")]
    assert second.contacts(at("u2@a.example")) == ()
    assert len(second._register.accounts) == 2


def test_epochs_grow_even_when_the_clock_does_not() -> None:
    """Each life's versions are newer than those before (specification section 7.7)."""
    world = World()
    store = MemoryStore(world.wall)
    bob = Stranger(world, "bob@b.example")
    for _ in range(3):
        service = world.service("a.example", ["alice"], store=store)
        service.set_rule(ALICE, "b.example", PRESENCE_RIGHTS, Decision.ALLOW)
        bob.subscribe("alice@a.example", b"fetch", 0)
        world.stop(service)
    epochs = [one.version.epoch for one in bob.told if one.version is not None]
    assert len(epochs) == 3
    assert epochs == sorted(set(epochs))
