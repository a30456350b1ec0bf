"""Presence between two whole routers with embedded users: asked for, told, changed, lost and right again."""

from __future__ import annotations

from functools import partial

import pytest

from imxrouter.model.address import Address
from imxrouter.model.operations import SubscriptionState
from imxrouter.model.presence import Basic, Presence, PresenceTuple, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import Decision, Right
from imxrouter.transport import liveness
from tests.attacks.test_presence import embedded
from tests.doubles.router_rig import Lab, RouterRig

ALICE, BOB = Address.parse("alice@a.example"), Address.parse("bob@b.example")


def publish(rig: RouterRig, user: Address, status: Basic, instance: str = "desk") -> None:
    """One instance of a user says how it is."""
    state = Presence(user, (PresenceTuple("t1", status),))
    rig.call(lambda: embedded(rig, user).publish(user, instance, state))


def follow(rig: RouterRig, watcher: Address, presentity: Address) -> None:
    """Watch from now on."""
    rig.call(lambda: embedded(rig, watcher).subscribe(watcher, presentity))


def seen(rig: RouterRig, watcher: Address, presentity: Address) -> object:
    """What a watcher sees: a status, an unknown, or nothing."""
    followed = embedded(rig, watcher).subscription(watcher, presentity)
    presence = None if followed is None else followed.presence
    return presence.status if isinstance(presence, Presence) else presence


def allow(rig: RouterRig, user: Address) -> None:
    """Everybody may see this user."""
    rights = [Right.SUBSCRIBE, Right.FETCH]
    rig.call(lambda: embedded(rig, user).set_rule(user, "*", rights, Decision.ALLOW))


def wait_seen(lab: Lab, rig: RouterRig, watcher: Address, presentity: Address, status: Basic) -> None:
    """Until the watcher sees that."""
    lab.wait_until(lambda: seen(rig, watcher, presentity) is status, f"{watcher} sees {presentity} {status}")


@pytest.fixture
def pair(lab: Lab) -> tuple[RouterRig, RouterRig]:
    """Bob may watch Alice."""
    a, b = lab.router("a.example"), lab.router("b.example")
    allow(a, ALICE)
    return a, b


def test_a_watcher_sees_each_change(lab: Lab, pair: tuple[RouterRig, RouterRig]) -> None:
    """At once, the state of all instances together."""
    a, b = pair
    follow(b, BOB, ALICE)
    wait_seen(lab, b, BOB, ALICE, Basic.CLOSED)
    publish(a, ALICE, Basic.OPEN)
    wait_seen(lab, b, BOB, ALICE, Basic.OPEN)
    publish(a, ALICE, Basic.CLOSED, "phone")
    publish(a, ALICE, Basic.CLOSED)
    wait_seen(lab, b, BOB, ALICE, Basic.CLOSED)
    assert a.call(lambda: len(a.router.subscriptions)) == b.call(lambda: len(b.router.subscriptions)) == 1


def test_consent_takes_its_time(lab: Lab) -> None:
    """Pending until she agrees; what she takes back ends."""
    a, b = lab.router("a.example"), lab.router("b.example")
    publish(a, ALICE, Basic.OPEN)
    follow(b, BOB, ALICE)

    def state() -> SubscriptionState | None:
        followed = embedded(b, BOB).subscription(BOB, ALICE)
        return None if followed is None else followed.standing.state

    lab.wait_until(lambda: state() is SubscriptionState.PENDING, "pending")
    assert b.call(lambda: seen(b, BOB, ALICE)) is None
    a.call(lambda: embedded(a, ALICE).decide(ALICE, BOB, Decision.ALLOW))
    wait_seen(lab, b, BOB, ALICE, Basic.OPEN)
    a.call(lambda: embedded(a, ALICE).decide(ALICE, BOB, Decision.REFUSE))
    lab.wait_until(lambda: seen(b, BOB, ALICE) is None, "told of the end")


def test_ending_and_fetching(lab: Lab, pair: tuple[RouterRig, RouterRig]) -> None:
    """An end leaves nothing behind at either router; a fetch tells once."""
    a, b = pair
    publish(a, ALICE, Basic.OPEN)
    follow(b, BOB, ALICE)
    wait_seen(lab, b, BOB, ALICE, Basic.OPEN)
    assert b.call(lambda: embedded(b, BOB).unsubscribe(BOB, ALICE))
    lab.wait_until(lambda: not embedded(a, ALICE).watchers(ALICE), "nobody watches her")
    told: list[object] = []
    b.call(lambda: embedded(b, BOB).fetch(BOB, ALICE, told.append))
    lab.wait_until(lambda: bool(told), "what was fetched")
    (presence,) = told
    assert isinstance(presence, Presence)
    assert presence.status is Basic.OPEN
    assert a.call(lambda: embedded(a, ALICE).watchers(ALICE)) == ()


@pytest.mark.parametrize("which", ["watcher's", "presentity's"])
def test_a_restart_on_either_side_loses_nothing(
    lab: Lab, pair: tuple[RouterRig, RouterRig], which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subscription goes on with its state directory; what changed meanwhile is learned (IMX-37)."""
    monkeypatch.setattr(liveness, "SPREAD_S", 0.5)
    a, b = pair
    publish(a, ALICE, Basic.CLOSED)
    follow(b, BOB, ALICE)
    wait_seen(lab, b, BOB, ALICE, Basic.CLOSED)
    old = b if which == "watcher's" else a
    settings = {"state_dir": old.router.config.state_dir}
    old.stop()
    lab.wait_until(lambda: not old.router.running and not old.router.hub.sessions, "the stop")
    if which == "watcher's":
        publish(a, ALICE, Basic.OPEN)
        b = lab.router("b.example", endpoint=old.endpoint, settings=settings)
    else:
        a = lab.router("a.example", endpoint=old.endpoint, settings=settings)
        publish(a, ALICE, Basic.OPEN)
    wait_seen(lab, b, BOB, ALICE, Basic.OPEN)
    publish(a, ALICE, Basic.CLOSED)
    wait_seen(lab, b, BOB, ALICE, Basic.CLOSED)
    assert a.refusals(Reason.NOT_SUBSCRIBED) == b.refusals(Reason.NOT_SUBSCRIBED) == 0


def test_a_presentitys_side_that_forgot_is_asked_again(
    lab: Lab, pair: tuple[RouterRig, RouterRig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, with its state: to it the renewal is a new subscription."""
    monkeypatch.setattr(liveness, "GRACE_S", 0.2)
    a, b = pair
    publish(a, ALICE, Basic.OPEN)
    follow(b, BOB, ALICE)
    wait_seen(lab, b, BOB, ALICE, Basic.OPEN)
    a.stop()
    lab.wait_until(lambda: isinstance(seen(b, BOB, ALICE), Unknown), "unknown")
    a = lab.router("a.example", endpoint=a.endpoint)
    allow(a, ALICE)
    publish(a, ALICE, Basic.CLOSED)
    wait_seen(lab, b, BOB, ALICE, Basic.CLOSED)


@pytest.mark.parametrize("lost", [False, True])
def test_two_hosts_of_the_watchers_domain(lab: Lab, lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share a domain and no memory: what each asked for arrives at it, also after its links were cut."""
    monkeypatch.setattr(liveness, "SPREAD_S", 0.5)
    keys = lab.folder / "dialback.keys"
    keys.write_text(f"1 {'5a' * 32}\n")
    keys.chmod(0o600)
    a = lab.router("a.example")
    hosts = [
        lab.router("b.example", publish=False, settings={"dialback.key_file": str(keys)}) for _ in range(2)
    ]
    lab.publish("b.example", *(host.endpoint for host in hosts))
    allow(a, ALICE)
    publish(a, ALICE, Basic.CLOSED)
    for host in hosts:
        follow(host, BOB, ALICE)
        wait_seen(lab, host, BOB, ALICE, Basic.CLOSED)
    if lost:
        links = list(hosts[0].router.hub.sessions.values())
        for link in links:
            hosts[0].call(partial(link.abort, Reason.LINK_LOST, "cut"))
        publish(a, ALICE, Basic.OPEN)
    for status in (Basic.OPEN, Basic.CLOSED, Basic.OPEN, Basic.CLOSED):
        publish(a, ALICE, status)
        for host in hosts:
            wait_seen(lab, host, BOB, ALICE, status)
    if not lost:
        assert [host.refusals(Reason.NOT_SUBSCRIBED) for host in hosts] == [0, 0]


@pytest.mark.parametrize("how", ["remove", "suspend"])
def test_a_domain_that_is_served_no_more(lab: Lab, how: str) -> None:
    """Its users' watchers elsewhere are told at once that nobody knows, and the truth when it is back."""
    a, b = lab.router("a.example", "other.example"), lab.router("b.example")
    allow(a, ALICE)
    publish(a, ALICE, Basic.OPEN)
    follow(b, BOB, ALICE)
    wait_seen(lab, b, BOB, ALICE, Basic.OPEN)
    domains, domain = a.router.domains, ALICE.domain
    record = domains.get(domain)
    assert record is not None
    a.call(lambda: domains.remove(domain) if how == "remove" else domains.suspend(domain))
    lab.wait_until(lambda: isinstance(seen(b, BOB, ALICE), Unknown), "unknown")
    unknown = seen(b, BOB, ALICE)
    assert isinstance(unknown, Unknown)
    assert (unknown.reason, unknown.domain) == (Reason.SERVICE_DOWN, domain)
    if how == "suspend":
        a.call(lambda: domains.resume(domain))
        wait_seen(lab, b, BOB, ALICE, Basic.OPEN)


def test_users_of_a_suspended_domain_see_nothing_stale(lab: Lab) -> None:
    """They are told that nobody knows, and the truth when their domain is served again."""
    a, b = lab.router("a.example"), lab.router("b.example")
    allow(a, ALICE)
    publish(a, ALICE, Basic.OPEN)
    follow(b, BOB, ALICE)
    wait_seen(lab, b, BOB, ALICE, Basic.OPEN)
    b.call(lambda: b.router.domains.suspend(BOB.domain))
    lab.wait_until(lambda: isinstance(seen(b, BOB, ALICE), Unknown), "unknown")
    publish(a, ALICE, Basic.CLOSED)
    b.call(lambda: b.router.domains.resume(BOB.domain))
    wait_seen(lab, b, BOB, ALICE, Basic.CLOSED)
