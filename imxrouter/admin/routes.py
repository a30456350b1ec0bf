"""Method and path -> what of the port is called. Pure: a table, and the reading of parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from imxrouter.admin import config_routes, policy_routes, user_routes
from imxrouter.admin.bodies import optional_texts, text
from imxrouter.admin.errors import AdminError
from imxrouter.admin.port import AdminPort, InsideAsked

#: (port, variable parts of the path, body) -> answer or a Deferred of it.
Call = Callable[[AdminPort, list[str], Mapping[str, Any]], Any]

#: For each question, connection and hello of a check, unless it says otherwise.
CHECK_TIMEOUT_S: Final = 5.0


def _optional(body: Mapping[str, Any], name: str) -> str:
    return text(body, name) if body.get(name) else ""


def _seconds(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise AdminError("bad-request", "no number of seconds", name, f'send {{"{name}": 600}}')
    return float(value)


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    value = body.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise AdminError("bad-request", "a list of texts is missing", name, f'send {{"{name}": [...]}}')
    return value


def _inside(body: Mapping[str, Any]) -> InsideAsked:
    return InsideAsked(
        text(body, "for"),
        _optional(body, "service"),
        optional_texts(body, "pass") or (),
        optional_texts(body, "upstream") or (),
        _optional(body, "listen"),
    )


#: Each path begins with /v1/; `*` is a variable part.
ROUTES: Final[dict[tuple[str, str], Call]] = {
    ("GET", "status"): lambda port, _parts, _body: port.status(),
    ("POST", "drain"): lambda port, _parts, body: port.drain(_seconds(body, "deadline_s")),
    ("POST", "undrain"): lambda port, _parts, _body: port.undrain(),
    ("GET", "limits"): lambda port, _parts, _body: port.limits(),
    ("GET", "links"): lambda port, _parts, _body: port.links(),
    ("GET", "peers"): lambda port, _parts, _body: port.peers(),
    ("GET", "peers/*"): lambda port, parts, _body: port.peer(parts[0]),
    ("POST", "peers/*/retry"): lambda port, parts, _body: port.peer_retry(parts[0]),
    ("POST", "peers/*/forget"): lambda port, parts, _body: port.peer_forget(parts[0]),
    ("POST", "peers/*/report"): lambda port, parts, body: port.peer_report(
        parts[0], _seconds(body, "since_s")
    ),
    ("GET", "domains"): lambda port, _parts, _body: port.domains(),
    ("POST", "domains"): lambda port, _parts, body: port.domain_add(body),
    ("PATCH", "domains/*"): lambda port, parts, body: port.domain_change(parts[0], body),
    ("DELETE", "domains/*"): lambda port, parts, _body: port.domain_remove(parts[0]),
    ("GET", "domains/*/doctor"): lambda port, parts, _body: port.domain_doctor(parts[0]),
    ("GET", "dns/lookup/*"): lambda port, parts, _body: port.dns_lookup(parts[0]),
    ("GET", "dns/records/*"): lambda port, parts, _body: port.dns_records(parts[0]),
    ("POST", "dns/inside"): lambda port, _parts, body: port.dns_inside(_inside(body)),
    ("POST", "messages"): lambda port, _parts, body: port.send(
        text(body, "from"), text(body, "to"), text(body, "text"), html=body.get("html") is True
    ),
    ("POST", "checks"): lambda port, _parts, body: port.check(
        text(body, "domain"), text(body, "as"), _seconds(body, "timeout_s") or CHECK_TIMEOUT_S
    ),
    ("POST", "attributes"): lambda port, _parts, body: port.attributes(
        text(body, "owner"), _texts(body, "names"), text(body, "as"), fresh=body.get("fresh") is True
    ),
    ("GET", "certs"): lambda port, _parts, _body: port.certs(),
    ("POST", "certs/reload"): lambda port, _parts, _body: port.certs_reload(),
    ("GET", "trace/*"): lambda port, parts, _body: port.trace(parts[0]),
    ("POST", "traces"): lambda port, _parts, body: port.traces(
        _optional(body, "from"), _optional(body, "to"), _seconds(body, "since_s")
    ),
    **user_routes.ROUTES,
    **policy_routes.ROUTES,
    **config_routes.ROUTES,
}

#: (port, variable parts of the path, called for each value) -> ends the stream.
Stream = Callable[[AdminPort, list[str], Callable[[Any], None]], Callable[[], None]]

#: Routes that stream.
STREAMS: Final[dict[tuple[str, str], Stream]] = {
    ("GET", "watch/*"): lambda port, parts, emit: port.watch(parts[0], emit),
    **user_routes.STREAMS,
}

#: Every (method, pattern) there is.
TABLE: Final = [*ROUTES, *STREAMS]


def find(method: str, path: str) -> tuple[str, list[str]]:
    """Find the route of a request.

    Returns:
        The route's pattern and the variable parts of the path, decoded.

    Raises:
        AdminError: no such path, or not with this method.
    """
    parts = path.split("/")
    if parts[:2] != ["", "v1"]:
        raise AdminError("not-found", "no such path", path, "paths begin with /v1/")
    methods = {pattern: {verb for verb, known in TABLE if known == pattern} for _, pattern in TABLE}
    for pattern, allowed in methods.items():
        variable = _match(pattern.split("/"), parts[2:])
        if variable is not None and method in allowed:
            if "" in variable:
                raise AdminError("bad-request", "a name is missing", pattern.partition("/*")[0])
            return pattern, variable
        if variable is not None:
            do = "use " + " or ".join(sorted(allowed))
            raise AdminError("bad-request", f"{method} is not for this path", path, do)
    raise AdminError("not-found", "no such path", path, "is imxctl of the same version as the router?")


def body_of(raw: bytes) -> Mapping[str, Any]:
    """Read a request's JSON object; an empty body is an empty object.

    Raises:
        AdminError: it is something else.
    """
    if not raw:
        return {}
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise AdminError("bad-request", "the body is no JSON", "body", "send a JSON object") from None
    if not isinstance(value, dict):
        raise AdminError("bad-request", "the body is no JSON object", "body", "send a JSON object")
    return value


def _match(pattern: list[str], parts: list[str]) -> list[str] | None:
    if len(pattern) != len(parts):
        return None
    variable = []
    for want, have in zip(pattern, parts, strict=True):
        if want == "*":
            variable.append(unquote(have))
        elif want != have:
            return None
    return variable
