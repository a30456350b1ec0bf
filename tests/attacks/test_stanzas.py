"""XML that costs the reader more than the writer, and stanzas that say what their sender may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imxrouter.gateways.xmpp import names, xml
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.streams import told
from imxrouter.gateways.xmpp.translate import awaited, foreign
from imxrouter.gateways.xmpp.xml import BEFORE, StreamParser, XmlLimits, XmlRefused
from imxrouter.model.address import Address
from imxrouter.model.operations import Foreign
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.transport.operations import foreign_to_record
from tests.attacks.seams import guarded
from tests.gateways.xmpp.streams.edge_rig import EdgePair
from tests.gateways.xmpp.streams.rig import A, B
from tests.gateways.xmpp.test_xml import HEADER

ALICE, BOB = Address.parse(f"alice@{A}"), Address.parse(f"bob@{B}")
MUCH = 10_000_000


def refused_by(limits: XmlLimits, data: bytes) -> str:
    """The name of the rule that a stranger's stream breaks; empty for none."""
    parser = StreamParser(limits, names.SERVER)
    said, condition = "", None
    try:
        parser.feed(data)
    except XmlRefused as refused:
        said, condition = refused.note, refused.condition
    parser.close()
    assert condition in {None, Condition.POLICY_VIOLATION, Condition.RESTRICTED_XML}
    return said


@guarded
def test_entities_that_grow(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory declares entities made of entities, which a short stanza expands to megabytes.

    Check: the parser's handlers refuse a document type where it begins.
    """
    if not guarded:
        monkeypatch.setattr(xml, "refuser", lambda _words: lambda *_: None)
    grow = b"".join(b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(3))
    stream = b"<!DOCTYPE a [<!ENTITY a 'ha'>%s]>" % grow + HEADER.partition(b"?>")[2]
    said = refused_by(BEFORE, stream + b"<message><body>&d;</body></message>")
    assert said == ("a document type" if guarded else "")


@guarded
def test_stanza_without_an_end(guarded: bool) -> None:
    """Mallory, who proved nothing, writes a body that goes on and on.

    Check: the bytes of one element, before they are read.
    """
    limits = BEFORE if guarded else replace(BEFORE, stanza_bytes=MUCH)
    said = refused_by(limits, HEADER + b"<message><body>" + b"ha " * 100_000)
    assert said == ("stanza_bytes" if guarded else "")


@guarded
def test_attributes_by_the_thousand(guarded: bool) -> None:
    """Mallory writes one tag with thousands of attributes, each of which costs a look-up and a string.

    Check: the bytes of one tag, and the attributes of one element.
    """
    tag = b"<message%s/>" % b"".join(b" a%d=''" % n for n in range(1_000))
    limits = replace(BEFORE, new_names=MUCH, stanza_bytes=MUCH)
    if not guarded:
        limits = replace(limits, tag_bytes=MUCH, attributes=MUCH)
    assert refused_by(limits, HEADER + tag) == ("attributes" if guarded else "")


@guarded
def test_elements_in_each_other(guarded: bool) -> None:
    """Mallory opens elements and never ends them: each one is remembered.

    Check: the depth of elements.
    """
    limits = BEFORE if guarded else replace(BEFORE, depth=MUCH, elements=MUCH)
    assert refused_by(limits, HEADER + b"<a>" * 2_000) == ("depth" if guarded else "")


@guarded
def test_names_by_the_thousand(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory uses names that were never used before, all of which the parser keeps while the stream lasts.

    Check: the parser is replaced between two stanzas when it holds too many.
    """
    if not guarded:
        monkeypatch.setattr(xml, "MOST_NAMES", MUCH)
    parser = StreamParser(BEFORE, names.SERVER)
    parser.feed(HEADER)
    for number in range(500):
        parser.feed(b"<a>%s</a>" % b"".join(b"<n%dx%d/>" % (number, n) for n in range(20)))
    assert (parser.names < 2_000) is guarded
    parser.close()


@guarded
def test_foreign_form_in_anothers_name(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice's server hands over a stanza under her own envelope that says that it is from Eve.

    Check: a foreign form is between the two of its envelope, and is written with their addresses.
    """
    if not guarded:
        monkeypatch.setattr(foreign, "is_between", lambda *_: True)
        monkeypatch.setattr(foreign, "readdressed", lambda tree, *_: tree.raw[tree.start : tree.end])
    pair = EdgePair()
    raw = f"<message from='eve@{A}' to='bob@{B}' type='groupchat'><body>lies</body></message>".encode()
    number = pair.a.request(foreign_to_record(Foreign(ALICE, BOB, bytes(16), "xmpp", raw)))
    pair.settle()
    assert pair.stanzas(pair.b) == ([] if guarded else [raw])
    assert (pair.a.service.outcomes[number].reason is Reason.BAD_BODY) is guarded


@guarded
def test_answer_that_nobody_asked(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's server sends Alice the result of a query that she never made, so that her client believes it.

    Check: an answer that goes on as a foreign form is awaited, by its addresses and id.
    """
    if not guarded:
        monkeypatch.setattr(awaited.Awaited, "answered", lambda *_: True)
    pair = EdgePair()
    pair.b.spoken[B] = Protocol.IMX
    pair.b.foreign.add(B)
    raw = f"<iq from='alice@{A}' to='bob@{B}' id='roster' type='result'/>".encode()
    pair.a.service.send(raw, A, B)
    pair.settle()
    assert [one.body for one in pair.b.service.requests] == ([] if guarded else [b"xmpp\0" + raw])
    assert (pair.b.dropped["unasked"] == 1) is guarded


@guarded
def test_questions_that_nobody_answers(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory asks a silent program of Bob's domain again and again; then Alice asks Bob something.

    Check: of queries that wait for an answer each sender has a share, and his domains together have one.
    """
    if not guarded:
        monkeypatch.setattr(awaited.Awaited, "_has_his_share", lambda *_: False)
    pair = EdgePair()
    pair.b.spoken[B] = Protocol.IMX
    pair.b.foreign.add(B)

    def asks(user: str, ident: str) -> None:
        iq = f"<iq from='{user}@{A}/r' to='bob@{B}/r' id='{ident}' type='get'><q xmlns='urn:q'/></iq>"
        pair.a.service.send(iq.encode(), A, B)

    for number in range(2600):  # more than all may ask of one domain
        asks("mallory", f"m{number}")
        if number % 50 == 0:
            pair.pass_s(1)
    asks("alice", "a1")
    pair.settle()
    asked = [one.body for one in pair.b.service.requests if b"id='a1'" in one.body]
    assert len(asked) == guarded
    refused = [one for one in pair.stanzas(pair.a) if b"a1" in one and b"resource-constraint" in one]
    assert len(refused) == (not guarded)


@guarded
def test_errors_that_answer_errors(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory sends an error to a user who does not exist, from one who does not exist either.

    Check: no error is told of what is an error itself.
    """
    if not guarded:
        monkeypatch.setattr(told, "_may_be_answered", lambda *_: True)
        monkeypatch.setattr(told, "may_be_answered", lambda _given: True)
        monkeypatch.setattr("imxrouter.gateways.xmpp.translate.failures.may_be_answered", lambda _given: True)
    pair = EdgePair()
    nobody = failure(Reason.UNKNOWN_USER, by=B, role="service")
    pair.a.service.outcome = pair.b.service.outcome = nobody
    pair.a.service.send(f"<message from='no@{A}' to='one@{B}' type='error'/>".encode(), A, B)
    if guarded:
        pair.settle()
        assert pair.stanzas(pair.a) == []
    else:
        with pytest.raises(AssertionError, match="they never come to rest"):
            pair.settle()
