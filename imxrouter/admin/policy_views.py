"""The shapes of what the API answers about access: lists, explanations, abuse. As `views`."""

from __future__ import annotations

from typing import TypedDict


class AccessEntryView(TypedDict):
    """`imxctl policy list`: one entry. `origin` is `file` or `run-time`, `place` says where it stands."""

    id: str
    match: str
    rank: str
    action: str
    direction: str
    scope: str
    reason: str
    author: str
    created_at: float | None
    expires_at: float | None
    origin: str
    place: str


class AccessListView(TypedDict):
    """Entries, and what is wrong with files of lists. `kept`: a change survives a restart."""

    entries: list[AccessEntryView]
    problems: list[str]
    kept: bool


class PolicyStepView(TypedDict):
    """One check. `verdict` is `pass`, `refuse`, or `wait`: it can only be seen when it happens."""

    step: str
    verdict: str
    reason: str
    text: str
    rule: str
    setting: str


class ExplainView(TypedDict):
    """`imxctl policy explain`. `told` is the word that the sender is told; `decided_by` names the step."""

    source: str
    destination: str
    kind: str
    verdict: str
    reason: str
    told: str
    decided_by: str
    steps: list[PolicyStepView]


class AbuseReportView(TypedDict):
    """One report of abuse. `direction` is `received` or `sent`; `by` reported `source`.

    Of a sent one `status` and `reason` say what its domain answered, `contact` whom to write to instead.
    """

    direction: str
    at: float
    by: str
    kind: str
    source: str
    destination: str
    message_at: int
    message_id: str
    text: str
    status: str
    reason: str
    contact: str


#: For the reference page.
VIEWS: tuple[type, ...] = (AccessListView, AccessEntryView, ExplainView, PolicyStepView, AbuseReportView)
