"""Fuzzes the judge of original forms and of foreign ones.

Invariant: whatever bytes come as a form, what is sent is one stanza between the two of the envelope that says
the very message, or no presence that is a consent; everything else is named as a misfit or refused.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from datetime import UTC, datetime

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.gateways.xmpp.names import SERVER
    from imxrouter.gateways.xmpp.stanza import tree_of
    from imxrouter.gateways.xmpp.translate.foreign import CONSENTS, stanza_of_foreign
    from imxrouter.gateways.xmpp.translate.forms import PREFIX, Misfit
    from imxrouter.gateways.xmpp.translate.messages import Takes, message_of
    from imxrouter.gateways.xmpp.translate.original import as_said, judge
    from imxrouter.gateways.xmpp.translate.words import STANZA_IDS

from imxrouter.model.operations import Foreign, Message
from imxrouter.routing.choice import Protocol
from tests.gateways.xmpp.checks.forms import ALICE, AT, BOB, HIDDEN, PLAIN
from tests.gateways.xmpp.checks.stanzas import said

NOW = datetime(2026, 1, 3, tzinfo=UTC)
MESSAGE = said(HIDDEN)


def seeds() -> list[bytes]:
    """Forms that are used, and some that are not."""
    found = [
        HIDDEN, PLAIN, HIDDEN.replace("/r1", "/r2"), HIDDEN.replace("bob@", "eve@"),
        f"<iq {AT} type='get'><q xmlns='urn:q'/></iq>", f"<presence {AT} type='subscribe'/>",
        f"<message {AT} type='groupchat'><stanza-id xmlns='urn:xmpp:sid:0' by='b.example'/></message>",
    ]  # fmt: skip
    return [one.encode() for one in found]


def check(data: bytes) -> Hashable:
    """One form."""
    sent = judge(PREFIX + data, MESSAGE, Protocol.XMPP, NOW, lambda domain: domain == "b.example")
    kind: list[Hashable] = []
    if isinstance(sent, Misfit):
        kind.append(sent)
    else:
        again = message_of(tree_of(sent), MESSAGE.message_id, NOW, Takes())
        assert isinstance(again, Message)
        assert as_said(again) == as_said(MESSAGE)
        one = tree_of(sent)
        assert (one.namespace, one.name) == (SERVER, "message")
        assert (one.attributes.get("from"), one.attributes.get("to")) == (
            "alice@a.example/r1",
            "bob@b.example",
        )
        kind.append(len(sent) // 8)
    passed = stanza_of_foreign(
        Foreign(ALICE, BOB, bytes(16), "xmpp", data), lambda domain: domain == "b.example"
    )
    if isinstance(passed, bytes):
        tree = tree_of(passed)
        type_ = tree.attributes.get("type")
        assert tree.name != "presence" or type_ not in CONSENTS
        given = [one for one in tree.children if (one.namespace, one.name) == (STANZA_IDS, "stanza-id")]
        assert all(one.attributes.get("by") != "b.example" for one in given)
        kind.append((tree.name, type_, len(passed) // 8))
    else:
        kind.append(passed.note)
    return tuple(kind)


if __name__ == "__main__":
    sys.exit(engine.main("xmpp_form", check, seeds()))
