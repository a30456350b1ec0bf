"""Log lines: one JSON object each, or text for people. Addresses are masked, bodies never come here.

An event is logged with fields (`log.info("claim {result}", result=..., link=..., domains=[...])`). Of the
fields only those in `FIELDS` are written, so that nothing private leaks by being passed along.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, Literal

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.failure import Failure

from imxrouter.model.address import Address
from imxrouter.telemetry.privacy import AddressMask

#: The fields beside time, level, namespace and text; all that may be written.
FIELDS: Final = (
    "step", "link", "role", "peer", "domains", "domain", "kind", "id", "stage", "reason", "note", "result",
    "process", "attempt", "seconds", "count", "bytes",
)  # fmt: skip

#: Longest text of one field, in characters; a hostile value must not fill the disk.
_MAX_FIELD_CHARS = 1000

Event = Mapping[str, Any]


def render(event: Event, mask: AddressMask) -> dict[str, Any]:
    """Turn an event into what a line says, in the order it is written.

    Keys: `time` (RFC 3339, UTC), `level`, `namespace`, `text`, those of `FIELDS` that say something, then
    `failure` with type, text and the innermost lines of the traceback.
    """
    shown = {
        name: _plain(value, mask) if isinstance(value, Address) else value for name, value in event.items()
    }
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    level = event.get("log_level", LogLevel.info)
    line: dict[str, Any] = {
        "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": level.name,
        "namespace": event.get("log_namespace", ""),
        "text": mask.text(formatEvent(shown))[:_MAX_FIELD_CHARS],
    }
    line.update({name: _plain(event[name], mask) for name in FIELDS if event.get(name, "") != ""})
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        line["failure"] = _failure(failure, mask)
    return line


def json_line(event: Event, mask: AddressMask) -> str:
    """Return one line of JSON, with its line end."""
    return json.dumps(render(event, mask), ensure_ascii=False, separators=(",", ":")) + "\n"


def text_line(event: Event, mask: AddressMask) -> str:
    """Return one line for people; control characters are shown as escapes."""
    line = render(event, mask)
    fields = " ".join(f"{name}={_word(line[name])}" for name in FIELDS if name in line)
    text = f"{line['time']} {line['level']:<5} {line['namespace']}: {line['text']}"
    text += f" [{fields}]" if fields else ""
    if failure := line.get("failure"):
        text += f" {failure['type']}: {failure['text']} at {' < '.join(failure['trace'])}"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text) + "\n"


def observer(
    write: Callable[[str], object],
    mask: AddressMask,
    style: Literal["json", "text"] = "json",
    level: str = "info",
) -> ILogObserver:
    """Make an observer for `twisted.logger`.

    Args:
        write: takes one line; a file's `write`.
        mask: how addresses are shown.
        style: `json` or `text`.
        level: the least level that is written, by twisted's name.
    """
    form = json_line if style == "json" else text_line

    def observe(event: Event) -> None:
        if level != "debug" and _is_chatter(event):
            return
        write(form(event, mask))

    predicate = LogLevelFilterPredicate(LogLevel.levelWithName(level))
    filtered: ILogObserver = FilteringLogObserver(observe, [predicate])  # type: ignore[arg-type]
    return filtered


def _is_chatter(event: Event) -> bool:
    """What Twisted itself says at `info`: factories that start, ports that close, requests served."""
    namespace = str(event.get("log_namespace", ""))
    ours = not namespace.startswith("twisted.") and namespace != "log_legacy"
    return not ours and event.get("log_level", LogLevel.info) < LogLevel.warn


def _plain(value: Any, mask: AddressMask) -> Any:
    """Make a value fit for JSON, masked and short."""
    if isinstance(value, Address):
        return mask.address(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(entry, mask) for entry in list(value)[:20]]
    if isinstance(value, bytes):
        return value.hex()[:_MAX_FIELD_CHARS]
    if isinstance(value, Enum):
        return str(getattr(value, "word", value.value))
    return mask.text(str(value)[:_MAX_FIELD_CHARS])


def _failure(failure: Failure, mask: AddressMask) -> dict[str, Any]:
    """Say what went wrong and where, innermost first; never the values of variables."""
    frames = failure.frames[-5:][::-1]
    return {
        "type": failure.type.__name__ if failure.type else "",
        "text": mask.text(failure.getErrorMessage())[:_MAX_FIELD_CHARS],
        "trace": [f"{name} ({file.rpartition('/')[2]}:{line})" for name, file, line, *_ in frames],
    }


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
