"""When a changed key is obeyed by a router that runs: one table for the whole schema.

A test walks the schema, so that no key is without an entry here. A key that has none is taken to need a
restart, which is always true.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Applies(Enum):
    """What a reload does with a changed key; the value is the word in answers and on the reference page."""

    #: On everything, links that are open too.
    LIVE = "at once"
    #: Links, claims and proofs that are there keep what they began with.
    NEW = "to new links"
    #: The router goes on with the old value.
    RESTART = "at a restart"


_LIVE: Final = Applies.LIVE
_NEW: Final = Applies.NEW
_RESTART: Final = Applies.RESTART

#: Key, with the path of its table and without the numbers of arrays -> when it is obeyed.
APPLIES: Final[dict[str, Applies]] = {
    # told to peers in hello
    "name": _NEW,
    "role": _LIVE,
    # who the process is, and where its sockets and files are
    "process": _RESTART,
    "workers": _RESTART,
    "state_dir": _RESTART,
    "run_dir": _RESTART,
    "domains_dir": _LIVE,
    "lab": _RESTART,
    "listen.addresses": _RESTART,
    "listen.publish": _LIVE,
    "listen.tls": _RESTART,
    "listen.reuse_port": _RESTART,
    "listen.backlog": _RESTART,
    "listen.service.addresses": _RESTART,
    "admin.socket": _RESTART,
    "metrics.listen": _RESTART,
    "metrics.watch": _LIVE,
    "dns.nameservers": _LIVE,
    "dns.trust_ad": _LIVE,
    "dns.ttl_floor_s": _LIVE,
    "dns.ttl_cap_s": _LIVE,
    "dns.negative_ttl_s": _LIVE,
    "dns.failure_ttl_s": _LIVE,
    # the size of a table that is full of answers
    "dns.cache_entries": _RESTART,
    "dns.query_timeout_s": _LIVE,
    "dns.lookup_timeout_s": _LIVE,
    "dial.connect_timeout_s": _LIVE,
    "dial.race_delay_ms": _LIVE,
    "dial.hello_timeout_s": _NEW,
    "dial.backoff_first_s": _LIVE,
    "dial.backoff_cap_s": _LIVE,
    "dial.backoff_jitter": _LIVE,
    "dial.hold_s": _LIVE,
    "dial.hold_count": _LIVE,
    "dial.hold_bytes": _LIVE,
    "dial.hold_total_bytes": _LIVE,
    "dial.allow_networks": _LIVE,
    "dial.allow_ports_below_1024": _LIVE,
    "dial.links_per_peer": _LIVE,
    "dial.verify_links": _LIVE,
    "links.ping_s": _NEW,
    "links.dead_s": _NEW,
    "links.idle_s": _LIVE,
    "links.answer_timeout_s": _LIVE,
    "links.close_deadline_s": _NEW,
    # promised to peers in hello: a link that was told more must be able to rely on it
    "links.max_record_bytes": _RESTART,
    "links.credit_requests": _NEW,
    "links.credit_bytes": _NEW,
    "links.output_high_bytes": _LIVE,
    "links.unread_answer_bytes": _LIVE,
    # promised to peers in hello, and the order of what is remembered rests on it
    "links.duplicate_window_s": _RESTART,
    "links.duplicate_entries": _LIVE,
    "links.max_hops": _LIVE,
    "caps.in_per_peer": _LIVE,
    "caps.in_per_peer_total": _LIVE,
    "caps.unauthenticated_per_address": _LIVE,
    "caps.unauthenticated_per_prefix": _LIVE,
    "caps.unauthenticated_total": _LIVE,
    "caps.connections_per_address_per_minute": _LIVE,
    "caps.connections_per_prefix_per_minute": _LIVE,
    "caps.in_total": _LIVE,
    "caps.handshakes_per_s": _LIVE,
    "caps.handshakes_reserved_share": _LIVE,
    "caps.claims_before_proof": _NEW,
    "caps.claims_per_link": _NEW,
    "caps.proof_timeout_s": _LIVE,
    "caps.verify_per_source_per_minute": _LIVE,
    "caps.verify_per_source_prefix_per_minute": _LIVE,
    "caps.verify_per_target_per_minute": _LIVE,
    "caps.verify_per_target_prefix_per_minute": _LIVE,
    "caps.verify_per_zone_per_minute": _LIVE,
    "caps.verify_per_s": _LIVE,
    "caps.verify_reserved_share": _LIVE,
    "limits.sender_rate_per_s": _LIVE,
    "limits.sender_burst": _LIVE,
    "limits.senders_per_domain": _LIVE,
    "limits.cooldown_s": _LIVE,
    "limits.recipient_rate_per_s": _LIVE,
    "limits.recipient_burst": _LIVE,
    "limits.recipient_strangers_rate_per_s": _LIVE,
    "limits.traffic_burst_s": _LIVE,
    "limits.link_records_per_s": _LIVE,
    "limits.link_bytes_per_s": _LIVE,
    "limits.peer_records_per_s": _LIVE,
    "limits.peer_bytes_per_s": _LIVE,
    "limits.domain_records_per_s": _LIVE,
    "limits.domain_bytes_per_s": _LIVE,
    "limits.tenant_records_per_s": _LIVE,
    "limits.tenant_bytes_per_s": _LIVE,
    "limits.tenants.name": _LIVE,
    "limits.tenants.records_per_s": _LIVE,
    "limits.tenants.bytes_per_s": _LIVE,
    "limits.max_message_bytes": _LIVE,
    "limits.attribute_age_s": _LIVE,
    # the table in the state file has the same bound
    "limits.subscriptions": _RESTART,
    "limits.subscriptions_per_domain": _LIVE,
    "limits.exceptions.sender": _LIVE,
    "limits.exceptions.rate_per_s": _LIVE,
    "limits.exceptions.burst": _LIVE,
    "drain.deadline_s": _LIVE,
    "drain.siblings": _LIVE,
    "overload.lag_ms": _LIVE,
    "overload.unwritten_bytes": _LIVE,
    "overload.calm_s": _LIVE,
    "access.dir": _LIVE,
    "access.abuse_reports": _LIVE,
    "access.entry.match": _LIVE,
    "access.entry.action": _LIVE,
    "access.entry.direction": _LIVE,
    "access.entry.scope": _LIVE,
    "access.entry.reason": _LIVE,
    "access.entry.author": _LIVE,
    "access.entry.created": _LIVE,
    "access.entry.expires": _LIVE,
    "access.list.file": _LIVE,
    "access.list.action": _LIVE,
    "access.list.direction": _LIVE,
    "access.list.scope": _LIVE,
    "access.list.reason": _LIVE,
    "access.list.author": _LIVE,
    "access.list.expires": _LIVE,
    "trust.default_policy": _LIVE,
    "trust.xmpp_default": _LIVE,
    "trust.peer.domain": _LIVE,
    "trust.peer.policy": _LIVE,
    "trust.proof_max_age_s": _NEW,
    "trust.proof_idle_s": _LIVE,
    "trust.remember_days": _LIVE,
    # what links are made of, and whom they trust
    "tls.certificates": _RESTART,
    "tls.watch_s": _LIVE,
    "tls.trust": _RESTART,
    "tls.minimum": _RESTART,
    "dialback.key_file": _LIVE,
    "dialback.keys": _LIVE,
    "dialback.token_ttl_s": _LIVE,
    "dialback.clock_skew_s": _LIVE,
    "dialback.claim_timeout_s": _NEW,
    "log.level": _LIVE,
    "log.format": _LIVE,
    "log.addresses": _LIVE,
    "log.file": _LIVE,
    "log.trace_entries": _LIVE,
    "log.trace_age_s": _LIVE,
    "log.trace_deliveries": _LIVE,
    "xmpp.inside.listen": _RESTART,
    "xmpp.inside.allow": _RESTART,
    "service.name": _LIVE,
    # an embedded service and one that logs in are two different parts
    "service.kind": _RESTART,
    "service.key": _LIVE,
    "service.certificate": _LIVE,
    "service.users": _LIVE,
    "service.presence": _LIVE,
    "service.messages": _LIVE,
    "service.first_contact": _LIVE,
    "domain.name": _LIVE,
    "domain.service": _LIVE,
    "domain.aliases": _LIVE,
    "domain.tenant": _LIVE,
    "domain.policy": _LIVE,
    "domain.certificate": _LIVE,
    "domain.state": _LIVE,
    "domain.max_message_bytes": _LIVE,
    "domain.sender_rate_per_s": _LIVE,
    "domain.sender_burst": _LIVE,
    "domain.records_per_s": _LIVE,
    "domain.bytes_per_s": _LIVE,
    "domain.recipient_rate_per_s": _LIVE,
    "domain.types": _LIVE,
    "domain.case_profile": _LIVE,
    "domain.subscription_lifetime_s": _LIVE,
    "domain.abuse_contact": _LIVE,
    "domain.first_contact": _LIVE,
    "domain.content_types": _LIVE,
    "domain.attributes": _LIVE,
    "domain.hidden_attributes": _LIVE,
    "peer.domain": _LIVE,
    "peer.addresses": _LIVE,
    "peer.policy": _LIVE,
    "peer.sender_rate_per_s": _LIVE,
    "peer.sender_burst": _LIVE,
    "peer.records_per_s": _LIVE,
    "peer.bytes_per_s": _LIVE,
    "peer.anchor": _LIVE,
    "peer.in_links": _LIVE,
    "peer.objectives.availability_percent": _LIVE,
    "peer.objectives.delivery_p99_s": _LIVE,
    "peer.objectives.refusals_percent": _LIVE,
    "qos.availability_percent": _LIVE,
    "qos.delivery_p99_s": _LIVE,
    "qos.refusals_percent": _LIVE,
    "uplink.name": _LIVE,
    "uplink.address": _LIVE,
    "uplink.key_file": _LIVE,
    "uplink.server_name": _LIVE,
    "uplink.anchor": _LIVE,
}

#: Array of tables -> the key by which its entries are known again; in any order they are the same.
IDENTITY: Final[dict[str, str]] = {
    "service": "name",
    "domain": "name",
    "peer": "domain",
    "uplink": "name",
    "trust.peer": "domain",
    "limits.exceptions": "sender",
    "limits.tenants": "name",
    "access.entry": "match",
    "access.list": "file",
}

#: Keys whose values are shown to nobody.
SECRET: Final = frozenset({"dialback.keys"})


def applies(path: str) -> Applies:
    """When a changed key is obeyed, by its path without numbers, such as `trust.peer.policy`."""
    return APPLIES.get(path, Applies.RESTART)
