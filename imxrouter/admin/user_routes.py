"""Method and path -> what of the ports for users is called; a table, as `routes`, which takes it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from imxrouter.admin import bodies
from imxrouter.admin.errors import AdminError
from imxrouter.admin.user_port import PresencePort, Publishing, SettingsPort
from imxrouter.admin.user_views import NoteView
from imxrouter.model.presence import PRIORITIES


class UsersPort(Protocol):
    """Who has both ports."""

    @property
    def presence(self) -> PresencePort:
        """Presence and subscriptions."""

    @property
    def settings(self) -> SettingsPort:
        """What users set."""


#: (port, variable parts of the path, body) -> answer or a Deferred of it.
Call = Callable[[UsersPort, list[str], Mapping[str, Any]], Any]


#: Longer times are refused here, others by whoever knows how long is allowed.
_JUDGED_THERE = 2**53


def _publishing(body: bodies.Body) -> Publishing:
    seconds = bodies.optional_seconds(body, "for_s", _JUDGED_THERE)
    return Publishing(
        instance=bodies.text(body, "instance"),
        status=bodies.text(body, "status"),
        notes=_notes(body),
        contact=bodies.optional_text(body, "contact") or "",
        for_s=None if seconds is None else float(seconds),
        by=bodies.optional_text(body, "by") or "",
        audience=bodies.optional_texts(body, "audience") or (),
        priority=bodies.optional_integer(body, "priority", *PRIORITIES),
    )


def _notes(body: bodies.Body) -> list[NoteView]:
    given = body.get("notes") or []
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        do = 'send {"notes": [{"text": "...", "language": "en"}]}'
        raise AdminError("bad-request", "no list of notes", "notes", do)
    return [
        NoteView(text=bodies.text(one, "text"), language=bodies.optional_text(one, "language") or "")
        for one in given
    ]


def _set_rule(port: UsersPort, parts: list[str], body: bodies.Body) -> Any:
    return port.settings.set_rule(
        parts[0], bodies.text(body, "who"), bodies.texts(body, "rights"), bodies.text(body, "decision"),
        bodies.optional_text(body, "detail") or "full",
    )  # fmt: skip


def _set_contact(port: UsersPort, parts: list[str], body: bodies.Body) -> Any:
    return port.settings.set_contact(
        parts[0], parts[1], bodies.optional_text(body, "name"), bodies.optional_texts(body, "groups"),
        bodies.optional_flag(body, "watch"),
    )  # fmt: skip


def _set_attribute(port: UsersPort, parts: list[str], body: bodies.Body) -> Any:
    return port.settings.set_attribute(
        parts[0], parts[1], bodies.text(body, "value"), bodies.optional_texts(body, "visible"),
        bodies.optional_flag(body, "along"), bodies.optional_seconds(body, "max_age_s"),
    )  # fmt: skip


#: Each path begins with /v1/; `*` is a variable part, the first one a user.
ROUTES: Final[dict[tuple[str, str], Call]] = {
    ("GET", "users/*"): lambda port, parts, _body: port.settings.user(parts[0]),
    ("POST", "users/*/attributes/*"): _set_attribute,
    ("DELETE", "users/*/attributes/*"): lambda port, parts, _body: port.settings.remove_attribute(*parts),
    ("GET", "users/*/presence"): lambda port, parts, _body: port.presence.presence(parts[0]),
    ("POST", "users/*/presence"): lambda port, parts, body: port.presence.publish(
        parts[0], _publishing(body)
    ),
    ("DELETE", "users/*/presence/*"): lambda port, parts, body: port.presence.retract(
        parts[0], parts[1], bodies.optional_text(body, "by") or ""
    ),
    ("GET", "users/*/seen-by/*"): lambda port, parts, _body: port.presence.seen(*parts),
    ("GET", "users/*/subscriptions"): lambda port, parts, _body: port.presence.subscriptions(parts[0]),
    ("POST", "users/*/subscriptions/*"): lambda port, parts, body: port.presence.subscribe(
        parts[0], parts[1], bodies.optional_seconds(body, "for_s")
    ),
    ("DELETE", "users/*/subscriptions/*"): lambda port, parts, _body: port.presence.unsubscribe(*parts),
    ("POST", "users/*/fetch/*"): lambda port, parts, _body: port.presence.fetch(*parts),
    ("GET", "users/*/watchers"): lambda port, parts, _body: port.presence.watchers(parts[0]),
    ("POST", "users/*/watchers/*"): lambda port, parts, body: port.settings.decide(
        parts[0], parts[1], bodies.text(body, "decision"), bodies.optional_text(body, "scope") or "presence"
    ),
    ("GET", "users/*/rules"): lambda port, parts, _body: port.settings.rules(parts[0]),
    ("POST", "users/*/rules"): _set_rule,
    ("DELETE", "users/*/rules/*"): lambda port, parts, body: port.settings.remove_rule(
        parts[0], parts[1], bodies.texts(body, "rights")
    ),
    ("POST", "users/*/delegates/*"): lambda port, parts, body: port.settings.delegate(
        parts[0], parts[1], bodies.text(body, "role"), allowed=True
    ),
    ("DELETE", "users/*/delegates/*"): lambda port, parts, body: port.settings.delegate(
        parts[0], parts[1], bodies.text(body, "role"), allowed=False
    ),
    ("GET", "users/*/contacts"): lambda port, parts, _body: port.settings.contacts(parts[0]),
    ("POST", "users/*/contacts/*"): _set_contact,
    ("DELETE", "users/*/contacts/*"): lambda port, parts, _body: port.settings.remove_contact(*parts),
}

#: (port, variable parts of the path, called for each value) -> ends the stream.
Stream = Callable[[UsersPort, list[str], Callable[[Any], None]], Callable[[], None]]

#: Routes that stream, as one JSON object a line.
STREAMS: Final[dict[tuple[str, str], Stream]] = {
    ("GET", "users/*/follow"): lambda port, parts, emit: port.presence.follow(parts[0], "", emit),
    ("GET", "users/*/follow/*"): lambda port, parts, emit: port.presence.follow(parts[0], parts[1], emit),
}
