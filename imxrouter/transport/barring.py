"""Answers to requests that may not pass: when an answer to a request for nobody would come.

A service inside this process answers within the turn, and so do we. One behind a link takes its time: we take
as long as its last refusals took on average, so that the time tells nobody by whom he was refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from imxrouter.link.ledger import SENT, TO_DOMAIN, TRIES, Entry
from imxrouter.model.outcome import Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.gate import Bar
from imxrouter.switch.ports import Port, Role
from imxrouter.transport.hub import Hub

#: Of a service that has refused nothing yet: a turn on the same network.
FIRST_S: Final = 0.005
#: Part of the mean that the newest refusal makes.
_NEWEST: Final = 0.2
#: No answer waits longer.
MOST_S: Final = 5.0
#: Domains whose services' times are remembered.
_DOMAINS: Final = 10_000


class Barring:
    """Answers for the hub.

    Args:
        hub: links.
        later: calls something after so many seconds.
        told: told of each request that was barred: its source and destination as spelled, and why.
    """

    def __init__(
        self,
        hub: Hub,
        later: Callable[[float, Callable[[], None]], object],
        told: Callable[[Entry, Bar], None],
    ) -> None:
        self._hub = hub
        self._later = later
        self._told = told
        self._refused_s: dict[bytes, float] = {}
        hub.bar = self._bar

    def answered(self, port: Port, entry: Entry, outcome: Outcome) -> None:
        """A request was answered by something else than plain success: how long did a refusal take?"""
        if port.role in (Role.SERVICE, Role.PROCESS) and not outcome.ok and entry[SENT]:
            domain, took_s = entry[TO_DOMAIN], self._hub.now() - entry[SENT]
            before = self._refused_s.get(domain)
            if before is None and len(self._refused_s) >= _DOMAINS:
                self._refused_s.clear()
            mean = took_s if before is None else before + _NEWEST * (took_s - before)
            self._refused_s[domain] = min(mean, MOST_S)

    def _bar(self, barred: list[tuple[int, Bar]]) -> None:
        for tag, bar in barred:
            entry = self._hub.switch.ledger.entries.get(tag)
            if entry is None:
                continue
            self._told(entry, bar)
            wait_s = self._wait_s(entry, bar)
            if wait_s:
                self._later(wait_s, lambda tag=tag, bar=bar: self._answer(tag, bar))  # type: ignore[misc]
            else:
                self._complete(tag, bar)

    def _wait_s(self, entry: Entry, bar: Bar) -> float:
        route = self._hub.switch.routes.get(entry[TO_DOMAIN])
        if bar.direction == "out" or route is None:
            return 0.0
        if not any(port.number in self._hub.sessions or port.role is Role.PROCESS for port in route.ports):
            return 0.0
        return self._refused_s.get(entry[TO_DOMAIN], FIRST_S)

    def _answer(self, tag: int, bar: Bar) -> None:
        self._complete(tag, bar)
        self._hub.flush()

    def _complete(self, tag: int, bar: Bar) -> None:
        """Answer it; a retry's first try may have been delivered, before the entry came."""
        entry, outcome = self._hub.switch.ledger.entries.get(tag), failure(bar.reason, note=bar.note)
        if entry is not None and entry[TRIES]:
            outcome = indeterminant(Reason.LINK_LOST, role="peer", note=bar.note)
        self._hub.switch.complete(tag, outcome, self._hub.now())
