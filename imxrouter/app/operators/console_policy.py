"""Block and allow lists as operators see and change them (`admin.policy_port.PolicyPort`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from imxrouter.admin.errors import AdminError
from imxrouter.admin.policy_port import NewEntry, NewReport
from imxrouter.admin.policy_views import AbuseReportView, AccessEntryView, AccessListView, ExplainView
from imxrouter.app.operators.explaining import explain
from imxrouter.app.operators.user_refusals import address
from imxrouter.app.traffic.abuse import KeptReport
from imxrouter.app.traffic.barred import place_of
from imxrouter.config.problems import Problem
from imxrouter.model.abuse import MAX_REPORT_BYTES, AbuseType, BadReport, Report
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.patterns import BadPattern, Pattern, Rank, places_of
from imxrouter.routing.access import MAX_TEXT, Action, BadEntry, Direction, Entry, Scope

if TYPE_CHECKING:
    from imxrouter.app.whole import Whole


class PolicyConsole:
    """Implements `PolicyPort` for a router."""

    def __init__(self, router: Whole) -> None:
        self._router = router
        self._access = router.access

    def entries(self, about: str) -> AccessListView:
        """List the entries; those that concern an address or a domain where one is given."""
        found: Iterable[Entry] = self._access.lists
        if about:
            try:
                key = Address.parse(about).key
            except (BadAddress, BadDomain) as error:
                do = "write local@domain or a domain"
                raise AdminError("bad-request", str(error), "about", do) from None
            found = [entry for entry in found if _concerns(entry.pattern, key)]
        return self._view(sorted(found, key=lambda one: (one.at_run_time, one.created, one.ident)))

    def add(self, entry: NewEntry) -> AccessListView:
        """Make an entry; answers with it."""
        now = time.time()
        if entry.expires_at is not None and entry.expires_at <= now:
            do = "give a time that is to come"
            raise AdminError("bad-request", "it would have expired already", "expires_at", do)
        for name, text in (("reason", entry.reason), ("author", entry.author)):
            if len(text) > MAX_TEXT:
                raise AdminError("bad-request", f"more than {MAX_TEXT} characters", name, "write less")
        try:
            made = Entry(
                "r-" + os.urandom(4).hex(), Pattern.parse(entry.match), _action(entry.action),
                _direction(entry.direction), Scope.parse(entry.scope), entry.reason, entry.author, now,
                entry.expires_at,
            )  # fmt: skip
            self._check_scope(made.scope)
            kept = self._access.add(made)
        except BadPattern as error:
            raise AdminError("bad-request", str(error), "match", "see docs/operators/access.md") from None
        except BadEntry as error:
            raise AdminError("bad-request", str(error), "scope") from None
        return self._view([made], kept=kept)

    def _check_scope(self, scope: Scope) -> None:
        """A scope that is nobody's would never match: most likely a typing error."""
        if scope.value and scope.level.value in ("domain", "user"):
            name = scope.value.rpartition(b"@")[2].decode("ascii")
            if self._router.domains.get(Domain(name)) is None:
                raise BadEntry(f"{name} is not served here; --for names one of ours")
        if scope.level.value == "tenant":
            tenants = {record.tenant for record in self._router.domains}
            if scope.value.decode("utf-8", "replace") not in tenants:
                raise BadEntry(f"no domain has the tenant {scope.value.decode('utf-8', 'replace')!r}")

    def remove(self, which: str) -> AccessListView:
        """Take entries of run time away, by id or by whom they match; answers with them."""
        one = self._access.lists.get(which)
        try:
            wanted = Pattern.parse("*" if one is not None else which)
        except BadPattern as error:
            raise AdminError("bad-request", str(error), "entry", "give an id or whom it matches") from None
        found = [one] if one is not None else [
            entry
            for entry in self._access.lists
            if (entry.pattern.key or entry.pattern.text) == (wanted.key or wanted.text)
        ]  # fmt: skip
        mine = [entry for entry in found if entry.at_run_time]
        if found and not mine:
            places = ", ".join(place_of(entry) for entry in found[:5])
            do = "take it out of the file; that holds within a second"
            raise AdminError("conflict", f"{which} stands in a file: {places}", "entry", do)
        if not mine:
            raise AdminError("not-found", f"no entry {which}", "entry", "see imxctl policy list")
        for entry in mine:
            self._access.remove(entry.ident)
        return self._view(mine)

    def reload(self) -> Deferred[AccessListView]:
        """Read the files of lists now."""
        return self._access.reload(self._router.reactor).addCallback(self._reloaded)

    def _reloaded(self, problems: tuple[Problem, ...]) -> AccessListView:
        if problems:
            what = "; ".join(str(problem) for problem in problems[:10])
            raise AdminError("refused", what, "access", "correct the file; the lists stay as they were")
        return self._view([entry for entry in self._access.lists if not entry.at_run_time])

    def explain(self, source: str, destination: str, kind: str, size: int) -> ExplainView:
        """Tell what would happen to a request."""
        return explain(self._router, source, destination, kind, size)

    # -- abuse -------------------------------------------------------------------------------------------

    def reports(self, about: str) -> list[AbuseReportView]:
        """List reports of abuse, the newest first; those of an address or a domain where one is given."""
        about = about.strip().lower()
        found = self._router.abuse.reports()
        return [
            report_view(one)
            for one in found
            if not about or about in (one.source.lower(), one.source.lower().rpartition("@")[2])
        ]

    def report(self, report: NewReport) -> Deferred[AbuseReportView]:
        """Report somebody to his domain."""
        kinds = [one.value for one in AbuseType]
        if report.kind not in kinds:
            raise AdminError("bad-request", f"{report.kind[:40]!r} is unknown", "kind", ", ".join(kinds))
        source, destination = address(report.source, "from"), address(report.destination, "to")
        if self._router.domains.get(destination.domain) is None:
            do = "name the user of ours who got it"
            raise AdminError("not-found", f"{destination.domain} is not served here", "to", do)
        at = int(time.time()) if report.message_at is None else report.message_at
        try:
            ident = bytes.fromhex(report.message_id)
            made = Report(AbuseType(report.kind), source, destination, at, ident, report.text)
            Report.decode(made.encode())
        except (ValueError, BadReport) as error:
            do = f"an id has 32 hexadecimal digits; all together at most {MAX_REPORT_BYTES} bytes"
            raise AdminError("bad-request", str(error), "report", do) from None
        return self._router.abuse.report(made).addCallback(report_view)

    def _view(self, entries: Iterable[Entry], *, kept: bool | None = None) -> AccessListView:
        return AccessListView(
            entries=[entry_view(entry) for entry in entries],
            problems=[str(problem) for problem in self._access.problems],
            kept=self._router.store.health().works if kept is None else kept,
        )


def report_view(report: KeptReport) -> AbuseReportView:
    """A report as operators see it."""
    return AbuseReportView(
        direction=report.direction, at=report.at, by=report.by, kind=report.kind, source=report.source,
        destination=report.destination, message_at=report.message_at, message_id=report.message_id,
        text=report.text, status=report.status, reason=report.reason, contact=report.contact,
    )  # fmt: skip


def entry_view(entry: Entry) -> AccessEntryView:
    """An entry as operators see it."""
    return AccessEntryView(
        id=entry.ident, match=entry.pattern.text, rank=entry.pattern.rank.value, action=entry.action.value,
        direction=entry.direction.value, scope=str(entry.scope), reason=entry.reason, author=entry.author,
        created_at=entry.created or None, expires_at=entry.expires,
        origin="run-time" if entry.at_run_time else "file", place=place_of(entry),
    )  # fmt: skip


def _concerns(pattern: Pattern, key: bytes) -> bool:
    local, _, domain = key.rpartition(b"@")
    if not any(pattern.where in places for places in places_of(domain)):
        return False
    if pattern.rank is Rank.ADDRESS:
        return not local or pattern.key == key
    return pattern.rank is not Rank.LOCAL or not local or pattern.matches_local(local)


def _action(text: str) -> Action:
    if text not in {one.value for one in Action}:
        raise AdminError("bad-request", f"{text[:40]!r} is unknown", "action", "block or allow")
    return Action(text)


def _direction(text: str) -> Direction:
    if text not in {one.value for one in Direction}:
        raise AdminError("bad-request", f"{text[:40]!r} is unknown", "direction", "in, out or both")
    return Direction(text)
