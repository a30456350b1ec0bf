"""Messages a second to one recipient, from all and from strangers, in a table whose size is fixed.

Each recipient has a place by the hash of its address; two may share one. So nobody can fill the table by
inventing recipients, nothing is evicted, and there is nothing to tidy: a place that was not used for long is
as good as new. Python's hash of bytes is keyed anew in each process, so nobody outside can choose a place.

A domain to which fewer messages come than one recipient may get is *calm*: none of its recipients can be
over, so none is looked at. It counts down some messages, and only then is asked how long they took.

A place is one float, the time at which the allowance would be full again (as in `limits`). A stranger's
message costs more of it, and strangers leave half of the burst to those who are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Places, a power of two: of 10,000 recipients at one time, one in 13 shares its place. 4 MiB at most. A
#: list, for a look into an array costs three times as much.
PLACES: Final = 1 << 17
#: Part of the burst that strangers may use together; at least one message, where nothing else came.
STRANGERS_PART: Final = 0.5
#: As in `limits`: rounding costs nobody his last message.
_ROUNDING: Final = 0.001

#: A calm domain counts down so many messages, or the part of the burst below: one recipient may get as many
#: more than his limit. Below 256 a sum in Python makes no object.
CALM_MESSAGES: Final = 250
CALM_PART: Final = 4
#: How long the recipients of a domain are looked at before it may be calm again.
WATCHED_S: Final = 10.0
_NO_RATE: Final = 1e18

#: Seconds that a message costs, and how far ahead of now the place may be when it comes.
InboxTerms = tuple[float, float]
#: Of who is known, of strangers; messages that a calm domain counts down, and how many a second are calm.
DomainTerms = tuple[InboxTerms, InboxTerms, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class InboxRate:
    """What recipients of a domain take.

    Attributes:
        per_s: messages a second to one recipient, lasting; 0: no limit.
        burst: messages at once.
        strangers_per_s: of strangers together, lasting; 0: as all.
    """

    per_s: float = 0.0
    burst: int = 1
    strangers_per_s: float = 0.0

    def terms(self) -> DomainTerms:
        """What the hot path needs of it."""
        if not self.per_s:
            return (0.0, float("inf")), (0.0, float("inf")), (1 << 29, _NO_RATE)
        reach = (max(self.burst, 1) - 1 + _ROUNDING) / self.per_s
        strangers = min(self.strangers_per_s or self.per_s, self.per_s)
        calm = min(self.burst // CALM_PART, CALM_MESSAGES) if self.burst >= CALM_MESSAGES else 0
        theirs = max(reach * STRANGERS_PART - 1 / strangers, _ROUNDING)
        return (1 / self.per_s, reach), (1 / strangers, theirs), (calm, strangers)


NO_TERMS: Final = InboxRate().terms()


class Inboxes:
    """The table.

    Attributes:
        due: by place. The hot path looks into it itself.

    Args:
        places: a power of two.
    """

    def __init__(self, places: int = PLACES) -> None:
        self.due = [0.0] * places
        self._mask = places - 1

    def place(self, key: bytes) -> int:
        """Where a recipient is; `key` is that of its address."""
        return hash(key) & self._mask

    def admit(self, place: int, now: float, terms: InboxTerms) -> float:
        """Count a message; 0 where it is allowed, else seconds to wait. What the hot path does in line."""
        due = self.due[place]
        wait = due - now - terms[1]
        if wait > 0:
            return wait
        self.due[place] = max(due, now) + terms[0]
        return 0.0

    def busy(self, now: float) -> int:
        """Places whose allowance is not full."""
        return sum(1 for due in self.due if due > now)
