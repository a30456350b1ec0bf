"""What Mallory's server may say on streams of XMPP, and when (RFC 6120 section 13).

`docs/specs/attacks.md` lists every attack with its check. What single elements may do to a stream is attacked
without sockets as well, in `tests/gateways/xmpp`.
"""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.app.xmpp import StreamRules
from imxrouter.gateways.xmpp import claiming, negotiation, stream, xml
from imxrouter.gateways.xmpp.effects import VerifyIn
from imxrouter.gateways.xmpp.heard import AFTER
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.pairs import Pairs, Verdict
from imxrouter.gateways.xmpp.stream import Stream
from imxrouter.gateways.xmpp.terms import TlsRule
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.checks import Checks
from tests.attacks.seams import guarded
from tests.attacks.stream_routers import (
    a_proved_stream,
    a_server,
    refused,
    wait_for_message,
    wait_for_the_end,
    xmpp_router,
)
from tests.doubles.raw_peer import RawListener
from tests.doubles.router_rig import Lab, fresh_address
from tests.doubles.xmpp import TLS
from tests.doubles.xmpp_server import Conduct

A, B, M = "a.example", "b.example", "m.example"
BOB = f"bob@{B}"
STARTTLS = f"<starttls xmlns='{TLS}'/>"
ERROR = "<stream:error><{} xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{}</{}></stream:error></stream:stream>"


def message(from_: str, to: str = BOB) -> str:
    """A message."""
    return f"<message from='{from_}' to='{to}' id='1' type='chat'><body>pay mallory</body></message>"


def anybody_may_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the stream's check of who speaks away."""
    monkeypatch.setattr(Pairs, "judge", lambda *_: Verdict.GOOD)


two_walls = pytest.mark.parametrize(
    ("stream_checks", "switch_checks"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "switch alone", "stream alone", "check removed"],
)  # fmt: skip


@two_walls
def test_stanza_before_authentication(
    lab: Lab, stream_checks: bool, switch_checks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory writes as Alice on a stream on which nothing is proved.

    Check: the pair of domains is proved on this very stream, and the source on the link that it is to the
    switch. Either alone is enough.
    """
    if not stream_checks:
        anybody_may_speak(monkeypatch)
    b, where = xmpp_router(lab, B, checks=Checks(source=switch_checks))
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.open(M, B)
        peer.send(message(f"alice@{A}"))
        if stream_checks:
            refused(peer, b, Condition.NOT_AUTHORIZED)
        if not stream_checks and not switch_checks:
            wait_for_message(lab, b, BOB)
        else:
            peer.close()
            wait_for_the_end(lab, b)
            assert b.inbox(BOB) == []


@two_walls
def test_forged_sender_on_a_stream(
    lab: Lab, stream_checks: bool, switch_checks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory proves his own domain on a stream and writes as Alice.

    Check: the sender's domain is proved on this very stream, and the source on the link that it is to the
    switch. Either alone is enough.
    """
    if not stream_checks:
        anybody_may_speak(monkeypatch)
    b, where = xmpp_router(lab, B, checks=Checks(source=switch_checks))
    with a_server(lab, M) as server:
        peer = a_proved_stream(server, where, B)
        peer.send(message(f"alice@{A}"))
        if stream_checks:
            refused(peer, b, Condition.INVALID_FROM)
        if not stream_checks and not switch_checks:
            wait_for_message(lab, b, BOB)
            assert b.inbox(BOB) == [(f"alice@{A}", "pay mallory")]
        else:
            peer.send_or_gone(message(f"mallory@{M}"))
            peer.close()
            wait_for_the_end(lab, b)
            assert all(sender != f"alice@{A}" for sender, _ in b.inbox(BOB))


@guarded
def test_inside_behaviour_on_the_outside(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory opens a stream to a domain outside, as if he were a server behind us.

    Check: the door at which a stream comes in says which domains it may be to.
    """
    if not guarded:
        monkeypatch.setattr(StreamRules, "_serves", lambda *_: True)
    b, where = xmpp_router(lab, B)
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.header(M, "c.example")
        peer.expect_header()
        if guarded:
            refused(peer, b, Condition.HOST_UNKNOWN)
        else:
            peer.expect("features")
        peer.close()


@guarded
def test_bytes_in_clear_behind_starttls(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody on the way adds a header in clear behind `<starttls/>`, to be read as if it came in TLS.

    Check: nothing may stand there, and what is read in TLS begins anew. Either alone is enough.
    """
    if not guarded:
        monkeypatch.setattr(negotiation, "_before_tls", lambda _stream: [])
        begin = Stream.begin

        def with_the_rest(one: Stream) -> Any:
            rest = one._parser.rest()
            effects = begin(one)
            one._parser._tail.add(rest)
            return effects

        monkeypatch.setattr(Stream, "begin", with_the_rest)
    b, where = xmpp_router(lab, B, certificates=[(B,)])
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.greet(M, B)
        opening = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"
        peer.send(STARTTLS, f"{opening} from='{M}' to='{B}' version='1.0'>")
        if guarded:
            refused(peer, b, Condition.NOT_WELL_FORMED)
        else:
            peer.expect("proceed")
            peer.secure(None, B)
            peer.send(" ")
            assert peer.expect_header().to == M  # the answer to what was said in clear
        peer.close()


@guarded
def test_another_domain_after_tls(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory begins a stream as himself, and goes on as Alice when it begins anew in TLS.

    Check: the headers of one stream are from and to the same domains.
    """
    if not guarded:
        monkeypatch.setattr(negotiation, "_changed", lambda *_: None)
    b, where = xmpp_router(lab, B, certificates=[(B,)])
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.greet(M, B)
        peer.start_tls(B)
        peer.header(A, B)
        peer.expect_header()
        if guarded:
            refused(peer, b, Condition.INVALID_FROM)
        else:
            peer.expect("features")
        peer.close()


@guarded
def test_stripped_starttls(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody on the way takes the offer of TLS out of the features, and refuses it when it is asked for.

    Check: where TLS is needed nothing is said in clear, whatever is offered.
    """
    if not guarded:
        monkeypatch.setattr(StreamRules, "_tls", lambda *_, **__: TlsRule.OFFERED)
    b, _ = xmpp_router(lab, B, tls="required", certificates=[(B,)])
    with a_server(lab, M) as server:
        outcome = b.send(BOB, f"mallory@{M}", "my card number")
        if guarded:
            assert outcome.outcome().reason is Reason.WEAKER_THAN_POLICY
            assert not server.claimed
            assert not server.stanzas
        else:
            assert b"my card number" in server.wait_for_stanza().raw


@guarded
def test_entities(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory declares entities, each ten times the one before.

    Check: a document type ends the stream, and so does anything but a tag outside of stanzas. Either alone is
    enough.
    """
    if not guarded:
        monkeypatch.setattr(xml, "refuser", lambda _words: lambda *_: None)
        monkeypatch.setattr(xml.StreamParser, "_at_border", lambda *_: None)
    b, where = xmpp_router(lab, B)
    with a_server(lab, M) as server:
        peer = server.connect(where)
        declared = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10 if n else 'lol'}'>" for n in range(9))
        opening = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"
        document = f"<?xml version='1.0'?><!DOCTYPE x [{declared}]>"
        peer.send(document, f"{opening} from='{M}' to='{B}' version='1.0'>")
        peer.expect_header()
        if guarded:
            refused(peer, b, Condition.RESTRICTED_XML)
        else:
            peer.expect("features")
        peer.close()


@guarded
def test_stanza_without_end(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, of whom nothing is proved, begins a stanza and never ends it.

    Check: so many bytes of one stanza are kept before a proof.
    """
    if not guarded:
        monkeypatch.setattr(stream, "BEFORE", AFTER)
    b, where = xmpp_router(lab, B)
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.open(M, B)
        peer.send(f"<message from='x@{M}' to='{BOB}'><body>", "x" * 100_000)
        if guarded:
            refused(peer, b, Condition.POLICY_VIOLATION)
        else:
            lab.wait_until(
                lambda: any(one.bytes_in > 100_000 for one in b.router.hub.sessions.values()), "all is kept"
            )
        peer.close()


@guarded
def test_questions_without_end(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory proves nothing and asks about keys for ever. Check: so many questions before a proof."""
    if not guarded:
        monkeypatch.setattr(claiming, "_question", lambda _stream, db: [VerifyIn(db)])
    b, where = xmpp_router(lab, B)
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.open(M, B)
        peer.send(f"<db:verify from='{M}' to='{B}' id='x'>0</db:verify>" * 300)
        if guarded:
            refused(peer, b, Condition.POLICY_VIOLATION)
        else:
            for _ in range(300):
                assert peer.find("verify").attributes["type"] == "invalid"
        peer.close()


@guarded
def test_a_header_byte_by_byte(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory takes his time for the first tag of a stream. Check: a header is due within a time."""
    if not guarded:
        monkeypatch.setattr(StreamMachine, "_look_at_timers", lambda *_: [])
    b, where = xmpp_router(lab, B, settings={"dial.hello_timeout_s": 1.0})
    with a_server(lab, M) as server:
        peer = server.connect(where)
        peer.send("<stream:str")
        if guarded:
            peer.expect_header()
            refused(peer, b, Condition.CONNECTION_TIMEOUT)
        else:
            with pytest.raises(TimeoutError):
                peer.until_closed(within_s=3.0)
            assert b.sessions()
        peer.close()


def test_see_other_host_is_not_followed(lab: Lab) -> None:
    """Mallory's server sends us elsewhere: that is a failure of his server, and nobody else is dialled."""
    ip = fresh_address()
    elsewhere = RawListener(ip)
    there = f"{ip}:{elsewhere.endpoint[1]}"
    error = ERROR.format("see-other-host", there, "see-other-host")
    b, _ = xmpp_router(lab, B)
    with a_server(lab, M, Conduct(instead={"features": error})):
        assert not b.send(BOB, f"mallory@{M}").outcome().ok
        assert elsewhere.take_waiting() == []
    elsewhere.close()
