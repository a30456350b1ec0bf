"""What the presentity's side keeps of a subscription, and the values that it gives out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.model.address import Address
from imxrouter.model.operations import (
    Attribute,
    EndReason,
    Notify,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.presence import Presence
from imxrouter.routing.caps import Refusal
from imxrouter.routing.destinations import BackOff
from imxrouter.routing.watched import BETWEEN
from imxrouter.routing.wheel import Timed
from imxrouter.routing.zones import zone_of

_BACKOFF: Final = BackOff(first_s=2.0, cap_s=300.0)


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Bounds and pauses of the presentity's side.

    Attributes:
        most: subscriptions in all, fetches that are not answered yet included.
        per_presentity: to one presentity.
        per_zone: of the watchers of one zone.
        per_watcher: of one watcher to one presentity: his programs.
        rate_per_s: notifications of one subscription on average.
        burst: at once; a router lets 20 pass (specification section 7.7).
        answer_s: after this a notification counts as not answered; twice the router's own time.
        last_word_s: for so long it is tried to tell that one is over, and to answer a fetch; routers pass it
            on for 32 s.
        restart_s: after a restart the watchers are told within this time, each at a random moment.
        backoff: pauses after failures.
    """

    most: int = 200_000
    per_presentity: int = 20_000
    per_zone: int = 100_000
    per_watcher: int = 8
    rate_per_s: float = 1.0
    burst: int = 5
    answer_s: float = 64.0
    last_word_s: float = 30.0
    restart_s: float = 30.0
    backoff: BackOff = _BACKOFF


DEFAULT_SETTINGS: Final = NotifySettings()


class Decision(Enum):
    """What the presentity thinks of a watcher. What an allowed one is shown is not decided here."""

    ALLOW = "allow"
    #: not decided yet
    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Taken:
    """What becomes of a Subscribe: one of `result` and `refusal` is there.

    Attributes:
        result: of its success.
        refusal: reason of its failure.
        owed: a notification follows: `due` gives it at once.
    """

    result: SubscribeResult | None
    refusal: Refusal | None = None
    owed: bool = False


@dataclass(frozen=True, slots=True)
class Owed:
    """A notification to send now.

    Attributes:
        ticket: names it in `sending` and `answered`.
        watcher: to whom.
        presentity: of whom.
        subscription_id: of the subscription.
        state: of the subscription.
        end_reason: why it ended.
        version: of the presentity's newest state; None where no state is to be told.
        expires_s: seconds that the subscription has left; None where it has ended.
    """

    ticket: int
    watcher: Address
    presentity: Address
    subscription_id: bytes
    state: SubscriptionState
    end_reason: EndReason
    version: Version | None
    expires_s: int | None

    @property
    def full(self) -> bool:
        """Whether the presence is to be told, or the subscription's state alone."""
        return self.version is not None

    def notify(
        self,
        message_id: bytes,
        presence: Presence | None = None,
        document: bytes = b"",
        attributes: tuple[Attribute, ...] = (),
        version: Version | None = None,
    ) -> Notify:
        """The operation; what comes after its id counts only where it is `full`."""
        told, body = (presence, document) if self.full else (None, b"")
        said = version if self.full and version is not None else self.version
        return Notify(
            self.presentity, self.watcher, message_id, self.subscription_id, self.state, said, told, body,
            self.end_reason, self.expires_s, attributes,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Onlooker:
    """Somebody who watches a presentity, as the presentity may be told; `failures` to tell him, in a row."""

    watcher: Address
    subscription_id: bytes
    state: SubscriptionState
    left_s: float
    failures: int = 0


@dataclass(frozen=True, slots=True)
class KeptSubscription:
    """A subscription as plain values, for a store.

    Attributes:
        watcher: `local@domain` in wire form.
        presentity: the same.
        subscription_id: of the subscription.
        state: its number on the wire.
        ends_at: seconds since 1970.
    """

    watcher: bytes
    presentity: bytes
    subscription_id: bytes
    state: int
    ends_at: float


#: Told of what is to be stored: the key of a subscription, and its form, None where it is gone.
KeptSubscriptions = Callable[[bytes, KeptSubscription | None], None]


class Flag:
    """What is the matter with a subscription; bits of a plain number, for there are many."""

    #: the state may have changed since it was told
    OWED: Final = 1
    #: to be told even where nothing changed
    FORCED: Final = 2
    #: it stands in the queue of those to be told at once
    READY: Final = 4
    #: it is a fetch: one notification, no subscription
    FETCH: Final = 8
    #: it is in no table any more
    GONE: Final = 16
    #: each of these makes a notification due
    TO_TELL: Final = 3


class Presentity:
    """A presentity with watchers.

    Attributes:
        key: of the presentity.
        address: of the presentity.
        number: of its newest state.
        subscriptions: by watcher's key.
        count: of subscriptions.
        walk: watchers that the newest state has not reached, while it is told; None at rest.
        fanning: it is in the queue of those whose watchers are told.
        again: a newer state came while the watchers were told.
    """

    __slots__ = ("address", "again", "count", "fanning", "key", "number", "subscriptions", "walk")

    def __init__(self, presentity: Address, number: int) -> None:
        self.key = presentity.key
        self.address = presentity
        self.number = number
        self.subscriptions: dict[bytes, tuple[Subscription, ...]] = {}
        self.count = 0
        self.walk: list[bytes] | None = None
        self.fanning = False
        self.again = False

    def all(self) -> tuple[Subscription, ...]:
        """Every subscription to him."""
        return tuple(one for same in self.subscriptions.values() for one in same)


class Subscription(Timed):
    """One subscription to a presentity. There are many: addresses are kept as bytes.

    Attributes:
        of: the presentity.
        key: of the watcher; the very same object as `wire` where the spelling is that.
        wire: the watcher's address as it is spelled.
        ident: the subscription's id.
        state: of the subscription.
        why: it ended.
        end_at: when it ends; where it is terminated, until when that is told.
        flags: see `Flag`.
        meaning: of the state that the watcher surely has; None where that is not known.
        ticket: of the notification in flight; 0 where none is.
        tries: failures in a row.
        strange: times in a row that the answer was `not-subscribed`.
        spent: up to when the rate is used up (virtual scheduling).
    """

    __slots__ = (
        "end_at", "flags", "ident", "key", "meaning", "of", "spent", "state", "strange", "ticket", "tries",
        "why", "wire",
    )  # fmt: skip

    def __init__(self, of: Presentity, watcher: Address, ident: bytes) -> None:
        super().__init__()
        self.of = of
        key, wire = watcher.key, watcher.wire
        self.key = key
        self.wire = key if wire == key else wire
        self.ident = ident
        self.state = SubscriptionState.PENDING
        self.why = EndReason.NONE
        self.end_at = 0.0
        self.flags = 0
        self.meaning: bytes | None = None
        self.ticket = 0
        self.tries = 0
        self.strange = 0
        self.spent = 0.0

    @property
    def zone(self) -> str:
        """The watcher's: under which his subscriptions are counted."""
        return zone_of(self.key.rpartition(b"@")[2].decode("ascii"))

    @property
    def store_key(self) -> bytes:
        """Under which it is stored."""
        return BETWEEN.join((self.key, self.of.key, self.ident))

    @property
    def live(self) -> bool:
        """Whether it is pending or active."""
        return self.state is not SubscriptionState.TERMINATED and not self.flags & Flag.GONE

    @property
    def watcher(self) -> Address:
        """Who watches."""
        return Address.from_own(self.wire)

    @property
    def presentity(self) -> Address:
        """Whom."""
        return self.of.address

    def to_kept(self, wall_ahead_s: float) -> KeptSubscription:
        """Its plain form; `wall_ahead_s` is wall time less the machine's time."""
        return KeptSubscription(
            self.wire, self.of.address.wire, self.ident, int(self.state), self.end_at + wall_ahead_s
        )


@dataclass(slots=True)
class Flight:
    """A notification that waits for its answer."""

    subscription: Subscription
    state: SubscriptionState
    flags: int
    at: float
    meaning: bytes | None = None
