"""XMPP servers behind this router: their streams, and what they are shown, tied to the other parts."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from imxrouter.app.components import own_parts, places
from imxrouter.gateways.xmpp.streams.component_client import ClientSettings, ComponentClients
from imxrouter.gateways.xmpp.streams.inside import Inside, InsideFactory
from imxrouter.gateways.xmpp.streams.leaving import Leaving
from imxrouter.gateways.xmpp.streams.pool import PoolSettings, ServicePool
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.inside import Mint, authority_at
from imxrouter.tls.inside_contexts import InsideContexts
from imxrouter.transport.link import Link
from imxrouter.transport.opening import TcpOpener
from imxrouter.wire.control import Control, Hello

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: In the folder of what outlives a restart, where the operator names none.
AUTHORITY_FILE: Final = "inside-authority.pem"
#: Before a secret of dial-back, so that keys of the inside are none of the outside.
_PREFIX: Final = b"inside:"


class _Ways:
    """The ways to a service: as a component of the outside domain's, or as a gateway, else by the inside."""

    def __init__(self, inside: Inside, clients: ComponentClients) -> None:
        self._inside, self._clients = inside, clients

    def open(self, pool: ServicePool, outside: str, served: str) -> None:
        """See `pool.Opener`."""
        if self._clients.reaches(pool.name, outside):
            self._clients.open(pool, outside, served)
        elif pool.name in self._inside.addresses:
            self._inside.open(pool, outside, served)
        else:
            pool.failed((outside, served), Reason.RELAY_DENIED, "not among the domains of xmpp.component")


class BehindUs:
    """The servers behind this router. It is a `LinkEvents`, for the time that passes.

    Args:
        router: the other parts; its streams of peers are made already.

    Attributes:
        pools: the XMPP services by name.
    """

    def __init__(self, router: Parts) -> None:
        self._router = router
        config, hub = router.config, router.hub
        # the configuration itself may hold 100,000 domains: it is not kept
        services = [one for one in config.services if one.kind == "xmpp"]
        addresses = {one.name: one.endpoint for one in services if one.endpoint is not None}
        later, opener = router.reactor.callLater, TcpOpener(router.reactor)
        self._inside = Inside(
            hub,
            self._service_of,
            lambda: [_PREFIX + one for one in router.keyring.secrets],
            opener,
            later,
            router.streams.rules,
        )
        self._clients = ComponentClients(
            hub, places(config), opener, later, random.SystemRandom().random,
            ClientSettings(
                self._own_domains, router.streams.rules.confirm, router.streams.rules.settings,
                router.streams.refused, router.streams.answers_cost,
            ),
        )  # fmt: skip
        settings = PoolSettings(
            config.dial.hold_s, config.dial.hold_count, config.dial.hold_bytes, config.links.idle_s
        )
        edge, ways = router.streams.edge, _Ways(self._inside, self._clients)
        self.pools = {one.name: ServicePool(one.name, hub, edge, ways, settings) for one in services}
        self._inside.pools = self._clients.pools = self.pools
        self._inside.addresses = addresses
        self._inside.parts = own_parts(router, self._inside, self._inside.terms)
        self._clients.parts = own_parts(router, self._clients, self._clients.terms)
        self._leaving = Leaving((self._inside, self._clients), self.pools.values(), hub.now)
        router.streams.figures.others = self.streams
        hub.events.append(self)

    def begin(self, state_dir: Path) -> None:
        """Read the authority of the inside, or make it; the folder is there.

        Raises:
            BadAuthority: the file cannot be used.
            OSError: it cannot be written.
        """
        config = self._router.config
        if not config.xmpp.inside.listen:
            return
        path = Path(config.xmpp.inside.authority or state_dir / AUTHORITY_FILE)
        mint = Mint(authority_at(path, config.name, time.time()), time.time)
        self._inside.show(InsideContexts(mint, Domain.parse(config.name), minimum=config.tls.minimum))

    def factory(self) -> InsideFactory:
        """What makes streams of connections of the servers."""
        return InsideFactory(self._inside, self._router.config.xmpp.inside.networks)

    def streams(self) -> Iterable[XmppSession]:
        """Those that are there."""
        return [*self._inside.sessions, *self._clients.sessions]

    def attach(self) -> None:
        """Attach as a component wherever we are to be one and are not."""
        self._clients.begin()

    def leave(self) -> Deferred[None]:
        """The router stops: end all streams in order; fires when that is done, or has taken too long."""
        return self._leaving.begin()

    def step(self) -> None:
        """Go on with that; called some twenty times a second."""
        self._leaving.step()

    def end(self) -> None:
        """Cut what is left of them."""
        for session in list(self._inside.sessions):
            session.end(Reason.SHUTTING_DOWN)
        self._clients.end()

    def pool_of(self, name: str) -> ServicePool | None:
        """The service of a domain, where it is an XMPP service."""
        service = self._service_of(name)
        return self.pools[service] if service is not None else None

    def _service_of(self, name: str) -> str | None:
        try:
            record = self._router.domains.get(Domain.parse(name))
        except BadDomain:
            return None
        return record.service if record is not None and record.service in self.pools else None

    def _own_domains(self, service: str) -> list[str]:
        return sorted(raw.decode("ascii") for raw in self.pools[service].port.sources)

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Links of others."""

    def control(self, session: Link, record: Control) -> None:
        """Links of others."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Links of others."""

    def lost(self, session: Link) -> None:
        """Links of others."""

    def tick(self, now: float) -> None:
        """Look at the timers of the streams."""
        self._inside.tick(now)
        self._clients.tick(now)
