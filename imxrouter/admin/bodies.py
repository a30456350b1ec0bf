"""Reading values out of a request's JSON object; whatever is wrong is told with what to send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imxrouter.admin.errors import AdminError

Body = Mapping[str, Any]


def text(body: Body, name: str) -> str:
    """A text that must be there."""
    value = body.get(name)
    if not isinstance(value, str):
        raise AdminError("bad-request", "a text is missing", name, f'send {{"{name}": "..."}}')
    return value


def optional_text(body: Body, name: str) -> str | None:
    """A text, or None where it is not there."""
    return None if body.get(name) is None else text(body, name)


def texts(body: Body, name: str) -> list[str]:
    """A list of texts that must be there."""
    value = body.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise AdminError("bad-request", "a list of texts is missing", name, f'send {{"{name}": ["..."]}}')
    return value


def optional_texts(body: Body, name: str) -> list[str] | None:
    """A list of texts, or None where it is not there."""
    return None if body.get(name) is None else texts(body, name)


def optional_flag(body: Body, name: str) -> bool | None:
    """True or false, or None where it is not there."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise AdminError("bad-request", "neither true nor false", name, f'send {{"{name}": true}}')
    return value


def optional_integer(body: Body, name: str, least: int, most: int) -> int | None:
    """A whole number from `least` to `most`, or None where it is not there."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        do = f"give a whole number from {least} to {most}"
        raise AdminError("bad-request", f"{str(value)[:40]!r} is out of range", name, do)
    return value


def optional_seconds(body: Body, name: str, most: int = 0xFFFFFFFF) -> int | None:
    """A whole number of seconds from 0 to `most`, or None where it is not there."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        do = f"give a whole number of seconds from 0 to {most}"
        raise AdminError("bad-request", f"{str(value)[:40]!r} is no allowed number of seconds", name, do)
    return value
