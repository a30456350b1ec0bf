"""The body of an instant message: a MIME subset (IMX draft section 5; RFC 2045, RFC 6532).

Headers, an empty line, content. Lines of the header end in CRLF and may be of any length; header values are
UTF-8. From and To stand inside as they stand in the envelope, so that a content that is taken out of its
envelope, signed for instance, still says who wrote to whom. The content is never changed: no transfer
encoding but the identity is allowed, and no line is folded or cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import Message

TEXT_PLAIN: Final = "text/plain; charset=utf-8"
#: Headers in one body; ten times what mail clients produce for a message without a route.
MAX_HEADERS: Final = 256

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,127}\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_IDENTITY: Final = frozenset({"7bit", "8bit", "binary"})


class BadBody(RouterError):
    """The body is not of this format, or its From and To are not those of the envelope."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body that was read.

    Attributes:
        content_type: its Content-Type, `text/plain; charset=utf-8` where it has none.
        headers: every other header but From and To, in order, names as written.
        content: the bytes after the empty line.
    """

    content_type: str
    headers: tuple[tuple[str, str], ...]
    content: bytes


def build_body(message: Message, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The body of a message.

    Raises:
        BadBody: a header name is no token or written here already, or a value has control characters.
    """
    lines = [
        ("From", str(message.source)),
        ("To", str(message.destination)),
        ("Content-Type", message.content_type),
    ]
    for name, value in headers:
        if name.lower() in {"from", "to", "content-type"}:
            raise BadBody(f"{name} is written from the message")
        lines.append((name, value))
    if len(lines) > MAX_HEADERS:
        raise BadBody(f"{len(lines)} headers; at most {MAX_HEADERS}")
    text = "".join(_checked_line(name, value) for name, value in lines)
    try:
        return text.encode("utf-8") + b"\r\n" + message.content
    except UnicodeEncodeError:
        raise BadBody("a header holds half of a surrogate pair") from None


def read_body(raw: bytes, source: Address, destination: Address) -> Body:
    """Read a body that came under this envelope.

    Raises:
        BadBody: see there. Nothing else, whatever the bytes, in time linear in their number.
    """
    headers, content = _split(raw)
    kept: list[tuple[str, str]] = []
    single: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower not in {"from", "to", "content-type", "content-transfer-encoding"}:
            kept.append((name, value))
            continue
        if lower in single:
            raise BadBody(f"{name} stands twice")
        single[lower] = value
    _check_same("From", single.get("from"), source)
    _check_same("To", single.get("to"), destination)
    encoding = single.get("content-transfer-encoding", "binary")
    if encoding.lower() not in _IDENTITY:
        raise BadBody(f"Content-Transfer-Encoding {encoding[:40]!r}: contents travel as they are")
    return Body(single.get("content-type") or TEXT_PLAIN, tuple(kept), content)


def _split(raw: bytes) -> tuple[list[tuple[str, str]], bytes]:
    if raw.startswith(b"\r\n"):
        return [], raw[2:]
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        raise BadBody("no empty line ends the headers")
    lines = raw[:end].split(b"\r\n")
    if len(lines) > 2 * MAX_HEADERS:
        raise BadBody(f"more than {MAX_HEADERS} headers")
    fields: list[list[bytes]] = []
    for line in lines:
        if line[:1] in {b" ", b"\t"}:
            if not fields:
                raise BadBody("the first line continues nothing")
            fields[-1].append(line.strip(b" \t"))
        else:
            fields.append([line])
    if len(fields) > MAX_HEADERS:
        raise BadBody(f"{len(fields)} headers; at most {MAX_HEADERS}")
    return [_header(b" ".join(parts)) for parts in fields], raw[end + 4 :]


def _header(line: bytes) -> tuple[str, str]:
    try:
        name, colon, value = line.decode("utf-8").partition(":")
    except UnicodeDecodeError:
        raise BadBody(f"header {line[:40]!r} is not UTF-8") from None
    if not colon or not _NAME.match(name):
        raise BadBody(f"{line[:40]!r} is no header")
    if _CONTROL.search(value):
        raise BadBody(f"header {name[:40]} holds a control character")
    return name, value.strip(" \t")


def _checked_line(name: str, value: str) -> str:
    if not _NAME.match(name):
        raise BadBody(f"{name[:40]!r} is no header name")
    if _CONTROL.search(value):
        raise BadBody(f"header {name} holds a control character")
    return f"{name}: {value}\r\n"


def _check_same(name: str, text: str | None, expected: Address) -> None:
    if text is None:
        raise BadBody(f"{name} is missing inside the body")
    try:
        same = _address(text).key == expected.key
    except (BadAddress, BadDomain, UnicodeDecodeError) as error:
        raise BadBody(f"{name} inside the body: {error}") from None
    if not same:
        raise BadBody(f"{name} inside the body is not that of the envelope")


def _address(text: str) -> Address:
    """`local@domain`, or what stands in angle brackets after a display name, there also as an im: URI.

    No domain ends in `>`, so the two cannot be confused; the scheme is read in brackets only, because a local
    part may begin with `im:`.
    """
    if text.endswith(">"):
        text = text[text.rfind("<") + 1 : -1]
        if text[:3].lower() == "im:":
            text = unquote(text[3:], errors="strict") if "%" in text else text[3:]
    return Address.parse(text)
