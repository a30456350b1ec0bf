"""What happened to a message, hop by hop, for a short while: a ring bounded by count and age.

Holds no bodies, subjects, secrets or attribute values: only the fields named in `TRACE_FIELDS` are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from imxrouter.model.address import Address
from imxrouter.telemetry.privacy import AddressMask, Privacy

#: What an entry may say beside its event; anything else is dropped.
TRACE_FIELDS: Final = frozenset({
    "kind", "source", "destination", "link", "role", "peer", "domain", "status", "stage", "reason", "hops",
    "decided_by", "decided_role", "attempt", "bytes", "process", "text", "note", "rule", "setting", "seconds",
    "retry_after_s", "out_link", "peer_seconds", "protocol", "service", "level", "out_protocol", "out_role",
    "out_service", "out_level", "choice", "origin", "answers", "confirmed",
})  # fmt: skip

_EMPTY: Final = ("", b"")
_NUMBERS: Final = (int, float)

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
    fields: tuple[tuple[str, str | int | float], ...]

    def get(self, name: str) -> str:
        """One field as text; empty where it was not said."""
        return next((str(value) for key, value in self.fields if key == name), "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose messages a search of the ring is for: an address, or a domain for all its users.

    Attributes:
        shown: as the ring keeps it, masked.
        domain: the domain alone.
        only_domain: the local part is not asked for, or the ring does not keep it.
        unkept: a local part was asked for and the ring does not keep it.
    """

    shown: str
    domain: str
    only_domain: bool
    unkept: bool = False

    def matches(self, kept: str) -> bool:
        """Whether an address of an entry, or a domain, is of it."""
        if self.only_domain:
            return kept.rpartition("@")[2] == self.domain
        return kept.casefold() == self.shown.casefold()


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

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return bool(self._entries.maxlen)

    def change(self, max_entries: int, max_age_s: float) -> None:
        """Keep more or less; the newest entries stay."""
        self._entries, self._max_age_s = deque(self._entries, maxlen=max_entries), max_age_s

    def add(self, message_id: bytes, event: str, **fields: Address | bytes | str | float) -> None:
        """Note a step; the oldest goes when the ring is full.

        Fields outside `TRACE_FIELDS` are dropped, and so are empty ones; bytes are an address in wire form.
        """
        if not self._entries.maxlen:
            return
        now_s = self._now_s()
        self._forget(now_s)
        kept: list[tuple[str, str | int | float]] = []
        for name, value in fields.items():
            if name in TRACE_FIELDS and value not in _EMPTY:
                is_number = type(value) in _NUMBERS
                kept.append((name, value if is_number else self._text(value)))  # type: ignore[arg-type]
        self._entries.append(TraceEntry(now_s, message_id, event[:_MAX_VALUE_CHARS], tuple(kept)))

    def find(self, message_id: bytes) -> list[TraceEntry]:
        """Return the steps of one message that are not too old, oldest first."""
        self._forget(self._now_s())
        return [entry for entry in self._entries if entry.message_id == message_id]

    def of_origin(self, origin: str, name: str = "origin") -> list[bytes]:
        """Ids of the messages that had this id where they came from, those seen last first.

        Args:
            origin: the id in the protocol that they came by.
            name: `origin`, or `answers` for those that answer what had this id.
        """
        shown = self._text(origin)
        found = (entry.message_id for entry in reversed(tuple(self)) if entry.get(name) == shown)
        return list(dict.fromkeys(found))

    def wanted(self, address: Address) -> Wanted:
        """What to look for, to find the messages of an address, or of all users of a domain."""
        if not address.local:
            return Wanted(address.domain.name, address.domain.name, only_domain=True)
        unkept = self._mask.mode is Privacy.DOMAIN
        return Wanted(self._mask.address(address), address.domain.name, only_domain=unkept, unkept=unkept)

    def search(
        self, source: Wanted | None, destination: Wanted | None, since_s: float | None = None
    ) -> dict[bytes, list[TraceEntry]]:
        """Return the steps of every message from and to whom is wanted, by id; those seen last come first.

        Args:
            source: whose messages; None: anybody's.
            destination: messages to whom; None: to anybody.
            since_s: only messages with a step at this time or later.
        """
        found: dict[bytes, list[TraceEntry]] = {}
        recent: dict[bytes, None] = {}
        for entry in reversed(tuple(self)):
            if since_s is None or entry.at_s >= since_s:
                recent.setdefault(entry.message_id)
            if entry.message_id in recent:
                found.setdefault(entry.message_id, []).append(entry)
        return {
            ident: steps[::-1]
            for ident, steps in found.items()
            if _is_of(steps, source, "source") and _is_of(steps, destination, "destination", "domain")
        }

    def __iter__(self) -> Iterator[TraceEntry]:
        self._forget(self._now_s())
        return iter(tuple(self._entries))

    def _text(self, value: Address | bytes | str) -> str:
        if isinstance(value, str):
            return self._mask.text(value[:_MAX_VALUE_CHARS]) if "@" in value else value[:_MAX_VALUE_CHARS]
        return self._mask.address(value)

    def _forget(self, now_s: float) -> None:
        while self._entries and now_s - self._entries[0].at_s > self._max_age_s:
            self._entries.popleft()


def _is_of(steps: list[TraceEntry], wanted: Wanted | None, *names: str) -> bool:
    """Whether any step names whom is wanted; one that only names the domain does not decide an address."""
    if wanted is None:
        return True
    return any(wanted.matches(kept) for step in steps for name in names if (kept := step.get(name)))
