"""`imxctl check DOMAIN --as OURS` against whole routers: every stage, and the first failure explained."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from imxrouter.cli.exits import Exit
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason
from imxrouter.routing.policy import Level
from imxrouter.transport.inside import Respond
from imxrouter.wire.control import Claim, ClaimResult
from imxrouter.wire.record import Record, response_to
from imxrouter.wire.registry import RecordType
from tests.app.test_console import proofs
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig

STAGES = ["policy", "dns", "connect", "tls", "identity", "peer", "dialback", "service"]


def check(rig: RouterRig, domain: str = "b.example", code: Exit = Exit.OK, ours: str = "a.example") -> Any:
    """The answer; its words are registered, and stages after a failure are not tried and say why."""
    result = ctl(rig, "--json", "check", domain, "--as", ours, "--timeout", "15")
    assert result.exit_code == code, result.output
    view = json.loads(result.output)
    assert [one["stage"] for one in view["stages"]] == STAGES
    assert (view["domain"], view["ours"]) == (domain, ours)
    broken = False
    for one in view["stages"]:
        if broken:
            assert one["state"] == "not tried"
        if one["state"] == "not tried":
            assert one["why"]
            assert one["evidence"] == []
        broken = broken or one["state"] == "failed"
    assert broken == (code == Exit.FAILED) == (view["result"] == "failed")
    if view["failure"]:
        reason = REASON_BY_WORD[view["failure"]["reason"]]
        assert view["failure"]["stage"] == reason.stage.value
        assert view["failure"]["remedy"] == reason.remedy
    return view


def stage(view: Any, name: str) -> Any:
    """One stage."""
    return next(one for one in view["stages"] if one["stage"] == name)


def states(view: Any) -> dict[str, str]:
    """State of each stage."""
    return {one["stage"]: one["state"] for one in view["stages"]}


def failed_at(view: Any) -> tuple[str, str]:
    """Where the failure was seen, and its reason."""
    return view["failure"]["step"], view["failure"]["reason"]


def answering(rig: RouterRig, outcome: Outcome, change: Callable[[bytes], bytes]) -> None:
    """Let a router answer echoes in this way, in place of its own."""

    def echo(request: Record, respond: Respond) -> None:
        respond(response_to(request, outcome, change(request.body) if outcome.ok else b""))

    rig.call(lambda: rig.router.inside.handlers.__setitem__(RecordType.ECHO, echo))


def test_all_is_good(lab: Lab) -> None:
    """Every stage with evidence; the claim, and the round trip with an id that can be traced."""
    a, _ = lab.router("a.example", settings={"log.trace_entries": 1000}), lab.router("b.example")
    view = check(a)
    tried = {"policy", "dns", "connect", "peer", "dialback", "service"}
    assert {name: state for name, state in states(view).items() if name in tried} == dict.fromkeys(
        tried, "good"
    )
    assert all(stage(view, name)["evidence"] for name in tried)
    ours, theirs = stage(view, "dialback")["evidence"]
    assert (ours["facts"]["state"], ours["facts"]["level"]) == ("proved", "dialback")
    assert theirs["facts"]["answer"] == "not tried: they have not called"
    (echo,) = stage(view, "service")["evidence"]
    assert (echo["what"], echo["facts"]["bytes"]) == ("echo from @a.example to @b.example", 32)
    assert stage(view, "policy")["evidence"][0]["facts"]["by"] == '[trust] default_policy = "dialback"'
    trace = ctl_json(a, "trace", echo["facts"]["id"])
    assert "proved" in [step["event"] for step in trace["steps"]]
    shown = ctl(a, "check", "b.example", "--as", "a.example").output
    assert shown.endswith("b.example: good\n")
    assert "without TLS there is no certificate" in shown


def test_their_claim_is_seen_once_they_called(lab: Lab) -> None:
    """Dial-back both ways: what they proved here stands beside ours, and a link of theirs is enough."""
    a, b = lab.router("a.example"), lab.router("b.example")
    ctl(b, "send", "bob@b.example", "alice@a.example", "x")
    assert {domain for _, domain in proofs(a)} == {"b.example"}
    ours, theirs = stage(check(a), "dialback")["evidence"]
    assert theirs["facts"]["level"] == "dialback"
    assert ours["facts"]["answer"].startswith("not needed: b.example opened link ")


def test_their_refused_claim_is_told(lab: Lab) -> None:
    """Although ours is good: the other direction would fail, and why."""
    a, b = lab.router("a.example"), lab.router("b.example")
    lab.publish("b.example", lab.router("other.example").endpoint)
    ctl(b, "send", "bob@b.example", "alice@a.example", "x")
    lab.publish("b.example", b.endpoint)
    a.forget_dns()
    _, theirs = stage(check(a), "dialback")["evidence"]
    assert "not-mine, claim towards a.example" in theirs["facts"]["answer"]


@pytest.mark.parametrize(
    ("outcome", "change", "reason"),
    [
        (failure(Reason.RATE_LIMITED, retry_after_s=1), bytes, "rate-limited"),
        (failure(Reason.TYPE_NOT_ENABLED), bytes, "type-not-enabled"),
        (SUCCESS, lambda body: body[::-1], "protocol-error"),
        (SUCCESS, lambda _body: b"", "protocol-error"),
    ],
)
def test_a_failed_round_trip_is_told_by_its_reason(
    lab: Lab, outcome: Outcome, change: Callable[[bytes], bytes], reason: str
) -> None:
    """After dial-back was good; an echo that is not what was sent is no success."""
    a, b = lab.router("a.example"), lab.router("b.example")
    answering(b, outcome, change)
    view = check(a, code=Exit.FAILED)
    assert failed_at(view) == ("service", reason)
    assert states(view)["dialback"] == "good"


def test_checks_in_a_row_meet_the_limit_of_the_other_side(lab: Lab) -> None:
    """Its echo answers ten at once, then one a second; the wait that it advises is told."""
    a, b = lab.router("a.example"), lab.router("b.example")
    now = b.call(b.router.hub.now)
    b.router.own.echo._clock = lambda: now  # however long ten checks take
    for _ in range(10):
        check(a)
    view = check(a, code=Exit.FAILED)
    assert failed_at(view) == ("service", "rate-limited")
    assert view["failure"]["retry_after_s"] > 0


def test_policy_comes_first(lab: Lab) -> None:
    """What cannot be met is not dialled: for the peer, by memory, of our own domain, and a suspended one."""
    tables = (
        '[[trust.peer]]\ndomain = "b.example"\npolicy = "certificate"\n'
        '[[domain]]\nname = "own.example"\nservice = "home"\npolicy = "dialback+tls"\n'
        '[[domain]]\nname = "off.example"\nservice = "home"\nstate = "suspended"\n'
    )
    a, c = lab.router("a.example", tables=tables), lab.router("c.example")
    assert failed_at(check(a, code=Exit.FAILED)) == ("policy", "weaker-than-policy")
    for ours, reason in (("own.example", "weaker-than-policy"), ("off.example", "suspended")):
        view = check(a, "c.example", Exit.FAILED, ours)
        assert failed_at(view) == ("policy", reason)
        assert stage(view, "dns")["why"] == "stage policy failed"
    remembered = a.router.gatekeeper.remembered
    c_domain = next(iter(c.router.domains)).name
    a.call(lambda: remembered.note(c_domain, Level.DIALBACK_TLS, a.router.hub.now()))
    assert failed_at(check(a, "c.example", Exit.FAILED)) == ("policy", "weaker-than-remembered")
    assert ctl(a, "peers", "forget", "c.example").exit_code == Exit.OK
    assert check(a, "c.example")["result"] == "good"


def test_a_claim_that_is_refused_names_who_and_why(lab: Lab) -> None:
    """Our own DNS leads elsewhere: their verification does not find us."""
    a, b = lab.router("a.example", publish=False), lab.router("b.example")
    lab.publish("a.example", lab.router("other.example").endpoint)
    view = check(a, code=Exit.FAILED)
    assert failed_at(view) == ("dialback", "not-mine")
    assert stage(view, "dialback")["evidence"][0]["facts"]["by_peer"] is True
    lab.publish("a.example", a.endpoint)
    b.forget_dns()
    again = check(a, code=Exit.FAILED)  # the peer remembers for a while, and says for how long
    assert failed_at(again) == ("dialback", "not-mine")
    facts = stage(again, "dialback")["evidence"][0]["facts"]
    assert facts["cleared"] == ["refused claims"]
    assert again["failure"]["retry_after_s"] == facts["retry_after_s"] > 0


def test_a_back_off_does_not_keep_the_check_from_trying(lab: Lab) -> None:
    """What was put right is seen at once, and the wait is over for messages too."""
    a = lab.router("a.example", settings={"dial.backoff_first_s": 200.0, "dial.backoff_cap_s": 200.0})
    assert failed_at(check(a, code=Exit.FAILED)) == ("dns", "no-such-domain")
    ctl(a, "send", "alice@a.example", "bob@b.example", "x")
    lab.router("b.example")
    a.forget_dns()
    assert stage(check(a), "dialback")["evidence"][0]["facts"]["cleared"] == ["back-off"]
    assert ctl(a, "send", "alice@a.example", "bob@b.example", "x").exit_code == Exit.OK


def _refuses(peer: RawPeer) -> None:
    peer.hello()
    claim = peer.find(Claim)
    peer.send(ClaimResult(claim.number, Reason.SUSPENDED.code, None, 60))


@contextmanager
def _played(organisation: RawOrganisation, script: Callable[[RawPeer], None]) -> Iterator[None]:
    stopping = threading.Event()

    def play() -> None:
        while not stopping.is_set():
            with suppress(TimeoutError, OSError, AssertionError):
                script(organisation.listener.accept(0.1))

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_what_a_peer_answers_to_the_claim_is_the_reason(lab: Lab) -> None:
    """It says `suspended`: that is told, with the step at which it was seen, and its advice."""
    a, b = lab.router("a.example"), lab.organisation("b.example")
    with _played(b, _refuses):
        view = check(a, code=Exit.FAILED)
    assert failed_at(view) == ("dialback", "suspended")
    assert view["failure"]["stage"] == "policy"
    assert states(view)["peer"] == "good"


def test_a_pinned_domain_is_reached_without_dns(lab: Lab) -> None:
    """And the stage says so."""
    b = lab.router("b.example", publish=False)
    ip, port = b.endpoint
    pin = f'[[peer]]\ndomain = "b.example"\naddresses = ["{ip}:{port}"]\npolicy = "dialback"\n'
    a = lab.router("a.example", tables=pin)
    view = check(a)
    assert stage(view, "dns")["why"] == "the addresses are configured: [[peer]]"
    assert stage(view, "policy")["evidence"][0]["facts"]["by"].startswith("[[peer]] domain = ")


def test_a_domain_that_is_not_served_here_is_not_found(lab: Lab) -> None:
    """As everywhere: exit code 5."""
    result = ctl(lab.router("a.example"), "check", "b.example", "--as", "c.example")
    assert result.exit_code == Exit.NOT_FOUND
    assert "c.example is not served here" in result.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a.example", "--as", "a.example"], "imxctl domains doctor a.example"),
        (["b.example", "--as", "..", "--timeout", "1"], "domain"),
        (["b.example", "--as", "a.example", "--lab"], "rules of its own"),
        (["b.example", "--as", "a.example", "--nameserver", "127.0.0.1"], "rules of its own"),
    ],
)
def test_what_makes_no_sense_is_a_wrong_command_line(lab: Lab, words: list[str], says: str) -> None:
    """With what to do instead."""
    result = ctl(lab.router("a.example"), "check", *words)
    assert result.exit_code == Exit.USAGE
    assert says in result.output
