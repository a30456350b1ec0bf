"""`imxctl domains doctor` against whole routers: what is published, where it leads, and what to do."""

from __future__ import annotations

import json
from typing import Any

import dns.name
import pytest

from imxrouter.cli.exits import Exit
from imxrouter.model.vocabulary import REASON_BY_WORD
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab, RouterRig


def look(rig: RouterRig, domain: str = "a.example", code: Exit = Exit.OK) -> Any:
    """What the doctor says; its words are registered, and every fault has a remedy."""
    result = ctl(rig, "--json", "domains", "doctor", domain)
    assert result.exit_code == code, result.output
    view = json.loads(result.output)
    for finding in view["findings"]:
        if finding["reason"]:
            assert finding["stage"] == REASON_BY_WORD[finding["reason"]].stage.value
        assert finding["remedy"] or finding["severity"] == "good"
    severities = [finding["severity"] for finding in view["findings"]]
    assert severities == sorted(severities, key=["error", "warning", "note", "good"].index)
    assert (view["result"] == "failed") == ("error" in severities) == (code == Exit.FAILED)
    return view


def told(view: Any, severity: str) -> list[tuple[str, str]]:
    """Stage and reason of the findings of one severity."""
    return [(one["stage"], one["reason"]) for one in view["findings"] if one["severity"] == severity]


def publish_as_wanted(lab: Lab, rig: RouterRig, domain: str = "a.example") -> None:
    """Do what the doctor says: paste what it prints."""
    zone = look_anyhow(rig, domain)["publish"]
    lab.zones.load(f"{zone}\nrouter.a.example. 60 IN A {rig.ip}\n", domain)


def look_anyhow(rig: RouterRig, domain: str) -> Any:
    """What the doctor says, well or ill."""
    return json.loads(ctl(rig, "--json", "domains", "doctor", domain).output)


def test_a_domain_published_as_told_is_good(lab: Lab) -> None:
    """The text to copy is all that is needed; then there is nothing left to do."""
    a = lab.router("a.example", publish=False)
    assert told(look(a, code=Exit.FAILED), "error") == [("dns", "no-such-domain")]
    publish_as_wanted(lab, a)
    view = look(a)
    assert (view["result"], {one["severity"] for one in view["findings"]}) == ("good", {"good"})
    assert any("is this process" in one["what"] for one in view["findings"])
    shown = ctl(a, "domains", "doctor", "a.example").output
    assert shown.endswith("a.example: good\n")
    assert view["publish"].strip() in shown


@pytest.mark.parametrize(
    ("zone", "reason"),
    [
        ("a.example. 60 IN TXT x", "no-imx-record"),
        ("a.example. 60 IN IMX 0 .", "no-service"),
        ("a.example. 60 IN IMX 1 im.a.example.", "no-address"),
        ("a.example. 60 IN IMX 0 b.a.example.\nb.a.example. 60 IN IMX 0 a.example.", "bad-dns-record"),
    ],
)
def test_records_that_lead_nowhere_are_an_error(lab: Lab, zone: str, reason: str) -> None:
    """With each question as evidence, and what to publish."""
    a = lab.router("a.example", publish=False)
    lab.zones.load(zone, "a.example")
    view = look(a, code=Exit.FAILED)
    assert ("dns", reason) in told(view, "error")
    first = next(one for one in view["findings"] if one["reason"] == reason)
    assert first["evidence"][0].startswith("a.example IMX: ")
    assert "a.example. 3600 IN TYPE65400" in view["publish"]


def test_a_server_that_fails_ends_the_search_of_peers(lab: Lab) -> None:
    """Nobody goes on to the next form then, so it is an error although another form is right."""
    a = lab.router("a.example", publish=False)
    lab.zones._book.servfail.add(dns.name.from_text("a.example."))
    assert ("dns", "dns-failure") in told(look(a, code=Exit.FAILED), "error")


def test_targets_that_are_not_this_router_are_told_apart(lab: Lab) -> None:
    """Another router, nobody, an address that peers refuse: each with its address."""
    a, b = lab.router("a.example", publish=False), lab.router("b.example")
    lab.publish("a.example", a.endpoint, b.endpoint, ("127.0.0.9", 1026), ("10.0.0.1", 6490))
    view = look(a, code=Exit.FAILED)
    errors, warnings = told(view, "error"), told(view, "warning")
    assert set(errors) == {("dialback", "not-mine"), ("connect", "address-refused")}
    assert ("connect", "connection-refused") in warnings
    other = next(one for one in view["findings"] if one["reason"] == "not-mine")
    assert b.ip in other["what"]
    assert other["evidence"][0].startswith("router.b.example ")
    lab.publish("a.example", b.endpoint)
    a.forget_dns()
    what = [one["what"] for one in look(a, code=Exit.FAILED)["findings"] if one["severity"] == "error"]
    assert "no published address leads to this router" in what


def test_records_that_differ_and_lead_here_are_a_note(lab: Lab) -> None:
    """An alias to the hoster's records is as good; a stale fall-back form that leads elsewhere is not."""
    a = lab.router("a.example")
    view = look(a)
    assert view["result"] == "good"
    assert any("but leads here" in one["what"] for one in view["findings"] if one["severity"] == "note")
    lab.zones.load(f"_imx._tcp.a.example. 60 IN SRV 1 1 6490 old.a.example.\nold.a.example. 60 IN A {a.ip}\n"
                   f"a.example. 60 IN IMX 1 im1.a.example. port={a.endpoint[1]}\n"
                   f"im1.a.example. 60 IN A {a.ip}\n", "a.example")  # fmt: skip
    a.forget_dns()
    warned = [one for one in look(a)["findings"] if one["severity"] == "warning"]
    assert [one["what"].split(":")[0] for one in warned] == ["_imx._tcp.a.example SRV"]
    assert "there: 1 1 6490 old.a.example." in warned[0]["evidence"]


@pytest.mark.parametrize("beside", ["", "_pres._imx", "_imx._tcp"])
def test_records_for_messages_alone(lab: Lab, beside: str) -> None:
    """A domain that publishes `_im._imx` and nothing for presence is found for messages alone: it is told."""
    a = lab.router("a.example", publish=False)
    record = f"60 IN SRV 1 0 {a.endpoint[1]} im1.a.example."
    lab.zones.load(f"_im._imx.a.example. {record}\nim1.a.example. 60 IN A {a.endpoint[0]}\n"
                   + (f"{beside}.a.example. {record}\n" if beside else ""), "a.example")  # fmt: skip
    warned = [one["what"] for one in look(a)["findings"] if one["severity"] == "warning"]
    assert ("no peer finds a.example for presence" in warned) is not bool(beside)


def test_what_this_router_itself_lacks_is_told(lab: Lab) -> None:
    """A policy nobody can meet, a service that is down, a suspended domain, a default that shuts most out."""
    tables = (
        '[[service]]\nname = "office"\nkind = "imx"\n'
        'key = "0000000000000000000000000000000000000000000000000000000000000001"\n'
        '[[domain]]\nname = "off.example"\nservice = "office"\npolicy = "dialback+certificate"\n'
    )
    a = lab.router("a.example", tables=tables, settings={"trust.default_policy": "dialback+certificate"})
    lab.publish("off.example", a.endpoint)
    view = look(a, "off.example", Exit.FAILED)
    assert set(told(view, "error")) == {("policy", "weaker-than-policy"), ("service", "service-down")}
    assert ("policy", "weaker-than-policy") in told(look(a), "warning")
    ctl(a, "domains", "suspend", "a.example")
    assert ("policy", "suspended") in told(look(a, code=Exit.FAILED), "error")


def test_more_hosts_need_one_key(lab: Lab) -> None:
    """Each would sign with a key of its own, and the others would say `not-mine`."""
    both = {"listen.publish": ["im1.a.example:6490", "im2.a.example:6490"]}
    a = lab.router("a.example", settings=both)
    assert ("dialback", "not-mine") in told(look(a), "warning")
    keys = "[dialback.keys]\nk1 = '" + "ab" * 32 + "'\n"
    b = lab.router("b.example", settings=both, tables=keys)
    assert ("dialback", "not-mine") not in told(look(b, "b.example"), "warning")


def test_aliases_are_looked_up_too(lab: Lab) -> None:
    """One that nobody finds is named; it has a doctor of its own."""
    a = lab.router("a.example")
    ctl_json(a, "domains", "change", "a.example", "--alias", "www.a.example")
    (finding,) = [one for one in look(a)["findings"] if "alias" in one["what"]]
    assert (finding["severity"], finding["remedy"]) == ("warning", "imxctl domains doctor www.a.example")
    assert "www.a.example. 3600 IN TYPE65400" in look(a, "www.a.example", Exit.FAILED)["publish"]


def test_a_domain_of_somebody_else_has_no_doctor_here(lab: Lab) -> None:
    """Exit codes as of other commands."""
    a = lab.router("a.example")
    assert ctl(a, "domains", "doctor", "b.example").exit_code == Exit.NOT_FOUND
    assert ctl(a, "domains", "doctor", "..").exit_code == Exit.USAGE
