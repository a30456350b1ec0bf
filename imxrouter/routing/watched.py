"""What the watcher's side keeps of a subscription, and the values that it gives out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from math import inf
from typing import Final

from imxrouter.model.address import Address
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.operations import EndReason, Subscribe, SubscriptionState, Version
from imxrouter.model.outcome import Outcome, failed_at
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import BackOff
from imxrouter.routing.wheel import Timed

#: Between the two addresses of a key; neither may hold it.
BETWEEN: Final = b"\n"
_BACKOFF: Final = BackOff(first_s=5.0, cap_s=300.0)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Bounds and pauses of the watcher's side.

    Attributes:
        most: subscriptions in all.
        per_watcher: subscriptions of one watcher.
        fetches: that wait for their notification, in all; one watcher may have a tenth.
        fresh_per_s: subscriptions begun in a second: a restart with 50,000 takes 100 s.
        again_s: a lost one is begun again within this time (specification section 7.6).
        renew_from: part of the granted time before which it is not renewed.
        renew_to: part before which it is.
        answer_s: after this a request counts as not answered; twice the router's own time.
        backoff: pauses after failures.
    """

    most: int = 100_000
    per_watcher: int = 2_000
    fetches: int = 1_000
    fresh_per_s: float = 500.0
    again_s: float = 10.0
    renew_from: float = 0.5
    renew_to: float = 0.9
    answer_s: float = 64.0
    backoff: BackOff = _BACKOFF


DEFAULT_SETTINGS: Final = WatchSettings()


class Seen(IntEnum):
    """What the user is shown of a presentity."""

    NOTHING = 0
    KNOWN = 1
    UNKNOWN = 2


class Verdict(Enum):
    """What a notification is worth."""

    #: its presence is to be shown
    NEWS = "news"
    #: its presence is older than, or the same as, what is shown
    NOTHING_NEW = "nothing-new"
    #: it brings no presence
    STATE_ONLY = "state-only"
    #: no such subscription is held: the answer is `not-subscribed`
    NOT_SUBSCRIBED = "not-subscribed"


@dataclass(frozen=True, slots=True)
class Show:
    """Show a watcher that nothing is known of a presentity now."""

    watcher: Address
    presentity: Address
    subscription_id: bytes
    presence: Unknown


@dataclass(frozen=True, slots=True)
class Ended:
    """A subscription is over for good; `reason` is that of a refusal, `end_reason` that of a notification."""

    watcher: Address
    presentity: Address
    subscription_id: bytes
    end_reason: EndReason
    reason: Reason


@dataclass(slots=True)
class Effects:
    """What is to be done: requests to send, doubts to show, ends to tell."""

    send: list[Subscribe] = field(default_factory=list)
    show: list[Show] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Heard:
    """The verdict on a notification, and what follows; a fetch's notification sends nothing."""

    verdict: Verdict
    effects: Effects


@dataclass(frozen=True, slots=True)
class Standing:
    """How a subscription is.

    Attributes:
        watcher: who watches.
        presentity: whom.
        subscription_id: of the subscription.
        state: as last granted or told; None while nothing is granted.
        left_s: seconds until it ends; 0 while nothing is granted.
        seen: what the user is shown.
        why: reason and domain of the last failure, None where there was none since.
        failures: in a row.
        version: of the newest state that was told.
        renewal_s: seconds until it is asked for again; infinite while a request is in flight.
    """

    watcher: Address
    presentity: Address
    subscription_id: bytes
    state: SubscriptionState | None
    left_s: float
    seen: Seen
    why: tuple[Reason, Domain] | None
    failures: int
    version: Version | None
    renewal_s: float = inf


@dataclass(frozen=True, slots=True)
class KeptWatch:
    """A subscription as plain values, for a store.

    Attributes:
        watcher: `local@domain` in wire form.
        presentity: the same.
        subscription_id: of the subscription.
        duration_s: seconds to ask for.
        state: its number on the wire; -1 while nothing is granted.
        ends_at: seconds since 1970; 0 while nothing is granted.
        epoch: of the newest state that was told; -1 where none was.
        number: the same.
    """

    watcher: bytes
    presentity: bytes
    subscription_id: bytes
    duration_s: int
    state: int
    ends_at: float
    epoch: int
    number: int


#: Told of what is to be stored: the key of a subscription, and its form, None where it is gone.
KeptWatches = Callable[[bytes, KeptWatch | None], None]


def pair_key(watcher: Address, presentity: Address) -> bytes:
    """What tables compare: both addresses by key (specification section 3.3)."""
    return watcher.key + BETWEEN + presentity.key


def address_of(raw: bytes) -> Address:
    """The address of a wire form. Raises `BadAddress` or `BadDomain`."""
    local, _, domain = raw.rpartition(b"@")
    return Address.from_wire(local, domain)


def failed_where(watcher: Address, presentity: Address, outcome: Outcome) -> Domain:
    """The domain at which a request of one about the other failed."""
    if outcome.decided_by:
        try:
            return Domain.parse(outcome.decided_by)
        except BadDomain:
            pass  # a word of a stranger that is no domain: name his
    there = presentity.domain
    return there if failed_at(outcome.reason, "", there.name) else watcher.domain


@dataclass(frozen=True, slots=True)
class Fetch:
    """A fetch that waits for its notification until a moment."""

    watcher: Address
    presentity: Address
    message_id: bytes
    until: float

    def of(self, watcher: Address, presentity: Address) -> bool:
        """Whether it is between these two."""
        return pair_key(self.watcher, self.presentity) == pair_key(watcher, presentity)

    def unknown(self, ident: bytes, reason: Reason, domain: Domain) -> Show:
        """What is shown where it brought nothing."""
        return Show(self.watcher, self.presentity, ident, Unknown(self.presentity, reason, domain))


class Watched(Timed):
    """One subscription that is wanted. There are many: addresses are kept as bytes.

    Attributes:
        key: both addresses by key; the very same object as `names` where the spelling is that.
        names: both addresses as they are spelled.
        ident: the subscription's id.
        duration_s: seconds to ask for.
        state: as granted or told; None while nothing is granted.
        end_at: when it ends, while something is granted.
        version: of the newest state that was told.
        seen: what the user is shown.
        why: reason and domain of the last failure.
        asked: message id of the request in flight; None where none is.
        asked_at: when that was sent.
        tries: failures in a row.
        leaving: nobody wants it any more; its end is to be told.
        fresh: it waits for its turn to be begun.
    """

    __slots__ = (
        "asked", "asked_at", "duration_s", "end_at", "fresh", "ident", "key", "leaving", "names", "seen",
        "state", "tries", "version", "why",
    )  # fmt: skip

    def __init__(
        self, key: bytes, watcher: Address, presentity: Address, ident: bytes, duration_s: int
    ) -> None:
        super().__init__()
        names = watcher.wire + BETWEEN + presentity.wire
        self.key = key
        self.names = key if names == key else names
        self.ident = ident
        self.duration_s = duration_s
        self.state: SubscriptionState | None = None
        self.end_at = 0.0
        self.version: Version | None = None
        self.seen = Seen.NOTHING
        self.why: tuple[Reason, Domain] | None = None
        self.asked: bytes | None = None
        self.asked_at = 0.0
        self.tries = 0
        self.leaving = False
        self.fresh = False

    @property
    def watcher(self) -> Address:
        """Who wants it."""
        return address_of(self.names.partition(BETWEEN)[0])

    @property
    def presentity(self) -> Address:
        """Of whom."""
        return address_of(self.names.partition(BETWEEN)[2])

    @property
    def watcher_key(self) -> bytes:
        """Under which his subscriptions are counted."""
        return self.key.partition(BETWEEN)[0]

    @property
    def domain(self) -> bytes:
        """The presentity's domain in wire form."""
        return self.key.rpartition(b"@")[2]

    def doubt(self, reason: Reason, domain: Domain) -> bool:
        """Note that nothing is known, and why; False where that is shown already."""
        why = (reason, domain)
        if self.seen is Seen.UNKNOWN and self.why == why:
            return False
        self.seen, self.why = Seen.UNKNOWN, why
        return True

    def reached(self) -> None:
        """Note that the other side answers: what is said of an earlier failure is over.

        To be called where no notification with a presence is to come, or none is waited for.
        """
        self.why = None
        if self.seen is Seen.UNKNOWN:
            self.seen = Seen.NOTHING

    def standing(self, now: float) -> Standing:
        """How it is, for people."""
        left = max(self.end_at - now, 0.0) if self.state is not None else 0.0
        return Standing(
            self.watcher, self.presentity, self.ident, self.state, left, self.seen, self.why, self.tries,
            self.version, inf if self.asked is not None else max(self.due - now, 0.0),
        )  # fmt: skip

    def to_kept(self, wall_ahead_s: float) -> KeptWatch:
        """Its plain form; `wall_ahead_s` is wall time less the machine's time."""
        watcher, _, presentity = self.names.partition(BETWEEN)
        version = self.version if self.version is not None else Version(-1, -1)
        return KeptWatch(
            watcher, presentity, self.ident, self.duration_s, -1 if self.state is None else int(self.state),
            0.0 if self.state is None else self.end_at + wall_ahead_s, version.epoch, version.number,
        )  # fmt: skip

    @classmethod
    def from_kept(cls, kept: KeptWatch, wall_ahead_s: float, now: float) -> Watched:
        """Read the plain form; what has ended meanwhile is begun again."""
        watcher, presentity = address_of(kept.watcher), address_of(kept.presentity)
        entry = cls(pair_key(watcher, presentity), watcher, presentity, kept.subscription_id, kept.duration_s)
        if kept.epoch >= 0:
            entry.version = Version(kept.epoch, kept.number)
        end_at = kept.ends_at - wall_ahead_s
        if kept.state >= 0 and end_at > now:
            entry.state, entry.end_at = SubscriptionState(kept.state), end_at
        return entry
