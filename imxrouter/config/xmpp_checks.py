"""What the keys about XMPP must be to each other and to the rest of the configuration."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final

from imxrouter.config.net import parse_endpoint, parse_name
from imxrouter.config.schema import Config
from imxrouter.config.xmpp import ComponentOf, Components, Inside
from imxrouter.model.errors import RouterError
from imxrouter.model.patterns import Pattern, Rank

#: Patterns that say something of domains and nothing of who is there.
_OF_DOMAINS: Final = frozenset({Rank.DOMAIN, Rank.ZONE})


def xmpp_problems(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield (path, what, what to do) of each contradiction about XMPP."""
    yield from _listen_problems(config)
    yield from _several_processes(config)
    xmpp = config.xmpp
    yield from _door_problems("xmpp.inside", xmpp.inside, "servers behind this router", "10.0.0.9:5269")
    yield from _door_problems("xmpp.components", xmpp.components, "components", "127.0.0.1:5347")
    yield from _attached_problems(config)
    attached = {one.service for one in xmpp.attached}
    for n, service in enumerate(config.services):
        path = f"service[{n}]"
        if service.kind == "component":
            if not xmpp.components.listen:
                yield f"{path}.kind", f"{service.name!r} has no way to us", "write xmpp.components.listen"
            if not service.secret_file:
                yield f"{path}.secret_file", "a component proves itself by it", "name the file of its secret"
        elif service.secret_file:
            yield f"{path}.secret_file", f"an {service.kind} service has none", "remove it"
        if service.kind != "xmpp":
            if service.address:
                yield f"{path}.address", f"a service of kind {service.kind} is not dialled", "remove it"
            continue
        if not xmpp.inside.listen and service.name not in attached:
            do = "write xmpp.inside.listen, or [[xmpp.component]]"
            yield f"{path}.kind", f"{service.name!r} has no way to us", do
        if service.name in attached and not service.address:
            continue
        try:
            parse_endpoint(service.address)
        except RouterError as error:
            yield f"{path}.address", str(error), "write where its server takes streams, like 10.0.0.5:5269"


def xmpp_warnings(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield (path, what, what to do) of what is allowed about XMPP and probably not wanted."""
    for n, one in enumerate(config.xmpp.attached):
        if not one.server_name and _is_public(one.address):
            what = f"what is said at {one.address} can be read and changed on the way, and the secret tried"
            do = "write server_name, where it takes TLS; or reach it by an address of your own network"
            yield f"xmpp.component[{n}].address", what, do
    for text in config.xmpp.components.listen:
        if _is_public(text):
            what = f"what components say at {text} can be read and changed on the way"
            yield "xmpp.components.listen", what, "listen at an address of your own network"


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(parse_endpoint(address).host).is_global
    except RouterError:
        return False  # told as what it is


def _several_processes(config: Config) -> Iterator[tuple[str, str, str]]:
    """A server's answers come on streams of its own, which the system gives to any of the processes."""
    if config.shares_port and config.takes_streams and config.xmpp.confirm != "written":
        what = "answers to pings may come at another process, so messages that arrived would be in doubt"
        do = 'use one process; or write "written", where it is enough that a message was written'
        yield "xmpp.confirm", what, do


def _door_problems(
    path: str, door: Inside | Components, who: str, like: str
) -> Iterator[tuple[str, str, str]]:
    for text in door.listen:
        try:
            endpoint = parse_endpoint(text)
        except RouterError as error:
            yield f"{path}.listen", str(error), f"write ADDRESS:PORT, like {like}"
            continue
        if ipaddress.ip_address(endpoint.host).is_unspecified:
            what = f"{text!r} is every address of this host, those of the outside too"
            yield f"{path}.listen", what, f"name the address that {who} reach"
    for text in door.allow:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            yield f"{path}.allow", str(error), "write a network, like 10.0.0.0/24"
    if door.listen and not door.allow:
        yield f"{path}.allow", f"nobody may connect to {path}.listen", f"name the networks of {who}"


def _attached_problems(config: Config) -> Iterator[tuple[str, str, str]]:
    kinds = {one.name: one.kind for one in config.services}
    own = {name: one.service for one in config.domains for name in (one.name, *one.aliases)}
    seen: set[str] = set()
    if config.xmpp.attached and config.shares_port:
        what = "a component attaches once, and here are several processes"
        yield "xmpp.component", what, "use one process, or xmpp.inside"
    for n, one in enumerate(config.xmpp.attached):
        path = f"xmpp.component[{n}]"
        if one.service in seen:
            do = "write all domains, and the gateway, into one table"
            yield f"{path}.service", f"{one.service!r} stands twice", do
        seen.add(one.service)
        if kinds.get(one.service) != "xmpp":
            what = f"{one.service!r} is no service of kind xmpp"
            yield f"{path}.service", what, 'add a [[service]] of that name with kind = "xmpp"'
        try:
            parse_endpoint(one.address)
        except RouterError as error:
            yield f"{path}.address", str(error), "write where it takes components, like 10.0.0.5:5347"
        yield from _name_problems(path, one)
        for name in one.domains:
            try:
                parse_name(name)
            except RouterError as error:
                yield f"{path}.domains", f"{name!r}: {error}", "write a domain, like far.example"
            if own.get(name) == one.service:
                yield f"{path}.domains", f"{name} is the server's own", "remove it"
        if len(set(one.domains)) < len(one.domains):
            yield f"{path}.domains", "a domain stands twice", "keep one of them"
        yield from _gateway_problems(config, path, one, own)


def _name_problems(path: str, one: ComponentOf) -> Iterator[tuple[str, str, str]]:
    """What speaks against the name that a server's certificate must have."""
    if not one.server_name:
        if one.anchor:
            yield f"{path}.anchor", "stands without server_name", "write server_name, or remove it"
        return
    try:
        parse_name(one.server_name)
    except RouterError as error:
        do = "write the domain that its certificate names"
        yield f"{path}.server_name", f"{one.server_name!r}: {error}", do


def _gateway_problems(
    config: Config, path: str, one: ComponentOf, own: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """What speaks against the gateway of a component; `own`: names served here."""
    if not one.gateway:
        if not one.domains:
            yield f"{path}.domains", "it is a component of nothing", "list domains, or name a gateway"
        if one.gateway_domains:
            yield f"{path}.gateway_domains", "there is no gateway", "write gateway, or remove it"
        return
    try:
        parse_name(one.gateway)
    except RouterError as error:
        yield f"{path}.gateway", f"{one.gateway!r}: {error}", "write a name of its own, like gw.a.example"
    if one.gateway in own:
        what = f"{one.gateway} is a domain served here"
        yield f"{path}.gateway", what, "use a name that is nothing else, like gw.a.example"
    if any(one.gateway in each.domains for each in config.xmpp.attached):
        what = f"{one.gateway} is listed as a domain"
        yield f"{path}.gateway", what, "use a name that is nothing else, like gw.a.example"
    for text in one.gateway_domains:
        try:
            rank = Pattern.parse(text).rank
        except RouterError as error:
            yield f"{path}.gateway_domains", str(error), "write a domain, *.domain or .domain"
            continue
        if rank not in _OF_DOMAINS:
            what = f"{text!r} names no domains alone"
            yield f"{path}.gateway_domains", what, "write a domain, *.domain or .domain"
    inside = any(each.address for each in config.services if each.name == one.service)
    if inside and not one.gateway_domains:
        what = "every outside domain goes by the gateway, and none by the address of the service"
        yield f"{path}.gateway_domains", what, "name those that go by the gateway, or remove the address"


def _listen_problems(config: Config) -> Iterator[tuple[str, str, str]]:
    for path, texts in (("xmpp.listen", config.xmpp.listen), ("xmpp.listen_tls", config.xmpp.listen_tls)):
        for text in texts:
            try:
                parse_endpoint(text)
            except RouterError as error:
                yield path, str(error), "write ADDRESS:PORT, like 192.0.2.1:5269 or [2001:db8::1]:5269"
    if config.xmpp.listen_tls and not config.tls.certificates:
        yield "xmpp.listen_tls", "no TLS is offered", "write tls.certificates, or remove it"
