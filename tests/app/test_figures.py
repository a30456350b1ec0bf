"""What the figures of `/metrics` count, between whole routers."""

from __future__ import annotations

import re
import time

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


def sample(rig: RouterRig, name: str, **labels: str) -> float | None:
    """One figure of `/metrics`."""
    return rig.call(lambda: rig.router.metrics.registry.get_sample_value(name, labels))  # type: ignore[no-any-return]


def test_peers_are_counted_on_both_sides(lab: Lab) -> None:
    """What went to a peer there is what came from it here; a watched peer is shown before it did anything."""
    a = lab.router("a.example", settings={"metrics.watch": ["quiet.example"]})
    b = lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert a.send("alice@a.example", "nobody@b.example").outcome().reason is Reason.NOT_DELIVERED
    for rig, peer, direction in ((a, "b.example", "out"), (b, "a.example", "in")):
        results = {
            result: sample(
                rig, "imxrouter_peer_requests_total", peer=peer, direction=direction, result=result
            )
            for result in catalogue.PEER_RESULTS
        }
        assert results == {"delivered": 1, "refused": 0, "failed": 1, "indeterminant": 0}
        assert (sample(rig, "imxrouter_peer_links", peer=peer) or 0) >= 1
    for rig, peer, direction in ((a, "b.example", "out"), (b, "a.example", "in")):
        for part in ("ours", "theirs"):
            labels = {"peer": peer, "direction": direction, "kind": "message", "part": part}
            assert sample(rig, "imxrouter_peer_delivery_seconds_count", **labels) == 1
            assert 0 < (sample(rig, "imxrouter_peer_delivery_seconds_sum", **labels) or 0) < 30
        labels = {"peer": peer, "direction": direction, "stage": "service"}
        assert sample(rig, "imxrouter_peer_refusals_total", **labels) == 1
    assert sample(a, "imxrouter_peer_links", peer="quiet.example") == 0
    assert (
        sample(a, "imxrouter_peer_requests_total", peer="a.example", direction="in", result="delivered")
        is None
    )


def test_a_peer_that_cannot_be_reached_shows_why(lab: Lab) -> None:
    """The words are those of the answer, and the time is about now."""
    a = lab.router("a.example")
    reason = a.send("alice@a.example", "bob@nowhere.example").outcome().reason
    labels = {"peer": "nowhere.example", "stage": reason.stage.value, "reason": reason.word}
    at = sample(a, "imxrouter_peer_last_error_timestamp_seconds", **labels)
    assert at is not None
    assert abs(at - time.time()) < 60
    failed = {"peer": "nowhere.example", "direction": "out", "result": "failed"}
    assert sample(a, "imxrouter_peer_requests_total", **failed) == 1
    refused = {"stage": reason.stage.value, "reason": reason.word, "kind": "message"}
    assert sample(a, "imxrouter_refusals_total", **refused) == 1


def test_what_waits_has_an_age(lab: Lab) -> None:
    """While a peer's router says nothing, the oldest request gets older."""
    a, z = lab.router("a.example"), lab.organisation("z.example")
    assert sample(a, "imxrouter_held_oldest_seconds") == 0
    assert sample(a, "imxrouter_in_flight_oldest_seconds") == 0
    sent = a.send("alice@a.example", "bob@z.example")
    link = z.accept(hello=False)
    figure = a.router.metrics.registry.get_sample_value
    lab.wait_until(lambda: (figure("imxrouter_held_oldest_seconds") or 0) > 0.2, "the age of what waits")
    assert sample(a, "imxrouter_held_requests") == 1
    assert (sample(a, "imxrouter_in_flight_oldest_seconds") or 0) > 0.2
    link.close()
    z.close()
    assert not sent.outcome().ok
    assert sample(a, "imxrouter_held_oldest_seconds") == 0


def test_times_of_deliveries_are_ours_and_theirs(lab: Lab) -> None:
    """Each record that was put out is in `ours` once, each answered request in `theirs`."""
    a, _ = lab.router("a.example"), lab.router("b.example")
    for _ in range(3):
        assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert sample(a, "imxrouter_delivery_seconds_count", part="theirs") == 3
    assert sample(a, "imxrouter_delivery_seconds_count", part="ours") == a.counter(slots.RECORDS_OUT) == 6
    assert (sample(a, "imxrouter_delivery_seconds_sum", part="ours") or 0) > 0


def test_no_figure_holds_an_address(lab: Lab) -> None:
    """Whoever wrote to whom: users are nowhere on the page, and domains only where peers are counted."""
    a, _ = lab.router("a.example"), lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert not a.send("alice@a.example", "nobody@b.example").outcome().ok
    assert not a.send("alice@a.example", "bob@nowhere.example").outcome().ok
    page = a.call(lambda: a.router.metrics.exposition().decode())
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    assert not [line for line in lines if re.search(r"alice|bob|nobody|@", line)]
    with_domains = [line for line in lines if ".example" in line]
    assert with_domains
    peers = re.compile(r'imxrouter_peer_\w+\{.*\bpeer="(b|nowhere)\.example"')
    assert all(peers.match(line) for line in with_domains)
