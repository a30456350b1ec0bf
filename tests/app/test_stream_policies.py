"""What XMPP servers must prove: a default of their own, the same entries for domains, live."""

from __future__ import annotations

from imxrouter.model.domain import Domain
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import Policy
from tests.doubles.reload_rig import Reloadable
from tests.doubles.router_rig import Lab

ENTRY = '[[trust.peer]]\ndomain = "*.weak.example"\npolicy = "dialback"\n'
X, WEAK = Domain("x.example"), Domain("x.weak.example")


def test_the_default_for_xmpp_is_its_own_and_entries_are_for_both(lab: Lab) -> None:
    """Each is named by the key that says so, and a change holds at once for all who judge."""
    a = lab.router("a.example", settings={"trust.default_policy": "dialback+tls"}, tables=ENTRY)
    rules, of = a.router.rules.policy_of, a.router.gatekeeper.by_protocol
    assert rules(X).setting == '[trust] default_policy = "dialback+tls"'
    assert rules(X, Protocol.XMPP).setting == '[trust] xmpp_default = "certificate"'
    for protocol in (Protocol.IMX, Protocol.XMPP):
        weak = rules(WEAK, protocol)
        assert weak.setting == '[[trust.peer]] domain = "*.weak.example": policy = "dialback"'
        assert of[protocol].policies.policy_for(WEAK) is Policy.DIALBACK
    assert of[Protocol.XMPP] is a.router.xmpp_strengths
    file = Reloadable(a).edit(before='trust.xmpp_default = "dialback"\n')
    file.reload()
    assert rules(X, Protocol.XMPP).setting == '[trust] xmpp_default = "dialback"'
    assert of[Protocol.XMPP].policies.policy_for(X) is Policy.DIALBACK
    assert of[Protocol.IMX].policies.policy_for(X) is Policy.DIALBACK_TLS
    assert a.router.xmpp_strengths.xmpp_proofs(X).verified


def test_streams_are_asked_for_life_as_links_are(lab: Lab) -> None:
    """By the same keys; those of the inside too."""
    a = lab.router("a.example", settings={"links.ping_s": 2, "links.dead_s": 7, "links.answer_timeout_s": 16})
    settings = a.router.streams.rules.settings()
    assert (settings.silent_s, settings.dead_s, settings.answer_s) == (2.0, 7.0, 16.0)
    assert a.router.behind._inside._held_to is a.router.streams.rules


def test_users_elsewhere_are_lost_where_their_domain_is_in_doubt(lab: Lab) -> None:
    """Not for want of a service here, which they never have."""
    a = lab.router("a.example")
    streams, liveness = a.router.streams, a.router.liveness
    assert streams._reached("a.example", "x.example")
    liveness._doubt_state(b"x.example", 0.0, 1.0)
    assert not streams._reached("a.example", "x.example")
