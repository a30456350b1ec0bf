"""Contents that a terminal can show: plain text, and text/html-lite by its text fall-back (IMX-28)."""

from __future__ import annotations

from typing import Final

from imxrouter.formats import html_lite
from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.model.operations import Message

_HTML_LITE: Final = html_lite.CONTENT_TYPE.partition(";")[0]


def written(text: str, *, html: bool = False) -> tuple[str, bytes]:
    """Content type and content of what a user wrote.

    Args:
        text: plain text or text/html-lite; of that only what the type allows is kept.
        html: which of the two.

    Raises:
        BadHtml: it is larger than text/html-lite may be.
    """
    kind, text = (html_lite.CONTENT_TYPE, html_lite.sanitise(text)) if html else (TEXT_PLAIN, text)
    return kind, text.encode("utf-8", "replace")


def shown(message: Message) -> str:
    """A message's content as plain text; bytes that are no text stand as replacement characters."""
    text = message.content.decode("utf-8", "replace")
    if message.content_type.partition(";")[0].strip().lower() != _HTML_LITE:
        return text
    try:
        return html_lite.to_text(text)
    except html_lite.BadHtml as error:
        return f"[{message.content_type.partition(';')[0]} that is not shown: {error}]"
