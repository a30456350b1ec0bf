"""Presence that did not arrive is said again: a state that is lost would be shown wrong until the next one.

Messages never are, for one that arrived twice is worse than one whose sender is told. Of presence the newest
is all that counts, and what was said twice says nothing new: so what went into a stream that broke, or could
not go, is sent again until it arrives or something newer goes in its place. Only states, and what
subscriptions are made of, and only what is for a bare JID: presence to a full one is a room's or a program's
own matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Final

from imxrouter.model.outcome import Outcome, indeterminant
from imxrouter.model.vocabulary import Reason, Retry, Stage
from imxrouter.routing.destinations import BackOff
from imxrouter.wire.record import Record, decode_outcome

#: Between two tries.
PAUSE: Final = BackOff(first_s=1.0, cap_s=15.0)
#: After so many the pause is as long as it gets.
_MOST_TRIES: Final = 10
#: After so long it is given up: who was gone so long asks when he is back.
LIFE_S: Final = 900.0
#: What became of one is known by then; the answers of streams that are gone may come to nobody.
FLIGHT_S: Final = 120.0
#: Bytes of all that are on their way or wait; one sender's domain has a quarter of it.
MOST_BYTES: Final = 16 << 20
#: What the router says has no rate, so what a rate held back is not said by it in the sender's place.
RATES: Final = frozenset({Reason.RATE_LIMITED, Reason.OVER_RATE, Reason.RECIPIENT_LIMIT})
#: Of one entry beside its stanza (measured: objects, its places in the tables).
_ENTRY_BYTES: Final = 1200


class Kind(Enum):
    """What replaces what: the newest of each kind between two is all that counts."""

    STATE = "state"
    WISH = "wish"
    CONSENT = "consent"


_KINDS: Final = {
    "": Kind.STATE, "unavailable": Kind.STATE, "subscribe": Kind.WISH, "unsubscribe": Kind.WISH,
    "subscribed": Kind.CONSENT, "unsubscribed": Kind.CONSENT,
}  # fmt: skip
#: Bare JIDs of the sender and of the recipient.
_Ends = tuple[str, str]
#: What it is, and of which resource.
_Key = tuple[Kind, str]


def is_said_again(to: str, type_: str) -> bool:
    """Whether presence of a type, for a JID, is said again where it does not arrive."""
    return type_ in _KINDS and "/" not in to


@dataclass(eq=False, slots=True)
class Going:
    """A presence that is the newest of its kind between two, until it has arrived.

    Attributes:
        ends: between whom.
        key: what it is.
        record: its record, as it was sent first.
        domain: of its sender.
        since: when that was.
        tries: that came to nothing.
        over: it has arrived, or something newer went.
    """

    ends: _Ends
    key: _Key
    record: Record
    domain: str
    since: float
    tries: int = 0
    over: bool = False

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return _ENTRY_BYTES + len(self.record.body)


@dataclass(frozen=True, slots=True)
class AgainOutside:
    """What it needs of its process.

    Attributes:
        submit: hands a request of the router itself to the switch.
        has_room: whether the switch takes one more of those.
        now: monotonic seconds.
        chance: a random number in [0, 1).
        new_id: 16 random bytes.
        dropped: told the word of each stanza that went nowhere.
    """

    submit: Callable[[Record, Callable[[Record], None]], None]
    has_room: Callable[[], bool]
    now: Callable[[], float]
    chance: Callable[[], float]
    new_id: Callable[[], bytes]
    dropped: Callable[[str], None]


class PresenceAgain:
    """Presence on its way, and what of it failed and has another turn.

    Args:
        outside: what it needs of its process.
        most_bytes: of all; what has no room is sent once.
    """

    def __init__(self, outside: AgainOutside, most_bytes: int = MOST_BYTES) -> None:
        self._outside = outside
        self._most_bytes = most_bytes
        self._newest: dict[_Ends, dict[_Key, Going]] = {}
        self._bytes = 0
        self._of_domain: Counter[str] = Counter()
        #: on their way, and until when an outcome is waited for; the oldest first
        self._flying: dict[Going, float] = {}
        self._turns: list[tuple[float, int, Going]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return sum(map(len, self._newest.values()))

    def going(self, from_: str, to: str, type_: str, record: Record) -> Going | None:
        """A presence goes out: it takes the place of older ones.

        Args:
            from_: as it stands in it.
            to: the same.
            type_: its type; empty for none.
            record: with it.

        Returns:
            what `answered` is told its outcome of; None for what is not said again.
        """
        kind = _KINDS.get(type_)
        if kind is None and type_ != "error":
            return None
        (source, _, resource), (recipient, _, one) = from_.partition("/"), to.partition("/")
        ends = (source, recipient)
        if kind in {Kind.WISH, Kind.CONSENT}:
            resource = ""
        # said by the bare JID: what its resources said does not hold any more
        of_all = not resource and kind in {Kind.STATE, None}
        for key, older in list(self._newest.get(ends, {}).items()):
            if key == (kind, resource) or (of_all and key[0] is Kind.STATE):
                self._end(older)
        if kind is None or one:
            return None
        return self._keep(Going(ends, (kind, resource), record, _domain(source), self._outside.now()))

    def _keep(self, new: Going) -> Going | None:
        size, of_domain = new.size, self._of_domain[new.domain]
        if self._bytes + size > self._most_bytes or of_domain + size > self._most_bytes // 4:
            return None
        self._newest.setdefault(new.ends, {})[new.key] = new
        self._bytes += size
        self._of_domain[new.domain] = of_domain + size
        self._flying[new] = new.since + FLIGHT_S
        return new

    def _end(self, one: Going) -> None:
        if one.over:
            return
        one.over = True
        self._flying.pop(one, None)
        between = self._newest[one.ends]
        del between[one.key]
        if not between:
            del self._newest[one.ends]
        self._bytes -= one.size
        self._of_domain[one.domain] -= one.size
        if not self._of_domain[one.domain]:
            del self._of_domain[one.domain]

    def answered(self, one: Going, outcome: Outcome) -> None:
        """What became of it: it has arrived, is sent again later, or is given up."""
        if one.over:
            return
        now = self._outside.now()
        may_help = outcome.in_doubt or (outcome.reason.retry is Retry.LATER and outcome.reason not in RATES)
        if outcome.ok or not may_help or now - one.since > LIFE_S:
            self._end(one)
            return
        self._flying.pop(one, None)
        one.tries += 1
        # what found no room, or was shed, comes back when there is less to do
        tries = _MOST_TRIES if outcome.reason.stage is Stage.LIMIT else one.tries
        wait_s = max(PAUSE.wait_s(tries, self._outside.chance()), min(outcome.retry_after_s, PAUSE.cap_s))
        heappush(self._turns, (now + wait_s, next(self._numbers), one))

    def tick(self) -> None:
        """About once a second: send again what has its turn."""
        now, outside = self._outside.now(), self._outside
        while self._flying:
            one, until = next(iter(self._flying.items()))
            if until > now:
                break
            self.answered(one, indeterminant(Reason.ANSWER_TIMEOUT))
        while self._turns and self._turns[0][0] <= now and outside.has_room():
            _, _, one = heappop(self._turns)
            if not one.over:
                outside.dropped("presence-again")
                self._flying[one] = now + FLIGHT_S
                record = replace(one.record, message_id=outside.new_id())
                outside.submit(record, partial(self._heard, one))

    def _heard(self, one: Going, response: Record) -> None:
        self.answered(one, decode_outcome(response))


def _domain(jid: str) -> str:
    return jid.rpartition("@")[2]
