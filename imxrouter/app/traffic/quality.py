"""The quality of peers: what was counted, what was expected, when they were out (FCC-1, FCC-2, FCC-7).

Ties the pure parts of `telemetry` (`windows`, `outages`, `objectives`) to the clock, the store, the log and
what the federation tells. `app.report` makes a report of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from twisted.logger import Logger

from imxrouter.config.quality import Objectives as Expected
from imxrouter.config.schema import Config
from imxrouter.model.domain import is_wire_domain
from imxrouter.model.operations import Kind
from imxrouter.model.quality import SEEN_MS, Cells, End, add, ends
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Store
from imxrouter.routing.zones import zone_of
from imxrouter.telemetry.objectives import WINDOWS, Measure, Objectives, measure
from imxrouter.telemetry.outages import KEEP_S, Outage, Outages
from imxrouter.telemetry.windows import REST, Kept, QualityBook, Sum

#: Tables of the store. Keys begin with the number of the process; the rest is `RING/INDEX/DOMAIN`, and the
#: domain.
QUALITY: Final = "quality"
OUTAGES: Final = "outages"
#: 700 peers with all their buckets, of three processes; and the outages of `outages.PEERS`, of ten.
TABLE_ENTRIES: Final = {QUALITY: 200_000, OUTAGES: 20_000}
#: An outage of which no try failed for so long is over, and longer than any back-off.
QUIET_S: Final = 900.0
#: A turn that took longer than this was no turn: the machine was asleep.
LONGEST_TURN_S: Final = 60.0
#: A difference between two clocks that is no drift: one was set, or stood still while the host was asleep.
STEP_S: Final = 30.0
#: How old the figures of objectives may be.
_FRESH_S: Final = 15.0


class Quality:
    """Counts, judges and keeps.

    Args:
        config: what is expected, and of whom figures are always there.
        store: where it is kept.
        wall: seconds since 1970.
        own_loss: whether somebody else knows that our own network is lost.
        monotonic: seconds that pass whatever the clock is set to.
    """

    log = Logger()

    def __init__(
        self,
        config: Config,
        store: Store,
        wall: Callable[[], float],
        own_loss: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._wall = wall
        self._monotonic = monotonic
        self._own_loss = own_loss
        self._process = b"%d/" % config.process
        self.outages = Outages(max(QUIET_S, 3 * config.dial.backoff_cap_s))
        self.book = QualityBook(zone=zone_of)
        self._now, self._then = wall(), monotonic()
        self._counted_at = self._then
        self._burns: dict[bytes, tuple[float, dict[tuple[str, str], float]]] = {}
        self.expect(config)

    def expect(self, config: Config) -> None:
        """Obey a configuration: what is expected, and of whom figures are always there."""
        self._default = _objectives(config.qos, Expected())
        self._own = {peer.domain.encode(): _objectives(peer.objectives, config.qos) for peer in config.peers}
        self.book.always = frozenset(always(config)) | {REST}
        self._burns.clear()

    # -- life --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Give back what the store has; from now on keep what changes."""
        now = self._now = self._wall()
        self._then = self._counted_at = self._monotonic()
        for key, value, expires_at in self._store.items(QUALITY):
            kept = _kept(key.removeprefix(self._process), value) if key.startswith(self._process) else None
            if kept is not None and not self.book.restore(kept._replace(expires_at=expires_at or 0.0), now):
                self._store.remove(QUALITY, key)
        for key, value, _ in self._store.items(OUTAGES):
            if key.startswith(self._process):
                self._restore_outages(key, value, now)
        self.book.keep = self._keep
        self.outages.on_change = self._changed

    def end(self) -> None:
        """Keep the open buckets too: the process stops."""
        self.book.keep_all()

    # -- what happens ------------------------------------------------------------------------------------

    def failed(self, domain: bytes, reason: Reason) -> None:
        """A verdict: every target of the domain failed."""
        self.outages.failed(domain, reason, self.now(), own=self._own_loss())

    def reached(self, domain: bytes) -> None:
        """The domain was reached, or proved itself."""
        self.outages.reached(domain, self.now())

    def count(self, flows: Mapping[bytes, Cells]) -> dict[bytes, Cells]:
        """About once a second: what the switch counted; returns it with the outages of that time."""
        moment = self._monotonic()
        passed_s, self._counted_at = min(moment - self._counted_at, LONGEST_TURN_S), moment
        then, now = self._now, self.now()
        counted = {domain: dict(cells) for domain, cells in flows.items()}
        for domain, cells in flows.items():
            if ends(cells, False, Kind)[End.DELIVERED]:
                self.outages.delivered(domain, now)
        for domain, due in self.outages.tick(now, own=self._own_loss()).items():
            add(counted.setdefault(domain, {}), due)
        for domain, cells in counted.items():
            self.book.add(domain if is_wire_domain(domain) else REST, cells, now, then)
        self.book.add(REST, {SEEN_MS: round(passed_s * 1000)}, now)
        self.book.step(now)
        return counted

    def now(self) -> float:
        """Seconds since 1970, which go back only where the clock was set."""
        wall, then = self._wall(), self._monotonic()
        step_s, self._then = wall - self._now - (then - self._then), then
        if abs(step_s) < STEP_S:
            self._now = max(self._now, wall)
        else:
            self._now = wall
            self.outages.moved(step_s)
            self._burns.clear()
            self.log.warn("the clock was set by {seconds} s, or this host was asleep", seconds=round(step_s))
        return self._now

    # -- what is known -----------------------------------------------------------------------------------

    def objectives(self, domain: bytes) -> Objectives:
        """What is expected of a peer."""
        return self._own.get(domain, self._default)

    def since(self, domain: bytes, span_s: float) -> tuple[Sum, int] | None:
        """What was counted of a peer, and for how many milliseconds of that time this process was there.

        Returns:
            None where nothing is known of it.
        """
        now = self.now()
        windows, rest = self.book.find(domain, now), self.book.find(REST, now)
        if windows is None:
            return None
        counted = windows.since(span_s, now)
        seen = rest.since(span_s, now).cells.get(SEEN_MS, 0) if rest is not None else 0
        return counted, min(seen, round((now - counted.begin) * 1000))

    def measures(self, domain: bytes, span_s: float) -> list[Measure]:
        """Each objective of a peer, measured; without figures nothing was measured."""
        known = self.since(domain, span_s)
        if known is None:
            return measure(self.objectives(domain), {}, 0)
        return measure(self.objectives(domain), known[0].cells, known[1])

    def burns(self, domains: Iterable[bytes]) -> dict[str, dict[tuple[str, str], float]]:
        """How fast each objective of these peers is used up, by objective and window."""
        now, found = self.now(), {}
        for domain in domains:
            if self.objectives(domain):
                at, burns = self._burns.get(domain, (float("-inf"), {}))
                if now - at >= _FRESH_S:
                    burns = self._measured(domain)
                found[domain] = (max(at, now) if now - at >= _FRESH_S else at, burns)
        self._burns = found
        return {domain.decode("ascii"): burns for domain, (_, burns) in found.items() if burns}

    def down(self, domains: Iterable[bytes]) -> dict[str, bool]:
        """Which of these peers cannot be reached, of those of which it is known."""
        known = (domain for domain in domains if self.outages.knows(domain))
        return {domain.decode("ascii"): self.outages.is_down(domain) for domain in known}

    def _measured(self, domain: bytes) -> dict[tuple[str, str], float]:
        return {
            (one.objective, window): one.burn
            for window, span_s in WINDOWS.items()
            for one in self.measures(domain, span_s)
            if one.burn is not None
        }

    # -- keeping -----------------------------------------------------------------------------------------

    def _keep(self, kept: Kept) -> None:
        key = self._process + b"%d/%d/" % (kept.ring, kept.number) + kept.domain
        self._store.put(QUALITY, key, kept.value, kept.expires_at)

    def _restore_outages(self, key: bytes, value: bytes, now: float) -> None:
        try:
            outages = msgspec.json.decode(value, type=list[Outage])
        except msgspec.MsgspecError:
            self.log.warn("state: an entry of {table} cannot be read and is dropped", table=OUTAGES)
            self._store.remove(OUTAGES, key)
            return
        self.outages.restore(key.removeprefix(self._process), outages, now)

    def _changed(self, domain: bytes, outage: Outage, what: str) -> None:
        kept = msgspec.json.encode(self.outages.of(domain))
        self._store.put(OUTAGES, self._process + domain, kept, self.now() + KEEP_S)
        reason = outage.reason
        told = {
            "domain": domain.decode("ascii", "replace"),
            "stage": reason.stage.value,
            "reason": reason.word,
        }
        if what == "begins":
            self.log.warn("outage of {domain} begins: {reason}", **told)
        elif what == "ends":
            self.log.info(
                "outage of {domain} ends, {how}: {reason}, down for {seconds} s, side {side}", **told,
                seconds=round(outage.down_ms / 1000, 1), how=outage.how, side=outage.side,
            )  # fmt: skip
        elif what == "is ours":
            self.log.warn("outage of {domain} is our own: most peers were lost at once", **told)
        elif outage.flaps & (outage.flaps - 1) == 0:  # the first, second, fourth, eighth ... time
            self.log.warn(
                "outage of {domain} goes on: it was back {count} time(s)", **told, count=outage.flaps
            )


def always(config: Config) -> list[bytes]:
    """Peers whose figures are always there: those watched, and those with objectives of their own."""
    own = (peer.domain for peer in config.peers if peer.objectives != Expected())
    return [name.encode("ascii") for name in dict.fromkeys((*config.metrics.watch, *own))]


def _objectives(own: Expected, others: Expected) -> Objectives:
    def first(mine: float, theirs: float) -> float | None:
        return mine or theirs or None

    return Objectives(
        first(own.availability_percent, others.availability_percent),
        first(own.delivery_p99_s, others.delivery_p99_s),
        first(own.refusals_percent, others.refusals_percent),
    )


def _kept(key: bytes, value: bytes) -> Kept | None:
    ring, _, rest = key.partition(b"/")
    index, _, domain = rest.partition(b"/")
    if not (ring.isdigit() and index.isdigit() and domain):
        return None
    return Kept(domain, int(ring), int(index), value, 0.0)
