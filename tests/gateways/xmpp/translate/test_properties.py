"""Whatever a stanza or a message says: it is translated or refused, comes back, and is answered once."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from time import process_time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from imxrouter.formats.xmltree import BadXml
from imxrouter.gateways.xmpp.canonical import canonical
from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.translate.failures import error_of, may_be_answered, outcome_of
from imxrouter.gateways.xmpp.translate.forms import (
    PREFIX,
    Misfit,
    without_forged_ids,
    without_our_ids,
)
from imxrouter.gateways.xmpp.translate.messages import NoMessage, Takes, message_of
from imxrouter.gateways.xmpp.translate.original import as_said, form_of, judge
from imxrouter.gateways.xmpp.translate.plan import Facts, Operate, Plan, Refuse, plan
from imxrouter.gateways.xmpp.translate.saying import stanza_of
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.choice import Protocol
from tests.gateways.xmpp.translate.stanzas import ALICE, BOB, MESSAGES, SAYABLE, STANZAS, TALK

NOW = datetime(2026, 1, 3, tzinfo=UTC)
NEW_ID = bytes(range(16))
HERE = Domain("here.example")
MESSAGE = Message(ALICE, BOB, NEW_ID, "text/plain", b"x")
REASONS = st.sampled_from(list(Reason))


def said(stanza: str) -> Message | Refusal | NoMessage:
    """What a stanza says."""
    return message_of(tree_of(stanza.encode()), NEW_ID, NOW, Takes())


def planned(stanza: bytes, *, foreign: bool = False, pair: bool = False) -> Plan:
    """What becomes of a stanza."""
    return plan(tree_of(stanza), Facts(NOW, NEW_ID, Takes(), foreign, pair))


@given(STANZAS, st.booleans(), st.booleans())
def test_any_stanza_has_one_plan(stanza: str, foreign: bool, pair: bool) -> None:
    """And nothing is raised."""
    done = planned(stanza.encode(), foreign=foreign, pair=pair)
    if isinstance(done, Refuse):
        assert not done.outcome.ok


@given(TALK)
@example(
    "<message from='a@a.example' to='b@b.example' id='i'><subject>s</subject>"
    "<received xmlns='urn:xmpp:receipts' id='i0'/></message>"
)
@settings(max_examples=300)
def test_a_stanza_comes_back(stanza: str) -> None:
    """Canonically equal by itself or with its form; said again it says the same."""
    message = said(stanza)
    if not isinstance(message, Message):
        return
    tree = tree_of(stanza.encode())
    form = form_of(tree, message, 65_536)
    back = stanza_of(message, Takes())
    assert isinstance(back, bytes)
    if form is None:
        assert canonical(back) == canonical(stanza.encode())
        return
    assert canonical(back) != canonical(stanza.encode())
    assert judge(form, message, Protocol.XMPP, NOW, lambda _domain: False) == stanza.encode()
    if message.attributes.get("origin-id"):
        again = said(back.decode())
        assert isinstance(again, Message)
        assert as_said(again) == as_said(message)


@given(SAYABLE)
def test_a_message_comes_back(message: Message) -> None:
    """The very message."""
    made = stanza_of(message, Takes())
    assert isinstance(made, bytes)
    assert said(made.decode()) == message


@given(MESSAGES)
@settings(max_examples=500)
@example(replace(MESSAGE, content_type="text/html-lite", content=b"<b><p>x</p></b>"))
def test_whatever_is_said_is_one_stanza(message: Message) -> None:
    """Well-formed, between the two; or it is refused. What breaks a stream breaks it for others too."""
    made = stanza_of(message, Takes())
    if isinstance(made, Refusal):
        return
    tree = tree_of(made)
    assert tree.name == "message"
    ends = [tree.attributes[name].partition("/")[0] for name in ("from", "to")]
    assert ends == ["alice@a.example", "bob@b.example"]


@given(TALK, st.data())
@settings(max_examples=300)
def test_no_form_says_something_else(stanza: str, data: st.DataObject) -> None:
    """Another form, or another message beside it: where one is sent, it says what the message says."""
    message = said(stanza)
    if not isinstance(message, Message):
        return
    form = PREFIX + data.draw(TALK).encode()
    sent = judge(form, message, Protocol.XMPP, NOW, lambda _domain: False)
    if isinstance(sent, Misfit):
        return
    again = said(sent.decode())
    assert isinstance(again, Message)
    assert as_said(again) == as_said(message)
    assert (again.source.key, again.destination.key) == (message.source.key, message.destination.key)


@given(TALK, st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_no_edited_form_says_something_else(stanza: str, at: int, piece: bytes) -> None:
    """Byte by byte."""
    message = said(stanza)
    if not isinstance(message, Message):
        return
    raw = stanza.encode()
    form = PREFIX + raw[:at] + piece + raw[at + len(piece) :]
    sent = judge(form, message, Protocol.XMPP, NOW, lambda _domain: False)
    if isinstance(sent, bytes):
        again = said(sent.decode())
        assert isinstance(again, Message)
        assert as_said(again) == as_said(message)


@given(TALK, st.data())
def test_no_changed_message_takes_its_form_along(stanza: str, data: st.DataObject) -> None:
    """A field less, another content, another kind: the form is not used."""
    message = said(stanza)
    if not isinstance(message, Message):
        return
    form = PREFIX + stanza.encode()
    changes = [
        replace(message, content=message.content + b"!"),
        replace(message, content_type="text/x"),
        replace(message, attributes={**message.attributes, "kind": b"\7"}),
        *(
            replace(
                message, attributes={key: value for key, value in message.attributes.items() if key != name}
            )
            for name in message.attributes
        ),
    ]
    changed = data.draw(st.sampled_from(changes))
    assert judge(form, changed, Protocol.XMPP, NOW, lambda _domain: False) is Misfit.DIFFERS


@given(STANZAS, REASONS, st.integers(0, 100))
@example("<iq from='a@a.example' to='b@b.example' id='1' type='error'/>", Reason.BUSY, 0)
def test_no_error_is_answered_with_an_error(stanza: str, reason: Reason, retry_s: int) -> None:
    """Nor is the error that answers something."""
    tree = tree_of(stanza.encode())
    made = error_of(failure(reason, by="b.example", retry_after_s=retry_s), tree, HERE)
    if tree.attributes.get("type") == "error":
        assert made is None
    if made is None:
        return
    error = tree_of(made)
    assert error.attributes["type"] == "error"
    assert error_of(failure(reason), error, HERE) is None
    assert not may_be_answered(error)
    outcome = outcome_of(error, Domain("b.example"))
    assert not outcome.ok
    assert outcome.reason.disclosed == reason.disclosed


@given(STANZAS, st.lists(st.booleans(), min_size=1, max_size=6))
def test_two_edges_come_to_rest(stanza: str, lost: list[bool]) -> None:
    """Each refuses all that the other one sends, and some is lost: a stanza gives one answer at most."""
    flying, sent = [stanza.encode()], 0
    while flying:
        raw = flying.pop()
        tree = tree_of(raw)
        if lost[sent % len(lost)]:
            sent += 1
            continue
        sent += 1
        assert sent <= 2
        done = planned(raw)
        outcome = done.outcome if isinstance(done, Refuse) else failure(Reason.NOT_DELIVERED)
        made = error_of(outcome, tree, HERE)
        if made is not None:
            flying.append(made)


@given(st.lists(STANZAS, max_size=8), REASONS)
def test_each_message_has_one_outcome(stanzas: list[str], reason: Reason) -> None:
    """What goes on is one operation; what does not is answered once, or named as one that may not be."""
    plans = [planned(stanza.encode()) for stanza in stanzas]
    operations = [one for one in plans if isinstance(one, Operate)]
    told = [
        error_of(one.outcome, tree_of(stanza.encode()), HERE)
        for one, stanza in zip(plans, stanzas, strict=True)
        if isinstance(one, Refuse)
    ]
    rest = [one for one in plans if not isinstance(one, Operate | Refuse)]
    assert len(operations) + len(told) + len(rest) == len(stanzas)
    assert None not in told
    for one, stanza in zip(plans, stanzas, strict=True):
        if isinstance(one, Operate):
            answers = [error_of(failure(reason), tree_of(stanza.encode()), HERE)]
            assert len([answer for answer in answers if answer is not None]) <= 1


def test_time_is_linear() -> None:
    """The largest stanzas of each shape, at half and at full size."""

    def seconds(make: str, count: int) -> float:
        inside = "".join(make.format(n=number) for number in range(count))
        stanza = f"<message from='a@a.example' to='b@b.example' type='chat'>{inside}</message>".encode()
        tree = tree_of(stanza)
        began = process_time()
        done = plan(tree, Facts(NOW, NEW_ID, Takes()))
        if isinstance(done, Operate):
            judge(PREFIX + stanza, done.operation, Protocol.XMPP, NOW, lambda _domain: True)
        return process_time() - began

    shapes = {
        "<body xml:lang='x{n}'>a</body>": 2_000,
        "<stanza-id xmlns='urn:xmpp:sid:0' by='b.example'/>": 2_000,
        "<delay xmlns='urn:xmpp:delay' from='b.example' stamp='x'/>": 2_000,
        "<body>" + "&amp;" * 1_000 + "</body>": 1,
        "<active xmlns='http://jabber.org/protocol/chatstates'/>": 2_000,
    }
    for make, count in shapes.items():
        with contextlib.suppress(BadXml):
            assert seconds(make, count) < 1.0, make


#: What could hide an attribute `by` from who looks for it in bytes, or look like one.
_HIDING = st.lists(
    st.sampled_from(
        [" by='", ' by="', " by = ", "by=", "'", '"', "=", " ", "\n", "x", "a.example", "&#97;.example", ">"]
    ),
    max_size=8,
).map("".join)
_BY = st.sampled_from(
    ["a.example", "u@a.example", "&#97;.example", "A.EXAMPLE/by= r", "b.example", " a.example"]
)


@given(_HIDING, _HIDING, _BY, st.sampled_from("'\""), st.booleans(), st.sampled_from([" ", "\n", "\t "]))
def test_no_bytes_hide_a_stanza_id_of_ours(
    text: str, value: str, by: str, quote: str, first: bool, space: str
) -> None:
    """The quick look at the bytes and the tree come to the same."""
    other = '"' if quote == "'" else "'"
    more = f"x={quote}{value.replace(quote, other)}{quote}"
    said = f"by{space}= {other}{by}{other}"
    attributes = f"{said} {more}" if first else f"{more}{space}{said}"
    raw = (
        f"<message><body>{text}</body><s:stanza-id xmlns:s='urn:xmpp:sid:0' {attributes}/></message>".encode()
    )

    def ours(name: str) -> bool:
        return name == "a.example"

    assert without_forged_ids(raw, ours) == without_our_ids(tree_of(raw), ours)
