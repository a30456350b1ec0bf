"""`imxctl peers show` against whole routers: what is known of one remote domain."""

from __future__ import annotations

import time

from imxrouter.app.traffic.peerlog import PER_DOMAIN, PeerLog
from imxrouter.cli.exits import Exit
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import Claim, ClaimResult
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab

SEND = ("send", "alice@a.example", "bob@b.example", "x")


def test_a_peer_that_is_up(lab: Lab) -> None:
    """State, target, levels asked and remembered, the link with the claims of both sides, and no error."""
    a, b = lab.router("a.example"), lab.router("b.example")
    ctl(a, *SEND)
    ctl(b, "send", "bob@b.example", "alice@a.example", "x")
    view = ctl_json(a, "peers", "show", "b.example")
    assert (view["state"], view["source"], view["targets"]) == ("up", "dns", [f"{b.ip}:{b.endpoint[1]}"])
    assert (view["required"], view["acceptable"]) == ("dialback", True)
    assert view["required_by"] == '[trust] default_policy = "dialback"'
    there = ctl_json(b, "peers", "show", "a.example")
    assert there["remembered"] == "dialback"
    assert there["remembered_until"] > time.time() + 29 * 86400
    claims = {
        (one["direction"], one["theirs"], one["ours"]) for link in view["links"] for one in link["claims"]
    }
    assert ("made", "b.example", "a.example") in claims
    assert (view["errors"], view["failures"], view["next_try_s"]) == ([], 0, None)
    assert (view["held"], view["held_age_s"], view["in_flight"]) == (0, None, 0)
    assert view["counted"]["went"]["delivered"] == 1
    assert view["counted"]["came"]["delivered"] == 1
    assert view["answered_s"] > 0
    assert view["bytes_in"] > 0
    assert view["bytes_out"] > 0
    assert "must prove" in ctl(a, "peers", "show", "b.example").output


def test_a_peer_that_fails(lab: Lab) -> None:
    """Each failure with its time, stage, reason and remedy, the newest first; and when it is tried next."""
    a = lab.router("a.example", settings={"dial.backoff_first_s": 100.0, "dial.backoff_cap_s": 200.0})
    before = time.time()
    ctl(a, *SEND)
    lab.publish("b.example", ("127.0.0.9", 1026))
    ctl(a, "peers", "retry", "b.example")
    ctl(a, *SEND)
    view = ctl_json(a, "peers", "show", "b.example")
    assert [(one["stage"], one["reason"], one["direction"]) for one in view["errors"]] == [
        ("connect", "connection-refused", "ours"), ("dns", "no-such-domain", "ours"),
    ]  # fmt: skip
    assert view["errors"][0]["remedy"] == Reason.CONNECTION_REFUSED.remedy
    assert before <= view["errors"][1]["at"] <= view["errors"][0]["at"] <= time.time()
    assert (view["state"], view["failures"], view["backoff_cap_s"]) == ("failing", 1, 200)
    assert 0 < view["next_try_s"] <= 100
    shown = ctl(a, "peers", "show", "b.example").output
    assert "connection-refused at stage connect (127.0.0.9 port 1026)" in shown


def test_what_waits_for_a_peer_is_told(lab: Lab) -> None:
    """How much, and for how long the oldest has waited."""
    a, b = lab.router("a.example"), lab.organisation("b.example")
    sent = a.send("alice@a.example", "bob@b.example")
    b.accept()
    view = ctl_json(a, "peers", "show", "b.example")
    assert (view["held"], view["in_flight"]) == (1, 1)
    assert view["held_bytes"] > 40
    assert view["held_age_s"] >= 0
    assert view["counted"] is None
    assert sent.outcomes == []


def test_a_refused_stranger_and_an_unmet_policy_are_told(lab: Lab) -> None:
    """When it came to us; and that no link of ours can meet what we ask."""
    tables = '[[trust.peer]]\ndomain = "b.example"\npolicy = "certificate"\n'
    a, b = lab.router("a.example", tables=tables), lab.organisation("b.example")
    link = b.connect(a)
    link.send(Claim(1, b"b.example", b"a.example", b"token"))
    assert link.expect(ClaimResult).reason == Reason.WEAKER_THAN_POLICY.code
    view = ctl_json(a, "peers", "show", "b.example")
    assert (view["required"], view["acceptable"], view["state"]) == ("certificate", False, "not tried")
    (error,) = view["errors"]
    assert (error["direction"], error["stage"], error["reason"]) == ("theirs", "policy", "weaker-than-policy")
    assert error["note"] == "claim towards a.example"
    assert "no link of ours can meet that" in ctl(a, "peers", "show", "b.example").output


def test_who_is_no_peer_has_an_exit_code(lab: Lab) -> None:
    """Unknown, served here, or no domain at all."""
    a = lab.router("a.example")
    assert ctl(a, "peers", "show", "nowhere.example").exit_code == Exit.NOT_FOUND
    served = ctl(a, "peers", "show", "a.example")
    assert (served.exit_code, "domains doctor" in served.output) == (Exit.USAGE, True)
    assert ctl(a, "peers", "show", "..").exit_code == Exit.USAGE


def test_the_memory_of_failures_is_bounded() -> None:
    """Of each domain the last ones; of each table the domains that failed last; strangers stay apart."""
    log = PeerLog(lambda: 5.0, domains=3)
    for count in range(PER_DOMAIN + 2):
        log.failed("ours", b"b.example", Reason.BUSY, str(count))
    for number in range(10):
        log.failed("theirs", b"%d.example" % number, Reason.NOT_MINE)
    assert log.of(b"b.example")[0][1].note == str(PER_DOMAIN + 1)
    assert len(log.of(b"b.example")) == PER_DOMAIN
    assert log.of(b"6.example") == []
    assert [way for way, _ in log.of(b"9.example")] == ["theirs"]
