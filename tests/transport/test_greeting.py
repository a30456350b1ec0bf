"""One hello and no more: every end of it, once, in time, with an orderly close."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from imxrouter.model.vocabulary import Reason
from imxrouter.transport.greeting import Greeted, Greeting
from imxrouter.wire.control import Close, Control, Hello, Ping, decode_control
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import MAX_RECORD_BEFORE_PROOF
from imxrouter.wire.record import decode_record

LIMIT_S = 5.0


class Rig:
    """A greeting on a connection in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport: Any = StringTransport()  # type: ignore[no-untyped-call]
        self.greeting = Greeting(self.clock, LIMIT_S, "test", lambda count: bytes(range(count)))
        self.results: list[Greeted] = []
        self.greeting.done.addCallback(self.results.append)
        cast("Any", self.greeting).makeConnection(self.transport)

    def take(self, *items: Control | bytes) -> None:
        """Let bytes come, in one piece."""
        parts = [item if isinstance(item, bytes) else item.encode() for item in items]
        self.greeting.dataReceived(b"".join(parts))

    def lose(self) -> None:
        """End the connection."""
        self.greeting.connectionLost()

    @property
    def said(self) -> list[Control | None]:
        """What was written."""
        return [decode_control(decode_record(raw)) for raw in RecordSplitter().feed(self.transport.value())]

    def result(self) -> Greeted:
        """The one result; the connection is to be closed first, and no timer is left."""
        assert self.results == []
        assert self.transport.disconnecting
        self.lose()
        (greeted,) = self.results
        assert self.clock.getDelayedCalls() == []
        return greeted


def test_a_hello_is_enough() -> None:
    """Ours is said first, theirs is told, and a close without blame ends the link."""
    rig = Rig()
    (ours,) = rig.said
    assert isinstance(ours, Hello)
    assert (ours.versions, ours.software, ours.capabilities) == ((1,), "test", ())
    rig.clock.advance(2)
    rig.take(Hello((1, 2), (1, 99), 4096, software="theirs"), Ping(bytes(8)), Close(Reason.BUSY.code))
    greeted = rig.result()
    assert greeted.hello is not None
    assert (greeted.reason, greeted.version, greeted.hello.software) == (Reason.NONE, 1, "theirs")
    assert (greeted.capabilities, greeted.seconds, greeted.by_peer) == (["duplicates", "99"], 2, False)
    assert [type(one) for one in rig.said] == [Hello, Close]
    close = rig.said[1]
    assert isinstance(close, Close)
    assert close.reason == Reason.NONE.code


@pytest.mark.parametrize(
    ("items", "reason", "note", "ours"),
    [
        ([Hello((3,))], Reason.VERSION_MISMATCH, "versions offered: 3", True),
        ([b"220 smtp.b.example ESMTP\r\n"], Reason.PROTOCOL_ERROR, "record of", True),
        ([b"\x15\x03\x01\x00\x02\x02\x28"], Reason.PROTOCOL_ERROR, "record of", True),
        ([b"\x00\x00\x05\x00"], Reason.PROTOCOL_ERROR, str(MAX_RECORD_BEFORE_PROOF), True),
        ([b"\x00\x00\x00\x01\x00"], Reason.PROTOCOL_ERROR, "header alone", True),
        ([Ping(bytes(8))], Reason.PROTOCOL_ERROR, "not legal", True),
        ([Close(Reason.OVER_CAP.code, 0, 30, None, "full")], Reason.OVER_CAP, "full", False),
        ([Close(0)], Reason.LINK_LOST, "", False),
        ([Close(65000, 0, None, None, "?")], Reason.PEER_FAILED, "?", False),
    ],
)
def test_what_is_no_hello(items: list[Any], reason: Reason, note: str, ours: bool) -> None:
    """It ends at once; the other side is told why unless it said so itself."""
    rig = Rig()
    rig.take(*items)
    greeted = rig.result()
    assert (greeted.reason, greeted.hello, greeted.version) == (reason, None, 0)
    assert note in greeted.note
    assert greeted.by_peer is not ours
    assert greeted.retry_after_s == (30 if reason is Reason.OVER_CAP else 0)
    told = [one.reason for one in rig.said if isinstance(one, Close)]
    assert told == ([reason.code] if ours else [])


def test_evidence_is_cut() -> None:
    """The first bytes are kept over several reads, and not all of them."""
    rig = Rig()
    rig.take(b"\x00")
    rig.take(b"\x00\x04\x00" + bytes(40))
    rig.take(b"x" * 500)
    rig.clock.advance(LIMIT_S)
    assert rig.result().first_bytes == b"\x00\x00\x04\x00" + bytes(40) + b"x" * 20


def test_silence_ends() -> None:
    """At the limit and not before; whoever does not even let us close is cut a moment later."""
    rig = Rig()
    rig.clock.advance(LIMIT_S - 0.1)
    assert not rig.transport.disconnecting
    rig.clock.advance(0.1)
    assert rig.transport.disconnecting
    assert not rig.transport.disconnected
    rig.clock.advance(1)
    assert rig.transport.disconnected
    rig.lose()
    (greeted,) = rig.results
    assert (greeted.reason, greeted.seconds) == (Reason.HELLO_TIMEOUT, LIMIT_S)


def test_an_end_without_a_word() -> None:
    """Said in the router's own word for it."""
    rig = Rig()
    rig.lose()
    (greeted,) = rig.results
    assert (greeted.reason, greeted.by_peer) == (Reason.LINK_LOST, False)
    assert rig.clock.getDelayedCalls() == []


RECORDS = st.sampled_from(
    [Hello((1,)), Hello((2,)), Ping(bytes(8)), Close(Reason.OVER_CAP.code), Close(0)]
).map(lambda record: record.encode())


@given(st.lists(st.binary(max_size=60) | RECORDS, max_size=6))
def test_whatever_comes_gives_one_result(pieces: list[bytes]) -> None:
    """Never an exception, never two results, and a hello only with one."""
    rig = Rig()
    for piece in pieces:
        rig.take(piece)
    rig.clock.advance(LIMIT_S)
    rig.clock.advance(1)
    rig.lose()
    (greeted,) = rig.results
    assert (greeted.reason is Reason.NONE) == (greeted.hello is not None)
    assert greeted.seconds <= LIMIT_S
    assert rig.clock.getDelayedCalls() == []
