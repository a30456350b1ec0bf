"""`imxctl` on users of an embedded service, against a double on a real socket."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from imxrouter.cli.exits import Exit
from tests.cli.test_imxctl import Shell
from tests.doubles.admin_users import (
    ALICE,
    BOB,
    CONTACTS,
    ENDED,
    FAILING,
    FETCHED,
    PRESENCE,
    RULES,
    SEEN,
    SUBSCRIPTION,
    SUBSCRIPTIONS,
    UNKNOWN,
    USER,
    WATCHERS,
)


@pytest.mark.parametrize(
    ("words", "answer", "calls"),
    [
        (["presence", BOB], PRESENCE, [("presence", BOB)]),
        (["presence", BOB, "--seen-by", ALICE], SEEN, [("seen", BOB, ALICE)]),
        (["presence", BOB, "--retract", "--by", ALICE], PRESENCE, [("retract", BOB, "imxctl", ALICE)]),
        (["presence", BOB, "--retract", "--instance", "my/desk"], PRESENCE,
         [("retract", BOB, "my/desk", "")]),
        (["subscribe", ALICE, BOB], SUBSCRIPTION, [("subscribe", ALICE, BOB, None)]),
        (["subscribe", ALICE, BOB, "--for", "60"], SUBSCRIPTION, [("subscribe", ALICE, BOB, 60)]),
        (["subscribe", ALICE, BOB, "--cancel"], SUBSCRIPTIONS, [("unsubscribe", ALICE, BOB)]),
        (["subscribe", ALICE, BOB, "--fetch"], FETCHED, [("fetch", ALICE, BOB)]),
        (["subscriptions", ALICE], SUBSCRIPTIONS, [("subscriptions", ALICE)]),
        (["watchers", BOB], WATCHERS, [("watchers", BOB)]),
        (["watchers", BOB, "--approve", ALICE], WATCHERS, [("decide", BOB, ALICE, "allow", "presence")]),
        (["watchers", BOB, "--reject", ALICE], WATCHERS, [("decide", BOB, ALICE, "refuse", "presence")]),
        (["watchers", BOB, "--block", ALICE, "--messages"], WATCHERS,
         [("decide", BOB, ALICE, "block", "messages")]),
        (["watchers", BOB, "--forget", ALICE], WATCHERS, [("decide", BOB, ALICE, "forget", "presence")]),
        (["rules", BOB], RULES, [("rules", BOB)]),
        (["rules", BOB, "--allow", "a.example"], RULES,
         [("set_rule", BOB, "a.example", ["presence"], "allow", "full")]),
        (["rules", BOB, "--ask", "*", "--right", "fetch", "--right", "message", "--basic"], RULES,
         [("set_rule", BOB, "*", ["fetch", "message"], "ask", "basic")]),
        (["rules", BOB, "--forget", "group:a b"], RULES, [("remove_rule", BOB, "group:a b", ["presence"])]),
        (["rules", BOB, "--let", ALICE, "read"], RULES, [("delegate", BOB, ALICE, "read", True)]),
        (["rules", BOB, "--let-not", ALICE, "publish"], RULES, [("delegate", BOB, ALICE, "publish", False)]),
        (["contacts", BOB], CONTACTS, [("contacts", BOB)]),
        (["contacts", BOB, "--add", ALICE], CONTACTS, [("set_contact", BOB, ALICE, None, None, None)]),
        (["contacts", BOB, "--add", ALICE, "--name", "", "--group", "x", "--no-watch"], CONTACTS,
         [("set_contact", BOB, ALICE, "", ["x"], False)]),
        (["contacts", BOB, "--remove", ALICE], CONTACTS, [("remove_contact", BOB, ALICE)]),
        (["user", BOB], USER, [("user", BOB)]),
        (["user", BOB, "--set", "alias=a=b", "--unset", "b.example/raw"], USER,
         [("set_attribute", BOB, "alias", "a=b", None, None, None),
          ("remove_attribute", BOB, "b.example/raw")]),
        (["user", BOB, "--set", "alias=B", "--hidden", "--along", "--max-age", "0"], USER,
         [("set_attribute", BOB, "alias", "B", [], True, 0)]),
    ],
)  # fmt: skip
def test_each_command_asks_for_one_thing(
    shell: Shell, words: list[str], answer: object, calls: object
) -> None:
    """What is asked reaches the port as it was meant; with --json the answer is printed as it came."""
    assert shell.json(*words) == answer
    assert shell.port.users.calls == calls


def test_all_of_a_publication_is_sent(shell: Shell) -> None:
    """Notes have their languages in order; what is left out stays the default."""
    shell("presence", BOB, "--publish", "away", "--note", "eins", "--note", "two", "--language", "de",
          "--contact", "im:bob@b.example", "--priority", "-5", "--instance", "desk", "--for", "60",
          "--to", "group:work", "--to", "a.example", "--by", ALICE)  # fmt: skip
    assert shell.port.users.calls == [("publish", BOB, {
        "instance": "desk", "status": "away", "contact": "im:bob@b.example", "for_s": 60.0, "by": ALICE,
        "priority": -5,
        "notes": [{"text": "eins", "language": "de"}, {"text": "two", "language": ""}],
        "audience": ["group:work", "a.example"],
    })]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["presence", BOB], [f'{BOB}: open, away  "Bin gleich\\x1b[2J da" (de)', "desk", "group:work", ALICE,
                             "(in 1m 1s)", "im:bob@b.example"]),
        (["presence", BOB, "--seen-by", ALICE],
         [f"{ALICE} sees {BOB}: closed\n", f"{ALICE} fetches {BOB}: open, away",
          "subscribe  block (rule on group:spam)",
          "fetch      allow (the service's default, open or closed only)",
          "subscription: active, for 1m 1s more"]),
        (["subscribe", ALICE, BOB], [f"{ALICE} to {BOB}: active for 30m 0s; open, away"]),
        (["subscribe", ALICE, BOB, "--fetch"], [f"{BOB}: open, away"]),
        (["subscriptions", ALICE],
         ["in 1m 1s", "unknown (connect-timeout at stage connect, b.example)",
          "ended: not-delivered at stage service; trying again will not help"]),
        (["watchers", BOB], ["group:spam", "offline", "2 failures in a row",
                             "waits for a decision: eve@e.example (fetch,", "3 times",
                             f"decided: {ALICE}: allow messages"]),
        (["rules", BOB], ["*.example", "allow, open or closed only", "everybody else",
                          f"may publish for him: {ALICE}"]),
        (["contacts", BOB], [ALICE, "Al", "friends", "yes"]),
        (["user", BOB], [f"{BOB} of service home", "3, 4 wait for a word", "Bobby", "base64: /w==",
                         "nobody"]),
    ],
)  # fmt: skip
def test_people_are_told_in_words(shell: Shell, words: list[str], shown: list[str]) -> None:
    """What matters is there, and what others chose does not steer the terminal."""
    result = shell(*words)
    assert result.exit_code == Exit.OK
    for text in shown:
        assert text in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("view", "code", "says"),
    [
        (
            {**SUBSCRIPTION, "state": "pending", "presence": None},
            Exit.OK,
            "pending until the other side agrees",
        ),
        ({**SUBSCRIPTION, "state": "asked", "presence": None}, Exit.OK, "asked, not answered yet"),
        (FAILING, Exit.FAILED, "unknown (connect-timeout at stage connect, b.example); tried again in 1m 1s"),
        (
            {**FAILING, "state": "active", "left_s": 61.0},
            Exit.FAILED,
            "active for 1m 1s; unknown (connect-timeout",
        ),
        (ENDED, Exit.FAILED, "ended: not-delivered at stage service; trying again will not help"),
        ({**ENDED, "reason": "", "end_reason": "noresource"}, Exit.FAILED, "ended: noresource"),
    ],
)
def test_a_subscription_that_fails_exits_with_one(shell: Shell, view: Any, code: Exit, says: str) -> None:
    """And says so in the registry's words, in JSON too."""
    shell.port.users.subscribed = view
    result = shell("subscribe", ALICE, BOB)
    assert (result.exit_code, says in result.output) == (code, True), result.output
    assert shell("subscribe", ALICE, BOB, "--json").exit_code == code


def test_a_fetch_that_brings_nothing_exits_with_one(shell: Shell) -> None:
    """With reason, stage, domain, remedy and whether to try again."""
    shell.port.users.fetched = {**FETCHED, "state": UNKNOWN}
    result = shell("subscribe", ALICE, BOB, "--fetch")
    assert result.exit_code == Exit.FAILED
    assert "unknown (connect-timeout at stage connect, b.example); try again later" in result.output
    assert "see what stands between" in result.output


def test_refusals_have_the_words_of_the_registry(shell: Shell) -> None:
    """Reason, stage, retry and after how long; in text and in JSON."""
    refused = shell("subscribe", "carol@a.example", BOB)
    assert refused.exit_code == Exit.FAILED
    assert "state: not kept (state-unavailable at stage service; try again after 60 s)" in refused.output
    error = shell.json("subscribe", "carol@a.example", BOB)["error"]
    assert (error["reason"], error["stage"], error["retry"], error["retry_after_s"]) == (
        "state-unavailable", "service", "later", 60,
    )  # fmt: skip
    assert error["do"]
    assert shell("presence", "nobody@b.example").exit_code == Exit.NOT_FOUND


def test_changes_are_followed_until_enough(shell: Shell) -> None:
    """One line each: the state, the doubt with its remedy, the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "imxrouter.cli.main", "--socket", str(shell.path), "subscribe", ALICE, BOB,
         "--follow"], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not shell.port.users.followers and process.poll() is None:
            time.sleep(0.01)
        for view in (SUBSCRIPTION, FAILING, ENDED):
            shell.thread.call(shell.port.users.followers[0], view)
        text, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    first, second, remedy, third = text.splitlines()
    assert first.endswith(f'{BOB}: open, away  "Bin gleich\\x1b[2J da" (de)')
    assert second.endswith("unknown (connect-timeout at stage connect, b.example); tried again in 1m 1s")
    assert remedy.strip() == "see what stands between"
    assert third.endswith("ended: not-delivered at stage service; trying again will not help")
    assert process.returncode == Exit.FAILED  # the other side ended it


@pytest.mark.parametrize(
    "words",
    [
        ["presence", BOB, "--publish", "open", "--retract"],
        ["presence", BOB, "--instance", "desk"],
        ["presence", BOB, "--publish", "unknown"],
        ["presence", BOB, "--publish", "open", "--priority", "128"],
        ["presence", BOB, "--publish", "open", "--priority", "-129"],
        ["presence", BOB, "--publish", "open", "--priority", "high"],
        ["presence", BOB, "--priority", "0"],
        ["presence", BOB, "--retract", "--priority", "1"],
        ["subscribe", ALICE, BOB, "--count", "1"],
        ["subscribe", ALICE, BOB, "--cancel", "--for", "60"],
        ["subscriptions", ALICE, "--count", "1"],
        ["watchers", BOB, "--messages"],
        ["rules", BOB, "--block", "*", "--basic"],
        ["rules", BOB, "--allow", "*", "--let", ALICE, "read"],
        ["contacts", BOB, "--add", ALICE, "--group", "x", "--no-groups"],
        ["user", BOB, "--set", "alias=x", "--visible", "*", "--hidden"],
    ],
)
def test_wrong_command_lines_ask_nothing(shell: Shell, words: list[str]) -> None:
    """What does not fit together is said before anything is done."""
    result = shell(*words)
    assert result.exit_code == Exit.USAGE
    assert shell.port.users.calls == []
    assert json.dumps(result.output)
