"""The last failures with each peer, for `imxctl peers show`: bounded in domains and for each domain.

Two tables: what we met on our way to a peer, and what strangers who claim to be one were refused. However
many domains strangers invent, they push nothing out of the first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imxrouter.model.vocabulary import Reason

#: Failures kept of one domain: enough to see whether they are all the same.
PER_DOMAIN: Final = 8
#: Domains in each table; some 2 KB each at most.
DOMAINS: Final = 2000


@dataclass(frozen=True, slots=True)
class PeerError:
    """One failure.

    Attributes:
        at_s: seconds since 1970.
        reason: of the registry.
        note: for operators.
    """

    at_s: float
    reason: Reason
    note: str


class PeerLog:
    """Remembers failures by domain; of each table the domain goes first that failed longest ago.

    Args:
        wall: seconds since 1970.
        domains: domains in each table.
    """

    def __init__(self, wall: Callable[[], float], domains: int = DOMAINS) -> None:
        self._wall = wall
        self._domains = domains
        self._tables: dict[str, OrderedDict[bytes, deque[PeerError]]] = {
            "ours": OrderedDict(), "theirs": OrderedDict(),
        }  # fmt: skip

    def failed(self, direction: str, domain: bytes, reason: Reason, note: str = "") -> None:
        """Note a failure: `ours` when we reached for the domain, `theirs` when it came to us."""
        table = self._tables[direction]
        errors = table.setdefault(domain, deque(maxlen=PER_DOMAIN))
        errors.append(PeerError(self._wall(), reason, note[:200]))
        table.move_to_end(domain)
        if len(table) > self._domains:
            table.popitem(last=False)

    def of(self, domain: bytes) -> list[tuple[str, PeerError]]:
        """What is remembered of a domain: (direction, failure), the newest first."""
        found = [
            (name, error) for name, table in self._tables.items() for error in reversed(table.get(domain, ()))
        ]
        return sorted(found, key=lambda pair: pair[1].at_s, reverse=True)
