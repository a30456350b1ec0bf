"""The embedded services of a router: made at its start, and changed, added and put aside while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from imxrouter.app.served.embedding import defaults_of
from imxrouter.config.served import Service
from imxrouter.gateways.embedded.directory import Directory
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.transport.gateway_port import GatewayPort

#: Makes a service and its port, ready for traffic where the flag says that the router has begun.
Make = Callable[[Service, bool], tuple[GatewayPort, EmbeddedService]]


class Embeddings:
    """Keeps both tables of them.

    A service that is configured no more is put aside with its port, and used again when one of its name comes
    back: what is in flight to it is answered, and its place in the switch is not made twice.

    Args:
        make: makes one.
        changed: told of a service whose users may have changed.

    Attributes:
        gateways: port of each, by name of the service.
        services: the services.
    """

    def __init__(self, make: Make, changed: Callable[[str], None]) -> None:
        self.gateways: dict[str, GatewayPort] = {}
        self.services: dict[str, EmbeddedService] = {}
        self._make = make
        self._changed = changed
        self._aside: dict[str, tuple[GatewayPort, EmbeddedService]] = {}
        self._configured: dict[str, Service] = {}

    def begin(self, services: Iterable[Service]) -> None:
        """Make those of a router that starts."""
        for service in services:
            self._configured[service.name] = service
            if service.kind == "embedded":
                self._add(service, begun=False)

    def prepare(self, services: Iterable[Service]) -> Callable[[], None]:
        """Make ready to have exactly these; returns what does it. Domains change after that, then `settle`.

        Raises:
            BadAddress: a user is no address.
            BadDomain: a user's domain is none.
        """
        wanted = {service.name: service for service in services}
        directories = {
            name: Directory(service.users) for name, service in wanted.items() if service.kind == "embedded"
        }

        def commit() -> None:
            before, self._configured = self._configured, wanted
            for name, directory in directories.items():
                service = wanted[name]
                if name not in self.services:
                    self._add(service, begun=True)
                elif before.get(name) == service:
                    continue
                self.services[name].change(directory, defaults_of(service))
                self._changed(name)

        return commit

    def settle(self) -> None:
        """Put aside those that are configured no more; no domain is theirs by now."""
        for name in [name for name in self.services if name not in self._configured]:
            self._aside[name] = (self.gateways.pop(name), self.services.pop(name))

    def _add(self, service: Service, *, begun: bool) -> None:
        name = service.name
        known = self._aside.pop(name, None)
        self.gateways[name], self.services[name] = known or self._make(service, begun)
