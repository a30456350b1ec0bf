"""Proofs that are none: certificates, dial-back, acknowledgements, components; each with its check."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imxrouter.gateways.xmpp import negotiation
from imxrouter.gateways.xmpp.effects import (
    AskedExternal,
    Attached,
    ClaimIn,
    ClaimResultIn,
    Ignored,
    VerifyIn,
    VerifyResultIn,
)
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.pairs import Pairs, Verdict
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.terms import StreamTerms
from imxrouter.model.vocabulary import Reason
from tests.attacks.seams import guarded
from tests.gateways.xmpp.attacker import (
    MALLORY,
    SASL,
    SM,
    accepted,
    auth,
    ended,
    header,
    message,
    opened,
    terms,
    yes,
)
from tests.gateways.xmpp.pipe import OURS, START, THEIRS, Party, a_party

# -- certificates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["victim.example", OURS, f"x@{THEIRS}", f"sub.{THEIRS}"])
@guarded
def test_external_with_another_name(asked: str, monkeypatch: pytest.MonkeyPatch, *, guarded: bool) -> None:
    """His certificate is good for his domain, and he asks to be taken for another."""
    if not guarded:
        monkeypatch.setattr(negotiation, "_is_own_name", lambda *_: True)
    party = accepted(terms(external=lambda domain: domain == THEIRS), tls=True)
    party.take(auth(asked))
    if guarded:
        assert bytes(party.out) == f"<failure {SASL}><invalid-authzid/></failure>".encode()
        assert not party.machine.pairs
    else:
        assert party.of(AskedExternal)


@guarded
def test_external_with_a_certificate_that_does_not_cover_it(*, guarded: bool) -> None:
    """It is not even offered to him."""
    what = terms(external=lambda domain: domain == MALLORY) if guarded else terms(external=yes)
    party = accepted(what, tls=True)
    party.take(auth(THEIRS))
    if guarded:
        assert bytes(party.out) == f"<failure {SASL}><not-authorized/></failure>".encode()
    else:
        assert party.of(AskedExternal)


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (f"<auth {SASL} mechanism='PLAIN'>AGEAYg==</auth>", "invalid-mechanism"),
        (f"<auth {SASL}>=</auth>", "invalid-mechanism"),
        (f"<auth {SASL} mechanism='EXTERNAL'>no base64!</auth>", "incorrect-encoding"),
        (f"<auth {SASL} mechanism='EXTERNAL'>/w==</auth>", "incorrect-encoding"),
        (f"<abort {SASL}/>", "aborted"),
    ],
)
def test_bad_authentication_is_refused_twice_at_most(said: str, condition: str) -> None:
    """Then the stream ends (RFC 6120 section 6.4.5)."""
    party = accepted(terms(external=yes), tls=True)
    party.take(said.encode())
    assert bytes(party.out) == f"<failure {SASL}><{condition}/></failure>".encode()
    party.take(said.encode())
    ended(party, Condition.POLICY_VIOLATION, Reason.NOT_PROVED)


@pytest.mark.parametrize("name", [THEIRS, ""])
def test_authentication_after_authentication(name: str) -> None:
    """Once taken, nothing can be exchanged for it."""
    party = accepted(terms(external=yes), tls=True)
    party.take(auth(name))
    assert party.machine.external
    party.take(header())
    party.out.clear()
    party.take(auth(name))
    ended(party, Condition.NOT_AUTHORIZED, Reason.PROTOCOL_ERROR)


def test_what_comes_before_the_answer_to_authentication() -> None:
    """He does not wait for it: neither in the same bytes, nor while it is decided."""
    for together in (True, False):
        party = accepted(terms(external=yes), tls=True)
        effects = party.machine.receive(auth(THEIRS) + (message() if together else b""), START)
        if not together:
            effects += party.machine.receive(message(), START)
        assert effects.pop(0) == AskedExternal(THEIRS, OURS)
        party.perform(effects)
        ended(party, Condition.NOT_AUTHORIZED, party.drop.reason if party.drop else Reason.NONE)
        assert not party.machine.authenticated(START)


# -- dial-back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["result", "verify"])
@guarded
def test_answers_that_nobody_asked_for(name: str, monkeypatch: pytest.MonkeyPatch, *, guarded: bool) -> None:
    """He tells us that somebody's claim is good, or that ours is; sixteen times, then the stream ends."""
    if not guarded:
        monkeypatch.setattr(Pairs, "is_answer_to_claim", lambda *_: True)
        monkeypatch.setattr(Pairs, "is_answer_to_verify", lambda *_: True)
    party = opened(terms())
    said = f"<db:{name} from='{THEIRS}' to='{OURS}' id='1' type='valid'/>".encode()
    party.take(said * 16)
    if not guarded:
        assert party.of(ClaimResultIn if name == "result" else VerifyResultIn)
        return
    assert not party.of(ClaimResultIn)
    assert not party.of(VerifyResultIn)
    assert len(party.of(Ignored)) == 16
    party.take(said)
    ended(party, Condition.POLICY_VIOLATION, Reason.BAD_TOKEN)


@pytest.mark.parametrize("field", ["from", "to", "id"])
def test_an_answer_for_another_question(field: str) -> None:
    """Each of the three must be that of the question, and it is answered once."""
    party = opened(terms())
    party.perform(party.machine.ask_verify(OURS, THEIRS, "id9", "key"))
    said = {"from": THEIRS, "to": OURS, "id": "id9"}
    right = "".join(f" {k}='{v}'" for k, v in said.items())
    said[field] = MALLORY
    wrong = "".join(f" {k}='{v}'" for k, v in said.items())
    party.take(f"<db:verify{wrong} type='valid'/>".encode())
    assert not party.of(VerifyResultIn)
    party.take(f"<db:verify{right} type='valid'/>".encode() * 2)
    assert len(party.of(VerifyResultIn)) == 1
    assert len(party.of(Ignored)) == 2


@guarded
def test_questions_without_end(*, guarded: bool) -> None:
    """He proves nothing, and has us look up keys for ever."""
    party = accepted()
    if not guarded:
        party.machine.proved((THEIRS, OURS))
    said = f"<db:verify from='{THEIRS}' to='{OURS}' id='1'>key</db:verify>".encode()
    party.take(said * 256)
    assert len(party.of(VerifyIn)) == 256
    assert party.drop is None
    party.out.clear()
    party.take(said)
    if guarded:
        ended(party, Condition.POLICY_VIOLATION, Reason.NOT_PROVED)
    else:
        assert len(party.of(VerifyIn)) == 257


@pytest.mark.parametrize("name", ["result", "verify"])
def test_claims_and_questions_against_the_direction(name: str) -> None:
    """Whom we reached may answer on our stream and ask nothing."""
    party = opened(terms())
    party.take(f"<db:{name} from='{THEIRS}' to='{OURS}' id='1'>key</db:{name}>".encode())
    ended(party, Condition.NOT_AUTHORIZED, Reason.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (f"<db:result to='{OURS}'>key</db:result>", Condition.IMPROPER_ADDRESSING),
        (f"<db:result from='x@{THEIRS}' to='{OURS}'>key</db:result>", Condition.IMPROPER_ADDRESSING),
        (f"<db:result from='{THEIRS}' to='{OURS}' type='yes'/>", Condition.BAD_FORMAT),
        (f"<db:verify from='{THEIRS}' to='{OURS}' type=''/>", Condition.BAD_FORMAT),
    ],
)
def test_dialback_that_cannot_be_read(said: str, condition: Condition) -> None:
    """An answer of an unknown type is not taken for a claim."""
    party = accepted()
    party.take(said.encode())
    assert not party.of(ClaimIn)
    assert not party.of(VerifyIn)
    ended(party, condition, Reason.PROTOCOL_ERROR)


# -- acknowledgements ------------------------------------------------------------------------------------


def test_more_is_acknowledged_than_was_sent() -> None:
    """He would have us believe that what is still on its way arrived (XEP-0198 section 6)."""
    party = a_party(StreamRole.S2S_OUT, OURS, THEIRS, terms(external=yes), tls=True)
    party.perform(party.machine.start())
    party.take(header(THEIRS, OURS, "id1"))
    party.take(f"<stream:features><mechanisms {SASL}><mechanism>EXTERNAL</mechanism>".encode())
    party.take(f"</mechanisms></stream:features><success {SASL}/>".encode())
    party.take(header(THEIRS, OURS, "id2") + f"<stream:features><sm {SM}/></stream:features>".encode())
    party.take(f"<enabled {SM}/>".encode())
    party.perform(party.machine.stanzas([message(f"y@{OURS}", f"x@{THEIRS}")], [1], START))
    party.out.clear()
    party.take(f"<a {SM} h='2'/>".encode())
    assert f"<handled-count-too-high {SM} h='2' send-count='1'/>".encode() in party.out
    ended(party, Condition.UNDEFINED_CONDITION, Reason.PROTOCOL_ERROR)


@pytest.mark.parametrize("h", ["", "-1", "x", "4294967296", "99999999999999999999"])
def test_an_acknowledgement_without_a_number(h: str) -> None:
    """Of 32 bits."""
    party = opened(terms())
    party.machine.confirmations.enable()
    party.take(f"<a {SM} h='{h}'/>".encode())
    ended(party, Condition.BAD_FORMAT, Reason.PROTOCOL_ERROR)


# -- components ------------------------------------------------------------------------------------------


def component(secret: str, *, refused: Condition | None = None) -> Party:
    """A component that says it knows the secret."""
    what = StreamTerms(
        serves=lambda name: name == "irc.ours.example", secret=lambda _: b"s3cr3t", admits=lambda _: refused
    )
    host = a_party(StreamRole.COMPONENT_IN, OURS, "", what)
    host.perform(host.machine.start())
    start = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
    host.take(f"{start} to='irc.ours.example'>".encode())
    host.out.clear()
    digest = negotiation._digest(host.machine.stream_id, secret.encode())
    host.take(f"<handshake>{digest}</handshake>".encode())
    return host


def test_a_component_with_another_secret() -> None:
    """It learns that, and no more."""
    host = component("guessed")
    assert not host.of(Attached)
    ended(host, Condition.NOT_AUTHORIZED, Reason.LOGIN_FAILED)


def test_a_component_whose_name_is_taken() -> None:
    """It is told so after it proved the secret, not before."""
    host = component("s3cr3t", refused=Condition.CONFLICT)
    assert not host.of(Attached)
    ended(host, Condition.CONFLICT, Reason.OVER_CAP)


@guarded
def test_a_component_that_writes_as_another_domain(monkeypatch: pytest.MonkeyPatch, *, guarded: bool) -> None:
    """It knows its secret, and claims to be the server's users."""
    if not guarded:
        monkeypatch.setattr(StreamMachine, "_may_bring", lambda *_: Verdict.GOOD)
    host = component("s3cr3t")
    assert host.of(Attached)
    host.out.clear()
    host.take(message(f"alice@{OURS}", "bob@elsewhere.example"))
    if guarded:
        ended(host, Condition.INVALID_FROM, Reason.NOT_PROVED)
    else:
        assert host.stanzas


def test_a_component_that_is_unknown() -> None:
    """Its name is judged before anything else."""
    host = a_party(StreamRole.COMPONENT_IN, OURS, "", StreamTerms(serves=yes))
    host.perform(host.machine.start())
    start = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
    host.take(f"{start} to='evil.example'>".encode())
    ended(host, Condition.HOST_UNKNOWN, Reason.RELAY_DENIED)


@pytest.mark.parametrize(
    ("name", "serves", "secret", "condition"),
    [
        ("a@irc.ours.example", yes, lambda _: b"s3cr3t", Condition.IMPROPER_ADDRESSING),
        # a secret is there, and the name is no component's any more; or the other way round
        ("irc.ours.example", lambda _: False, lambda _: b"s3cr3t", Condition.HOST_UNKNOWN),
        ("irc.ours.example", yes, lambda _: None, Condition.HOST_UNKNOWN),
    ],
)
def test_names_that_are_no_component_here(
    name: str, serves: Callable[[str], bool], secret: Callable[[str], bytes | None], condition: Condition
) -> None:
    """Each half alone is not enough."""
    host = a_party(StreamRole.COMPONENT_IN, OURS, "", StreamTerms(serves=serves, secret=secret))
    host.perform(host.machine.start())
    start = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
    host.take(f"{start} to='{name}'>".encode())
    assert host.drop is not None
    assert host.drop.condition is condition


def test_a_secret_that_is_taken_away_before_the_proof() -> None:
    """The configuration may change between the header and the proof: nobody is let in by what is gone."""
    secrets = {"irc.ours.example": b"s3cr3t"}
    host = a_party(StreamRole.COMPONENT_IN, OURS, "", StreamTerms(serves=yes, secret=secrets.get))
    host.perform(host.machine.start())
    start = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
    host.take(f"{start} to='irc.ours.example'>".encode())
    host.out.clear()
    digest = negotiation._digest(host.machine.stream_id, secrets.pop("irc.ours.example"))
    host.take(f"<handshake>{digest}</handshake>".encode())
    assert not host.of(Attached)
    ended(host, Condition.NOT_AUTHORIZED, Reason.LOGIN_FAILED)


def test_a_component_without_a_secret_does_not_begin() -> None:
    """Ours: nothing is said that could be taken for a proof."""
    client = a_party(StreamRole.COMPONENT_OUT, "irc.ours.example", OURS, StreamTerms())
    client.perform(client.machine.start())
    client.out.clear()
    client.take(
        b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
        b" from='ours.example' id='id1'>"
    )
    assert client.drop is not None
    assert client.drop.reason is Reason.LOGIN_FAILED
    assert b"handshake" not in client.out


def test_what_is_large_is_taken_after_the_proof_alone() -> None:
    """A component that has not proved its secret is a stranger: 8,192 bytes at most."""
    host = component("s3cr3t")
    assert host.of(Attached)
    large = message("x@irc.ours.example").replace(b"hi", b"x" * 100_000)
    host.take(large)
    assert host.stanzas == [large]
    unknown = a_party(
        StreamRole.COMPONENT_IN, OURS, "", StreamTerms(serves=yes, secret=lambda _name: b"s3cr3t")
    )
    unknown.perform(unknown.machine.start())
    start = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
    unknown.take(f"{start} to='irc.ours.example'>".encode() + large)
    assert not unknown.stanzas
    ended(unknown, Condition.POLICY_VIOLATION, Reason.PROTOCOL_ERROR)
