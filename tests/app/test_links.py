"""Links between whole routers: opened on demand, few, shared by many domains, closed when they rest."""

from __future__ import annotations

import time

import pytest

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.transport import more_links
from imxrouter.wire.control import Claim, ClaimResult, Hello
from tests.doubles.raw_peer import PATIENCE_S, SOME_TOKEN, RawPeer
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table


def links_to(rig: RouterRig, domain: str) -> list[int]:
    """Numbers of the links that a router opened to a domain."""
    raw = domain.encode()
    return [one.number for one in rig.sessions() if one.side.value == "opener" and raw in one.reached]


def test_what_is_served_here_stays_inside(lab: Lab) -> None:
    """From one customer to another: no look-up, no link, no claim (IMX-4)."""
    a = lab.router("red.example", "blue.example")
    assert a.send("alice@red.example", "bob@blue.example", "next door").outcome().ok
    assert a.inbox("bob@blue.example") == [("alice@red.example", "next door")]
    assert lab.zones.asked == []
    assert a.sessions() == []


def test_a_link_rests_closes_and_comes_back(lab: Lab) -> None:
    """Opened by the first message, closed after the idle time told in hello, opened anew (IMX-12)."""
    a = lab.router("a.example", settings={"links.idle_s": 1.0})
    b = lab.router("b.example")
    assert a.sessions() == b.sessions() == []
    assert a.send("alice@a.example", "bob@b.example", "one").outcome().ok
    first = links_to(a, "b.example")
    assert len(first) == 1
    (accepted,) = [one for one in b.sessions() if one.side.value == "acceptor"]
    assert isinstance(accepted.machine.peer, Hello)
    assert accepted.machine.peer.idle_ms == 1000
    lab.wait_until(lambda: not a.router.hub.sessions and not b.router.hub.sessions, "rest")
    assert a.send("alice@a.example", "bob@b.example", "two").outcome().ok
    assert links_to(a, "b.example") not in ([], first)


@pytest.mark.parametrize("most", [1, 3])
def test_more_links_come_by_load_and_only_so_many(
    lab: Lab, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link at more than half of its credit gets another one beside it, up to the cap (IMX-14)."""
    monkeypatch.setattr(more_links, "MORE_LINKS_EVERY_S", 0.2)
    key = login_key(1)
    b = lab.router(
        "b.example", embedded=False, tables=service_table("slow", key, "b.example"),
        settings={"lab": True, "links.credit_requests": 8},
    )  # fmt: skip
    slow = RawPeer.connect(b.endpoint)
    slow.hello()
    assert slow.log_in(key) == 0
    a = lab.router("a.example", settings={"dial.links_per_peer": most, "limits.sender_burst": 1000})
    waiting = [a.send("alice@a.example", "bob@b.example") for _ in range(4)]
    requests = [slow.request() for _ in waiting]
    assert len(links_to(a, "b.example")) == 1  # half of its credit: one link carries that
    until = time.monotonic() + PATIENCE_S
    while len(links_to(a, "b.example")) < most or len(waiting) < 30:
        waiting.append(a.send("alice@a.example", "bob@b.example"))  # what no link takes is answered `busy`
        time.sleep(0.05)
        assert time.monotonic() < until
    assert len(links_to(a, "b.example")) == most
    on_its_way = [sent for sent in waiting if not sent.outcomes]
    assert len(on_its_way) > 4 * most  # and the new ones are of use
    requests += [slow.request() for _ in on_its_way[4:]]
    for request in requests:
        slow.answer(request)
    assert all(sent.outcome().ok for sent in on_its_way)


def test_one_of_many_customers_comes_and_goes_without_touching_the_others(lab: Lab) -> None:
    """500 domains of 50 tenants on one router: what one does, no link of the others feels (BEY-8)."""
    tables = "".join(
        f'[[domain]]\nname = "d{number}.hoster.example"\nservice = "home"\ntenant = "t{number % 50}"\n'
        for number in range(500)
    )
    at_once = {f"caps.verify_per_{what}": 100_000 for what in ("source_per_minute", "zone_per_minute", "s")}
    a, b = lab.router("hoster.example", tables=tables), lab.router("b.example", settings=at_once)
    names = [f"d{number}.hoster.example" for number in range(50)]
    for name in names:
        lab.publish(name, a.endpoint)
        assert a.send(f"alice@{name}", "bob@b.example").outcome().ok
    assert len(a.router.domains) == 501
    links = [one.number for one in a.sessions()]
    proved = {name for name in names if b.proved(name) == 1}
    assert proved == set(names)

    def change() -> None:
        for name in names[:3]:
            a.router.domains.remove(Domain(name))

    a.call(change)
    lab.wait_until(lambda: not any(name.encode() in b.router.switch.ways for name in names[:3]), "the end")
    assert [one.number for one in a.sessions()] == links
    assert {name for name in names if b.proved(name) == 1} == set(names[3:])
    for name in names[3:]:
        assert a.send(f"bob@{name}", "bob@b.example").outcome().ok
    assert [one.number for one in a.sessions()] == links
    assert b.send("bob@b.example", f"alice@{names[0]}").outcome().reason is Reason.RELAY_DENIED


def test_a_peer_that_calls_is_not_waited_for(lab: Lab) -> None:
    """Back-off ends when the peer proves itself, for all our domains, and not by what it merely says."""
    settings = {"dial.backoff_first_s": 300.0, "dial.backoff_cap_s": 600.0}
    a = lab.router("red.a.example", "blue.a.example", settings=settings)
    b = lab.router("b.example", publish=False)
    lab.publish("b.example", ("127.0.0.1", 1))
    refused = a.send("alice@red.a.example", "bob@b.example").outcome()
    assert (refused.reason, refused.retry_after_s > 100) == (Reason.UNREACHABLE, True)
    lab.publish("b.example", b.endpoint)
    a.forget_dns()
    liar = lab.organisation("m.example").connect(a)
    liar.send(Claim(1, b"b.example", b"red.a.example", SOME_TOKEN))
    assert liar.find(ClaimResult).reason != 0
    again = a.send("alice@blue.a.example", "bob@b.example").outcome()
    assert (again.ok, again.retry_after_s > 100) == (False, True)
    assert b.send("bob@b.example", "alice@red.a.example").outcome().ok
    assert a.send("alice@blue.a.example", "bob@b.example").outcome().ok
