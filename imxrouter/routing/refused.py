"""Refusals counted by limit, and who was refused most, in little memory."""

from __future__ import annotations

from typing import Final

from imxrouter.model.limits import COUNTED, Limit

#: Names kept for each limit. With more of them the one refused least makes room and its count is inherited
#: (the space-saving algorithm): whoever has more than a sixty-fourth of all refusals is certainly there.
OFFENDERS: Final = 64
#: Every so often counts fall to a half, so that the list tells of the last minutes.
HALF_LIFE_S: Final = 300.0


class RefusalBook:
    """Counts.

    Attributes:
        counts: refusals by limit since the start.
    """

    def __init__(self) -> None:
        self.counts: dict[Limit, int] = dict.fromkeys(COUNTED, 0)
        self._who: dict[Limit, dict[bytes, float]] = {}
        self._aged_at: float | None = None

    def add(self, limit: Limit, who: bytes = b"") -> None:
        """One refusal; `who` is a domain, an address or a link, empty where it is nobody's."""
        self.counts[limit] += 1
        if not who:
            return
        names = self._who.get(limit)
        if names is None:
            names = self._who[limit] = {}
        count = names.get(who)
        if count is None and len(names) >= OFFENDERS:
            least = min(names, key=names.__getitem__)
            count = names.pop(least)
        names[who] = (count or 0.0) + 1

    def age(self, now: float) -> None:
        """Let what is past count less; to be called now and then."""
        if self._aged_at is None:
            self._aged_at = now
        if now - self._aged_at < HALF_LIFE_S:
            return
        self._aged_at = now
        for limit, names in self._who.items():
            self._who[limit] = {who: count / 2 for who, count in names.items() if count >= 1}

    def worst(self, limit: Limit, most: int = 5) -> list[tuple[bytes, int]]:
        """Who was refused most lately, with about how often."""
        names = self._who.get(limit, {})
        ranked = sorted(names.items(), key=lambda item: (-item[1], item[0]))
        return [(who, int(count)) for who, count in ranked[:most]]
