"""XMPP servers behind this router: their streams, and what they are shown, tied to the other parts."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from imxrouter.app.attaching import Attaching
from imxrouter.app.components import own_parts, places
from imxrouter.app.link_parts import LinkParts
from imxrouter.app.prepared import Step, Touched
from imxrouter.app.xmpp import Streams
from imxrouter.config.diff import Changes
from imxrouter.config.schema import Config
from imxrouter.gateways.xmpp.streams.component_client import ClientSettings, ComponentClients
from imxrouter.gateways.xmpp.streams.inside import Inside, InsideFactory
from imxrouter.gateways.xmpp.streams.leaving import Leaving
from imxrouter.gateways.xmpp.streams.pool import PoolSettings, ServicePool
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.link.machine import LinkState, Side
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.inside import Mint, authority_at
from imxrouter.tls.inside_contexts import InsideContexts
from imxrouter.transport.link import Link
from imxrouter.transport.opening import Endpoint, TcpOpener
from imxrouter.wire.control import Control, Hello

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
        router: its links.
        streams: those of peers.

    Attributes:
        pools: the XMPP services by name.
    """

    def __init__(self, router: LinkParts, streams: Streams) -> None:
        self._router, self._edge = router, streams.edge
        config, hub = router.config, router.hub
        # the configuration itself may hold 100,000 domains: it is not kept
        later, opener = router.reactor.callLater, TcpOpener(router.reactor)
        attaching = Attaching(router.reactor, opener, router.link_tls)
        self._inside = Inside(
            hub,
            self._service_of,
            lambda: [_PREFIX + one for one in router.keyring.secrets],
            opener,
            later,
            streams.rules,
        )
        self._clients = ComponentClients(
            hub, places(config), attaching, later, random.SystemRandom().random,
            ClientSettings(
                self._own_domains, streams.rules.confirm, streams.rules.settings,
                streams.refused, streams.answers_cost,
            ),
        )  # fmt: skip
        self._ways = _Ways(self._inside, self._clients)
        self.pools: dict[str, ServicePool] = {}
        self._inside.pools = self._clients.pools = self.pools
        self._inside.addresses = addresses_of(config)
        for one in config.services:
            if one.kind == "xmpp":
                self._add(one.name, _pool_settings(config))
        self._inside.networks = config.xmpp.inside.networks
        #: services that are configured
        self._wanted = set(self.pools)
        self._inside.parts = own_parts(streams, self._inside, self._inside.terms)
        self._clients.parts = own_parts(streams, self._clients, self._clients.terms)
        pools, now = self.pools.values(), hub.now
        #: all streams at the end, those on which both sides speak before
        self._leaving = Leaving((self._inside, self._clients), pools, now)
        self._both_ways = Leaving((self._clients,), pools, now)
        #: services that are configured no more, and whose streams are not all at their end
        self._going: dict[str, Leaving] = {}
        streams.figures.others, streams.pool_of = self.streams, self.pool_of
        self._inside.shaken = self._clients.shaken = streams.shaken
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
        return InsideFactory(self._inside)

    def streams(self) -> Iterable[XmppSession]:
        """Those that are there."""
        return [*self._inside.sessions, *self._clients.sessions]

    def attach(self) -> None:
        """Attach as a component wherever we are to be one and are not."""
        self._clients.begin()

    # -- out of service, and back (`transport.draining.Streams`) -----------------------------------------

    @property
    def are_confirmed(self) -> bool:
        """Whether it is known of all that was written to servers what became of it."""
        return all(pool.all_confirmed and not pool.waits for pool in self.pools.values())

    @property
    def are_still(self) -> bool:
        """Whether servers have ended what they may say something new on; see `stop`."""
        theirs = any(one.side is Side.ACCEPTOR for one in self._inside.sessions)
        return not theirs and not self._clients.sessions

    @property
    def waits(self) -> bool:
        """Whether something waits for a stream to be proved."""
        return any(pool.waits for pool in self.pools.values())

    def hush(self) -> None:
        """Refuse what is new for servers; what only answers them goes out."""
        for pool in self.pools.values():
            pool.hushed = True

    def stop(self) -> None:
        """Have what servers opened end in order, and what both sides speak on; what comes still passes."""
        self._inside.stops = True
        for session in list(self._inside.sessions):
            if session.side is Side.ACCEPTOR:
                session.close(Reason.SHUTTING_DOWN)
        self._both_ways.begin()

    def leave(self) -> Deferred[None]:
        """No link is left: end all streams in order; fires when that is done, or has taken too long."""
        return self._leaving.begin()

    def back(self) -> None:
        """Servers are taken again; who attaches by itself is told apart (`attach`)."""
        self._both_ways.stop()
        self._leaving.stop()
        self._inside.stops = self._inside.leaves = self._clients.leaves = False
        for pool in self.pools.values():
            pool.hushed = False
            pool.anew()

    def step(self) -> None:
        """Go on with that, and with services that go; called some twenty times a second."""
        self._both_ways.step()
        self._leaving.step()
        for going in list(self._going.values()):
            going.step()

    def end(self) -> None:
        """Cut what is left of them."""
        for session in list(self._inside.sessions):
            session.end(Reason.SHUTTING_DOWN)
        self._clients.end()

    def standing(self, service: str) -> tuple[bool | None, list[str]]:
        """Whether a service's server answers (None: it was not asked yet), and what is missing, with why."""
        pool, missing = self.pools[service], self._clients.unattached(service)
        if any(one.service == service and one.machine.state is LinkState.OPEN for one in self.streams()):
            return True, missing
        if missing:
            return False, missing
        return pool.answers, [pool.why] if pool.why else []

    def pool_of(self, name: str) -> ServicePool | None:
        """The service of a domain, where it is an XMPP service."""
        service = self._service_of(name)
        return self.pools[service] if service is not None else None

    def _add(self, name: str, settings: PoolSettings) -> None:
        self.pools[name] = ServicePool(name, self._router.hub, self._edge, self._ways, settings)

    # -- a changed configuration -------------------------------------------------------------------------

    def prepare(self, config: Config, changes: Changes) -> Step | None:
        """Services that come, have another address, or go; and who may connect. Then domains, then `settle`.

        What a service's server has opened stays where its address is another one: that is no proof.
        """
        servers = places(config)
        if servers == self._clients.places and not changes.touch(
            "service", "xmpp.inside.allow", "xmpp.component", "dial", "links"
        ):
            return None
        addresses, networks = addresses_of(config), config.xmpp.inside.networks
        wanted = {one.name for one in config.services if one.kind == "xmpp"}
        before, settings = self._inside.addresses, _pool_settings(config)
        moved = {name for name in wanted & self.pools.keys() if addresses.get(name) != before.get(name)}
        shut = [one for one in self._inside.sessions if not self._inside.may_come(one, networks)]
        left = [one for one in self._inside.sessions if one.side is Side.OPENER and one.service in moved]
        gone = [one for one in self.streams() if one.service in self.pools.keys() - wanted]
        other = [one for one in self._clients.concerned(servers) if one not in gone]

        def commit() -> None:
            self._wanted = wanted
            for name in wanted:
                if name not in self.pools:
                    self._add(name, settings)
                self._going.pop(name, None)
                self.pools[name].leaves = False
            for pool in self.pools.values():
                pool.settings = settings
            self._inside.addresses = addresses
            for name in moved:
                self.pools[name].anew()
                self._inside.moved(name)
            self._inside.allow(networks)
            self._clients.change(servers)

        words = (
            (shut, "ends: its address is not in xmpp.inside.allow any more"),
            (left, "closed in order: the address of service {} is another"),
            (gone, "closed in order: service {} is gone"),
            (other, "closed in order: another component of service {}, or none"),
        )
        links = [Touched(one, text.format(one.service)) for some, text in words for one in some]
        counts = bool(links) or servers != self._clients.places or changes.touch("service", "xmpp")
        return Step(commit, tuple(links), counts=counts)

    def settle(self) -> None:
        """End in order the streams of services that are configured no more; no domain is theirs by now."""
        for name in self.pools.keys() - self._wanted - self._going.keys():
            leaving = self._going[name] = Leaving(
                (self._inside, self._clients), (self.pools[name],), self._router.hub.now, name
            )
            leaving.begin().addCallback(partial(self._gone, leaving, name))

    def _gone(self, leaving: Leaving, name: str, _result: object) -> None:
        """All streams of a service have ended, or it has taken too long."""
        if self._going.get(name) is not leaving:  # one of its name has come meanwhile
            return
        for session in leaving.streams():
            session.end(Reason.SHUTTING_DOWN)
        del self._going[name]
        self._router.hub.detach(self.pools.pop(name), Reason.SERVICE_DOWN, f"service {name} is gone")

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


def addresses_of(config: Config) -> dict[str, Endpoint]:
    """Where the servers of XMPP services take streams, by service."""
    return {
        one.name: one.endpoint for one in config.services if one.kind == "xmpp" and one.endpoint is not None
    }


def _pool_settings(config: Config) -> PoolSettings:
    dial = config.dial
    return PoolSettings(dial.hold_s, dial.hold_count, dial.hold_bytes, config.links.idle_s)
