"""From where the operator's own servers and bridges may connect."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Whether an IP address is of one of these networks."""
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in networks)
