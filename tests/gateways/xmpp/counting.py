"""How much work expat has, counted in bytes and not by a clock."""

from __future__ import annotations

from typing import Any
from xml.parsers import expat


class Counting:
    """A parser of expat that counts the bytes it has to look at, those of an unfinished token again."""

    looked_at = 0

    def __init__(self) -> None:
        object.__setattr__(self, "inner", expat.ParserCreate("UTF-8", "\x01"))
        object.__setattr__(self, "given", 0)

    def Parse(self, data: bytes, final: bool) -> int:  # noqa: N802 -- as expat calls it
        """Count, and parse."""
        index = self.inner.CurrentByteIndex
        Counting.looked_at += len(data) + (self.given - index if index >= 0 else 0)
        object.__setattr__(self, "given", self.given + len(data))
        done: int = self.inner.Parse(data, final)
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)
