"""The subscriptions that passed this router, and may be notified (rule 1; specification sections 7.6, 7.7).

A table of plain values: who watches whom under which id, and until when. Services and gateways have their own
machines for what they hold; this table only decides what passes, and whom the router tells *unknown*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from imxrouter.model.operations import SubscriptionState
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.limits import ZONE_SHARE, gcra_wait
from imxrouter.routing.rounds import Rounds
from imxrouter.routing.zones import zone_of

#: Seconds after its end for which a subscription still takes what is late (specification section 7.6).
LATE_S: Final = 32.0
#: Notifications of one subscription: one in so many seconds on average, and how many seconds' worth at once.
NOTIFY_INTERVAL_S: Final = 1.0
NOTIFY_BURST_S: Final = 19.0


class Subscription(NamedTuple):
    """One entry.

    Attributes:
        end: monotonic seconds at which it ends; what is late has `LATE_S` more. While it is asked for, it may
            pass after that; only an answer changes this.
        watcher: as spelled in the envelope.
        presentity: the same.
        ident: its id.
        granted: somebody granted it; before it only waits for the answer.
        mine: this process passed it on last, and looks after its watcher.
        over: number of the link over which it was asked for or renewed last; 0: not known.
    """

    end: float
    watcher: bytes
    presentity: bytes
    ident: bytes
    granted: bool
    mine: bool = True
    over: int = 0


@dataclass(frozen=True, slots=True)
class SubscriptionLimits:
    """How many are remembered.

    Attributes:
        total: in all.
        per_domain: of one watcher's or presentity's domain; of strangers' watchers of one zone, who makes as
            many domains as he likes.
    """

    total: int = 200_000
    per_domain: int = 50_000


def subscription_key(watcher_key: bytes, presentity_key: bytes, ident: bytes) -> bytes:
    """What names a subscription: both address keys, which hold no 0x00, and the id."""
    return b"\0".join((watcher_key, presentity_key, ident))


class Subscriptions:
    """The table.

    Args:
        limits: how many.

    Attributes:
        answer_s: for so long an answer to a SUBSCRIBE is waited for.
        asked_over: number of the link over which the subscription that was notified last was asked for.
        served: domains that are no strangers'.
        may_keep: whether a new one can be written down now.
        on_begun: told each entry that waits for its first answer.
        on_changed: told (key, entry) of each that is granted or renewed, and (key, None) of each that ended.
    """

    def __init__(self, limits: SubscriptionLimits = SubscriptionLimits()) -> None:
        self.limits = limits
        self.served: Container[bytes] = ()
        self.answer_s = LATE_S
        self.asked_over = 0
        self.may_keep: Callable[[], bool] = lambda: True
        self.on_begun: Callable[[Subscription], None] = lambda _entry: None
        self.on_changed: Callable[[bytes, Subscription | None], None] = lambda *_: None
        self._entries: dict[bytes, Subscription] = {}
        self._of_watcher: dict[bytes, dict[bytes, None]] = {}
        self._of_presentity: dict[bytes, dict[bytes, None]] = {}
        #: of the watchers of a zone, in all (with b"") and to the users of each domain
        self._of_zone: Counter[tuple[str, bytes]] = Counter()
        self._arrivals: dict[bytes, float] = {}
        #: of those that are asked for now: how many answers are waited for, and until when one may come
        self._asked: dict[bytes, tuple[int, float]] = {}
        self._rounds: Rounds[bytes] = Rounds()

    def __len__(self) -> int:
        return len(self._entries)

    # -- what passes -------------------------------------------------------------------------------------

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def judge_subscribe(
        self, key: bytes, watcher_domain: bytes, presentity_domain: bytes, duration_s: int
    ) -> Reason | None:
        """Why a SUBSCRIBE may not pass; None where it may."""
        if key in self._entries:
            return None
        most = self.limits.per_domain
        if len(self._entries) >= self.limits.total or len(self._of_watcher.get(watcher_domain, ())) >= most:
            return Reason.BUSY
        zone = _zone(watcher_domain)
        if self._of_zone[zone, b""] >= most and watcher_domain not in self.served:
            return Reason.BUSY
        used = len(self._of_presentity.get(presentity_domain, ()))
        if used >= 2 * most or (
            used >= most and self._of_zone[zone, presentity_domain] >= most // ZONE_SHARE
        ):  # one zone alone must not shut out the others
            return Reason.BUSY
        return Reason.STATE_UNAVAILABLE if duration_s and not self.may_keep() else None

    def judge_notify(self, key: bytes, now: float) -> tuple[Reason, float] | None:
        """Why a NOTIFY may not pass, and for how many seconds; None where it may, and is counted."""
        entry = self._entries.get(key)
        if entry is None or (now >= entry.end + LATE_S and not self._waits(key, now)):
            return Reason.NOT_SUBSCRIBED, 0.0
        self.asked_over = entry.over
        arrival = self._arrivals.get(key, now)
        if arrival > now:
            wait = gcra_wait(arrival, now, NOTIFY_BURST_S)
            if wait:
                return Reason.RATE_LIMITED, wait
            self._arrivals[key] = arrival + NOTIFY_INTERVAL_S
        else:
            self._arrivals[key] = now + NOTIFY_INTERVAL_S
        return None

    def begin(
        self, key: bytes, watcher: bytes, presentity: bytes, ident: bytes, now: float, over: int = 0
    ) -> None:
        """A SUBSCRIBE was accepted: notifications may come before its answer does, as long as that may take.

        Args:
            key: of the subscription.
            watcher: as spelled in the envelope.
            presentity: the same.
            ident: its id.
            now: monotonic seconds.
            over: number of the link over which it came; 0: it is the router's own.
        """
        entry, until = self._entries.get(key), self.waits_until(now)
        if entry is None:
            entry = Subscription(now, watcher, presentity, ident, False, over=over)
            self._enter(key, entry)
            self.on_begun(entry)
        else:
            if over and over != entry.over:
                entry = self._entries[key] = entry._replace(over=over)
            if entry.end < until:
                self.on_begun(entry)
        count, before = self._asked.get(key, (0, until))
        self._asked[key] = count + 1, max(before, until)

    def waits_until(self, now: float) -> float:
        """The end of what is asked for now and has no answer yet; what is late has `LATE_S` more."""
        return now + max(self.answer_s - LATE_S, 0.0)

    def _waits(self, key: bytes, now: float) -> bool:
        """Whether an answer may come still, for which the subscription is there."""
        asked = self._asked.get(key)
        return asked is not None and now < asked[1] + LATE_S

    def _answered(self, key: bytes) -> float:
        """One answer fewer is waited for; returns the end of what waited for it."""
        count, until = self._asked.pop(key, (0, 0.0))
        if count > 1:
            self._asked[key] = count - 1, until
        return until

    def settle(
        self, key: bytes, state: SubscriptionState | None, granted_s: int, asked_s: int, now: float, *,
        renews_only: bool = False,
    ) -> None:  # fmt: skip
        """The answer to a SUBSCRIBE.

        Args:
            key: of the subscription.
            state: of a success; None where it failed, or said no state.
            granted_s: what the answer grants.
            asked_s: what was asked for; more is never granted.
            now: monotonic seconds.
            renews_only: the router asked by itself, so what its watcher has ended meanwhile stays so.
        """
        self._answered(key)
        entry = self._entries.get(key)
        if entry is None or (renews_only and not entry.granted):
            return
        if state is None:
            if not entry.granted and key not in self._asked:
                self._remove(key)
            return
        if state is SubscriptionState.TERMINATED or not min(granted_s, asked_s):
            self._entries[key] = entry._replace(end=now, granted=False)
            if entry.granted:
                self.on_changed(key, None)
            return
        end = now + min(granted_s, asked_s)
        if entry.granted and entry.mine and abs(end - entry.end) < 1.0:
            return
        entry = self._entries[key] = entry._replace(end=end, granted=True, mine=True)
        self.on_changed(key, entry)

    def doubt(self, key: bytes) -> None:
        """Nobody knows what became of a SUBSCRIBE: notifications may come as if its answer might still."""
        until, entry = self._answered(key), self._entries.get(key)
        if entry is not None and entry.end < until:
            self._entries[key] = entry._replace(end=until)

    def ended(self, key: bytes) -> None:
        """A notification told that it is terminated."""
        entry = self._entries.get(key)
        if entry is not None:
            self._remove(key)
            if entry.granted:
                self.on_changed(key, None)

    def restore(self, key: bytes, entry: Subscription) -> None:
        """One that a store or another process knows of; nobody is told."""
        known = self._entries.get(key)
        if known is not None:
            entry = entry._replace(over=known.over)
            self._leave(key, known)
        self._enter(key, entry)

    def forget(self, key: bytes) -> None:
        """One that another process knows to have ended; nobody is told."""
        self._remove(key)

    def forget_unserved(self, served: Container[bytes], domains: Iterable[bytes] | None = None) -> int:
        """Forget those that nobody here is a side of any more, and have that told. Returns how many.

        Args:
            served: domains served here.
            domains: those to look at; None: all.
        """
        keys: set[bytes] = set(self._entries if domains is None else ())
        for domain in domains or ():
            keys.update(self._of_watcher.get(domain, ()), self._of_presentity.get(domain, ()))
        strange = [key for key in keys if not any(domain in served for domain in self._sides(key))]
        for key in strange:
            self.ended(key)
        return len(strange)

    def _sides(self, key: bytes) -> tuple[bytes, bytes]:
        entry = self._entries[key]
        return _domain(entry.watcher), _domain(entry.presentity)

    def sweep(self, now: float, most: int = 5_000) -> int:
        """Forget what ended; looks at `most` entries, the next call goes on. Returns how many went."""
        gone = 0
        for key in self._rounds.next(self._entries, most):
            entry = self._entries.get(key)
            if entry is not None and now >= entry.end + LATE_S and not self._waits(key, now):
                self._remove(key)
                gone += 1
            elif self._arrivals.get(key, now + 1) <= now:
                del self._arrivals[key]
        return gone

    # -- who watches whom --------------------------------------------------------------------------------

    def find(self, key: bytes) -> Subscription | None:
        """The entry."""
        return self._entries.get(key)

    def items(self) -> Iterator[tuple[bytes, Subscription]]:
        """Every entry with its key."""
        return iter(tuple(self._entries.items()))

    def watching(self, presentity_domain: bytes, now: float) -> list[bytes]:
        """Keys of the granted subscriptions to users of a domain that this process looks after."""
        return self._live(self._of_presentity, presentity_domain, now)

    def watched_by(self, watcher_domain: bytes, now: float) -> list[bytes]:
        """Keys of the granted subscriptions of users of a domain that this process looks after."""
        return self._live(self._of_watcher, watcher_domain, now)

    def concerns(self, domain: bytes) -> bool:
        """Whether users of a domain watch, or are watched."""
        return domain in self._of_presentity or domain in self._of_watcher

    def keys_of(self, concerned: Callable[[bytes], bool]) -> list[bytes]:
        """Keys of the subscriptions of which one side's domain is concerned."""
        found: dict[bytes, None] = {}
        for index in (self._of_watcher, self._of_presentity):
            for domain, keys in index.items():
                if concerned(domain):
                    found.update(keys)
        return list(found)

    def presentity_domains(self) -> list[bytes]:
        """Domains whose users are watched."""
        return list(self._of_presentity)

    def _live(self, index: dict[bytes, dict[bytes, None]], domain: bytes, now: float) -> list[bytes]:
        found = ((key, self._entries[key]) for key in index.get(domain, ()))
        return [key for key, entry in found if entry.granted and entry.mine and entry.end > now]

    def _enter(self, key: bytes, entry: Subscription) -> None:
        self._entries[key] = entry
        watcher_domain, presentity_domain = self._sides(key)
        self._of_watcher.setdefault(watcher_domain, {})[key] = None
        self._of_presentity.setdefault(presentity_domain, {})[key] = None
        zone = _zone(watcher_domain)
        self._of_zone[zone, b""] += 1
        self._of_zone[zone, presentity_domain] += 1

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        self._arrivals.pop(key, None)
        self._asked.pop(key, None)
        if entry is not None:
            self._leave(key, entry)

    def _leave(self, key: bytes, entry: Subscription) -> None:
        watcher_domain, presentity_domain = _domain(entry.watcher), _domain(entry.presentity)
        for index, domain in ((self._of_watcher, watcher_domain), (self._of_presentity, presentity_domain)):
            keys = index[domain]
            del keys[key]
            if not keys:
                del index[domain]
        zone = _zone(watcher_domain)
        for place in ((zone, b""), (zone, presentity_domain)):
            self._of_zone[place] -= 1
            if not self._of_zone[place]:
                del self._of_zone[place]


def _domain(address: bytes) -> bytes:
    return address.rpartition(b"@")[2]


def _zone(domain: bytes) -> str:
    return zone_of(domain.decode("ascii", "replace"))
