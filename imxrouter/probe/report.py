"""What a check tells: stages in order, evidence, which failure comes first and what to do.

Stages, reasons and remedies are those of `model.vocabulary`; there are no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypedDict

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.transport.telling import telling_rank

#: As they follow each other on the way to a domain: a link says hello after TLS, and claims after hello.
ORDER: Final = (Stage.DNS, Stage.CONNECT, Stage.TLS, Stage.IDENTITY, Stage.PEER, Stage.DIALBACK)

#: The same from a router, as one of its domains: policy before anything, a round trip at the end.
AS_ORDER: Final = (Stage.POLICY, *ORDER, Stage.SERVICE)

#: The same of servers of XMPP: no round trip, for nobody answers an ECHO there.
STREAMS_AS_ORDER: Final = (Stage.POLICY, *ORDER)

#: Why a stage is not tried although nothing failed before it.
NOT_YET: Final[Mapping[Stage, str]] = {
    Stage.TLS: "neither its record nor a policy asks for TLS: --tls tries it",
    Stage.IDENTITY: "without TLS there is no certificate",
    Stage.DIALBACK: "a claim needs a domain of ours and its router: check --as asks it",
}


class State(Enum):
    """What became of a stage, or of the whole check."""

    GOOD = "good"
    #: one way works, another does not
    PARTLY = "partly"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was tried.

    Attributes:
        what: a question to DNS, or a target with address and port.
        reason: NONE where it went well.
        note: an operator's detail.
        took_s: seconds; None where nothing was sent.
        facts: what was seen, as plain values; its keys are stable.
        decides: whether a way ends here; a question that others make up for is told and decides nothing.
    """

    what: str
    reason: Reason = Reason.NONE
    note: str = ""
    took_s: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    decides: bool = True

    @property
    def good(self) -> bool:
        """Whether it went well."""
        return self.reason is Reason.NONE


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage.

    Attributes:
        stage: which.
        state: what became of it.
        evidence: what was tried, in the order in which a router tries it.
        why: why it was not tried; empty otherwise.
        took_s: seconds; None where it was not tried.
        facts: what holds for the whole stage; its keys are stable.
    """

    stage: Stage
    state: State
    evidence: tuple[Evidence, ...] = ()
    why: str = ""
    took_s: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def cause(self) -> Evidence | None:
        """The evidence that explains a stage that is not good: what came furthest, then what came first."""
        bad = [one for one in self.evidence if not one.good]
        return min(bad, key=lambda one: (not one.decides, telling_rank(one.reason)), default=None)


def stage_of_ways(stage: Stage, ways: Sequence[Evidence]) -> StageReport:
    """Judge a stage in which each piece of evidence is a way of its own: one good way is enough to get on."""
    good = sum(way.good for way in ways)
    state = State.GOOD if good == len(ways) else State.PARTLY if good else State.FAILED
    took = [way.took_s for way in ways if way.took_s is not None]
    return StageReport(stage, state, tuple(ways), took_s=max(took, default=None))


@dataclass(frozen=True, slots=True)
class Report:
    """A whole check.

    Attributes:
        domain: what was checked.
        stages: all stages, in order.
        name_servers: who was asked.
        took_s: seconds.
        ours: as which domain of ours; empty from outside.
    """

    domain: Domain
    stages: tuple[StageReport, ...]
    name_servers: tuple[str, ...] = ()
    took_s: float = 0.0
    ours: str = ""

    @classmethod
    def of(
        cls,
        domain: Domain,
        tried: Sequence[StageReport],
        name_servers: Sequence[str] = (),
        took_s: float = 0.0,
        order: Sequence[Stage] = ORDER,
        ours: str = "",
    ) -> Report:
        """Put the stages in order, and say why the others were not tried."""
        by_stage = {one.stage: one for one in tried}
        broken = next((one.stage for one in tried if one.state is State.FAILED), None)
        outside = order is ORDER
        stages = [by_stage.get(stage) or _not_tried(stage, broken, outside=outside) for stage in order]
        return cls(domain, tuple(stages), tuple(name_servers), took_s, ours)

    @property
    def state(self) -> State:
        """GOOD, FAILED where no way leads to a router's hello, or PARTLY where one does and others fail."""
        states = {one.state for one in self.stages}
        return next((one for one in (State.FAILED, State.PARTLY) if one in states), State.GOOD)

    @property
    def first_failure(self) -> tuple[StageReport, Evidence] | None:
        """What to look at first: the stage that nothing came through, else the first that only some did."""
        for state in (State.FAILED, State.PARTLY):
            for one in self.stages:
                if one.state is state and (cause := one.cause) is not None:
                    return one, cause
        return None


def _not_tried(stage: Stage, broken: Stage | None, *, outside: bool) -> StageReport:
    never = NOT_YET.get(stage, "") if outside or stage is not Stage.DIALBACK else ""
    why = never or (f"stage {broken.value} failed" if broken is not None else "")
    return StageReport(stage, State.NOT_TRIED, why=why)


# -- as JSON ---------------------------------------------------------------------------------------------


class CheckView(TypedDict):
    """Answer of `check`. `result` is `good`, `partly` (one way works, another does not) or `failed`.

    `failure` is the first failure, null where all is good; `name_servers` are those that were asked. `ours`
    is the domain given with `--as`, else empty; with it there are two more stages: `policy` before all others
    and `service`, the round trip, after them.

    `stages` are those of the protocol by which a router would reach the domain; all that were looked at stand
    in `protocols`, and what is broken of any of them makes the result `partly` at best.
    """

    domain: str
    ours: str
    result: str
    failure: FailureView | None
    stages: list[StageView]
    protocols: list[ProtocolView]
    name_servers: list[str]
    took_s: float


class ProtocolView(TypedDict):
    """One protocol of a check: whether the domain publishes it (null: DNS does not say), and how it went."""

    protocol: str
    published: bool | None
    result: str
    failure: FailureView | None
    stages: list[StageView]


class FailureView(TypedDict):
    """A failure explained, in the words of logs and metrics.

    `step` is the stage of the check in which it was seen, `stage` the one that the reason belongs to: a peer
    that closes with `over-cap` does so at step `peer`, and the stage is `limit`. `retry` is `never` or
    `later`; `retry_after_s` is the peer's advice, or 0.
    """

    step: str
    stage: str
    reason: str
    what: str
    note: str
    remedy: str
    retry: str
    retry_after_s: int


class StageView(TypedDict):
    """A stage of a check. `state` is `good`, `partly`, `failed` or `not tried`, and `why` says why not tried.

    `facts` of `dns` are `form`, `targets`, `dnssec` (every answer on the way to the targets was validated),
    `insecure_at` (the first question whose answer was not) and `dane` (where all were, the TLSA records of
    each target, or why there are none).
    """

    stage: str
    state: str
    why: str
    took_s: float | None
    facts: dict[str, Any]
    evidence: list[EvidenceView]


class EvidenceView(TypedDict):
    """One thing that was tried; `reason` is empty where it went well, `took_s` null where nothing was sent.

    `facts` of `dns` are `answer`, `records`, `dnssec`; of `connect` `host`, `ip`, `family`, `port`; of `tls`
    those and `version`, `cipher`, `server_name` (SNI); of `identity` those and `by` (what makes it count),
    `names`, `expires`, `issuer`, `sha256` of the certificate; of `peer` those of `connect` and, of a hello,
    `version`, `software`, `instance` (names that process life), `capabilities`, `max_record_bytes`,
    `credit_requests`, `credit_bytes`, `ping_s`, `dead_s`, `idle_s`, `duplicate_window_s` (null where the peer
    does not say); where none came `first_bytes` (what it sent), `by_peer` (it told the reason itself),
    `retry_after_s`.

    With `--as`: of `policy` `required`, `by`, `remembered`, `links_prove`; of `dialback` `state`, `link`,
    `address`, `by_peer`, `level`, `cleared` (waits that the check ended), or `answer`; of `service` `id` (for
    `imxctl trace`), `bytes`, `decided_by`, `decided_role`, `retry_after_s`. By XMPP `dialback` has a line for
    each way of proof at each server: `proof` (`dial-back` or `SASL EXTERNAL`), `answer` (`taken`,
    `not offered`, `refused`, `not tried`), and `reason` where the other way was taken; `note` has what the
    server said.
    """

    what: str
    reason: str
    note: str
    took_s: float | None
    facts: dict[str, Any]


#: Shapes of the answer, outer ones first; for the reference page.
VIEWS: Final[tuple[type, ...]] = (CheckView, ProtocolView, FailureView, StageView, EvidenceView)


#: A clean no: the domain publishes nothing of the protocol.
_ABSENT: Final = frozenset(
    {Reason.NO_SUCH_DOMAIN, Reason.NO_IMX_RECORD, Reason.NO_XMPP_RECORD, Reason.NO_SERVICE}
)


def view_of_all(reports: Mapping[str, Report]) -> CheckView:
    """Return the reports of several protocols as JSON has them, the preferred one first.

    One that is not published says nothing of the others; where none is, the first one is told.
    """
    told = {name: one for name, one in reports.items() if published(one) is not False} or dict(
        list(reports.items())[:1]
    )
    chosen = next(iter(told.values()))
    states = [one.state for one in told.values()]
    result = State.PARTLY
    if all(state is State.FAILED for state in states):
        result = State.FAILED
    elif all(state is State.GOOD for state in states):
        result = State.GOOD
    failures = [one.first_failure for one in told.values() if one.first_failure is not None]
    return CheckView(
        domain=chosen.domain.name,
        ours=chosen.ours,
        result=result.value,
        failure=_failure_view(*failures[0]) if failures else None,
        stages=[_stage_view(one) for one in chosen.stages],
        protocols=[_protocol_view(name, one) for name, one in reports.items()],
        name_servers=list(chosen.name_servers),
        took_s=round(max(one.took_s for one in reports.values()), 6),
    )


def published(report: Report) -> bool | None:
    """Whether the domain publishes what was looked for; None where DNS does not say."""
    dns = next(one for one in report.stages if one.stage is Stage.DNS)
    if dns.state in (State.GOOD, State.PARTLY) or dns.facts.get("targets"):
        return dns.facts.get("form") != "xmpp-address"
    reasons = {one.reason for one in dns.evidence if not one.good}
    return False if reasons and reasons <= _ABSENT else None


def _protocol_view(name: str, report: Report) -> ProtocolView:
    return ProtocolView(
        protocol=name, published=published(report), result=report.state.value,
        failure=_failure_view(*report.first_failure) if report.first_failure else None,
        stages=[_stage_view(one) for one in report.stages],
    )  # fmt: skip


def _failure_view(at: StageReport, cause: Evidence) -> FailureView:
    retry_after_s = cause.facts.get("retry_after_s")
    return FailureView(
        step=at.stage.value, stage=cause.reason.stage.value, reason=cause.reason.word, what=cause.what,
        note=cause.note, remedy=cause.reason.remedy, retry=cause.reason.retry.value,
        retry_after_s=retry_after_s if isinstance(retry_after_s, int) else 0,
    )  # fmt: skip


def _stage_view(one: StageReport) -> StageView:
    return StageView(
        stage=one.stage.value, state=one.state.value, why=one.why, took_s=_rounded(one.took_s),
        facts=dict(one.facts), evidence=[_evidence_view(item) for item in one.evidence],
    )  # fmt: skip


def _evidence_view(item: Evidence) -> EvidenceView:
    return EvidenceView(
        what=item.what, reason="" if item.good else item.reason.word, note=item.note,
        took_s=_rounded(item.took_s), facts=dict(item.facts),
    )  # fmt: skip


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
