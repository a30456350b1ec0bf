"""Outages of peers: when each began and ended, why, and whose it was (FCC-2, FCC-7).

Pure: it is told verdicts and the time, and tells what changed. An outage begins with the verdict that every
target of a domain failed, and ends when it is reached again, or when nobody has tried for long. A peer that
comes and goes has one outage with `flaps`, of which only the time that it was away is counted.

Whose it was is judged as liveness does: where more than half of the peers that were reached a short while ago
are lost together, the loss is our own. That takes `TOGETHER_S` to know, so the seconds of the first half
minute are credited then, and never change sides.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct, field

from imxrouter.model.quality import Cells, out_ms
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason

#: Of so many peers at least, more than half lost within `TOGETHER_S` means that we are; as in `liveness`.
OWN_LOSS_OF: Final = 3
TOGETHER_S: Final = 30.0
#: Peers that were reached within this count for that.
RECENT_S: Final = 3600.0
#: A peer that is lost again so soon has not really been back.
FLAP_S: Final = 60.0
#: What arrives so soon after a verdict may have been sent before it.
LATE_S: Final = 2.0
#: Outages kept of one peer; the oldest go, or what is older than the longest window.
PER_PEER: Final = 50
KEEP_S: Final = 32 * 86_400.0
#: Peers with outages, and peers that were reached, of which is known.
PEERS: Final = 2000
REACHED: Final = 10_000
#: Reasons told of one outage.
_REASONS: Final = 8

THEIRS, OURS = "theirs", "ours"


class Outage(Struct):
    """One outage; all times are seconds since 1970.

    Attributes:
        begin: of the first verdict.
        end: when it was reached, or given up; None while it lasts.
        side: `theirs` or `ours`, as it stands.
        reasons: words of the verdicts and how often each came, the first one first.
        failed_at: of the last verdict.
        flaps: how often it came back, and was lost again within `FLAP_S`.
        down_ms: for how long it was away.
        told_ms: how much of that is credited to a side.
        counted_at: until when it is counted.
        how: what ended it: `reached`, `not tried`, `own network back`.
        settled: its side is final.
    """

    begin: float
    side: str
    reasons: dict[str, int]
    failed_at: float
    counted_at: float
    end: float | None = None
    flaps: int = 0
    down_ms: int = 0
    told_ms: int = 0
    how: str = ""
    settled: bool = False
    was_up: bool = False

    @property
    def reason(self) -> Reason:
        """Of the first verdict."""
        return REASON_BY_WORD.get(next(iter(self.reasons), ""), Reason.UNREACHABLE)


class _Peer(Struct):
    outages: list[Outage] = field(default_factory=list)

    @property
    def open(self) -> Outage | None:
        return self.outages[-1] if self.outages and self.outages[-1].end is None else None


class Outages:
    """The outages of all peers.

    Args:
        quiet_s: an outage of which no try failed for so long is over: nobody knows.

    Attributes:
        on_change: told (domain, outage, what): `begins`, `again`, `is ours`, `ends`.
    """

    def __init__(self, quiet_s: float = 900.0) -> None:
        self._quiet_s = quiet_s
        self._peers: OrderedDict[bytes, _Peer] = OrderedDict()
        self._open: dict[bytes, Outage] = {}
        self._up: OrderedDict[bytes, float] = OrderedDict()
        self._own: set[bytes] = set()
        self._own_size = 0
        self._due: dict[bytes, Cells] = {}
        self.on_change: Callable[[bytes, Outage, str], None] = lambda *_: None

    # -- what happens ------------------------------------------------------------------------------------

    def failed(self, domain: bytes, reason: Reason, now: float, *, own: bool = False) -> None:
        """A verdict: every target of the domain failed.

        Args:
            domain: the peer's.
            reason: of the verdict.
            now: seconds since 1970.
            own: somebody else knows that it is our own network.
        """
        outage = self._open.get(domain)
        if outage is not None and outage.side == OURS and outage.settled and not own and self._own_is_over():
            self._end(domain, outage, now, "own network back")
            outage = None
            fresh = True
        else:
            fresh = False
        if outage is None:
            outage = self._begin(domain, reason, now, fresh=fresh)
        else:
            outage.failed_at = now
        if reason.word in outage.reasons or len(outage.reasons) < _REASONS:
            outage.reasons[reason.word] = outage.reasons.get(reason.word, 0) + 1
        if not fresh:
            self._judge(domain, outage, now, own=own or reason is Reason.OWN_NETWORK)

    def reached(self, domain: bytes, now: float) -> None:
        """The domain was reached, or proved itself."""
        self._up.pop(domain, None)
        self._up[domain] = now
        if len(self._up) > REACHED:
            self._up.popitem(last=False)
        outage = self._open.get(domain)
        if outage is not None:
            self._end(domain, outage, now, "reached")

    def delivered(self, domain: bytes, now: float) -> None:
        """Something was delivered to the domain within the last second."""
        outage = self._open.get(domain)
        if outage is None or now - outage.failed_at > LATE_S:
            self.reached(domain, now)

    def tick(self, now: float, *, own: bool = False) -> dict[bytes, Cells]:
        """Once a second: time goes on; returns what is to be counted of each peer (`quality.out_ms`).

        Args:
            now: seconds since 1970.
            own: somebody else knows that our own network is lost.
        """
        for domain, outage in list(self._open.items()):
            if now - outage.failed_at > self._quiet_s:
                self._end(domain, outage, now, "not tried")
                continue
            self._count(outage, now)
            if own and not outage.settled and outage.side == THEIRS:
                self._ours(domain, outage)
            outage.settled = outage.settled or now - outage.begin >= TOGETHER_S
            self._credit(domain, outage)
        due, self._due = self._due, {}
        return due

    def moved(self, step_s: float) -> None:
        """The clock was set by so much: what lasts has lasted neither longer nor shorter for it."""
        for outage in self._open.values():
            outage.begin += step_s
            outage.failed_at += step_s
            outage.counted_at += step_s
        for domain in self._up:
            self._up[domain] += step_s

    # -- what is known -----------------------------------------------------------------------------------

    def is_down(self, domain: bytes) -> bool:
        """Whether it cannot be reached now."""
        return domain in self._open

    def knows(self, domain: bytes) -> bool:
        """Whether it was reached, or could not be."""
        return domain in self._up or domain in self._peers

    def of(self, domain: bytes, since: float = 0.0) -> list[Outage]:
        """Its outages that lasted after a time, the oldest first."""
        peer = self._peers.get(domain)
        return [one for one in peer.outages if one.end is None or one.end > since] if peer is not None else []

    def restore(self, domain: bytes, outages: Iterable[Outage], now: float) -> None:
        """Give back what was known before a restart; while nobody was there to see, nothing is counted."""
        peer = self._peers.setdefault(domain, _Peer())
        peer.outages = [one for one in outages if one.end is None or one.end > now - KEEP_S][-PER_PEER:]
        for one in peer.outages[:-1]:
            one.end = one.end if one.end is not None else one.counted_at
        last = peer.open
        if last is not None:
            last.settled, last.counted_at, last.failed_at = True, now, now
            last.told_ms = last.down_ms
            self._open[domain] = last
            if last.side == OURS:
                self._own.add(domain)
                self._own_size = max(self._own_size, len(self._own))

    # -- the machine -------------------------------------------------------------------------------------

    def _begin(self, domain: bytes, reason: Reason, now: float, *, fresh: bool) -> Outage:
        peer = self._peers.pop(domain, None) or _Peer()
        self._peers[domain] = peer
        last = peer.outages[-1] if peer.outages else None
        if not fresh and last is not None and last.end is not None and 0 <= now - last.end < FLAP_S:
            last.end, last.how, last.failed_at, last.counted_at = None, "", now, now
            last.flaps += 1
            self._open[domain] = last
            self.on_change(domain, last, "again")
            return last
        outage = Outage(now, THEIRS, {}, now, now, was_up=self._was_up(domain, now), settled=fresh)
        outage.reasons[reason.word] = 0
        peer.outages.append(outage)
        del peer.outages[:-PER_PEER]
        self._open[domain] = outage
        self._make_room()
        self.on_change(domain, outage, "begins")
        return outage

    def _end(self, domain: bytes, outage: Outage, now: float, how: str) -> None:
        self._count(outage, now)
        outage.end, outage.how = now, how
        self._credit(domain, outage, final=True)
        del self._open[domain]
        self._own.discard(domain)
        self.on_change(domain, outage, "ends")

    def _judge(self, domain: bytes, outage: Outage, now: float, *, own: bool) -> None:
        """Whether the loss is our own, with those that were lost together with it."""
        if outage.settled or outage.side == OURS:
            return
        if own:
            self._ours(domain, outage)
            return
        while self._up and now - next(iter(self._up.values())) > RECENT_S:
            self._up.popitem(last=False)
        lost = {
            name: one
            for name, one in self._open.items()
            if one.was_up and not one.settled and now - one.begin <= TOGETHER_S
        }
        known = len(self._up.keys() | lost.keys())
        if known >= OWN_LOSS_OF and 2 * len(lost) > known:
            for name, one in lost.items():
                if one.side == THEIRS:
                    self._ours(name, one)

    def _ours(self, domain: bytes, outage: Outage) -> None:
        outage.side = OURS
        if not self._own:
            self._own_size = 0
        self._own.add(domain)
        self._own_size = max(self._own_size, len(self._own))
        self.on_change(domain, outage, "is ours")

    def _own_is_over(self) -> bool:
        """Half of those that were lost together are back."""
        return 2 * len(self._own) <= self._own_size or self._own_size < OWN_LOSS_OF

    def _was_up(self, domain: bytes, now: float) -> bool:
        return now - self._up.get(domain, float("-inf")) <= RECENT_S

    @staticmethod
    def _count(outage: Outage, now: float) -> None:
        outage.down_ms += max(0, round((now - outage.counted_at) * 1000))
        outage.counted_at = now

    def _credit(self, domain: bytes, outage: Outage, *, final: bool = False) -> None:
        due = outage.down_ms - outage.told_ms
        if due and (outage.settled or final):
            cells = self._due.setdefault(domain, {})
            cell = out_ms(outage.side == OURS, outage.reason)
            cells[cell] = cells.get(cell, 0) + due
            outage.told_ms = outage.down_ms

    def _make_room(self) -> None:
        """The peer goes whose outage began longest ago, and is over."""
        if len(self._peers) > PEERS:
            gone = next((name for name in self._peers if name not in self._open), next(iter(self._peers)))
            del self._peers[gone]
            self._open.pop(gone, None)
            self._own.discard(gone)
