"""What we write on a stream; the one place where values are escaped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.formats.xmltree import escape_attribute, escape_text
from imxrouter.gateways.xmpp.names import (
    BIDI,
    BIDI_FEATURE,
    DIALBACK,
    DIALBACK_FEATURE,
    LIMITS_FEATURE,
    PING,
    SASL,
    SERVER,
    SM,
    STANZA_ERRORS,
    STREAM,
    STREAM_ERRORS,
    TLS,
    UNDETERMINED,
    Condition,
    StanzaError,
)

END: Final = b"</stream:stream>"
STARTTLS: Final = f"<starttls xmlns='{TLS}'/>".encode()
PROCEED: Final = f"<proceed xmlns='{TLS}'/>".encode()
TLS_FAILURE: Final = f"<failure xmlns='{TLS}'/>".encode()
SASL_SUCCESS: Final = f"<success xmlns='{SASL}'/>".encode()
USE_BIDI: Final = f"<bidi xmlns='{BIDI}'/>".encode()
SM_ENABLE: Final = f"<enable xmlns='{SM}'/>".encode()
SM_ENABLED: Final = f"<enabled xmlns='{SM}'/>".encode()
SM_REQUEST: Final = f"<r xmlns='{SM}'/>".encode()
#: Keeps a connection alive at a border between stanzas (RFC 6120 section 4.6.1).
SPACE: Final = b" "


class DbType(Enum):
    """The `type` of an element of dial-back (XEP-0220 section 2)."""

    VALID = "valid"
    INVALID = "invalid"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Features:
    """What `<stream:features/>` holds.

    Attributes:
        starttls: STARTTLS is offered (RFC 6120 section 5).
        required: nothing else is possible before it.
        mechanisms: of SASL.
        dialback: XEP-0220 section 2.4.
        errors: errors of dial-back are understood.
        bidi: XEP-0288.
        sm: XEP-0198.
        max_bytes: largest stanza that is taken; 0 if that is not said (XEP-0478).
        idle_s: seconds without traffic after which the stream is ended; 0 if that is not said.
    """

    starttls: bool = False
    required: bool = False
    mechanisms: tuple[str, ...] = ()
    dialback: bool = False
    errors: bool = False
    bidi: bool = False
    sm: bool = False
    max_bytes: int = 0
    idle_s: int = 0


def header(
    content: str,
    *,
    from_: str = "",
    to: str = "",
    stream_id: str = "",
    version: bool = True,
    answers: bool = False,
) -> bytes:
    """Open a stream (RFC 6120 section 4.2).

    Who was connected to MUST say `xml:lang` (section 4.7.4). All stanzas without one count as being in that
    language (section 8.1.5), and what passes is written by others: it says that none is known. Our own texts
    say theirs. Who connects SHOULD, and does not.

    Args:
        content: `names.SERVER` or `names.COMPONENT`; the former declares the prefix of dial-back.
        from_: left out if empty, as are the next two.
        to: see above.
        stream_id: the attribute `id`, only of the side that was connected to.
        version: whether to say that we know version 1.0; streams of components do not.
        answers: it is the header of who was connected to, which has `xml:lang`, and a `from` even if that is
            empty, for an error before it is known who is meant (RFC 6120 section 4.9.1.3).
    """
    names = {"xmlns": content}
    if content == SERVER:
        names["xmlns:db"] = DIALBACK
    names["xmlns:stream"] = STREAM
    said = {"from": from_, "to": to, "id": stream_id, "version": "1.0" if version else ""}
    names.update((name, value) for name, value in said.items() if value or (answers and name == "from"))
    if answers:
        names["xml:lang"] = UNDETERMINED
    return b"<?xml version='1.0'?><stream:stream%s>" % _attributes(names)


def features(offered: Features) -> bytes:
    """Say what can be negotiated next (RFC 6120 section 4.3.2)."""
    out = ""
    if offered.starttls:
        inside = "<required/>" if offered.required else ""
        out += f"<starttls xmlns='{TLS}'>{inside}</starttls>" if inside else f"<starttls xmlns='{TLS}'/>"
    if offered.mechanisms:
        names = "".join(f"<mechanism>{escape_text(name)}</mechanism>" for name in offered.mechanisms)
        out += f"<mechanisms xmlns='{SASL}'>{names}</mechanisms>"
    if offered.bidi:
        out += f"<bidi xmlns='{BIDI_FEATURE}'/>"
    if offered.dialback:
        inside = "<errors/>" if offered.errors else ""
        out += f"<dialback xmlns='{DIALBACK_FEATURE}'>{inside}</dialback>"
    if offered.sm:
        out += f"<sm xmlns='{SM}'/>"
    if offered.max_bytes or offered.idle_s:
        inside = f"<max-bytes>{offered.max_bytes}</max-bytes>" if offered.max_bytes else ""
        inside += f"<idle-seconds>{offered.idle_s}</idle-seconds>" if offered.idle_s else ""
        out += f"<limits xmlns='{LIMITS_FEATURE}'>{inside}</limits>"
    return f"<stream:features>{out}</stream:features>".encode()


def stream_error(condition: Condition, text: str = "", extra: bytes = b"") -> bytes:
    """Say why the stream ends (RFC 6120 section 4.9.2); the end of the stream is not among the bytes.

    Args:
        condition: the defined condition.
        text: words for a human.
        extra: an application's condition, as bytes of XML with its namespace declared.
    """
    words = f"<text xmlns='{STREAM_ERRORS}' xml:lang='en'>{escape_text(text)}</text>" if text else ""
    start = f"<stream:error><{condition.value} xmlns='{STREAM_ERRORS}'/>{words}"
    return b"%s%s</stream:error>" % (start.encode(), extra)


def stanza_error(error: StanzaError) -> bytes:
    """Write `<error/>` of a stanza or of an element of dial-back (RFC 6120 section 8.3.2).

    It has no `xmlns`: it inherits the content namespace.
    """
    words = (
        f"<text xmlns='{STANZA_ERRORS}' xml:lang='en'>{escape_text(error.text)}</text>" if error.text else ""
    )
    condition = f"<{error.condition.value} xmlns='{STANZA_ERRORS}'/>"
    return f"<error type='{error.type.value}'>{condition}{words}</error>".encode()


def db(
    name: str,
    from_: str,
    to: str,
    *,
    key: str = "",
    stream_id: str = "",
    kind: DbType | None = None,
    error: StanzaError | None = None,
) -> bytes:
    """Write an element of dial-back (XEP-0220 section 2).

    Args:
        name: `result` or `verify`.
        from_: the domain that speaks.
        to: the domain that is spoken to.
        key: the claim's key, in a request.
        stream_id: of the stream that the claim came on, in `verify`.
        kind: in an answer.
        error: with `DbType.ERROR`.
    """
    said = {"from": from_, "to": to, "id": stream_id, "type": kind.value if kind else ""}
    start = b"<db:%s%s" % (name.encode(), _attributes({one: value for one, value in said.items() if value}))
    inside = stanza_error(error) if error else escape_text(key).encode()
    return b"%s>%s</db:%s>" % (start, inside, name.encode()) if inside else start + b"/>"


def sasl_auth(mechanism: str, text: str) -> bytes:
    """Begin SASL (RFC 6120 section 6.4.2); an empty text is written `=`.

    Args:
        mechanism: its name.
        text: base64 of the initial response.
    """
    return f"<auth xmlns='{SASL}' mechanism='{_value(mechanism)}'>{escape_text(text or '=')}</auth>".encode()


def sasl_failure(condition: str) -> bytes:
    """Refuse SASL with one of the conditions of RFC 6120 section 6.5."""
    return f"<failure xmlns='{SASL}'><{condition}/></failure>".encode()


def handshake(digest: str = "") -> bytes:
    """Prove a component, or answer its proof with an empty one (XEP-0114 section 3)."""
    return f"<handshake>{escape_text(digest)}</handshake>".encode() if digest else b"<handshake/>"


def sm_ack(handled: int) -> bytes:
    """Say how many stanzas were handled (XEP-0198 section 4)."""
    return f"<a xmlns='{SM}' h='{handled}'/>".encode()


def sm_failed(condition: str) -> bytes:
    """Refuse to count stanzas (XEP-0198 section 3), with the name of a stanza error's condition."""
    return f"<failed xmlns='{SM}'><{condition} xmlns='{STANZA_ERRORS}'/></failed>".encode()


def handled_too_high(handled: int, sent: int) -> bytes:
    """The application's condition for `undefined-condition`, where more is acknowledged than was sent.

    Args:
        handled: what the other side said (XEP-0198 section 6).
        sent: what it was sent.
    """
    return f"<handled-count-too-high xmlns='{SM}' h='{handled}' send-count='{sent}'/>".encode()


def ping(from_: str, to: str, ident: str) -> bytes:
    """Ask the other side for a sign of life (XEP-0199); it inherits the content namespace."""
    said = _attributes({"type": "get", "from": from_, "to": to, "id": ident})
    return b"<iq%s><ping xmlns='%s'/></iq>" % (said, PING.encode())


def _attributes(pairs: Mapping[str, str]) -> bytes:
    return "".join(f" {name}='{_value(value)}'" for name, value in pairs.items()).encode()


def _value(text: str) -> str:
    """The inside of single quotes."""
    return escape_attribute(text).replace("'", "&apos;")
