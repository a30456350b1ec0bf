"""What we write is what the other side reads, whatever the values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.gateways.xmpp import names, say
from imxrouter.gateways.xmpp.effects import Write
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import Condition, ErrorType, StanzaCondition, StanzaError, stanza_error
from imxrouter.gateways.xmpp.stanza import Element, Stanza
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.terms import StreamTerms
from imxrouter.gateways.xmpp.xml import AFTER, Header, StreamEnd, StreamParser

#: Text that XML can carry; it is read as it was written but for blanks in values, which are kept as well.
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=20
)
TAKES_ALL = StreamTerms(serves=lambda _name: True, secret=lambda _name: b"s")
HOSTILE = st.one_of(TEXTS, st.text("'\"<>&]/ \t\n;=", max_size=20))


def heard(said: bytes, content: str = names.SERVER) -> Element:
    """The one element that a peer reads on a stream of ours."""
    parser = StreamParser(AFTER, content)
    _header, element = parser.feed(say.header(content) + said)
    assert isinstance(element, Element)
    return element


@given(HOSTILE, HOSTILE, HOSTILE)
def test_the_header(from_: str, to: str, ident: str) -> None:
    """Who, to whom, and the id; the prefix of dial-back is declared between servers."""
    (header,) = StreamParser(AFTER, names.SERVER).feed(
        say.header(names.SERVER, from_=from_, to=to, stream_id=ident)
    )
    assert isinstance(header, Header)
    assert (header.from_, header.to, header.ident) == (from_, to, ident)
    assert (header.version, header.language) == ((1, 0), "")
    assert header.prefixes == {"db": names.DIALBACK, "stream": names.STREAM}


@pytest.mark.parametrize("wish", ["", "en", "de-CH"])
def test_who_accepts_says_a_language_in_each_header(wish: str) -> None:
    """RFC 6120 section 4.7.4: the receiving entity MUST; what others write there is in no one language."""
    machine = StreamMachine(StreamRole.S2S_IN, TAKES_ALL, "", "", 0.0, bytes)
    machine.start()
    (header,) = StreamParser(AFTER, names.SERVER).feed(_said(machine, wish))[:1]
    assert isinstance(header, Header)
    assert (header.from_, header.ident != "", header.language) == ("b.example", True, "und")


def test_who_accepts_says_a_language_when_it_refuses() -> None:
    """Also of a stream that ends at once, before it is known who is meant."""
    machine = StreamMachine(StreamRole.S2S_IN, StreamTerms(serves=lambda _: False), "", "", 0.0, bytes)
    machine.start()
    (header,) = StreamParser(AFTER, names.SERVER).feed(_said(machine, ""))[:1]
    assert isinstance(header, Header)
    assert header.language == "und"


def _said(machine: StreamMachine, language: str) -> bytes:
    """What it answers to a header."""
    theirs = say.header(names.SERVER, from_="a.example", to="b.example")
    if language:
        theirs = theirs[:-1] + f" xml:lang='{language}'>".encode()
    return b"".join(one.data for one in machine.receive(theirs, 1.0) if isinstance(one, Write))


@pytest.mark.parametrize("role", [StreamRole.S2S_OUT, StreamRole.COMPONENT_OUT, StreamRole.COMPONENT_IN])
def test_no_other_header_has_a_language(role: StreamRole) -> None:
    """Stanzas of others would inherit it; XEP-0114 has none on either side."""
    machine = StreamMachine(role, TAKES_ALL, "b.example", "a.example", 0.0, bytes)
    said = [*machine.start()]
    if role is StreamRole.COMPONENT_IN:
        said += machine.receive(say.header(names.COMPONENT, to="a.example", version=False), 1.0)
    header = StreamParser(AFTER, role.content).feed(
        b"".join(one.data for one in said if isinstance(one, Write))
    )[0]
    assert isinstance(header, Header)
    assert header.language == ""


def test_the_header_of_a_component() -> None:
    """No version and no dial-back (XEP-0114 section 3)."""
    said = say.header(names.COMPONENT, to="c.example", version=False)
    assert said == (
        b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'"
        b" xmlns:stream='http://etherx.jabber.org/streams' to='c.example'>"
    )
    (header,) = StreamParser(AFTER, names.COMPONENT).feed(said)
    assert isinstance(header, Header)
    assert header.version == (0, 0)


def test_the_end() -> None:
    """It closes what the header opened."""
    assert StreamParser(AFTER, names.SERVER).feed(say.header(names.SERVER) + say.END)[1] == StreamEnd()


STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'"
ERRORS = b"<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
MECHANISMS = (
    b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
)
LIMITS = (
    b"<limits xmlns='urn:xmpp:stream-limits:0'>"
    b"<max-bytes>9</max-bytes><idle-seconds>8</idle-seconds></limits>"
)
FEATURES = {
    b"": say.Features(),
    STARTTLS + b"><required/></starttls>": say.Features(starttls=True, required=True),
    STARTTLS + b"/>" + ERRORS: say.Features(starttls=True, dialback=True, errors=True),
    MECHANISMS + b"<bidi xmlns='urn:xmpp:features:bidi'/>": say.Features(mechanisms=("EXTERNAL",), bidi=True),
    ERRORS.replace(b"<errors/>", b"") + LIMITS: say.Features(dialback=True, max_bytes=9, idle_s=8),
    b"<sm xmlns='urn:xmpp:sm:3'/>": say.Features(sm=True),
}


@pytest.mark.parametrize("said", FEATURES)
def test_features(said: bytes) -> None:
    """Nothing that is not offered, not even an empty list of mechanisms."""
    written = say.features(FEATURES[said])
    assert written == b"<stream:features>%s</stream:features>" % said
    assert heard(written).namespace == names.STREAM


@given(st.sampled_from(Condition), HOSTILE)
def test_stream_errors(condition: Condition, text: str) -> None:
    """A condition, words, and a condition of an application."""
    error = heard(say.stream_error(condition, text, say.handled_too_high(10, 8)))
    assert (error.namespace, error.name) == (names.STREAM, "error")
    said = error.tree().children
    assert (said[0].namespace, said[0].name) == (names.STREAM_ERRORS, condition.value)
    assert (said[-1].namespace, said[-1].attributes) == (names.SM, {"h": "10", "send-count": "8"})
    assert [one.text for one in said[1:-1]] == ([text] if text else [])


@given(
    st.sampled_from(["result", "verify"]),
    HOSTILE,
    HOSTILE,
    HOSTILE,
    HOSTILE,
    st.sampled_from([None, *say.DbType]),
)
def test_dialback(name: str, from_: str, to: str, key: str, ident: str, kind: say.DbType | None) -> None:
    """Attributes that are empty are left out."""
    element = heard(say.db(name, from_, to, key=key, stream_id=ident, kind=kind))
    assert (element.namespace, element.name) == (names.DIALBACK, name)
    wanted = {"from": from_, "to": to, "id": ident, "type": kind.value if kind else ""}
    assert element.attributes == {one: value for one, value in wanted.items() if value}
    assert element.tree().text == key


@given(st.sampled_from(StanzaCondition), st.sampled_from(ErrorType), HOSTILE)
def test_an_error_of_dialback(condition: StanzaCondition, kind: ErrorType, text: str) -> None:
    """Its `<error/>` is in the content namespace (XEP-0220 section 2.5)."""
    error = StanzaError(condition, kind, text)
    element = heard(say.db("result", "a.example", "b.example", kind=say.DbType.ERROR, error=error))
    (inside,) = element.tree().children
    assert (inside.namespace, inside.name, inside.attributes) == (names.SERVER, "error", {"type": kind.value})
    assert (inside.children[0].namespace, inside.children[0].name) == (names.STANZA_ERRORS, condition.value)
    assert [one.text for one in inside.children[1:]] == ([text] if text else [])


SMALL = {
    "starttls": (say.STARTTLS, names.TLS, {}, ""),
    "proceed": (say.PROCEED, names.TLS, {}, ""),
    "failure of TLS": (say.TLS_FAILURE, names.TLS, {}, ""),
    "success": (say.SASL_SUCCESS, names.SASL, {}, ""),
    "auth": (say.sasl_auth("EXTERNAL", "YQ=="), names.SASL, {"mechanism": "EXTERNAL"}, "YQ=="),
    "auth without text": (say.sasl_auth("EXTERNAL", ""), names.SASL, {"mechanism": "EXTERNAL"}, "="),
    "bidi": (say.USE_BIDI, names.BIDI, {}, ""),
    "enable": (say.SM_ENABLE, names.SM, {}, ""),
    "enabled": (say.SM_ENABLED, names.SM, {}, ""),
    "r": (say.SM_REQUEST, names.SM, {}, ""),
    "a": (say.sm_ack(7), names.SM, {"h": "7"}, ""),
    "failed": (say.sm_failed("unexpected-request"), names.SM, {}, ""),
    "handshake": (say.handshake("00ff"), names.SERVER, {}, "00ff"),
    "handshake, empty": (say.handshake(), names.SERVER, {}, ""),
    "failure": (say.sasl_failure("invalid-authzid"), names.SASL, {}, ""),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_words(name: str) -> None:
    """Each is one element, by its name in its namespace."""
    said, namespace, attributes, text = SMALL[name]
    element = heard(said)
    assert element.name == name.partition(" ")[0].partition(",")[0]
    assert (element.namespace, element.attributes, element.tree().text) == (namespace, attributes, text)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_a_ping_is_a_stanza_on_any_stream(from_: str, to: str, ident: str) -> None:
    """It inherits the content namespace."""
    for content in (names.SERVER, names.COMPONENT):
        iq = heard(say.ping(from_, to, ident), content)
        assert isinstance(iq, Stanza)
        assert (iq.kind, iq.type, iq.from_, iq.to, iq.ident) == ("iq", "get", from_, to, ident)
        assert [(one.namespace, one.name) for one in iq.tree().children] == [(names.PING, "ping")]


def test_what_the_usual_type_of_a_condition_is() -> None:
    """RFC 6120 section 8.3.3."""
    assert stanza_error(StanzaCondition.ITEM_NOT_FOUND).type is ErrorType.CANCEL
    assert stanza_error(StanzaCondition.REMOTE_SERVER_TIMEOUT).type is ErrorType.WAIT
    assert stanza_error(StanzaCondition.FORBIDDEN).type is ErrorType.AUTH
    assert stanza_error(StanzaCondition.JID_MALFORMED).type is ErrorType.MODIFY
