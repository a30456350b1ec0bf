"""Served domains, from their records to the tables of the hot path; one listener of every diff (BEY-8)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from twisted.logger import Logger

from imxrouter.config.bounds import Limits
from imxrouter.config.served import TYPE_NUMBERS
from imxrouter.config.served import ServedDomain as DomainEntry
from imxrouter.gateways.xmpp.streams.pool import ServicePool
from imxrouter.model.domain import Domain
from imxrouter.routing.choice import Protocol
from imxrouter.routing.domains import (
    CaseProfile,
    DomainDiff,
    DomainState,
    ServedDomain,
    ServedDomains,
)
from imxrouter.routing.limits import Rate
from imxrouter.routing.policy import Policy
from imxrouter.switch.ports import Port, Route, SendTerms
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.gateway_port import GatewayPort
from imxrouter.transport.hub import Hub
from imxrouter.transport.services import Services
from imxrouter.wire.registry import RecordType

_NAME_OF_TYPE: Final = {number: name for name, number in TYPE_NUMBERS.items()}
#: One set for all the domains that take the same types.
_SAME_TYPES: Final[dict[frozenset[int], frozenset[int]]] = {}


def served_domain(entry: DomainEntry) -> ServedDomain:
    """The record of a [[domain]] table."""
    return ServedDomain(
        name=Domain(entry.name),
        service=sys.intern(entry.service),
        aliases=tuple(Domain(alias) for alias in entry.aliases),
        tenant=sys.intern(entry.tenant),
        protocols=frozenset(map(Protocol, entry.protocols)),
        certificate=entry.certificate,
        policy=entry.policy,
        max_message_bytes=entry.max_message_bytes,
        sender_rate_per_s=entry.sender_rate_per_s,
        sender_burst=entry.sender_burst,
        records_per_s=entry.records_per_s,
        bytes_per_s=entry.bytes_per_s,
        recipient_rate_per_s=entry.recipient_rate_per_s,
        types=_SAME_TYPES.setdefault(entry.type_numbers, entry.type_numbers),
        case_profile=CaseProfile(entry.case_profile),
        state=DomainState(entry.state),
        subscription_lifetime_s=entry.subscription_lifetime_s,
        abuse_contact=entry.abuse_contact,
        first_contact=entry.first_contact,
        content_types=entry.content_types,
        attributes=tuple(sorted(entry.attributes.items())),
        hidden_attributes=entry.hidden_attributes,
    )


def domain_entry(record: ServedDomain) -> dict[str, Any]:
    """The [[domain]] table that gives this record, as plain values."""
    return {
        "name": record.name.name,
        "service": record.service,
        "aliases": [alias.name for alias in record.aliases],
        "tenant": record.tenant,
        "protocols": sorted(one.value for one in record.protocols),
        **({"policy": record.policy} if record.policy else {}),
        **({"certificate": record.certificate} if record.certificate else {}),
        "max_message_bytes": record.max_message_bytes,
        "sender_rate_per_s": record.sender_rate_per_s,
        "sender_burst": record.sender_burst,
        "records_per_s": record.records_per_s,
        "bytes_per_s": record.bytes_per_s,
        "recipient_rate_per_s": record.recipient_rate_per_s,
        "types": [_NAME_OF_TYPE.get(number, f"0x{number:04x}") for number in sorted(record.types)],
        "case_profile": record.case_profile.value,
        "state": record.state.value,
        "subscription_lifetime_s": record.subscription_lifetime_s,
        "abuse_contact": record.abuse_contact,
        "first_contact": record.first_contact,
        "content_types": list(record.content_types),
        "attributes": dict(record.attributes),
        "hidden_attributes": list(record.hidden_attributes),
    }


class Provisioner:
    """Keeps the switch's routes, the gateways' bindings and our claims equal to the served domains.

    Args:
        domains: the table; every diff of it arrives here.
        hub: links and switch.
        limits: what a domain's own limits default to.
        gateways: gateways inside this process, by service name.
        claimer: ends claims of domains that go.
        pools: XMPP services behind us.
    """

    log = Logger()

    def __init__(
        self,
        domains: ServedDomains,
        hub: Hub,
        limits: Limits,
        gateways: dict[str, GatewayPort],
        claimer: Claimer,
        pools: Mapping[str, ServicePool] | None = None,
    ) -> None:
        self._domains = domains
        self._hub = hub
        self._limits = limits
        self._gateways = gateways
        self._claimer = claimer
        self._pools = pools if pools is not None else {}  # it may be empty now, and not later
        self._services: Services | None = None
        #: told each domain, as on the wire, just before it is served no more or suspended
        self.on_leaving: Callable[[bytes], None] = lambda _domain: None
        #: told domains that are served no more, when they are not
        self.on_lost: Callable[[list[Domain]], None] = lambda _domains: None
        #: told each domain that was suspended and is served again
        self.on_returned: Callable[[bytes], None] = lambda _domain: None
        #: told the domains of an embedded service after each change
        self.on_embedded: Callable[[str], None] = lambda _service: None
        #: whether a service is a component of XMPP
        self.is_component: Callable[[str], bool] = lambda _service: False
        #: told each domain that is entered or changed: its record, a name of it, its route
        self.on_entered: Callable[[ServedDomain, bytes, Route], None] = lambda *_: None
        self._ports: dict[str, list[Port]] = {}
        self._terms: dict[tuple[float, int, int], SendTerms] = {}
        domains.listen(self._changed)

    def with_services(self, services: Services) -> None:
        """Services that log in over links are told too."""
        self._services = services

    def change(self, limits: Limits) -> None:
        """Give domains without limits of their own other ones, on open links too."""
        self._limits = limits
        self._terms.clear()
        for record in self._domains:
            self._enter(record)
        for service in list(self._ports):
            if self._services is not None:
                self._services.rebind(service)

    def forget(self, service: str) -> None:
        """A service that no domain has any more is gone; one of its name may come again, of another kind."""
        self._ports.pop(service, None)

    def domains_of(self, service: str) -> list[bytes]:
        """Names and aliases of the service's active domains: those that share its list of links."""
        ports = self.ports_of(service)
        return [raw for raw, route in self._hub.switch.routes.items() if route.ports is ports]

    def terms(self, domain: bytes) -> SendTerms:
        """GCRA interval and burst, seconds, of the domain's senders, and their largest body, bytes."""
        record = self._domains.get(Domain(domain.decode("ascii")))
        per_s = record.sender_rate_per_s if record is not None else 0.0
        burst = record.sender_burst if record is not None else 0
        size = record.max_message_bytes if record is not None else 0
        wanted = (
            per_s or self._limits.sender_rate_per_s, burst or self._limits.sender_burst,
            size or self._limits.max_message_bytes,
        )  # fmt: skip
        known = self._terms.get(wanted)
        if known is None:
            rate = Rate.of(*wanted[:2])
            known = self._terms[wanted] = (rate.interval_s, rate.burst_s, wanted[2])
        return known

    def _changed(self, diff: DomainDiff) -> None:
        touched: set[str] = set()
        lost = [name for record in diff.removed for name in record.names]
        for name in (*lost, *_names(diff, suspended=True)):
            self.on_leaving(name.wire)
        for record in diff.removed:
            self._remove(record.names)
            self._unbind(record)
            touched.add(record.service)
        for change in diff.changed:
            gone = [name for name in change.before.names if name not in change.after.names]
            lost += gone
            self._remove(gone)
            self._unbind(change.before)
            touched |= {change.before.service, change.after.service}
        for change in diff.changed:  # after all that goes: an alias may pass from one domain to another
            self._enter(change.after)
        for record in diff.added:
            self._enter(record)
            touched.add(record.service)
        for name in _names(diff, suspended=False):
            self.on_returned(name.wire)
        switch = self._hub.switch
        switch.presence.table.forget_unserved(switch.routes, [name.wire for name in lost])
        self.on_lost([name for name in lost if name.wire not in switch.routes])
        for service in touched:
            if self._services is not None:
                self._services.rebind(service)
            if service in self._gateways:
                self.on_embedded(service)
        if len(diff.added) + len(diff.removed) + len(diff.changed) < 20:
            for line in diff.lines():
                self.log.info("domains: {text}", text=line)

    def _enter(self, record: ServedDomain) -> None:
        level = Policy(record.policy).level if record.policy else 0
        size = record.max_message_bytes or self._limits.max_message_bytes
        gateway = self._bound(record.service)
        types = record.types
        # what servers of XMPP, and their components, say to each other passes as it is
        if record.service in self._pools or self.is_component(record.service):
            types |= {RecordType.STANZA.value}
        routes, home = self._hub.switch.routes, record.name.wire
        ports = [] if record.suspended else self.ports_of(record.service)
        known = (routes.get(name.wire) for name in record.names)
        route = next((one for one in known if one is not None and one.home == home), None)
        if route is None:
            route = Route(ports, level, size, types)
            route.home = home
        is_other_level = level != route.level
        route.level, route.max_bytes, route.types = level, size, types
        route.ports, route.suspended = ports, record.suspended
        for name in record.names:
            raw = name.wire
            if routes.get(raw) is not route:
                routes[raw] = route
            if is_other_level:  # what was opened at another level is judged anew
                self._hub.switch.ways.end_source(raw)
            self.on_entered(record, raw, route)
            if record.suspended:
                self._claimer.withdraw(raw)
                continue
            if gateway is not None:
                gateway.bind(raw, *self.terms(raw))

    def ports_of(self, service: str) -> list[Port]:
        """The links of a service that are up: one list for all its domains, however many they are."""
        ports = self._ports.get(service)
        if ports is None:
            gateway = self._bound(service)
            ports = self._ports[service] = [gateway.port] if gateway is not None else []
        return ports

    def _bound(self, service: str) -> GatewayPort | ServicePool | None:
        """What stands in this process for a service; None of one that logs in."""
        return self._gateways.get(service) or self._pools.get(service)

    def _unbind(self, record: ServedDomain) -> None:
        gateway = self._bound(record.service)
        for name in record.names:
            if gateway is not None:
                gateway.unbind(name.wire)
            route = self._hub.switch.routes.get(name.wire)
            if route is not None:
                route.ports = []

    def _remove(self, names: Iterable[Domain]) -> None:
        """No longer served: no route, and its claims end on every link without closing a shared one."""
        for name in names:
            self._hub.switch.routes.remove(name.wire)
            self._hub.switch.traffic.forget(name.wire)
            self._claimer.withdraw(name.wire)

    def __iter__(self) -> Iterator[ServedDomain]:
        return iter(self._domains)


def _names(diff: DomainDiff, *, suspended: bool) -> list[Domain]:
    """Names of the domains that became suspended, or active again."""
    return [
        name
        for change in diff.changed
        if change.after.suspended is suspended is not change.before.suspended
        for name in change.after.names
    ]
