"""Presence that streams brought and that passes as it is, until it is known what became of it.

Two want to hear that: who says presence again that did not arrive (`again.py`), and who keeps the pairs of
users whose presence passes (`passing.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.streams.again import Going, PresenceAgain
from imxrouter.gateways.xmpp.streams.told import TOLD_S
from imxrouter.gateways.xmpp.streams.world import Known
from imxrouter.gateways.xmpp.subscriptions.passing import Seen
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.wire.record import Record, decode_outcome


class BroughtPresence:
    """See the module.

    Args:
        known: what it asks of the world.
        again: presence that is on its way; None: none is said again.
    """

    def __init__(self, known: Known, again: PresenceAgain | None) -> None:
        self._known, self._again = known, again
        #: what may be said again, by the tag of its record
        self._going: dict[int, Going] = {}
        #: what says who watches whom, the same way
        self._seen: dict[int, Seen] = {}

    @property
    def waiting(self) -> tuple[int, int]:
        """How many wait for their outcome: of those said again, and of those that say who watches whom."""
        return len(self._going), len(self._seen)

    def went(self, got: StanzaIn, record: Record, tag: int) -> None:
        """One goes on, in a record with a tag."""
        given, seen = got.stanza, self._known.seen(got)
        if seen is not None:
            self._seen[tag] = seen
        if self._again is not None:
            going = self._again.going(given.from_, given.to, given.type, record)
            if going is not None:
                self._going[tag] = going

    def succeeded(self, tags: Sequence[int]) -> None:
        """What went under these tags arrived; some of it may be no presence."""
        if self._going or self._seen:
            for tag in tags:
                if tag in self._going or tag in self._seen:
                    self._settled(tag, SUCCESS)

    def answered(self, record: Record) -> None:
        """A response came, maybe to one."""
        if record.route_tag in self._going or record.route_tag in self._seen:
            self._settled(record.route_tag, decode_outcome(record))

    def _settled(self, tag: int, outcome: Outcome) -> None:
        going, seen = self._going.pop(tag, None), self._seen.pop(tag, None)
        if self._again is not None and going is not None:
            self._again.answered(going, outcome)
        if seen is not None:
            self._known.passed(seen, outcome)

    def tick(self, now: float) -> None:
        """About once a second: forget what nobody answers, and say again what has its turn."""
        while self._going and (first := next(iter(self._going.items())))[1].over:
            del self._going[first[0]]  # of a stream that was gone when the answer came
        while self._seen and (oldest := next(iter(self._seen.items())))[1].at <= now - TOLD_S:
            del self._seen[oldest[0]]
        if self._again is not None:
            self._again.tick()
