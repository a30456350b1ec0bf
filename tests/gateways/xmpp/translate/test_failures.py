"""Errors both ways: what an error of a stranger says, whatever is in it, and what ours say to people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from lxml import etree

from imxrouter.formats.xmltree import parse
from imxrouter.gateways.xmpp.translate.failures import error_of, late_failure, outcome_of
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason, Status

HERE, THERE = Domain("a.example"), Domain("b.example")
STANZAS = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
OURS = "xmlns='urn:imxrouter:reason:1'"
BUSY = f"<resource-constraint {STANZAS}/>"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def heard(inside: str, *, children: str = "", **attributes: str) -> Outcome:
    """What is made of a message of type `error`."""
    said = "".join(f" {name}='{value}'" for name, value in attributes.items())
    return outcome_of(
        parse(
            f"<message xmlns='jabber:server' from='bob@b.example' to='alice@a.example' id='i1' type='error'>"
            f"{children}<error{said}>{inside}</error></message>".encode()
        ),
        THERE,
    )


def reason(**attributes: str) -> str:
    """Words of another router of this kind."""
    return f"<reason {OURS}{''.join(f' {n}={v!r}' for n, v in attributes.items())}>busy</reason>"


def test_words_of_another_router() -> None:
    """Reason, status and when to try again (row err-text)."""
    said = heard(BUSY + reason(status="indeterminant", retry="10"), type="wait")
    assert (said.status, said.reason, said.retry_after_s) == (Status.INDETERMINANT, Reason.BUSY, 10)
    said = heard(BUSY + reason(), type="wait")
    assert (said.status, said.reason, said.retry_after_s) == (Status.FAILURE, Reason.BUSY, 0)


def test_nobody_is_told_to_try_again_where_it_cannot_help() -> None:
    """Whatever the other side says of it."""
    words = f"<reason {OURS} retry='10'>bad-address</reason>"
    said = heard(f"<jid-malformed {STANZAS}/>{words}", type="modify")
    assert (said.reason, said.retry_after_s) == (Reason.BAD_ADDRESS, 0)


@pytest.mark.parametrize(
    "words",
    [
        reason(retry="x"), reason(retry="-1"), reason(retry="1e9"), reason(retry="\u0661"), reason(retry=""),
        reason(retry="\u00b2"), reason(retry="1000000"), reason(status="success"), reason(status=""),
        f"<reason {OURS}>no-such-word</reason>", f"<reason {OURS}/>", f"<reason {OURS}>none</reason>",
        # a reason of another row, and one of another namespace
        f"<reason {OURS}>too-large</reason>", "<reason xmlns='urn:x' status='indeterminant'>busy</reason>",
    ],
)  # fmt: skip
def test_words_that_are_none(words: str) -> None:
    """Then the condition decides, and nothing breaks."""
    said = heard(BUSY + words, type="wait")
    assert (said.status, said.reason, said.retry_after_s) == (Status.FAILURE, Reason.BUSY, 0)


def test_retries_are_bounded() -> None:
    """Nobody is told to wait for days."""
    assert heard(BUSY + reason(retry="999999"), type="wait").retry_after_s <= 86_400


@pytest.mark.parametrize(
    ("inside", "found"),
    [
        (f"<text {STANZAS}>Gone fishing</text><item-not-found {STANZAS}/>", Reason.UNKNOWN_USER),
        (f"<item-not-found xmlns='urn:x'/><forbidden {STANZAS}/>", Reason.BLOCKED),
        (f"<text {STANZAS}>x</text>", Reason.PEER_FAILED),
        ("", Reason.PEER_FAILED),
        ("<item-not-found/>", Reason.PEER_FAILED),
    ],
)
def test_which_condition_it_is(inside: str, found: Reason) -> None:
    """The first that is defined; words are none (RFC 6120 section 8.3.2)."""
    assert heard(inside, type="cancel").reason is found


def test_what_is_no_error_element() -> None:
    """One of another namespace, or none at all: the other side failed, by its proved domain."""
    odd = f"<error xmlns='urn:x' type='wait'>{BUSY}</error>"
    said = outcome_of(parse(f"<message xmlns='jabber:server' type='error'>{odd}</message>".encode()), THERE)
    assert (said.reason, said.decided_by) == (Reason.PEER_FAILED, "b.example")
    assert heard(BUSY, children=odd.replace("wait", "cancel"), type="wait").reason is Reason.BUSY


@pytest.mark.parametrize(
    ("attributes", "inside", "note"),
    [
        ({}, BUSY, "resource-constraint"),
        ({"by": "b.example"}, BUSY, "resource-constraint"),
        ({"by": "c.example"}, BUSY, "resource-constraint, said by c.example"),
        ({"by": "c.example"}, f"{BUSY}<text {STANZAS}>Full\n now</text>",
         "resource-constraint, said by c.example: Full  now"),
        ({}, f"<text {STANZAS}>why</text>", "no condition: why"),
    ],
)  # fmt: skip
def test_what_operators_are_told(attributes: dict[str, str], inside: str, note: str) -> None:
    """Who decided is the proved domain; that it names somebody else is a note (RFC 6120 section 8.3.1)."""
    said = heard(inside, **attributes)
    assert said.decided_by == "b.example"
    assert said.note.split() == note.split()


def told(outcome: Outcome, kind: str = "message") -> etree._Element:
    """The `<error/>` that somebody is sent."""
    given = parse(
        f"<{kind} xmlns='jabber:server' from='alice@a.example/r' to='bob@b.example' id='i1'>"
        f"<body>x</body></{kind}>".encode()
    )
    made = error_of(outcome, given, HERE)
    assert made is not None
    found = etree.fromstring(made.replace(b"<message ", b"<message xmlns='jabber:server' ", 1))
    assert (found.get("from"), found.get("to"), found.get("type")) == (
        "bob@b.example", "alice@a.example/r", "error"
    )  # fmt: skip
    return found[0]


@pytest.mark.parametrize(
    ("outcome", "by", "text"),
    [
        (failure(Reason.BUSY, by="b.example", retry_after_s=10), "b.example",
         "not delivered: busy, decided by b.example; it may be tried again after 10 s"),
        (failure(Reason.NOT_DELIVERED, by="xn--mnchen-3ya.example"), "münchen.example",
         "not delivered: not-delivered, decided by münchen.example"),
        (failure(Reason.TOO_LARGE), "a.example", "not delivered: too-large, decided by a.example"),
        (Outcome(Status.INDETERMINANT, Reason.LINK_LOST, "b.example"), "b.example",
         "nobody can know whether it was delivered: link-lost, decided by b.example"),
    ],
)  # fmt: skip
def test_what_people_are_told(outcome: Outcome, by: str, text: str) -> None:
    """Who decided, and why, in words; where nobody did it is this router."""
    error = told(outcome)
    assert error.get("by") == by
    words = error.find("{urn:ietf:params:xml:ns:xmpp-stanzas}text")
    assert words is not None
    assert (words.text, words.get("{http://www.w3.org/XML/1998/namespace}lang")) == (text, "en")
    retry = error.find("{urn:imxrouter:reason:1}reason").get("retry")  # type: ignore[union-attr]
    assert retry == (str(outcome.retry_after_s) if outcome.retry_after_s else None)


def test_no_error_answers_what_is_of_another_namespace() -> None:
    """Only stanzas are answered, and no success is told as an error."""
    for xml in (
        "<message xmlns='urn:x' from='a@a.example'/>",
        "<message xmlns='jabber:server' type='error'/>",
    ):
        assert error_of(failure(Reason.BUSY), parse(xml.encode()), HERE) is None
    given = parse(
        b"<message xmlns='jabber:server' from='a@a.example' to='b@b.example'><body>x</body></message>"
    )
    assert error_of(Outcome(Status.SUCCESS, Reason.NONE, "b.example"), given, HERE) is None


def late(inside: str, in_reply_to: bytes = b"") -> Message:
    """The message that tells a failure after success."""
    error = parse(
        "<message xmlns='jabber:server' from='bob@b.example/r2' to='alice@a.example/r1' id='i1' type='error'>"
        f"{inside}</message>".encode()
    )
    made = late_failure(error, bytes(16), NOW, in_reply_to)
    assert isinstance(made, Message)
    return made


@pytest.mark.parametrize(
    ("inside", "disposition"),
    [
        ("", b"<failed"),
        (f"<error type='cancel'>{BUSY}</error>", b"<failed"),
        (f"<error type='wait'>{BUSY}</error>", b"<error"),
        (f"<error xmlns='urn:x' type='wait'>{BUSY}</error>", b"<failed"),
    ],
)
def test_a_failure_that_comes_late(inside: str, disposition: bytes) -> None:
    """It is told from whom it came, to the program that wrote (row err-late)."""
    made = late(inside, b"\1" * 16)
    assert disposition in made.content
    assert b"i1" in made.content
    assert made.attributes["in-reply-to"] == b"\1" * 16
    assert (made.attributes["instance"], made.attributes["to-instance"]) == (b"r2", b"r1")
    assert "in-reply-to" not in late(inside).attributes
