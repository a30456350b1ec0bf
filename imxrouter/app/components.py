"""Components of XEP-0114, tied to the other parts: bridges that attach here, servers at which we attach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from imxrouter.app.link_parts import LinkParts
from imxrouter.app.trust.keys import component_secrets
from imxrouter.app.xmpp import Streams
from imxrouter.config.keys import read_secret
from imxrouter.config.schema import Config
from imxrouter.gateways.xmpp.streams.component_client import Place
from imxrouter.gateways.xmpp.streams.component_host import ComponentFactory, ComponentHost
from imxrouter.gateways.xmpp.streams.parts import StreamLink, StreamParts, Trust
from imxrouter.gateways.xmpp.terms import StreamTerms
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.patterns import Pattern
from imxrouter.tls.anchors import anchors_from
from imxrouter.transport.link import Link
from imxrouter.transport.services import Services


def own_parts(streams: Streams, trust: Trust, terms: Callable[[StreamLink], StreamTerms]) -> StreamParts:
    """What streams of our own share with each other, and with those of peers."""
    shared = streams.parts
    return StreamParts(
        streams.edge, trust, None, terms, shared.later, droppers=shared.droppers,
        pings=shared.pings, on_error=shared.on_error, on_late=shared.on_late, on_header=shared.on_header,
        ways_in=shared.ways_in,
    )  # fmt: skip


def places(config: Config) -> list[Place]:
    """The servers at which we attach.

    Raises:
        BadKey: the file of a secret cannot be read, or holds none.
        BadAnchors: a file of an authority cannot be used.
    """
    return [
        Place(
            one.service, one.endpoint, read_secret(Path(one.secret_file)), one.domains, one.gateway,
            frozenset(Pattern.parse(text).where for text in one.gateway_domains),
            one.server_name, anchors_from((one.anchor,)) if one.anchor else None,
        )
        for one in config.xmpp.attached
    ]  # fmt: skip


class Components:
    """Bridges that attach here.

    Args:
        router: its links.
        streams: those of peers.
        services: those that log in.

    Raises:
        BadKey: the file of a secret cannot be read, or holds none.
    """

    def __init__(self, router: LinkParts, streams: Streams, services: Services) -> None:
        self._router = router
        rules = streams.rules
        self._host = ComponentHost(
            router.hub, router.config.name, component_secrets(router.config.services), self._service_of,
            services, rules.confirm, rules.settings, router.gatekeeper.closed,
            router.config.xmpp.components.networks,
        )  # fmt: skip
        router.hub.events.append(self._host)
        self._host.parts = own_parts(streams, self._host, self._host.terms)

    def factory(self) -> ComponentFactory:
        """What makes streams of connections of components."""
        return ComponentFactory(self._router.hub, self._host)

    def elsewhere(self, asked: Callable[[str], bool]) -> None:
        """Ask this whether a service has attached at another process."""
        self._host.elsewhere = asked

    def knows(self, service: str) -> bool:
        """Whether a service is a component."""
        return service in self._host.secrets

    def has(self, secrets: Mapping[str, bytes]) -> bool:
        """Whether these are the secrets of the moment."""
        return self._host.secrets == dict(secrets)

    def change(self, secrets: Mapping[str, bytes]) -> None:
        """Know these secrets alone."""
        self._host.change(secrets)

    def concerned(self, secrets: Mapping[str, bytes]) -> list[Link]:
        """Streams that end where these are the secrets."""
        return self._host.concerned(secrets)

    def allow(self, config: Config) -> None:
        """Take components from its networks alone; see `ComponentHost.allow`."""
        self._host.allow(config.xmpp.components.networks)

    def shut(self, config: Config) -> list[Link]:
        """Streams that end where components may connect from its networks alone."""
        return self._host.shut(config.xmpp.components.networks)

    def _service_of(self, name: str) -> str | None:
        try:
            record = self._router.domains.get(Domain.parse(name))
        except BadDomain:
            return None
        return record.service if record is not None and not record.suspended else None
