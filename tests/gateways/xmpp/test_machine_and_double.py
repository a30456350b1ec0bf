"""The stream machine against a server that was written without it, over sockets and in TLS."""

from __future__ import annotations

import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING, cast

import pytest

from imxrouter.gateways.xmpp.effects import Handled, StartTls, TlsFollows
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.steps import Step, StreamRole
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.model.vocabulary import Reason
from tests.doubles.raw_peer import PATIENCE_S
from tests.doubles.router_rig import fresh_address, issued
from tests.doubles.tls_peer import TlsSocket
from tests.doubles.xmpp import XmppPeer
from tests.doubles.xmpp_server import Conduct, XmppServer
from tests.gateways.xmpp.pipe import SECRET, Party, chance

if TYPE_CHECKING:
    from collections.abc import Callable

    from imxrouter.tls.own import OwnCertificate

A, B = "a.example", "b.example"
OUT = f"<message from='x@{A}' to='y@{B}' id='1'><body>hi</body></message>".encode()
BACK = f"<message from='y@{B}' to='x@{A}' id='1'><body>hi</body></message>".encode()


class Driver:
    """Drives a machine over a blocking socket."""

    def __init__(
        self, role: StreamRole, sock: socket.socket, terms: StreamTerms, certificate: OwnCertificate | None
    ) -> None:
        own, other = (A, B) if role is StreamRole.S2S_OUT else ("", "")
        self.party = Party(StreamMachine(role, terms, own, other, monotonic(), chance()), now=monotonic())
        self._sock, self._certificate = sock, certificate
        self.party.perform(self.party.machine.start())

    def until(self, what: Callable[[Party], object]) -> None:
        """Go on until something holds."""
        party = self.party
        until = monotonic() + PATIENCE_S
        while not what(party):
            assert monotonic() < until, f"after {party.seen}"
            self.flush()
            if what(party):
                return
            self._sock.settimeout(PATIENCE_S)
            data = self._sock.recv(65536)
            assert data, f"the connection ended after {party.seen}"
            party.now = monotonic()
            party.take(data)
        self.flush()

    def flush(self) -> None:
        """Write what is to be written, and go into TLS where that is wanted."""
        party = self.party
        self._sock.sendall(bytes(party.out))
        party.out.clear()
        if party.tls_wanted:
            party.tls_wanted = False
            name = next((one.server_name for one in party.seen if isinstance(one, StartTls)), None)
            assert name or party.of(TlsFollows)
            secured = TlsSocket(self._sock, self._certificate, name, alpn=b"", asks=name is None)
            self._sock = cast("socket.socket", secured)
            party.perform(party.machine.encrypted(party.now))
            self.flush()

    def close(self) -> None:
        """Cut it."""
        self._sock.close()


def terms(mode: str, **more: object) -> StreamTerms:
    """Terms for one of the modes."""
    rule = TlsRule.NONE if mode == "clear" else TlsRule.REQUIRED
    certain = mode in {"external", "refused"}
    return StreamTerms(
        rule, serves=lambda domain: domain == A, external=lambda _: certain, dialback=lambda _: True, **more,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["clear", "starttls", "refused", "external"])
def test_we_open(mode: str) -> None:
    """It takes us, by claim or by certificate, and what we write arrives."""
    external = {"external": "offer", "refused": "refuse"}.get(mode, "none")
    conduct = Conduct(None if mode == "clear" else issued(B), external=external, sm=True)  # type: ignore[arg-type]
    with XmppServer(B, fresh_address(), conduct) as server:
        sock = socket.create_connection(server.endpoint)
        driver = Driver(StreamRole.S2S_OUT, sock, terms(mode), issued(A))
        machine = driver.party.machine
        driver.until(lambda _: machine.step is Step.OPEN)
        assert driver.party.took_external is (mode == "external")
        if mode != "external":
            driver.party.claim()
            driver.until(lambda _: machine.may_write(A, B))
        driver.party.perform(machine.stanzas([OUT], [1], monotonic()))
        driver.flush()
        assert server.wait_for_stanza().raw == OUT
        if mode == "external":
            driver.until(lambda party: party.of(Handled) == [Handled((1,), True)])
        driver.party.perform(machine.close(Reason.IDLE, monotonic()))
        driver.party.perform(machine.settle(0))
        driver.until(lambda _: machine.close_received is not None)
        driver.close()


@pytest.mark.parametrize("mode", ["clear", "starttls", "refused", "external"])
def test_it_opens(mode: str) -> None:
    """We take it, by claim or by certificate, and what it writes arrives."""
    ours, theirs = socket.socketpair()
    peer = XmppPeer(theirs, accepts=False)
    driver = Driver(StreamRole.S2S_IN, ours, terms(mode), issued(A))
    driver.party.grants = mode == "external"
    if mode == "clear":
        peer.header(B, A)
        driver.until(lambda party: party.machine.step is Step.OPEN)
        peer.expect_header()
        assert b"dialback" in peer.expect("features").raw
    else:
        _negotiate(peer, driver, mode)
    if mode != "external":
        peer.claim(B, A, SECRET)
        driver.until(lambda party: bool(party.machine.pairs))
        assert peer.result() == "valid"
    peer.send(BACK)
    driver.until(lambda party: party.stanzas)
    assert driver.party.stanzas == [BACK]
    peer.send("<bogus xmlns='urn:bogus'/>")
    driver.until(lambda party: party.drop)
    driver.close()
    assert peer.error() is Condition.UNSUPPORTED_STANZA_TYPE
    peer.close()


def _negotiate(peer: XmppPeer, driver: Driver, mode: str) -> None:
    """Their half runs in a thread, ours here: a handshake of TLS needs both."""
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(peer.open(B, A, issued(B))))
    thread.start()
    wanted = 3 if mode == "external" else 2
    driver.until(lambda party: party.headers == wanted and party.machine.step is Step.OPEN)
    if mode == "refused":
        driver.until(lambda party: party.machine.auth_failures)
    thread.join(PATIENCE_S)
    assert done == [mode == "external"]
