"""The sections about how much may be sent, by whom and to whom, and what is left out under overload."""

from __future__ import annotations

from typing import Annotated

from imxrouter.config.fields import key
from imxrouter.config.sections import MIB, Section


class SenderException(Section, frozen=True):
    """A sender that may send more, or less, than the rest."""

    sender: Annotated[
        str, key("An address, or a domain for all its users.", min_length=1, example="alerts@a.example")
    ]
    rate_per_s: Annotated[
        float, key("Messages a second, lasting.", unit="messages a second", ge=0, le=1_000_000, example=50.0)
    ]
    burst: Annotated[int, key("Messages at once.", unit="messages", ge=1, le=1_000_000)] = 100


class TenantLimit(Section, frozen=True):
    """A tenant whose domains together have a rate of their own."""

    name: Annotated[str, key("As `tenant` of its domains.", min_length=1, example="shop")]
    records_per_s: Annotated[
        float,
        key(
            "Requests a second that they send, and as many to them; 0: no limit.",
            unit="requests a second",
            ge=0,
            le=10_000_000,
            example=500.0,
        ),
    ]
    bytes_per_s: Annotated[
        float, key("Bytes a second; 0: no limit.", unit="bytes a second", ge=0, le=64 * 1024 * MIB)
    ] = 0.0


class Limits(Section, frozen=True):
    """What links, peers, domains, tenants and senders may send, and what a recipient takes.

    Of requests and bytes a second `traffic_burst_s` seconds' worth may come at once; answers do not count.
    """

    sender_rate_per_s: Annotated[
        float,
        key("Messages a second of one sender, lasting.", unit="messages a second", ge=0.001, le=1_000_000),
    ] = 5.0
    sender_burst: Annotated[
        int, key("Messages one sender may send at once.", unit="messages", ge=1, le=1_000_000)
    ] = 20
    senders_per_domain: Annotated[
        int,
        key(
            "Senders of one peer domain whose rate is kept at one time; more are answered `rate-limited`.",
            unit="senders",
            ge=1,
            le=100_000_000,
        ),
    ] = 10000
    cooldown_s: Annotated[
        float,
        key(
            "The longest wait of a sender who goes on while he is refused: each refused message counts as "
            "if it were sent, up to this. 0: it costs nothing.",
            unit="s",
            ge=0,
            le=3600,
        ),
    ] = 30.0
    recipient_rate_per_s: Annotated[
        float,
        key(
            "Messages a second to one recipient of domains served here, lasting; 0: no limit.",
            unit="messages a second",
            ge=0,
            le=1_000_000,
        ),
    ] = 200.0
    recipient_burst: Annotated[
        int, key("Messages that may come to one recipient at once.", unit="messages", ge=1, le=10_000_000)
    ] = 1000
    recipient_strangers_rate_per_s: Annotated[
        float,
        key(
            "The same of all senders together whose domains are neither served here nor in [[peer]]; they "
            "leave half of the burst to others. 0: as all.",
            unit="messages a second",
            ge=0,
            le=1_000_000,
        ),
    ] = 100.0
    traffic_burst_s: Annotated[
        float, key("Seconds' worth of the rates below that may come at once.", unit="s", ge=0.02, le=60)
    ] = 2.0
    link_records_per_s: Annotated[
        float, key("Requests a second over one link; 0: no limit.", unit="requests a second", ge=0, le=1e7)
    ] = 50_000.0
    link_bytes_per_s: Annotated[
        float, key("Bytes of them a second; 0: no limit.", unit="bytes a second", ge=0, le=64 * 1024 * MIB)
    ] = 64.0 * MIB
    peer_records_per_s: Annotated[
        float,
        key(
            "Requests a second of one peer domain over all its links; 0: no limit.",
            unit="requests a second",
            ge=0,
            le=1e7,
        ),
    ] = 20_000.0
    peer_bytes_per_s: Annotated[
        float, key("Bytes of them a second; 0: no limit.", unit="bytes a second", ge=0, le=64 * 1024 * MIB)
    ] = 32.0 * MIB
    domain_records_per_s: Annotated[
        float,
        key(
            "Requests a second that one domain served here sends; 0: no limit. What is sent to it is limited "
            "where it has a rate of its own.",
            unit="requests a second",
            ge=0,
            le=1e7,
        ),
    ] = 50_000.0
    domain_bytes_per_s: Annotated[
        float, key("Bytes of them a second; 0: no limit.", unit="bytes a second", ge=0, le=64 * 1024 * MIB)
    ] = 64.0 * MIB
    tenant_records_per_s: Annotated[
        float,
        key(
            "Requests a second that all domains of one tenant send; 0: no limit. What is sent to them is "
            "limited where they have a rate of their own.",
            unit="requests a second",
            ge=0,
            le=1e7,
        ),
    ] = 50_000.0
    tenant_bytes_per_s: Annotated[
        float, key("Bytes of them a second; 0: no limit.", unit="bytes a second", ge=0, le=64 * 1024 * MIB)
    ] = 64.0 * MIB
    tenants: Annotated[tuple[TenantLimit, ...], key("Tenants with rates of their own.")] = ()
    max_message_bytes: Annotated[
        int, key("Largest body of a message, its MIME headers included.", unit="bytes", ge=1, le=MIB)
    ] = 16384
    attribute_age_s: Annotated[
        int,
        key(
            "How long others may keep the attributes of domains served here; 0: not at all.",
            unit="s",
            ge=0,
            le=86400,
        ),
    ] = 3600
    subscriptions: Annotated[
        int,
        key(
            "Subscriptions remembered in all; more are answered `busy`.",
            unit="subscriptions",
            ge=1,
            le=10**7,
        ),
    ] = 200_000
    subscriptions_per_domain: Annotated[
        int,
        key(
            "Subscriptions remembered of the watchers, or to the users, of one domain. Watchers of a peer "
            "are counted with those of all domains of its zone; where they alone have filled a domain of "
            "ours, others have as much room again.",
            unit="subscriptions",
            ge=1,
            le=10**7,
        ),
    ] = 50_000
    exceptions: Annotated[tuple[SenderException, ...], key("Senders with a rate of their own.")] = ()


class Overload(Section, frozen=True):
    """When the router has too much to do: presence is shed first, then new subscriptions, then messages."""

    lag_ms: Annotated[
        int,
        key(
            "A timer of the reactor that is later than this, twice in a row (they are looked at four times a "
            "second), sheds one step more; 0: never.",
            unit="ms",
            ge=0,
            le=60_000,
        ),
    ] = 100
    unwritten_bytes: Annotated[
        int,
        key(
            "The same of bytes that wait to be written to all links together; 0: never.",
            unit="bytes",
            ge=0,
            le=64 * 1024 * MIB,
        ),
    ] = 256 * MIB
    calm_s: Annotated[
        float,
        key("Below half of both marks for this long, one step less is shed.", unit="s", ge=0.25, le=600),
    ] = 2.0
