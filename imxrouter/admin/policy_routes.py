"""Method and path -> what of the port for access is called; a table, as `routes`, which takes it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from imxrouter.admin import bodies
from imxrouter.admin.policy_port import NewEntry, NewReport, PolicyPort


class AccessPort(Protocol):
    """Who has the port."""

    @property
    def policy(self) -> PolicyPort:
        """Access."""


#: (port, variable parts of the path, body) -> answer or a Deferred of it.
Call = Callable[[AccessPort, list[str], Mapping[str, Any]], Any]


def _add(port: AccessPort, _parts: list[str], body: bodies.Body) -> Any:
    expires_at = body.get("expires_at")
    return port.policy.add(
        NewEntry(
            bodies.text(body, "match"),
            bodies.text(body, "action"),
            bodies.optional_text(body, "direction") or "both",
            bodies.optional_text(body, "scope") or "",
            bodies.optional_text(body, "reason") or "",
            bodies.optional_text(body, "author") or "",
            bodies.optional_seconds(body, "expires_at") if expires_at is not None else None,
        )
    )


def _explain(port: AccessPort, _parts: list[str], body: bodies.Body) -> Any:
    return port.policy.explain(
        bodies.text(body, "from"),
        bodies.text(body, "to"),
        bodies.optional_text(body, "kind") or "message",
        bodies.optional_seconds(body, "size") or 0,
    )


def _report(port: AccessPort, _parts: list[str], body: bodies.Body) -> Any:
    return port.policy.report(
        NewReport(
            bodies.text(body, "from"),
            bodies.text(body, "to"),
            bodies.optional_text(body, "kind") or "other",
            bodies.optional_text(body, "message_id") or "",
            bodies.optional_seconds(body, "message_at"),
            bodies.optional_text(body, "text") or "",
        )
    )


#: Each path begins with /v1/; `*` is a variable part.
ROUTES: Final[dict[tuple[str, str], Call]] = {
    ("POST", "policy/list"): lambda port, _parts, body: port.policy.entries(
        bodies.optional_text(body, "about") or ""
    ),
    ("POST", "policy/entries"): _add,
    ("DELETE", "policy/entries/*"): lambda port, parts, _body: port.policy.remove(parts[0]),
    ("POST", "policy/reload"): lambda port, _parts, _body: port.policy.reload(),
    ("POST", "policy/explain"): _explain,
    ("POST", "abuse/list"): lambda port, _parts, body: port.policy.reports(
        bodies.optional_text(body, "about") or ""
    ),
    ("POST", "abuse/reports"): _report,
}
