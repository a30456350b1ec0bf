"""Elements of dial-back on one stream (XEP-0220): which are taken, and for whom.

Keys are made, judged and remembered elsewhere. Here an answer is an answer only if it was asked for on this
stream, by us, for these domains: everything else is counted and not acted on.
"""

from __future__ import annotations

from imxrouter.gateways.xmpp.effects import (
    ClaimIn,
    ClaimResultIn,
    Effect,
    Ignored,
    VerifyIn,
    VerifyResultIn,
)
from imxrouter.gateways.xmpp.elements import Db, db_of
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.stanza import Element
from imxrouter.gateways.xmpp.stream import Stream
from imxrouter.link.machine import Side
from imxrouter.model.vocabulary import Reason


def on_db(stream: Stream, element: Element) -> list[Effect]:
    """Take `<db:result/>` or `<db:verify/>`."""
    if stream.said_end:
        return [Ignored(Reason.SHUTTING_DOWN, f"dial-back {element.name} on a stream that we ended")]
    db = db_of(element)
    if db.kind is not None:
        return _answer(stream, db)
    if stream.side is Side.OPENER and not stream.pairs.bidi:
        # Who accepted the stream may answer on it, and ask nothing (XEP-0288 section 2.2).
        return stream.fail(
            Condition.NOT_AUTHORIZED, f"dial-back {db.name} against the direction of the stream"
        )
    if db.name == "result":
        stream.pairs.claimed_here = True
        return [ClaimIn(db)]
    return _question(stream, db)


def _question(stream: Stream, db: Db) -> list[Effect]:
    if not stream.pairs:
        stream.verifies += 1
        if stream.verifies > stream.terms.settings.verifies_before_proof:
            note = "too many questions of dial-back before a proof"
            return stream.fail(Condition.POLICY_VIOLATION, note, Reason.NOT_PROVED)
    return [VerifyIn(db)]


def _answer(stream: Stream, db: Db) -> list[Effect]:
    if db.name == "result" and stream.pairs.is_answer_to_claim(db.from_, db.to):
        return [ClaimResultIn(db)]
    if db.name == "verify" and stream.pairs.is_answer_to_verify(db.from_, db.to, db.stream_id):
        return [VerifyResultIn(db)]
    stream.unasked += 1
    if stream.unasked > stream.terms.settings.unasked:
        return stream.fail(Condition.POLICY_VIOLATION, "answers that nobody asked for", Reason.BAD_TOKEN)
    return [Ignored(Reason.BAD_TOKEN, f"dial-back {db.name} from {db.from_} that nobody asked for")]
