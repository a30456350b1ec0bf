"""Which addresses and ports may be dialled because a stranger's DNS names them.

Judged on the address actually connected to, never on a name (architecture section 5.3). Without it, anybody
could make this router knock at the operator's own network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from imxrouter.model.vocabulary import Reason

Network = IPv4Network | IPv6Network

#: Below this, a port may only be dialled when it is allowed by name.
LOW_PORTS = 1024

#: Low ports that peers behind strict firewalls use.
DEFAULT_LOW_PORTS = frozenset({443})

#: Rule by network; the IANA special-purpose registries (RFC 6890) and the multicast and reserved blocks.
#: Written out, because what `ipaddress` calls private has changed between Python versions.
_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), rule)
    for network, rule in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "ipv4-mapped"),
        ("::ffff:0:0:0/96", "ipv4-translated"),
        ("::/96", "ipv4-compatible"),
        ("64:ff9b::/96", "nat64"),
        ("64:ff9b:1::/48", "nat64"),
        ("100::/64", "discard"),
        ("2001:2::/48", "benchmarking"),
        ("2001:10::/28", "reserved"),
        ("2001:20::/28", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "reserved"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

#: The only IPv6 space that is given out (RFC 4291 section 4); what lies outside and is not listed above is
#: reserved, except the NAT64 prefix, which is.
_GLOBAL_UNICAST = ip_network("2000::/3")

_NAT64 = ip_network("64:ff9b::/96")
_WILDCARDS = frozenset({IPv4Address("0.0.0.0"), IPv6Address("::")})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an address is not dialled.

    Attributes:
        rule: the rule's name, such as `loopback`, `private`, `low-port`, `own-listener`.
        note: address and port, for the operator.
    """

    rule: str
    note: str
    reason: Reason = Reason.ADDRESS_REFUSED


class DialGuard:
    """Judges addresses. Immutable; make a new one when the configuration changes.

    Args:
        allow: networks that may be dialled although a rule refuses them (a laboratory's 127.0.0.0/8). An
            address inside that embeds an IPv4 address is still judged by that one.
        low_ports: ports below 1024 that may be dialled.
        own: (address, port) where we listen ourselves; never dialled, whatever `allow` says.
        own_addresses: this machine's addresses, for listeners on 0.0.0.0 or `::`.
    """

    def __init__(
        self,
        allow: Iterable[str] = (),
        low_ports: Iterable[int] = DEFAULT_LOW_PORTS,
        own: Iterable[tuple[str, int]] = (),
        own_addresses: Iterable[str] = (),
    ) -> None:
        self._allow = tuple(ip_network(network, strict=False) for network in allow)
        self._low_ports = frozenset(low_ports)
        hosts = [ip_address(address) for address in own_addresses]
        listeners = [(ip_address(address), port) for address, port in own]
        self._own = {
            (host, port)
            for address, port in listeners
            for host in ([address, *hosts] if address in _WILDCARDS else [address])
        }

    def check(self, address: str, port: int) -> Refusal | None:
        """Return why this address and port may not be dialled, None if they may."""
        note = f"{address} port {port}"
        if not 0 < port < 65536:
            return Refusal("bad-port", note)
        if port < LOW_PORTS and port not in self._low_ports:
            return Refusal("low-port", note)
        try:
            parsed = ip_address(address)
        except ValueError:
            return Refusal("not-an-address", note)
        if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
            return Refusal("scoped", note)
        if any((form, port) in self._own for form in _same_place(parsed)):
            return Refusal("own-listener", note)
        rule = self._rule(parsed)
        return Refusal(rule, note) if rule else None

    def _rule(self, address: IPv4Address | IPv6Address) -> str:
        allowed = any(address.version == network.version and address in network for network in self._allow)
        if not allowed:
            refused = next(
                (rule for net, rule in _REFUSED if address.version == net.version and address in net), ""
            )
            if refused:
                return refused
            if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
                return "reserved"
        if isinstance(address, IPv6Address):
            for form, embedded in _embedded(address):
                if inner := self._rule(embedded):
                    return f"{form}-{inner}"
        return ""


def _embedded(address: IPv6Address) -> list[tuple[str, IPv4Address]]:
    """Return the IPv4 addresses that packets to this address would be sent on to."""
    found: list[tuple[str, IPv4Address]] = []
    if address.ipv4_mapped is not None:
        found.append(("ipv4-mapped", address.ipv4_mapped))
    if address.sixtofour is not None:
        found.append(("6to4", address.sixtofour))
    if address.teredo is not None:
        server, client = address.teredo
        found += [("teredo", server), ("teredo", client)]
    if address in _NAT64:
        found.append(("nat64", IPv4Address(int(address) & 0xFFFFFFFF)))
    return found


def _same_place(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return the address and the IPv4 addresses inside it."""
    if isinstance(address, IPv4Address):
        return [address]
    return [address, *(embedded for _, embedded in _embedded(address))]
