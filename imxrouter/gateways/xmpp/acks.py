"""Which stanzas of ours are known to have arrived: acknowledgements (XEP-0198), else a ping behind them.

Servers work on the stanzas of a stream in their order (RFC 6120 section 10.1), so the answer to a ping
(XEP-0199) says that everything before it was read; whether that answer is a result or an error is the same.
It comes over whatever stream the other side sends on, so it is matched by its random id. A server that has
no such stream yet, and has just failed to open one, drops it (`ejabberd_s2s_out` bounces for some time),
though the stanzas have arrived: so after a second another ping goes out behind them, then after two, four,
and the answer to any says all. A server that drops pings would make every stanza uncertain: after two such
rounds without an answer although it spoke meanwhile, the domain is taken for one, and writing must do for an
hour (`PingDroppers`). The first of them may be a stream that is dead alone, while the domain speaks on
others: so a stream of ours is ended with each, and the next one tells.

Nothing is ever sent again: there is "no way to prevent duplicates" then (XEP-0198 section 4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from typing import Final

from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings
from imxrouter.model.errors import RouterError

#: Counters of XEP-0198 begin again at 2^32 (section 4).
WRAP: Final = 1 << 32
#: Bytes of chance in the id of a ping: what it answers cannot be guessed.
IDENT_BYTES: Final = 16
#: A ping that is not answered for so long is followed by another one, that one after twice as long.
AGAIN_S: Final = 1.0
#: Barriers that a domain leaves unanswered, while it speaks, before it is taken for one that drops pings.
DROPPED_AT_MOST: Final = 2
#: So long writing must do then.
TRUST_WRITING_S: Final = 3600.0
#: Domains remembered for it; when there are more, the one that is right again first is forgotten.
DROPPERS_AT_MOST: Final = 4096


class TooHigh(RouterError):
    """More stanzas were acknowledged than were sent, or fewer than before (XEP-0198 section 6).

    Attributes:
        handled: the number that came.
        sent: how many were sent, as that side counts.
    """

    def __init__(self, handled: int, sent: int) -> None:
        super().__init__(f"{handled} stanzas are acknowledged; {sent} were sent")
        self.handled, self.sent = handled, sent


class Way(Enum):
    """How a stream's stanzas are confirmed."""

    PING = "ping"
    WRITTEN = "written"
    #: XEP-0198: asked for, or agreed
    ACKS = "acks"


class Ask(Enum):
    """What is to go out behind the stanzas."""

    NOTHING = "nothing"
    #: `<r/>`
    REQUEST = "request"
    #: a ping with the id `barrier`
    PING = "ping"


_WRITTEN, _NOTHING = Way.WRITTEN, Ask.NOTHING


class Confirmations:
    """The stanzas that we sent on one stream, in order.

    Numbers of stanzas count up from 1 for the life of the stream; what XEP-0198 counts begins later and goes
    round. At most one question is open at a time, said again while a ping is not answered.

    Args:
        confirm: how arrival is known without XEP-0198.
        settings: `answer_s` and `barrier_rest_s`.
        random_bytes: source of ids.

    Attributes:
        round_trip_s: seconds until the last ping was answered that was; None before the first.
    """

    __slots__ = (
        "_again_at", "_asked_at", "_base", "_confirmed", "_for_fence", "_pings", "_random_bytes",
        "_rest_until", "_sent", "_settings", "_until", "_waiting", "_way", "round_trip_s",
    )  # fmt: skip

    def __init__(
        self, confirm: Confirm, settings: StreamSettings, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._way = Way.PING if confirm is Confirm.PING else Way.WRITTEN
        self._settings = settings
        self._random_bytes = random_bytes
        self._sent = 0
        #: of the last stanza that the other side has counted, and of the first that it counts less one
        self._confirmed = self._base = 0
        #: (number of the stanza, tag, when it was written)
        self._waiting: deque[tuple[int, int, float]] = deque()
        self._asked_at: float | None = None
        #: the question that is out covers stanzas up to this one
        self._until = 0
        #: pings that are out, the oldest first: the stanza up to which each covers, and when it was written
        self._pings: dict[str, tuple[int, float]] = {}
        self._again_at = 0.0
        self._rest_until = 0.0
        #: number of the stanza up to which `fence` wants to know
        self._for_fence = 0
        self.round_trip_s: float | None = None

    @property
    def pending(self) -> int:
        """Stanzas that somebody wants to know about and nobody has confirmed."""
        return len(self._waiting)

    @property
    def by_acks(self) -> bool:
        """Whether XEP-0198 was asked for on this stream."""
        return self._way is Way.ACKS

    @property
    def sent(self) -> int:
        """Stanzas of ours on the stream, our own pings among them."""
        return self._sent

    @property
    def way(self) -> Way:
        """How they are confirmed now."""
        return self._way

    @property
    def asked_at(self) -> float | None:
        """Since when a question is out, however often it was said again; None without one."""
        return self._asked_at

    @property
    def barrier(self) -> str:
        """Id of the newest ping that is out; empty without one."""
        return next(reversed(self._pings), "")

    @property
    def pings(self) -> Collection[str]:
        """Ids of the pings that are out, the oldest first."""
        return self._pings.keys()

    @property
    def due_at(self) -> float | None:
        """When `tick` would ask again, because stanzas wait behind the rest between two pings."""
        if not self._waiting or self._asked_at is not None or self._way is _WRITTEN:
            return None
        return self._rest_until

    def enable(self) -> None:
        """XEP-0198 was asked for or agreed: both sides count from here (section 4)."""
        self._way = Way.ACKS
        self._base = self._confirmed = self._sent
        self._forget_question()

    def failed(self, confirm: Confirm) -> None:
        """XEP-0198 was refused: what went out since waits for the other way."""
        self.choose(confirm)

    def choose(self, confirm: Confirm) -> None:
        """Go another way from now on: who is there is known."""
        self._way = Way.PING if confirm is Confirm.PING else Way.WRITTEN
        self._forget_question()

    def wrote(self, tags: Iterable[int | None], now: float) -> tuple[Ask, tuple[int, ...]]:
        """Note stanzas that are being written.

        Args:
            tags: of each stanza in order, what its outcome is told under; None where nobody asks.
            now: seconds of the monotonic clock.

        Returns:
            What is to be written behind them, and the tags that are settled by writing.
        """
        waiting, settled = self._waiting, []
        for tag in tags:
            self._sent += 1
            if tag is None:
                continue
            if self._way is _WRITTEN:
                settled.append(tag)
            else:
                waiting.append((self._sent, tag, now))
        return self.ask_if_due(now), tuple(settled)

    def ask_if_due(self, now: float) -> Ask:
        """Ask about what waits, unless a question is out or the last answer was a moment ago."""
        if not self._waiting or self._asked_at is not None or now < self._rest_until:
            return _NOTHING
        return self.ask(now)

    def ask(self, now: float) -> Ask:
        """Ask now, whether something waits or not: to learn whether the other side is there."""
        if self._way is Way.WRITTEN:
            return Ask.NOTHING
        self._until = self._sent
        if self._asked_at is None:
            self._asked_at = now
        if self._way is Way.ACKS:
            return Ask.REQUEST
        self._sent += 1  # a ping is a stanza
        self._again_at = now + AGAIN_S * 2.0 ** len(self._pings)
        self._pings[self._random_bytes(IDENT_BYTES).hex()] = (self._until, now)
        return Ask.PING

    def ask_again(self, now: float) -> Ask:
        """Ask once more where a ping has not been answered for some time: its answer may be lost alone."""
        return self.ask(now) if self._pings and now >= self._again_at else _NOTHING

    def acked(self, handled: int) -> tuple[int, ...]:
        """Take `<a h='handled'/>`.

        Returns:
            The tags of the stanzas that it confirms.

        Raises:
            TooHigh: see there.
        """
        step = (handled - (self._confirmed - self._base)) % WRAP
        if step > self._sent - self._confirmed:
            raise TooHigh(handled, (self._sent - self._base) % WRAP)
        self._confirmed += step
        self._asked_at = None
        return self._settled(self._confirmed)

    def barrier_answered(self, ident: str, now: float) -> tuple[int, ...] | None:
        """Take the answer to a ping that is out; those before it are not waited for any more.

        Returns:
            The tags of the stanzas before it; None where no such ping is out: too late, or never asked.
        """
        answered = self._pings.get(ident)
        if answered is None:
            return None
        until, asked_at = answered
        self.round_trip_s = now - asked_at
        while next(iter(self._pings)) != ident:
            del self._pings[next(iter(self._pings))]
        del self._pings[ident]
        if self._pings:
            self._asked_at = next(iter(self._pings.values()))[1]
        else:
            self._forget_question()
        self._confirmed = max(self._confirmed, until)
        self._rest_until = now + self._settings.barrier_rest_s
        return self._settled(until)

    def late(self, now: float) -> tuple[int, ...]:
        """Give up what waits for too long.

        Returns:
            Its tags. They are told once: a confirmation that comes later changes nothing.
        """
        oldest = now - self._settings.answer_s
        tags = []
        while self._waiting and self._waiting[0][2] <= oldest:
            tags.append(self._waiting.popleft()[1])
        return tuple(tags)

    def give_up_barrier(self, now: float) -> bool:
        """Forget pings that have not been answered for too long; whether there was one."""
        asked = self._asked_at
        if not self._pings or asked is None or now - asked < self._settings.answer_s:
            return False
        self._forget_question()
        return True

    def fence(self, now: float) -> Ask:
        """Ask whether all that was written until now has been read; `fenced` tells when it has."""
        if self._way is Way.WRITTEN or self._confirmed >= self._sent:
            return Ask.NOTHING
        self._for_fence = self._sent
        return Ask.NOTHING if self._asked_at is not None and self._until >= self._sent else self.ask(now)

    @property
    def fenced(self) -> bool:
        """Whether what was written before the last `fence` has been read."""
        return self._confirmed >= self._for_fence

    def _forget_question(self) -> None:
        self._asked_at = None
        self._pings.clear()

    def _settled(self, until: int) -> tuple[int, ...]:
        waiting, tags = self._waiting, []
        while waiting and waiting[0][0] <= until:
            tags.append(waiting.popleft()[1])
        return tuple(tags)


class PingDroppers:
    """Domains whose servers leave pings unanswered; one table of the process.

    Args:
        at_most: domains remembered.
    """

    def __init__(self, at_most: int = DROPPERS_AT_MOST) -> None:
        self._at_most = at_most
        #: domain -> (pings in a row that were not answered, until when writing must do)
        self._seen: dict[str, tuple[int, float]] = {}

    def dropped(self, domain: str, now: float) -> bool:
        """A ping was not answered although the domain spoke; whether it is a dropper from now on."""
        count = self._seen.pop(domain, (0, 0.0))[0] + 1
        if len(self._seen) >= self._at_most:
            del self._seen[next(iter(self._seen))]
        self._seen[domain] = (count, now + TRUST_WRITING_S)
        return count >= DROPPED_AT_MOST

    def answered(self, domain: str) -> None:
        """It answers pings."""
        self._seen.pop(domain, None)

    def confirm(self, domain: str, now: float) -> Confirm:
        """How arrival is known on a new stream to the domain."""
        count, until = self._seen.get(domain, (0, 0.0))
        if count and until <= now:
            del self._seen[domain]
            return Confirm.PING
        return Confirm.WRITTEN if count >= DROPPED_AT_MOST else Confirm.PING
