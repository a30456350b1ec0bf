"""Presence stanzas for tests: read, written, and drawn by Hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from imxrouter.formats.xmltree import Element, escape_text, parse
from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.translate.presence import Resource, resource_of
from imxrouter.gateways.xmpp.translate.showing import PresenceStanza, written
from imxrouter.model.address import Address
from tests.formats.presence_strategies import XML_TEXT

ALICE = Address.parse("alice@a.example")
BOB = Address.parse("bob@b.example")
NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)
RESOURCES = st.sampled_from(["", "r1", "r 1", "Gajim.9x", "_", "ID-r1", "r_201", "é\U0001f600", "a/b@c"])


def stanza(inside: str = "", attributes: str = "") -> Element:
    """A presence from Alice to Bob with this inside."""
    return parse(
        f"<presence xmlns='jabber:server' from='alice@a.example/r1' to='bob@b.example' {attributes}>"
        f"{inside}</presence>".encode()
    )


def said(inside: str = "", attributes: str = "", resource: str = "r1") -> Resource:
    """What that says of a resource."""
    return resource_of(stanza(inside, attributes), resource, ALICE, NOW)


def read(one: PresenceStanza) -> Element:
    """The stanza as a tree, from the bytes that go out."""
    return tree_of(written(one))


@st.composite
def insides(draw: st.DrawFn) -> str:
    """What a presence may hold, good and bad."""
    parts = []
    for kind in draw(
        st.lists(st.sampled_from(["show", "status", "priority", "ext", "reserved"]), max_size=6)
    ):
        text = escape_text(draw(XML_TEXT))
        if kind == "show":
            word = draw(st.sampled_from(["away", "xa", "dnd", "chat", "lunch", ""]))
            parts.append(f"<show>{word}</show>")
        elif kind == "status":
            language = draw(st.sampled_from(["", " xml:lang='cs'", " xml:lang='de-AT'", " xml:lang='?'"]))
            parts.append(f"<status{language}>{text}</status>")
        elif kind == "priority":
            number = draw(st.sampled_from(["0", "1", "13", "127", "-1", "-128", "300", "high", ""]))
            parts.append(f"<priority>{number}</priority>")
        elif kind == "ext":
            parts.append(f"<x xmlns='urn:example:{draw(st.integers(0, 3))}'><y>{text}</y></x>")
        else:
            name = draw(st.sampled_from(["http://jabber.org/protocol/muc#user", "urn:xmpp:delay"]))
            parts.append(f"<x xmlns='{name}'>{text}</x>")
    return "".join(parts)


@st.composite
def resources(draw: st.DrawFn) -> Resource:
    """What one resource says."""
    kind = draw(st.sampled_from(["", "", "type='unavailable'"]))
    language = draw(st.sampled_from(["", "xml:lang='en'"]))
    return said(draw(insides()), f"{kind} {language}", draw(RESOURCES))
