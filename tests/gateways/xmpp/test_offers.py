"""What is offered on a stream and what is taken of what is offered; servers that are older than features."""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.effects import ClaimIn, External, Open, StartTls
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.steps import Step, StreamRole
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.attacker import (
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
from tests.gateways.xmpp.pipe import OURS, THEIRS, Party, a_party

BIDI = "<bidi xmlns='urn:xmpp:features:bidi'/>"
EXTERNAL = f"<mechanisms {SASL}><mechanism>EXTERNAL</mechanism></mechanisms>"
DIALBACK = "<dialback xmlns='urn:xmpp:features:dialback'>"
ALL = terms(TlsRule.REQUIRED, external=yes)
OLD = header().replace(b" version='1.0'", b"")
OLD_ANSWER = header(THEIRS, OURS, "id1").replace(b" version='1.0'", b"")


def no(_domain: str) -> bool:
    """Say no for every domain."""
    return False


def stranger(what: StreamTerms, *, tls: bool, from_: str = THEIRS) -> Party:
    """A stream that they opened, with what we said to their header."""
    party = a_party(StreamRole.S2S_IN, "", "", what, tls=tls)
    party.perform(party.machine.start())
    party.take(header(from_))
    return party


def offers(party: Party) -> set[str]:
    """What the features that went out last have in them."""
    said = bytes(party.out).decode().rpartition("<stream:features>")[2]
    words = {
        "starttls": "<starttls ", "required": "<required", "external": "<mechanism>EXTERNAL</mechanism>",
        "dialback": "<dialback ", "bidi": "<bidi ", "sm": "<sm ",
    }  # fmt: skip
    return {name for name, text in words.items() if text in said}


@pytest.mark.parametrize(
    ("what", "tls", "from_", "offered"),
    [
        # TLS stands alone where it is needed
        (ALL, False, THEIRS, {"starttls", "required"}),
        # in clear nothing is offered that a certificate or a proof by one comes before
        (terms(TlsRule.OFFERED, external=yes), False, THEIRS, {"starttls", "dialback"}),
        (terms(TlsRule.NONE, external=yes), False, THEIRS, {"dialback"}),
        (ALL, True, THEIRS, {"external", "dialback", "bidi"}),
        # nobody is named whom a certificate could be of
        (ALL, True, "", {"dialback", "bidi"}),
        (terms(TlsRule.REQUIRED, external=no), True, THEIRS, {"dialback", "bidi"}),
        (terms(TlsRule.REQUIRED, external=yes, bidi=False), True, THEIRS, {"external", "dialback"}),
        (terms(TlsRule.REQUIRED, external=yes, dialback=no), True, THEIRS, {"external", "bidi"}),
        # who it is comes with the claim
        (terms(TlsRule.REQUIRED, external=yes, dialback=no), True, "", {"dialback", "bidi"}),
    ],
)
def test_what_is_offered(what: StreamTerms, from_: str, offered: set[str], *, tls: bool) -> None:
    """By the terms, and by how far the stream is."""
    assert offers(stranger(what, tls=tls, from_=from_)) == offered


@pytest.mark.parametrize("sm", [True, False])
def test_what_is_offered_after_a_proof_by_certificate(*, sm: bool) -> None:
    """Acknowledgements, where they are on; nothing that changes who is who or how it is said."""
    party = stranger(terms(TlsRule.REQUIRED, external=yes, sm=sm), tls=True)
    party.take(auth(THEIRS))
    party.perform(party.machine.authenticated(party.now))
    party.take(header())
    assert offers(party) == ({"sm", "dialback"} if sm else {"dialback"})


@pytest.mark.parametrize("first", ["bidi", "auth"])
def test_what_is_not_offered_is_not_taken(first: str) -> None:
    """In clear: both ways, or a certificate that was never shown."""
    party = accepted(terms(TlsRule.OFFERED, external=yes))
    party.take(b"<bidi xmlns='urn:xmpp:bidi'/>" if first == "bidi" else auth(THEIRS))
    if first == "bidi":
        ended(party, Condition.UNSUPPORTED_STANZA_TYPE, Reason.PROTOCOL_ERROR)
        return
    assert say.sasl_failure("not-authorized") in party.out
    assert not party.machine.pairs


@pytest.mark.parametrize("claimed", [True, False])
def test_how_it_is_secured_stays_after_a_claim(*, claimed: bool) -> None:
    """A certificate is not taken behind a claim, nor both ways: each would change what the claim was for."""
    for said in (auth(THEIRS), b"<bidi xmlns='urn:xmpp:bidi'/>"):
        party = accepted(ALL, tls=True)
        if claimed:
            party.take(f"<db:result from='{THEIRS}' to='{OURS}'>key</db:result>".encode())
            assert party.of(ClaimIn)
        party.take(said)
        assert (party.drop is not None) is claimed


@pytest.mark.parametrize(
    ("rule", "features", "step"),
    [
        (TlsRule.REQUIRED, STARTTLS, Step.PROCEED),
        # somebody may have taken the offer away
        (TlsRule.REQUIRED, "", Step.PROCEED),
        (TlsRule.OFFERED, STARTTLS, Step.PROCEED),
        (TlsRule.OFFERED, "", Step.OPEN),
        (TlsRule.NONE, STARTTLS, Step.OPEN),
        (TlsRule.NONE, STARTTLS.replace("/>", "><required/></starttls>"), Step.CLOSED),
    ],
)
def test_whether_tls_is_asked_for(rule: TlsRule, features: str, step: Step) -> None:
    """Where it is needed, always; where it is off, never."""
    party = opened(terms(rule), features=features)
    assert party.machine.step is step
    assert not party.of(StartTls)
    if step is Step.CLOSED:
        assert party.drop is not None
        assert party.drop.reason is Reason.TLS_FAILED


def ours(features: str, *, tls: bool, **more: Any) -> Party:
    """A stream that we opened, up to their features, with what we said to them."""
    party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, terms(TlsRule.OFFERED, external=yes, **more), tls=tls)
    party.perform(party.machine.start())
    party.out.clear()
    party.take(header(THEIRS, OURS, "id1") + f"<stream:features>{features}</stream:features>".encode())
    return party


def test_both_ways_and_certificates_are_asked_for_in_tls_alone() -> None:
    """And both ways before the proof (XEP-0288 section 2), once."""
    clear = ours(BIDI + EXTERNAL, tls=False)
    assert not clear.out
    assert not clear.machine.pairs.bidi
    assert clear.machine.step is Step.OPEN
    party = ours(BIDI + EXTERNAL, tls=True)
    assert bytes(party.out).startswith(say.USE_BIDI + f"<auth {SASL} mechanism='EXTERNAL'".encode())
    assert not ours(BIDI + EXTERNAL, tls=True, bidi=False).machine.pairs.bidi
    party.out.clear()
    party.take(f"<success {SASL}/>".encode())
    party.take(header(THEIRS, OURS, "id2") + f"<stream:features>{BIDI}{EXTERNAL}</stream:features>".encode())
    assert b"<bidi" not in party.out
    assert b"<auth" not in party.out
    assert party.of(External) == [External(OURS, THEIRS)]


def test_what_the_other_side_or_policy_has_not_is_not_asked_for() -> None:
    """Both ways where they offer it; a certificate that names our domain."""
    assert bytes(ours(EXTERNAL, tls=True).out).startswith(b"<auth ")
    assert not ours(EXTERNAL, tls=True).machine.pairs.bidi
    party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, terms(TlsRule.OFFERED, external=no), tls=True)
    party.perform(party.machine.start())
    party.out.clear()
    party.take(header(THEIRS, OURS, "id1") + f"<stream:features>{EXTERNAL}</stream:features>".encode())
    assert party.machine.step is Step.OPEN
    assert not party.out


def test_a_certificate_that_will_not_do_any_more() -> None:
    """It was offered, and policy has changed since."""
    takes = [True]
    party = accepted(terms(TlsRule.REQUIRED, external=lambda _domain: takes[0]), tls=True)
    takes[0] = False
    party.take(auth(THEIRS))
    assert say.sasl_failure("not-authorized") in party.out
    assert party.machine.step is Step.OPEN


@pytest.mark.parametrize("sm", [True, False])
def test_acknowledgements_are_asked_for_where_they_are_on(*, sm: bool) -> None:
    """Where both have them (XEP-0198 section 3)."""
    assert (say.SM_ENABLE in ours(f"<sm {SM}/>", tls=True, sm=sm).out) is sm
    assert say.SM_ENABLE not in ours("", tls=True, sm=sm).out


def test_nothing_comes_behind_the_end_of_authentication() -> None:
    """The stream begins anew there (RFC 6120 section 6.4.6)."""
    party = ours(EXTERNAL, tls=True)
    party.take(f"<success {SASL}/>".encode() + header(THEIRS, OURS, "id2"))
    ended(party, Condition.NOT_AUTHORIZED, Reason.PROTOCOL_ERROR)


# -- headers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_", "to"), [("x@theirs.example", OURS), (THEIRS, "x@ours.example"), (THEIRS, "")]
)
def test_parties_that_are_no_domains(from_: str, to: str) -> None:
    """RFC 6120 sections 4.7.1 and 4.7.2."""
    party = a_party(StreamRole.S2S_IN, "", "", terms())
    party.perform(party.machine.start())
    party.take(header(from_, to))
    ended(party, Condition.IMPROPER_ADDRESSING, Reason.PROTOCOL_ERROR)


def test_a_server_may_say_who_it_is_inside_of_tls_alone() -> None:
    """RFC 6120 section 4.7.1: before, it would be told to who listens."""
    party = accepted(terms(TlsRule.REQUIRED, external=yes), from_="")
    party.take(STARTTLS.encode())
    party.perform(party.machine.encrypted(party.now))
    party.out.clear()
    party.take(header())
    assert party.drop is None
    assert party.machine.other == THEIRS
    assert "external" in offers(party)


@pytest.mark.parametrize(
    "answer", [header("", "", "id1"), header(THEIRS, "", "id1"), header("", OURS, "id1")]
)
def test_answers_that_leave_out_who_is_who(answer: bytes) -> None:
    """Who opened the stream knows it."""
    party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, terms())
    party.perform(party.machine.start())
    party.take(answer)
    assert party.drop is None
    assert party.machine.step is Step.FEATURES


@pytest.mark.parametrize(
    ("answer", "condition"),
    [
        (header(THEIRS, OURS), Condition.BAD_FORMAT),
        (header(THEIRS, "other.example", "id1"), Condition.IMPROPER_ADDRESSING),
        (header(THEIRS, "x@ours.example", "id1"), Condition.IMPROPER_ADDRESSING),
    ],
)
def test_answers_that_will_not_do(answer: bytes, condition: Condition) -> None:
    """Without an id no key can be made; one that is for somebody else is not ours."""
    party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, terms())
    party.perform(party.machine.start())
    party.take(answer)
    ended(party, condition, Reason.PROTOCOL_ERROR)


# -- servers without features (RFC 6120 section 4.7.5, XEP-0220 section 2.4.2) -------------------------------


@pytest.mark.parametrize("side", ["accepted", "opened"])
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "check removed"])
def test_no_version_is_no_way_around_tls(side: str, *, guarded: bool) -> None:
    """Where TLS is required a server that knows no features is refused; else dial-back in clear were had."""
    what = terms(TlsRule.REQUIRED if guarded else TlsRule.OFFERED)
    if side == "accepted":
        party = a_party(StreamRole.S2S_IN, "", "", what)
        first = OLD
    else:
        party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, what)
        first = OLD_ANSWER
    party.perform(party.machine.start())
    party.out.clear()
    party.take(first)
    if guarded:
        assert not party.of(Open)
        ended(party, Condition.UNSUPPORTED_VERSION, Reason.WEAKER_THAN_POLICY)
        return
    assert len(party.of(Open)) == 1
    assert b"<stream:features" not in party.out


def test_dialback_with_a_server_without_features() -> None:
    """Both ways: it answers no features, and is answered none."""
    accepts = a_party(StreamRole.S2S_IN, "", "", terms(TlsRule.OFFERED))
    accepts.perform(accepts.machine.start())
    accepts.take(OLD)
    assert f" id='{accepts.machine.stream_id}'".encode() in accepts.out
    accepts.take(f"<db:result from='{THEIRS}' to='{OURS}'>key</db:result>".encode())
    assert accepts.of(ClaimIn)
    opens = a_party(StreamRole.S2S_OUT, OURS, THEIRS, terms(TlsRule.OFFERED))
    opens.perform(opens.machine.start())
    opens.take(OLD_ANSWER)
    opens.out.clear()
    opens.claim()
    assert b"<db:result " in opens.out
    opens.take(f"<db:result from='{THEIRS}' to='{OURS}' type='valid'/>".encode())
    assert opens.machine.may_write(OURS, THEIRS)


def test_no_version_inside_of_tls() -> None:
    """It came encrypted: what policy asks for is there."""
    party = a_party(StreamRole.S2S_IN, "", "", terms(TlsRule.REQUIRED), tls=True)
    party.perform(party.machine.start())
    party.take(OLD)
    assert party.of(Open)
    party.take(message())
    ended(party, Condition.NOT_AUTHORIZED, Reason.NOT_PROVED)
