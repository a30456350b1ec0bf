"""Addresses of sockets and networks as they are written in a configuration."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.errors import RouterError


class BadEndpoint(RouterError):
    """The text is no `ADDRESS:PORT`."""


class HostPort(NamedTuple):
    """An IP address and a port.

    Attributes:
        host: IPv4 or IPv6 address, without brackets.
        port: 0 to 65535; 0 asks the system for a free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(text: str) -> HostPort:
    """Read `192.0.2.1:6490` or `[2001:db8::1]:6490`.

    Raises:
        BadEndpoint: no port, a port out of range, or a host that is no IP address.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BadEndpoint(f"{text!r} does not end in a port (0 to 65535)")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        raise BadEndpoint(f"{host!r} is not an IP address") from None
    if address.version == 6 and bare is host:
        raise BadEndpoint(f"an IPv6 address stands in brackets: [{host}]:{port}")
    return HostPort(str(address), int(port))


def parse_published(text: str) -> tuple[str, int]:
    """Read `im1.a.example:6490`, a host as DNS records name it.

    Returns:
        The host name in wire form, and the port.

    Raises:
        BadEndpoint: no port, a port out of range, or a host that is no name.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65535:
        raise BadEndpoint(f"{text!r} does not end in a port (1 to 65535)")
    try:
        return parse_name(host).name, int(port)
    except BadDomain as error:
        raise BadEndpoint(str(error)) from None


def parse_name(text: str) -> Domain:
    """Read a domain that DNS can have: an address is none, though it is made of letters, digits and dots.

    Raises:
        BadDomain: it is no domain, or an IP address.
    """
    domain = Domain.parse(text)
    if domain.name.rpartition(".")[2].isdigit():  # RFC 3696 section 2: no top-level domain is a number
        raise BadDomain(f"{text!r} is an address; a name is needed")
    return domain
