"""Every limit by name: what it bounds, the keys that set it, what who is over it is told.

One table for refusals, metrics, `imxctl limits` and the page for operators.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from imxrouter.model.vocabulary import Reason


class LimitInfo(NamedTuple):
    """One limit.

    Attributes:
        word: its name in metrics, notes and tables.
        what: what is counted, in words.
        keys: configuration keys that set it; empty where it is fixed (then `fixed` says it).
        reason: what who is over it is answered.
        retry: when to try again, in words.
        fixed: its value where no key sets it.
        counted: whether it is counted by its name; else by its reason alone.
    """

    word: str
    what: str
    keys: tuple[str, ...]
    reason: Reason
    retry: str
    fixed: str = ""
    counted: bool = True


#: How keys begin that stand in tables of their own.
_OF_ONE: Final = ("peer.", "domain.", "limits.exceptions")


class Limit(Enum):
    """The limits, from the outside inwards."""

    # fmt: off
    # connections of strangers
    CONNECTION_RATE_ADDRESS = LimitInfo("connection-rate-address", "new connections of one address (IPv6: one /64) in a minute",
        ("caps.connections_per_address_per_minute",), Reason.OVER_CAP, "when one more is allowed")
    CONNECTION_RATE_NETWORK = LimitInfo("connection-rate-network", "new connections of one network (/24, IPv6: /48) in a minute",
        ("caps.connections_per_prefix_per_minute",), Reason.OVER_CAP, "when one more is allowed")
    STRANGERS_ADDRESS = LimitInfo("strangers-address", "connections without a proof from one address",
        ("caps.unauthenticated_per_address",), Reason.OVER_CAP, "30 s")
    STRANGERS_NETWORK = LimitInfo("strangers-network", "connections without a proof from one network",
        ("caps.unauthenticated_per_prefix",), Reason.OVER_CAP, "30 s")
    STRANGERS = LimitInfo("strangers", "connections without a proof in all; a quarter is kept for networks that have few, and for addresses from which a domain was proved before",
        ("caps.unauthenticated_total",), Reason.OVER_CAP, "30 s")
    LINKS = LimitInfo("links", "connections that others opened, in all",
        ("caps.in_total",), Reason.OVER_CAP, "30 s")
    HANDSHAKES = LimitInfo("handshakes", "TLS handshakes a second for those who connect, a part kept for addresses from which a domain was proved before; more wait, network after network; who waits for 5 s is cut without a word",
        ("caps.handshakes_per_s", "caps.handshakes_reserved_share"), Reason.OVER_CAP, "30 s")
    SILENT = LimitInfo("silent", "time until the hello of a connection",
        ("dial.hello_timeout_s",), Reason.HELLO_TIMEOUT, "at once", counted=False)
    UNPROVED = LimitInfo("unproved", "time until the first proof on a connection",
        ("caps.proof_timeout_s",), Reason.NOT_PROVED, "at once", counted=False)
    LINKS_PEER = LimitInfo("links-peer", "connections of one proved domain",
        ("caps.in_per_peer", "caps.in_per_peer_total", "peer.in_links"), Reason.OVER_CAP, "60 s")
    CLAIMS = LimitInfo("claims", "claims on one link, before the first proof and in all",
        ("caps.claims_before_proof", "caps.claims_per_link"), Reason.TOO_MANY_CLAIMS, "not on this link", counted=False)
    DIALLING = LimitInfo("dialling", "verifications at a stranger's word: by source, target, zone, and in all",
        ("caps.verify_per_source_per_minute", "caps.verify_per_source_prefix_per_minute", "caps.verify_per_target_per_minute",
         "caps.verify_per_target_prefix_per_minute", "caps.verify_per_zone_per_minute", "caps.verify_per_s", "caps.verify_reserved_share"),
        Reason.DIAL_LIMIT, "when one more is allowed")
    # what a link carries
    CREDIT = LimitInfo("credit", "unanswered requests and bytes of one link; one destination gets a quarter while others wait",
        ("links.credit_requests", "links.credit_bytes"), Reason.BUSY, "1 s")
    DUPLICATES = LimitInfo("duplicate-memory", "answered ids remembered, in all and for each domain when it is crowded",
        ("links.duplicate_entries",), Reason.BUSY, "5 s")
    COPIES = LimitInfo("copies", "copies of one request that wait for its answer",
        (), Reason.BUSY, "5 s", fixed="8")
    OUTPUT = LimitInfo("output", "bytes unwritten to a link, and requests unanswered there",
        ("links.output_high_bytes",), Reason.BUSY, "1 s")
    UNREAD = LimitInfo("unread", "bytes that a link leaves unread; then it is closed",
        ("links.unread_answer_bytes",), Reason.UNREAD_ANSWERS, "at once", counted=False)
    HOLD = LimitInfo("hold", "requests and bytes that wait for a domain to be dialled",
        ("dial.hold_count", "dial.hold_bytes", "dial.hold_total_bytes"), Reason.HOLD_FULL, "soon", counted=False)
    LINK_RATE = LimitInfo("link-rate", "requests and their bytes a second over one link; a link that goes on is read more slowly",
        ("limits.link_records_per_s", "limits.link_bytes_per_s"), Reason.OVER_RATE, "when it is below its rate again")
    PEER_RATE = LimitInfo("peer-rate", "requests and their bytes a second of one peer domain, over all its links",
        ("limits.peer_records_per_s", "limits.peer_bytes_per_s", "peer.records_per_s", "peer.bytes_per_s"), Reason.OVER_RATE, "when it is below its rate again")
    PEERS_REMEMBERED = LimitInfo("peers-remembered", "peer domains whose rate is kept at one time; those of one zone get an eighth",
        (), Reason.OVER_RATE, "10 s", fixed="100,000")
    DOMAIN_OUT = LimitInfo("domain-out", "requests and their bytes a second that one served domain sends",
        ("limits.domain_records_per_s", "limits.domain_bytes_per_s", "domain.records_per_s", "domain.bytes_per_s"), Reason.OVER_RATE, "when it is below its rate again")
    DOMAIN_IN = LimitInfo("domain-in", "requests and their bytes a second to one served domain that has a rate of its own",
        ("domain.records_per_s", "domain.bytes_per_s"), Reason.OVER_RATE, "when it is below its rate again")
    TENANT_OUT = LimitInfo("tenant-out", "requests and their bytes a second that all domains of one tenant send",
        ("limits.tenant_records_per_s", "limits.tenant_bytes_per_s", "limits.tenants.records_per_s", "limits.tenants.bytes_per_s"), Reason.OVER_RATE, "when it is below its rate again")
    TENANT_IN = LimitInfo("tenant-in", "requests and their bytes a second to all domains of one tenant that has a rate of its own",
        ("limits.tenants.records_per_s", "limits.tenants.bytes_per_s"), Reason.OVER_RATE, "when it is below its rate again")
    # people
    SENDER = LimitInfo("sender", "messages and subscriptions of one sender; a query counts as a hundredth, an iq `set` as a twentieth, and what rooms and archives hand out as a thousandth of their domain's",
        ("limits.sender_rate_per_s", "limits.sender_burst", "limits.cooldown_s", "limits.exceptions", "peer.sender_rate_per_s", "domain.sender_rate_per_s"), Reason.RATE_LIMITED, "when one more is allowed")
    SENDERS_REMEMBERED = LimitInfo("senders-remembered", "senders whose rate is kept at one time, of one domain; a million in all, an eighth for one zone",
        ("limits.senders_per_domain",), Reason.RATE_LIMITED, "10 s")
    RECIPIENT = LimitInfo("recipient", "messages to one recipient, from all",
        ("limits.recipient_rate_per_s", "limits.recipient_burst"), Reason.RECIPIENT_LIMIT, "when one more is allowed")
    RECIPIENT_STRANGERS = LimitInfo("recipient-strangers", "messages to one recipient from domains that are neither served here nor in [[peer]]; they leave half of the burst to others",
        ("limits.recipient_strangers_rate_per_s",), Reason.RECIPIENT_LIMIT, "when one more is allowed")
    SIZE = LimitInfo("size", "bytes of a message",
        ("limits.max_message_bytes", "domain.max_message_bytes"), Reason.TOO_LARGE, "never", counted=False)
    NOTIFICATIONS = LimitInfo("notifications", "notifications of one subscription",
        (), Reason.RATE_LIMITED, "when one more is allowed", fixed="one a second, 20 at once", counted=False)
    ECHOES = LimitInfo("echoes", "echoes asked by one domain",
        (), Reason.RATE_LIMITED, "when one more is allowed", fixed="one a second, 10 at once", counted=False)
    SUBSCRIPTIONS = LimitInfo("subscriptions", "subscriptions remembered, in all and of one domain",
        ("limits.subscriptions", "limits.subscriptions_per_domain"), Reason.BUSY, "5 s", counted=False)
    # overload
    SHED_PRESENCE = LimitInfo("shed-presence", "overload, first: notifications that do not end a subscription, fetches and queries",
        ("overload.lag_ms", "overload.unwritten_bytes", "overload.calm_s"), Reason.OVERLOADED, "5 s")
    SHED_SUBSCRIPTIONS = LimitInfo("shed-subscriptions", "overload, second: subscriptions that begin",
        ("overload.lag_ms", "overload.unwritten_bytes", "overload.calm_s"), Reason.OVERLOADED, "30 s")
    SHED_MESSAGES = LimitInfo("shed-messages", "overload, third: a quarter of all messages, then a half, three quarters, all",
        ("overload.lag_ms", "overload.unwritten_bytes", "overload.calm_s"), Reason.OVERLOADED, "10 s")
    # fmt: on

    @property
    def word(self) -> str:
        """Its name."""
        return self.value.word

    @property
    def plain_keys(self) -> tuple[str, ...]:
        """Keys that are the same for all: not those of one peer, domain, tenant or sender."""
        keys = self.value.keys
        return tuple(key for key in keys if key.count(".") == 1 and not key.startswith(_OF_ONE))

    @property
    def reason(self) -> Reason:
        """What who is over it is answered."""
        return self.value.reason


LIMIT_BY_WORD: Final = {limit.word: limit for limit in Limit}
#: Those that are counted by their names.
COUNTED: Final = tuple(limit for limit in Limit if limit.value.counted)
