"""The section about XMPP: where the servers behind this router are met."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from msgspec import field

from imxrouter.config.fields import key
from imxrouter.config.net import HostPort, parse_endpoint
from imxrouter.config.sections import Section


class _Door(Section, frozen=True):
    """Where somebody of ours connects, and from where he may; each kind says what its keys mean."""

    listen: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()

    @property
    def endpoints(self) -> tuple[HostPort, ...]:
        """The addresses, parsed."""
        return tuple(parse_endpoint(text) for text in self.listen)

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks, parsed."""
        return tuple(ipaddress.ip_network(text) for text in self.allow)


class Inside(_Door, frozen=True):
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


class Components(_Door, frozen=True):
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


class ComponentOf(Section, frozen=True):
    """A server of ours at which this router attaches as a component, once for each domain listed.

    And once as a gateway, where one is named.
    """

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
    server_name: Annotated[
        str,
        key(
            "The domain that the server's certificate must name; the connection is then in TLS from its "
            "first byte, as ejabberd takes it. Empty: in clear.",
            example="chat.example",
        ),
    ] = ""
    anchor: Annotated[
        str,
        key(
            "PEM file of the authority, or of the very certificate, that is trusted for it instead of "
            "`tls.trust`.",
            path=True,
            example="/etc/imxrouter/chat-ca.pem",
        ),
    ] = ""
    domains: Annotated[
        tuple[str, ...],
        key(
            "The domains that the router stands for at that server, remote ones or others served here; the "
            "server has a component of each name.",
            example=["far.example"],
        ),
    ] = ()
    gateway: Annotated[
        str,
        key(
            "One more name, of a component that is a gateway: addresses there stand for those of domains "
            "that are not listed, `bob\\40far.example` for bob@far.example (XEP-0106). Empty: none.",
            example="gw.a.example",
        ),
    ] = ""
    gateway_domains: Annotated[
        tuple[str, ...],
        key(
            "The domains that the gateway reaches: names, `*.partner.example` for those below, "
            "`.partner.example` for both; empty: all that are not the server's own.",
            example=["partner.example", "*.partner.example"],
        ),
    ] = ()

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
