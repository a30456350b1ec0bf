"""Rates: the generic cell rate algorithm as functions, and one float per sender (IMX-33, architecture 7).

An account's whole state is its *arrival*: the time at which its allowance would be full again. A message
pushes it on by the interval; one that finds it more than the burst ahead of now is refused. Where there is a
cool-down a refused message pushes it on as well, until the wait is that long: who goes on waits longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imxrouter.routing.rounds import Rounds
from imxrouter.routing.zones import zone_of

#: Wait told to a sender whose rate cannot be kept because the table is full; a sweep takes about as long.
TABLE_FULL_WAIT_S: Final = 10.0
#: The longest wait told: a sender that may send nothing at all asks again when the operator changed his mind.
MAX_WAIT_S: Final = 3600.0
#: Added to the burst, in messages, so that rounding of the arrival never costs a sender his last one.
_ROUNDING: Final = 0.001
#: A sender is warned from this part of his burst on.
WARN_FROM: Final = 0.8
#: Part of all entries that the domains of one zone may take together.
ZONE_SHARE: Final = 8
#: Senders with a rate of their own are few, and all looked at so often.
EXCEPTIONS_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A lasting rate with a burst, in the two numbers that the algorithm needs.

    Attributes:
        interval_s: seconds that each message costs.
        burst_s: how far ahead of now the arrival may be when a message comes.
    """

    interval_s: float
    burst_s: float

    @property
    def per_s(self) -> float:
        """Messages a second, lasting."""
        return 1 / self.interval_s if self.interval_s else float("inf")

    @classmethod
    def of(cls, per_s: float, burst: int) -> Rate:
        """From messages a second, lasting, and messages at once (at least 1). A rate of 0 refuses all."""
        if per_s <= 0:
            return cls(float("inf"), float("-inf"))
        return cls(1 / per_s, (max(burst, 1) - 1 + _ROUNDING) / per_s)


def gcra_wait(arrival: float, now: float, burst_s: float) -> float:
    """Seconds until a message is allowed; 0 where it is now."""
    return max(0.0, arrival - burst_s - now)


def gcra_next(arrival: float, now: float, interval_s: float) -> float:
    """The arrival after a message that was allowed."""
    return max(arrival, now) + interval_s


class SenderRates:
    """One arrival per sender, under `Address.key`.

    The switch looks into `arrivals` itself and calls `admit` only for a key it does not find there or that is
    over its rate. Senders with a rate of their own are never put there, so that they always come to `admit`.
    """

    def __init__(
        self,
        interval_s: float,
        burst_s: float,
        *,
        per_domain: int = 10_000,
        limit: int = 1_000_000,
        cooldown_s: float = 0.0,
    ) -> None:
        """Make an empty table.

        Args:
            interval_s: of a sender for whom nothing else is said.
            burst_s: the same.
            per_domain: senders of one domain that are remembered at one time.
            limit: senders remembered in all; one zone gets an eighth of it.
            cooldown_s: the longest wait of a sender who goes on while he is refused; 0: it does not grow.
        """
        self.arrivals: dict[bytes, float] = {}
        self.interval_s = interval_s
        self.burst_s = burst_s
        self.per_domain = per_domain
        self.limit = limit
        self.cooldown_s = cooldown_s
        self.table_full = 0
        self._counts: dict[bytes, int] = {}
        self._zone_counts: dict[str, int] = {}
        self._exceptions: dict[bytes, Rate] = {}
        self._exception_arrivals: dict[bytes, float] = {}
        self._next_exceptions = float("-inf")
        self._rounds: Rounds[bytes] = Rounds()

    def change(self, rate: Rate, per_domain: int) -> None:
        """Judge senders for whom nothing else is said by another rate; what they have used counts."""
        self.interval_s, self.burst_s, self.per_domain = rate.interval_s, rate.burst_s, per_domain

    def set_exceptions(self, exceptions: dict[bytes, Rate]) -> None:
        """Replace the senders with a rate of their own: by address key, or by domain for all its users."""
        self._exceptions = dict(exceptions)
        self._exception_arrivals.clear()
        for key in [key for key in self.arrivals if self._exception(key) is not None]:
            self._forget(key)

    def admit(
        self,
        key: bytes,
        domain: bytes,
        now: float,
        interval_s: float | None = None,
        burst_s: float | None = None,
        part: float = 1.0,
    ) -> float:
        """Count a message of a sender, or something that costs a part of one.

        Args:
            key: `Address.key` of the sender.
            domain: its domain in wire form, as in the key; takes a share of the table.
            now: monotonic seconds.
            interval_s: of this sender's domain, where it differs from the default.
            burst_s: the same.
            part: of what a message costs.

        Returns:
            0 where the message is allowed; below 0 where it is and the sender should be warned: minus one,
            less the messages that he may still send at once. Else the seconds to wait.
        """
        interval_s = self.interval_s if interval_s is None else interval_s
        burst_s = self.burst_s if burst_s is None else burst_s
        if self._exceptions:
            own = self._exception(key)
            if own is not None:
                return self._admit_exception(key, own, now, part)
        arrival = self.arrivals.get(key)
        if arrival is None:
            zone = zone_of(domain.decode("ascii", "replace"))
            if not self._room(domain, zone):
                self.table_full += 1
                return TABLE_FULL_WAIT_S
            self._counts[domain] = self._counts.get(domain, 0) + 1
            self._zone_counts[zone] = self._zone_counts.get(zone, 0) + 1
            if burst_s > 0:  # his allowance is full
                self.arrivals[key] = now + interval_s * part
                return 0.0
            arrival = now
        self.arrivals[key], wait = self._judged(arrival, now, interval_s * part, burst_s)
        return wait

    def _judged(self, arrival: float, now: float, interval_s: float, burst_s: float) -> tuple[float, float]:
        """The arrival after a message, and what `admit` says of it."""
        wait = gcra_wait(arrival, now, burst_s)
        if wait:
            cooled = min(arrival + interval_s, now + burst_s + self.cooldown_s)
            arrival = max(arrival, cooled)
            return arrival, min(max(wait, arrival - burst_s - now), MAX_WAIT_S)
        warned = arrival - now > burst_s * WARN_FROM
        arrival = gcra_next(arrival, now, interval_s)
        if not warned:
            return arrival, 0.0
        return arrival, -1.0 - max(0, int((burst_s - arrival + now) / interval_s + 1))

    def is_exception(self, key: bytes) -> bool:
        """Whether the sender has a rate of his own."""
        return self._exception(key) is not None

    def look(
        self, key: bytes, domain: bytes, now: float, interval_s: float, burst_s: float
    ) -> tuple[float, float, float, bool]:
        """How a sender stands, without counting anything.

        Returns:
            What `admit` would say where it refuses, else 0; the part of the burst that is used; messages a
            second, lasting; and whether he is known or there is room to remember him.
        """
        own = self._exception(key)
        arrivals = self.arrivals if own is None else self._exception_arrivals
        zone = zone_of(domain.decode("ascii", "replace"))
        room = self._room(domain, zone) if own is None else len(arrivals) < self.limit
        rate = Rate(interval_s, burst_s) if own is None else own
        arrival = arrivals.get(key)
        if arrival is None and not room:
            return TABLE_FULL_WAIT_S, 0.0, rate.per_s, False
        ahead = max(0.0, arrival - now) if arrival is not None else 0.0
        used = ahead / rate.burst_s if rate.burst_s > 0 else 0.0
        wait = min(gcra_wait(now + ahead, now, rate.burst_s), MAX_WAIT_S)
        return wait, used, rate.per_s, True

    def sweep(self, now: float, most: int = 20_000) -> int:
        """Forget senders whose allowance is full again; looks at `most` entries, the next call goes on.

        Returns:
            How many were forgotten. Forgetting them changes no decision: a new entry starts full.
        """
        if now >= self._next_exceptions:
            self._next_exceptions = now + EXCEPTIONS_EVERY_S
            for key in [key for key, arrival in self._exception_arrivals.items() if arrival <= now]:
                del self._exception_arrivals[key]
        gone = [
            key for key in self._rounds.next(self.arrivals, most) if self.arrivals.get(key, now + 1) <= now
        ]
        domains: dict[bytes, int] = {}
        for key in gone:
            del self.arrivals[key]
            domain = key.rpartition(b"@")[2]
            domains[domain] = domains.get(domain, 0) + 1
        for domain, count in domains.items():
            self._count_down(domain, count)
        return len(gone)

    def _room(self, domain: bytes, zone: str) -> bool:
        return (
            len(self.arrivals) < self.limit
            and self._counts.get(domain, 0) < self.per_domain
            and self._zone_counts.get(zone, 0) < max(self.limit // ZONE_SHARE, 1)
        )

    def _exception(self, key: bytes) -> Rate | None:
        if not self._exceptions:
            return None
        return self._exceptions.get(key) or self._exceptions.get(key.rpartition(b"@")[2])

    def _admit_exception(self, key: bytes, rate: Rate, now: float, part: float) -> float:
        arrivals = self._exception_arrivals
        arrival = arrivals.get(key, now)
        if key not in arrivals and len(arrivals) >= self.limit:
            self.table_full += 1
            return TABLE_FULL_WAIT_S
        if rate.interval_s == float("inf"):
            return MAX_WAIT_S
        arrivals[key], wait = self._judged(arrival, now, rate.interval_s * part, rate.burst_s)
        return wait

    def _forget(self, key: bytes) -> None:
        del self.arrivals[key]
        self._count_down(key.rpartition(b"@")[2], 1)

    def _count_down(self, domain: bytes, count: int) -> None:
        _less(self._counts, domain, count)
        _less(self._zone_counts, zone_of(domain.decode("ascii", "replace")), count)


def _less(counts: dict[bytes, int] | dict[str, int], key: bytes | str, count: int) -> None:
    table: dict[bytes | str, int] = counts  # type: ignore[assignment]
    left = table[key] - count
    if left:
        table[key] = left
    else:
        del table[key]
