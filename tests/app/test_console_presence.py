"""Presence of two organisations' users, steered by the real `imxctl`: two routers, one reactor."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from imxrouter.cli.exits import Exit
from imxrouter.transport import liveness
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab, RouterRig

ALICE, BOB = "alice@a.example", "bob@b.example"


@pytest.fixture
def two(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> tuple[RouterRig, RouterRig]:
    """Give the routers of a.example (alice watches) and b.example (bob is watched)."""
    monkeypatch.setattr(liveness, "GRACE_S", 0.3)
    return lab.router("a.example"), lab.router("b.example")


def told(rig: RouterRig, watcher: str = ALICE, presentity: str = BOB) -> dict[str, Any]:
    """What a watcher knows: the one subscription to somebody."""
    views = ctl_json(rig, "subscriptions", watcher)["subscriptions"]
    (view,) = [one for one in views if one["presentity"] == presentity]
    return dict(view)


def status(rig: RouterRig) -> str:
    """What alice was told last of bob."""
    presence = told(rig)["presence"]
    return "" if presence is None else str(presence["status"])


def until(lab: Lab, rig: RouterRig, wanted: str) -> None:
    """Wait until alice is told that bob is so; asks past `imxctl`, in the reactor's thread."""
    service = rig.router.embedded["home"]
    address = service.directory.users()[0]

    def is_so() -> bool:
        for one in service.subscriptions(address):
            if one.presence is not None and one.presence.status.value == wanted:
                return True
        return False

    lab.wait_until(is_so, f"alice sees {wanted}", 20)


class Following:
    """`imxctl subscribe --follow --json` as a process of its own."""

    def __init__(self, rig: RouterRig, *words: str) -> None:
        socket = rig.router.config.admin_socket
        self.process = subprocess.Popen(
            [sys.executable, "-m", "imxrouter.cli.main", "--socket", socket, "--json", *words],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def line(self) -> dict[str, Any]:
        """The next change."""
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def until(self, wanted: str) -> dict[str, Any]:
        """The first change in which the presence is so."""
        while True:
            view = self.line()
            if view["presence"] is not None and view["presence"]["status"] == wanted:
                return view


@pytest.fixture
def followers() -> Iterator[list[Following]]:
    """Give a list of processes that are ended with the test."""
    made: list[Following] = []
    yield made
    for one in made:
        one.process.kill()
        one.process.wait()


def test_consent_publication_cancellation(lab: Lab, two: tuple[RouterRig, RouterRig]) -> None:
    """Asked, pending, seen by the other side, approved, told of each change, watched no more."""
    a, b = two
    asked = ctl(a, "subscribe", ALICE, BOB)
    assert asked.exit_code == Exit.OK
    assert asked.output == f"{ALICE} to {BOB}: pending until the other side agrees\n"
    (waiting,) = ctl_json(b, "watchers", BOB)["watchers"]
    assert (waiting["watcher"], waiting["state"], waiting["decision"]) == (ALICE, "pending", "ask")

    published = ctl(b, "presence", BOB, "--publish", "away", "--note", "Bin gleich da", "--language", "de",
                    "--instance", "desk", "--for", "600")  # fmt: skip
    assert published.exit_code == Exit.OK
    assert f'{BOB}: open, away  "Bin gleich da" (de)' in published.output
    assert told(a)["presence"] is None  # not before consent

    approved = ctl(b, "watchers", BOB, "--approve", ALICE)
    assert "active" in approved.output
    assert f"decided: {ALICE}: allow presence" in approved.output
    until(lab, a, "open")
    view = told(a)
    assert (view["state"], view["presence"]["activities"]) == ("active", ["away"])
    assert view["presence"]["notes"] == [{"text": "Bin gleich da", "language": "de"}]
    assert 0 < view["renewal_s"] < view["left_s"] <= 1800
    shown = ctl(a, "subscriptions", ALICE).output
    for text in (BOB, "active", "open, away", "in "):
        assert text in shown

    ctl_json(b, "presence", BOB, "--retract", "--instance", "desk")
    until(lab, a, "closed")
    assert ctl(a, "subscribe", ALICE, BOB, "--cancel").output == f"{ALICE} does not watch {BOB} any more\n"
    lab.wait_until(lambda: not b.router.embedded["home"].watchers(_address(b, BOB)), "the end of it")
    again = ctl(a, "subscribe", ALICE, BOB, "--cancel")
    assert again.exit_code == Exit.NOT_FOUND
    assert "see imxctl subscriptions" in again.output


def _address(rig: RouterRig, user: str) -> Any:
    (found,) = [one for one in rig.router.embedded["home"].directory.users() if str(one) == user]
    return found


def test_each_decision_is_answered_in_its_words(lab: Lab, two: tuple[RouterRig, RouterRig]) -> None:
    """Refused is told; blocked looks like offline, and its owner sees why; forgotten asks again."""
    a, b = two
    ctl_json(b, "presence", BOB, "--publish", "open")
    ctl_json(b, "watchers", BOB, "--reject", ALICE)
    refused = ctl(a, "subscribe", ALICE, BOB)
    assert refused.exit_code == Exit.FAILED
    assert "ended: not-delivered at stage service; trying again will not help" in refused.output
    (ended,) = ctl_json(a, "subscriptions", ALICE)["ended"]
    assert (ended["state"], ended["reason"]) == ("terminated", "not-delivered")
    seen = ctl_json(b, "presence", BOB, "--seen-by", ALICE)
    assert (seen["state"]["status"], seen["state"]["reason"], seen["fetch"]) == (
        "unknown", "not-delivered", None,
    )  # fmt: skip

    ctl_json(b, "watchers", BOB, "--block", ALICE)
    blocked = ctl_json(a, "subscribe", ALICE, BOB)
    assert (blocked["state"], blocked["presence"]["status"]) == ("active", "closed")
    seen = ctl_json(b, "presence", BOB, "--seen-by", ALICE)
    assert seen["state"]["status"] == "closed"
    assert {"right": "subscribe", "decision": "block", "because": "consent", "detail": "full"} in seen[
        "rulings"
    ]
    text = ctl(b, "presence", BOB, "--seen-by", ALICE).output
    assert f"{ALICE} sees {BOB}: closed" in text
    assert "subscribe  block (decided on this person)" in text
    assert "subscription: active" in text

    ctl_json(b, "rules", BOB, "--allow", "a.example", "--basic")
    ctl_json(b, "watchers", BOB, "--forget", ALICE)
    assert ctl(b, "watchers", BOB, "--forget", ALICE).exit_code == Exit.NOT_FOUND
    until(lab, a, "open")
    seen = ctl_json(b, "presence", BOB, "--seen-by", ALICE)
    assert seen["rulings"][1] == {
        "right": "subscribe", "decision": "allow", "because": "a.example", "detail": "basic",
    }  # fmt: skip


def test_a_fetch_brings_the_state_or_the_reason(two: tuple[RouterRig, RouterRig]) -> None:
    """Once; whoever has to be asked first is told so, and stands on the other side's list."""
    a, b = two
    ctl_json(b, "presence", BOB, "--publish", "busy")
    waits = ctl(b, "presence", BOB, "--seen-by", ALICE).output
    assert f"{ALICE} sees {BOB}: unknown (consent-needed at stage policy, b.example)\n" in waits
    needs = ctl(a, "subscribe", ALICE, BOB, "--fetch")
    assert needs.exit_code == Exit.FAILED
    assert "consent-needed at stage policy" in needs.output
    (waiting,) = ctl_json(b, "watchers", BOB)["waiting"]
    assert (waiting["person"], waiting["right"], waiting["count"]) == (ALICE, "fetch", 1)
    ctl_json(b, "rules", BOB, "--allow", ALICE, "--right", "fetch")
    fetched = ctl_json(a, "subscribe", ALICE, BOB, "--fetch")
    assert (fetched["state"]["status"], fetched["state"]["activities"]) == ("open", ["busy"])
    assert ctl(a, "subscribe", ALICE, BOB, "--fetch").output == f"{BOB}: open, busy\n"
    assert ctl_json(a, "subscriptions", ALICE)["subscriptions"] == []
    nowhere = ctl(a, "subscribe", ALICE, "rosa@nowhere.example", "--fetch")
    assert nowhere.exit_code == Exit.FAILED
    assert "no-such-domain at stage dns" in nowhere.output


def test_changes_are_followed_through_a_failure(
    lab: Lab, two: tuple[RouterRig, RouterRig], followers: list[Following]
) -> None:
    """Open, away, unknown with reason and domain when the other router goes, and open again."""
    a, b = two
    ctl_json(b, "rules", BOB, "--allow", "a.example")
    ctl_json(b, "presence", BOB, "--publish", "open")
    following = Following(a, "subscribe", ALICE, BOB, "--follow")
    followers.append(following)
    assert following.until("open")["state"] == "active"
    ctl_json(b, "presence", BOB, "--publish", "away")
    assert following.until("open")["presence"]["activities"] == ["away"]
    b.stop()
    unknown = following.until("unknown")
    state = unknown["presence"]
    assert (state["reason"], state["stage"], state["domain"]) == (
        "connection-refused",
        "connect",
        "b.example",
    )
    assert state["remedy"]
    assert status(a) == "unknown"
    shown = ctl(a, "subscriptions", ALICE).output
    assert "unknown (connection-refused at stage connect, b.example)" in shown
    again = lab.router("b.example", endpoint=b.endpoint)
    ctl_json(again, "rules", BOB, "--allow", "a.example")
    ctl_json(again, "presence", BOB, "--publish", "open")
    assert following.until("open")["presence"]["reason"] == ""
    ctl_json(again, "watchers", BOB, "--reject", ALICE)
    while (ended := following.line())["state"] != "terminated":
        pass
    assert ended["end_reason"] == "rejected"
    assert following.process.wait(20) == Exit.FAILED


def test_an_own_end_is_not_taken_for_an_older_refusal(
    two: tuple[RouterRig, RouterRig], followers: list[Following]
) -> None:
    """All whom a user watches are followed; each end has its own reason."""
    a, b = two
    ctl_json(b, "watchers", BOB, "--reject", ALICE)
    assert ctl(a, "subscribe", ALICE, BOB).exit_code == Exit.FAILED
    ctl_json(b, "watchers", BOB, "--approve", ALICE)
    ctl_json(a, "subscribe", ALICE, BOB)
    following = Following(a, "subscriptions", ALICE, "--follow")
    followers.append(following)
    assert following.until("closed")["state"] == "active"
    ctl_json(a, "subscribe", ALICE, BOB, "--cancel")
    ended = following.line()
    assert (ended["state"], ended["reason"], ended["end_reason"]) == ("terminated", "", "")


def test_whoever_cannot_be_reached_is_tried_again(two: tuple[RouterRig, RouterRig]) -> None:
    """The subscription is held, with the reason and the next try; --cancel takes it back."""
    a, _ = two
    rosa = "rosa@nowhere.example"
    failed = ctl(a, "subscribe", ALICE, rosa)
    assert failed.exit_code == Exit.FAILED
    assert "no-such-domain at stage dns, " in failed.output
    assert "; tried again in " in failed.output
    view = told(a, presentity=rosa)
    assert (view["state"], view["failures"], view["reason"]) == ("asked", 1, "no-such-domain")
    assert view["renewal_s"] > 0
    assert ctl(a, "subscribe", ALICE, rosa, "--cancel").exit_code == Exit.OK
    assert ctl_json(a, "subscriptions", ALICE)["subscriptions"] == []


def test_others_publish_only_with_leave(two: tuple[RouterRig, RouterRig]) -> None:
    """`--by` needs `rules --let`; what he published goes with the leave."""
    _, b = two
    words = ("presence", BOB, "--publish", "meeting", "--by", ALICE, "--instance", "calendar")
    refused = ctl(b, *words)
    assert refused.exit_code == Exit.FAILED
    assert "may not publish" in refused.output
    assert "(blocked at stage policy" in refused.output
    assert "imxctl rules USER --let OTHER publish" in refused.output
    assert ctl_json(b, "rules", BOB, "--let", ALICE, "publish")["publishers"] == [ALICE]
    nowhere = ctl(b, *words, "--to", "group:work")
    assert nowhere.exit_code == Exit.NOT_FOUND
    assert "no contact is of group 'work'" in nowhere.output
    assert "there are: none" in nowhere.output
    assert ctl_json(b, "presence", BOB)["instances"] == []
    ctl_json(b, "contacts", BOB, "--add", ALICE, "--group", "work")
    (instance,) = ctl_json(b, *words, "--for", "60", "--to", "group:work")["instances"]
    assert (instance["by"], instance["audience"]) == (ALICE, ["group:work"])
    assert 55 < instance["left_s"] <= 60
    assert ctl_json(b, "rules", BOB, "--let-not", ALICE, "publish")["publishers"] == []
    assert ctl_json(b, "presence", BOB)["instances"] == []


def test_contacts_groups_and_rules(lab: Lab, two: tuple[RouterRig, RouterRig]) -> None:
    """A contact that is watched makes a subscription; a group can be named by a rule."""
    a, b = two
    ctl_json(b, "presence", BOB, "--publish", "open")
    ctl_json(b, "contacts", BOB, "--add", ALICE, "--name", "Alice", "--group", "friends")
    ctl_json(b, "rules", BOB, "--allow", "group:friends")
    (contact,) = ctl_json(a, "contacts", ALICE, "--add", BOB, "--watch")["contacts"]
    assert contact == {"address": BOB, "name": "", "groups": [], "watch": True}
    until(lab, a, "open")
    (contact,) = ctl_json(b, "contacts", BOB, "--add", ALICE, "--no-groups")["contacts"]
    assert contact == {"address": ALICE, "name": "Alice", "groups": [], "watch": False}
    ctl_json(a, "contacts", ALICE, "--add", BOB, "--no-watch")
    assert ctl_json(a, "subscriptions", ALICE)["subscriptions"] == []
    assert ctl_json(a, "contacts", ALICE, "--remove", BOB)["contacts"] == []
    assert ctl(a, "contacts", ALICE, "--remove", BOB).exit_code == Exit.NOT_FOUND
    rules = ctl_json(b, "rules", BOB, "--block", "*.spam.example", "--right", "message")["rules"]
    assert {(one["who"], one["right"], one["decision"]) for one in rules} == {
        ("group:friends", "subscribe", "allow"), ("group:friends", "fetch", "allow"),
        ("*.spam.example", "message", "block"),
    }  # fmt: skip
    assert rules[-1]["who"] == "*.spam.example"
    assert len(ctl_json(b, "rules", BOB, "--forget", "group:friends")["rules"]) == 1
    assert ctl(b, "rules", BOB, "--forget", "group:friends").exit_code == Exit.NOT_FOUND
    shown = ctl(b, "rules", BOB).output
    for text in ("*.spam.example", "everybody else", "ask", "open"):
        assert text in shown


def test_attributes_are_set_and_dropped(two: tuple[RouterRig, RouterRig]) -> None:
    """With who may see them; what the registry does not allow is refused."""
    _, b = two
    (alias,) = ctl_json(b, "user", BOB, "--set", "alias=Bobby", "--max-age", "60")["attributes"]
    assert alias == {
        "name": "alias", "value": "Bobby", "encoding": "text", "visible": ["*"], "along": False,
        "max_age_s": 60,
    }  # fmt: skip
    (alias,) = ctl_json(b, "user", BOB, "--set", "alias=Bob", "--visible", "watchers", "--along")[
        "attributes"
    ]
    assert (alias["visible"], alias["along"], alias["max_age_s"]) == (["watchers"], True, 60)
    shown = ctl(b, "user", BOB).output
    for text in (f"{BOB} of service home", "alias", "Bob", "watchers", "closed, 0 instances"):
        assert text in shown
    assert ctl(b, "user", BOB, "--set", "presence=open").exit_code == Exit.USAGE
    assert ctl_json(b, "user", BOB, "--unset", "alias")["attributes"] == []
    assert ctl(b, "user", BOB, "--unset", "alias").exit_code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["presence", "nobody@b.example"], Exit.NOT_FOUND, "unknown-user at stage service"),
        (["presence", "b.example"], Exit.USAGE, "bad-address at stage route"),
        (["subscribe", BOB, "no at sign@@x"], Exit.USAGE, "bad-address at stage route"),
        (["presence", BOB, "--retract"], Exit.NOT_FOUND, "there are: none"),
        (["presence", BOB, "--publish", "open", "--language", "de"], Exit.USAGE, "more languages than notes"),
        (["presence", BOB, "--publish", "open", "--for", "99999999"], Exit.USAGE, "at most 2592000"),
        (["presence", BOB, "--publish", "open", "--for", "9999999999999"], Exit.USAGE, "at most 2592000"),
        (["subscribe", BOB, ALICE, "--for", "9999999999999"], Exit.USAGE, "from 0 to 4294967295"),
        (["presence", BOB, "--publish", "open", "--priority", "128"], Exit.USAGE, "-128<=x<=127"),
        (["presence", BOB, "--publish", "closed", "--priority", "1"], Exit.USAGE, "so it has no priority"),
        (["presence", BOB, "--priority", "0"], Exit.USAGE, "--priority is for --publish"),
        (["presence", BOB, "--note", "x"], Exit.USAGE, "--note is for --publish"),
        (["presence", BOB, "--publish", "nonsense"], Exit.USAGE, "'nonsense' is not one of"),
        (["subscribe", BOB, ALICE, "--fetch", "--cancel"], Exit.USAGE, "different things"),
        (["watchers", BOB, "--approve", "x@x.example", "--block", "x@x.example"], Exit.USAGE, "give one of"),
        (["rules", BOB, "--allow", "not a pattern"], Exit.USAGE, "write an address, a domain"),
        (["rules", BOB, "--basic"], Exit.USAGE, "for a rule"),
        (["rules", BOB, "--let", ALICE, "sing"], Exit.USAGE, "'sing' is not one of"),
        (["contacts", BOB, "--name", "x"], Exit.USAGE, "give --add"),
        (["user", BOB, "--set", "alias"], Exit.USAGE, "write KEY=VALUE"),
        (["user", BOB, "--hidden"], Exit.USAGE, "are for --set"),
        (["user", BOB, "--unset", "alias", "--set", "alias=x"], Exit.USAGE, "'alias' is set and unset"),
    ],
)
def test_what_is_wrong_is_said(lab: Lab, words: list[str], code: Exit, says: str) -> None:
    """Exit code, and words that say what to do; nothing is changed."""
    rig = lab.router("b.example")
    result = ctl(rig, *words)
    assert (result.exit_code, says in result.output) == (code, True), result.output


def test_no_presence_with_several_processes(lab: Lab) -> None:
    """It is said why, in the registry's words, and machine-readable too."""
    rig = lab.router("b.example", settings={"listen.reuse_port": True})
    result = ctl(rig, "--json", "presence", BOB, "--publish", "open")
    assert result.exit_code == Exit.FAILED
    error = json.loads(result.output)["error"]
    assert (error["reason"], error["stage"], error["retry"]) == ("type-not-enabled", "policy", "never")
    assert "a single process" in error["what"]
    assert error["do"] == "set workers = 1 and listen.reuse_port = false, and restart the router"
    for words in (
        ["presence", BOB],
        ["watchers", BOB],
        ["rules", BOB],
        ["user", BOB],
        ["subscriptions", BOB],
    ):
        assert ctl(rig, *words).exit_code == Exit.FAILED
