"""What happened to a message, hop by hop, for a short while: a ring bounded by count and age.

Holds no bodies, subjects, secrets or attribute values: only the fields named in `TRACE_FIELDS` are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from imxrouter.model.address import Address
from imxrouter.telemetry.privacy import AddressMask

#: What an entry may say beside its event; anything else is dropped.
TRACE_FIELDS: Final = frozenset({
    "kind", "source", "destination", "link", "role", "peer", "domain", "status", "stage", "reason", "hops",
    "decided_by", "attempt", "bytes", "process", "text", "note",
})  # fmt: skip

#: Longest value kept, in characters.
_MAX_VALUE_CHARS = 300


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """One step of one message.

    Attributes:
        at_s: when, in seconds of the injected clock.
        message_id: 16 bytes.
        event: `accepted`, `held`, `sent`, `answered`, `refused` ...
        fields: name and value, addresses masked.
    """

    at_s: float
    message_id: bytes
    event: str
    fields: tuple[tuple[str, str | int], ...]


class TraceRing:
    """The last steps of all messages.

    Args:
        now_s: a clock in seconds; inject wall time where entries are shown to people.
        mask: how addresses are kept.
        max_entries: steps kept; 0 keeps nothing.
        max_age_s: how long they are kept.
    """

    def __init__(
        self, now_s: Callable[[], float], mask: AddressMask, max_entries: int = 20000, max_age_s: float = 600
    ) -> None:
        self._now_s, self._mask, self._max_age_s = now_s, mask, max_age_s
        self._entries: deque[TraceEntry] = deque(maxlen=max_entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, message_id: bytes, event: str, **fields: Address | str | int) -> None:
        """Note a step; the oldest goes when the ring is full. Fields outside `TRACE_FIELDS` are dropped."""
        now_s = self._now_s()
        self._forget(now_s)
        said = ((name, value) for name, value in fields.items() if name in TRACE_FIELDS and value != "")
        kept = tuple((name, self._value(value)) for name, value in said)
        self._entries.append(TraceEntry(now_s, message_id, event[:_MAX_VALUE_CHARS], kept))

    def find(self, message_id: bytes) -> list[TraceEntry]:
        """Return the steps of one message that are not too old, oldest first."""
        self._forget(self._now_s())
        return [entry for entry in self._entries if entry.message_id == message_id]

    def __iter__(self) -> Iterator[TraceEntry]:
        self._forget(self._now_s())
        return iter(tuple(self._entries))

    def _value(self, value: Address | str | int) -> str | int:
        if isinstance(value, int):
            return int(value)
        if isinstance(value, Address):
            return self._mask.address(value)
        return self._mask.text(value[:_MAX_VALUE_CHARS])

    def _forget(self, now_s: float) -> None:
        while self._entries and now_s - self._entries[0].at_s > self._max_age_s:
            self._entries.popleft()
