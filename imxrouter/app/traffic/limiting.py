"""The limits of one process: from the configuration to the parts that keep them, and how they stand."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from imxrouter.config.bounds import Limits
from imxrouter.config.schema import Config
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.routing.caps import Refusal
from imxrouter.routing.domains import ServedDomain, ServedDomains
from imxrouter.routing.inboxes import DomainTerms, InboxRate
from imxrouter.routing.overload import Overload, OverloadSettings
from imxrouter.routing.traffic import Traffic, TrafficRate
from imxrouter.switch.ports import Route
from imxrouter.transport.hub import Hub

#: Payers looked at in one step of housekeeping.
PAYERS_A_STEP: Final = 250


class Limiting:
    """Sets the switch's limits, and watches the load.

    Attributes:
        overload: what is shed.

    Args:
        config: the configuration.
        hub: links and switch.
        domains: the domains served now.
        log: told each change of what is shed: (format, fields).
    """

    def __init__(self, config: Config, hub: Hub, domains: ServedDomains, log: Callable[..., object]) -> None:
        self._hub = hub
        self._domains = domains
        self._log = log
        self.overload = Overload(OverloadSettings())
        self._rate = lru_cache(maxsize=4096)(self._make_rate)
        self._inbox = lru_cache(maxsize=4096)(self._make_inbox)
        hub.switch.traffic = Traffic(self._terms, self._peer_rate, self._tenant_rate, home=self._home)
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take the limits of a configuration; what was used until now is forgotten."""
        limits, switch = config.limits, self._hub.switch
        self._limits = limits
        self._peers = {peer.domain: (peer.records_per_s, peer.bytes_per_s) for peer in config.peers}
        self._tenants = {one.name: one for one in limits.tenants}
        self._rate.cache_clear()
        self._inbox.cache_clear()
        switch.acquainted = frozenset(domain.encode("ascii") for domain in self._peers)
        switch.traffic.link_rate = self._rate(limits.link_records_per_s, limits.link_bytes_per_s)
        switch.traffic.forget_all()
        for session in self._hub.sessions.values():
            session.port.meter = switch.traffic.of_link(session.name_for_limits())
        marks = config.overload
        settings = OverloadSettings(marks.lag_ms / 1000, marks.unwritten_bytes, marks.calm_s)
        self.overload.settings = settings
        for record in self._domains:
            for name in record.names:
                route = switch.routes.get(name.wire)
                if route is not None:
                    self.entered(record, name.wire, route)

    def entered(self, record: ServedDomain, domain: bytes, route: Route) -> None:
        """A domain is served from now on, or changed."""
        traffic = self._hub.switch.traffic
        traffic.forget(domain)
        route.inbox = self._inbox(record.recipient_rate_per_s)
        own = record.records_per_s or record.bytes_per_s or record.tenant in self._tenants
        route.meter = traffic.receivers.of(record.name.wire) if own else None

    def refused(self, refusal: Refusal, who: str) -> None:
        """The gatekeeper refused by a limit."""
        if refusal.limit is not None:
            self._hub.switch.book.add(refusal.limit, who.encode("utf-8", "replace"))

    def figures(self) -> tuple[dict[str, int], int]:
        """Refusals by the limit's name, and the level of overload."""
        counts = self._hub.switch.book.counts
        return {limit.word: count for limit, count in counts.items()}, int(self.overload.level)

    def measure(self, lag_s: float) -> None:
        """The reactor came round, so late: four times a second."""
        hub, now, before = self._hub, self._hub.now(), self.overload.level
        unwritten = sum(session.unwritten for session in hub.sessions.values())
        level = hub.switch.shed = self.overload.measure(lag_s, unwritten, now)
        if level is not before:
            self._log(
                "overload: {what} (the reactor is {lag_ms:.0f} ms late, {unwritten} bytes unwritten)",
                what=level.word, lag_ms=lag_s * 1000, unwritten=unwritten,
            )  # fmt: skip

    def step(self, now: float) -> None:
        """Bounded work, 20 times a second."""
        switch = self._hub.switch
        switch.traffic.sweep(now, PAYERS_A_STEP)
        switch.book.age(now)
        self._hub.slowed.resume(now)

    # -- rates -------------------------------------------------------------------------------------------

    def _make_rate(self, records_per_s: float, bytes_per_s: float) -> TrafficRate:
        return TrafficRate.of(records_per_s, bytes_per_s, self._limits.traffic_burst_s)

    def _make_inbox(self, per_s: float) -> DomainTerms:
        limits: Limits = self._limits
        burst, strangers = limits.recipient_burst, limits.recipient_strangers_rate_per_s
        if per_s and limits.recipient_rate_per_s:  # a domain's own rate changes the rest in proportion
            part = per_s / limits.recipient_rate_per_s
            burst, strangers = max(int(burst * part), 1), strangers * part
        return InboxRate(per_s or limits.recipient_rate_per_s, burst, strangers).terms()

    def _terms(self, domain: bytes) -> tuple[TrafficRate, str] | None:
        record = self._record(domain)
        if record is None:
            return None
        limits = self._limits
        rate = self._rate(
            record.records_per_s or limits.domain_records_per_s,
            record.bytes_per_s or limits.domain_bytes_per_s,
        )
        return rate, record.tenant

    def _home(self, domain: bytes) -> bytes:
        """The name under which all names of a domain pay."""
        record = self._record(domain)
        return domain if record is None else record.name.wire

    def _record(self, domain: bytes) -> ServedDomain | None:
        try:
            return self._domains.get(Domain.from_wire(domain))
        except BadDomain:
            return None

    def _peer_rate(self, domain: bytes) -> TrafficRate:
        limits = self._limits
        records, size = self._peers.get(domain.decode("ascii"), (0.0, 0.0))
        return self._rate(records or limits.peer_records_per_s, size or limits.peer_bytes_per_s)

    def _tenant_rate(self, tenant: str) -> TrafficRate:
        own: Any = self._tenants.get(tenant)
        if own is not None:
            return self._rate(own.records_per_s, own.bytes_per_s)
        return self._rate(self._limits.tenant_records_per_s, self._limits.tenant_bytes_per_s)
