"""To whom a domain name belongs, as far as sharing of limits goes.

The share of a table or a rate that a stranger can fill is counted per *zone*: the name that was registered,
with all names below it, for their owner makes as many as he likes. A list of public suffixes would say it
exactly, but has to be kept current; the rule here errs to the side of one owner in the few cases it misses.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

#: Second labels under which country registries sell names (`example.co.uk`, `example.com.au`).
_REGISTRY_LABELS: Final = frozenset(
    {"ac", "ad", "co", "com", "ed", "edu", "go", "gob", "gov", "gouv", "gv", "id", "ind", "mil", "ne", "net",
     "nom", "or", "org", "sch"}
)  # fmt: skip


#: Each new sender asks for the zone of his domain; 4,096 names are a megabyte at most.
@lru_cache(maxsize=4096)
def zone_of(name: str) -> str:
    """The registered name that a domain in wire form lies in: its last two labels, or three under `co.uk`."""
    labels = name.rsplit(".", 3)
    if len(labels) < 3:
        return name
    if len(labels[-1]) == 2 and labels[-2] in _REGISTRY_LABELS:
        return ".".join(labels[-3:])
    return ".".join(labels[-2:])
