"""What a router listens on: for links, for metrics, for administration."""

from __future__ import annotations

from collections.abc import Iterable
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
        self._streams: list[IListeningPort] = []
        self._inside: list[IListeningPort] = []
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
        for key, endpoints, only_tls in (
            ("xmpp.listen", config.xmpp.endpoints, False),
            ("xmpp.listen_tls", config.xmpp.tls_endpoints, True),
        ):
            with opening(key):
                self._streams += listen_links(
                    self._reactor, endpoints, streams.factory(only_tls=only_tls),
                    reuse_port=self._reuse_port, backlog=listen.backlog, turns=self.turns,
                )  # fmt: skip
        with opening("xmpp.inside.listen"):
            self._inside += listen_links(
                self._reactor, config.xmpp.inside.endpoints, behind.factory(),
                reuse_port=self._reuse_port, backlog=listen.backlog,
            )  # fmt: skip
        with opening("xmpp.components.listen"):
            self._inside += listen_links(
                self._reactor, config.xmpp.components.endpoints, components.factory(),
                reuse_port=self._reuse_port, backlog=listen.backlog,
            )  # fmt: skip
        endpoint = config.metrics.endpoint
        if endpoint is not None:
            with opening("metrics.listen"):
                self._rest.append(self._reactor.listenTCP(endpoint.port, metrics, interface=endpoint.host))
        with opening("admin.socket"):
            self._rest.append(listen_admin(self._reactor, Path(config.admin_socket), admin))

    def for_links(self) -> list[HostPort]:
        """Where links are taken; empty before it listens."""
        return _places(self._links)

    def for_streams(self) -> list[HostPort]:
        """Where streams are taken; empty before it listens."""
        return _places(self._streams)

    def close_streams(self) -> list[Deferred[Any]]:
        """Take no new streams of peers; each fires when its port is closed."""
        streams, self._streams = self._streams, []
        return [maybeDeferred(port.stopListening) for port in streams]

    def close_links(self) -> list[Deferred[Any]]:
        """Take no new links; each fires when its port is closed."""
        return [maybeDeferred(port.stopListening) for port in (*self._links, *self._streams, *self._inside)]

    def close_rest(self) -> list[Deferred[Any]]:
        """Close what is for operators."""
        return [maybeDeferred(port.stopListening) for port in self._rest]


def _places(ports: Iterable[IListeningPort]) -> list[HostPort]:
    hosts: list[Any] = [port.getHost() for port in ports]
    return [HostPort(host.host, host.port) for host in hosts]
