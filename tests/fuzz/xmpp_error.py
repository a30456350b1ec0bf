"""Fuzzes the reader of stanza errors.

Invariant: any error is an outcome that is no success, in the registry's words, decided by the domain whose
stream it came on; told again it has that domain, a disclosed reason, and no word of the other side.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from datetime import UTC, datetime

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.formats.xmltree import BadXml
    from imxrouter.gateways.xmpp.stanza import tree_of
    from imxrouter.gateways.xmpp.translate.failures import (
        MAX_NOTE,
        MAX_RETRY_S,
        error_of,
        late_failure,
        outcome_of,
    )

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.checks.failures import CHAT, HERE, error_stanza
from tests.gateways.xmpp.mapping import rows

THERE = Domain("b.example")
ASKED = tree_of(CHAT.encode())


def seeds() -> list[bytes]:
    """Every condition of the mapping, alone and with the router's own word."""
    found = []
    for row in rows():
        if row.section not in {"4.1", "4.2"} or not row.xmpp_spans:
            continue
        type_, _, condition = row.xmpp_spans[0].rpartition("/")
        word = row.fields["reason"]
        own = f"<reason xmlns='urn:imxrouter:reason:1' retry='10' status='failure'>{word}</reason>"
        found.append(error_stanza(type_ or "cancel", condition, own, by="x.example").encode())
    return found


def check(data: bytes) -> Hashable:
    """One error."""
    try:
        tree = tree_of(data)
    except BadXml as error:
        return error.fault
    outcome = outcome_of(tree, THERE)
    assert not outcome.ok
    assert outcome.decided_by == THERE.name
    assert 0 <= outcome.retry_after_s <= MAX_RETRY_S
    assert len(outcome.note) <= MAX_NOTE
    assert outcome.reason is not Reason.NONE
    told = error_of(outcome, ASKED, HERE)
    if told is not None:
        again = outcome_of(tree_of(told), THERE)
        assert again.reason.disclosed == outcome.reason.disclosed
        assert again.status is outcome.status
    late_failure(tree, bytes(16), datetime(2026, 1, 3, tzinfo=UTC))
    return outcome.reason, outcome.status, outcome.retry_after_s > 0, outcome.note[:20]


if __name__ == "__main__":
    sys.exit(engine.main("xmpp_error", check, seeds()))
