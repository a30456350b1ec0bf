"""Whole routers steered by the real `imxctl` over their administration sockets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from imxrouter.cli.exits import Exit
from imxrouter.lab.zones import ZoneBook
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import SUCCESS
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import Level
from imxrouter.wire.control import Close
from tests.doubles.ctl import ctl, ctl_json, ctl_json_of_failure
from tests.doubles.router_rig import Lab, RouterRig


def proofs(rig: RouterRig) -> set[tuple[int, str]]:
    """(link, domain) of what strangers have proved at a router."""
    return {
        (link["link"], claim["theirs"])
        for link in ctl_json(rig, "links")
        for claim in link["claims"]
        if claim["direction"] == "received"
    }


def claims(rig: RouterRig) -> set[tuple[str, str]]:
    """(our domain, state) of the claims that a router makes."""
    return {
        (claim["ours"], claim["state"])
        for link in ctl_json(rig, "links")
        for claim in link["claims"]
        if claim["direction"] == "made"
    }


# -- messages --------------------------------------------------------------------------------------------


def test_send_says_who_has_it(lab: Lab) -> None:
    """Success names the recipient's domain, at home as well as elsewhere."""
    a, b = lab.router("a.example"), lab.router("b.example")
    there = ctl(a, "send", "alice@a.example", "bob@b.example", "hello")
    assert there.exit_code == Exit.OK
    assert there.output.startswith("delivered to b.example in ")
    assert ctl(a, "send", "alice@a.example", "bob@a.example", "x").output.startswith(
        "delivered to a.example "
    )
    view = ctl_json(a, "send", "alice@a.example", "bob@b.example", "again")
    assert (view["status"], view["decided_by"], view["decided_role"], view["retry"]) == (
        "success", "b.example", "service", "",
    )  # fmt: skip
    assert b.inbox("bob@b.example") == [("alice@a.example", "hello"), ("alice@a.example", "again")]


def test_a_failure_says_how_its_steps_are_seen(lab: Lab) -> None:
    """What it names is a command that shows them."""
    a = lab.router("a.example", settings={"log.trace_entries": 1000})
    refused = ctl(a, "send", "alice@a.example", "bob@nowhere.example", "x")
    assert refused.exit_code == Exit.FAILED
    (words,) = re.findall(r"^ +its steps: imxctl (trace [0-9a-f]{32})$", refused.output, re.MULTILINE)
    assert "no-such-domain at stage dns" in ctl(a, *words.split()).output


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["send", "alice@a.example", "bob@nowhere.example", "x"], Exit.FAILED,
         "at stage dns towards nowhere.example, decided by this router; trying again will not help"),
        (["send", "alice@a.example", "nobody@a.example", "x"], Exit.FAILED, "at stage service"),
        (["send", "mallory@a.example", "bob@a.example", "x"], Exit.NOT_FOUND, "not a user"),
        (["send", "alice@", "bob@a.example", "x"], Exit.USAGE, "write local@domain"),
        (["send", "alice@a.example"], Exit.USAGE, ""),
        (["watch", "nobody@a.example"], Exit.NOT_FOUND, "nobody@a.example"),
        (["trace", "00" * 16], Exit.NOT_FOUND, "no step of that message"),
        (["trace", "not hexadecimal"], Exit.NOT_FOUND, "no step of that message"),
        (["domains", "suspend", "nowhere.example"], Exit.NOT_FOUND, "not served here"),
        (["domains", "add", "a.example", "--service", "home"], Exit.FAILED, "a.example"),
        (["domains", "add", "c.example", "--service", "office"], Exit.USAGE, "one of: home"),
        (["dns", "lookup", "nowhere.example"], Exit.FAILED, "no-such-domain at stage dns"),
        (["dns", "lookup", "..example"], Exit.USAGE, "domain"),
        (["dns", "lookup", ""], Exit.USAGE, "a name is missing"),
        (["dns", "lookup", "1.2.3.4"], Exit.USAGE, "is an address"),
        (["dns", "records", "bad.."], Exit.USAGE, "letter-digit-hyphen"),
        (["peers", "retry", "nowhere.example"], Exit.NOT_FOUND, "nothing was sent to nowhere.example"),
        (["peers", "forget", "nowhere.example"], Exit.NOT_FOUND, "nothing is remembered"),
        (["peers", "retry", "..example"], Exit.USAGE, "domain"),
        (["watch", ""], Exit.USAGE, "a name is missing"),
        (["domains", "add", "1.2.3.4", "--service", "home"], Exit.USAGE, "is an address"),
        (["domains", "remove", ""], Exit.USAGE, "a name is missing"),
    ],
)  # fmt: skip
def test_exit_codes_tell_what_went_wrong(lab: Lab, words: list[str], code: Exit, says: str) -> None:
    """Each with a sentence that names the thing."""
    result = ctl(lab.router("a.example"), *words)
    assert result.exit_code == code, result.output
    assert says in result.output


def test_no_router_has_a_code_of_its_own(lab: Lab) -> None:
    """A script can tell a dead router from a refusal."""
    a = lab.router("a.example")
    a.stop()
    assert ctl(a, "status").exit_code == Exit.UNREACHABLE


def test_watch_shows_messages_as_they_come(lab: Lab) -> None:
    """From another process, which leaves after as many as it was told."""
    a, b = lab.router("a.example"), lab.router("b.example")
    program = [sys.executable, "-m", "imxrouter.cli.main", "--socket", b.router.config.admin_socket]
    watching = subprocess.Popen(
        [*program, "watch", "bob@b.example", "--count", "2"], stdout=subprocess.PIPE, text=True
    )
    user = Address.parse("bob@b.example")

    def is_watched() -> bool:
        service = b.router.embedded_for(user)
        return service is not None and service.inboxes.programs(user) > 0

    lab.wait_until(is_watched, "the watcher")
    for text in ("one", "two \x1b[31m"):
        assert a.send("alice@a.example", "bob@b.example", text).outcome().ok
    shown, _ = watching.communicate(timeout=30)
    assert watching.returncode == Exit.OK
    first, second = shown.splitlines()
    assert first.endswith(" alice@a.example: one")
    assert "\x1b" not in second
    lab.wait_until(lambda: not is_watched(), "the watcher's end")


def test_the_operator_is_told_in_full_and_a_user_is_not(lab: Lab) -> None:
    """The reason that its remedy needs, with a detail; a service's user gets the disclosed form."""
    strict = {"dial.allow_networks": ["127.0.0.0/8"], "log.trace_entries": 100}
    a, b = lab.router("a.example", settings=strict), lab.router("b.example")
    lab.publish("inside.example", ("10.0.0.1", 6490))
    lab.publish("closed.example", ("127.0.0.9", 1026))
    inside = ctl_json_of_failure(a, "send", "alice@a.example", "bob@inside.example", "x")
    assert (inside["reason"], inside["stage"], inside["retry"]) == ("address-refused", "connect", "later")
    assert "10.0.0.1" in inside["note"]
    assert inside["note"] in ctl(a, "send", "alice@a.example", "bob@inside.example", "x").output
    traced = [step["fields"] for step in ctl_json(a, "trace", inside["id"])["steps"]]
    assert [fields["note"] for fields in traced if "note" in fields] == [inside["note"]]
    closed = ctl_json_of_failure(a, "send", "alice@a.example", "bob@closed.example", "x")
    assert closed["reason"] == "connection-refused"
    nobody = ctl_json_of_failure(a, "send", "alice@a.example", "nobody@a.example", "x")
    assert (nobody["reason"], nobody["decided_role"]) == ("unknown-user", "service")
    there = ctl_json_of_failure(a, "send", "alice@a.example", "nobody@b.example", "x")
    assert there["reason"] == "not-delivered"
    assert b.inbox("bob@b.example") == []
    for domain, told in (("inside", Reason.UNREACHABLE), ("closed", Reason.UNREACHABLE)):
        assert a.send("alice@a.example", f"bob@{domain}.example").outcome().reason is told
    assert a.send("alice@a.example", "nobody@a.example").outcome().reason is Reason.NOT_DELIVERED


def test_a_claim_that_is_not_ours_is_named_as_that(lab: Lab) -> None:
    """Our own records lead to a host that knows nothing of the claim: `not-mine`, as the guide has it."""
    a, _ = lab.router("a.example", publish=False), lab.router("b.example")
    other = lab.router("other.example")
    lab.publish("a.example", other.endpoint)
    refused = ctl_json_of_failure(a, "send", "alice@a.example", "bob@b.example", "x")
    assert (refused["reason"], refused["stage"]) == ("not-mine", "dialback")


# -- what there is ---------------------------------------------------------------------------------------


def test_status_links_and_peers_tell_of_the_same_traffic(lab: Lab) -> None:
    """Counters add up; both ends of a link show the claim; the peer is up, with its target."""
    a, b = lab.router("a.example"), lab.router("b.example")
    ctl(a, "send", "alice@a.example", "bob@b.example", "hello")
    ctl(a, "send", "alice@a.example", "bob@nowhere.example", "hello")
    status = ctl_json(a, "status")
    assert (status["ready"], status["in_flight"], status["held"]) == (True, 0, 0)
    counters = status["counters"]
    assert counters["accepted"] == counters["delivered"] + counters["failed"] == 2
    assert status["listening"] == [f"{a.ip}:{a.endpoint[1]}"]
    assert claims(a) == {("a.example", "proved")}
    assert {domain for _, domain in proofs(b)} == {"a.example"}
    assert {row["name"].split()[0] for row in ctl_json(a, "links")} == {b.router.config.name}
    peers = {row["domain"]: row for row in ctl_json(a, "peers")}
    assert peers["b.example"]["state"] == "up"
    assert peers["b.example"]["targets"] == [f"{b.ip}:{b.endpoint[1]}"]
    assert peers["nowhere.example"]["last_error"].startswith("dns: no-such-domain")
    assert "in flight" in ctl(a, "status").output
    assert "b.example" in ctl(a, "links", "--claims").output


def test_retry_ends_the_wait_after_a_failure(lab: Lab) -> None:
    """Once it was put right, the next message goes; the answer that DNS gave before is not kept either."""
    a = lab.router("a.example", settings={"dial.backoff_first_s": 200.0, "dial.backoff_cap_s": 200.0})
    send = ("send", "alice@a.example", "bob@b.example", "hello")
    assert "no-such-domain" in ctl(a, *send).output
    lab.router("b.example")
    assert "no-such-domain" in ctl(a, *send).output
    assert ctl_json(a, "peers", "retry", "b.example") == {"domain": "b.example", "cleared": ["back-off"]}
    assert ctl(a, *send).exit_code == Exit.OK
    assert ctl(a, "peers", "retry", "b.example").output == "b.example: nothing was waited for\n"


def test_forget_lets_the_policy_decide_again(lab: Lab) -> None:
    """A domain that was seen at more than it can prove now is refused until the memory is cleared."""
    a, b = lab.router("a.example"), lab.router("b.example")
    strong = Level.DIALBACK_TLS
    b.call(lambda: b.router.gatekeeper.remembered.note(Domain("a.example"), strong, b.router.hub.now()))
    send = ("send", "alice@a.example", "bob@b.example", "hello")
    assert "weaker-than-remembered" in ctl(a, *send).output
    assert ctl(b, "peers", "forget", "a.example").output == "a.example: cleared: dialback+tls\n"
    assert ctl_json(a, "peers", "retry", "b.example")["cleared"] == ["refused claims"]
    assert ctl(a, *send).exit_code == Exit.OK
    assert ctl_json(b, "peers", "forget", "a.example")["cleared"] == ["dialback"]
    assert ctl(b, "peers", "forget", "a.example").exit_code == Exit.NOT_FOUND
    strong, note = Level.CERTIFICATE, b.router.gatekeeper.remembered.note
    b.call(lambda: note(Domain("a.example"), strong, b.router.hub.now(), protocol=Protocol.XMPP))
    assert ctl_json(b, "peers", "forget", "a.example")["cleared"] == ["certificate (xmpp)"]


def pairs(rig: RouterRig, *directions: str) -> set[tuple[str, ...]]:
    """What `links --claims` says of claims of these directions, without the number of the link."""
    names = ("theirs", "ours", "direction", "state", "level", "reason")
    return {
        tuple(claim[name] for name in names)
        for link in ctl_json(rig, "links")
        for claim in link["claims"]
        if claim["direction"] in directions
    }


def test_claims_name_both_domains_and_the_level_on_both_sides(lab: Lab) -> None:
    """In the words of policies; no reason where there is none."""
    a, b = lab.router("red.example", "blue.example"), lab.router("b.example")
    for user in ("alice@red.example", "alice@blue.example"):
        ctl(a, "send", user, "bob@b.example", "hello")
    ours = ("red.example", "blue.example")
    assert pairs(a, "made") == {("b.example", one, "made", "proved", "dialback", "") for one in ours}
    assert pairs(b, "received") == {(one, "b.example", "received", "proved", "dialback", "") for one in ours}
    over = {("b.example", one, "verifier", "proved", "dialback", "") for one in ours}
    assert pairs(a, "verifier") == over
    assert pairs(b, "verifier") == {(one, "b.example", "verifier", *rest) for _, one, _, *rest in over}


def test_a_refused_claim_says_why(lab: Lab) -> None:
    """On the side that made it; the other one keeps nothing of it."""
    a, b = lab.router("a.example", publish=False), lab.router("b.example")
    lab.publish("a.example", lab.router("other.example").endpoint)
    ctl(a, "send", "alice@a.example", "bob@b.example", "hello")
    assert pairs(a, "made") == {("b.example", "a.example", "made", "refused", "", "not-mine")}
    assert pairs(b, "received") == set()


def test_look_ups_are_counted_by_their_result(lab: Lab) -> None:
    """Found in DNS, known from the cache, or the reason why not."""
    a, _ = lab.router("a.example"), lab.router("b.example")
    for domain in ("b.example", "nowhere.example"):
        ctl(a, "send", "alice@a.example", f"bob@{domain}", "hello")
    ctl(a, "dns", "lookup", "b.example")
    found = [
        a.router.metrics.registry.get_sample_value("imxrouter_dns_lookups_total", {"result": word})
        for word in ("found", "no-such-domain", "cached")
    ]
    assert found == [2, 1, 0]


def test_records_can_be_published_and_found(lab: Lab) -> None:
    """What `dns records` prints is a zone that leads back to this very router, in each of the three forms."""
    a, b = lab.router("a.example"), lab.router("b.example")
    view = ctl_json(a, "dns", "records", "a.example")
    assert [len(view[form]) for form in ("imx", "svcb", "srv")] == [1, 1, 3]
    book = ZoneBook()
    book.load(ctl(a, "dns", "records", "a.example").output, "a.example")
    host = f"router.a.example. 60 IN A {a.ip}\n"
    for form, lines in (
        ("imx", "\n".join(view["imx"]) + "\n"),
        ("svcb", "\n".join(view["svcb"]) + "\n"),
        ("srv", "\n".join(view["srv"]) + "\n"),
    ):
        lab.zones.load(lines + host, "a.example")
        found = ctl_json(b, "dns", "lookup", "a.example")
        assert (found["form"], found["result"]) == (form, "found")
        (target,) = found["targets"]
        assert (target["host"].rstrip("."), target["port"], target["addresses"]) == (
            "router.a.example", a.endpoint[1], [a.ip],
        )  # fmt: skip


def test_a_look_up_shows_each_question_also_where_nothing_is_found(lab: Lab) -> None:
    """In the order of the specification, and what was answered to each."""
    a = lab.router("a.example")
    lab.zones.load("empty.example. 60 IN TXT x\n", "empty.example")
    for domain, reason in (("empty.example", "no-imx-record"), ("nowhere.example", "no-such-domain")):
        view = ctl_json_of_failure(a, "dns", "lookup", domain)
        assert (view["result"], view["stage"], view["reason"]) == ("failed", "dns", reason)
        shown = ctl(a, "dns", "lookup", domain).output
        assert all(step in shown for step in view["steps"])
    steps = ctl_json_of_failure(a, "dns", "lookup", "empty.example")["steps"]
    asked = [step.partition(":")[0] for step in steps]
    assert asked[:3] == ["empty.example IMX", "_imx.empty.example SVCB", "_im._imx.empty.example SRV"]


def test_a_domain_whose_targets_have_no_address_is_no_success(lab: Lab) -> None:
    """A message would end with the same reason; one target with an address is enough."""
    a = lab.router("a.example")
    lab.zones.load("lost.example. 60 IN IMX 1 im.lost.example. port=6490\n", "lost.example")
    view = ctl_json_of_failure(a, "dns", "lookup", "lost.example")
    assert (view["result"], view["reason"], view["form"]) == ("failed", "no-address", "imx")
    assert [target["host"].rstrip(".") for target in view["targets"]] == ["im.lost.example"]
    assert any("im.lost.example" in step and "no-address" in step for step in view["steps"])
    sent = ctl_json_of_failure(a, "send", "alice@a.example", "bob@lost.example", "x")
    assert sent["reason"] == view["reason"]
    lab.zones.load(
        "lost.example. 60 IN IMX 1 im.lost.example. port=6490\n"
        "lost.example. 60 IN IMX 2 in.lost.example. port=6490\nin.lost.example. 60 IN A 127.0.0.9\n",
        "lost.example",
    )
    assert ctl_json(a, "dns", "lookup", "lost.example")["result"] == "found"


def test_records_for_a_domain_of_somebody_else_come_with_a_note(lab: Lab) -> None:
    """They are right for a domain that is added later; a misspelt name is noticed."""
    a = lab.router("a.example")
    assert "not served here" in ctl(a, "dns", "records", "b.example").output
    assert "not served here" not in ctl(a, "dns", "records", "a.example").output
    assert (ctl_json(a, "dns", "records", "a.example")["imx"][0]).startswith("a.example. 3600 IN TYPE65400 ")


def test_a_trace_tells_the_steps_of_a_held_message(lab: Lab) -> None:
    """Held, looked up, connected, claimed, proved, sent."""
    a = lab.router("a.example", settings={"log.trace_entries": 1000})
    lab.router("b.example")
    ident = ctl_json(a, "send", "alice@a.example", "bob@b.example", "secret words")["id"]
    trace = ctl_json(a, "trace", ident)
    events = [step["event"] for step in trace["steps"]]
    order = ["held", "look-up", "connection", "claim", "answer released", "proved", "sent"]
    assert [event for event in dict.fromkeys(events) if event in order] == order
    assert "secret" not in json.dumps(trace)
    assert "alice" not in json.dumps(trace)
    assert "proved" in ctl(a, "trace", ident).output


def events(rig: RouterRig, ident: str) -> list[str]:
    """The events of a message's trace, oldest first."""
    return [step["event"] for step in ctl_json(rig, "trace", ident)["steps"]]


def test_a_delivered_message_of_an_embedded_user_is_traced(lab: Lab) -> None:
    """At home, over a link that is there, and at the other end; in a laboratory or not."""
    kept = {"log.trace_entries": 1000}
    a, b = lab.router("a.example", settings=kept), lab.router("b.example", settings=kept)
    home = ctl_json(a, "send", "alice@a.example", "bob@a.example", "hello")["id"]
    assert events(a, home) == ["accepted", "delivery", "answer"]
    first = ctl_json(a, "send", "alice@a.example", "bob@b.example", "secret words")["id"]
    assert events(a, first).count("sent") == 1
    again = ctl_json(a, "send", "alice@a.example", "bob@b.example", "secret words")["id"]
    assert events(a, again) == ["accepted", "sent", "answer"]
    assert events(b, again) == ["delivery"]
    for rig in (a, b):
        shown = json.dumps(ctl_json(rig, "trace", again))
        assert "secret" not in shown
        assert "alice" not in shown


# -- served domains --------------------------------------------------------------------------------------


def test_a_domain_is_served_as_soon_as_it_is_added(lab: Lab) -> None:
    """No restart: it sends, receives, and proves itself on the link that is there."""
    a, b = lab.router("a.example"), lab.router("b.example")
    assert ctl(a, "send", "alice@a.example", "bob@b.example", "before").exit_code == Exit.OK
    lab.publish("c.example", a.endpoint)
    refused = ctl(b, "send", "bob@b.example", "alice@c.example", "too early")
    assert "relay-denied" in refused.output
    added = ctl(
        a, "domains", "add", "c.example", "--service", "home", "--tenant", "sea", "--alias", "d.example"
    )
    assert added.output.startswith("c.example: added")
    assert {"aliases: - -> ['d.example']", "tenant: - -> sea"} <= {
        line.strip() for line in added.output.splitlines()
    }
    assert "abuse_contact" not in added.output, "what is not set is not told"
    rows = {row["name"]: row for row in ctl_json(a, "domains")}
    assert (rows["c.example"]["tenant"], rows["c.example"]["aliases"], rows["c.example"]["up"]) == (
        "sea", ["d.example"], True,
    )  # fmt: skip
    assert ctl(a, "send", "alice@c.example", "bob@b.example", "from c").exit_code == Exit.OK
    assert ctl(b, "send", "bob@b.example", "alice@c.example", "to c").exit_code == Exit.OK
    assert a.inbox("alice@d.example") == [("bob@b.example", "to c")]
    assert len({link for link, _ in proofs(b)}) == 1


@pytest.mark.parametrize("word", ["suspend", "remove"])
def test_a_domain_that_goes_ends_its_claims_and_nothing_else(lab: Lab, word: str) -> None:
    """Its proofs are gone on both sides; the shared link, and what others proved there, stay as they are."""
    a, b = lab.router("red.example", "blue.example"), lab.router("b.example")
    for user in ("alice@red.example", "alice@blue.example"):
        assert ctl(a, "send", user, "bob@b.example", "hello").exit_code == Exit.OK
    before = proofs(b)
    assert {domain for _, domain in before} == {"red.example", "blue.example"}
    links = [row["link"] for row in ctl_json(a, "links")]
    dials = a.router.metrics.registry.get_sample_value("imxrouter_dials_total", {"result": "connected"})

    assert ctl(a, "domains", word, "blue.example").exit_code == Exit.OK
    gone = {pair for pair in before if pair[1] == "blue.example"}
    lab.wait_until(lambda: not speaks(b, b"blue.example"), "the withdrawal")
    assert proofs(b) == before - gone
    assert claims(a) == {("red.example", "proved")}
    assert [row["link"] for row in ctl_json(a, "links")] == links

    assert ctl(a, "send", "alice@red.example", "bob@b.example", "still here").exit_code == Exit.OK
    assert ctl(b, "send", "bob@b.example", "alice@red.example", "so am I").exit_code == Exit.OK
    there = ctl(b, "send", "bob@b.example", "alice@blue.example", "anybody?")
    assert there.exit_code == Exit.FAILED
    here = ctl(a, "send", "alice@blue.example", "bob@b.example", "hello?")
    assert here.exit_code == (Exit.NOT_FOUND if word == "remove" else Exit.FAILED)
    after = a.router.metrics.registry.get_sample_value("imxrouter_dials_total", {"result": "connected"})
    assert after == dials


def speaks(rig: RouterRig, domain: bytes) -> bool:
    """Whether a router takes or sends anything of the domain over any link; in the reactor's thread."""
    return domain in rig.router.switch.ways or any(
        domain in one.port.sources or domain in one.port.speaks or domain in one.reached
        for one in rig.router.hub.sessions.values()
    )


def test_a_suspended_domain_comes_back(lab: Lab) -> None:
    """Refused by name while it is suspended; one claim later everything passes again."""
    a, b = lab.router("red.example", "blue.example"), lab.router("b.example")
    ctl(a, "send", "alice@blue.example", "bob@b.example", "hello")
    assert "active" in ctl(a, "domains", "suspend", "blue.example").output
    refused = ctl_json_of_failure(b, "send", "bob@b.example", "alice@blue.example", "x")
    assert refused["reason"] == "suspended"  # so the claim was refused; users are told service-down
    assert "suspended" in ctl(a, "domains").output
    assert ctl(a, "domains", "resume", "blue.example").exit_code == Exit.OK
    assert ctl(a, "send", "alice@blue.example", "bob@b.example", "back").exit_code == Exit.OK
    assert ctl(b, "send", "bob@b.example", "alice@blue.example", "welcome").exit_code == Exit.OK


# -- the end ---------------------------------------------------------------------------------------------


def test_what_is_in_flight_finishes_before_the_router_stops(lab: Lab) -> None:
    """As on SIGTERM: links are closed in order, and the late answer still reaches its sender."""
    a, m = lab.router("a.example", settings={"links.close_deadline_s": 10.0}), lab.organisation("m.example")
    link = m.proved_link(a)
    sent = a.send("alice@a.example", "somebody@m.example", "take your time")
    request = link.request()

    stopping: list[Deferred[Any]] = []
    done: list[object] = []

    def stop() -> None:
        stopping.append(a.router.stopService())
        stopping[0].addBoth(done.append)

    a.call(stop)
    a._running = False
    assert link.expect(Close).reason == Reason.SHUTTING_DOWN.code
    assert a.call(a.router.ready)[0] is False
    assert not done
    assert sent.outcomes == []
    link.answer(request, SUCCESS)
    assert sent.outcome().ok
    assert not done  # the peer may still have something on its way
    link.send(Close(0, 0))
    lab.wait_until(lambda: bool(done), "the router's stop")
    assert not Path(a.router.config.admin_socket).exists()


def test_the_router_does_not_wait_for_ever(lab: Lab) -> None:
    """After the close deadline it stops; what is without an answer then is `indeterminant`."""
    a, m = lab.router("a.example", settings={"links.close_deadline_s": 0.3}), lab.organisation("m.example")
    link = m.proved_link(a)
    sent = a.send("alice@a.example", "somebody@m.example", "nobody will answer")
    link.request()
    a.stop()
    assert sent.outcome().status.name.lower() == "indeterminant"


def test_a_proof_is_not_narrowed_by_a_claim_of_ours(lab: Lab) -> None:
    """What a peer proved by its own claim holds for every domain here, whatever we claim towards it later."""
    a, b = lab.router("red.example", "blue.example"), lab.router("b.example")
    assert b.send("bob@b.example", "alice@red.example", "first").outcome().ok
    assert a.send("alice@blue.example", "bob@b.example", "another domain claims").outcome().ok
    for _ in range(4):  # over whichever of the links takes its turn
        assert b.send("bob@b.example", "alice@red.example", "again").outcome().ok
        assert b.send("bob@b.example", "alice@blue.example", "and there").outcome().ok
