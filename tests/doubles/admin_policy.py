"""Access as operators see it, without a router: records what was asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from imxrouter.admin.policy_port import NewEntry, NewReport
from imxrouter.admin.policy_views import AbuseReportView, AccessEntryView, AccessListView, ExplainView

ENTRY: AccessEntryView = {
    "id": "r-00000001", "match": ".spam.example", "rank": "zone", "action": "block", "direction": "both",
    "scope": "", "reason": "spam\x1b[2J", "author": "ops", "created_at": 1.0, "expires_at": 1800000000.0,
    "origin": "run-time", "place": "imxctl policy entry r-00000001",
}  # fmt: skip
LIST: AccessListView = {"entries": [ENTRY], "problems": ["x.toml: is not TOML (correct it)"], "kept": True}
EXPLAINED: ExplainView = {
    "source": "x@spam.example", "destination": "bob@b.example", "kind": "message", "verdict": "refuse",
    "reason": "blocked", "told": "not-delivered", "decided_by": "access lists and recipients' rules",
    "steps": [
        {"step": "addresses", "verdict": "pass", "reason": "", "text": "both are valid", "rule": "",
         "setting": ""},
        {"step": "access lists and recipients' rules", "verdict": "refuse", "reason": "blocked",
         "text": "access rule r-00000001", "rule": "access lists: block .spam.example, both",
         "setting": "imxctl policy entry r-00000001"},
    ],
}  # fmt: skip


REPORT: AbuseReportView = {
    "direction": "sent", "at": 1.0, "by": "b.example", "kind": "spam", "source": "x@spam.example",
    "destination": "bob@b.example", "message_at": 1, "message_id": "00" * 16, "text": "buy",
    "status": "failure", "reason": "type-not-enabled", "contact": "mailto:abuse@spam.example",
}  # fmt: skip


class PolicyDouble:
    """Implements `PolicyPort`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def entries(self, about: str) -> AccessListView:
        """The one entry."""
        self.calls.append(("entries", about))
        return LIST

    def add(self, entry: NewEntry) -> AccessListView:
        """Note it."""
        self.calls.append(("add", asdict(entry)))
        return {**LIST, "problems": []}

    def remove(self, which: str) -> AccessListView:
        """Note it."""
        self.calls.append(("remove", which))
        return {**LIST, "problems": []}

    def reload(self) -> AccessListView:
        """Note it."""
        self.calls.append(("reload",))
        return LIST

    def explain(self, source: str, destination: str, kind: str, size: int) -> ExplainView:
        """Note it."""
        self.calls.append(("explain", source, destination, kind, size))
        return EXPLAINED

    def reports(self, about: str) -> list[AbuseReportView]:
        """The one report."""
        self.calls.append(("reports", about))
        return [REPORT]

    def report(self, report: NewReport) -> AbuseReportView:
        """Note it."""
        self.calls.append(("report", asdict(report)))
        return REPORT
