"""What the watcher's side holds of a user of XMPP and somebody he watches."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from imxrouter.gateways.xmpp.subscriptions.effects import Effects
from imxrouter.gateways.xmpp.subscriptions.held import HeldPair
from imxrouter.gateways.xmpp.subscriptions.watcher_table import State
from imxrouter.gateways.xmpp.translate.showing import NOTHING, Shown
from imxrouter.model.address import Address
from imxrouter.model.operations import DEFAULT_SUBSCRIPTION_S
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason


@dataclass(frozen=True, slots=True)
class WatcherSettings:
    """Bounds and pauses.

    Attributes:
        asking_per_watcher: wishes of one user that nobody has approved.
        asking_per_zone: the same of all users of one zone: a quarter of the room, so that one stranger with
            many names does not fill it.
        answer_s: a probe of one pair is answered once in this time.
        fetch_s: one pair is fetched once in this time.
        fetched: pairs of which it is remembered when they were fetched.
        grace_s: who waits for an answer, or for success, is told of the failure after this.
        lapse_s: an approval that the other side does not know any more may come again within this: so long
            has its user's service for saying that it stands (RFC 6121 section 3.1.3 rule 2).
        idle_days: days without a sign of the user's interest after which nothing is renewed any more.
        errors: of the user's service in a row after which it counts as gone.
        duration_s: asked for each time.
        spread_s: subscriptions are renewed over so long at most when a service was lost and is back.
        spread_per_s: so many in a second, where that is less than all in that time.
    """

    asking_per_watcher: int = 200
    asking_per_zone: int = 25_000
    answer_s: float = 2.0
    fetch_s: float = 60.0
    fetched: int = 10_000
    grace_s: float = 10.0
    lapse_s: float = 60.0
    idle_days: int = 14
    errors: int = 3
    duration_s: int = DEFAULT_SUBSCRIPTION_S
    spread_s: float = 10.0
    spread_per_s: float = 20.0


class Pair(HeldPair[State]):
    """A user and whom he watches. There are many: what is empty costs nothing.

    Attributes:
        watcher: the user.
        presentity: whom.
        state: see there.
        since: seconds since 1970.
        asked_day: day since 1970 on which his service asked last.
        ident: of the subscription that fell asleep.
        shown: to him.
        latest: what was told; None where nothing was since the start.
        asked: somebody waits for what is shown: the id of his stanza, and until when he waits.
        to_show: the newest state waits for a token.
        spent: see `pairs.paced`.
        answered_at: when a probe was answered last.
        failing_since: of requests without success; None where the last one had it.
        errors: of his service in a row.
        failed: the failure was told.
        approved: the approval could not be stored yet.
        confirmed: that he may watch was told since the newest request was sent: its answer is older.
        lapses_at: the approval counts as gone then.
        form: of the stanza whose request has not been sent yet.
    """

    __slots__ = (
        "answered_at", "approved", "asked", "asked_day", "confirmed", "errors", "failed", "failing_since",
        "form", "ident", "lapses_at", "latest", "shown", "since", "spent", "to_show",
    )  # fmt: skip

    def __init__(self, watcher: Address, presentity: Address) -> None:
        super().__init__(watcher, presentity, State.NONE)
        self.since = self.asked_day = 0
        self.ident = b""
        self.shown: Shown = NOTHING
        self.latest: Presence | Unknown | None = None
        self.asked: tuple[str, float] | None = None
        self.to_show = False
        self.spent = 0.0
        self.answered_at = -inf
        self.failing_since: float | None = None
        self.errors = 0
        self.failed = self.approved = self.confirmed = False
        self.lapses_at = inf
        self.form = b""


@dataclass(slots=True)
class Happening:
    """One event with all that belongs to it.

    Attributes:
        now: monotonic seconds.
        effects: where what is done is put.
        id: of the stanza.
        probe: the same, where it is a probe.
        form: original form of the stanza, for the request that it leads to.
        verdict: the stanza of a refusal that was told, to be sent as it is.
        reason: of a failure.
        by: the domain that decided it.
        retry_s: seconds after which another try may help.
        presence: the newest state, where there is news.
    """

    now: float
    effects: Effects
    id: str = ""
    form: bytes = b""
    verdict: bytes = b""
    probe: str = ""
    reason: Reason = Reason.NONE
    by: str = ""
    retry_s: int = 0
    presence: Presence | Unknown | None = None
