"""Who is writing: application/im-iscomposing+xml (RFC 3994)."""

from __future__ import annotations

from typing import Final

from imxrouter.formats.xmltree import BadXml, Limits, parse
from imxrouter.model.errors import RouterError

CONTENT_TYPE: Final = "application/im-iscomposing+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:im-iscomposing"
#: RFC 3994 section 4 has four elements and lets others stand beside them.
LIMITS: Final = Limits(size_bytes=4_096, depth=4, elements=32)


class BadIsComposing(RouterError):
    """The document does not say whether somebody writes; says why."""


def write_iscomposing(*, active: bool) -> bytes:
    """Write whether the sender is composing (RFC 3994 section 4)."""
    state = "active" if active else "idle"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<isComposing xmlns="{NAMESPACE}">'
        f"<state>{state}</state></isComposing>\n"
    ).encode()


def read_iscomposing(raw: bytes) -> bool:
    """Whether the sender is composing; a state that is not known counts as idle (RFC 3994 section 3.2).

    Raises:
        BadIsComposing: see there. Nothing else, whatever the bytes, in time linear in their number.
    """
    try:
        root = parse(raw, LIMITS)
    except BadXml as error:
        raise BadIsComposing(str(error)) from None
    if (root.namespace, root.name) != (NAMESPACE, "isComposing"):
        raise BadIsComposing(f"the root is {root.name[:40]!r}")
    states = [one.text.strip() for one in root.children if (one.namespace, one.name) == (NAMESPACE, "state")]
    if len(states) != 1:
        raise BadIsComposing(f"{len(states)} states, not one")
    return states[0] == "active"
