"""Section 4 of the mapping: failures."""

from __future__ import annotations

from dataclasses import replace

from imxrouter.formats.imdn import ALLOWED, Disposition, Imdn, Notice, read_imdn, write_imdn
from imxrouter.gateways.xmpp.build import element, stanza
from imxrouter.gateways.xmpp.names import STANZA_ERRORS
from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.translate.failures import CONDITIONS, error_of, late_failure, outcome_of
from imxrouter.gateways.xmpp.translate.messages import message_of
from imxrouter.gateways.xmpp.translate.saying import stanza_of
from imxrouter.gateways.xmpp.translate.words import E2E
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason, Status
from tests.gateways.xmpp.checks import rule, section
from tests.gateways.xmpp.checks.stanzas import NEW_ID, NOTES, NOW, TAKES, tree
from tests.gateways.xmpp.mapping import Row

HERE, THERE = Domain("here.example"), Domain("b.example")
CHAT = "<message from='alice@a.example/r1' to='bob@b.example' id='i1' type='chat'><body>x</body></message>"


@section("4.1")
def told(row: Row) -> None:
    """A disclosed reason as a stanza error, and back."""
    reason = REASON_BY_WORD[str(row.fields["reason"])]
    made = error_of(failure(reason, by="b.example", retry_after_s=7), tree(CHAT), HERE)
    if not row.xmpp_spans:
        assert made is None
        return
    assert made is not None
    (wanted,) = row.xmpp_spans
    error = tree_of(made)
    assert (error.name, error.attributes["type"], error.attributes["id"]) == ("message", "error", "i1")
    assert (error.attributes["from"], error.attributes["to"]) == ("bob@b.example", "alice@a.example/r1")
    (inside,) = error.children
    assert f"{inside.attributes['type']}/{inside.children[0].name}" == wanted
    assert inside.attributes["by"] == "b.example"
    back = outcome_of(error, THERE)
    assert (back.reason, back.status, back.decided_by) == (reason, Status.FAILURE, "b.example")
    assert back.retry_after_s == (10 if reason.retry.value == "later" else 0)


def error_stanza(type_: str, condition: str, more: str = "", by: str = "") -> str:
    """An error of bob's server."""
    named = f"<{condition} xmlns='{STANZA_ERRORS}'/>" if condition else ""
    said = f" by='{by}'" if by else ""
    return (
        "<message from='bob@b.example' to='alice@a.example/r1' id='i1' type='error'>"
        f"<error type='{type_}'{said}>{named}{more}</error></message>"
    )


@section("4.2")
def heard(row: Row) -> None:
    """A condition of somebody else as a reason."""
    wanted = row.fields["reason"]
    span = row.xmpp_spans[0] if row.xmpp_spans else ""
    type_, _, condition = span.rpartition("/")
    for one in (condition,) if span else ("", "of-another-time"):
        outcome = outcome_of(tree(error_stanza(type_ or "cancel", one)), THERE)
        assert (outcome.status, outcome.reason.word) == (Status.FAILURE, wanted)
        assert (outcome.decided_by, outcome.decided_role) == ("b.example", "service")


BUSY = failure(Reason.BUSY)


def answered(text: str, outcome: Outcome = BUSY) -> bool:
    """Whether a failure of a stanza is told."""
    return error_of(outcome, tree(text), HERE) is not None


@rule("err-never-twice", "err-iq-result")
def _never_for_an_error() -> None:
    for kind in ("message", "presence", "iq"):
        assert not answered(f"<{kind} from='a@a.example' to='b@b.example' id='1' type='error'/>")
    assert not answered("<iq from='a@a.example' to='b@b.example' id='1' type='result'/>")
    assert answered("<iq from='a@a.example' to='b@b.example' id='1' type='get'/>")
    assert not answered(CHAT, SUCCESS)
    made = error_of(failure(Reason.BUSY), tree(CHAT), HERE)
    assert made is not None
    assert not answered(made.decode())


@rule("err-presence-quiet", "err-headline-quiet", "msg-state-quiet")
def _quiet() -> None:
    for type_ in ("", " type='unavailable'"):
        assert not answered(f"<presence from='a@a.example' to='b@b.example'{type_}/>")
    assert answered("<presence from='a@a.example' to='b@b.example' type='subscribe'/>")
    assert not answered(CHAT.replace("'chat'", "'headline'"))
    for note in NOTES:
        assert answered(CHAT.replace("<body>x</body>", "<encrypted xmlns='urn:xmpp:omemo:2'/>" + note))
        assert not answered(CHAT.replace("<body>x</body>", note))
        assert answered(CHAT.replace("<body>x</body>", "<body>x</body>" + note))


@rule("err-text")
def _words_of_others() -> None:
    text = f"<text xmlns='{STANZA_ERRORS}'>{'forged&#10; ' * 100}</text>"
    outcome = outcome_of(tree(error_stanza("cancel", "forbidden", text, by="bank.example")), THERE)
    assert outcome.decided_by == "b.example"
    assert outcome.note.startswith("forbidden, said by bank.example: forged ")
    assert len(outcome.note) == 255
    assert "\n" not in outcome.note
    again = error_of(outcome, tree(CHAT), HERE)
    assert again is not None
    assert b"forged" not in again
    assert b"bank.example" not in again
    # a reason that the error itself does not bear out is not believed
    for lie in ("busy", "unknown-user", "no-such-word", "none"):
        reason = f"<reason xmlns='urn:imxrouter:reason:1'>{lie}</reason>"
        assert outcome_of(tree(error_stanza("cancel", "forbidden", reason)), THERE).reason is Reason.BLOCKED


@rule("err-late")
def _late() -> None:
    for type_, wanted in (("cancel", Disposition.FAILED), ("wait", Disposition.ERROR)):
        told = late_failure(tree(error_stanza(type_, "service-unavailable")), NEW_ID, NOW)
        assert isinstance(told, Message)
        assert (str(told.source), str(told.destination)) == ("bob@b.example", "alice@a.example")
        assert told.attributes["to-instance"] == b"r1"
        imdn = read_imdn(told.content)
        assert (imdn.message_id, imdn.disposition) == ("i1", wanted)


@rule("err-late-back")
def _late_for_xmpp() -> None:
    for disposition in (Disposition.FAILED, Disposition.ERROR):
        type_ = "wait" if disposition is Disposition.ERROR else "cancel"
        condition = "internal-server-error" if type_ == "wait" else "service-unavailable"
        told = late_failure(tree(error_stanza(type_, "gone")), NEW_ID, NOW)
        assert isinstance(told, Message)
        made = stanza_of(told, TAKES)
        assert made == stanza(
            "message",
            element(
                "error",
                element(condition, namespace=STANZA_ERRORS),
                attributes={"type": type_, "by": "b.example"},
            ),
            to="alice@a.example/r1", from_="bob@b.example", ident="i1", type_="error",
        )  # fmt: skip


@rule("msg-imdn-other")
def _told_of_no_failure() -> None:
    """What was seen, or is under way, has not failed, whether that is told or not; and it comes back."""
    others = [
        (notice, one)
        for notice in (Notice.DISPLAY, Notice.PROCESSING)
        for one in ALLOWED[notice] - {Disposition.DISPLAYED}
    ]
    assert len(others) == 6
    for notice, disposition in others:
        content = write_imdn(Imdn("i1", notice, disposition, NOW))
        told = late_failure(tree(error_stanza("cancel", "gone")), NEW_ID, NOW)
        assert isinstance(told, Message)
        made = stanza_of(replace(told, content=content), TAKES)
        assert isinstance(made, bytes)
        stanza_ = tree(made.decode())
        assert stanza_.attributes["type"] == "chat"
        assert [(one.name, one.namespace) for one in stanza_.children] == [("e2e", E2E)]
        back = message_of(stanza_, NEW_ID, NOW, TAKES)
        assert isinstance(back, Message)
        assert (back.content_type, back.content) == ("message/imdn+xml", content)


@rule("err-imdn-quiet")
def _receipts_are_no_cause() -> None:
    assert not answered(CHAT.replace("<body>x</body>", "<received xmlns='urn:xmpp:receipts' id='i0'/>"))
    doubt = indeterminant(Reason.LINK_LOST)
    assert answered(CHAT, doubt)
    assert set(CONDITIONS) <= {reason.disclosed for reason in Reason}
