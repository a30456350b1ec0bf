"""The section about XMPP: where the servers behind this router are met."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import field

from imxrouter.config.fields import key
from imxrouter.config.net import HostPort, parse_endpoint, parse_name
from imxrouter.config.sections import Section
from imxrouter.model.errors import RouterError

if TYPE_CHECKING:
    from imxrouter.config.schema import Config


class Inside(Section, frozen=True):
    """Where the servers behind this router find every outside domain.

    A server's resolver leads them here; `imxctl dns inside` writes its file.
    """

    listen: Annotated[
        tuple[str, ...],
        key(
            "IP addresses and ports where servers behind this router are taken; empty: nowhere. Addresses "
            "that those servers reach, never one that the outside reaches.",
            example=["10.0.0.9:5269"],
        ),
    ] = ()
    allow: Annotated[
        tuple[str, ...],
        key(
            "Networks of the servers that may connect there, and so speak for the domains of `xmpp` "
            "services; others are cut off. A server on this host comes from the address that it goes to.",
            example=["10.0.0.0/24"],
        ),
    ] = ()
    authority: Annotated[
        str,
        key(
            "File with the certificate and the key of an authority that signs what servers behind this "
            "router are shown; empty: `inside-authority.pem` in `state_dir`, made when it is not there.",
            path=True,
            example="/etc/imxrouter/inside-authority.pem",
        ),
    ] = ""

    @property
    def endpoints(self) -> tuple[HostPort, ...]:
        """The addresses, parsed."""
        return tuple(parse_endpoint(text) for text in self.listen)

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks, parsed."""
        return tuple(ipaddress.ip_network(text) for text in self.allow)


class Components(Section, frozen=True):
    """Where bridges attach that are written as components of an XMPP server (XEP-0114).

    Each is a `[[service]]` with `kind = "component"`. What it says is in clear.
    """

    listen: Annotated[
        tuple[str, ...],
        key(
            "IP addresses and ports where components attach; empty: nowhere. Addresses that the bridges "
            "reach, never one that the outside reaches.",
            example=["127.0.0.1:5347"],
        ),
    ] = ()
    allow: Annotated[
        tuple[str, ...],
        key(
            "Networks from where components may connect; others are cut off.",
            example=["127.0.0.1/32"],
        ),
    ] = ()

    @property
    def endpoints(self) -> tuple[HostPort, ...]:
        """The addresses, parsed."""
        return tuple(parse_endpoint(text) for text in self.listen)

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks, parsed."""
        return tuple(ipaddress.ip_network(text) for text in self.allow)


class ComponentOf(Section, frozen=True):
    """A server of ours at which this router attaches as a component, once for each domain listed."""

    service: Annotated[
        str, key("The [[service]] of kind `xmpp` whose server it is.", min_length=1, example="chat")
    ]
    address: Annotated[
        str,
        key("ADDRESS:PORT where the server takes components.", min_length=1, example="10.0.0.5:5347"),
    ]
    secret_file: Annotated[
        str,
        key(
            "File with the secret that the server asks for, one line.",
            path=True,
            min_length=1,
            example="/etc/imxrouter/component.secret",
        ),
    ]
    domains: Annotated[
        tuple[str, ...],
        key(
            "The domains that the router stands for at that server, remote ones or others served here; the "
            "server has a component of each name.",
            min_length=1,
            example=["far.example"],
        ),
    ]

    @property
    def endpoint(self) -> HostPort:
        """The address, parsed."""
        return parse_endpoint(self.address)


class Xmpp(Section, frozen=True):
    """XMPP with other organisations' servers, and with those behind this router."""

    listen: Annotated[
        tuple[str, ...],
        key(
            "IP addresses and ports where streams of other XMPP servers are taken; empty: nowhere. TLS "
            "begins within a stream (STARTTLS), or with the first byte (XEP-0368).",
            example=["0.0.0.0:5269", "[::]:5269"],
        ),
    ] = ()
    listen_tls: Annotated[
        tuple[str, ...],
        key(
            "The same where TLS must begin with the first byte; what `_xmpps-server` records lead to.",
            example=["0.0.0.0:5270", "[::]:5270"],
        ),
    ] = ()
    tls: Annotated[
        Literal["required", "offered"],
        key(
            "`required`: nothing is said on a stream before TLS, ours or theirs; `offered`: a stream may "
            "stay in clear, and a domain prove itself there where its policy is `dialback`. Without a "
            "certificate in `tls.certificates` streams are in clear."
        ),
    ] = "required"
    stanza_bytes: Annotated[
        int,
        key(
            "The largest stanza of a proved server; a larger one ends its stream.",
            unit="bytes",
            ge=10_000,
            le=786_432,
        ),
    ] = 262_144
    confirm: Annotated[
        Literal["ping", "written"],
        key(
            "How it is known that a message arrived at a server without acknowledgements (XEP-0198): `ping`: "
            "a ping behind it was answered; `written`: it was written, which says less."
        ),
    ] = "ping"
    original_form: Annotated[
        bool,
        key(
            "Whether what XMPP says and the model cannot goes along, where IMX is between two XMPP servers. "
            "`false`: none is sent and none used, so that nothing passes which rules do not see."
        ),
    ] = True
    coalesce_s: Annotated[
        float,
        key(
            "Presence of a user of XMPP is told so long after a first change, and what changes meanwhile "
            "with it.",
            unit="s",
            ge=0.0,
            le=10.0,
        ),
    ] = 0.5
    idle_days: Annotated[
        int,
        key(
            "Whom a user of XMPP watches is not asked for any more after so many days in which the user's "
            "server showed no interest; the consent stays.",
            unit="days",
            ge=1,
            le=365,
        ),
    ] = 14
    dormant_days: Annotated[
        int,
        key(
            "A consent of a user of XMPP that nobody used for so many days is given back.",
            unit="days",
            ge=1,
            le=3_650,
        ),
    ] = 180
    denied_s: Annotated[
        int,
        key(
            "A user of XMPP who refused somebody is not asked again for so long.",
            unit="s",
            ge=60,
            le=2_592_000,
        ),
    ] = 86_400
    inside: Annotated[Inside, key("Where servers behind this router find every outside domain.")] = field(
        default_factory=Inside
    )
    components: Annotated[Components, key("Where bridges attach as components.")] = field(
        default_factory=Components
    )
    attached: Annotated[tuple[ComponentOf, ...], key("Servers at which we attach as a component.")] = field(
        default=(), name="component"
    )

    @property
    def endpoints(self) -> tuple[HostPort, ...]:
        """The addresses of `listen`, parsed."""
        return tuple(parse_endpoint(text) for text in self.listen)

    @property
    def tls_endpoints(self) -> tuple[HostPort, ...]:
        """The addresses of `listen_tls`, parsed."""
        return tuple(parse_endpoint(text) for text in self.listen_tls)


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
            yield f"{path}.service", f"{one.service!r} stands twice", "list all domains in one table"
        seen.add(one.service)
        if kinds.get(one.service) != "xmpp":
            what = f"{one.service!r} is no service of kind xmpp"
            yield f"{path}.service", what, 'add a [[service]] of that name with kind = "xmpp"'
        try:
            parse_endpoint(one.address)
        except RouterError as error:
            yield f"{path}.address", str(error), "write where it takes components, like 10.0.0.5:5347"
        for name in one.domains:
            try:
                parse_name(name)
            except RouterError as error:
                yield f"{path}.domains", f"{name!r}: {error}", "write a domain, like far.example"
            if own.get(name) == one.service:
                yield f"{path}.domains", f"{name} is the server's own", "remove it"
        if len(set(one.domains)) < len(one.domains):
            yield f"{path}.domains", "a domain stands twice", "keep one of them"


def _listen_problems(config: Config) -> Iterator[tuple[str, str, str]]:
    for path, texts in (("xmpp.listen", config.xmpp.listen), ("xmpp.listen_tls", config.xmpp.listen_tls)):
        for text in texts:
            try:
                parse_endpoint(text)
            except RouterError as error:
                yield path, str(error), "write ADDRESS:PORT, like 192.0.2.1:5269 or [2001:db8::1]:5269"
    if config.xmpp.listen_tls and not config.tls.certificates:
        yield "xmpp.listen_tls", "no TLS is offered", "write tls.certificates, or remove it"
