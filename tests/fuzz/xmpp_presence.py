"""Fuzzes presence stanzas and vCards of XMPP servers, and what is made of them.

Invariant: whatever a server sends, a presence gives a document that the schema holds for and that is small,
and the same again when it is shown and read once more; a vCard gives attributes that fit and can be read.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from datetime import UTC, datetime

from lxml import etree

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.formats.pidf import read_pidf, write_pidf
    from imxrouter.formats.xcard import MAX_CARD_BYTES, read_xcard, write_xcard
    from imxrouter.formats.xmltree import BadXml
    from imxrouter.gateways.xmpp.stanza import tree_of
    from imxrouter.gateways.xmpp.translate.presence import MAX_DOCUMENT_BYTES, presence_of, resource_of
    from imxrouter.gateways.xmpp.translate.queries import attributes_of
    from imxrouter.gateways.xmpp.translate.showing import NOTHING, show, written
    from imxrouter.model.address import Address

from tests.formats.presence_strategies import assert_valid

ALICE, BOB = Address.parse("alice@a.example"), Address.parse("bob@b.example")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
CAPS = b"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>"


def seeds() -> list[bytes]:
    """Presences and answers to begin from."""
    inside = [
        b"", b"<show>away</show><status>a</status><status xml:lang='cs'>b</status>",
        b"<priority>-5</priority>" + CAPS, b"<x xmlns='http://jabber.org/protocol/muc#user'/>",
        b"<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T03:04:05.5+01:00'/>",
        b"<show>xa</show><priority>1</priority>",
        b"<show>dnd</show><priority>127</priority><status>a</status>",
        b"<show>chat</show>" + CAPS * 9, b"<status/><status>a</status><status>b</status>",
        b"<x xmlns='urn:x'/><y xmlns='urn:y'><z xmlns=''/></y>", b"<x xmlns='jabber:x:delay' stamp='1'/>",
        b"<q:x xmlns:q='urn:x' q:y='1' xml:lang='de'><q:z/>t</q:x>",
    ]  # fmt: skip
    cards = [
        b"<FN>Bob</FN><N><FAMILY>B</FAMILY></N><TEL><HOME/><NUMBER>+1 2</NUMBER></TEL>",
        b"<PHOTO><TYPE>image/png</TYPE><BINVAL>aGk=</BINVAL></PHOTO><BDAY>1980-02-29</BDAY>",
        b"<ORG><ORGNAME>O</ORGNAME><ORGUNIT>U</ORGUNIT></ORG><GEO><LAT>1</LAT><LON>2</LON></GEO>",
    ]
    four = b"<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'>"
    four += b"<fn><text>B</text></fn><n><given>b</given></n></vcard>"
    return [
        *(b"<presence xml:lang='en'>%s</presence>" % one for one in inside),
        b"<presence type='unavailable'><status>gone</status></presence>",
        *(b"<iq type='result'><vCard xmlns='vcard-temp'>%s</vCard></iq>" % one for one in cards),
        b"<iq type='result'>%s</iq>" % four,
    ]


def check(data: bytes) -> Hashable:
    """One element of a stream, as a presence and as an answer."""
    try:
        tree = tree_of(data)
    except BadXml as error:
        return error.fault
    return _presence(tree), _card(tree)


def _presence(tree: object) -> Hashable:
    said = resource_of(tree, "r 1", ALICE, NOW)  # type: ignore[arg-type]
    state = presence_of(ALICE, [said])
    document = write_pidf(state)
    assert len(document) <= MAX_DOCUMENT_BYTES
    try:
        assert_valid(document)
    except (etree.DocumentInvalid, etree.XMLSyntaxError) as error:
        raise AssertionError(f"{error}: {document!r}") from None
    shown, stanzas = show(NOTHING, read_pidf(document), BOB)
    for each in stanzas:
        again = resource_of(tree_of(written(each)), each.resource, ALICE, NOW)
        third = presence_of(ALICE, [again])
        assert show(shown, third, BOB) == (shown, ())
    one = said.tuple
    names = tuple(sorted(each.name[:1] for each in one.extensions))
    languages = tuple(note.language != "" for note in one.notes)
    shows = tuple(each.xml for each in one.status_extensions)
    return one.basic, languages, names, shows, one.contact, one.timestamp is None


def _card(tree: object) -> Hashable:
    found = attributes_of(tree, ())  # type: ignore[arg-type]
    for one in found:
        assert len(one.value) <= MAX_CARD_BYTES
        if one.name == "vcard":
            card = read_xcard(one.value)
            assert read_xcard(write_xcard(card)) == card
            return tuple(sorted({each.name for each in card}))
    return len(found)


if __name__ == "__main__":
    sys.exit(engine.main("xmpp_presence", check, seeds()))
