"""Stages, reasons and statuses: the words of answers, logs, metrics, traces and documentation.

Each reason has a wire code (registered in `docs/specs/imx-protocol.md` section 9), the stage it belongs to,
the word a sender is told (the *disclosed* form, RFC 2779 section 5.1.15), whether a retry can help, and a
remedy for the operator. Nothing else in the project may invent such a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final


class Stage(Enum):
    """Where on its way an operation was decided."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    IDENTITY = "identity"
    DIALBACK = "dialback"
    POLICY = "policy"
    LIMIT = "limit"
    ROUTE = "route"
    SERVICE = "service"
    PEER = "peer"


class Status(IntEnum):
    """CPIM's three answers (RFC 3860 section 3.4)."""

    SUCCESS = 0
    FAILURE = 1
    INDETERMINANT = 2


class Retry(Enum):
    """Whether asking again can help."""

    NEVER = "never"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class ReasonInfo:
    """What the registry says of one reason."""

    code: int
    word: str
    stage: Stage
    retry: Retry
    discloses: str
    remedy: str


class Reason(Enum):
    """The closed registry of reasons. `Reason.BUSY.word` is the word; `.code` the wire code."""

    NONE = ReasonInfo(0, "none", Stage.SERVICE, Retry.NEVER, "none", "nothing to do")
    # the envelope
    BAD_RECORD = ReasonInfo(
        1,
        "bad-record",
        Stage.ROUTE,
        Retry.NEVER,
        "bad-record",
        "the sender's software builds records against the specification's section 4; report it to them",
    )
    BAD_ADDRESS = ReasonInfo(2, "bad-address", Stage.ROUTE, Retry.NEVER, "bad-address", "correct the address")
    ADDRESS_TOO_LONG = ReasonInfo(
        3,
        "address-too-long",
        Stage.ROUTE,
        Retry.NEVER,
        "address-too-long",
        "shorten the address: local part 255 bytes, domain 253",
    )
    UNKNOWN_CRITICAL = ReasonInfo(
        4,
        "unknown-critical-field",
        Stage.ROUTE,
        Retry.NEVER,
        "unknown-critical-field",
        "the sender requires an extension that is not known here",
    )
    TYPE_NOT_ENABLED = ReasonInfo(
        5,
        "type-not-enabled",
        Stage.POLICY,
        Retry.NEVER,
        "type-not-enabled",
        "enable the record type for the domain, if it is wanted",
    )
    BAD_BODY = ReasonInfo(
        6,
        "bad-body",
        Stage.SERVICE,
        Retry.NEVER,
        "bad-body",
        "From and To inside the body must equal the envelope",
    )
    # rule 1
    NOT_PROVED = ReasonInfo(
        10,
        "not-proved",
        Stage.DIALBACK,
        Retry.NEVER,
        "not-proved",
        "the source domain was not proved on this link: see its claims in imxctl links",
    )
    RELAY_DENIED = ReasonInfo(
        11,
        "relay-denied",
        Stage.POLICY,
        Retry.NEVER,
        "relay-denied",
        "the destination is not served here, or the source may not use this link",
    )
    SERVED_HERE = ReasonInfo(
        12,
        "served-here",
        Stage.POLICY,
        Retry.NEVER,
        "relay-denied",
        "a claim or source that belongs to us came from outside",
    )
    WEAKER_THAN_POLICY = ReasonInfo(
        13,
        "weaker-than-policy",
        Stage.POLICY,
        Retry.NEVER,
        "weaker-than-policy",
        "the peer is proved at a lower level than this domain's policy asks",
    )
    WEAKER_THAN_REMEMBERED = ReasonInfo(
        14,
        "weaker-than-remembered",
        Stage.POLICY,
        Retry.NEVER,
        "weaker-than-policy",
        "the peer was stronger before; imxctl peers forget clears the memory",
    )
    NOT_SUBSCRIBED = ReasonInfo(
        15,
        "not-subscribed",
        Stage.POLICY,
        Retry.NEVER,
        "not-subscribed",
        "a notification needs a live subscription",
    )
    SUSPENDED = ReasonInfo(
        16, "suspended", Stage.POLICY, Retry.LATER, "service-down", "the domain is suspended here"
    )
    # recipients: disclose alike
    UNKNOWN_USER = ReasonInfo(
        20, "unknown-user", Stage.SERVICE, Retry.NEVER, "not-delivered", "no such user at the service"
    )
    BLOCKED = ReasonInfo(
        21,
        "blocked",
        Stage.POLICY,
        Retry.NEVER,
        "not-delivered",
        "a rule of recipient or operator refuses the sender",
    )
    CONSENT_NEEDED = ReasonInfo(
        22,
        "consent-needed",
        Stage.POLICY,
        Retry.NEVER,
        "not-delivered",
        "first contact is held until the recipient agrees",
    )
    NOT_DELIVERED = ReasonInfo(
        23,
        "not-delivered",
        Stage.SERVICE,
        Retry.NEVER,
        "not-delivered",
        "the recipient's side did not take it and does not say why",
    )
    # limits
    RATE_LIMITED = ReasonInfo(
        30,
        "rate-limited",
        Stage.LIMIT,
        Retry.LATER,
        "rate-limited",
        "the sender is over its rate; raise it for approved senders",
    )
    TOO_LARGE = ReasonInfo(
        31, "too-large", Stage.LIMIT, Retry.NEVER, "too-large", "over the message size limit"
    )
    BUSY = ReasonInfo(
        32,
        "busy",
        Stage.LIMIT,
        Retry.LATER,
        "busy",
        "a queue or table is full, or the destination does not read fast enough",
    )
    OVER_CAP = ReasonInfo(
        33,
        "over-cap",
        Stage.LIMIT,
        Retry.LATER,
        "over-cap",
        "too many connections of this peer; close some or raise the cap",
    )
    HOLD_FULL = ReasonInfo(
        34,
        "hold-full",
        Stage.LIMIT,
        Retry.LATER,
        "busy",
        "more is waiting for this destination than the hold queue takes",
    )
    RECIPIENT_LIMIT = ReasonInfo(
        35, "recipient-limit", Stage.LIMIT, Retry.LATER, "busy", "a limit of the recipient"
    )
    SUPERSEDED = ReasonInfo(
        36,
        "superseded",
        Stage.LIMIT,
        Retry.NEVER,
        "superseded",
        "a newer notification of the same subscription took this one's place while it waited",
    )
    # ways
    LOOP = ReasonInfo(
        40,
        "loop",
        Stage.ROUTE,
        Retry.NEVER,
        "loop",
        "routers send this in a circle: look at service and uplink settings",
    )
    TOO_MANY_HOPS = ReasonInfo(
        41, "too-many-hops", Stage.ROUTE, Retry.NEVER, "too-many-hops", "hops left reached zero"
    )
    ID_REUSED = ReasonInfo(
        42,
        "id-reused",
        Stage.ROUTE,
        Retry.NEVER,
        "id-reused",
        "the sender used one message id for two contents",
    )
    EPOCH_UNKNOWN = ReasonInfo(
        43,
        "epoch-unknown",
        Stage.ROUTE,
        Retry.NEVER,
        "epoch-unknown",
        "a retry names a duplicate memory that is gone: whether the first try arrived is not known",
    )
    SERVICE_DOWN = ReasonInfo(
        44,
        "service-down",
        Stage.SERVICE,
        Retry.LATER,
        "service-down",
        "no link of the service behind this domain is up",
    )
    LINK_LOST = ReasonInfo(
        45,
        "link-lost",
        Stage.PEER,
        Retry.NEVER,
        "link-lost",
        "the link died with the request in flight and no retry could settle it",
    )
    ANSWER_TIMEOUT = ReasonInfo(
        46, "answer-timeout", Stage.PEER, Retry.NEVER, "answer-timeout", "no answer within the deadline"
    )
    SHUTTING_DOWN = ReasonInfo(
        47, "shutting-down", Stage.SERVICE, Retry.LATER, "busy", "the router is going out of service"
    )
    PEER_FAILED = ReasonInfo(
        48,
        "peer-failed",
        Stage.PEER,
        Retry.NEVER,
        "not-delivered",
        "the peer answered with a reason that is not registered",
    )
    STATE_UNAVAILABLE = ReasonInfo(
        49,
        "state-unavailable",
        Stage.SERVICE,
        Retry.LATER,
        "state-unavailable",
        "the state file cannot be written, so no new subscription is taken: see state in imxctl status",
    )
    # discovery
    NO_SUCH_DOMAIN = ReasonInfo(
        60, "no-such-domain", Stage.DNS, Retry.NEVER, "no-such-domain", "the domain does not exist in DNS"
    )
    NO_IMX_RECORD = ReasonInfo(
        61,
        "no-imx-record",
        Stage.DNS,
        Retry.NEVER,
        "no-imx-record",
        "the domain publishes neither an IMX nor an SVCB nor an SRV record",
    )
    NO_SERVICE = ReasonInfo(
        62,
        "no-service",
        Stage.DNS,
        Retry.NEVER,
        "no-service",
        "the domain's record says that it offers no service",
    )
    DNS_FAILURE = ReasonInfo(
        63,
        "dns-failure",
        Stage.DNS,
        Retry.LATER,
        "dns-failure",
        "the resolver answered with a failure; ask the domain's DNS operator",
    )
    DNS_TIMEOUT = ReasonInfo(
        64, "dns-timeout", Stage.DNS, Retry.LATER, "dns-timeout", "no DNS answer in time"
    )
    BAD_DNS_RECORD = ReasonInfo(
        65,
        "bad-dns-record",
        Stage.DNS,
        Retry.LATER,
        "dns-failure",
        "the published record breaks docs/specs/imx-dns-record.md",
    )
    NO_ADDRESS = ReasonInfo(
        66, "no-address", Stage.DNS, Retry.LATER, "dns-failure", "no target of the record has an address"
    )
    # connecting
    ADDRESS_REFUSED = ReasonInfo(
        70,
        "address-refused",
        Stage.CONNECT,
        Retry.LATER,
        "unreachable",
        "the target's address or port is one this router does not dial",
    )
    CONNECTION_REFUSED = ReasonInfo(
        71,
        "connection-refused",
        Stage.CONNECT,
        Retry.LATER,
        "unreachable",
        "nothing listens at the published port",
    )
    CONNECT_TIMEOUT = ReasonInfo(
        72,
        "connect-timeout",
        Stage.CONNECT,
        Retry.LATER,
        "unreachable",
        "no connection within the time limit: a firewall, or the host is down",
    )
    UNREACHABLE = ReasonInfo(
        73, "unreachable", Stage.CONNECT, Retry.LATER, "unreachable", "no route to any address"
    )
    BACKING_OFF = ReasonInfo(
        74,
        "backing-off",
        Stage.CONNECT,
        Retry.LATER,
        "unreachable",
        "every target failed a moment ago; the next try is due later",
    )
    TLS_FAILED = ReasonInfo(
        75, "tls-failed", Stage.TLS, Retry.LATER, "tls-failed", "the TLS handshake failed"
    )
    CERTIFICATE_REFUSED = ReasonInfo(
        76,
        "certificate-refused",
        Stage.IDENTITY,
        Retry.LATER,
        "tls-failed",
        "the certificate is not valid for the domain",
    )
    OWN_NETWORK = ReasonInfo(
        77,
        "own-network",
        Stage.CONNECT,
        Retry.LATER,
        "own-network",
        "most peers were lost at once: look at this router's own network first",
    )
    # the link
    PROTOCOL_ERROR = ReasonInfo(
        80,
        "protocol-error",
        Stage.PEER,
        Retry.LATER,
        "protocol-error",
        "the other side does not speak IMX as specified",
    )
    VERSION_MISMATCH = ReasonInfo(
        81, "version-mismatch", Stage.PEER, Retry.LATER, "protocol-error", "no common protocol version"
    )
    HELLO_TIMEOUT = ReasonInfo(
        82, "hello-timeout", Stage.PEER, Retry.LATER, "protocol-error", "no hello within the time limit"
    )
    KEEPALIVE_TIMEOUT = ReasonInfo(
        83, "keepalive-timeout", Stage.PEER, Retry.NEVER, "link-lost", "the link was silent for too long"
    )
    IDLE = ReasonInfo(84, "idle", Stage.PEER, Retry.LATER, "none", "closed for lack of traffic")
    UNREAD_ANSWERS = ReasonInfo(
        85, "unread-answers", Stage.LIMIT, Retry.LATER, "busy", "the peer does not read its answers"
    )
    REDIRECTED = ReasonInfo(
        86, "redirected", Stage.PEER, Retry.LATER, "none", "the peer asked to reconnect elsewhere"
    )
    LOGIN_FAILED = ReasonInfo(
        87,
        "login-failed",
        Stage.IDENTITY,
        Retry.NEVER,
        "not-proved",
        "the key or its signature is not the configured one",
    )
    # dial-back
    DIALBACK_REFUSED = ReasonInfo(
        90,
        "dialback-refused",
        Stage.DIALBACK,
        Retry.LATER,
        "dialback-refused",
        "the claimed domain's own router does not know the claim",
    )
    DIALBACK_TIMEOUT = ReasonInfo(
        91,
        "dialback-timeout",
        Stage.DIALBACK,
        Retry.LATER,
        "dialback-timeout",
        "the verification did not finish in time",
    )
    NOT_MINE = ReasonInfo(
        92,
        "not-mine",
        Stage.DIALBACK,
        Retry.LATER,
        "dialback-refused",
        "no host of the domain knows the token's key",
    )
    BAD_TOKEN = ReasonInfo(
        93,
        "bad-token",
        Stage.DIALBACK,
        Retry.LATER,
        "dialback-refused",
        "the token is malformed, expired, used or names another pair",
    )
    TLS_VIEW_MISMATCH = ReasonInfo(
        94,
        "tls-view-mismatch",
        Stage.DIALBACK,
        Retry.LATER,
        "dialback-refused",
        "one side sees the first connection as TLS and the other does not: something stands between",
    )
    DIAL_LIMIT = ReasonInfo(
        95, "dial-limit", Stage.LIMIT, Retry.LATER, "busy", "too many verifications were asked for; wait"
    )
    TOO_MANY_CLAIMS = ReasonInfo(
        96, "too-many-claims", Stage.LIMIT, Retry.LATER, "busy", "more claims on this link than it may carry"
    )

    @property
    def code(self) -> int:
        """The number on the wire."""
        return self.value.code

    @property
    def word(self) -> str:
        """The word in logs, metrics, traces and answers."""
        return self.value.word

    @property
    def stage(self) -> Stage:
        """The stage it belongs to."""
        return self.value.stage

    @property
    def retry(self) -> Retry:
        """Whether asking again can help."""
        return self.value.retry

    @property
    def remedy(self) -> str:
        """What the operator can do."""
        return self.value.remedy

    @property
    def disclosed(self) -> str:
        """The word a sender outside is told."""
        return self.value.discloses


REASON_BY_CODE: Final = {reason.code: reason for reason in Reason}
REASON_BY_WORD: Final = {reason.word: reason for reason in Reason}
