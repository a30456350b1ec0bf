"""Where our own traffic goes: state, last error, next try (IMX-10).

Connections dialled at a stranger's word never touch this table; `dialling.py` has its own memory for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.rounds import Rounds

#: Exponents above this reach any cap; keeps the power small.
_MOST_DOUBLINGS: Final = 30


class DestinationState(Enum):
    """Where we stand with a domain."""

    IDLE = "idle"
    RESOLVING = "resolving"
    CONNECTING = "connecting"
    UP = "up"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait after failures.

    Attributes:
        first_s: after the first; doubles with each one.
        cap_s: the longest wait.
        jitter: part of each wait that is random, so that routers do not return together.
    """

    first_s: float = 1.0
    cap_s: float = 300.0
    jitter: float = 0.5

    def wait_s(self, failures: int, chance: float) -> float:
        """The wait after so many failures in a row; `chance` is in [0, 1)."""
        full = min(self.cap_s, self.first_s * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS))
        return full * (1.0 - self.jitter * chance)


@dataclass(frozen=True, slots=True)
class LastError:
    """Why and when the last try failed; `note` is for operators."""

    reason: Reason
    at: float
    note: str = ""


class Destination:
    """One remote domain by one protocol. Who connects reports what he does; the hold queue asks."""

    __slots__ = (
        "_backoff",
        "_chance",
        "_told",
        "domain",
        "failures",
        "last_error",
        "next_try",
        "protocol",
        "since",
        "state",
    )

    def __init__(
        self,
        domain: Domain,
        backoff: BackOff,
        chance: Callable[[], float],
        now: float,
        told: Callable[[Destination], None] = lambda _: None,
        protocol: Protocol = Protocol.IMX,
    ) -> None:
        """Make one that nothing is known of.

        Args:
            domain: its name.
            backoff: how long to wait.
            chance: gives a random number in [0, 1).
            now: monotonic seconds.
            told: called after each failure, and when failures are forgotten.
            protocol: by which it is reached.
        """
        self.domain = domain
        self.protocol = protocol
        self.state = DestinationState.IDLE
        self.since = now
        self.failures = 0
        self.last_error: LastError | None = None
        self.next_try = now
        self._backoff = backoff
        self._chance = chance
        self._told = told

    def may_try(self, now: float) -> bool:
        """Whether a look-up and dial may begin: nothing runs, nothing is up, and the wait is over."""
        if self.state is DestinationState.IDLE:
            return True
        return self.state is DestinationState.FAILING and now >= self.next_try

    def retry_after_s(self, now: float) -> int:
        """Whole seconds until the next try is due; at least 1 while failing, else 0."""
        if self.state is not DestinationState.FAILING:
            return 0
        return max(1, -int((now - self.next_try) // 1))

    def resolving(self, now: float) -> None:
        """A look-up began."""
        self._enter(DestinationState.RESOLVING, now)

    def connecting(self, now: float) -> None:
        """Targets are being dialled."""
        self._enter(DestinationState.CONNECTING, now)

    def up(self, now: float) -> None:
        """A link carries our traffic: failures are forgotten, but the last error stays to be read."""
        self._enter(DestinationState.UP, now)
        self._forget_failures(now)

    def idle(self, now: float) -> None:
        """The last link was closed in order."""
        self._enter(DestinationState.IDLE, now)

    def change(self, backoff: BackOff) -> None:
        """Wait by other times after the next failure."""
        self._backoff = backoff

    def failed(self, reason: Reason, now: float, note: str = "") -> float:
        """Every target failed, or the look-up did. Returns the time of the next try."""
        self._enter(DestinationState.FAILING, now)
        self.failures += 1
        self.last_error = LastError(reason, now, note)
        self.next_try = now + self._backoff.wait_s(self.failures, self._chance())
        self._told(self)
        return self.next_try

    def restore(self, failures: int, next_try: float, last_error: LastError | None, now: float) -> None:
        """Go on failing where a store says that it was; the wait is never longer than the longest."""
        self._enter(DestinationState.FAILING, now)
        self.failures = failures
        self.last_error = last_error
        self.next_try = min(next_try, now + self._backoff.cap_s)

    def refused(self, reason: Reason, now: float, note: str = "") -> None:
        """It is reached, but did not take what one of our domains claimed: kept to be read, no back-off."""
        self.last_error = LastError(reason, now, note)

    def peer_proved(self, now: float) -> bool:
        """The peer called and proved itself; for that it was dialled, which is the one try ahead of time.

        How often strangers can have it dialled is limited where claims are verified (`routing.dialling`).

        Returns:
            Whether it was failing until now.
        """
        if self.state is not DestinationState.FAILING:
            return False
        self._enter(DestinationState.IDLE, now)
        self._forget_failures(now)
        return True

    def _forget_failures(self, now: float) -> None:
        had, self.failures, self.next_try = self.failures, 0, now
        if had:
            self._told(self)

    def _enter(self, state: DestinationState, now: float) -> None:
        if state is not self.state:
            self.state = state
            self.since = now


_Key = tuple[str, Protocol]


class DestinationTable:
    """Every remote domain our services write to, by each protocol that it was reached by; bounded.

    What fails by one protocol says nothing of another one: each has a back-off of its own.

    Attributes:
        keep_s: how long an entry that nobody uses is kept.
        on_changed: told (domain, protocol, entry) after each failure, and when failures are forgotten; entry
            is None where an operator cleared it.
    """

    def __init__(
        self,
        chance: Callable[[], float],
        backoff: BackOff = BackOff(),
        *,
        limit: int = 100_000,
        keep_s: float = 600.0,
    ) -> None:
        """Make an empty table.

        Args:
            chance: gives a random number in [0, 1).
            backoff: how long to wait.
            limit: entries at most.
            keep_s: an entry that is idle or failing for this long after its next try was due may be dropped.
        """
        self._chance = chance
        self._backoff = backoff
        self._limit = limit
        self.keep_s = keep_s
        self.on_changed: Callable[[Domain, Protocol, Destination | None], None] = lambda *_: None
        self._entries: dict[_Key, Destination] = {}
        self._rounds: Rounds[_Key] = Rounds()
        self._full_until = float("-inf")

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Destination]:
        return iter(tuple(self._entries.values()))

    def another(self) -> DestinationTable:
        """An empty table that waits as this one does."""
        return DestinationTable(self._chance, self._backoff, limit=self._limit, keep_s=self.keep_s)

    def change(self, backoff: BackOff) -> None:
        """Wait by other times after the next failure of each."""
        self._backoff = backoff
        for entry in self._entries.values():
            entry.change(backoff)

    def find(self, domain: Domain, protocol: Protocol = Protocol.IMX) -> Destination | None:
        """The entry, where there is one."""
        return self._entries.get((domain.name, protocol))

    def of(self, domain: Domain) -> list[Destination]:
        """The entries of all protocols that there are."""
        return [one for each in Protocol if (one := self.find(domain, each)) is not None]

    def open(self, domain: Domain, now: float, protocol: Protocol = Protocol.IMX) -> Destination | None:
        """The entry, made where needed; None where the table is full, and the sender is told `busy`."""
        entry = self.find(domain, protocol)
        if entry is None and self._room(now):
            entry = self._entries[domain.name, protocol] = Destination(
                domain, self._backoff, self._chance, now, self._told, protocol
            )
        return entry

    def peer_proved(self, domain: Domain, now: float, protocol: Protocol = Protocol.IMX) -> bool:
        """As `Destination.peer_proved`; never makes an entry, for we may have nothing to say to the peer."""
        entry = self.find(domain, protocol)
        return entry is not None and entry.peer_proved(now)

    def forget(self, domain: Domain) -> bool:
        """An operator clears the back-off of all protocols; tells whether there was an entry to go."""
        resting = (DestinationState.IDLE, DestinationState.FAILING)
        gone = [one for one in self.of(domain) if one.state in resting]
        for entry in gone:
            del self._entries[domain.name, entry.protocol]
            self.on_changed(domain, entry.protocol, None)
        return bool(gone)

    def sweep(self, now: float, most: int | None = None) -> int:
        """Drop what nobody used for `keep_s`; returns how many.

        Args:
            now: monotonic seconds.
            most: entries looked at; the next call goes on. None: all.
        """
        looked_at = list(self._entries) if most is None else self._rounds.next(self._entries, most)
        gone = [name for name in looked_at if self._is_stale(self._entries.get(name), now)]
        for name in gone:
            del self._entries[name]
        return len(gone)

    def _told(self, entry: Destination) -> None:
        self.on_changed(entry.domain, entry.protocol, entry)

    def _room(self, now: float) -> bool:
        """Whether one more fits; a full table is searched once a second at most, for that looks at all."""
        if len(self._entries) < self._limit:
            return True
        if now < self._full_until:
            return False
        self._full_until = now + 1.0
        return bool(self.sweep(now))

    def _is_stale(self, entry: Destination | None, now: float) -> bool:
        if entry is None:
            return False
        if entry.state is DestinationState.IDLE:
            return now - entry.since >= self.keep_s
        return entry.state is DestinationState.FAILING and now - entry.next_try >= self.keep_s
