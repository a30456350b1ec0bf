"""Whether the process has too much to do, and what is left out then (IMX-33, section 5.2). Time is handed in.

Two things are measured: how late a timer of the reactor is (the turn of work it had to wait for), and the
bytes that wait to be written. Two bad measures in a row raise the level by one, so that a single long turn
changes nothing; a calm time lowers it by one. In between it stays.

Answers, closes and what ends a subscription pass at every level: they make room.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Level(IntEnum):
    """What is refused, each with all before it."""

    NOTHING = 0
    PRESENCE = 1
    SUBSCRIPTIONS = 2
    QUARTER = 3
    HALF = 4
    THREE_QUARTERS = 5
    MESSAGES = 6

    @property
    def word(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS: Final = {
    Level.NOTHING: "nothing is shed",
    Level.PRESENCE: "presence is shed",
    Level.SUBSCRIPTIONS: "presence and new subscriptions are shed",
    Level.QUARTER: "presence, new subscriptions and a quarter of the messages are shed",
    Level.HALF: "presence, new subscriptions and half of the messages are shed",
    Level.THREE_QUARTERS: "presence, new subscriptions and three quarters of the messages are shed",
    Level.MESSAGES: "presence, new subscriptions and messages are shed",
}
#: Bad measures in a row that raise the level.
IN_A_ROW: Final = 2
#: A measure below this part of its mark is calm; between the two nothing changes.
CALM_PART: Final = 0.5


@dataclass(frozen=True, slots=True)
class OverloadSettings:
    """Marks.

    Attributes:
        lag_s: a timer that is later than this is bad; 0: not looked at.
        unwritten_bytes: more waiting for links to read is bad; 0: not looked at.
        calm_s: calm for so long lowers the level by one.
    """

    lag_s: float = 0.1
    unwritten_bytes: int = 256 << 20
    calm_s: float = 2.0


class Overload:
    """The level of one process.

    Attributes:
        level: now.
        lag_s: measured last.
        unwritten: the same.
        since: when the level last left `NOTHING`; meaningless there.
        times: how often it left `NOTHING`.
    """

    def __init__(self, settings: OverloadSettings) -> None:
        self.settings = settings
        self.level = Level.NOTHING
        self.lag_s = 0.0
        self.unwritten = 0
        self.since = 0.0
        self.times = 0
        self._bad = 0
        self._calm_since: float | None = None

    def measure(self, lag_s: float, unwritten: int, now: float) -> Level:
        """Take one measure; returns the level that holds from now on."""
        self.lag_s, self.unwritten = lag_s, unwritten
        strain = self.strain
        if strain > 1:
            self._calm_since = None
            self._bad += 1
            if self._bad >= IN_A_ROW and self.level < Level.MESSAGES:
                self._bad = 0
                if self.level is Level.NOTHING:
                    self.since = now
                    self.times += 1
                self.level = Level(self.level + 1)
            return self.level
        self._bad = 0
        if strain > CALM_PART:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif self.level and now - self._calm_since >= self.settings.calm_s:
            self._calm_since = now
            self.level = Level(self.level - 1)
        return self.level

    @property
    def strain(self) -> float:
        """The worse of both measures, as a part of its mark."""
        settings = self.settings
        lag = self.lag_s / settings.lag_s if settings.lag_s else 0.0
        unwritten = self.unwritten / settings.unwritten_bytes if settings.unwritten_bytes else 0.0
        return max(lag, unwritten)
