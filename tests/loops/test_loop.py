"""Three routers, each the uplink of the one before it and a service of the one after it.

Each believes that somebody else is responsible, so a message would go round until its hops are used up. It
must end with one `loop` failure at its sender, each router having seen it once, or twice where it came back.
"""

from functools import partial

import pytest

from imxrouter.app.router import Router
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.switch.checks import ALL_CHECKS, Checks
from imxrouter.transport import services
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address, login_key, service_table

#: Routers in the circle.
ROUTERS = 3
KEYS = [login_key(number + 1) for number in range(ROUTERS)]


def _circle(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    served: str,
    *,
    home: int | None = None,
    checks: Checks = ALL_CHECKS,
) -> list[RouterRig]:
    """Make the circle; a router's service is the router before it, its uplink the one after it.

    Args:
        lab: where.
        monkeypatch: shortens the wait before an uplink is dialled again.
        served: a domain that each of them says its service answers for.
        home: the router at which the domain has users after all.
        checks: of all of them.
    """
    monkeypatch.setattr(services, "UPLINK_RETRY_S", (0.05, 1.0))
    places = [(ip, free_port(ip)) for ip in (fresh_address() for _ in range(ROUTERS))]
    made = []
    for number, place in enumerate(places):
        before, after = (number - 1) % ROUTERS, (number + 1) % ROUTERS
        tables = lab.uplink_table(places[after], KEYS[number])
        tables += service_table("before", KEYS[before], *([] if number == home else [served]))
        own = [f"r{number}.example", *([served] if number == home else [])]
        made.append(lab.router(*own, endpoint=place, tables=tables, settings={"lab": True}, checks=checks))
    for rig in made:
        lab.wait_until(partial(_is_joined, rig.router), "uplink and service are up")
    return made


def _is_joined(router: Router) -> bool:
    """Whether its uplink is up and its service has logged in."""
    logged_in = [session for session in router.hub.sessions.values() if session.service]
    return bool(router.switch.uplinks) and bool(logged_in)


def _requests_in(rig: RouterRig) -> int:
    """Messages that a router took or refused."""
    return rig.counter(slots.ACCEPTED)


def test_a_message_that_goes_down_in_a_circle(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer writes to a domain that each router says its service answers for."""
    circle = _circle(lab, monkeypatch, "nowhere.example")
    lab.publish("nowhere.example", circle[0].endpoint)
    peer = lab.router("p.example")
    outcome = peer.send("alice@p.example", "bob@nowhere.example").outcome()
    assert outcome.reason is Reason.LOOP
    assert [_requests_in(rig) for rig in circle] == [2, 1, 1]
    assert [rig.refusals(Reason.LOOP) for rig in circle] == [2, 1, 1]
    assert sum(rig.counter(slots.RECORDS_OUT) for rig in circle) == 3 + 4  # there, and the answers back
    assert peer.counter(slots.RECORDS_OUT) == 2
    assert [rig.counter(slots.RETRIES) for rig in (*circle, peer)] == [0] * 4


def test_a_message_that_goes_up_in_a_circle(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user writes to a domain that is served nowhere, and each router gives it to its uplink."""
    circle = _circle(lab, monkeypatch, "s.example", home=0)
    outcome = circle[0].send("alice@s.example", "bob@nowhere.example").outcome()
    assert outcome.reason is Reason.LOOP
    assert [_requests_in(rig) for rig in circle] == [2, 1, 1]
    assert sum(rig.counter(slots.RECORDS_OUT) for rig in circle) == 3 + 4


def test_without_the_check_hops_end_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check prevents: the same message goes round until its hops are used up."""
    checks = Checks(loop=False, duplicates=False, rate=False)
    circle = _circle(lab, monkeypatch, "nowhere.example", checks=checks)
    lab.publish("nowhere.example", circle[0].endpoint)
    outcome = lab.router("p.example").send("alice@p.example", "bob@nowhere.example").outcome()
    assert outcome.reason is Reason.TOO_MANY_HOPS
    assert sum(_requests_in(rig) for rig in circle) == 110
