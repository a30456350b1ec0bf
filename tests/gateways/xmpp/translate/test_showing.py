"""What is shown of documents of presence by others, whatever stands in them."""

from __future__ import annotations

import pytest

from imxrouter.formats.pidf import read_pidf
from imxrouter.formats.xmltree import parse
from imxrouter.gateways.xmpp.translate.showing import NOTHING, open_resources, show, written
from imxrouter.model.presence import Presence
from tests.gateways.xmpp.translate.presences import BOB

PIDF = "urn:ietf:params:xml:ns:pidf"
HEAD = (
    f"<presence xmlns='{PIDF}' xmlns:p='{PIDF}' xmlns:im='{PIDF}:im' xmlns:c='jabber:client'"
    " xmlns:o='urn:other' entity='pres:alice@a.example'>"
)


def document(status: str = "", beside: str = "", whole: str = "") -> Presence:
    """One with an open tuple."""
    text = (
        f"{HEAD}<tuple id='t1'><status><basic>open</basic>{status}</status>{beside}</tuple>{whole}</presence>"
    )
    return read_pidf(text.encode())


def shown(state: Presence) -> dict[str, str]:
    """The children of the one presence that is shown."""
    _, (one,) = show(NOTHING, state, BOB)
    tree = parse(written(one).replace(b"<presence ", b"<presence xmlns='jabber:server' ", 1))
    return {child.name: child.text for child in tree.children if child.namespace == "jabber:server"}


def test_what_must_be_understood_and_is_not_is_not_available() -> None:
    """Of a tuple that tuple, of the document all (row prs-no-basic)."""
    assert list(open_resources(document())) == ["t1"]
    assert open_resources(document(whole="<o:x p:mustUnderstand='1'/>")) == {}
    assert open_resources(document(beside="<o:x p:mustUnderstand='1'/>")) == {}
    assert list(open_resources(document(whole="<o:x/>"))) == ["t1"]


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        ("-5", "-5"), ("-128", "-128"), ("-999", "-128"), (" -1 ", "-1"),
        # what takes messages is said by the contact, and what is no number by nobody
        ("5", "64"), ("--5", "64"), ("-", "64"), ("-\u0663", "64"), ("-\u00b2", "64"), ("-12345", "64"),
        ("", "64"), ("-1e1", "64"),
    ],
)  # fmt: skip
def test_priorities(text: str, priority: str) -> None:
    """Below 0 only where a program of XMPP said so (row prs-priority-negative)."""
    contact = "<contact priority='0.5'>im:alice@a.example</contact>"
    assert shown(document(beside=f"<c:priority>{text}</c:priority>{contact}"))["priority"] == priority
    assert shown(document(beside=f"<o:priority>{text}</o:priority>{contact}"))["priority"] == "64"


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("<c:show>dnd</c:show>", "dnd"),
        ("<c:show>shopping</c:show>", None),
        ("<o:show>dnd</o:show>", None),
        ("<c:odd>dnd</c:odd>", None),
        ("<im:im>busy</im:im>", "dnd"),
        ("<im:im>dancing</im:im>", None),
        ("<o:im>busy</o:im>", None),
        # its own word is nearer than that of others
        ("<im:im>busy</im:im><c:show>xa</c:show>", "xa"),
        ("<c:show>shopping</c:show><im:im>busy</im:im>", "dnd"),
    ],
)
def test_what_somebody_is_doing(status: str, word: str | None) -> None:
    """Of words that XMPP has."""
    assert shown(document(status)).get("show") == word
