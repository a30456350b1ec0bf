"""Fuzzes the reader of JIDs.

Invariant: any text is a JID, or `BadJid` and nothing else. A JID that the model can say comes back as the
same JID, and is nobody else's; what is read is read again the same.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.gateways.xmpp.translate.jid import BadJid, parse_jid, to_jid, to_model
    from imxrouter.model.address import Address

from tests.gateways.xmpp.mapping import rows


def seeds() -> list[bytes]:
    """The JIDs of the mapping."""
    return [one.xmpp_spans[0].encode() for one in rows() if one.section == "2" and one.xmpp_spans]


def check(data: bytes) -> Hashable:
    """One text."""
    text = data.decode("utf-8", "replace")
    try:
        jid = parse_jid(text)
    except BadJid as error:
        return error.reason, str(error)[:30]
    assert parse_jid(str(jid)) == jid
    try:
        address, resource = to_model(jid)
    except BadJid as error:
        return error.reason, len(jid.local) // 64
    assert to_jid(address, resource) == jid
    if address.local:
        assert Address.from_wire(address.local.encode(), address.domain.wire) == address
    return (
        jid.local == address.local,
        bool(resource),
        jid.local.count("\\"),
        jid.domain.count("."),
        len(text) // 64,
    )


if __name__ == "__main__":
    sys.exit(engine.main("xmpp_jid", check, seeds()))
