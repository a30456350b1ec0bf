"""The sections about others: policies, dial-back keys, pinned peers and uplinks."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from imxrouter.config.fields import key
from imxrouter.config.net import HostPort, parse_endpoint
from imxrouter.config.quality import Objectives
from imxrouter.config.sections import ProtocolName, Section

#: From the strongest to the weakest. `certificate` alone needs no dial-back but proves fewer names.
PolicyName = Literal["dialback+certificate", "dialback+tls", "certificate", "dialback"]

#: Policies that can be met on a connection in clear.
CLEAR_POLICIES: frozenset[str] = frozenset({"dialback"})

_POLICY_TEXT = (
    "`dialback+certificate`: dial-back, over TLS with a certificate that covers the domain; "
    "`dialback+tls`: dial-back over TLS; `certificate`: the certificate alone; `dialback`: dial-back in clear"
)


class TrustPeer(Section, frozen=True):
    """What holds for some domains."""

    domain: Annotated[
        str,
        key(
            "A domain, or `*.zone` for every domain below a zone (not the zone itself).",
            min_length=1,
            example="partner.example",
        ),
    ]
    policy: Annotated[
        PolicyName | None,
        key(
            f"What a proof must be; without it the nearest zone's entry, or the default. {_POLICY_TEXT}.",
            example="dialback",
        ),
    ] = None
    protocols: Annotated[
        tuple[ProtocolName, ...],
        key(
            "Protocols by which they are reached, preferred first; no other is spoken to them. Empty: as in "
            "`dial.protocols`.",
            example=["xmpp"],
        ),
    ] = ()


class Trust(Section, frozen=True):
    """How strongly a domain must be proved. The default is the strongest; weaker is said for each domain."""

    default_policy: Annotated[PolicyName, key(f"For every domain without an entry. {_POLICY_TEXT}.")] = (
        "dialback+certificate"
    )
    xmpp_default: Annotated[
        PolicyName,
        key(
            "The same for what XMPP servers must prove. An entry for a domain or a zone holds for both "
            "protocols. `certificate`: by SASL EXTERNAL, or by a dial-back key on a stream whose certificate "
            "covers the domain."
        ),
    ] = "certificate"
    peers: Annotated[tuple[TrustPeer, ...], key("Policies for single domains and for zones.")] = field(
        default=(), name="peer"
    )
    proof_max_age_s: Annotated[
        float, key("A proof is renewed after this long.", unit="s", ge=1, le=30 * 86400)
    ] = 86400.0
    proof_idle_s: Annotated[
        float, key("A proof that nothing used for this long is dropped.", unit="s", ge=1, le=30 * 86400)
    ] = 3600.0
    remember_days: Annotated[
        float, key("How long the strongest level seen of a domain is remembered.", unit="days", ge=0, le=3650)
    ] = 30.0


class Dialback(Section, frozen=True):
    """Keys and times of dial-back tokens. All hosts of a domain need the same keys."""

    key_file: Annotated[
        str,
        key(
            "File with lines `ID HEX`; the first key signs, all are recognised. Without keys one is made "
            "in state_dir.",
            path=True,
            example="/etc/imxrouter/dialback.keys",
        ),
    ] = ""
    keys: Annotated[
        dict[str, str],
        key(
            "Keys in this file, ID = HEX; the first signs. For laboratories: a key file can have a mode of "
            "its own.",
        ),
    ] = field(default_factory=dict)
    token_ttl_s: Annotated[float, key("How long a token is good.", unit="s", ge=5, le=3600)] = 60.0
    clock_skew_s: Annotated[
        float, key("Difference of the hosts' clocks that is tolerated.", unit="s", ge=0, le=600)
    ] = 30.0
    claim_timeout_s: Annotated[
        float, key("Time limit for one claim, from its arrival to its result.", unit="s", ge=1, le=600)
    ] = 30.0


class PinnedPeer(Section, frozen=True):
    """A domain whose addresses and policy are configured here; its DNS is not asked."""

    domain: Annotated[str, key("The domain.", min_length=1, example="partner.example")]
    addresses: Annotated[tuple[str, ...], key("Where its routers listen.", example=["192.0.2.1:6490"])] = ()
    policy: Annotated[
        PolicyName | None,
        key(f"What a proof must be; without it [trust] decides. {_POLICY_TEXT}.", example="dialback"),
    ] = None
    sender_rate_per_s: Annotated[
        float,
        key(
            "Messages a second of each of its senders; 0: as in [limits].",
            unit="messages a second",
            ge=0,
            le=1_000_000,
        ),
    ] = 0.0
    sender_burst: Annotated[
        int,
        key(
            "Messages at once of each of its senders; 0: as in [limits].", unit="messages", ge=0, le=1_000_000
        ),
    ] = 0
    records_per_s: Annotated[
        float,
        key("Requests a second of it; 0: as in [limits].", unit="requests a second", ge=0, le=10_000_000),
    ] = 0.0
    bytes_per_s: Annotated[
        float,
        key("Bytes of them a second; 0: as in [limits].", unit="bytes a second", ge=0, le=64 * 1024**3),
    ] = 0.0
    objectives: Annotated[Objectives, key("What is expected of it.")] = field(default_factory=Objectives)
    anchor: Annotated[
        str,
        key(
            "PEM file of the authority, or of the very certificate, that is trusted for it instead of "
            "`tls.trust`.",
            path=True,
            example="/etc/imxrouter/partner-ca.pem",
        ),
    ] = ""
    in_links: Annotated[int, key("Links taken from it; 0: as in [caps].", unit="links", ge=0, le=10000)] = 0

    @property
    def endpoints(self) -> tuple[HostPort, ...]:
        """The addresses, parsed."""
        return tuple(parse_endpoint(text) for text in self.addresses)


class Uplink(Section, frozen=True):
    """Our own aggregator: takes what our services send elsewhere, brings what comes from elsewhere."""

    name: Annotated[str, key("Its name in logs and tables.", min_length=1, example="hub")]
    address: Annotated[str, key("Where it listens.", example="192.0.2.10:6490")]
    key_file: Annotated[
        str,
        key(
            "File with our private Ed25519 key (hex or base64 of the 32-byte seed). Empty: we log in by the "
            "certificate of our first domain.",
            path=True,
            example="/etc/imxrouter/uplink.key",
        ),
    ] = ""

    server_name: Annotated[
        str,
        key(
            "The domain that its certificate must name; the link is then in TLS. Empty: in clear, which an "
            "aggregator takes in laboratories only.",
            example="hub.example",
        ),
    ] = ""
    anchor: Annotated[
        str,
        key(
            "PEM file of the authority, or of the very certificate, that is trusted for it instead of "
            "`tls.trust`.",
            path=True,
            example="/etc/imxrouter/hub-ca.pem",
        ),
    ] = ""

    @property
    def endpoint(self) -> HostPort:
        """The address, parsed."""
        return parse_endpoint(self.address)


def policy_for(rules: dict[str, PolicyName], default: PolicyName, domain: str) -> PolicyName:
    """Find the policy for a domain: its own entry, else that of the nearest `*.zone`, else the default."""
    found = rules.get(domain)
    zone = domain
    while found is None and "." in zone:
        zone = zone.partition(".")[2]
        found = rules.get("*." + zone)
    return default if found is None else found
