"""What a stranger may pour in before he has proved anything (specification 4.3, 5.1, 6.1, 11.15)."""

from contextlib import suppress
from itertools import count

import pytest

from imxrouter.link.machine import LinkMachine
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import ports
from imxrouter.transport import hub
from imxrouter.transport.link import Purpose
from imxrouter.transport.session import LinkSession
from imxrouter.wire.control import Claim, ClaimResult, Hello
from imxrouter.wire.record import encode_record
from imxrouter.wire.registry import Capability
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import SOME_TOKEN, Item, RawPeer, text_message
from tests.doubles.router_rig import Lab, RouterRig


def _session(b: RouterRig) -> LinkSession:
    (session,) = b.sessions()
    return session


@guarded
def test_large_record_before_a_proof(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory announces a large record and sends most of it. Check: at most 1,280 bytes before a proof.

    The link ends when the header is there; nothing of the rest is kept.
    """
    if not guarded:
        monkeypatch.setattr(ports, "MAX_RECORD_BEFORE_PROOF", 65536)
    b = lab.router("b.example")
    link = lab.organisation("m.example").connect(b)
    session = _session(b)
    record = encode_record(text_message("mallory@m.example", "bob@b.example", "x" * 60_000))
    link.send(record[:40] if guarded else record[:50_000])
    if guarded:
        closed = link.until_closed()
        assert closed is not None
        assert closed.reason == Reason.PROTOCOL_ERROR.code
        assert len(session.port.tail) == 0
    else:
        lab.wait_until(lambda: len(session.port.tail) == 50_000, "the record is waited for")


def test_the_limit_is_for_hello_as_well(lab: Lab) -> None:
    """A hello of more than 1,280 bytes ends the link before it is read."""
    b = lab.router("b.example")
    link = lab.organisation("m.example").connect(b, hello=False)
    link.send(Hello((1,) * 700).encode()[:100])
    closed = link.until_closed()
    assert closed is not None
    assert closed.reason == Reason.PROTOCOL_ERROR.code


def test_a_second_hello_ends_the_link(lab: Lab) -> None:
    """Nothing can be changed after the first one."""
    b = lab.router("b.example")
    link = lab.organisation("m.example").connect(b)
    link.send(Hello((1,)))
    closed = link.until_closed()
    assert closed is not None
    assert closed.reason == Reason.PROTOCOL_ERROR.code


@guarded
def test_claims_before_a_proof(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory makes one claim after the other. Check: 16 on a link before the first proof."""
    b, m = lab.router("b.example"), lab.organisation("m.example")
    link = m.connect(b)
    if not guarded:
        monkeypatch.setattr(_session(b).received, "_before_proof", 4096)
    domains = [f"d{number}.example" for number in range(25)]
    link.send(*(Claim(n, one.encode(), b"b.example", SOME_TOKEN) for n, one in enumerate(domains, 1)))
    reasons = [link.find(ClaimResult).reason for _ in domains]
    asked = {question.split()[0] for question in lab.zones.asked} & set(domains)
    assert len(asked) == (16 if guarded else 25)
    assert reasons.count(Reason.TOO_MANY_CLAIMS.code) == (9 if guarded else 0)


@guarded
@pytest.mark.parametrize("what", ["requests", "claims"])
def test_refused_again_and_again(lab: Lab, what: str, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory goes on, whatever he is told. Check: after 256 refusals without a proof the link ends."""
    if not guarded:
        monkeypatch.setattr(hub, "REFUSED_BEFORE_PROOF", 1_000_000)
    b = lab.router("b.example")
    link = lab.organisation("m.example").connect(b)
    claims = [Claim(number, b"m.example", b"elsewhere.example", SOME_TOKEN) for number in range(400)]
    messages = [text_message("a@a.example", "bob@b.example", "x", number) for number in range(400)]
    items: list[Item] = list(claims if what == "claims" else messages)
    for at in range(0, 400, 10):
        with suppress(OSError):
            link.send(*items[at : at + 10])
        if guarded and at == 250:
            break  # what is sent into a link that has ended may cost the word that says why
        assert len(link.drain()) == 10
    if guarded:
        closed = link.until_closed()
        assert closed is not None
        assert closed.reason == Reason.NOT_PROVED.code


@guarded
def test_a_hello_byte_by_byte(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory says hello so slowly that it never ends. Check: a hello has a time limit, however much came."""
    if not guarded:
        monkeypatch.setattr(LinkMachine, "tick", lambda *_: [])
    b = lab.router("b.example", settings={"dial.hello_timeout_s": 0.4, "links.ping_s": 0.2})
    link = lab.organisation("m.example").connect(b, hello=False)
    hello = Hello((1,), software="x" * 60).encode()
    ended = False
    for at in range(len(hello)):
        with suppress(OSError):
            link.send(hello[at : at + 1])
        try:
            ended = link.next(within_s=0.01) is not None
        except TimeoutError:
            continue
        if ended:
            break
    if guarded:
        closed = link.until_closed()
        assert closed is not None
        assert closed.reason == Reason.HELLO_TIMEOUT.code
        assert at < len(hello) - 1
    else:
        assert isinstance(link.log[0], Hello)


@guarded
def test_answers_that_nobody_reads(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory asks and never reads the answers. Check: a link is closed at a limit of unread bytes."""
    limit = 65_536
    settings = {"links.output_high_bytes": 16_384, "links.unread_answer_bytes": limit}
    b = lab.router("b.example", settings=settings)
    if not guarded:
        monkeypatch.setattr(LinkSession, "abort", lambda *_: None)
    m = lab.organisation("m.example")
    link = RawPeer.connect(b.endpoint, m.ip, receive_buffer=4096)
    link.hello()
    assert m.prove(link, "b.example").reason == 0
    (session,) = (one for one in b.sessions() if one.purpose is Purpose.ACCEPTED)
    for number in count(1):
        block = b"".join(
            encode_record(text_message("mallory@m.example", "bob@b.example", "x", number * 1000 + at))
            for at in range(200)
        )
        try:
            link.send(block)
        except OSError:
            break
        if session._unwritten > 4 * limit or session.port.closed:
            break
    assert session.port.closed == guarded
    assert (session._unwritten <= 2 * limit) == guarded
    link.close()


@guarded
def test_answers_that_nobody_acknowledges(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has thousands of requests refused and acknowledges nothing. Check: what is kept has a bound."""
    monkeypatch.setattr(hub, "UNACKNOWLEDGED_AT_MOST", 500 if guarded else 1 << 30)
    b = lab.router("b.example")
    m = lab.organisation("m.example")
    link = m.connect(b, hello=False)
    link.hello(capabilities=(Capability.ACKNOWLEDGE,))
    assert m.prove(link, "b.example").reason == 0
    (session,) = (one for one in b.sessions() if one.purpose is Purpose.ACCEPTED)
    for at in range(0, 1000, 100):
        with suppress(OSError):
            link.send(*(text_message("x@other.example", "bob@b.example", "x", at + n) for n in range(100)))
        link.drain()
    assert session.port.closed == guarded
    if guarded:
        closed = link.until_closed()
        assert closed is not None
        assert closed.reason == Reason.UNREAD_ANSWERS.code
    else:
        assert len(session.port.unacked) >= 1000
