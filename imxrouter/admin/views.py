"""The shapes of what the API answers. The keys are stable: scripts read them from `imxctl --json`.

A key may be added in any version; one is removed only after a release that says so. Times are seconds since
1970 (`_at`) or durations in seconds (`_s`); an unknown value is null.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class StoreView(TypedDict):
    """The state file. `problem` is `none`, `closed`, `full`, `read-only`, `corrupt`, `locked` or `broken`.

    `waiting` counts changes that are not on disk yet, `refused` entries that were not taken since the start.
    """

    path: str
    size_bytes: int
    entries: int
    waiting: int
    last_write_at: float | None
    problem: str
    detail: str
    refused: int


class DrainView(TypedDict):
    """`imxctl drain`: whether the host is in service, and each of its processes.

    `state` of this process and those of all in `processes` are `running`, `moving` (new work goes elsewhere),
    `closing` (what is in flight is answered) or `drained`; `absent` is one that does not run now. `wanted` is
    what an operator asked for; a stop of the process drains as well. `kept` is false where it would not
    survive a restart now.
    """

    state: str
    wanted: bool
    since: float | None
    deadline_s: float | None
    processes: dict[str, str]
    redirects: int
    kept: bool


class OverloadView(TypedDict):
    """What is shed: `level` 0 nothing, 1 presence, 2 subscriptions too, 3 to 6 part of the messages too.

    `times` counts how often anything was shed since the start.
    """

    level: int
    what: str
    lag_ms: float
    unwritten_bytes: int
    times: int


class OffenderView(TypedDict):
    """Who was refused by a limit lately, and about how often; counts fall to a half in five minutes."""

    who: str
    refused: int


class LimitView(TypedDict):
    """`imxctl limits`: one limit.

    `settings` are its keys and their values, `more_keys` those of single peers, domains, tenants and senders;
    `fixed` is said where no key sets it. `used`, `of` and `by`: now, and by whom most; null where there is no
    one figure. `refused` counts since the start, by the limit's own name or, where `by_name` is false, by the
    reason that it is answered with.
    """

    name: str
    what: str
    settings: dict[str, str]
    fixed: str
    more_keys: list[str]
    answer: str
    used: float | None
    of: float | None
    by: str
    refused: int
    by_name: bool
    worst: list[OffenderView]


class StatusView(TypedDict):
    """`imxctl status`: this process."""

    name: str
    role: str
    version: str
    process: int
    state: str
    ready: bool
    why: str
    uptime_s: float
    listening: list[str]
    domains: int
    links: int
    in_flight: int
    held: int
    counters: dict[str, int]
    store: StoreView
    drain: DrainView
    overload: OverloadView


class ClaimView(TypedDict):
    """A claim on a link, or a verification of one over it.

    `direction` is `made` (by us), `received` (by the peer), or `verifier` (one of the two verified over this
    link what the other had claimed on another one; so both may use it, between these two domains). `level` is
    what was proved, in the words of policies; empty before. `ours` is empty while nothing passes.
    """

    theirs: str
    ours: str
    direction: str
    state: str
    level: str
    reason: str


class StreamView(TypedDict):
    """Part of a `LinkView`: what a stream of XMPP is.

    `way` is `in` or `out` with other organisations, `inside in` or `inside out` with a server behind this
    router, or that of a component; `ours` and `theirs` are the domains of its header, `service` whose server
    it is. `proof` is how the other side was satisfied where a certificate did (`SASL EXTERNAL`), else empty;
    `both_ways` that it is bidirectional (XEP-0288). `pending` stanzas of ours are not confirmed yet, and
    `confirmed_by` says what confirms them: `acknowledgement`, `ping` or `written`. `stanzas_out` counts our
    own pings too.
    """

    way: str
    ours: str
    theirs: str
    service: str
    proof: str
    both_ways: bool
    stanzas_in: int
    stanzas_out: int
    pending: int
    confirmed_by: str


class LinkView(TypedDict):
    """`imxctl links`: one connection to another router or service.

    `protocol` is what is spoken, `imx` or `xmpp`. `tls` is the version, or `none` in clear; `certificate`
    holds the names in the other side's certificate, and `certificate_until` is its end in seconds since 1970,
    null where it showed none. Of streams with servers behind this router the role is `service`, and claims
    are the pairs of domains that are proved there: `received` by the server's address, `made` in the name of
    an outside domain. `stream` is null of links that speak IMX.
    """

    link: int
    protocol: str
    role: str
    state: str
    opened_by: str
    address: str
    name: str
    domains: list[str]
    claims: list[ClaimView]
    age_s: float
    idle_s: float
    in_flight: int
    bytes_in: int
    bytes_out: int
    tls: str
    certificate: list[str]
    certificate_until: float | None
    stream: StreamView | None


class PeerView(TypedDict):
    """`imxctl peers`: a remote domain and how it is reached, by each protocol that it was reached by.

    `level` is what is proved of it on its links now, the least of them; `tls` the versions, `none` in clear;
    `certificate` the names in its certificates, and `certificate_until` the first end, seconds since 1970.
    """

    domain: str
    protocol: str
    state: str
    source: str
    policy: str
    level: str
    tls: list[str]
    certificate: list[str]
    certificate_until: float | None
    targets: list[str]
    links: int
    held: int
    last_error: str
    next_try_s: float | None


class PeerChange(TypedDict):
    """`imxctl peers retry` and `forget`: what was cleared of a remote domain; nothing where it was not there.

    Of `retry`: `back-off`, `refused claims`; of `forget`: the level that was remembered.
    """

    domain: str
    cleared: list[str]


class DomainView(TypedDict):
    """`imxctl domains`: a domain served here; `as_in_file` until it is changed at run time."""

    name: str
    state: str
    service: str
    tenant: str
    aliases: list[str]
    policy: str
    up: bool
    as_in_file: bool


class DomainDiff(TypedDict):
    """What a change of a domain did: each changed key with its value before and after.

    `kept` says whether it is on its way to the disk, and so holds after a restart.
    """

    name: str
    action: str
    before: dict[str, Any]
    after: dict[str, Any]
    kept: bool


class TargetView(TypedDict):
    """One target of a look-up, in the order it would be tried."""

    host: str
    port: int
    priority: int
    addresses: list[str]
    parameters: dict[str, str]


class LookupView(TypedDict):
    """`imxctl dns lookup`: what DNS says of a domain."""

    domain: str
    form: str
    result: str
    stage: str
    reason: str
    ttl_s: float | None
    aliases: list[str]
    targets: list[TargetView]
    steps: list[str]


class RecordsView(TypedDict):
    """`imxctl dns records`: what to publish; `served` tells whether the domain is served here.

    `tlsa` are records for the zones of the routers' names; none where this router has no certificate. `srv`
    are those of IMX, `xmpp` those of XMPP; none where that is not spoken here.
    """

    domain: str
    served: bool
    zone: str
    imx: list[str]
    svcb: list[str]
    srv: list[str]
    xmpp: list[str]
    tlsa: list[str]


class InsideView(TypedDict):
    """`imxctl dns inside`: a resolver's file that leads a server's outside domains to this router.

    `file` is where it usually stands, `router` the addresses and ports that it leads to, `own` the server's
    own domains, `passes` the others that are answered as published.
    """

    format: str
    file: str
    text: str
    router: list[str]
    own: list[str]
    passes: list[str]


class OutcomeView(TypedDict):
    """`imxctl send`: what became of the message.

    `decided_by` is empty where this router decided. `failed_at` is the domain at which it failed: who
    decided, or the one that this router could not reach; empty after a success, and where it failed here.
    `retry` is `never` or `later` where it was not delivered, else empty; `remedy` says what to do about that.
    `left` is how many more messages the sender may send at once, where he is near a limit of his rate.
    """

    id: str
    status: str
    reason: str
    stage: str
    decided_by: str
    decided_role: str
    failed_at: str
    retry: str
    retry_after_s: int
    note: str
    remedy: str
    seconds: float
    left: int | None


class AttributeView(TypedDict):
    """One attribute. `kind` is `text`, `number`, `document`, or `any` where no registry says it.

    `value` is text, or base64 where its bytes are no UTF-8 (`encoding`); `max_age_s` is what is left.
    """

    name: str
    kind: str
    value: str
    encoding: str
    max_age_s: int
    cached: bool


class AttributesView(OutcomeView):
    """`imxctl attributes`: what was told, and what became of the question.

    `not_told` are the names asked for that do not exist or that the requester may not see.
    """

    owner: str
    requester: str
    values: list[AttributeView]
    not_told: list[str]


class MessageView(TypedDict):
    """`imxctl watch`: one message for the watched user; `dropped` counts what was left out before it."""

    at: float
    id: str
    source: str
    destination: str
    content_type: str
    text: str
    dropped: NotRequired[int]
