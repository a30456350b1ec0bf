"""The sections about this router itself: listening, DNS, dialling, links, caps, limits, logs.

Each class is a table of the file; each attribute a key. Values are checked on loading; all are frozen.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct, field

from imxrouter.config.fields import key
from imxrouter.config.net import HostPort, parse_endpoint

MIB = 1024 * 1024

#: What can be spoken with other organisations.
ProtocolName = Literal["imx", "xmpp"]


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table: frozen, and an unknown key is an error."""


class ServiceListen(Section, frozen=True):
    """A separate listener for service links, so that a firewall can keep strangers away from it.

    It takes logins of services only; those of `listen.addresses` then take none.
    """

    addresses: Annotated[
        tuple[str, ...],
        key("Where services log in; empty: on the same ports as peers.", example=["127.0.0.1:6491"]),
    ] = ()

    @property
    def endpoints(self) -> tuple[HostPort, ...]:
        """The addresses, parsed."""
        return tuple(parse_endpoint(text) for text in self.addresses)


class Listen(Section, frozen=True):
    """Where links of other routers are taken."""

    addresses: Annotated[tuple[str, ...], key("IP addresses and ports to listen on.")] = (
        "0.0.0.0:6490",
        "[::]:6490",
    )
    publish: Annotated[
        tuple[str, ...],
        key(
            "HOST:PORT of every host of these domains as others reach them, for `imxctl dns records`; empty: "
            "this router's name and its first port.",
            example=["im1.a.example:6490", "im2.a.example:6490"],
        ),
    ] = ()
    reuse_port: Annotated[
        bool,
        key(
            "Set SO_REUSEPORT, so that processes with files of their own share the port; `workers` does so "
            "by itself."
        ),
    ] = False
    backlog: Annotated[
        int,
        key("Connections the system may keep waiting to be accepted.", unit="connections", ge=1, le=65535),
    ] = 1024
    tls: Annotated[
        Literal["both", "only"],
        key(
            "`both`: each link's first byte says whether it is in TLS or in clear; `only`: one in clear is "
            "refused. TLS is offered where `tls.certificates` holds a certificate."
        ),
    ] = "both"
    service: Annotated[ServiceListen, key("A separate listener for service links.")] = field(
        default_factory=ServiceListen
    )

    @property
    def endpoints(self) -> tuple[HostPort, ...]:
        """The addresses, parsed."""
        return tuple(parse_endpoint(text) for text in self.addresses)


class Admin(Section, frozen=True):
    """The administration API, on a unix socket that only its owner can open (mode 0600)."""

    socket: Annotated[
        str,
        key(
            "Path of the unix socket; empty: `admin.sock` in run_dir (`admin-N.sock` for process N above 0).",
            path=True,
            example="/run/imxrouter/admin.sock",
        ),
    ] = ""


class MetricsListen(Section, frozen=True):
    """The listener of /metrics, /healthz and /readyz."""

    listen: Annotated[str, key("IP address and port; empty turns it off.")] = "127.0.0.1:9464"
    watch: Annotated[
        tuple[str, ...],
        key(
            "Peer domains whose figures are always shown, beside those of the 50 busiest; at most 200.",
            example=["b.example"],
        ),
    ] = ()

    @property
    def endpoint(self) -> HostPort | None:
        """The address, parsed; None when turned off."""
        return parse_endpoint(self.listen) if self.listen else None


class Dns(Section, frozen=True):
    """How other domains' records are looked up."""

    nameservers: Annotated[
        tuple[str, ...],
        key("Resolvers to ask, as ADDRESS:PORT; empty: those of the system.", example=["192.0.2.53:53"]),
    ] = ()
    trust_ad: Annotated[
        Literal["loopback", "never"],
        key(
            "`loopback`: DNSSEC counts (the AD bit) where every resolver is on 127.0.0.0/8 or ::1; each of "
            "them must validate itself. `never`: it does not."
        ),
    ] = "loopback"
    ttl_floor_s: Annotated[
        float, key("An answer is kept at least this long, whatever its TTL.", unit="s", ge=0, le=3600)
    ] = 10.0
    ttl_cap_s: Annotated[
        float, key("An answer is kept at most this long, whatever its TTL.", unit="s", ge=1, le=604800)
    ] = 3600.0
    negative_ttl_s: Annotated[
        float, key("How long NXDOMAIN and NODATA are kept at most.", unit="s", ge=0, le=86400)
    ] = 300.0
    failure_ttl_s: Annotated[
        float, key("How long a failure or time-out of a resolver is remembered.", unit="s", ge=0, le=3600)
    ] = 5.0
    cache_entries: Annotated[
        int,
        key(
            "Answers kept; the one that expires first goes when it is full.",
            unit="answers",
            ge=16,
            le=10_000_000,
        ),
    ] = 10000
    query_timeout_s: Annotated[
        float, key("Time limit for one query to one resolver.", unit="s", ge=0.1, le=60)
    ] = 2.0
    lookup_timeout_s: Annotated[
        float,
        key(
            "Time limit for a domain's whole look-up, all forms and aliases together. At least "
            "query_timeout_s.",
            unit="s",
            ge=0.1,
            le=300,
        ),
    ] = 10.0


class Dial(Section, frozen=True):
    """How connections to other domains are opened, and what waits meanwhile."""

    protocols: Annotated[
        tuple[ProtocolName, ...],
        key(
            "Protocols by which other domains are reached, preferred first. The first one counts that a "
            "domain publishes; what came by one of them goes on by it where the domain publishes that. XMPP "
            "is spoken where [xmpp] listens.",
            min_length=1,
        ),
    ] = ("imx", "xmpp")
    connect_timeout_s: Annotated[
        float, key("Time limit for one TCP connection attempt.", unit="s", ge=0.1, le=120)
    ] = 5.0
    race_delay_ms: Annotated[
        int,
        key(
            "Head start of an address before the next one is tried beside it (RFC 8305 section 5).",
            unit="ms",
            ge=10,
            le=5000,
        ),
    ] = 250
    hello_timeout_s: Annotated[
        float, key("Time limit for the other side's hello.", unit="s", ge=0.1, le=120)
    ] = 10.0
    backoff_first_s: Annotated[
        float,
        key(
            "Wait after the first failure of a destination; doubles with each one.",
            unit="s",
            ge=0.05,
            le=3600,
        ),
    ] = 1.0
    backoff_cap_s: Annotated[float, key("The longest wait between tries.", unit="s", ge=0.1, le=86400)] = (
        300.0
    )
    backoff_jitter: Annotated[
        float, key("Part of each wait that is random, so that routers do not return together.", ge=0, le=1)
    ] = 0.5
    hold_s: Annotated[
        float,
        key(
            "How long a request waits for its destination to be dialled; then it is answered. Below "
            "links.answer_timeout_s.",
            unit="s",
            ge=0,
            le=300,
        ),
    ] = 15.0
    hold_count: Annotated[
        int, key("Requests held for one destination.", unit="requests", ge=0, le=1_000_000)
    ] = 1000
    hold_bytes: Annotated[int, key("Bytes held for one destination.", unit="bytes", ge=0, le=1024 * MIB)] = (
        4 * MIB
    )
    hold_total_bytes: Annotated[
        int, key("Bytes held for all destinations together.", unit="bytes", ge=0, le=64 * 1024 * MIB)
    ] = 64 * MIB
    allow_networks: Annotated[
        tuple[str, ...],
        key(
            "Networks that may be dialled although they are loopback, private or link-local. For "
            "laboratories and closed networks only.",
            example=["127.0.0.0/8"],
        ),
    ] = ()
    allow_ports_below_1024: Annotated[
        tuple[int, ...], key("Ports below 1024 that may be dialled when a stranger's DNS names them.")
    ] = (443,)
    links_per_peer: Annotated[
        int, key("Links opened to one peer domain at most.", unit="links", ge=1, le=64)
    ] = 4
    verify_links: Annotated[
        int, key("Links open at one time only to verify claims.", unit="links", ge=1, le=10000)
    ] = 64


class Links(Section, frozen=True):
    """What holds on every link: keep-alive, deadlines, credit, duplicates."""

    ping_s: Annotated[float, key("A ping is sent after this much silence.", unit="s", ge=0.05, le=3600)] = (
        10.0
    )
    dead_s: Annotated[
        float, key("A link that was silent this long is dead. Above ping_s.", unit="s", ge=0.1, le=7200)
    ] = 30.0
    idle_s: Annotated[
        float, key("A link without requests for this long is closed in order.", unit="s", ge=1, le=86400)
    ] = 300.0
    answer_timeout_s: Annotated[
        float,
        key(
            "A request without an answer for this long is answered as indeterminant. Above dial.hold_s.",
            unit="s",
            ge=0.1,
            le=600,
        ),
    ] = 30.0
    close_deadline_s: Annotated[
        float, key("Time for what is in flight when a link closes in order.", unit="s", ge=0, le=600)
    ] = 10.0
    max_record_bytes: Annotated[
        int, key("Largest record taken from a proved peer.", unit="bytes", ge=1280, le=MIB)
    ] = 65536
    credit_requests: Annotated[
        int,
        key("Unanswered requests a link may have, for each direction.", unit="requests", ge=1, le=1_000_000),
    ] = 4096
    credit_bytes: Annotated[
        int,
        key(
            "Bytes of unanswered requests a link may have, for each direction. At least max_record_bytes.",
            unit="bytes",
            ge=1280,
            le=1024 * MIB,
        ),
    ] = 4 * MIB
    output_high_bytes: Annotated[
        int,
        key(
            "When more than this waits to be written to a link, requests for it are answered `busy`.",
            unit="bytes",
            ge=4096,
            le=1024 * MIB,
        ),
    ] = MIB
    unread_answer_bytes: Annotated[
        int,
        key(
            "A link that leaves more than this unread is closed. Above output_high_bytes.",
            unit="bytes",
            ge=4096,
            le=1024 * MIB,
        ),
    ] = 4 * MIB
    duplicate_window_s: Annotated[
        float,
        key(
            "How long an answered id is remembered unless the asking side acknowledged it. Above "
            "answer_timeout_s.",
            unit="s",
            ge=1,
            le=3600,
        ),
    ] = 60.0
    duplicate_entries: Annotated[
        int,
        key(
            "Ids remembered; a full table answers `busy` and forgets nothing.",
            unit="ids",
            ge=100,
            le=100_000_000,
        ),
    ] = 200_000
    max_hops: Annotated[
        int,
        key(
            "Hops left of what comes in are cut down to this (RFC 3860 section 3.4.2).",
            unit="hops",
            ge=1,
            le=255,
        ),
    ] = 110


class Caps(Section, frozen=True):
    """How much a stranger may have open, and how much dialling its words may cause."""

    in_per_peer: Annotated[
        int, key("Links taken from one proved peer domain.", unit="links", ge=1, le=10000)
    ] = 8
    in_per_peer_total: Annotated[
        int,
        key(
            "Links taken from one proved peer domain to all our certificates together; `in_per_peer` counts "
            "those to one.",
            unit="links",
            ge=1,
            le=100_000,
        ),
    ] = 1024
    unauthenticated_per_address: Annotated[
        int, key("Links without a proof from one address (IPv6: one /64).", unit="links", ge=1, le=100_000)
    ] = 16
    unauthenticated_per_prefix: Annotated[
        int,
        key(
            "Links without a proof of one network (IPv4 /24, IPv6 /48); 0: eight times those of an address.",
            unit="links",
            ge=0,
            le=1_000_000,
        ),
    ] = 0
    unauthenticated_total: Annotated[
        int,
        key(
            "Links without a proof, all together. The last quarter is for networks that have few, and for "
            "addresses from which a domain was proved before.",
            unit="links",
            ge=1,
            le=1_000_000,
        ),
    ] = 1024
    connections_per_address_per_minute: Annotated[
        float,
        key(
            "New connections of one address (IPv6: one /64); a minute's worth may come at once.",
            unit="connections a minute",
            ge=1,
            le=10_000_000,
        ),
    ] = 300.0
    connections_per_prefix_per_minute: Annotated[
        float,
        key(
            "The same for its network (IPv4 /24, IPv6 /48).",
            unit="connections a minute",
            ge=1,
            le=10_000_000,
        ),
    ] = 2400.0
    in_total: Annotated[
        int, key("Links that others opened, all together.", unit="links", ge=1, le=10_000_000)
    ] = 20_000
    handshakes_per_s: Annotated[
        float,
        key(
            "TLS handshakes for those who connect; a second's worth may come at once, more wait.",
            unit="handshakes a second",
            ge=1,
            le=1_000_000,
        ),
    ] = 300.0
    handshakes_reserved_share: Annotated[
        float,
        key(
            "Part of handshakes_per_s kept for addresses from which a domain was proved before.", ge=0, le=0.9
        ),
    ] = 0.25
    claims_before_proof: Annotated[
        int, key("Claims a link may make before the first is proved.", unit="claims", ge=1, le=1024)
    ] = 16
    claims_per_link: Annotated[int, key("Claims a link may carry.", unit="claims", ge=1, le=1_000_000)] = 4096
    proof_timeout_s: Annotated[
        float, key("A link without any proof for this long is closed.", unit="s", ge=1, le=3600)
    ] = 60.0
    verify_per_source_per_minute: Annotated[
        float,
        key("Verifications that one source address can cause.", unit="dials a minute", ge=1, le=1_000_000),
    ] = 120.0
    verify_per_source_prefix_per_minute: Annotated[
        float, key("The same for its prefix (IPv4 /24, IPv6 /48).", unit="dials a minute", ge=1, le=1_000_000)
    ] = 600.0
    verify_per_target_per_minute: Annotated[
        float,
        key("Connections that claims can cause to one address.", unit="dials a minute", ge=1, le=1_000_000),
    ] = 60.0
    verify_per_target_prefix_per_minute: Annotated[
        float, key("The same for its prefix (IPv4 /24, IPv6 /48).", unit="dials a minute", ge=1, le=1_000_000)
    ] = 300.0
    verify_per_zone_per_minute: Annotated[
        float,
        key(
            "Look-ups and verifications for domains under one parent zone.",
            unit="dials a minute",
            ge=1,
            le=1_000_000,
        ),
    ] = 300.0
    verify_per_s: Annotated[
        float, key("Verifications all together.", unit="dials a second", ge=1, le=1_000_000)
    ] = 200.0
    verify_reserved_share: Annotated[
        float, key("Part of verify_per_s kept for domains that were proved before.", ge=0, le=0.9)
    ] = 0.25


class Drain(Section, frozen=True):
    """Going out of service, at SIGTERM or by `imxctl drain`."""

    deadline_s: Annotated[
        float,
        key(
            "Within this every link is closed; what is still in flight then is cut. Above "
            "links.close_deadline_s; a supervisor must wait longer.",
            unit="s",
            ge=0,
            le=3600,
        ),
    ] = 30.0
    siblings: Annotated[
        tuple[str, ...],
        key(
            "Other hosts of the domains served here, as `host:port`, to which peers are sent; none: those "
            "that the DNS of each domain lists beside this one. Peers go only where DNS lists the host.",
            example=["im2.a.example:6490"],
        ),
    ] = ()


LogLevel = Literal["debug", "info", "warn", "error", "critical"]
AddressPrivacy = Literal["full", "domain", "keyed-hash"]


class Log(Section, frozen=True):
    """What is logged, how, and how much of addresses can be read in it."""

    level: Annotated[LogLevel, key("The least level that is written.")] = "info"
    format: Annotated[Literal["json", "text"], key("`json`: one object a line; `text`: for people.")] = "json"
    addresses: Annotated[
        AddressPrivacy,
        key(
            "`full`; `domain`: local parts are hidden; `keyed-hash`: they become a hash that changes with "
            "each start."
        ),
    ] = "domain"
    file: Annotated[
        str, key("File to append to; empty: standard error.", path=True, example="/var/log/imxrouter.log")
    ] = ""
    trace_entries: Annotated[
        int,
        key("Hops of messages kept for `imxctl trace`; 0 turns it off.", unit="entries", ge=0, le=10_000_000),
    ] = 20000
    trace_age_s: Annotated[float, key("How long they are kept at most.", unit="s", ge=1, le=86400)] = 600.0
    trace_deliveries: Annotated[
        bool,
        key(
            "Keep a hop of each plain delivery of services that are servers too; a laboratory always does. "
            "Costs some microseconds of each message."
        ),
    ] = False
