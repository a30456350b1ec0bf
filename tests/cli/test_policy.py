"""`imxctl policy` and `imxctl abuse` against a router's double: what is asked, shown, and how they exit."""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.cli.exits import Exit
from tests.cli.test_imxctl import Shell
from tests.doubles.admin_policy import ENTRY, EXPLAINED, LIST, REPORT

NEW: dict[str, Any] = {
    "match": ".spam.example", "action": "block", "direction": "both", "scope": "", "reason": "",
    "author": "me", "expires_at": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["policy", "list"], ("entries", "")),
        (["policy", "list", "x@spam.example"], ("entries", "x@spam.example")),
        (["policy", "reload"], ("reload",)),
        (["policy", "unblock", "a/b*@x.example"], ("remove", "a/b*@x.example")),
        (["policy", "block", ".spam.example", "--author", "me"], ("add", NEW)),
        (
            [
                "policy",
                "allow",
                ".spam.example",
                "--author",
                "me",
                "--out",
                "--for",
                "tenant:t",
                "--reason",
                "r",
            ],
            ("add", {**NEW, "action": "allow", "direction": "out", "scope": "tenant:t", "reason": "r"}),
        ),
        (
            ["policy", "block", ".spam.example", "--author", "me", "--in", "--until", "1970-01-02"],
            ("add", {**NEW, "direction": "in", "expires_at": 86400}),
        ),
        (["policy", "block", ".spam.example", "--author", "me", "--in", "--out"], ("add", NEW)),
        (["abuse", "list", "spam.example"], ("reports", "spam.example")),
    ],
)
def test_what_is_asked(shell: Shell, words: list[str], asked: tuple[Any, ...]) -> None:
    """Each command asks the router once; names may hold anything."""
    assert shell(*words).exit_code == Exit.OK
    assert shell.port.access.calls == [asked]


def test_answers(shell: Shell) -> None:
    """As JSON they are as they came; for people nothing steers the terminal."""
    assert shell.json("policy", "list") == LIST
    shown = shell("policy", "list")
    assert "spam\\x1b[2J" in shown.stdout
    assert "2027-01-15 08:00 UTC" in shown.stdout
    assert "x.toml: is not TOML" in shown.stderr
    explained = shell("policy", "explain", "x@spam.example", "bob@b.example", "--kind", "subscribe")
    assert explained.exit_code == Exit.FAILED
    assert "refuse: blocked" in explained.stdout
    assert f"imxctl policy entry {ENTRY['id']}" in explained.stdout
    assert "the sender is told: not-delivered" in explained.stdout
    assert shell.port.access.calls[-1] == ("explain", "x@spam.example", "bob@b.example", "subscribe", 0)
    assert EXPLAINED["verdict"] == "refuse"


def test_a_report_that_was_not_taken(shell: Shell) -> None:
    """It fails, and says whom to write to."""
    result = shell(
        "abuse", "report", "x@spam.example", "--to", "bob@b.example", "--kind", "spam", "--at", "5"
    )
    assert result.exit_code == Exit.FAILED
    assert "spam.example did not take it: type-not-enabled" in result.stderr
    assert "write to mailto:abuse@spam.example" in result.stderr
    (asked,) = shell.port.access.calls
    assert asked[1]["message_at"] == 5
    assert shell.json("abuse", "list") == [REPORT]
    assert "buy" not in shell("abuse", "list").stdout
    assert "buy" in shell("abuse", "list", "--text").stdout


@pytest.mark.parametrize(
    "words",
    [
        ["policy", "block", "x.example", "--until", "soon"],
        ["policy", "block", "x.example", "--until", "2099-01-01", "--hours", "2"],
        ["policy", "block", "x.example", "--hours", "0"],
        ["abuse", "report", "x@y.example"],
        ["abuse", "report", "x@y.example", "--to", "a@b.example", "--kind", "odd"],
    ],
)
def test_wrong_words(shell: Shell, words: list[str]) -> None:
    """The router is not asked."""
    assert shell(*words).exit_code == Exit.USAGE
    assert shell.port.access.calls == []
