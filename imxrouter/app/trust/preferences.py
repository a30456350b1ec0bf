"""By which protocols remote domains may be reached, as the configuration says it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from imxrouter.config.schema import Config
from imxrouter.model.domain import Domain
from imxrouter.routing.choice import Protocol
from imxrouter.transport.choosing import Preference


class Preferences:
    """What is configured for each domain, its own entry before that of the nearest zone.

    Args:
        config: the configuration of the start; `read` takes another one.
        spoken: protocols that this router speaks; read each time.
        pinned: domains whose addresses are configured, by name; the same.

    Attributes:
        default: protocols of every domain without an entry, preferred first.
        rules: those of domains and of `*.zone`.
    """

    def __init__(self, config: Config, spoken: Collection[Protocol], pinned: Mapping[str, object]) -> None:
        self._spoken = spoken
        self._pinned = pinned
        self.read(config)

    def read(self, config: Config) -> None:
        """Go by another configuration."""
        self.default = tuple(map(Protocol, config.dial.protocols))
        self.rules = {
            entry.domain: tuple(map(Protocol, entry.protocols))
            for entry in config.trust.peers
            if entry.protocols
        }

    def of(self, domain: Domain) -> Preference:
        """What holds for a domain; addresses are configured of IMX routers only."""
        found, zone = self.rules.get(domain.name), domain.name
        while found is None and "." in zone:
            zone = zone.partition(".")[2]
            found = self.rules.get(f"*.{zone}")
        order = self.default if found is None else found
        allowed = frozenset(one for one in order if one in self._spoken)
        return Preference(allowed, order, Protocol.IMX if domain.name in self._pinned else None)
