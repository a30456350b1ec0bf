"""`imxctl trace` against whole routers: what decided, by which rule, and what the other side said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from imxrouter.cli.exits import Exit
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.telemetry.logs import render
from imxrouter.telemetry.privacy import AddressMask, Privacy
from imxrouter.wire.record import Record
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table

KEPT = {"log.trace_entries": 1000}


def sent_id(rig: RouterRig, to: str, text: str = "x", source: str = "alice@a.example") -> str:
    """Send as alice, or another; the id of the message."""
    words = ("--json", "send", source, to, text)
    return str(json.loads(ctl(rig, *words).output)["id"])


def verdict(rig: RouterRig, ident: str) -> Any:
    """What a trace says became of the message."""
    return ctl_json(rig, "trace", ident)["verdict"]


@contextmanager
def listening() -> Iterator[list[LogEvent]]:
    """Everything that is logged meanwhile."""
    seen: list[LogEvent] = []
    globalLogPublisher.addObserver(seen.append)  # type: ignore[arg-type]
    try:
        yield seen
    finally:
        globalLogPublisher.removeObserver(seen.append)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "to", "text", "reason", "setting"),
    [
        ({"limits.max_message_bytes": 100}, "bob@a.example", "x" * 200, "too-large",
         "limits.max_message_bytes = 100"),
        ({"limits.sender_rate_per_s": 0.001, "limits.sender_burst": 1}, "bob@a.example", "x", "rate-limited",
         "limits.sender_rate_per_s = 0.001, limits.sender_burst = 1"),
        ({"trust.default_policy": "dialback+tls"}, "bob@b.example", "x", "weaker-than-policy",
         '[trust] default_policy = "dialback+tls"'),
        ({}, "bob@strict.zone.example", "x", "weaker-than-policy",
         '[[trust.peer]] domain = "*.zone.example": policy = "certificate"'),
        ({}, "bob@pinned.example", "x", "weaker-than-policy",
         '[[peer]] domain = "pinned.example": policy = "dialback+tls"'),
        ({}, "bob@own.example", "x" * 60, "too-large",
         '[[domain]] name = "own.example": max_message_bytes = 50'),
        ({}, "bob@off.example", "x", "suspended", '[[domain]] name = "off.example": state = "suspended"'),
        ({"dial.allow_networks": []}, "bob@b.example", "x", "address-refused",
         "dial.allow_networks = [], dial.allow_ports_below_1024 = [443]"),
    ],
)  # fmt: skip
def test_the_rule_that_decided_is_named(
    lab: Lab, settings: dict[str, object], to: str, text: str, reason: str, setting: str
) -> None:
    """The check, and the very entry of the configuration that it read; and what to do."""
    tables = (
        '[[trust.peer]]\ndomain = "*.zone.example"\npolicy = "certificate"\n'
        '[[peer]]\ndomain = "pinned.example"\naddresses = ["127.0.0.1:9"]\npolicy = "dialback+tls"\n'
        '[[domain]]\nname = "own.example"\nservice = "home"\nmax_message_bytes = 50\n'
        '[[domain]]\nname = "off.example"\nservice = "home"\nstate = "suspended"\n'
    )
    a = lab.router("a.example", settings={**KEPT, **settings}, tables=tables)
    lab.router("b.example")
    lab.publish("strict.zone.example", ("127.0.0.1", 6490))
    if reason == "rate-limited":
        sent_id(a, to)
    ident = sent_id(a, to, text)
    told = verdict(a, ident)
    assert (told["status"], told["reason"]) == ("failure", reason)
    assert (told["decided_by"], told["decided_role"], told["answer"]) == ("", "router", "")
    assert told["failed_at"] == ("b.example" if told["stage"] == "connect" else "")
    assert told["rule"]
    assert told["setting"] == setting
    assert told["remedy"]
    shown = ctl(a, "trace", ident).output
    assert all(told[name] in shown for name in ("rule", "setting", "remedy"))


def test_the_answer_of_the_other_side_is_told_with_role_and_domain(lab: Lab) -> None:
    """Here what was answered, there which rule of which service decided; each in its own words."""
    a, b = lab.router("a.example", settings=KEPT), lab.router("b.example", settings=KEPT)
    ident = sent_id(a, "nobody@b.example")
    here, there = verdict(a, ident), verdict(b, ident)
    assert (here["reason"], here["decided_by"]) == ("not-delivered", "b.example")
    assert here["decided_role"] == "service"
    assert here["answer"].startswith("failure not-delivered by service b.example over link ")
    assert here["rule"] == "what b.example answered"
    assert (there["reason"], there["decided_role"]) == ("unknown-user", "service")
    assert any("hops before" in gap for gap in ctl_json(b, "trace", ident)["gaps"])
    steps = {step["event"]: step["fields"] for step in ctl_json(b, "trace", ident)["steps"]}
    assert steps["delivery"]["text"].endswith("a.example is proved there: dialback")
    assert steps["delivery"]["role"] == "peer"
    assert steps["settled"]["seconds"] >= 0


def test_a_name_that_the_peer_gives_is_noted_as_its_claim(lab: Lab) -> None:
    """It is not proved there, so the peer is named, and what it says stays a note."""
    a, b = lab.router("a.example", settings=KEPT), lab.organisation("b.example")
    sent = a.send("alice@a.example", "bob@b.example")
    link = b.accept()
    b.take_claim(link, a)
    request = link.request()
    link.answer(request, failure(Reason.BUSY, by="c.example", role="router", retry_after_s=10))
    assert sent.outcome().decided_by == "b.example"
    told = verdict(a, request.message_id.hex())
    assert (told["decided_by"], told["note"]) == ("b.example", "it names c.example (router)")
    assert told["retry_after_s"] == 10


def test_a_failure_on_the_way_is_entered_for_those_who_wait(lab: Lab) -> None:
    """With the stage and reason of the log."""
    a = lab.router("a.example", settings=KEPT)
    trace = ctl_json(a, "trace", sent_id(a, "bob@nowhere.example"))
    failed = [step["fields"] for step in trace["steps"] if step["event"] == "failed"]
    assert [(one["stage"], one["reason"]) for one in failed] == [("dns", "no-such-domain")]
    assert trace["verdict"]["rule"] == "what DNS says of nowhere.example"


# -- services that log in --------------------------------------------------------------------------------


def _with_service(lab: Lab, **settings: object) -> tuple[RouterRig, RawPeer]:
    """A router with a logged-in service for office.example, and the service's link."""
    key = login_key(1)
    tables = service_table("office", key, "office.example")
    rig = lab.router("a.example", tables=tables, settings={"lab": True, **KEPT, **settings})
    service = lab.organisation("any.example").connect(rig)
    assert service.log_in(key) == 0
    return rig, service


def _message(number: int, text: str = "x") -> Record:
    return replace(
        text_message("carol@office.example", "bob@a.example", text), message_id=bytes([number]) * 16
    )


def test_a_plain_delivery_of_a_service_says_what_is_known(lab: Lab) -> None:
    """In flight, remembered for duplicates, or unknown, with why; and whole where it is configured."""
    a, service = _with_service(lab)

    def untraced() -> None:
        a.router.switch.on_delivered = None
        a.router.traces_deliveries = False

    a.call(untraced)
    a.send("alice@a.example", "carol@office.example")
    request = service.request()
    flying = ctl_json(a, "trace", request.message_id.hex())
    assert flying["state"] == "in flight"
    assert "is not answered yet" in " ".join(flying["gaps"])
    assert "of service office" in " ".join(flying["gaps"])
    assert "alice" not in json.dumps(flying)
    service.answer(request)
    service.send(_message(7))
    assert service.outcome().ok
    assert ctl_json(a, "trace", "07" * 16)["verdict"]["status"] == "success"  # bob's service tells
    unknown = ctl(a, "trace", "08" * 16)
    assert unknown.exit_code == Exit.NOT_FOUND
    assert "log.trace_deliveries" in unknown.output


def test_what_had_to_wait_and_was_delivered_says_so(lab: Lab) -> None:
    """Plain deliveries of services are not noted; one whose steps are there has an end all the same."""
    a, service = _with_service(lab)
    lab.router("b.example")
    lab.publish("office.example", a.endpoint)

    def untraced() -> None:
        a.router.switch.on_delivered = None
        a.router.traces_deliveries = False

    a.call(untraced)
    service.send(replace(text_message("carol@office.example", "bob@b.example", "x"), message_id=b"\7" * 16))
    assert service.outcome().ok
    trace = ctl_json(a, "trace", "07" * 16)
    assert trace["steps"][-1]["event"] == "sent"
    told = trace["verdict"]
    assert (trace["state"], told["status"], told["decided_by"]) == ("finished", "success", "b.example")
    (row,) = ctl_json(a, "trace", "--to", "b.example")["messages"]
    assert row["status"] == "success"


def test_what_is_under_way_has_no_result(lab: Lab) -> None:
    """Neither in a list nor by its id."""
    a = lab.router("a.example", settings=KEPT)
    link = lab.organisation("c.example").proved_link(a)
    sent = a.send("alice@a.example", "bob@c.example")
    request = link.request()
    (row,) = ctl_json(a, "trace", "--to", "c.example")["messages"]
    assert row["status"] == ""
    assert ctl_json(a, "trace", request.message_id.hex())["verdict"] is None
    link.answer(request)
    assert sent.outcome().ok


def test_plain_deliveries_are_traced_where_it_is_configured(lab: Lab) -> None:
    """Both links, size and time of each."""
    a, service = _with_service(lab)
    sent = a.send("alice@a.example", "carol@office.example")
    service.answer(request := service.request())
    assert sent.outcome().ok
    steps = ctl_json(a, "trace", request.message_id.hex())["steps"]
    (answered,) = [step["fields"] for step in steps if step["event"] == "answered"]
    assert (answered["source"], answered["destination"]) == ("*@a.example", "*@office.example")
    assert {"link", "out_link", "seconds", "bytes", "kind"} <= set(answered)


def test_a_refusal_of_a_service_is_always_traced(lab: Lab) -> None:
    """With the link it came over, and its role."""
    a, service = _with_service(lab)
    service.send(replace(_message(9), envelope=text_message("x@a.example", "bob@a.example", "x").envelope))
    assert service.outcome().reason is Reason.NOT_PROVED
    trace = ctl_json(a, "trace", "09" * 16)
    (settled,) = [step["fields"] for step in trace["steps"] if step["event"] == "settled"]
    assert (settled["role"], settled["source"]) == ("service", "*@a.example")
    assert trace["verdict"]["setting"] == "[[domain]] service"


# -- searching -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("privacy", ["full", "domain", "keyed-hash"])
def test_messages_are_found_by_sender_and_recipient(lab: Lab, privacy: str) -> None:
    """A user where users are kept, by name or by hash; else the domain, and this is said."""
    a = lab.router("a.example", "c.example", settings={**KEPT, "log.addresses": privacy})
    idents = {}
    for source, destination in (
        ("alice@a.example", "bob@a.example"), ("bob@a.example", "alice@c.example"),
        ("alice@c.example", "nobody@a.example"),
    ):  # fmt: skip
        answer = ctl(a, "--json", "send", source, destination, "secret words").output
        idents[source, destination] = json.loads(answer)["id"]

    def found(*words: str) -> list[str]:
        return [row["id"] for row in ctl_json(a, "trace", *words)["messages"]]

    to_bob, to_c, to_nobody = idents.values()
    assert found("--from", "a.example") == [to_bob, to_c]
    assert found("--from", "a.example", "--to", "c.example") == [to_c]
    assert found("--to", "a.example") == [to_bob, to_nobody]
    assert found("--from", "a.example", "--since", "1h") == [to_bob, to_c]
    by_user = ctl_json(a, "trace", "--from", "Alice@a.example")
    if privacy == "domain":
        assert [row["id"] for row in by_user["messages"]] == [to_bob, to_c]
        assert by_user["notes"][0] == "log.addresses keeps no users: all of a.example are listed"
    else:
        assert [row["id"] for row in by_user["messages"]] == [to_bob]
    (row,) = ctl_json(a, "trace", "--to", "a.example", "--from", "c.example")["messages"]
    assert (row["status"], row["stage"], row["reason"]) == ("failure", "service", "unknown-user")
    shown = json.dumps(by_user)
    assert "secret" not in shown
    assert ("alice" in shown) == (privacy == "full")
    assert ctl(a, "trace", "--from", "nobody.example").exit_code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    "words",
    [[], ["00" * 16, "--from", "a.example"], ["--since", "5m"], ["--from", "a..example"],
     ["--to", "b.example", "--since", "soon"]],
)  # fmt: skip
def test_a_search_that_makes_no_sense_is_a_wrong_command_line(lab: Lab, words: list[str]) -> None:
    """Neither nor, both, or nothing that can be looked for."""
    assert ctl(lab.router("a.example", settings=KEPT), "trace", *words).exit_code == Exit.USAGE


def test_reading_a_trace_is_logged(lab: Lab) -> None:
    """Of one message and of many; whoever is looked for is masked as everywhere in the log."""
    a = lab.router("a.example", settings=KEPT)
    ident = sent_id(a, "bob@a.example")
    with listening() as seen:
        ctl(a, "trace", ident)
        ctl(a, "trace", "--from", "alice@a.example", "--to", "b.example")
    mask = AddressMask(Privacy.DOMAIN)
    texts = [render(event, mask)["text"] for event in seen if event["log_namespace"] == "imxrouter.admin"]
    assert texts == [
        f"trace of {ident} is read", "traces of messages from *@a.example to b.example are read",
    ]  # fmt: skip


def test_every_reason_has_a_rule(lab: Lab) -> None:
    """Whoever decided; where this router did, no reason is left with its stage alone."""
    a = lab.router("a.example", settings=KEPT)
    ident = b"i" * 16 + b"bob@a.example" + b"alice@b.example"
    entry = (0, 0, 100, ident, 0, b"a.example", b"b.example", 0x100, 9, 0.0, 0, b"", 0, 0.0)
    rules, ours = a.router.rules, set()
    for reason in Reason:
        for role, by in (("router", ""), ("router", "b.example"), ("service", ""), ("peer", "b.example")):
            rule = rules.of(entry, failure(reason, by=by, role=role))
            assert rule.check, reason
            if rule.check.startswith("stage ") and not by and role == "router":
                ours.add(reason.word)
    assert ours <= {
        "none", "unknown-user", "blocked", "consent-needed", "not-delivered", "busy", "recipient-limit",
        "shutting-down", "peer-failed", "tls-failed", "own-network", "idle", "redirected", "login-failed",
    }  # fmt: skip
