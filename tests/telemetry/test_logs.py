"""Log lines: their form, what they may hold, and how addresses are shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from imxrouter.model.address import Address
from imxrouter.model.vocabulary import Reason
from imxrouter.telemetry.logs import json_line, observer, render, text_line
from imxrouter.telemetry.privacy import AddressMask, Privacy

FULL = AddressMask(Privacy.FULL)
DOMAIN = AddressMask(Privacy.DOMAIN)
HASHED = AddressMask(Privacy.KEYED_HASH, b"k" * 16)
ALICE = Address.parse("alice@a.example")


def event(**fields: Any) -> dict[str, Any]:
    """Make an event as twisted does."""
    head = {
        "log_time": 1.5,
        "log_level": LogLevel.warn,
        "log_namespace": "imxrouter.x",
        "log_format": "hello",
    }
    return {**head, **fields}


def test_line_is_json_with_fields_in_order() -> None:
    """Time is RFC 3339 in UTC; enums become their word; unknown fields are left out."""
    line = json_line(
        event(link=3, reason=Reason.BUSY, domains=["a.example"], body=b"secret", key="k"), DOMAIN
    )
    assert line.endswith("\n")
    assert list(json.loads(line).items()) == [
        ("time", "1970-01-01T00:00:01.500000Z"), ("level", "warn"), ("namespace", "imxrouter.x"),
        ("text", "hello"), ("link", 3), ("domains", ["a.example"]), ("reason", "busy"),
    ]  # fmt: skip
    assert "secret" not in line


def test_a_note_is_written_where_there_is_one() -> None:
    """The detail that an operator needs; an empty field is no field."""
    assert render(event(reason="busy", note="no link takes it"), DOMAIN)["note"] == "no link takes it"
    assert "note" not in render(event(reason="busy", note=""), DOMAIN)


@pytest.mark.parametrize("mask", [DOMAIN, HASHED])
def test_local_parts_are_hidden_everywhere(mask: AddressMask) -> None:
    """In fields, in formatted values, in texts that hold an address, in failures."""
    try:
        raise ValueError("no user alice@a.example here")
    except ValueError:
        failure = Failure()  # type: ignore[no-untyped-call]
    line = json_line(
        event(log_format="{who} wrote to <bob@b.example>", who=ALICE, peer="alice@a.example",
              domains=["alice@a.example"], log_failure=failure), mask)  # fmt: skip
    assert "alice" not in line
    assert "bob" not in line
    assert "@a.example" in line


def test_full_shows_addresses() -> None:
    """`full` is what it says."""
    assert render(event(log_format="{who}", who=ALICE), FULL)["text"] == "alice@a.example"


def test_hash_is_stable_for_one_key_and_folds_case() -> None:
    """The same user has one hash in one run, another with another key."""
    shown = HASHED.address("Alice@a.example")
    assert shown == HASHED.address(ALICE) == HASHED.address(b"alice@a.example")
    assert shown != AddressMask(Privacy.KEYED_HASH, b"j" * 16).address(ALICE)
    assert DOMAIN.address("a.example") == "a.example"
    assert DOMAIN.address("@a.example") == "@a.example"


def test_text_is_one_line() -> None:
    """A peer cannot forge a second line or colours."""
    line = text_line(event(log_format="{x}", x="a\n\x1b[31mb", link=3), DOMAIN)
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "[link=3]" in line


def test_observer_obeys_level_and_style() -> None:
    """Below the level nothing is written."""
    lines: list[str] = []
    log = Logger("imxrouter.test", observer=observer(lines.append, DOMAIN, "text", "warn"))
    log.info("quiet")
    log.error("loud {n}", n=1)
    assert len(lines) == 1
    assert "loud 1" in lines[0]


@pytest.mark.parametrize("level", ["info", "debug"])
def test_chatter_of_the_framework_is_for_debug(level: str) -> None:
    """Twisted's own lines (requests, factories) are written at `debug` only; its troubles always."""
    lines: list[str] = []
    observe = observer(lines.append, DOMAIN, "text", level)
    for namespace in ("twisted.web.server.Site", "twisted.python.log", "log_legacy"):
        log = Logger(namespace, observer=observe)
        log.info('"GET /metrics HTTP/1.1" 200')
        log.error("broken")
    Logger("imxrouter.app", observer=observe).info("ours")
    assert len([line for line in lines if "GET /metrics" in line]) == (3 if level == "debug" else 0)
    assert len([line for line in lines if "broken" in line]) == 3
    assert len([line for line in lines if "ours" in line]) == 1


@given(st.text())
def test_masking_is_total(text: str) -> None:
    """Any text is masked without an exception, in every mode."""
    for mask in (FULL, DOMAIN, HASHED):
        mask.text(text)
        mask.address(text)
