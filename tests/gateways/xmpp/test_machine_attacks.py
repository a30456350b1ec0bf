"""Who may say what on a stream, and when: each attack with its check, and without it, when it works."""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.gateways.xmpp import negotiation
from imxrouter.gateways.xmpp.effects import (
    ClaimIn,
    Drop,
    HeaderSeen,
    StartTls,
    TlsFollows,
)
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.pairs import Pairs, Verdict
from imxrouter.gateways.xmpp.steps import Step, StreamRole
from imxrouter.gateways.xmpp.stream import Stream
from imxrouter.gateways.xmpp.terms import TlsRule
from imxrouter.model.vocabulary import Reason
from tests.attacks.seams import guarded
from tests.gateways.xmpp.attacker import (
    MALLORY,
    PROCEED,
    SASL,
    SM,
    STARTTLS,
    accepted,
    auth,
    ended,
    header,
    message,
    opened,
    terms,
    yes,
)
from tests.gateways.xmpp.pipe import OURS, START, THEIRS, a_party

# -- clear text and TLS ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "fresh"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "new reader alone", "check alone", "check removed"],
)  # fmt: skip
def test_bytes_in_clear_behind_starttls(monkeypatch: pytest.MonkeyPatch, *, check: bool, fresh: bool) -> None:
    """Somebody between writes a header behind `<starttls/>`: it would be read as if it came in TLS.

    Two walls: nothing may stand there, and the reader begins anew without it.
    """
    if not check:
        monkeypatch.setattr(negotiation, "_before_tls", lambda _stream: [])
    if not fresh:
        begin = Stream.begin

        def with_the_rest(stream: Stream) -> Any:
            rest = stream._parser.rest()
            effects = begin(stream)
            stream._parser._tail.add(rest)
            return effects

        monkeypatch.setattr(Stream, "begin", with_the_rest)
    party = accepted(terms(TlsRule.REQUIRED))
    party.take(STARTTLS.encode() + header(THEIRS))
    if check:
        ended(party, Condition.NOT_AUTHORIZED, Reason.PROTOCOL_ERROR)
        return
    party.perform(party.machine.encrypted(START))
    party.take(b" ")
    assert len(party.of(HeaderSeen)) == (1 if fresh else 2)


@guarded
def test_bytes_in_clear_behind_proceed(monkeypatch: pytest.MonkeyPatch, *, guarded: bool) -> None:
    """The same on a stream that we opened."""
    if not guarded:
        monkeypatch.setattr(negotiation, "_before_tls", lambda _stream: [])
    party = opened(terms(TlsRule.REQUIRED), features=STARTTLS)
    party.take(f"{PROCEED}<stream:features/>".encode())
    if guarded:
        ended(party, Condition.NOT_AUTHORIZED, Reason.PROTOCOL_ERROR)
    else:
        assert party.of(StartTls)


@pytest.mark.parametrize("blank", [b"", b"\n", b"  "])
def test_blanks_behind_starttls_are_nothing(blank: bytes) -> None:
    """Some servers end their lines."""
    party = accepted(terms(TlsRule.REQUIRED))
    party.take(STARTTLS.encode() + blank)
    assert party.of(TlsFollows)


@pytest.mark.parametrize("offered", ["", "<dialback xmlns='urn:xmpp:features:dialback'/>"])
@guarded
def test_stripped_starttls(offered: str, *, guarded: bool) -> None:
    """Somebody between takes the offer of TLS away, and refuses when it is asked for nevertheless."""
    rule = TlsRule.REQUIRED if guarded else TlsRule.OFFERED
    party = opened(terms(rule), features=offered)
    if guarded:
        assert party.machine.step is Step.PROCEED
        party.take(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>")
        assert party.drop is not None
        assert party.drop.reason is Reason.WEAKER_THAN_POLICY
    else:
        assert party.machine.step is Step.OPEN


@pytest.mark.parametrize("first", ["message", "claim", "auth", "bidi"])
@guarded
def test_without_tls_where_it_is_required(first: str, *, guarded: bool) -> None:
    """He goes on in clear as if TLS were a suggestion."""
    party = accepted(terms(TlsRule.REQUIRED if guarded else TlsRule.OFFERED))
    said = {
        "message": message(), "auth": auth(THEIRS), "bidi": b"<bidi xmlns='urn:xmpp:bidi'/>",
        "claim": f"<db:result from='{THEIRS}' to='{OURS}'>key</db:result>".encode(),
    }  # fmt: skip
    party.take(said[first])
    if guarded:
        ended(party, Condition.POLICY_VIOLATION, Reason.WEAKER_THAN_POLICY)
    elif first == "claim":
        assert party.of(ClaimIn)


@pytest.mark.parametrize("when", ["in TLS", "after a claim", "off"])
def test_starttls_that_is_not_offered(when: str) -> None:
    """Twice, after something was claimed in clear, or where there is none: refused, and the stream ends."""
    party = accepted(terms(TlsRule.NONE if when == "off" else TlsRule.OFFERED), tls=when == "in TLS")
    if when == "after a claim":
        party.take(f"<db:result from='{THEIRS}' to='{OURS}'>key</db:result>".encode())
        party.out.clear()
    party.take(STARTTLS.encode())
    assert bytes(party.out) == b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"
    ended(party, None, Reason.PROTOCOL_ERROR)


# -- restarts --------------------------------------------------------------------------------------------


def test_a_domain_that_is_not_served_after_tls() -> None:
    """It is as unknown as in the first header (RFC 6120 section 4.9.3.6); he is told by whom, and to whom."""
    party = accepted(terms(TlsRule.REQUIRED, serves=lambda domain: domain == OURS))
    party.take(STARTTLS.encode())
    party.perform(party.machine.encrypted(START))
    party.out.clear()
    party.take(header(THEIRS, "other.example"))
    ended(party, Condition.HOST_UNKNOWN, Reason.RELAY_DENIED)
    assert f" from='{OURS}' to='{THEIRS}' id=".encode() in bytes(party.out)


@pytest.mark.parametrize("to", ["other.example", ""])
def test_who_is_not_known_answers_without_a_name(to: str) -> None:
    """`from` is empty, and `to` who asked (RFC 6120 sections 4.9.1.3 and 4.7.2)."""
    party = a_party(StreamRole.S2S_IN, "", "", terms(serves=lambda domain: domain == OURS))
    party.perform(party.machine.start())
    party.take(header(THEIRS, to))
    condition = Condition.HOST_UNKNOWN if to else Condition.IMPROPER_ADDRESSING
    ended(party, condition, Reason.RELAY_DENIED if to else Reason.PROTOCOL_ERROR)
    assert f" from='' to='{THEIRS}' id=".encode() in bytes(party.out)


@pytest.mark.parametrize(
    ("from_", "to", "condition"),
    [
        (MALLORY, OURS, Condition.INVALID_FROM),
        ("", OURS, Condition.INVALID_FROM),
        (THEIRS, "other.example", Condition.IMPROPER_ADDRESSING),
    ],
)
@guarded
def test_parties_that_change_after_tls(
    from_: str, to: str, condition: Condition, monkeypatch: pytest.MonkeyPatch, *, guarded: bool
) -> None:
    """He begins as one domain and goes on as another, or to another, in the same connection."""
    if not guarded:
        monkeypatch.setattr(negotiation, "_changed", lambda *_: None)
    party = accepted(terms(TlsRule.REQUIRED, serves=yes))
    party.take(STARTTLS.encode())
    party.perform(party.machine.encrypted(START))
    party.out.clear()
    party.take(header(from_, to))
    if guarded:
        ended(party, condition, Reason.PROTOCOL_ERROR)
    else:
        assert (party.machine.other, party.machine.own) == (from_, to)


def test_parties_may_be_spelled_otherwise() -> None:
    """They are compared as domains."""
    party = accepted(terms(TlsRule.REQUIRED))
    party.take(STARTTLS.encode())
    party.perform(party.machine.encrypted(START))
    party.take(header(THEIRS.upper(), OURS.title()))
    assert party.machine.step is Step.OPEN


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (header(), Condition.NOT_AUTHORIZED),  # at once: it need not end
        (b"<stream xmlns='http://etherx.jabber.org/streams'>", Condition.NOT_AUTHORIZED),
        (header() + b"</stream:stream>", Condition.NOT_AUTHORIZED),
        (b"<stream:features/>", Condition.NOT_AUTHORIZED),
        (f"<success {SASL}/>".encode(), Condition.NOT_AUTHORIZED),
        (PROCEED.encode(), Condition.NOT_AUTHORIZED),
        (b"<handshake/>", Condition.NOT_AUTHORIZED),
        (f"<enabled {SM}/>".encode(), Condition.NOT_AUTHORIZED),
        (b"<what xmlns='urn:what'/>", Condition.NOT_AUTHORIZED),
    ],
)
def test_words_of_another_step(said: bytes, condition: Condition) -> None:
    """A second header, features from who opened, success that nobody asked for: the table has none of it."""
    party = accepted(tls=True)
    party.take(said)
    ended(party, condition, Reason.PROTOCOL_ERROR)


def test_features_twice() -> None:
    """Negotiation goes forward only."""
    party = opened(terms())
    party.take(b"<stream:features/>")
    ended(party, Condition.NOT_AUTHORIZED, Reason.PROTOCOL_ERROR)


def test_an_answer_from_somebody_else() -> None:
    """The stream that we opened to one domain is answered as another."""
    party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, terms())
    party.perform(party.machine.start())
    party.take(header(MALLORY, OURS, "id1"))
    ended(party, Condition.INVALID_FROM, Reason.PROTOCOL_ERROR)


@pytest.mark.parametrize("condition", ["see-other-host", "host-unknown", "policy-violation", "nonsense"])
def test_an_error_is_never_followed(condition: str) -> None:
    """Wherever `see-other-host` points to: the stream is over, and nothing is done about it."""
    party = opened(terms())
    names = "xmlns='urn:ietf:params:xml:ns:xmpp-streams'"
    party.take(f"<stream:error><{condition} {names}>evil.example:5269</{condition}></stream:error>".encode())
    assert party.drop is not None
    assert "evil" not in party.drop.note
    assert not party.of(StartTls)
    assert bytes(party.out) == b"</stream:stream>"


# -- who speaks ------------------------------------------------------------------------------------------


def judged_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the check of who speaks away."""
    monkeypatch.setattr(Pairs, "judge", lambda *_: Verdict.GOOD)


@guarded
def test_a_stanza_before_authentication(monkeypatch: pytest.MonkeyPatch, *, guarded: bool) -> None:
    """He does not bother to prove anything."""
    if not guarded:
        judged_good(monkeypatch)
    party = accepted(tls=True)
    party.take(message())
    if guarded:
        ended(party, Condition.NOT_AUTHORIZED, Reason.NOT_PROVED)
    else:
        assert party.stanzas


@pytest.mark.parametrize("from_", [f"alice@{OURS}", "x@victim.example", "x@sub.theirs.example", OURS])
@guarded
def test_a_forged_sender(from_: str, monkeypatch: pytest.MonkeyPatch, *, guarded: bool) -> None:
    """One domain is proved, and he writes as another."""
    if not guarded:
        judged_good(monkeypatch)
    party = accepted()
    party.machine.proved((THEIRS, OURS))
    party.take(message(from_))
    if guarded:
        ended(party, Condition.INVALID_FROM, Reason.NOT_PROVED)
    else:
        assert party.stanzas


@guarded
def test_a_recipient_that_is_not_ours(monkeypatch: pytest.MonkeyPatch, *, guarded: bool) -> None:
    """He is proved towards one domain, and writes to another through us."""
    if not guarded:
        judged_good(monkeypatch)
    party = accepted()
    party.machine.proved((THEIRS, OURS))
    party.take(message(to="victim@victim.example"))
    if guarded:
        ended(party, Condition.HOST_UNKNOWN, Reason.RELAY_DENIED)
    else:
        assert party.stanzas


@guarded
def test_a_stream_to_a_domain_that_is_not_ours(*, guarded: bool) -> None:
    """Such as the behaviour of the inside, asked for on the outside."""
    party = a_party(StreamRole.S2S_IN, "", "", terms() if guarded else terms(serves=yes))
    party.perform(party.machine.start())
    party.take(header(to="outside.example"))
    if guarded:
        ended(party, Condition.HOST_UNKNOWN, Reason.RELAY_DENIED)
    else:
        assert party.machine.step is Step.OPEN


def test_a_stream_from_a_domain_that_is_ours() -> None:
    """The terms refuse it by their word."""
    what = terms(admits=lambda domain: Condition.NOT_AUTHORIZED if domain == OURS else None)
    party = accepted(what, from_=OURS)
    assert party.drop is not None
    assert party.drop.condition is Condition.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("from_", "to"),
    [("", f"y@{OURS}"), (f"x@{THEIRS}", ""), ("x@", f"y@{OURS}"), ("x@a b", f"y@{OURS}"), ("@@", "//")],
)
def test_a_stanza_without_two_addresses(from_: str, to: str) -> None:
    """Between servers both are needed (RFC 6120 section 8.1.1.2)."""
    party = accepted()
    party.machine.proved((THEIRS, OURS))
    party.take(message(from_, to))
    ended(party, Condition.IMPROPER_ADDRESSING, Reason.BAD_ADDRESS)


@guarded
def test_a_stanza_against_the_direction(*, guarded: bool) -> None:
    """Whom we reached writes on our stream, which we did not make bidirectional."""
    party = opened(terms())
    party.machine.proved((OURS, THEIRS))
    if not guarded:
        party.machine.pairs.speak_both_ways()
    party.take(message())
    if guarded:
        ended(party, Condition.NOT_AUTHORIZED, Reason.NOT_PROVED)
    else:
        assert party.stanzas


def test_both_ways_is_only_between_the_same_two() -> None:
    """Whom we reached as one domain does not write as another (XEP-0288 section 2.2)."""
    party = opened(terms())
    party.machine.proved((OURS, THEIRS))
    party.machine.pairs.speak_both_ways()
    party.take(message(from_="x@victim.example"))
    ended(party, Condition.INVALID_FROM, Reason.NOT_PROVED)


# -- time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "after_s"),
    [(b"", 10.0), (b"<stream:stream ", 10.0), (header(), 30.0), (header() + STARTTLS.encode(), 30.0)],
    ids=["silent", "slow", "no TLS", "no handshake"],
)
@guarded
def test_a_stranger_who_takes_his_time(
    said: bytes, after_s: float, monkeypatch: pytest.MonkeyPatch, *, guarded: bool
) -> None:
    """Each step has its deadline, whatever trickles in."""
    if not guarded:
        monkeypatch.setattr(StreamMachine, "_look_at_timers", lambda *_: [])
    party = a_party(StreamRole.S2S_IN, "", "", terms(TlsRule.REQUIRED))
    party.perform(party.machine.start())
    party.take(said)
    for tenth in range(int(after_s * 10)):
        party.now = START + tenth / 10
        party.perform(party.machine.tick(party.now))
        if party.machine.step is Step.HEADER:
            party.take(b"a" if said else b" ")
    assert not party.of(Drop)
    party.perform(party.machine.tick(START + after_s))
    ends = [(one.condition, one.reason) for one in party.seen if isinstance(one, Drop)]
    assert ends == ([(Condition.CONNECTION_TIMEOUT, Reason.HELLO_TIMEOUT)] if guarded else [])
