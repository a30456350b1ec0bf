"""Listening and opening over real loopback sockets."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from random import Random
from typing import Any, cast

import pytest
from twisted.internet.interfaces import IListeningPort, IProtocol, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory

from imxrouter.discovery.guard import DialGuard
from imxrouter.discovery.records import Target
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.connector import ConnectFailed, Connector, DialTerms
from imxrouter.transport.listener import CannotListen, bound_socket, listen, listen_on
from imxrouter.transport.opening import TcpOpener
from tests.doubles.openings import FinderDouble
from tests.doubles.reactor_thread import ReactorThread

Events = queue.SimpleQueue[tuple[str, Any]]
#: Ports that others may have in IPv4, one after the other.
_TRIES = 50


class Noting(Protocol):
    """Writes down what happens to a connection."""

    transport: ITCPTransport

    def __init__(self, events: Events) -> None:
        self._events = events

    def connectionMade(self) -> None:
        """Note whether the transport waits to batch."""
        self._events.put(("made", self.transport.getTcpNoDelay()))

    def dataReceived(self, data: bytes) -> None:
        """Note it and echo it."""
        self._events.put(("data", data))
        self.transport.write(data.upper() if data.islower() else b"")


class Rig:
    """Listening ports in the reactor of the session, closed after the test."""

    def __init__(self, thread: ReactorThread) -> None:
        self.thread = thread
        self.events: Events = queue.SimpleQueue()
        self._ports: list[IListeningPort] = []

    def factory(self) -> ServerFactory:
        """Make the factory whose protocols write into `events`."""
        made = ServerFactory()
        made.noisy = False
        made.protocol = lambda: Noting(self.events)
        return made

    def listen(self, host: str, port: int = 0, *, reuse_port: bool = False) -> int:
        """Listen; return the port."""
        reactor = cast("Any", self.thread.reactor)
        opened = self.thread.call(listen_on, reactor, (host, port), self.factory(), reuse_port=reuse_port)
        self._ports.append(opened)
        return int(opened.getHost().port)

    def listen_to_both(self) -> int:
        """Listen to IPv6 and to IPv4 on one port; return it.

        The system gives one that is free for IPv6: any program with an IPv4 address of this machine may have
        it, so that a second try, or a third, is needed.
        """
        for _ in range(_TRIES):
            port = self.listen("::")
            with suppress(CannotListen):
                return self.listen("0.0.0.0", port)
        pytest.fail(f"not one of {_TRIES} ports is free for both")

    def close(self) -> None:
        """Stop listening."""
        for port in self._ports:
            self.thread.call(cast("Any", port).stopListening)


@pytest.fixture
def rig(reactor_thread: ReactorThread) -> Iterator[Rig]:
    """Give a rig."""
    made = Rig(reactor_thread)
    yield made
    made.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_accepted_connections_do_not_wait_to_batch(rig: Rig, host: str) -> None:
    """TCP_NODELAY is on from the first byte."""
    port = rig.listen(host)
    with socket.create_connection((host, port), timeout=30) as link:
        link.sendall(b"x")
        assert rig.events.get(timeout=30) == ("made", 1)
        assert rig.events.get(timeout=30) == ("data", b"x")


def test_both_families_listen_on_one_port(rig: Rig) -> None:
    """`[::]` leaves IPv4 to `0.0.0.0`, whatever the system's default."""
    port = rig.listen_to_both()
    for host in ("::1", "127.0.0.1"):
        with socket.create_connection((host, port), timeout=30):
            assert rig.events.get(timeout=30)[0] == "made"


def test_a_port_that_another_has_in_ipv4_is_passed_over(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rig of these tests: the first port that the system gives is somebody's at one IPv4 address."""
    given: list[int] = []
    with ExitStack() as others:
        listen_on_one = rig.listen

        def taken(host: str, port: int = 0, *, reuse_port: bool = False) -> int:
            found = listen_on_one(host, port, reuse_port=reuse_port)
            if host == "::" and not given:
                other = others.enter_context(closing(socket.socket()))
                other.bind(("127.0.0.77", found))
                other.listen()
            given.append(found)
            return found

        monkeypatch.setattr(rig, "listen", taken)
        port = rig.listen_to_both()
    assert given[0] != port
    assert given[1:] == [port, port]


def test_several_listen_on_one_port_if_they_share_it(rig: Rig) -> None:
    """The system gives each a part of the connections."""
    port = rig.listen("127.0.0.1", reuse_port=True)
    rig.listen("127.0.0.1", port, reuse_port=True)
    with socket.create_connection(("127.0.0.1", port), timeout=30):
        assert rig.events.get(timeout=30)[0] == "made"


@pytest.mark.parametrize(("host", "words"), [("127.0.0.1", "127.0.0.1:"), ("::1", r"\[::1\]:")])
def test_a_port_in_use_is_named(rig: Rig, host: str, words: str) -> None:
    """With what to do about it."""
    port = rig.listen(host)
    with pytest.raises(CannotListen, match=f"{words}{port}.*another program listens") as caught:
        rig.listen(host, port)
    assert str(port) in caught.value.address


def test_listening_on_all_is_all_or_nothing(rig: Rig) -> None:
    """Half a router is worse than none."""
    taken = rig.listen("127.0.0.1")
    with closing(bound_socket(("127.0.0.1", 0))) as spare:
        free = spare.getsockname()[1]
    reactor = cast("Any", rig.thread.reactor)
    endpoints = [("127.0.0.1", free), ("127.0.0.1", taken)]
    with pytest.raises(CannotListen):
        rig.thread.call(listen, reactor, endpoints, rig.factory())
    rig.thread.call(lambda: None)
    rig.listen("127.0.0.1", free)


def connector(rig: Rig, port: int, hosts: list[str]) -> Connector:
    """Make a connector on the real reactor that finds these addresses."""
    finder = FinderDouble(Target("one.b.example", port), hosts={"one.b.example": hosts})
    reactor = cast("Any", rig.thread.reactor)
    return Connector(
        reactor, finder, DialGuard(allow=["127.0.0.0/8", "::1/128"]), TcpOpener(reactor), Random(1)
    )


def test_a_connection_is_opened_past_an_address_that_refuses(rig: Rig) -> None:
    """Real sockets: refused at `::1`, taken at 127.0.0.1, TCP_NODELAY on, bytes both ways."""
    port = rig.listen("127.0.0.1")
    opening: Events = queue.SimpleQueue()
    make = lambda: cast("IProtocol", Noting(opening))  # noqa: E731 - a factory of one line
    connected = rig.thread.call(connector(rig, port, ["::1", "127.0.0.1"]).connect, Domain("b.example"), make)
    assert (connected.ip, connected.port) == ("127.0.0.1", port)
    assert opening.get(timeout=30) == ("made", 1)
    rig.thread.call(connected.protocol.transport.write, b"hello")
    assert rig.events.get(timeout=30)[0] == "made"
    assert rig.events.get(timeout=30) == ("data", b"hello")
    assert opening.get(timeout=30) == ("data", b"HELLO")
    rig.thread.call(connected.protocol.transport.abortConnection)


def test_losers_are_closed_and_hear_nothing(rig: Rig) -> None:
    """Two pins that both answer: one is used, at most one connection lives."""
    port = rig.listen("127.0.0.1")
    opening: Events = queue.SimpleQueue()
    make = lambda: cast("IProtocol", Noting(opening))  # noqa: E731 - a factory of one line
    pins = (("127.0.0.1", port), ("127.0.0.2", port))
    dial = connector(rig, port, []).connect
    connected = rig.thread.call(dial, Domain("b.example"), make, DialTerms(pins=pins))
    assert connected.ip == "127.0.0.1"
    assert opening.get(timeout=30)[0] == "made"
    assert opening.empty()
    rig.thread.call(connected.protocol.transport.abortConnection)


def test_nobody_listening_is_a_refused_connection(rig: Rig) -> None:
    """The word of the operating system becomes ours."""
    with closing(bound_socket(("127.0.0.1", 0))) as spare:
        port = spare.getsockname()[1]
    make = lambda: cast("IProtocol", Protocol())  # noqa: E731 - a factory of one line
    with pytest.raises(ConnectFailed) as caught:
        rig.thread.call(connector(rig, port, ["127.0.0.1"]).connect, Domain("b.example"), make)
    assert caught.value.reason is Reason.CONNECTION_REFUSED
