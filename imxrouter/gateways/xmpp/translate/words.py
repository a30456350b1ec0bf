"""Namespaces of what stands inside stanzas; those of streams and of errors are in `gateways.xmpp.names`."""

from __future__ import annotations

from typing import Final

RECEIPTS: Final = "urn:xmpp:receipts"
MARKERS: Final = "urn:xmpp:chat-markers:0"
CHATSTATES: Final = "http://jabber.org/protocol/chatstates"
XHTML_IM: Final = "http://jabber.org/protocol/xhtml-im"
XHTML: Final = "http://www.w3.org/1999/xhtml"
E2E: Final = "urn:ietf:params:xml:ns:xmpp-e2e"
#: What seals the text of a message, or says that something does: XEP-0384 (three versions of it), XEP-0373,
#: XEP-0027, XEP-0380 and RFC 3923.
SEALS: Final = frozenset({
    "urn:xmpp:omemo:2", "urn:xmpp:omemo:1", "eu.siacs.conversations.axolotl", "urn:xmpp:openpgp:0",
    "jabber:x:encrypted", "urn:xmpp:eme:0", E2E,
})  # fmt: skip
FALLBACK: Final = "urn:xmpp:fallback:0"
STANZA_IDS: Final = "urn:xmpp:sid:0"
DELAY: Final = "urn:xmpp:delay"
NICK: Final = "http://jabber.org/protocol/nick"
#: Inside `<error/>`: what the router that decided said, in its own words (section 4.1 of the mapping).
REASON: Final = "urn:imxrouter:reason:1"
