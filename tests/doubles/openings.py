"""Doubles for the connector: a finder, and a way to open sockets that opens none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock

from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Found
from imxrouter.discovery.records import Form, Target
from imxrouter.discovery.search import Purpose
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.opening import Endpoint, OpenedSocket


class FinderDouble:
    """Knows targets of every domain and addresses of hosts; records what was asked."""

    def __init__(self, *targets: Target, hosts: Mapping[str, list[str]]) -> None:
        self.targets = targets
        self.hosts = hosts
        self.asked: list[str] = []
        self.reason: Reason | None = None
        self.silent = False

    def find(self, domain: Domain, purpose: Purpose = "im") -> Deferred[Found]:
        """Give the targets, fail, or stay silent."""
        self.asked.append(f"{domain} {purpose}")
        if self.silent:
            return Deferred()
        if self.reason is not None:
            return fail(DiscoveryFailed(self.reason, domain.name, f"{domain} IMX", "as told"))
        return succeed(Found(domain, Form.IMX, self.targets, 60.0, (), False))

    def addresses(self, host: str) -> Deferred[list[str]]:
        """Give a host's addresses; a host that is not known has none."""
        self.asked.append(host)
        if host not in self.hosts:
            return fail(DiscoveryFailed(Reason.NO_ADDRESS, host))
        return succeed(list(self.hosts[host])) if self.hosts[host] else Deferred()

    def delegation(self, found: Found, target: Target) -> Deferred[Delegation]:
        """No way is secure."""
        return succeed(Delegation(target.host, insecure_at=f"{found.domain} IMX"))


class SocketDouble:
    """A connection that was opened, or not any more."""

    def __init__(self, remote: Endpoint) -> None:
        self.remote = remote
        self.protocol: IProtocol | None = None
        self.closed = False

    def attach(self, protocol: IProtocol) -> None:
        """Note the protocol."""
        self.protocol = protocol

    def close(self) -> None:
        """Note it."""
        self.closed = True


class OpenerDouble:
    """Opens "sockets" after a delay, refuses, or stays silent, by address; writes down when and what."""

    def __init__(self, clock: Clock, behaviour: Mapping[str, float | Exception | None]) -> None:
        self._clock = clock
        self._behaviour = behaviour
        self.log: list[str] = []
        self.sockets: list[SocketDouble] = []
        self.lands_at: Endpoint | None = None
        self.deaf = False

    def __call__(self, ip: str, port: int) -> Deferred[OpenedSocket]:
        """Start an attempt."""
        self._write("open", ip, port)
        behaviour = self._behaviour.get(ip)
        timers: list[Any] = []

        def cancelled(_: object) -> None:
            self._write("cancel", ip, port)
            if not self.deaf:
                for timer in timers:
                    timer.cancel()

        opened: Deferred[OpenedSocket] = Deferred(cancelled)
        if isinstance(behaviour, Exception):
            opened.errback(behaviour)
        elif behaviour is not None:
            socket = SocketDouble(self.lands_at or (ip, port))
            self.sockets.append(socket)
            timers.append(self._clock.callLater(behaviour, lambda: opened.callback(socket)))
        return opened

    def _write(self, what: str, ip: str, port: int) -> None:
        self.log.append(f"{round(self._clock.seconds() * 1000)} {what} {ip} {port}")


REFUSED: Exception = error.ConnectionRefusedError()  # type: ignore[no-untyped-call]
NO_ROUTE: Exception = error.NoRouteError()  # type: ignore[no-untyped-call]
