"""The part of the client that is about access."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from imxrouter.admin.policy_views import AbuseReportView, AccessListView, ExplainView

#: Asks: method, parts of the path, and the body.
Ask = Callable[[str, tuple[str, ...], Mapping[str, Any] | None], Any]


class PolicyClient:
    """Block and allow lists of a router. Methods raise as those of `AdminClient`.

    Args:
        ask: asks the router.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def entries(self, about: str = "") -> AccessListView:
        """List entries."""
        return cast("AccessListView", self._ask("POST", ("policy", "list"), {"about": about}))

    def add(self, entry: Mapping[str, Any]) -> AccessListView:
        """Make an entry; keys as `policy_port.NewEntry`."""
        return cast("AccessListView", self._ask("POST", ("policy", "entries"), entry))

    def remove(self, which: str) -> AccessListView:
        """Take entries of run time away, by id or by whom they match."""
        return cast("AccessListView", self._ask("DELETE", ("policy", "entries", which), None))

    def reload(self) -> AccessListView:
        """Read the files of lists now."""
        return cast("AccessListView", self._ask("POST", ("policy", "reload"), {}))

    def explain(self, source: str, destination: str, kind: str = "message", size: int = 0) -> ExplainView:
        """Tell what would happen to a request."""
        body = {"from": source, "to": destination, "kind": kind, "size": size}
        return cast("ExplainView", self._ask("POST", ("policy", "explain"), body))

    def reports(self, about: str = "") -> list[AbuseReportView]:
        """List reports of abuse, the newest first."""
        return cast("list[AbuseReportView]", self._ask("POST", ("abuse", "list"), {"about": about}))

    def report(self, report: Mapping[str, Any]) -> AbuseReportView:
        """Report somebody to his domain; keys as `policy_port.NewReport`, `from` and `to`."""
        return cast("AbuseReportView", self._ask("POST", ("abuse", "reports"), report))
