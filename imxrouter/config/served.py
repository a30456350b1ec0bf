"""The sections about what is served here: services and domains."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from imxrouter.config.fields import key
from imxrouter.config.net import HostPort, parse_endpoint
from imxrouter.config.sections import ProtocolName, Section
from imxrouter.config.trust import PolicyName
from imxrouter.model.operations import DEFAULT_SUBSCRIPTION_S

#: Names of routed record types that can be enabled; others are written as numbers, `0x0180`.
TYPE_NUMBERS = {
    "message": 0x0100, "subscribe": 0x0101, "notify": 0x0102, "attributes": 0x0103, "foreign": 0x0110,
}  # fmt: skip
#: Those that every domain takes unless it says otherwise.
USUAL_TYPES: tuple[str, ...] = ("message", "subscribe", "notify", "attributes")
#: What gateways of this process hand each other; no domain can be told to take it from elsewhere.
INTERNAL_TYPE = 0x0106


#: What a stranger may do at a user whose rules the router keeps; empty: it keeps none.
FirstContact = Literal["", "open", "ask", "closed"]


class Service(Section, frozen=True):
    """Who answers for domains: the embedded directory, or a server of ours, over IMX or XMPP."""

    name: Annotated[
        str,
        key(
            "Its name, used by `service` of a domain.",
            min_length=1,
            pattern=r"^[A-Za-z0-9._-]{1,63}$",
            example="home",
        ),
    ]
    kind: Annotated[
        Literal["embedded", "imx", "xmpp", "component"],
        key(
            "`embedded`: users listed here; `imx`: a server that logs in with its key; `xmpp`: an XMPP "
            "server behind `xmpp.inside` or `[[xmpp.component]]`; `component`: a bridge that attaches at "
            "`xmpp.components` (XEP-0114).",
            example="embedded",
        ),
    ]
    address: Annotated[
        str, key("ADDRESS:PORT where the server of an `xmpp` service takes streams of servers.")
    ] = ""
    secret_file: Annotated[
        str,
        key(
            "File with the secret of a `component`, one line; whoever knows it speaks for the domains of the "
            "service.",
            path=True,
        ),
    ] = ""
    key: Annotated[str, key("Ed25519 public key of an `imx` service, hex or base64.")] = ""
    certificate: Annotated[
        str,
        key(
            "Instead of a key, or beside it: the client certificate with which an `imx` service logs in. "
            "`sha256:` and the hexadecimal fingerprint of the very certificate, or a domain that it names."
        ),
    ] = ""
    users: Annotated[
        tuple[str, ...],
        key(
            "Users of an `embedded` service: a local part for all its domains, or a full address.",
            example=["alice", "bob"],
        ),
    ] = ()
    presence: Annotated[
        Literal["open", "ask", "contacts"],
        key(
            "Who sees the presence of an `embedded` user that has no rule on it. `open`: everybody; `ask`: "
            "people of his domain, others once he agrees; `contacts`: they and his contacts."
        ),
    ] = "ask"
    messages: Annotated[
        Literal["open", "ask", "contacts"],
        key("Who may write to an `embedded` user that has no rule on it; words as for `presence`."),
    ] = "open"
    first_contact: Annotated[
        FirstContact,
        key(
            "Of an `imx` service: whether the router keeps rules for its users, and what holds for strangers "
            "whom no rule names. Empty: the service has rules of its own; `open`: they may write and watch; "
            "`ask`: once the user agrees; `closed`: never. People of the same domain may always."
        ),
    ] = ""

    @property
    def endpoint(self) -> HostPort | None:
        """The address, parsed; None of a service that is not dialled."""
        return parse_endpoint(self.address) if self.address else None


class ServedDomain(Section, frozen=True):
    """A domain served here. Stands in the main file or in a file of `domains.d/`."""

    name: Annotated[str, key("The domain.", min_length=1, example="a.example")]
    service: Annotated[str, key("Which [[service]] answers for it.", min_length=1, example="home")]
    aliases: Annotated[
        tuple[str, ...], key("Other domains with the same users.", example=["www.a.example"])
    ] = ()
    tenant: Annotated[str, key("Whose it is, for reports; free text.")] = ""
    protocols: Annotated[
        tuple[ProtocolName, ...],
        key(
            "Protocols by which others reach it: `imxctl dns records` prints their records; where XMPP is "
            "spoken here and is not one of them, a record that says so.",
            example=["imx", "xmpp"],
            min_length=1,
        ),
    ] = ("imx",)
    policy: Annotated[
        PolicyName | None,
        key(
            "What peers that talk with this domain must prove at least; without it [trust] decides.",
            example="dialback",
        ),
    ] = None
    certificate: Annotated[
        str,
        key(
            "File of the certificate that is shown for it; without it the one of `tls.certificates` that "
            "names it. The key stands in the file or beside it.",
            path=True,
            example="/etc/imxrouter/certificates/a.example.crt",
        ),
    ] = ""
    state: Annotated[
        Literal["active", "suspended"], key("`suspended`: nothing passes, and its claims end.")
    ] = "active"
    max_message_bytes: Annotated[
        int, key("Largest body, sent or received; 0: as in [limits].", unit="bytes", ge=0, le=1024 * 1024)
    ] = 0
    sender_rate_per_s: Annotated[
        float,
        key(
            "Messages a second of each of its users; 0: as in [limits].",
            unit="messages a second",
            ge=0,
            le=1_000_000,
        ),
    ] = 0.0
    sender_burst: Annotated[
        int,
        key("Messages at once of each of its users; 0: as in [limits].", unit="messages", ge=0, le=1_000_000),
    ] = 0
    records_per_s: Annotated[
        float,
        key(
            "Requests a second that it sends, and as many to it; 0: as in [limits].",
            unit="requests a second",
            ge=0,
            le=10_000_000,
        ),
    ] = 0.0
    bytes_per_s: Annotated[
        float,
        key("Bytes of them a second; 0: as in [limits].", unit="bytes a second", ge=0, le=64 * 1024**3),
    ] = 0.0
    recipient_rate_per_s: Annotated[
        float,
        key(
            "Messages a second to each of its users; 0: as in [limits]. For robots and rooms.",
            unit="messages a second",
            ge=0,
            le=1_000_000,
        ),
    ] = 0.0
    types: Annotated[
        tuple[str, ...],
        key(
            "Record types that pass: message, subscribe, notify, attributes, foreign (what XMPP has and no "
            "operation can say: groups, queries), or a number like `0x0180`."
        ),
    ] = USUAL_TYPES
    case_profile: Annotated[
        Literal["case-insensitive", "case-sensitive"],
        key("Whether `Alice` and `alice` are one user at the service."),
    ] = "case-insensitive"
    subscription_lifetime_s: Annotated[
        int,
        key(
            "Subscriptions to its users are granted for this long at most, and the attribute "
            "`subscription-lifetime` says so.",
            unit="s",
            ge=60,
            le=604_800,
        ),
    ] = DEFAULT_SUBSCRIPTION_S
    abuse_contact: Annotated[
        str,
        key("Where abuse is reported, a URI; attribute `abuse-contact`.", example="mailto:abuse@a.example"),
    ] = ""
    first_contact: Annotated[
        Literal["", "service", "open", "ask", "closed"],
        key(
            "As of [[service]], for this domain alone; empty: as the service has it; `service`: the router "
            "keeps no rules."
        ),
    ] = ""
    content_types: Annotated[
        tuple[str, ...],
        key(
            "What its users read, told as the attribute `content-types`; empty: not told. Nothing is refused "
            "by it.",
            example=["text/plain", "text/html-lite"],
        ),
    ] = ()
    attributes: Annotated[
        dict[str, str],
        key(
            "Attributes of its own, key and text; others ask for them as `DOMAIN/KEY`.",
            example={"office-hours": "Mo-Fr 9-17"},
        ),
    ] = field(default_factory=dict)
    hidden_attributes: Annotated[
        tuple[str, ...],
        key(
            "Attributes, global or of its own, that only domains served here are told.", example=["software"]
        ),
    ] = ()

    @property
    def type_numbers(self) -> frozenset[int]:
        """The types as numbers."""
        named = TYPE_NUMBERS
        return frozenset(named[word] if word in named else int(word, 16) for word in self.types)


class DomainFile(Section, frozen=True):
    """A file of `domains.d/`: nothing but `[[domain]]` tables."""

    domains: Annotated[tuple[ServedDomain, ...], key("Domains served here.")] = field(
        default=(), name="domain"
    )
