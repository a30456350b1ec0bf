"""From the configuration's tables to the values each part takes."""

from __future__ import annotations

import time
from typing import Final

import imxrouter
from imxrouter.config.bounds import Limits
from imxrouter.config.schema import Config
from imxrouter.config.sections import Caps, Dial, Dns
from imxrouter.discovery.cache import CacheLimits
from imxrouter.discovery.finder import FindLimits
from imxrouter.link.machine import LinkSettings
from imxrouter.model.address import Address, BadAddress
from imxrouter.routing.caps import CapSettings, ConnectionRates
from imxrouter.routing.dialling import DialSettings
from imxrouter.routing.limits import Rate, SenderRates
from imxrouter.routing.policy import Policy, PolicyTable
from imxrouter.transport.connector import ConnectLimits
from imxrouter.transport.handshakes import Handshakes
from imxrouter.transport.settings import HubSettings

#: A link waits for its turn as long as requests wait for it, but is told before them that there was none.
TURN_ENDS_BEFORE_S: Final = 0.5


def hub_settings(config: Config) -> HubSettings:
    """Limits and times of links."""
    links, dial, caps, trust = config.links, config.dial, config.caps, config.trust
    return HubSettings(
        software=f"{config.name} (imxrouter {imxrouter.__version__})",
        link=LinkSettings(
            links.ping_s, links.dead_s, dial.hello_timeout_s, links.idle_s, links.close_deadline_s
        ),
        answer_timeout_s=links.answer_timeout_s,
        max_record_bytes=links.max_record_bytes,
        credit_requests=links.credit_requests,
        credit_bytes=links.credit_bytes,
        output_high_bytes=links.output_high_bytes,
        unread_bytes=links.unread_answer_bytes,
        claims_per_link=caps.claims_per_link,
        claims_before_proof=caps.claims_before_proof,
        claim_deadline_s=config.dialback.claim_timeout_s,
        proof_timeout_s=caps.proof_timeout_s,
        proof_max_age_s=trust.proof_max_age_s,
        proof_idle_s=trust.proof_idle_s,
        token_ttl_s=int(config.dialback.token_ttl_s),
        clock_skew_s=config.dialback.clock_skew_s,
        links_per_peer=dial.links_per_peer,
        verify_links=dial.verify_links,
        hold_s=dial.hold_s,
        hold_count=dial.hold_count,
        hold_bytes=dial.hold_bytes,
        hold_total_bytes=dial.hold_total_bytes,
        duplicate_window_s=links.duplicate_window_s,
        clear_login=config.lab,
    )


def connect_limits(dial: Dial, dns: Dns) -> ConnectLimits:
    """Bounds of one connection to a domain."""
    return ConnectLimits(
        dns_s=dns.lookup_timeout_s,
        connect_s=dial.connect_timeout_s,
        race_delay_s=dial.race_delay_ms / 1000,
        turn_s=max(dial.hold_s - TURN_ENDS_BEFORE_S, 1.0),
    )


def discovery_limits(dns: Dns) -> tuple[CacheLimits, FindLimits]:
    """Bounds of look-ups."""
    return (
        CacheLimits(
            entries=dns.cache_entries,
            negative_entries=max(dns.cache_entries // 2, 16),
            min_ttl_s=dns.ttl_floor_s,
            max_ttl_s=dns.ttl_cap_s,
            max_negative_ttl_s=dns.negative_ttl_s,
            failure_ttl_s=dns.failure_ttl_s,
        ),
        FindLimits(question_s=dns.query_timeout_s * 2, search_s=dns.lookup_timeout_s),
    )


def cap_settings(config: Config) -> CapSettings:
    """Connections that may be open."""
    caps = config.caps
    return CapSettings(
        per_host=caps.unauthenticated_per_address,
        per_prefix=caps.unauthenticated_per_prefix or caps.unauthenticated_per_address * 8,
        strangers=caps.unauthenticated_total,
        total=caps.in_total,
        per_peer=caps.in_per_peer,
        per_peer_total=caps.in_per_peer_total,
        per_peer_own={peer.domain: peer.in_links for peer in config.peers if peer.in_links},
    )


def connection_rates(caps: Caps) -> ConnectionRates:
    """How often addresses may connect."""
    return ConnectionRates(caps.connections_per_address_per_minute, caps.connections_per_prefix_per_minute)


def handshakes(caps: Caps) -> Handshakes:
    """What begins TLS handshakes."""
    return Handshakes(caps.handshakes_per_s, caps.handshakes_reserved_share, time.monotonic)


def dial_settings(caps: Caps) -> DialSettings:
    """Work done at a stranger's word."""
    return DialSettings(
        per_host_minute=caps.verify_per_source_per_minute,
        per_prefix_minute=caps.verify_per_source_prefix_per_minute,
        per_target_minute=caps.verify_per_target_per_minute,
        per_target_prefix_minute=caps.verify_per_target_prefix_per_minute,
        per_zone_minute=caps.verify_per_zone_per_minute,
        per_s=caps.verify_per_s,
        reserved_part=caps.verify_reserved_share,
    )


def policy_table(config: Config) -> PolicyTable:
    """What is asked of each peer domain that speaks IMX."""
    return PolicyTable(_policy_rules(config), Policy(config.trust.default_policy))


def xmpp_policy_table(config: Config) -> PolicyTable:
    """What is asked of each peer domain that speaks XMPP."""
    return PolicyTable(_policy_rules(config), Policy(config.trust.xmpp_default))


def _policy_rules(config: Config) -> dict[str, Policy]:
    return {domain: Policy(policy) for domain, policy in config.policy_rules.items()}


def peer_rates(config: Config) -> dict[bytes, Rate]:
    """What senders of pinned peers may send, by domain as on the wire."""
    limits = config.limits
    return {
        peer.domain.encode(): Rate.of(
            peer.sender_rate_per_s or limits.sender_rate_per_s, peer.sender_burst or limits.sender_burst
        )
        for peer in config.peers
    }


def exception_rates(limits: Limits) -> dict[bytes, Rate]:
    """Approved senders with a rate of their own, by the key of an address or by domain."""
    return {_key(entry.sender): Rate.of(entry.rate_per_s, entry.burst) for entry in limits.exceptions}


def sender_rates(limits: Limits, *, cools: bool = True) -> SenderRates:
    """One float per sender; approved senders with a rate of their own; no cool-down unless it `cools`."""
    default = Rate.of(limits.sender_rate_per_s, limits.sender_burst)
    cooldown_s = limits.cooldown_s if cools else 0.0
    rates = SenderRates(
        default.interval_s, default.burst_s, per_domain=limits.senders_per_domain, cooldown_s=cooldown_s
    )
    rates.set_exceptions(exception_rates(limits))
    return rates


def _key(sender: str) -> bytes:
    try:
        address = Address.parse(sender)
    except BadAddress:
        return sender.encode("utf-8")
    return address.key if address.local else address.domain.wire
