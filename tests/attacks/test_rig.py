"""The laboratory itself: what is honest passes."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from typing import Any, cast

from tests.doubles.raw_peer import PATIENCE_S, text_message
from tests.doubles.router_rig import Lab, fresh_address
from tests.doubles.xmpp import XmppPeer
from tests.doubles.xmpp_server import XmppServer


class Hesitant:
    """A listening socket whose thread loses its turn between the look at the number and the call with it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self.looked, self.go = sock, threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def accept(self) -> tuple[socket.socket, None]:
        """Take a connection of whatever socket has the number by then."""
        number = self._sock.fileno()
        self.looked.set()
        assert self.go.wait(PATIENCE_S)
        found = ctypes.CDLL(None, use_errno=True).accept(number, None, None)
        if found < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return socket.socket(fileno=found), None


def test_a_server_that_has_ended_takes_no_connection_of_the_next() -> None:
    """The next one's socket may have the same number: the thread of the first has to be over by then."""
    first = XmppServer("b.example", fresh_address())
    hesitant = Hesitant(first._sock)
    first._sock = cast("socket.socket", hesitant)
    with first:
        assert hesitant.looked.wait(PATIENCE_S)
        threading.Timer(0.2, hesitant.go.set).start()
    with socket.create_server((fresh_address(), 0)) as second:
        peer = XmppPeer.connect(second.getsockname(), fresh_address())
        first._taking.join(PATIENCE_S)
        second.settimeout(PATIENCE_S)
        second.accept()[0].close()
        peer.close()
    assert first.peers == []


def test_two_real_routers_exchange_messages(lab: Lab) -> None:
    """Look-up, connection, claim, verification, delivery, answer; and the same way back."""
    a, b = lab.router("a.example"), lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example", "one").outcome().ok
    assert b.send("bob@b.example", "alice@a.example", "two").outcome().ok
    assert b.inbox("bob@b.example") == [("alice@a.example", "one")]
    assert a.inbox("alice@a.example") == [("bob@b.example", "two")]


def test_a_scripted_organisation_proves_itself_and_is_heard(lab: Lab) -> None:
    """What an attacker is denied, an honest peer of the same make has."""
    b, m = lab.router("b.example"), lab.organisation("m.example")
    link = m.proved_link(b)
    link.send(text_message("mallory@m.example", "bob@b.example", "good day"))
    assert link.outcome().ok
    assert b.inbox("bob@b.example") == [("mallory@m.example", "good day")]
