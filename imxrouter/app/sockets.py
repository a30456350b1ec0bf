"""What a router listens on: for links, for metrics, for administration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.web.server import Site

from imxrouter.admin.server import listen as listen_admin
from imxrouter.app.opening import opening
from imxrouter.config.net import HostPort
from imxrouter.config.schema import Config
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Door
from imxrouter.transport.listener import LinkFactory
from imxrouter.transport.listener import listen as listen_links
from imxrouter.transport.strangers import StrangersTurns


class Peers(Protocol):
    """Takes streams of peers."""

    def factory(self, *, only_tls: bool) -> Factory:
        """What makes them of connections."""


class Inner(Protocol):
    """Takes streams of servers, or bridges, behind us."""

    def factory(self) -> Factory:
        """What makes them of connections."""


class Sockets:
    """The listening sockets of one process.

    Args:
        reactor: the reactor.
        reuse_port: other processes of the router share the ports for links.
    """

    def __init__(self, reactor: Any, *, reuse_port: bool) -> None:
        self._reactor = reactor
        self._reuse_port = reuse_port
        #: shared by all doors
        self.turns = StrangersTurns(reactor)
        self._links: list[IListeningPort] = []
        self._doors: list[_Door] = []
        #: the process is out of service, and takes no streams
        self._without_streams = False
        self._rest: list[IListeningPort] = []

    def open(
        self,
        config: Config,
        hub: Hub,
        streams: Peers,
        behind: Inner,
        components: Inner,
        metrics: Site,
        admin: Site,
    ) -> None:
        """Open all of them where the configuration says; it is not kept, for it may hold 100,000 domains.

        Raises:
            CannotOpen: one cannot be opened; those before it stay open.
        """
        listen = config.listen
        for key, endpoints, door in (
            ("listen.addresses", listen.endpoints, Door.PEERS if listen.service.addresses else Door.ANY),
            ("listen.service.addresses", listen.service.endpoints, Door.SERVICES),
        ):
            with opening(key):
                self._links += listen_links(
                    self._reactor, endpoints, LinkFactory(hub, door), reuse_port=self._reuse_port,
                    backlog=listen.backlog, turns=self.turns,
                )  # fmt: skip
        shared, xmpp = {"reuse_port": self._reuse_port, "backlog": listen.backlog}, config.xmpp
        fair = {**shared, "turns": self.turns}
        self._doors = [
            _Door("xmpp.listen", xmpp.endpoints, streams.factory(only_tls=False), fair),
            _Door("xmpp.listen_tls", xmpp.tls_endpoints, streams.factory(only_tls=True), fair),
            _Door("xmpp.inside.listen", xmpp.inside.endpoints, behind.factory(), shared, is_inside=True),
            _Door(
                "xmpp.components.listen", xmpp.components.endpoints, components.factory(), shared,
                is_inside=True,
            ),
        ]  # fmt: skip
        if not self._without_streams:
            self.open_streams()
        endpoint = config.metrics.endpoint
        if endpoint is not None:
            with opening("metrics.listen"):
                self._rest.append(self._reactor.listenTCP(endpoint.port, metrics, interface=endpoint.host))
        with opening("admin.socket"):
            self._rest.append(listen_admin(self._reactor, Path(config.admin_socket), admin))

    def for_links(self) -> list[HostPort]:
        """Where links are taken; empty before it listens."""
        return _places(self._links)

    def open_streams(self) -> None:
        """Take streams wherever the configuration says and they are not taken.

        Raises:
            CannotOpen: a socket cannot be opened; those before it stay open.
        """
        self._without_streams = False
        for door in self._doors:
            if not door.ports:
                with opening(door.key):
                    door.open(self._reactor)

    def close_streams(self, *, also_inside: bool) -> list[Deferred[Any]]:
        """Take no new streams of peers, and of servers behind us where that is said.

        Returns:
            for each socket what fires when it is closed.
        """
        self._without_streams = True
        doors = [door for door in self._doors if also_inside or not door.is_inside]
        return [closing for door in doors for closing in door.close()]

    def close_links(self) -> list[Deferred[Any]]:
        """Take no new links, and no streams; each fires when its port is closed."""
        links, self._links = self._links, []
        return [
            *(maybeDeferred(port.stopListening) for port in links), *self.close_streams(also_inside=True),
        ]  # fmt: skip

    def close_rest(self) -> list[Deferred[Any]]:
        """Close what is for operators."""
        return [maybeDeferred(port.stopListening) for port in self._rest]


class _Door:
    """Where streams of one sort are taken; it may be closed and opened again, at the same ports.

    Args:
        key: of the configuration.
        endpoints: addresses; where a port is 0, it is that of the first time from then on.
        factory: makes the streams.
        options: of `listen_links`.
        is_inside: those are streams of servers, and bridges, behind us.
    """

    def __init__(
        self,
        key: str,
        endpoints: Iterable[HostPort],
        factory: Factory,
        options: Mapping[str, Any],
        *,
        is_inside: bool = False,
    ) -> None:
        self.key, self.is_inside = key, is_inside
        self.ports: list[IListeningPort] = []
        self._endpoints, self._factory, self._options = tuple(endpoints), factory, options

    def open(self, reactor: Any) -> None:
        self.ports = listen_links(reactor, self._endpoints, self._factory, **self._options)
        self._endpoints = tuple(_places(self.ports))

    def close(self) -> list[Deferred[Any]]:
        ports, self.ports = self.ports, []
        return [maybeDeferred(port.stopListening) for port in ports]


def _places(ports: Iterable[IListeningPort]) -> list[HostPort]:
    hosts: list[Any] = [port.getHost() for port in ports]
    return [HostPort(host.host, host.port) for host in hosts]
