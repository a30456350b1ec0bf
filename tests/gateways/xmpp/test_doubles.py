"""The scripted server against itself, so that what is tested with it is tested with a right one."""

from __future__ import annotations

import os
import select
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from imxrouter.gateways.xmpp.names import Condition
from tests.doubles.router_rig import fresh_address, issued
from tests.doubles.tls_peer import TlsSocket
from tests.doubles.xmpp import XmppPeer, key_for
from tests.doubles.xmpp_server import Conduct, XmppServer

A, B = "a.example", "b.example"
HELLO = f"<message from='x@{A}' to='y@{B}' id='1'><body>hi</body></message>"


def test_a_key_is_that_of_the_vectors() -> None:
    """XEP-0185 section 3."""
    key = key_for(b"s3cr3tf0rd14lb4ck", "xmpp.example.com", "example.org", "D60000229F")
    assert key == "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"


@pytest.mark.parametrize("mode", ["clear", "starttls", "refused", "external", "direct"])
def test_a_stream_opens_and_carries_a_stanza(mode: str) -> None:
    """In each mode, and the other side keeps what came."""
    certificate = None if mode == "clear" else issued(B)
    external = {"external": "offer", "direct": "offer", "refused": "refuse"}.get(mode, "none")
    conduct = Conduct(certificate, direct=mode == "direct", external=external)  # type: ignore[arg-type]
    with XmppServer(B, fresh_address(), conduct) as server:
        peer = XmppPeer.connect(server.endpoint)
        proved = peer.open(A, B, None if mode == "clear" else issued(A), direct=mode == "direct")
        assert proved is (external == "offer")
        if not proved:
            peer.claim(A, B, b"secret")
            assert peer.result() == "valid"
            assert server.claimed == [(A, B)]
        peer.send(HELLO)
        assert server.wait_for_stanza().raw == HELLO.encode()
        peer.end()
        peer.until_closed()
        peer.close()


def test_a_question_is_answered_by_its_key() -> None:
    """And anything else is told to be wrong."""
    with XmppServer(A, fresh_address()) as server:
        peer = XmppPeer.connect(server.endpoint)
        peer.open(B, A)
        assert peer.ask(B, A, "an id", key_for(server.secret, B, A, "an id")) == "valid"
        assert peer.ask(B, A, "an id", key_for(b"another", B, A, "an id")) == "invalid"
        assert [one[:3] for one in server.asked] == [(B, A, "an id")] * 2
        peer.close()


def test_it_misbehaves_as_told() -> None:
    """What is said instead comes, and an error is read."""
    with XmppServer(B, fresh_address(), Conduct(instead={"features": ERROR})) as server:
        peer = XmppPeer.connect(server.endpoint)
        peer.header(A, B)
        peer.expect_header()
        peer.send("</stream:stream>")
        assert peer.error() is Condition.HOST_UNKNOWN
        peer.close()


ERROR = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"


def test_who_waits_on_a_closed_socket_reads_nothing_of_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL has the number of the socket alone, which the next socket of the process gets."""
    ours, theirs = socket.socketpair()
    near, far = socket.socketpair()
    number = ours.fileno()
    with ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(TlsSocket, theirs, issued(B), None)
        tls = TlsSocket(ours, None, B)
        other = accepting.result()

    def closed_meanwhile(*_waits: object) -> tuple[list[object], list[object], list[object]]:
        tls.close()
        os.dup2(near.fileno(), number)
        far.sendall(b"for somebody else")
        return [ours], [], []

    monkeypatch.setattr(select, "select", closed_meanwhile)
    with pytest.raises(ConnectionResetError):
        tls.recv(100)
    monkeypatch.undo()
    near.setblocking(False)
    assert near.recv(100) == b"for somebody else"
    os.close(number)
    other.close()
    for one in (near, far):
        one.close()
