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

    # fmt: off
    NONE = ReasonInfo(0, "none", Stage.SERVICE, Retry.NEVER, "none",
        "nothing to do")
    # the envelope
    BAD_RECORD = ReasonInfo(1, "bad-record", Stage.ROUTE, Retry.NEVER, "bad-record",
        "the sender's software builds records against the specification's section 4; report it to them")
    BAD_ADDRESS = ReasonInfo(2, "bad-address", Stage.ROUTE, Retry.NEVER, "bad-address",
        "correct the address")
    ADDRESS_TOO_LONG = ReasonInfo(3, "address-too-long", Stage.ROUTE, Retry.NEVER, "address-too-long",
        "shorten the address: local part 255 bytes, domain 253")
    UNKNOWN_CRITICAL = ReasonInfo(4, "unknown-critical-field", Stage.ROUTE, Retry.NEVER, "unknown-critical-field",
        "the sender requires an extension that is not known here: it must send without, or one side must be updated")
    TYPE_NOT_ENABLED = ReasonInfo(5, "type-not-enabled", Stage.POLICY, Retry.NEVER, "type-not-enabled",
        "enable the record type for the domain, if it is wanted")
    BAD_BODY = ReasonInfo(6, "bad-body", Stage.SERVICE, Retry.NEVER, "bad-body",
        "the sender's software must build MIME headers and an empty line, and From and To as in the envelope")
    # rule 1
    NOT_PROVED = ReasonInfo(10, "not-proved", Stage.DIALBACK, Retry.NEVER, "not-proved",
        "the source domain was not proved on this link: see its claims in imxctl links --claims")
    RELAY_DENIED = ReasonInfo(11, "relay-denied", Stage.POLICY, Retry.NEVER, "relay-denied",
        "the destination is not served here, or the source may not use this link: see imxctl domains; its DNS must lead to its own router")
    SERVED_HERE = ReasonInfo(12, "served-here", Stage.POLICY, Retry.NEVER, "relay-denied",
        "a source that is served here came from outside: let its software log in as a service; else somebody forges it")
    WEAKER_THAN_POLICY = ReasonInfo(13, "weaker-than-policy", Stage.POLICY, Retry.NEVER, "weaker-than-policy",
        "the link is weaker than a policy asks: see trust.peer and policy of [[domain]], here or at the peer")
    WEAKER_THAN_REMEMBERED = ReasonInfo(14, "weaker-than-remembered", Stage.POLICY, Retry.NEVER, "weaker-than-policy",
        "the peer was stronger before; imxctl peers forget clears the memory")
    NOT_SUBSCRIBED = ReasonInfo(15, "not-subscribed", Stage.POLICY, Retry.NEVER, "not-subscribed",
        "a notification needs a live subscription: the watcher's side must subscribe again")
    SUSPENDED = ReasonInfo(16, "suspended", Stage.POLICY, Retry.LATER, "service-down",
        "the domain is suspended: its operator lifts that with imxctl domains resume")
    # recipients: disclose alike
    UNKNOWN_USER = ReasonInfo(20, "unknown-user", Stage.SERVICE, Retry.NEVER, "not-delivered",
        "no such user at the service: correct the address, or add the user there")
    BLOCKED = ReasonInfo(21, "blocked", Stage.POLICY, Retry.NEVER, "not-delivered",
        "a rule of recipient or operator refuses the sender: whoever made the rule can change it")
    CONSENT_NEEDED = ReasonInfo(22, "consent-needed", Stage.POLICY, Retry.NEVER, "not-delivered",
        "first contact is held until the recipient agrees: ask the recipient")
    NOT_DELIVERED = ReasonInfo(23, "not-delivered", Stage.SERVICE, Retry.NEVER, "not-delivered",
        "the recipient's side did not take it and does not say why: ask its operator, who has the reason")
    # limits
    RATE_LIMITED = ReasonInfo(30, "rate-limited", Stage.LIMIT, Retry.LATER, "rate-limited",
        "the sender is over its rate: it waits; limits.exceptions raises the rate of approved senders")
    TOO_LARGE = ReasonInfo(31, "too-large", Stage.LIMIT, Retry.NEVER, "too-large",
        "over the message size limit: send less, or raise limits.max_message_bytes or max_message_bytes of the domain")
    BUSY = ReasonInfo(32, "busy", Stage.LIMIT, Retry.LATER, "busy",
        "a queue or table is full, or the destination does not read fast enough: see imxctl links and imxctl peers")
    OVER_CAP = ReasonInfo(33, "over-cap", Stage.LIMIT, Retry.LATER, "over-cap",
        "too many connections of this peer: close some, or let it raise caps.in_per_peer or caps.unauthenticated_per_address")
    HOLD_FULL = ReasonInfo(34, "hold-full", Stage.LIMIT, Retry.LATER, "busy",
        "more is waiting for this destination than the hold queue takes: see imxctl peers; dial.hold_count and hold_bytes bound it")
    RECIPIENT_LIMIT = ReasonInfo(35, "recipient-limit", Stage.LIMIT, Retry.LATER, "busy",
        "too much comes to one recipient: wait, or let its router raise limits.recipient_rate_per_s or recipient_rate_per_s of the domain")
    SUPERSEDED = ReasonInfo(36, "superseded", Stage.LIMIT, Retry.NEVER, "superseded",
        "a newer notification of the same subscription took this one's place while it waited")
    OVER_RATE = ReasonInfo(37, "over-rate", Stage.LIMIT, Retry.LATER, "busy",
        "more requests or bytes a second than a link, peer, domain or tenant may send: imxctl limits names it, its keys and who is over it")
    OVERLOADED = ReasonInfo(38, "overloaded", Stage.LIMIT, Retry.LATER, "busy",
        "the router has too much to do and sheds presence, then new subscriptions, then messages: see overload in imxctl status")
    # ways
    LOOP = ReasonInfo(40, "loop", Stage.ROUTE, Retry.NEVER, "loop",
        "routers send this in a circle: look at service and uplink settings")
    TOO_MANY_HOPS = ReasonInfo(41, "too-many-hops", Stage.ROUTE, Retry.NEVER, "too-many-hops",
        "hops left reached zero: look for a circle or a chain of routers between service and uplink settings")
    ID_REUSED = ReasonInfo(42, "id-reused", Stage.ROUTE, Retry.NEVER, "id-reused",
        "the sender used one message id for two contents: its software must make a new id for each message")
    EPOCH_UNKNOWN = ReasonInfo(43, "epoch-unknown", Stage.ROUTE, Retry.NEVER, "epoch-unknown",
        "a retry names a duplicate memory that is gone, as after a restart: ask the recipient before sending again")
    SERVICE_DOWN = ReasonInfo(44, "service-down", Stage.SERVICE, Retry.LATER, "service-down",
        "no link of the service behind this domain is up: start the service, and see its login in the log")
    LINK_LOST = ReasonInfo(45, "link-lost", Stage.PEER, Retry.NEVER, "link-lost",
        "the connection broke: before a hello, see what has the port there; later, ask the recipient before sending again")
    ANSWER_TIMEOUT = ReasonInfo(46, "answer-timeout", Stage.PEER, Retry.NEVER, "answer-timeout",
        "no answer within the deadline: ask the recipient before sending again; the peer's service is slow or hangs")
    SHUTTING_DOWN = ReasonInfo(47, "shutting-down", Stage.SERVICE, Retry.LATER, "shutting-down",
        "the router is going out of service: try again in a minute, or over another host")
    PEER_FAILED = ReasonInfo(48, "peer-failed", Stage.PEER, Retry.NEVER, "not-delivered",
        "the peer answered with a reason that is not registered: its log has the cause; one side needs an update")
    STATE_UNAVAILABLE = ReasonInfo(49, "state-unavailable", Stage.SERVICE, Retry.LATER, "state-unavailable",
        "the state file cannot be written, so no new subscription is taken: see state in imxctl status")
    # discovery
    NO_SUCH_DOMAIN = ReasonInfo(60, "no-such-domain", Stage.DNS, Retry.NEVER, "no-such-domain",
        "the domain does not exist in DNS: correct its spelling; or its owner must register or publish it")
    NO_IMX_RECORD = ReasonInfo(61, "no-imx-record", Stage.DNS, Retry.NEVER, "no-imx-record",
        "the domain publishes neither an IMX nor an SVCB nor an SRV record: its owner adds what imxctl dns records prints")
    NO_SERVICE = ReasonInfo(62, "no-service", Stage.DNS, Retry.NEVER, "no-service",
        "the domain's record says that it offers no service: only its owner can change that")
    DNS_FAILURE = ReasonInfo(63, "dns-failure", Stage.DNS, Retry.LATER, "dns-failure",
        "the resolver answered with a failure; ask the domain's DNS operator")
    DNS_TIMEOUT = ReasonInfo(64, "dns-timeout", Stage.DNS, Retry.LATER, "dns-timeout",
        "no DNS answer in time: look at this router's resolvers, then at the domain's name servers")
    BAD_DNS_RECORD = ReasonInfo(65, "bad-dns-record", Stage.DNS, Retry.LATER, "dns-failure",
        "the published record breaks docs/specs/imx-dns-record.md: its owner compares it with what imxctl dns records prints")
    NO_ADDRESS = ReasonInfo(66, "no-address", Stage.DNS, Retry.LATER, "dns-failure",
        "no target of the record has an address: its owner adds A or AAAA records for the target")
    DELEGATION_INSECURE = ReasonInfo(67, "delegation-insecure", Stage.IDENTITY, Retry.LATER, "tls-failed",
        "the certificate names the target alone, and DNSSEC does not prove that the domain leads there: its owner signs the zone, or gets its router a certificate for the domain")
    DANE_MISMATCH = ReasonInfo(68, "dane-mismatch", Stage.IDENTITY, Retry.LATER, "tls-failed",
        "the certificate is none of those that the target's TLSA records name: its operator publishes what imxctl dns records prints; else somebody stands between")
    NO_XMPP_RECORD = ReasonInfo(69, "no-xmpp-record", Stage.DNS, Retry.NEVER, "no-xmpp-record",
        "the domain publishes no SRV record for XMPP and has no address of its own to fall back to: its owner adds what imxctl dns records prints")
    # connecting
    ADDRESS_REFUSED = ReasonInfo(70, "address-refused", Stage.CONNECT, Retry.LATER, "unreachable",
        "the target's address or port is one this router does not dial: see dial.allow_networks and dial.allow_ports_below_1024")
    CONNECTION_REFUSED = ReasonInfo(71, "connection-refused", Stage.CONNECT, Retry.LATER, "unreachable",
        "nothing listens at the published port: start the router there, or correct the port in the record")
    CONNECT_TIMEOUT = ReasonInfo(72, "connect-timeout", Stage.CONNECT, Retry.LATER, "unreachable",
        "no connection within the time limit: a firewall between, or the host is down; open the port both ways")
    UNREACHABLE = ReasonInfo(73, "unreachable", Stage.CONNECT, Retry.LATER, "unreachable",
        "no route to any address: look at this host's network and address families, then at the published addresses")
    BACKING_OFF = ReasonInfo(74, "backing-off", Stage.CONNECT, Retry.LATER, "unreachable",
        "every target failed a moment ago; the next try is due later: imxctl peers retry tries at once")
    TLS_FAILED = ReasonInfo(75, "tls-failed", Stage.TLS, Retry.LATER, "tls-failed",
        "no TLS came of the connection: the note says what stopped it; a proxy between, no TLS at the other side (tls.certificates), or no common version")
    CERTIFICATE_REFUSED = ReasonInfo(76, "certificate-refused", Stage.IDENTITY, Retry.LATER, "tls-failed",
        "the certificate is not valid for the domain: its owner renews it, or has it name the domain")
    OWN_NETWORK = ReasonInfo(77, "own-network", Stage.CONNECT, Retry.LATER, "own-network",
        "most peers were lost at once: look at this router's own network first")
    # the link
    PROTOCOL_ERROR = ReasonInfo(80, "protocol-error", Stage.PEER, Retry.LATER, "protocol-error",
        "the other side does not speak IMX as specified: another program has the port, or one side needs an update")
    VERSION_MISMATCH = ReasonInfo(81, "version-mismatch", Stage.PEER, Retry.LATER, "protocol-error",
        "no common protocol version: update the older side")
    HELLO_TIMEOUT = ReasonInfo(82, "hello-timeout", Stage.PEER, Retry.LATER, "protocol-error",
        "no hello within the time limit: another program has the port, something between swallows bytes, or the host hangs")
    KEEPALIVE_TIMEOUT = ReasonInfo(83, "keepalive-timeout", Stage.PEER, Retry.NEVER, "link-lost",
        "the link was silent for too long: the peer's network or a firewall between has cut it; see links.dead_s")
    IDLE = ReasonInfo(84, "idle", Stage.PEER, Retry.LATER, "none",
        "closed for lack of traffic")
    UNREAD_ANSWERS = ReasonInfo(85, "unread-answers", Stage.LIMIT, Retry.LATER, "busy",
        "the other side does not read what is sent to it: it hangs or is overloaded; see links.unread_answer_bytes")
    REDIRECTED = ReasonInfo(86, "redirected", Stage.PEER, Retry.LATER, "none",
        "the peer asked to reconnect elsewhere")
    LOGIN_FAILED = ReasonInfo(87, "login-failed", Stage.IDENTITY, Retry.NEVER, "not-proved",
        "the key, its signature or the certificate is not the configured one: give the service what [[service]] names, and no other role")
    NOT_HOSTED = ReasonInfo(88, "not-hosted", Stage.PEER, Retry.NEVER, "no-service",
        "the server that the domain's records lead to does not host the domain: its owner corrects the records, or adds the domain to the server")
    # dial-back
    DIALBACK_REFUSED = ReasonInfo(90, "dialback-refused", Stage.DIALBACK, Retry.LATER, "dialback-refused",
        "the claimed domain's own router does not know the claim: its DNS leads elsewhere, or its hosts' clocks differ")
    DIALBACK_TIMEOUT = ReasonInfo(91, "dialback-timeout", Stage.DIALBACK, Retry.LATER, "dialback-timeout",
        "the verification did not finish in time: the claiming domain's router must be reachable and answer; imxctl check it")
    NOT_MINE = ReasonInfo(92, "not-mine", Stage.DIALBACK, Retry.LATER, "dialback-refused",
        "no host of the domain knows the token's key: all its hosts need the same dialback.key_file, and DNS must list them only")
    BAD_TOKEN = ReasonInfo(93, "bad-token", Stage.DIALBACK, Retry.LATER, "dialback-refused",
        "the token is malformed, expired, used or names another pair: set the clocks of the domain's hosts")
    TLS_VIEW_MISMATCH = ReasonInfo(94, "tls-view-mismatch", Stage.DIALBACK, Retry.LATER, "dialback-refused",
        "one side sees the first connection as TLS and the other does not: take out the proxy that stands between")
    DIAL_LIMIT = ReasonInfo(95, "dial-limit", Stage.LIMIT, Retry.LATER, "busy",
        "too many verifications were asked for: wait, or let the peer raise the verify limits of [caps]")
    TOO_MANY_CLAIMS = ReasonInfo(96, "too-many-claims", Stage.LIMIT, Retry.LATER, "busy",
        "more claims on this link than it may carry: the peer raises caps.claims_per_link, or fewer domains share the link")
    NO_COMMON_PROOF = ReasonInfo(97, "no-common-proof", Stage.DIALBACK, Retry.LATER, "dialback-refused",
        "the other side takes no proof that we can give: the note says what it offers; get a certificate that names our domain from an authority that it trusts, or let it take dial-back")
    # fmt: on

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
