"""What the operator's words about trust do, between whole routers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import DestinationState
from imxrouter.routing.dialling import DialSettings
from imxrouter.switch import slots
from imxrouter.wire.control import Claim, ClaimResult
from tests.doubles.raw_peer import SOME_TOKEN
from tests.doubles.router_rig import Lab, free_port, fresh_address

STRICT = {"trust.default_policy": "dialback+certificate"}


def takes(domain: str, policy: str = "dialback") -> str:
    """The table that takes a domain at a policy."""
    return f'[[trust.peer]]\ndomain = "{domain}"\npolicy = "{policy}"\n'


def test_by_default_nothing_passes_in_clear(lab: Lab) -> None:
    """The default policy asks for a certificate: the sender is told, and nobody is dialled."""
    a, b = lab.router("a.example", settings=STRICT), lab.router("b.example")
    outcome = a.send("alice@a.example", "bob@b.example").outcome()
    assert outcome.reason is Reason.WEAKER_THAN_POLICY
    assert a.sessions() == b.sessions() == []


def test_both_sides_must_take_each_other(lab: Lab) -> None:
    """One side's leave is not the other's: the peer that asks for more refuses the claim."""
    a = lab.router("a.example", settings=STRICT, tables=takes("b.example"))
    b = lab.router("b.example", settings=STRICT)
    outcome = a.send("alice@a.example", "bob@b.example").outcome()
    assert outcome.reason is Reason.WEAKER_THAN_POLICY
    assert b.proved("a.example") == 0


def test_a_domain_that_is_taken_by_name_passes_and_no_other(lab: Lab) -> None:
    """As in the guide: one table on each side; a wildcard of a zone does not reach the zone itself."""
    a = lab.router("a.example", settings=STRICT, tables=takes("b.example") + takes("*.zone.example"))
    b = lab.router("b.example", settings=STRICT, tables=takes("a.example"))
    lab.router("in.zone.example")
    lab.router("zone.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    assert a.send("alice@a.example", "bob@in.zone.example").outcome().ok
    assert a.send("alice@a.example", "bob@zone.example").outcome().reason is Reason.WEAKER_THAN_POLICY


def test_a_domain_may_ask_its_peers_for_more_than_the_router_does(lab: Lab) -> None:
    """Its own `policy` refuses what was proved at less; its neighbour on the same link is not concerned."""
    more = '[[domain]]\nname = "strict.example"\nservice = "home"\npolicy = "dialback+tls"\n'
    a, b = lab.router("a.example", tables=more), lab.router("b.example")
    lab.publish("strict.example", a.endpoint)
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    refused = b.send("bob@b.example", "alice@strict.example").outcome()
    assert refused.reason is Reason.WEAKER_THAN_POLICY


@pytest.mark.parametrize("warm", [False, True])
def test_a_domain_may_send_at_no_less_than_it_asks_for(lab: Lab, warm: bool) -> None:
    """Nothing of it leaves in clear, nor over a link that its neighbour uses; our router says so itself."""
    more = '[[domain]]\nname = "strict.example"\nservice = "home"\npolicy = "dialback+tls"\n'
    a, b = lab.router("a.example", tables=more), lab.router("b.example")
    lab.publish("strict.example", a.endpoint)
    if warm:
        assert a.send("alice@a.example", "bob@b.example").outcome().ok
        assert b.send("bob@b.example", "alice@a.example").outcome().ok
    before = b.counter(slots.RECORDS_IN)
    refused = a.send("alice@strict.example", "bob@b.example").outcome()
    assert (refused.reason, refused.decided_role, refused.decided_by) == (
        Reason.WEAKER_THAN_POLICY,
        "router",
        "",
    )
    assert b.counter(slots.RECORDS_IN) == before
    assert b.proved("strict.example") == 0
    if not warm:
        assert lab.zones.asked == []


def test_a_policy_that_is_raised_ends_what_was_opened(lab: Lab) -> None:
    """From then on nothing of the domain leaves at less; when it is lowered, messages pass again."""
    a, _ = lab.router("a.example"), lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    for policy, reason in (("dialback+tls", Reason.WEAKER_THAN_POLICY), ("dialback", Reason.NONE)):

        def change(policy: str = policy) -> None:
            known = a.router.domains.get(Domain("a.example"))
            assert known is not None
            a.router.domains.change(replace(known, policy=policy))

        a.call(change)
        assert a.send("alice@a.example", "bob@b.example").outcome().reason is reason


def test_who_decided_is_who_decided(lab: Lab) -> None:
    """Our own policy, our resolver, our guard: this router. What the peer said: the peer."""
    a = lab.router("a.example", settings=STRICT, tables=takes("b.example") + takes("dark.example"))
    lab.router("b.example", settings=STRICT)
    ours = a.send("alice@a.example", "bob@other.example").outcome()
    theirs = a.send("alice@a.example", "bob@b.example").outcome()
    assert ours.reason is theirs.reason is Reason.WEAKER_THAN_POLICY
    assert (ours.decided_role, ours.decided_by) == ("router", "")
    assert (theirs.decided_role, theirs.decided_by) == ("peer", "b.example")
    unknown = a.send("alice@a.example", "bob@dark.example").outcome()
    assert (unknown.reason.stage.value, unknown.decided_role, unknown.decided_by) == ("dns", "router", "")


def test_users_of_a_suspended_domain_are_told_so(lab: Lab) -> None:
    """Not that it is not proved; and that it may help to try later."""
    a, _ = lab.router("a.example"), lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    a.call(lambda: a.router.domains.suspend(Domain("a.example")))
    refused = a.send("alice@a.example", "bob@b.example").outcome()
    told = {Reason.SUSPENDED, Reason.SERVICE_DOWN}  # the second is what of the first is disclosed
    assert refused.reason in told
    assert refused.retry_after_s == 60
    assert (a.refusals(Reason.SUSPENDED), a.refusals(Reason.NOT_PROVED)) == (1, 0)


def test_a_pinned_peer_is_reached_and_verified_where_it_is_configured(lab: Lab) -> None:
    """DNS is not asked for it, in neither direction; a lie there changes nothing."""
    place = (fresh_address(), 0)
    endpoint = (place[0], free_port(place[0]))
    pin = f'[[peer]]\ndomain = "b.example"\naddresses = {json.dumps([f"{endpoint[0]}:{endpoint[1]}"])}\n'
    a = lab.router("a.example", settings=STRICT, tables=pin + 'policy = "dialback"\n')
    b = lab.router("b.example", endpoint=endpoint, publish=False)
    liar = lab.organisation("b.example")
    lab.zones.asked.clear()
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert not [question for question in lab.zones.asked if "b.example" in question]
    assert liar.listener.take_waiting() == []


def test_a_pinned_peer_has_limits_of_its_own(lab: Lab) -> None:
    """Its senders' rate is what its entry says; everybody else's is the router's."""
    pin = '[[peer]]\ndomain = "b.example"\nsender_rate_per_s = 0.01\nsender_burst = 1\n'
    a, b, c = lab.router("a.example", tables=pin), lab.router("b.example"), lab.router("c.example")
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    refused = b.send("bob@b.example", "alice@a.example").outcome()
    assert (refused.reason, refused.retry_after_s) == (Reason.RATE_LIMITED, 100)  # as long as it takes
    for _ in range(2):
        assert c.send("bob@c.example", "alice@a.example").outcome().ok
    assert a.inbox("alice@a.example")


def test_a_peer_that_refuses_a_claim_is_reached_all_the_same(lab: Lab) -> None:
    """Its state says so, its last error is what it said, and nothing waits for a next try."""
    a = lab.router("a.example", settings=STRICT, tables=takes("b.example"))
    lab.router("b.example", settings=STRICT)
    assert not a.send("alice@a.example", "bob@b.example").outcome().ok
    known = a.router.federation.destinations.find(Domain("b.example"))
    assert known is not None
    assert known.last_error is not None
    assert (known.state, known.last_error.reason) == (DestinationState.UP, Reason.WEAKER_THAN_POLICY)
    assert known.last_error.note == "claim of a.example"

    def close_all() -> None:
        for one in list(a.router.hub.sessions.values()):
            one.close(Reason.IDLE)

    a.call(close_all)
    lab.wait_until(lambda: known.state is DestinationState.IDLE, "rest")


def test_a_refused_claim_is_told_when_it_would_be_judged_anew(lab: Lab) -> None:
    """Not sooner: an honest router that obeys would be refused again by what is remembered."""
    lab.router("a.example")
    b = lab.router("b.example")
    link = lab.organisation("m.example").connect(b)
    link.send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    result = link.find(ClaimResult)
    assert (result.reason, result.retry_after_s) == (Reason.NOT_MINE.code, DialSettings().refused_ttl_s)
    link.send(Claim(2, b"nowhere.example", b"b.example", SOME_TOKEN))
    assert link.find(ClaimResult).retry_after_s == 5
