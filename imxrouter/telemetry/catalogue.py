"""Every metric family: name, type, labels, and what it says. Labels come from closed sets.

All but `peer`: domains, and no more of them than `peers.TOP` and the watch list; and `file`, no more of them
than `certificates.SHOWN`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from imxrouter.model.vocabulary import Reason

REASON_WORDS: tuple[str, ...] = tuple(reason.word for reason in Reason)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    Attributes:
        name: full name, with `_total` for counters.
        kind: its Prometheus type.
        labels: label names, in order.
        help: one sentence.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram", "summary"]
    labels: tuple[str, ...]
    help: str


REQUESTS = Family(
    "imxrouter_requests_total",
    "counter",
    ("kind", "result"),
    "Requests by kind and what became of them; accepted = delivered + refused + failed + indeterminant + "
    "in flight.",
)
REFUSALS = Family(
    "imxrouter_refusals_total",
    "counter",
    ("stage", "reason", "kind"),
    "What was refused or failed, by stage, reason (see reasons.md) and kind of request; `link` is a "
    "connection or link.",
)
RECORDS = Family(
    "imxrouter_records_total",
    "counter",
    ("direction",),
    "Routed records taken in and put out, those of embedded services too.",
)
BYTES = Family("imxrouter_bytes_total", "counter", ("direction",), "Bytes read and written on links.")
STRAY = Family(
    "imxrouter_stray_responses_total",
    "counter",
    (),
    "Responses that nobody waits for from that link; dropped.",
)
FOREIGN = Family(
    "imxrouter_foreign_responses_total", "counter", (), "Responses that were handed to another process."
)
ELSEWHERE = Family(
    "imxrouter_elsewhere_total",
    "counter",
    (),
    "Requests refused by one host of a peer and then sent to another.",
)
RETRIES = Family("imxrouter_retries_total", "counter", (), "Requests sent again after their link was lost.")
DELIVERY = Family(
    "imxrouter_delivery_seconds",
    "histogram",
    ("part",),
    "Where the time of a delivery went. `ours`: from the read that brought a request or an answer to its "
    "write, with the time on hold. `theirs`: from the write of a request to the answer of a peer or service.",
)
IN_FLIGHT = Family("imxrouter_in_flight", "gauge", ("kind",), "Requests accepted and not yet answered.")
LINKS = Family("imxrouter_links", "gauge", ("role", "state"), "Links by role and state.")
LINK_ENDS = Family(
    "imxrouter_link_ends_total",
    "counter",
    ("stage", "reason"),
    "Links that ended, ours and those of peers, by stage and reason; `none`, `idle` and `redirected` are in "
    "order.",
)
CLAIMS = Family(
    "imxrouter_claims_total",
    "counter",
    ("direction", "result"),
    "Claims that ended, ours (`made`) and those of peers (`received`): `proved`, or why they were not; "
    "`bad-token` where the claimed domain's own router did not know the token.",
)
DIALS = Family(
    "imxrouter_dials_total",
    "counter",
    ("result",),
    "Domains whose routers were dialled: `connected`, or what came of the attempts (`dns-failure` where one "
    "was reached whose TLSA records cannot be learned). Look-ups that failed before and what was refused "
    "without a dial are not here.",
)
LOOKUPS = Family(
    "imxrouter_dns_lookups_total",
    "counter",
    ("result",),
    "DNS look-ups of domains: `found`, `cached`, or the reason of the failure.",
)
ECHOES = Family(
    "imxrouter_echoes_total",
    "counter",
    ("result",),
    "Echoes of domains served here: `answered`, or why they were refused.",
)
QUESTIONS = Family(
    "imxrouter_attribute_questions_total",
    "counter",
    ("way",),
    "Questions for attributes of others: `asked` of the owner, `joined` to an equal one under way, `cached` "
    "where all was known, `refused` where too many were under way.",
)
REDIRECTS = Family(
    "imxrouter_redirects_total",
    "counter",
    ("what",),
    "Redirects: `sent` by a drain; those of peers that were `obeyed`, for each domain, or `ignored`.",
)
HANDED = Family(
    "imxrouter_subscriptions_handed_total",
    "counter",
    ("direction",),
    "Subscriptions handed from host to host of one domain: `out` before a drain, `in` from another host.",
)
DRAIN = Family(
    "imxrouter_drain_state",
    "gauge",
    ("state",),
    "1 for the state that the process is in: `running`, `moving`, `closing` or `drained`; else 0.",
)
BARRED = Family(
    "imxrouter_access_refusals_total",
    "counter",
    ("rule", "direction"),
    "Requests that an access list or a recipient's rule refused: by what the rule names, or `recipient` "
    "and `first-contact`.",
)
ACCESS_ENTRIES = Family(
    "imxrouter_access_entries", "gauge", ("action", "origin"), "Entries of block and allow lists."
)
ABUSE = Family(
    "imxrouter_abuse_reports_total",
    "counter",
    ("direction", "result"),
    "Reports of abuse, `received` and `sent`: `taken`, `refused` by the other side, or why.",
)
RELOADS = Family(
    "imxrouter_config_reloads_total",
    "counter",
    ("result",),
    "Times the configuration was read again: `applied`, `unchanged`, `refused` (the files are wrong) or "
    "`failed` (a part or another process cannot take them); after the last two the old one stays.",
)
HELD = Family(
    "imxrouter_held_requests", "gauge", (), "Requests that wait for their destination to be dialled."
)
HELD_BYTES = Family("imxrouter_held_bytes", "gauge", (), "Bytes of requests that wait for their destination.")
HELD_OLDEST = Family(
    "imxrouter_held_oldest_seconds",
    "gauge",
    (),
    "How long the oldest request has waited for its destination to be dialled; 0 when none does.",
)
IN_FLIGHT_OLDEST = Family(
    "imxrouter_in_flight_oldest_seconds",
    "gauge",
    (),
    "How long ago the oldest request that is not answered yet was accepted; 0 when there is none.",
)
PEER_REQUESTS = Family(
    "imxrouter_peer_requests_total",
    "counter",
    ("peer", "direction", "result"),
    "Requests of a peer domain (`in`) and to it (`out`) that ended, by result.",
)
PEER_DELIVERY = Family(
    "imxrouter_peer_delivery_seconds",
    "summary",
    ("peer", "direction", "kind", "part"),
    "Where the time of delivered requests of a peer domain (`in`) and to it (`out`) went. `ours`: this "
    "router's share, of request and answer, with the time on hold. `theirs`: from the write of a request to "
    "its answer, of the peer or of a service of ours.",
)
PEER_REFUSALS = Family(
    "imxrouter_peer_refusals_total",
    "counter",
    ("peer", "direction", "stage"),
    "Requests of a peer domain (`in`) and to it (`out`) that were not delivered, by the stage that decided.",
)
PEER_OUTAGE = Family(
    "imxrouter_peer_outage_seconds_total",
    "counter",
    ("peer", "side", "stage"),
    "For how long a peer domain could not be reached, by the side that failed (`theirs`, or `ours` where "
    "most peers were lost at once) and the stage; the first half minute is counted when the side is known.",
)
PEER_DOWN = Family(
    "imxrouter_peer_down", "gauge", ("peer",), "1 while a peer domain cannot be reached, else 0."
)
PEER_BURN = Family(
    "imxrouter_peer_objective_burn",
    "gauge",
    ("peer", "objective", "window"),
    "What happened of that which an objective (`availability`, `delivery-time` or `refusals`) allows, in the "
    "last `hour`, `day` or `month`: 1 uses up exactly what is allowed, more misses it.",
)
PEER_LINKS = Family(
    "imxrouter_peer_links",
    "gauge",
    ("peer",),
    "Links on which a peer domain is proved or reached; one link may count for several domains.",
)
PEER_ERROR = Family(
    "imxrouter_peer_last_error_timestamp_seconds",
    "gauge",
    ("peer", "stage", "reason"),
    "Unix time when a peer domain could last not be reached, or took no claim of ours, and why; absent when "
    "that never happened.",
)
STORE_WORKS = Family(
    "imxrouter_store_works", "gauge", (), "1 while the state file can be written, else 0 (see imxctl status)."
)
STORE_ENTRIES = Family("imxrouter_store_entries", "gauge", (), "Entries of the store.")
STORE_BYTES = Family("imxrouter_store_bytes", "gauge", (), "Bytes of the state file after the last write.")
STORE_WAITING = Family("imxrouter_store_waiting", "gauge", (), "Changes that are not in the state file yet.")
STORE_WRITTEN = Family(
    "imxrouter_store_last_write_timestamp_seconds",
    "gauge",
    (),
    "Unix time of the last write to the state file; 0 before the first.",
)
STORE_REFUSED = Family(
    "imxrouter_store_refused_total",
    "counter",
    (),
    "Entries that were refused: the disk was not there for one that must last, or its table was full.",
)
STORE_FAILURES = Family(
    "imxrouter_store_failures_total",
    "counter",
    ("problem",),
    "Tries to open or write the state file that failed: `full`, `read-only`, `corrupt`, `locked`, `broken` "
    "or `closed`.",
)
CERTIFICATES = Family("imxrouter_certificates", "gauge", (), "Certificates of ours in use.")
CERTIFICATE_FIRST = Family(
    "imxrouter_certificate_first_expiry_timestamp_seconds",
    "gauge",
    (),
    "Unix time when the first of our certificates ends; absent when there is none.",
)
CERTIFICATE_EXPIRY = Family(
    "imxrouter_certificate_expiry_timestamp_seconds",
    "gauge",
    ("file",),
    "Unix time when a certificate of ours ends, its chain included, by its file; of the 50 that end first.",
)
CERTIFICATE_PROBLEMS = Family(
    "imxrouter_certificate_problems",
    "gauge",
    (),
    "Faults that kept the certificate folder from being taken as it is, at the last try (see imxctl certs).",
)
CERTIFICATE_RELOADS = Family(
    "imxrouter_certificate_reloads_total",
    "counter",
    ("result",),
    "Times the certificate folder was read since the start: `swapped` for a new set, `unchanged`, or "
    "`refused` for its faults.",
)
PEER_CERTIFICATE = Family(
    "imxrouter_peer_certificate_expiry_timestamp_seconds",
    "gauge",
    ("peer",),
    "Unix time when the certificate of a peer domain ends; of the 50 that end first of those seen in the "
    "last week.",
)
UPTIME = Family("imxrouter_uptime_seconds", "gauge", (), "Seconds since this process started.")
BUILD = Family("imxrouter_build_info", "gauge", ("version", "python"), "Always 1; the labels say what runs.")
TICK = Family(
    "imxrouter_reactor_tick_seconds",
    "histogram",
    (),
    "How late a timer of the reactor was: the turn of work that it had to wait for.",
)
TICK_SEEN = Family(
    "imxrouter_reactor_last_tick_timestamp_seconds",
    "gauge",
    (),
    "Unix time when the reactor last came round.",
)

LIMIT_REFUSALS = Family(
    "imxrouter_limit_refusals_total",
    "counter",
    ("limit",),
    "What was refused by a limit, by the limit's name (see operators/limits.md).",
)
OVERLOAD = Family(
    "imxrouter_overload_level",
    "gauge",
    (),
    "What is shed: 0 nothing, 1 presence, 2 new subscriptions too, 3 to 6 a quarter, a half, three quarters "
    "and all of the messages too.",
)
XMPP_STREAMS = Family("imxrouter_xmpp_streams", "gauge", ("role",), "XMPP streams by what they are for.")
XMPP_ERRORS = Family(
    "imxrouter_xmpp_stream_errors_total",
    "counter",
    ("condition", "direction"),
    "Stream errors by condition (RFC 6120 section 4.9.3), `sent` by us or `received`.",
)
XMPP_UNCONFIRMED = Family(
    "imxrouter_xmpp_unconfirmed_total",
    "counter",
    (),
    "Stanzas that were written and neither acknowledged nor known to be read within "
    "`links.answer_timeout_s`; their senders are told that nobody knows.",
)
XMPP_NOWHERE = Family(
    "imxrouter_xmpp_dropped_total",
    "counter",
    ("why",),
    "Stanzas that went nowhere without a word to anybody, as their kind has it, and original forms "
    "(`form-...`) that were not used.",
)
XMPP_PASSING = Family(
    "imxrouter_xmpp_passing_pairs",
    "gauge",
    ("state",),
    "Pairs of users of two XMPP servers whose presence passes, `granted`, or `asked` and not answered yet.",
)
XMPP_PASSING_DONE = Family(
    "imxrouter_xmpp_passing_total",
    "counter",
    ("what",),
    "What was done so that presence that passes is right again: probes that were `asked`, `failed`, were "
    "`refused`; watchers told that nothing is known (`unknown`), resources that were `gone`; pairs not "
    "remembered for want of room (`no-room`), or not stored (`not-kept`).",
)
XMPP_RENEWALS = Family(
    "imxrouter_xmpp_parser_renewals_total",
    "counter",
    (),
    "Parsers of streams that were replaced because they knew too many names; of streams that have ended.",
)

#: Families whose figures are slots of the hot path's list of integers.
SLOTTED: tuple[Family, ...] = (REQUESTS, REFUSALS, RECORDS, BYTES, STRAY, FOREIGN, RETRIES, ELSEWHERE)

ALL: tuple[Family, ...] = (
    *SLOTTED,
    DELIVERY,
    IN_FLIGHT,
    IN_FLIGHT_OLDEST,
    LINKS,
    LINK_ENDS,
    CLAIMS,
    DIALS,
    LOOKUPS,
    ECHOES,
    QUESTIONS,
    REDIRECTS,
    HANDED,
    DRAIN,
    BARRED,
    ACCESS_ENTRIES,
    ABUSE,
    RELOADS,
    HELD,
    HELD_BYTES,
    HELD_OLDEST,
    PEER_REQUESTS,
    PEER_DELIVERY,
    PEER_REFUSALS,
    PEER_OUTAGE,
    PEER_DOWN,
    PEER_BURN,
    PEER_LINKS,
    PEER_ERROR,
    STORE_WORKS,
    STORE_ENTRIES,
    STORE_BYTES,
    STORE_WAITING,
    STORE_WRITTEN,
    STORE_REFUSED,
    STORE_FAILURES,
    CERTIFICATES,
    CERTIFICATE_FIRST,
    CERTIFICATE_EXPIRY,
    CERTIFICATE_PROBLEMS,
    CERTIFICATE_RELOADS,
    PEER_CERTIFICATE,
    LIMIT_REFUSALS,
    OVERLOAD,
    XMPP_STREAMS,
    XMPP_ERRORS,
    XMPP_UNCONFIRMED,
    XMPP_NOWHERE,
    XMPP_PASSING,
    XMPP_PASSING_DONE,
    XMPP_RENEWALS,
    UPTIME,
    BUILD,
    TICK,
    TICK_SEEN,
)

#: What each family says.
HELP: dict[str, str] = {family.name: family.help for family in ALL}

#: Values of `direction` and `result` of what is counted for a peer.
PEER_DIRECTIONS: tuple[str, ...] = ("in", "out")
PEER_RESULTS: tuple[str, ...] = ("delivered", "refused", "failed", "indeterminant")
#: The only families that hold domains: of the watch list and the busiest peers, else these words.
PEER_REST: tuple[str, ...] = ("other", "former")

#: Closed sets of the labels, one tuple for each series.
CLAIM_RESULTS: tuple[tuple[str, str], ...] = tuple(
    (direction, word) for direction in ("made", "received") for word in ("proved", *REASON_WORDS[1:])
)
LINK_END_REASONS: tuple[tuple[str, str], ...] = tuple((one.stage.value, one.word) for one in Reason)
DIAL_RESULTS: tuple[tuple[str], ...] = (
    ("connected",), ("connection-refused",), ("connect-timeout",), ("unreachable",), ("tls-failed",),
    ("certificate-refused",), ("delegation-insecure",), ("dane-mismatch",), ("weaker-than-policy",),
    ("weaker-than-remembered",), ("dns-failure",), ("dns-timeout",), ("bad-dns-record",),
)  # fmt: skip
ECHO_RESULTS: tuple[tuple[str], ...] = (
    ("answered",), ("bad-address",), ("too-large",), ("rate-limited",),
)  # fmt: skip
QUESTION_WAYS: tuple[tuple[str], ...] = (("asked",), ("joined",), ("cached",), ("refused",))
#: Rules as `routing.gate` has them.
BARRED_BY: tuple[tuple[str, str], ...] = tuple(
    (rule, direction)
    for rule in ("address", "local", "domain", "zone", "everybody", "recipient", "first-contact")
    for direction in ("in", "out")
)
ABUSE_RESULTS: tuple[tuple[str, str], ...] = (
    *(("received", word) for word in ("taken", "bad-address", "too-large", "rate-limited", "bad-body")),
    *(("sent", word) for word in ("taken", "refused")),
)
CONFIG_RELOAD_RESULTS: tuple[tuple[str], ...] = (("applied",), ("unchanged",), ("refused",), ("failed",))
RELOAD_RESULTS: tuple[tuple[str], ...] = (("swapped",), ("unchanged",), ("refused",))
LOOKUP_RESULTS: tuple[tuple[str], ...] = tuple((word,) for word in ("found", "cached", *REASON_WORDS[1:]))
