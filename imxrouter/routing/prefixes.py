"""IP addresses as keys of limits: the address itself, and the prefix its owner usually holds."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from imxrouter.model.errors import RouterError

#: Addresses of which the keys are kept, those that were asked for last: 300 bytes each, 1.2 MB in all. Each
#: connection asks several times, so that the next ones of as many hosts find theirs.
REMEMBERED: Final = 4096


class BadIpAddress(RouterError):
    """The text is no IP address."""


class AddressKeys(NamedTuple):
    """What an IP address counts under.

    Attributes:
        host: 4 bytes of an IPv4 address; 8 bytes (a /64) of an IPv6 one, for a single host has that many.
        prefix: the /24 of an IPv4 address (3 bytes), the /48 of an IPv6 one (6 bytes).
    """

    host: bytes
    prefix: bytes


@lru_cache(maxsize=REMEMBERED)
def address_keys(ip: str) -> AddressKeys:
    """The keys of an address; IPv4 in IPv6 clothes (mapped, 6to4, NAT64) counts as that IPv4 address.

    Raises:
        BadIpAddress: the text is no IP address.
    """
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        raise BadIpAddress(f"{ip[:60]!r} is no IP address") from None
    if isinstance(address, IPv6Address):
        inner = _inner_ipv4(address)
        if inner is None:
            packed = address.packed
            return AddressKeys(packed[:8], packed[:6])
        address = inner
    return AddressKeys(address.packed, address.packed[:3])


def _inner_ipv4(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.packed[:12] == b"\x00\x64\xff\x9b" + bytes(8):  # RFC 6052: 64:ff9b::/96
        return IPv4Address(address.packed[12:])
    return address.sixtofour
