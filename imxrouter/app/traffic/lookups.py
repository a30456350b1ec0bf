"""Look-ups, counted by what came of them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Finder, Found
from imxrouter.discovery.search import Purpose
from imxrouter.model.domain import Domain
from imxrouter.telemetry.metrics import Metrics


class CountedFinder(Finder):
    """A finder that feeds `imxrouter_dns_lookups_total`.

    Args:
        metrics: counts.
        arguments: those of `Finder`.
    """

    def __init__(self, metrics: Metrics, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lookups = metrics.lookups

    def find(self, domain: Domain, purpose: Purpose = "im", fresh: bool = False) -> Deferred[Found]:
        """Find the routers of a domain; see `Finder.find`."""
        return super().find(domain, purpose, fresh).addBoth(self._count)

    def _count(self, result: Found | Failure) -> Found | Failure:
        if isinstance(result, Found):
            known = all(step.source == "cache" for step in result.asked)
            self._lookups.inc("cached" if known else "found")
        elif isinstance(result.value, DiscoveryFailed):
            self._lookups.inc(result.value.reason.word)
        return result
