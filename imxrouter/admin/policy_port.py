"""What the API needs for access. Values, Deferreds and errors as with `AdminPort`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from imxrouter.admin.policy_views import AbuseReportView, AccessListView, ExplainView


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry that an operator makes; words as in [[access.entry]], times in seconds since 1970."""

    match: str
    action: str
    direction: str = "both"
    scope: str = ""
    reason: str = ""
    author: str = ""
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report of abuse that is to be sent; the message's id in hexadecimal, its time since 1970."""

    source: str
    destination: str
    kind: str = "other"
    message_id: str = ""
    message_at: int | None = None
    text: str = ""


class PolicyPort(Protocol):
    """Block and allow lists, and what they and everything else decide."""

    def entries(self, about: str) -> AccessListView:
        """List the entries; those that concern an address or a domain where one is given."""

    def add(self, entry: NewEntry) -> AccessListView:
        """Make an entry; answers with it."""

    def remove(self, which: str) -> AccessListView:
        """Take entries of run time away, by id or by whom they match; answers with them."""

    def reload(self) -> AccessListView | Deferred[AccessListView]:
        """Read the files of lists now."""

    def explain(self, source: str, destination: str, kind: str, size: int) -> ExplainView:
        """Tell what would happen to a request."""

    def reports(self, about: str) -> list[AbuseReportView]:
        """List reports of abuse, the newest first; those of an address or a domain where one is given."""

    def report(self, report: NewReport) -> Deferred[AbuseReportView] | AbuseReportView:
        """Report somebody to his domain."""
