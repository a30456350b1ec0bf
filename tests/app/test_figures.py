"""What the figures of `/metrics` count, between whole routers."""

from __future__ import annotations

from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.telemetry import catalogue
from imxrouter.wire.control import Claim, ClaimResult, Verify, VerifyResult
from tests.doubles.raw_peer import SOME_TOKEN
from tests.doubles.router_rig import Lab, RouterRig


def claims(rig: RouterRig) -> dict[tuple[str, str], float]:
    """Claims that ended, by direction and result; those that are not zero."""
    registry = rig.router.metrics.registry
    counted = {
        pair: registry.get_sample_value(catalogue.CLAIMS.name, {"direction": pair[0], "result": pair[1]})
        for pair in catalogue.CLAIM_RESULTS
    }
    return {pair: count for pair, count in counted.items() if count}


def dials(rig: RouterRig) -> dict[str, float]:
    """Connections that were tried, by what came of them; those that are not zero."""
    registry = rig.router.metrics.registry
    samples = [sample for family in registry.collect() for sample in family.samples]
    return {
        one.labels["result"]: one.value for one in samples if one.name == catalogue.DIALS.name and one.value
    }


def test_bytes_are_those_of_links(lab: Lab) -> None:
    """Every byte of a link, in both directions; what stays inside the process is none."""
    a = lab.router("a.example")
    assert a.send("alice@a.example", "bob@a.example").outcome().ok
    assert (a.counter(slots.BYTES_IN), a.counter(slots.BYTES_OUT)) == (0, 0)
    lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    links = a.sessions()
    assert len(links) == 2

    def same() -> bool:
        there = [sum(link.bytes_in for link in links), sum(link.bytes_out for link in links)]
        return there == [a.router.switch.counters[slot] for slot in (slots.BYTES_IN, slots.BYTES_OUT)]

    assert a.call(same)
    assert a.counter(slots.BYTES_OUT) > 0


def test_claims_are_counted_on_both_sides(lab: Lab) -> None:
    """Made and received, proved and refused."""
    a, b = lab.router("a.example"), lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert (claims(a), claims(b)) == ({("made", "proved"): 1}, {("received", "proved"): 1})
    lab.publish("d.example", b.endpoint)
    assert a.send("alice@a.example", "bob@d.example").outcome().reason is Reason.RELAY_DENIED
    assert claims(a) == {("made", "proved"): 1, ("made", "relay-denied"): 1}
    assert claims(b) == {("received", "proved"): 1, ("received", "relay-denied"): 1}


def test_a_token_that_its_own_domain_does_not_know_is_counted_as_that(lab: Lab) -> None:
    """The claimer is told less; so are claims that are refused before anybody is dialled."""
    a, m = lab.router("a.example"), lab.organisation("m.example")
    first = m.connect(a)
    first.send(Claim(1, b"m.example", b"a.example", SOME_TOKEN))
    second = m.accept()
    asked = second.find(Verify)
    second.send(VerifyResult(asked.number, Reason.BAD_TOKEN.code))
    assert first.find(ClaimResult).reason == Reason.DIALBACK_REFUSED.code
    assert claims(a) == {("received", "bad-token"): 1}
    first.send(Claim(2, b"a.example", b"a.example", SOME_TOKEN))
    assert first.find(ClaimResult).reason == Reason.SERVED_HERE.code
    assert claims(a) == {("received", "bad-token"): 1, ("received", "served-here"): 1}


def test_only_what_was_dialled_counts_as_a_dial(lab: Lab) -> None:
    """A domain that is not found, or leads where nothing is dialled, is none."""
    a = lab.router("a.example", settings={"dial.allow_networks": ["127.0.0.0/8"]})
    lab.publish("inside.example", ("10.0.0.1", 6490))
    for domain in ("nowhere.example", "inside.example"):
        assert not a.send("alice@a.example", f"bob@{domain}").outcome().ok
    assert dials(a) == {}
    lab.publish("closed.example", ("127.0.0.9", 1026))
    assert not a.send("alice@a.example", "bob@closed.example").outcome().ok
    assert dials(a) == {"connection-refused": 1}
