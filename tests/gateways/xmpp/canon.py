"""Whether two stanzas are the same, by the C14N of the standard library and not by code of ours."""

from __future__ import annotations

from xml.etree.ElementTree import canonicalize


def canon(stanza: str | bytes) -> str:
    """The canonical form of a stanza; elements without a namespace are in `jabber:server`."""
    text = stanza.decode() if isinstance(stanza, bytes) else stanza
    return canonicalize(f"<w xmlns='jabber:server'>{text}</w>", rewrite_prefixes=True)
