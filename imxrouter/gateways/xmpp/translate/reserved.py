"""Namespaces of extensions that pass no border between XMPP and presence documents (mapping section 5)."""

from __future__ import annotations

from typing import Final

from imxrouter.formats.pidf import DATA_MODEL, PIDF, RPID

#: What stanzas and streams are made of: such a child would be taken for a part of the stanza itself.
_OF_STREAMS: Final = (
    "jabber:client", "jabber:server", "jabber:component:accept", "jabber:server:dialback",
    "http://etherx.jabber.org/streams", "urn:ietf:params:xml:ns:xmpp-",
)  # fmt: skip
#: What presence documents are made of.
_OF_DOCUMENTS: Final = (PIDF, DATA_MODEL, RPID)
#: What says when something was sent: the gateway says that itself.
_OF_TIME: Final = ("urn:xmpp:delay", "jabber:x:delay")
#: What acts, or says who somebody is: a server or a client believes it because of whom it comes from.
_ACTING: Final = (
    "http://jabber.org/protocol/muc", "urn:xmpp:carbons:", "urn:xmpp:forward:", "urn:xmpp:sid:",
    "urn:xmpp:occupant-id:", "http://jabber.org/protocol/pubsub", "urn:xmpp:jingle:",
    "http://jabber.org/protocol/address", "jabber:x:conference", "urn:xmpp:mam:", "urn:imxrouter:",
)  # fmt: skip


def is_reserved(namespace: str) -> bool:
    """Whether an extension of this namespace is taken over in neither direction.

    Whole families count where their names say so: `http://jabber.org/protocol/muc` and everything below it.
    """
    if not namespace or namespace in _OF_DOCUMENTS or namespace in _OF_TIME:
        return True
    return any(
        namespace == one or (namespace.startswith(one) and (one[-1] in ":-" or namespace[len(one)] in "#/:+"))
        for one in (*_OF_STREAMS, *_ACTING)
    )
