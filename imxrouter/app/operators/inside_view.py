"""The file of a resolver that leads a server's outside domains here, as `imxctl dns inside` asks for it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import cast, get_args

from imxrouter.admin.errors import AdminError
from imxrouter.admin.port import InsideAsked
from imxrouter.admin.views import InsideView
from imxrouter.config.net import BadEndpoint, HostPort, parse_endpoint, parse_name
from imxrouter.config.schema import Config
from imxrouter.discovery.inside_dns import CannotDivert, Diversion, resolver_file
from imxrouter.model.domain import BadDomain
from imxrouter.model.resolvers import ResolverName
from imxrouter.routing.domains import ServedDomain

#: Where resolvers are asked.
_DNS_PORT = 53


def inside_view(config: Config, served: Iterable[ServedDomain], asked: InsideAsked) -> InsideView:
    """Write the file.

    Args:
        config: in force.
        served: all domains that are served now.
        asked: what is wanted.

    Raises:
        AdminError: there is no inside listener, or what is asked for cannot be done.
    """
    if asked.resolver not in get_args(ResolverName):
        known = ", ".join(get_args(ResolverName))
        raise AdminError("bad-request", f"no file for {asked.resolver!r}", "for", f"one of: {known}")
    inside = config.xmpp.inside
    if not inside.listen:
        do = "write xmpp.inside.listen: where servers behind this router are taken"
        raise AdminError("bad-request", "no inside listener", "xmpp.inside.listen", do)
    service = _service(config, asked.service)
    own = [name.name for one in served if one.service == service for name in (one.name, *one.aliases)]
    upstreams = asked.upstreams or config.dns.nameservers
    ports = {endpoint.port for endpoint in inside.endpoints}
    if len(ports) > 1:
        do = "listen at one port on all addresses"
        raise AdminError("bad-request", "one SRV record has one port", "xmpp.inside.listen", do)
    diversion = Diversion(
        addresses=tuple(endpoint.host for endpoint in inside.endpoints),
        port=ports.pop(),
        own=tuple(own),
        passes=tuple(_domain(text) for text in asked.passes),
        upstreams=tuple(_upstream(text) for text in upstreams),
        clients=tuple(str(network) for network in inside.networks),
        **({"listen": _address(asked.listen, "listen")} if asked.listen else {}),
    )
    resolver = cast("ResolverName", asked.resolver)
    try:
        made = resolver_file(resolver, diversion)
    except CannotDivert as error:
        raise AdminError("bad-request", error.what, "for", error.do) from None
    return InsideView(
        format=resolver, file=made.path, text=made.text,
        router=[str(endpoint) for endpoint in inside.endpoints],
        own=list(diversion.own), passes=list(diversion.passes),
    )  # fmt: skip


def _service(config: Config, name: str) -> str:
    """The name of the service whose server will ask."""
    behind = [service.name for service in config.services if service.kind == "xmpp"]
    if name in behind:
        return name
    known = f"one of: {', '.join(behind)}" if behind else 'add a [[service]] with kind = "xmpp"'
    if name or not behind:
        what = f"no XMPP service {name!r}" if name else "no XMPP server is behind this router"
        raise AdminError("bad-request", what, "service", known)
    if len(behind) > 1:
        # each answers for domains that the others must find at this router
        raise AdminError("bad-request", "several servers are behind this router", "service", known)
    return behind[0]


def _domain(text: str) -> str:
    try:
        return parse_name(text).name
    except BadDomain as error:
        raise AdminError("bad-request", str(error), "pass", "write a domain name") from None


def _upstream(text: str) -> HostPort:
    try:
        return HostPort(_address(text, "upstream"), _DNS_PORT) if _is_bare(text) else parse_endpoint(text)
    except BadEndpoint as error:
        raise AdminError("bad-request", str(error), "upstream", "write ADDRESS or ADDRESS:PORT") from None


def _is_bare(text: str) -> bool:
    return ":" not in text or (text.count(":") > 1 and "[" not in text)


def _address(text: str, where: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise AdminError("bad-request", str(error), where, "write an IP address") from None
