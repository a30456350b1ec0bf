"""What `/metrics` shows of deliveries and of peers, gathered from the parts when Prometheus asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from imxrouter.app.traffic.quality import Quality
from imxrouter.link.ledger import SINCE
from imxrouter.model.domain import Domain
from imxrouter.switch import slots
from imxrouter.switch.ports import Role
from imxrouter.telemetry.metrics import Metrics, Times
from imxrouter.telemetry.peers import OTHER, PeerFigures, PeerTable
from imxrouter.transport.federation import Federation
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Purpose


class Figures:
    """Shows times and peers of one process.

    Args:
        metrics: where.
        hub: links and the switch.
        federation: what waits, and what is known of destinations.
        quality: counts peers for longer, and knows their outages.
        watch: peer domains that always have figures of their own.
        wall_s: Unix time.
    """

    def __init__(
        self,
        metrics: Metrics,
        hub: Hub,
        federation: Federation,
        quality: Quality,
        watch: Iterable[bytes],
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._hub, self._federation, self._wall_s = hub, federation, wall_s
        self._quality = quality
        self.peers = PeerTable(watch)
        hub.switch.tally.flows.on_full = self.tick
        metrics.watch_oldest(self._oldest)
        metrics.watch_delivery(self._delivery)
        metrics.watch_peers(self._peers)

    def watch(self, watch: Iterable[bytes]) -> None:
        """Let others always have figures of their own."""
        self.peers.watch(watch)

    def tick(self) -> None:
        """About once a second: take over what the hot path counted for domains."""
        flows = self._quality.count(self._hub.switch.tally.flows.take())
        self.peers.add(flows, self._hub.now())

    def _oldest(self) -> tuple[float, float]:
        now = self._hub.now()
        first = next(iter(self._hub.switch.ledger.entries.values()), None)
        return self._federation.holding.oldest_s(now), now - first[SINCE] if first is not None else 0.0

    def _delivery(self) -> dict[str, Times]:
        counters, tally = self._hub.switch.counters, self._hub.switch.tally
        parts = (("ours", slots.OURS, tally.ours_s), ("theirs", slots.THEIRS, tally.theirs_s))
        return {
            part: Times(slots.DELIVERY_BOUNDS_S, counters[first : first + slots.DELIVERY_BUCKETS], sum_s)
            for part, first, sum_s in parts
        }

    def _peers(self) -> PeerFigures:
        self.tick()
        domains = self.peers.domains()
        down, burns = self._quality.down(domains), self._quality.burns(domains)
        return PeerFigures(self.peers.rows(), self._links(), self._errors(), down, burns)

    def _links(self) -> dict[str, int]:
        domains = self.peers.domains()
        figures = {domain.decode("ascii"): 0 for domain in domains}
        figures[OTHER] = 0
        for session in self._hub.sessions.values():
            if session.port.role is not Role.PEER or session.purpose is Purpose.VERIFY:
                continue
            theirs = {*session.port.sources, *session.port.speaks, *session.reached}
            for domain in theirs & domains:
                figures[domain.decode("ascii")] += 1
            if not theirs or theirs - domains:
                figures[OTHER] += 1
        return figures

    def _errors(self) -> dict[str, tuple[str, str, float]]:
        ago, found = self._wall_s() - self._hub.now(), {}
        for domain in self.peers.domains():
            destination = self._federation.destinations.find(Domain(domain.decode("ascii")))
            error = destination.last_error if destination is not None else None
            if error is not None:
                found[domain.decode("ascii")] = (error.reason.stage.value, error.reason.word, ago + error.at)
        return found


def links_by_state(hub: Hub) -> dict[tuple[str, str], int]:
    """Links by role and state."""
    figures: dict[tuple[str, str], int] = {}
    for session in hub.sessions.values():
        key = (Role(session.port.role).name.lower(), session.machine.state.value)
        figures[key] = figures.get(key, 0) + 1
    return figures
