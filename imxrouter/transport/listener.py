"""Listening for TCP connections on configured addresses.

The sockets are made here and not by the reactor: only so can several processes share a port, and `[::]` and
`0.0.0.0` be listened on side by side.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorSocket
from twisted.internet.protocol import Factory

from imxrouter.model.errors import RouterError
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Door
from imxrouter.transport.strangers import StrangersTurns, adopt

_ADVICE = {
    errno.EADDRINUSE: "another program listens there; stop it, or configure another port",
    errno.EACCES: "ports below 1024 need the right CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine has no IPv6",
}


class LinkFactory(Factory):
    """Makes a link session for each connection that comes in at one door."""

    noisy = False

    def __init__(self, hub: Hub, door: Door) -> None:
        self._hub = hub
        self._door = door

    def buildProtocol(self, addr: Any) -> Any:
        """Called by Twisted; None closes the connection, before anything is made for it."""
        if self._hub.turns_away(addr.host, self._door):
            return None
        return self._hub.accept(self._door)


class CannotListen(RouterError):
    """A configured address cannot be listened on.

    Attributes:
        address: `192.0.2.1:6490` or `[2001:db8::1]:6490`.
    """

    def __init__(self, address: str, error: OSError) -> None:
        words = os.strerror(error.errno) if error.errno else str(error)
        advice = _ADVICE.get(error.errno or 0, "")
        super().__init__(f"cannot listen on {address}: {words}{f' ({advice})' if advice else ''}")
        self.address = address


def listen_on(
    reactor: IReactorSocket,
    endpoint: tuple[str, int],
    factory: IProtocolFactory,
    *,
    reuse_port: bool = False,
    backlog: int = 1024,
    turns: StrangersTurns | None = None,
) -> IListeningPort:
    """Listen on one address.

    Args:
        reactor: accepts the connections.
        endpoint: IP address and port; port 0 takes a free one.
        factory: makes the protocols.
        reuse_port: let other processes of this user listen on the same port (SO_REUSEPORT).
        backlog: connections that the system may keep waiting.
        turns: shares out what strangers may use of a turn of the reactor; None: those of this address alone.

    Raises:
        CannotListen: the system refuses.
    """
    turns = StrangersTurns(reactor) if turns is None else turns
    listening = bound_socket(endpoint, reuse_port=reuse_port, backlog=backlog)
    try:
        return adopt(reactor, listening.fileno(), listening.family, factory, turns)
    finally:
        listening.close()  # the reactor has a descriptor of its own


def listen(
    reactor: IReactorSocket,
    endpoints: Iterable[tuple[str, int]],
    factory: IProtocolFactory,
    *,
    reuse_port: bool = False,
    backlog: int = 1024,
    turns: StrangersTurns | None = None,
) -> list[IListeningPort]:
    """Listen on all addresses or on none.

    Raises:
        CannotListen: one address is refused; those before it are closed again.
    """
    ports: list[IListeningPort] = []
    turns = StrangersTurns(reactor) if turns is None else turns
    try:
        for endpoint in endpoints:
            one = listen_on(reactor, endpoint, factory, reuse_port=reuse_port, backlog=backlog, turns=turns)
            ports.append(one)
    except CannotListen:
        for port in ports:
            cast("Any", port).stopListening()
        raise
    return ports


def bound_socket(
    endpoint: tuple[str, int], *, reuse_port: bool = False, backlog: int = 1024
) -> socket.socket:
    """Make a listening socket: not blocking, IPv6 without IPv4 inside, TCP_NODELAY for what it accepts.

    Raises:
        CannotListen: the system refuses.
    """
    host, port = endpoint
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made: socket.socket | None = None
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it on Linux; batches are made by us, once per read.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind((host, port))
        made.listen(backlog)
    except OSError as error:
        if made is not None:
            made.close()
        raise CannotListen(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", error) from None
    return made
