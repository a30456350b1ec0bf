"""Our users as presentities: who watches them, what they are told, and who decides (RFC 2779 section 5.1)."""

from __future__ import annotations

import pytest

from imxrouter.gateways.embedded.accounts import MAX_KNOCKS_OF_ZONE, NotAllowed
from imxrouter.gateways.embedded.contacts import Contact
from imxrouter.gateways.embedded.instances import BadPublication
from imxrouter.gateways.embedded.presentities import MAX_PENDING_OF_ZONE, RULES_SLICE, SLICE_S
from imxrouter.gateways.embedded.register import Change, PresenceOff, Topic
from imxrouter.gateways.embedded.settings import PRESENCE_RIGHTS, Role
from imxrouter.model.domain import Domain
from imxrouter.model.operations import EndReason, Operation, SubscribeResult, SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.model.presence import offline
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.domains import CaseProfile, ServedDomain
from imxrouter.routing.interfaces import Answer
from imxrouter.routing.rules import Decision, Defaults, Detail, Openness, Right, Scope
from imxrouter.store.memory import MemoryStore
from tests.gateways.embedded.rigs import Stranger, World, at, state, words

ALICE, MATE, BOB = at("alice@a.example"), at("mate@a.example"), at("bob@b.example")
OPEN = Defaults(Openness.OPEN)
ACTIVE, PENDING, TERMINATED = (
    SubscriptionState.ACTIVE,
    SubscriptionState.PENDING,
    SubscriptionState.TERMINATED,
)


@pytest.fixture
def world() -> World:
    """Nobody there yet."""
    return World()


def test_a_watcher_is_told_at_once(world: World) -> None:
    """The full state after each Subscribe, and each change while it lives; then nothing more."""
    service, bob = world.service("a.example", ["alice"], defaults=OPEN), Stranger(world, "bob@b.example")
    service.publish(ALICE, "desk", state("open", "hello"))
    assert bob.subscribe("alice@a.example").result == SubscribeResult(ACTIVE, 600)
    assert words(bob.told[-1].presence) == "open hello"
    service.publish(ALICE, "desk", state("closed", "bye"))
    world.run()
    assert words(bob.told[-1].presence) == "closed bye"
    service.retract(ALICE, "desk")
    world.run()
    assert bob.told[-1].presence == offline(ALICE)
    count = len(bob.told)
    assert bob.subscribe("alice@a.example").ok  # a renewal owes the full state, changed or not
    assert (len(bob.told), bob.told[-1].presence) == (count + 1, offline(ALICE))
    assert bob.subscribe("alice@a.example", duration_s=0).result == SubscribeResult(TERMINATED, 0)
    service.publish(ALICE, "desk", state())
    world.pass_time(60)
    assert len(bob.told) == count + 1
    versions = [one.version for one in bob.told]
    assert all(one is not None for one in versions)
    assert versions == sorted(versions, key=lambda one: (one.epoch, one.number) if one else (0, 0))
    assert len(set(versions)) == len(versions)


def test_the_same_state_is_not_told_again(world: World) -> None:
    """A program that publishes what it said before bothers nobody."""
    service, bob = world.service("a.example", ["alice"], defaults=OPEN), Stranger(world, "bob@b.example")
    service.publish(ALICE, "desk", state())
    bob.subscribe("alice@a.example")
    for _ in range(3):
        service.publish(ALICE, "desk", state())
        world.pass_time(5)
    assert bob.shown() == ["open"]


def test_a_publication_expires(world: World) -> None:
    """A program that is gone leaves its user offline, and his watchers are told."""
    service, bob = world.service("a.example", ["alice"], defaults=OPEN), Stranger(world, "bob@b.example")
    bob.subscribe("alice@a.example")
    service.publish(ALICE, "desk", state(), expires_s=30)
    world.pass_time(29)
    assert service.state_of(ALICE).status.value == "open"
    service.publish(ALICE, "desk", state(), expires_s=30)  # it is there again
    world.pass_time(29)
    assert bob.shown() == ["closed", "open"]
    world.pass_time(3)
    assert bob.shown() == ["closed", "open", "closed"]
    assert service.instances(ALICE) == ()
    for seconds in (0, -1, 1e9, float("nan")):
        with pytest.raises(BadPublication):
            service.publish(ALICE, "desk", state(), expires_s=seconds)


def test_a_subscription_expires(world: World) -> None:
    """No longer than its domain grants; its watcher is told that it is over (5.1.9)."""
    record = ServedDomain(Domain("a.example"), "home", subscription_lifetime_s=100)
    service = world.service("", ["alice"], defaults=OPEN, records=[record])
    bob = Stranger(world, "bob@b.example")
    assert bob.subscribe("alice@a.example", duration_s=4_000).result == SubscribeResult(ACTIVE, 100)
    assert bob.told[0].expires_s == 100
    world.pass_time(90)
    assert [one.left_s for one in service.watchers(ALICE)] == [10.0]
    world.pass_time(15)
    assert service.watchers(ALICE) == ()
    assert (bob.told[-1].state, bob.told[-1].end_reason) == (TERMINATED, EndReason.TIMEOUT)


def test_consent(world: World) -> None:
    """A stranger waits until the user agrees, is then told, and told again when it is withdrawn (FCC-4)."""
    service, bob = world.service("a.example", ["alice"]), Stranger(world, "bob@b.example")
    seen: list[Change] = []
    service.listen(ALICE, seen.append)
    service.publish(ALICE, "desk", state())
    assert bob.subscribe("alice@a.example").result == SubscribeResult(PENDING, 600)
    assert bob.told == []
    assert seen[-1] == Change(ALICE, Topic.WATCHERS, BOB)
    (waiting,) = service.watchers(ALICE)
    assert (waiting.watcher, waiting.state, waiting.ruling.decision) == (BOB, PENDING, Decision.ASK)
    world.pass_time(100)
    consent = service.decide(ALICE, BOB, Decision.ALLOW)
    world.run()
    assert (consent.at, service.consents(ALICE)) == (world.wall(), (consent,))
    assert bob.shown() == ["open"]
    assert bob.told[-1].state is ACTIVE
    assert bob.subscribe("alice@a.example").result == SubscribeResult(ACTIVE, 600)
    assert service.withdraw(ALICE, BOB)
    assert not service.withdraw(ALICE, BOB)
    world.run()
    assert (bob.told[-1].state, bob.told[-1].end_reason) == (TERMINATED, EndReason.REJECTED)
    service.publish(ALICE, "desk", state("closed"))
    world.pass_time(10)
    assert bob.told[-1].state is TERMINATED
    assert bob.subscribe("alice@a.example").result == SubscribeResult(PENDING, 600)


def test_a_refusal_is_told(world: World) -> None:
    """To who waits, and at once to who comes again; as to him who asks for nobody (5.1.5, 5.1.13)."""
    service, bob = world.service("a.example", ["alice"]), Stranger(world, "bob@b.example")
    bob.subscribe("alice@a.example")
    service.decide(ALICE, BOB, Decision.REFUSE)
    world.run()
    assert (bob.told[-1].state, bob.told[-1].end_reason) == (TERMINATED, EndReason.REJECTED)
    again, nobody = bob.subscribe("alice@a.example"), bob.subscribe("nobody@a.example")
    assert (again.reason, nobody.reason) == (Reason.BLOCKED, Reason.UNKNOWN_USER)
    assert again.disclosed() == nobody.disclosed()
    assert service.watchers(ALICE) == ()


def test_a_fetch(world: World) -> None:
    """One notification and no subscription; who must ask first is noted for the user (knock-knock)."""
    service, bob = world.service("a.example", ["alice"]), Stranger(world, "bob@b.example")
    seen: list[Change] = []
    service.listen(None, seen.append)
    outcome = bob.subscribe("alice@a.example", duration_s=0)
    assert (outcome.result, bob.told) == (SubscribeResult(PENDING, 0), [])
    bob.subscribe("alice@a.example", duration_s=0)
    (knock,) = service.knocks(ALICE)
    assert (knock.person, knock.right, knock.count) == (BOB, Right.FETCH, 2)
    assert seen == [Change(ALICE, Topic.KNOCK, BOB)]
    service.decide(ALICE, BOB, Decision.ALLOW)
    assert service.knocks(ALICE) == ()
    service.publish(ALICE, "desk", state("open", "hello"))
    assert bob.subscribe("alice@a.example", duration_s=0).result == SubscribeResult(TERMINATED, 0)
    (told,) = bob.told
    assert (words(told.presence), told.state) == ("open hello", TERMINATED)
    assert service.watchers(ALICE) == ()
    service.publish(ALICE, "desk", state("closed"))
    world.pass_time(60)
    assert len(bob.told) == 1


def test_rules_hold_at_once(world: World) -> None:
    """For subscriptions that are there: by group, by detail, by the audience of an instance (5.2.3)."""
    service, bob = world.service("a.example", ["alice"], defaults=OPEN), Stranger(world, "bob@b.example")
    eve = Stranger(world, "eve@e.example")
    service.publish(ALICE, "desk", state("open", "hello"))
    service.publish(ALICE, "work", state("open", "in room 4"), audience=["group:work"])
    bob.subscribe("alice@a.example")
    eve.subscribe("alice@a.example")
    assert words(bob.told[-1].presence) == words(eve.told[-1].presence) == "open hello"
    service.set_contact(ALICE, Contact(BOB, "Bob", frozenset({"work"})))
    world.run()
    assert {note.text for note in bob.told[-1].presence.notes} == {"hello", "in room 4"}  # type: ignore[union-attr]
    service.set_rule(ALICE, "*.example", PRESENCE_RIGHTS, Decision.ALLOW, Detail.BASIC)
    world.run()
    assert words(bob.told[-1].presence) == words(eve.told[-1].presence) == "open"
    service.set_rule(ALICE, "e.example", PRESENCE_RIGHTS, Decision.REFUSE)
    world.run()
    assert (eve.shown()[-1], bob.shown()[-1]) == ("terminated", "open")
    service.remove_rule(ALICE, "*.example", PRESENCE_RIGHTS)
    world.pass_time(5)
    assert {note.text for note in bob.told[-1].presence.notes} == {"hello", "in room 4"}  # type: ignore[union-attr]


def test_rules_reach_every_one_of_many(world: World) -> None:
    """In slices, so that a user with many watchers holds up nobody else's messages."""
    service, crowd = world.service("a.example", ["alice"], defaults=OPEN), Stranger(world, "x@crowd.example")
    service.publish(ALICE, "desk", state())
    watchers = [at(f"u{number}@crowd.example") for number in range(RULES_SLICE + 50)]
    for watcher in watchers:
        crowd.address = watcher
        crowd.subscribe("alice@a.example")
    crowd.told.clear()
    service.set_rule(ALICE, "crowd.example", PRESENCE_RIGHTS, Decision.ASK)
    world.run()
    assert service.watchers(ALICE) == ()
    assert {one.watcher for one in crowd.told if one.end_reason is EndReason.REJECTED} == set(watchers)
    later = [one for one in crowd.told if one.presence is not None]
    assert all(one.presence == offline(ALICE) for one in later)


class SlowWorld(World):
    """Every notification takes a quarter of a millisecond to send; how many went in each turn is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[int] = []

    def _submit(self, operation: Operation, answer: Answer) -> None:
        self.now += 0.000_25
        self.turns[-1] += 1
        super()._submit(operation, answer)

    def run(self) -> None:
        """As always; each thing that happens is a turn."""
        while self._soon:
            self.turns.append(0)
            self._soon.popleft()()


def test_many_watchers_are_told_in_turns_of_a_millisecond() -> None:
    """So that messages wait for no more; everybody is told the same document in the end."""
    world = SlowWorld()
    service, crowd = world.service("a.example", ["alice"], defaults=OPEN), Stranger(world, "x@crowd.example")
    watchers = [at(f"u{number}@crowd.example") for number in range(200)]
    for watcher in watchers:
        crowd.address = watcher
        crowd.subscribe("alice@a.example")
    crowd.told.clear()
    world.turns.clear()
    service.publish(ALICE, "desk", state("open", "hello"))
    world.run()
    assert 0 < max(world.turns) * 0.000_25 <= SLICE_S + 0.001
    assert {one.watcher for one in crowd.told} == set(watchers)
    assert {words(one.presence) for one in crowd.told} == {"open hello"}


def test_others_may_publish_for_a_user(world: World) -> None:
    """Whom he allowed, instances of their own; when they may no longer, what they said goes (2.3.4)."""
    service, bob = (
        world.service("a.example", ["alice", "mate"], defaults=OPEN),
        Stranger(world, "b@b.example"),
    )
    bob.subscribe("alice@a.example")
    with pytest.raises(NotAllowed):
        service.publish(ALICE, "calendar", state(), by=MATE)
    service.allow(ALICE, MATE, Role.PUBLISH)
    assert service.delegates(ALICE, Role.PUBLISH) == (MATE,)
    service.publish(ALICE, "calendar", state("open", "meeting"), by=MATE)
    service.publish(ALICE, "own", state("closed"), by=ALICE)
    world.run()
    assert words(bob.told[-1].presence) == "open meeting"
    for instance in ("own", "other"):
        if instance == "own":
            with pytest.raises(NotAllowed):
                service.retract(ALICE, instance, by=MATE)
        else:
            assert not service.retract(ALICE, instance, by=MATE)
    assert service.disallow(ALICE, MATE, Role.PUBLISH)
    world.pass_time(5)
    assert words(bob.told[-1].presence) == "closed"
    assert [name for name, _ in service.instances(ALICE)] == ["own"]


def test_others_may_read_a_user_s_messages(world: World) -> None:
    """Whom he allowed (2.3.6); everybody else may not."""
    service, bob = world.service("a.example", ["alice", "mate"]), Stranger(world, "bob@b.example")
    assert bob.write("alice@a.example").ok
    with pytest.raises(NotAllowed):
        service.inbox(ALICE, by=MATE)
    with pytest.raises(NotAllowed):
        service.watch(ALICE, lambda _: None, by=MATE)
    service.allow(ALICE, MATE, Role.READ)
    assert len(service.inbox(ALICE, by=MATE)) == len(service.inbox(ALICE, by=ALICE)) == 1


def test_who_may_write(world: World) -> None:
    """A stranger that a user does not want is told as little as one who writes to nobody (5.4.1, 5.4.10)."""
    service, bob = world.service("a.example", ["alice"]), Stranger(world, "bob@b.example")
    assert bob.write("alice@a.example").ok
    nobody = bob.write("nobody@a.example")
    assert nobody.reason is Reason.UNKNOWN_USER
    for decision, reason in (
        (Decision.REFUSE, Reason.BLOCKED),
        (Decision.BLOCK, Reason.BLOCKED),
        (Decision.ASK, Reason.CONSENT_NEEDED),
    ):
        service.set_rule(ALICE, "b.example", [Right.MESSAGE], decision)
        refused = bob.write("alice@a.example")
        assert refused.reason is reason
        assert refused.disclosed() == nobody.disclosed()
    (knock,) = service.knocks(ALICE)
    assert (knock.person, knock.right) == (BOB, Right.MESSAGE)
    service.decide(ALICE, BOB, Decision.ALLOW, Scope.MESSAGES)
    assert service.knocks(ALICE) == ()
    assert bob.write("alice@a.example").ok
    assert len(service.inbox(ALICE)) == 2


def test_strangers_do_not_fill_the_table(world: World) -> None:
    """So many of one zone may wait for a user, and so many in all; who is let in finds room."""
    service, bob = world.service("a.example", ["alice"]), Stranger(world, "bob@b.example")
    crowd = Stranger(world, "x@crowd.example")
    for number in range(MAX_PENDING_OF_ZONE):
        crowd.address = at(f"u{number}@{'' if number == 7 else f's{number}.'}crowd.example")
        assert crowd.subscribe("alice@a.example").ok
    crowd.address = at("more@crowd.example")
    refused = crowd.subscribe("alice@a.example")
    assert (refused.reason, refused.disclosed().reason) == (Reason.RECIPIENT_LIMIT, Reason.BUSY)
    assert bob.subscribe("alice@a.example").ok
    crowd.address = at("u7@crowd.example")
    assert crowd.subscribe("alice@a.example").ok  # a renewal
    assert crowd.subscribe("alice@a.example", duration_s=0).ok
    crowd.address = at("more@crowd.example")
    assert crowd.subscribe("alice@a.example").ok
    world.pass_time(700)
    assert service.watchers(ALICE) == ()
    assert crowd.subscribe("alice@a.example").ok
    for number in range(MAX_KNOCKS_OF_ZONE + 1):
        crowd.address = at(f"u@s{number}.crowd.example")
        crowd.subscribe("alice@a.example", b"fetch", 0)
    bob.subscribe("alice@a.example", b"fetch", 0)
    assert BOB in [one.person for one in service.knocks(ALICE)]
    assert len(service.knocks(ALICE)) == MAX_KNOCKS_OF_ZONE + 1


def test_an_alias_is_no_way_round_a_rule(world: World) -> None:
    """A user of ours is the same person under every name of his domain, as watcher and as watched."""
    record = ServedDomain(Domain("a.example"), "home", aliases=(Domain("www.a.example"),))
    service = world.service("", ["alice", "mate"], records=[record])
    service.publish(ALICE, "desk", state())
    service.decide(ALICE, at("MATE@www.a.example"), Decision.REFUSE)
    service.set_rule(ALICE, "mate@www.a.example", [Right.MESSAGE], Decision.REFUSE)
    for watcher in ("mate@a.example", "Mate@www.a.example"):
        service.subscribe(at(watcher), at("alice@www.a.example"))
        world.run()
        assert service.ends(MATE)[-1].reason is Reason.NOT_DELIVERED
        assert service.subscriptions(MATE) == ()
        outcomes: list[Outcome] = []
        service.send(at(watcher), ALICE, "hi", outcomes.append)
        world.run()
        assert outcomes[0].reason is Reason.NOT_DELIVERED
    bob = Stranger(world, "bob@b.example")
    service.decide(ALICE, BOB, Decision.ALLOW)
    bob.subscribe("Alice@www.a.example")
    (told,) = bob.told
    assert told.presentity == at("Alice@www.a.example")
    assert told.presence is not None
    assert told.presence.presentity == told.presentity
    service.publish(ALICE, "desk", state("closed"))
    world.run()
    assert bob.shown() == ["open", "closed"]


def test_names_that_go_end_their_subscriptions(world: World) -> None:
    """An alias that is served no more, and a user who is there no more."""
    alias = Domain("www.a.example")
    service = world.service(
        "", ["alice"], defaults=OPEN, records=[ServedDomain(Domain("a.example"), "home", aliases=(alias,))]
    )
    bob = Stranger(world, "bob@b.example")
    bob.subscribe("alice@www.a.example", b"1")
    bob.subscribe("alice@a.example", b"2")
    service.serve([ServedDomain(Domain("a.example"), "home")])
    world.run()
    assert (bob.told[-1].subscription_id, bob.told[-1].end_reason) == (b"1", EndReason.NORESOURCE)
    assert [one.subscription_id for one in service.watchers(ALICE)] == [b"2"]
    service.serve([])
    world.run()
    assert (bob.told[-1].subscription_id, bob.told[-1].end_reason) == (b"2", EndReason.NORESOURCE)


def test_users_who_differ_in_case_alone_have_no_presence(world: World) -> None:
    """Subscriptions compare addresses without case: one's state must not be told to the other's watcher."""
    record = ServedDomain(Domain("a.example"), "home", case_profile=CaseProfile.SENSITIVE)
    service = world.service("", ["alice", "Alice", "mate"], defaults=OPEN, records=[record])
    bob = Stranger(world, "bob@b.example")
    assert bob.subscribe("Alice@a.example").reason is Reason.TYPE_NOT_ENABLED
    with pytest.raises(PresenceOff):
        service.subscribe(at("Alice@a.example"), BOB)
    assert bob.subscribe("mate@a.example").ok


def test_with_several_processes_there_are_messages_only(world: World) -> None:
    """Each would have a presence of its own: all is refused by name, and nothing is kept."""
    service = world.service("a.example", ["alice"], presence_off="several processes")
    bob = Stranger(world, "bob@b.example")
    for outcome in (bob.subscribe("alice@a.example"), bob.query("alice@a.example", "alias")):
        assert not isinstance(outcome, dict)
        assert (outcome.reason, outcome.note) == (Reason.TYPE_NOT_ENABLED, "several processes")
    for change in (
        lambda: service.publish(ALICE, "desk", state()),
        lambda: service.subscribe(ALICE, BOB),
        lambda: service.decide(ALICE, BOB, Decision.BLOCK),
        lambda: service.set_contact(ALICE, Contact(BOB)),
    ):
        with pytest.raises(PresenceOff):
            change()
    assert bob.write("alice@a.example").ok
    world.pass_time(5)


class SetClock(World):
    """Its clock on the wall is set forward."""

    ahead_s = 0.0

    def wall(self) -> float:
        """Seconds since 1970."""
        return super().wall() + self.ahead_s


def test_subscriptions_outlive_a_clock_that_is_set_and_a_restart() -> None:
    """A machine learns the time after its start: what is granted after that is kept by the new time."""
    world = SetClock()
    store = MemoryStore(world.wall)
    service = world.service("a.example", ["alice"], defaults=OPEN, store=store)
    theirs = world.service("b.example", ["bob"], store=store)
    theirs.subscribe(BOB, ALICE, 600)
    world.pass_time(5)
    world.ahead_s = 86_400.0
    world.pass_time(590)  # renewed meanwhile
    for one in (service, theirs):
        world.stop(one)
    again = world.service("a.example", ["alice"], defaults=OPEN, store=store)
    (watcher,) = again.watchers(ALICE)
    assert (watcher.watcher, watcher.state) == (BOB, ACTIVE)
    followed = world.service("b.example", ["bob"], store=store).subscription(BOB, ALICE)
    assert followed is not None
    assert followed.standing.state is ACTIVE
