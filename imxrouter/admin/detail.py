"""The longer answers of the API: traces, one peer, one domain. As in `views`, keys are stable."""

from __future__ import annotations

from typing import TypedDict

from imxrouter.admin.report import MeasureView, OutageView
from imxrouter.admin.views import LinkView


class TraceStep(TypedDict):
    """One step of one message.

    `fields` are those that the step has to say: `kind`, `source`, `destination`, `domain` (addresses as
    `log.addresses` has them), `link`, `out_link`, `role`, `hops`, `bytes`, `status`, `stage`, `reason`,
    `decided_by`, `decided_role`, `rule`, `setting`, `note`, `text`, `seconds` (since it came), `peer_seconds`
    (since it went out), `retry_after_s`; of what came over a link `protocol`, `service` and `level` (what is
    proved there of the source), and of the way out `out_role`, `out_protocol`, `out_service`, `out_level`;
    `choice`: by what the destination is reached, and why; `origin`: the id that it had in the protocol that
    it came by, `answers` that of the stanza that it answers; `confirmed`: what said that it arrived.
    """

    at: float
    event: str
    fields: dict[str, str | int | float]


class VerdictView(TypedDict):
    """What became of a message, as operators are told. `answer` is what the other side said, in its words.

    `rule` is the check that decided and `setting` the entry of the configuration behind it, where this router
    decided. `failed_at` is the domain at which it failed, as in the answer of `imxctl send`. `remedy` is what
    to do; empty after a success.
    """

    status: str
    stage: str
    reason: str
    decided_by: str
    decided_role: str
    failed_at: str
    rule: str
    setting: str
    answer: str
    note: str
    remedy: str
    retry: str
    retry_after_s: int


class TraceView(TypedDict):
    """`imxctl trace ID`: the steps of one message, oldest first.

    `id` is that of the message, whichever was asked for.
    `state` is `in flight`, `finished` or `unknown`; `verdict` is null as long as nothing is decided, or
    nothing is known of it. `gaps` says what this trace cannot show.
    """

    id: str
    state: str
    steps: list[TraceStep]
    verdict: VerdictView | None
    gaps: list[str]


class TraceRow(TypedDict):
    """One message of a search; `status` is empty where no step says what became of it.

    `protocol` and `out_protocol` are what it came and left by, `origin` the id that it had there; each is
    empty where no step says it, as of what came from or for a service in this process.
    """

    id: str
    at: float
    kind: str
    source: str
    destination: str
    steps: int
    last: str
    status: str
    stage: str
    reason: str
    protocol: str
    out_protocol: str
    origin: str


class TracesView(TypedDict):
    """`imxctl trace --from --to`: messages, oldest first; `left_out` older ones were too many to list.

    `notes` say what the search could not do, such as telling users apart where only domains are kept.
    """

    messages: list[TraceRow]
    left_out: int
    notes: list[str]


class PeerErrorView(TypedDict):
    """A failure with a peer. `direction` is `ours` (we reached for it, or claimed there) or `theirs`."""

    at: float
    direction: str
    stage: str
    reason: str
    note: str
    remedy: str


class PeerDetailView(TypedDict):
    """`imxctl peers show`: all that this process knows of a remote domain.

    `required` is what it must prove (`required_by` the entry that says so), `remembered` the strongest that
    it was seen at, until `remembered_until`; both in the words of policies. `acceptable` tells whether a link
    of ours can meet both. `errors` are the last ones, the newest first. `next_try_s` is null where
    nothing waits; `failures` counts those in a row. `held_age_s` is the age of the oldest request that waits.
    `outages` are the last five, the newest first; `objectives` what is expected of it, and how it was since
    yesterday.
    `protocol` is what reaches it, `choice` why: empty where there is nothing to choose. `presence_choice` is
    the same of presence, which is looked up and chosen apart: empty where nothing of it was sent lately.
    `subscriptions` counts those that live, in either direction, by the protocol with which they began: it
    stays theirs. `presence_next_try_s` is null where presence does not wait.
    `counted` is what came from it and went to it, by result, since it has a label of its own in the metrics;
    null where it is counted among `other`. `answered_s` is the mean time of what it delivered.
    """

    domain: str
    protocol: str
    choice: str
    presence_choice: str
    presence_next_try_s: float | None
    subscriptions: dict[str, int]
    state: str
    state_for_s: float | None
    source: str
    targets: list[str]
    required: str
    required_by: str
    remembered: str
    remembered_until: float | None
    acceptable: bool
    links: list[LinkView]
    errors: list[PeerErrorView]
    failures: int
    next_try_s: float | None
    backoff_first_s: float
    backoff_cap_s: float
    held: int
    held_bytes: int
    held_age_s: float | None
    in_flight: int
    bytes_in: int
    bytes_out: int
    counted: dict[str, dict[str, int]] | None
    answered_s: float | None
    outages: list[OutageView]
    objectives: list[MeasureView]


class FindingView(TypedDict):
    """One thing that a doctor found. `severity` is `error`, `warning`, `note` or `good`.

    `stage` and `reason` are those that a peer would meet; `reason` is empty where none fits.
    """

    severity: str
    what: str
    stage: str
    reason: str
    evidence: list[str]
    remedy: str


class DoctorView(TypedDict):
    """`imxctl domains doctor`: `result` is `good`, `warnings` or `failed`; `publish` is what to publish."""

    domain: str
    result: str
    findings: list[FindingView]
    publish: str
    took_s: float


#: Shapes of these answers, outer ones first; for the reference page.
VIEWS: tuple[type, ...] = (
    TraceView, TraceStep, VerdictView, TracesView, TraceRow, PeerDetailView, PeerErrorView, DoctorView,
    FindingView,
)  # fmt: skip
