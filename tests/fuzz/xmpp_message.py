"""Fuzzes what becomes of stanzas.

Invariant: any stanza that a stream gives has a plan, and nothing is raised. A message that is made of one
gives a stanza again, the same one or one that says the same; no error is answered with an error.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from datetime import UTC, datetime

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.formats.xmltree import BadXml
    from imxrouter.gateways.xmpp.stanza import tree_of
    from imxrouter.gateways.xmpp.translate.failures import error_of
    from imxrouter.gateways.xmpp.translate.messages import Takes, message_of
    from imxrouter.gateways.xmpp.translate.original import as_said, form_of
    from imxrouter.gateways.xmpp.translate.plan import AsForeign, Drop, Facts, Operate, Refuse, plan
    from imxrouter.gateways.xmpp.translate.saying import stanza_of

from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.mapping import framed, rows

NOW = datetime(2026, 1, 3, tzinfo=UTC)
NEW_ID = bytes(16)
HERE = Domain("here.example")


def seeds() -> list[bytes]:
    """The messages of the mapping, and a stanza of each other kind."""
    at = "from='alice@a.example/r1' to='bob@b.example' id='i1'"
    others = [
        f"<presence {at} type='subscribe'/>", f"<presence {at}><show>away</show></presence>",
        f"<iq {at} type='get'><q xmlns='urn:q'/></iq>",
        f"<message {at} type='groupchat'><body>x</body></message>",
    ]  # fmt: skip
    said = [framed(one, "message") for one in rows() if one.section == "3" and one.direction != "rule"]
    return [one.encode() for one in (*said, *others)]


def check(data: bytes) -> Hashable:
    """One stanza."""
    try:
        tree = tree_of(data)
    except BadXml as error:
        return error.fault
    done = plan(tree, Facts(NOW, NEW_ID, Takes(), foreign=len(data) % 2 == 0))
    told = error_of(failure(Reason.BUSY), tree, HERE)
    assert told is None or error_of(failure(Reason.BUSY), tree_of(told), HERE) is None
    if isinstance(done, Refuse):
        return done.outcome.reason, done.outcome.note[:30]
    if isinstance(done, Drop):
        return done
    if isinstance(done, AsForeign):
        return type(done).__name__, tree.name, tree.attributes.get("type")
    if not isinstance(done, Operate):
        return type(done).__name__
    message = message_of(tree, NEW_ID, NOW, Takes())
    assert isinstance(message, Message)
    back = stanza_of(message, Takes())
    assert isinstance(back, bytes), back
    again = message_of(tree_of(back), NEW_ID, NOW, Takes())
    assert isinstance(again, Message), again
    if message.attributes.get("origin-id") and b"\r" not in message.content:  # line ends are XML's
        assert as_said(again) == as_said(message)
    needs = form_of(tree, message, 65_536) is not None
    return needs, message.content_type[:20], tuple(sorted(message.attributes)), len(message.user_attributes)


if __name__ == "__main__":
    sys.exit(engine.main("xmpp_message", check, seeds()))
