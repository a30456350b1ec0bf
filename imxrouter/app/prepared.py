"""What an owner of settings has made ready before a configuration is taken: all prepare, then all commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imxrouter.config.diff import Changes
from imxrouter.config.schema import Config
from imxrouter.transport.link import Link


@dataclass(frozen=True, slots=True)
class Touched:
    """A link that a change concerns, and what becomes of it."""

    session: Link
    what: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one owner will do.

    Attributes:
        commit: does it; must not fail.
        links: the links concerned, as they are now.
        notes: more to be told, a sentence each.
        counts: whether it changes anything that an operator sees.
        cancel: lets go of what was made ready, where it will not be done.
    """

    commit: Callable[[], object]
    links: tuple[Touched, ...] = ()
    notes: tuple[str, ...] = ()
    counts: bool = True
    cancel: Callable[[], object] = lambda: None


#: Prepares to take a configuration, or has nothing to do; raises `RouterError` where it cannot.
Owner = Callable[[Config, Changes], Step | None]
