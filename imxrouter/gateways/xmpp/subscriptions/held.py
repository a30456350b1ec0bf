"""Pairs of a watcher and whom he watches, and the table of what happens to them: what both sides share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Generic, TypeVar

from imxrouter.gateways.xmpp.subscriptions.effects import Do, Rule, State
from imxrouter.gateways.xmpp.subscriptions.kept import names_of
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.routing.watched import pair_key
from imxrouter.routing.wheel import Timed, Wheel


class HeldPair(Timed, Generic[State]):
    """A watcher and whom he watches.

    Attributes:
        watcher: as he is spelled as a JID.
        presentity: the same of whom he watches.
        state: see there.
    """

    __slots__ = ("presentity", "state", "watcher")

    def __init__(self, watcher: Address, presentity: Address, state: State) -> None:
        super().__init__()
        self.watcher, self.presentity, self.state = watcher, presentity, state

    @property
    def names(self) -> bytes:
        """Under which it is stored."""
        return names_of(self.watcher, self.presentity)


Event = TypeVar("Event", bound=Enum)
Pair = TypeVar("Pair", bound=HeldPair[Any])
What = TypeVar("What")


class HeldPairs(ABC, Generic[Pair, State, Event, Do, What]):
    """All pairs of one side.

    Args:
        none: the state of a pair that is not held.
        transitions: what is done in which state at which event.
        wall_ahead_s: seconds since 1970 less the seconds handed in as `now`.

    Attributes:
        counts: what was dropped or put off, by word.
    """

    def __init__(
        self, none: State, transitions: Mapping[tuple[State, Event], Rule[State, Do]], wall_ahead_s: float
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.wall_ahead_s = wall_ahead_s
        self._none = none
        self._transitions = transitions
        self._pairs: dict[bytes, Pair] = {}
        #: By key; two spellings of one key are two people, and the second is refused.
        self._by_key: dict[bytes, Pair] = {}
        #: The same pairs by the domain of the user who is ours.
        self._by_domain: dict[Domain, dict[bytes, Pair]] = {}
        self._wheel: Wheel[Pair] = Wheel()
        #: Each tells whether it could be done.
        self._does: Mapping[Do, Callable[[Pair, State, What], bool]] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def state(self, watcher: Address, presentity: Address) -> State:
        """How it stands between these two, as JIDs spell them."""
        pair = self._pairs.get(names_of(watcher, presentity))
        return pair.state if pair is not None else self._none

    def pairs(self) -> list[Pair]:
        """All that are held, for people to read."""
        return list(self._pairs.values())

    def domains(self) -> list[tuple[Domain, Domain]]:
        """Whose users are held, each with the domain of one at the other end."""
        return [
            (domain, self._ends(next(iter(pairs.values())))[1].domain)
            for domain, pairs in self._by_domain.items()
        ]

    def holds(self, domain: Domain) -> bool:
        """Whether a user of a domain is held."""
        return domain in self._by_domain

    def _of(self, domain: Domain) -> list[Pair]:
        return list(self._by_domain.get(domain, {}).values())

    @staticmethod
    @abstractmethod
    def _ends(pair: Pair) -> tuple[Address, Address]:
        """The user of an XMPP service, and who is at the other end."""

    def _happens(self, pair: Pair, event: Event, what: What) -> None:
        rule = self._transitions.get((pair.state, event))
        if rule is None:
            self.counts[f"odd {pair.state.value} {event.value}"] += 1
            return
        before = pair.state
        for one in rule.do:
            if not self._does[one](pair, rule.then, what):
                return
        self._enter(pair, before, rule.then)

    @abstractmethod
    def _enter(self, pair: Pair, before: State, after: State) -> None:
        """All is done: this is the state now."""

    def _hold(self, pair: Pair) -> None:
        self._pairs[pair.names] = pair
        self._by_key[pair_key(pair.watcher, pair.presentity)] = pair
        self._by_domain.setdefault(self._ends(pair)[0].domain, {})[pair.names] = pair

    def _drop(self, pair: Pair) -> None:
        """Hold it no more."""
        if self._pairs.get(pair.names) is pair:
            del self._pairs[pair.names]
            del self._by_key[pair_key(pair.watcher, pair.presentity)]
            domain = self._ends(pair)[0].domain
            del self._by_domain[domain][pair.names]
            if not self._by_domain[domain]:
                del self._by_domain[domain]
        self._wheel.drop(pair)

    def _wall(self, now: float) -> datetime:
        return datetime.fromtimestamp(now + self.wall_ahead_s, UTC)
