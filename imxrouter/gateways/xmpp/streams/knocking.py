"""A ping where presence cannot come: whoever would answer has to open a stream to us first.

Of a server that reads what we write and has nothing to say there may be no stream by which it could: then its
silence says nothing (row pas-no-way). The answer to a ping from domain to domain (XEP-0199) has it open one,
and is shown to no user, whatever becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.acks import IDENT_BYTES
from imxrouter.gateways.xmpp.pairs import Pair
from imxrouter.gateways.xmpp.streams.pings import Pings
from imxrouter.gateways.xmpp.streams.records import party_of, stanza_record
from imxrouter.gateways.xmpp.streams.ways_in import WaysIn
from imxrouter.gateways.xmpp.translate.jid import BadJid
from imxrouter.wire.record import Record

#: The same domain is asked by the same one once in so long at most, and its answer is known so long.
BETWEEN_S: Final = 2.0
ANSWER_S: Final = 30.0
#: Pairs that are remembered for it; where there are more, none is asked.
MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class KnockOutside:
    """What it needs of its process.

    Attributes:
        submit: hands a request of the router itself to the switch (`InsidePort.submit`).
        has_room: whether the switch takes one more of those.
        later: calls a function after seconds.
        now: monotonic seconds.
        random_bytes: source of ids.
    """

    submit: Callable[[Record, Callable[[Record], None]], None]
    has_room: Callable[[], bool]
    later: Callable[[float, Callable[[], object]], object]
    now: Callable[[], float]
    random_bytes: Callable[[int], bytes]


class Knocking:
    """See the module.

    Args:
        outside: what it needs of its process.
        ways_in: streams that may bring answers.
        pings: those that are out.
    """

    def __init__(self, outside: KnockOutside, ways_in: WaysIn, pings: Pings) -> None:
        self._outside, self._ways_in, self._pings = outside, ways_in, pings
        #: when a pair was asked last; the oldest first
        self._asked: dict[Pair, float] = {}

    def leads(self, theirs: str, ours: str) -> bool:
        """Whether a stream may bring what a domain says to another; where none may it is asked for one."""
        if self._ways_in.leads(theirs, ours):
            return True
        now = self._outside.now()
        while self._asked and next(iter(self._asked.values())) <= now - BETWEEN_S:
            del self._asked[next(iter(self._asked))]
        if (theirs, ours) not in self._asked and len(self._asked) < MOST and self._outside.has_room():
            self._asked[theirs, ours] = now
            self._knock(theirs, ours)
        return False

    def _knock(self, theirs: str, ours: str) -> None:
        outside = self._outside
        ident = outside.random_bytes(IDENT_BYTES).hex()
        try:
            ends = party_of(ours), party_of(theirs)
            record = stanza_record(say.ping(ours, theirs, ident), *ends, outside.random_bytes(16))
        except BadJid:
            return
        self._pings.out(ident, ours, theirs, lambda: None)
        outside.later(ANSWER_S, lambda: self._pings.forget(ident))
        outside.submit(record, lambda _response: None)
