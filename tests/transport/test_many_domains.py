"""A hoster's router: many domains that all write to the same domain at once."""

from tests.doubles.router_rig import Lab


def test_domains_of_one_router_are_all_proved_on_one_link(lab: Lab) -> None:
    """More of them than may be claimed before the first proof, and than one address may claim at once."""
    domains = [f"d{number}.example" for number in range(40)]
    a, b = lab.router(*domains), lab.router("b.example")
    sent = [a.send(f"alice@{domain}", "bob@b.example") for domain in domains]
    outcomes = [one.outcome() for one in sent]
    assert [outcome.reason.word for outcome in outcomes if not outcome.ok] == []
    assert len(b.inbox("bob@b.example")) == 40
