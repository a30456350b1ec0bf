"""`imxctl policy explain` of a message that leaves: what was seen before, what fails now, what waits."""

from __future__ import annotations

from typing import Any

from imxrouter.model.domain import Domain
from imxrouter.routing.policy import Level
from tests.doubles.ctl import ctl, ctl_json, ctl_json_of_failure
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address

ALICE, BOB = "alice@a.example", "bob@b.example"
#: Once it has failed it is not tried again while a test runs.
LONG = {"dial.backoff_first_s": 300.0, "dial.backoff_cap_s": 300.0, "dial.backoff_jitter": 0.0}


def step(view: Any, name: str) -> Any:
    """One check of an explanation."""
    (found,) = [one for one in view["steps"] if one["step"] == name]
    return found


def sent(rig: RouterRig) -> str:
    """What an operator is told of a message that really goes and fails."""
    reason: str = ctl_json_of_failure(rig, "send", ALICE, BOB, "hello")["reason"]
    return reason


def explained(rig: RouterRig) -> Any:
    """The last word on a message from alice to bob, who must be refused."""
    view = ctl_json_of_failure(rig, "policy", "explain", ALICE, BOB)
    assert view["steps"][-1]["verdict"] == "refuse"
    assert view["decided_by"] == view["steps"][-1]["step"]
    return view["steps"][-1]


def test_a_domain_that_nothing_is_known_of(lab: Lab) -> None:
    """It waits for what a look-up finds; how much may wait is said."""
    view = ctl_json(lab.router("a.example"), "policy", "explain", ALICE, BOB)
    assert view["verdict"] == "wait"
    assert step(view, "policy for the destination")["text"] == "it was seen at: nothing"
    assert step(view, "state of the destination")["text"] == "it is not failing"
    assert step(view, "limit hold")["text"] == "0 of 1000 wait for it; 0 of 67108864 bytes in all"
    assert view["steps"][-1]["verdict"] == "pass"


def test_a_destination_that_is_failing_now(lab: Lab) -> None:
    """With the reason that a message gets, since when, and when it is tried again; `retry` ends it."""
    a = lab.router("a.example", settings=LONG)
    nobody = fresh_address()
    lab.publish("b.example", (nobody, free_port(nobody)))
    assert sent(a) == "connection-refused"
    last = explained(a)
    assert (last["step"], last["reason"]) == ("state of the destination", "connection-refused")
    assert last["text"].startswith("failing for 0 s, 1 times: connection-refused")
    assert "the next try is in 300 s (imxctl peers retry b.example: at once)" in last["text"]
    assert last["setting"] == "dial.backoff_first_s = 300, dial.backoff_cap_s = 300"
    assert sent(a) == "connection-refused"
    assert "connection-refused" in ctl(a, "policy", "explain", ALICE, BOB).output
    ctl_json(a, "peers", "retry", "b.example")
    assert ctl_json(a, "policy", "explain", ALICE, BOB)["verdict"] == "wait"


def test_a_destination_that_was_stronger_before(lab: Lab) -> None:
    """Refused by the memory, not by the policy, in the word that a message gets; `forget` ends it."""
    a, b = lab.router("a.example"), lab.router("b.example")
    remembered, strong = a.router.gatekeeper.remembered, Level.DIALBACK_CERTIFICATE
    a.call(lambda: remembered.note(Domain("b.example"), strong, a.router.hub.now(), reached=True))
    last = explained(a)
    assert last["step"] == "policy for the destination"
    assert "it was seen at: dialback+certificate; less is refused until 20" in last["text"]
    assert sent(a) == last["reason"] == "weaker-than-remembered"
    ctl_json(a, "peers", "forget", "b.example")
    ctl_json(a, "peers", "retry", "b.example")
    assert a.send(ALICE, BOB).outcome().ok
    view = ctl_json(a, "policy", "explain", ALICE, BOB)
    assert view["verdict"] == "pass"
    assert "it was seen at: dialback;" in step(view, "policy for the destination")["text"]
    assert step(view, "limit domain-out")["text"].startswith("a.example: 0% of what may come at once")
    assert len(b.inbox(BOB)) == 1


def test_what_waits_for_it_is_too_much(lab: Lab) -> None:
    """`hold` is the last limit before it is dialled."""
    a = lab.router("a.example", settings={"dial.hold_count": 0})
    last = explained(a)
    assert (last["step"], last["reason"], last["rule"]) == (
        "limit hold", "hold-full", "what may wait for a domain",
    )  # fmt: skip
    assert "dial.hold_count = 0" in last["setting"]
    assert sent(a) == "hold-full"


def test_a_limit_names_its_keys(lab: Lab) -> None:
    """A sender who cannot be remembered is refused by that key, not by the rate of senders."""
    settings = {"limits.senders_per_domain": 1}
    b = lab.router("b.example", users=("bob", "carol"), settings=settings)
    assert b.send("carol@b.example", BOB).outcome().ok
    view = ctl_json_of_failure(b, "policy", "explain", "dave@b.example", BOB)
    assert view["decided_by"] == "limit senders-remembered"
    assert view["steps"][-1]["setting"] == "limits.senders_per_domain = 1"
