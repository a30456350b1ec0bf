"""What elements of negotiation say: features, dial-back, SASL, acknowledgements, errors."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from imxrouter.formats import xmltree
from imxrouter.formats.xmltree import BadXml
from imxrouter.gateways.xmpp.names import (
    BIDI_FEATURE,
    DIALBACK_FEATURE,
    LIMITS_FEATURE,
    SASL,
    SM,
    STANZA_ERRORS,
    STREAM_ERRORS,
    TLS,
    Condition,
    ErrorType,
    StanzaCondition,
    StanzaError,
    condition_named,
    stanza_condition_named,
    stanza_error,
)
from imxrouter.gateways.xmpp.say import DbType, Features
from imxrouter.gateways.xmpp.stanza import Element
from imxrouter.model.domain import MAX_DOMAIN_BYTES, BadDomain, Domain
from imxrouter.model.errors import RouterError

#: Mechanisms of a peer that are kept; others name five.
MECHANISMS_AT_MOST: Final = 16
_KINDS: Final = MappingProxyType({one.value: one for one in DbType})
_ERROR_TYPES: Final = MappingProxyType({one.value: one for one in ErrorType})


class BadElement(RouterError):
    """An element of negotiation cannot be acted on.

    Attributes:
        condition: of the stream error.
        note: words for its text, for log and trace.
    """

    def __init__(self, condition: Condition, note: str) -> None:
        super().__init__(f"{condition.value}: {note}")
        self.condition, self.note = condition, note


@dataclass(frozen=True, slots=True)
class Db:
    """An element of dial-back (XEP-0220 section 2).

    Attributes:
        name: `result` or `verify`.
        from_: the domain that speaks, normalised.
        to: the domain that is spoken to, normalised.
        key: of a request, without the blanks around it; in an answer what the other side repeats.
        stream_id: of `verify`, that of the stream on which the claim was made; else empty.
        kind: of an answer; None for a request.
        error: what a `DbType.ERROR` holds.
    """

    name: str
    from_: str
    to: str
    key: str
    stream_id: str
    kind: DbType | None
    error: StanzaError | None


def domain_of(address: str) -> str | None:
    """Return the domain of an address (RFC 7622 section 3.1), normalised; None where it is none."""
    bare = address.partition("/")[0]
    _, at, domain = bare.partition("@")
    name = domain if at else bare
    return _remembered(name) if len(name) <= MAX_DOMAIN_BYTES else _normalised(name)


def _normalised(name: str) -> str | None:
    try:
        return Domain.parse(name).name
    except BadDomain:
        return None


_remembered: Final = lru_cache(maxsize=4096)(_normalised)


def bare_domain(name: str) -> str | None:
    """Return a domain that must stand alone, normalised; None for anything else."""
    return None if "@" in name or "/" in name else domain_of(name)


def tree_of(element: Element) -> xmltree.Element:
    """Read an element.

    Raises:
        BadElement: it is more than a tree may have.
    """
    try:
        return element.tree()
    except BadXml as error:
        raise BadElement(Condition.BAD_FORMAT, str(error)) from None


def db_of(element: Element) -> Db:
    """Read an element of dial-back.

    Raises:
        BadElement: it lacks a domain, or its type is not defined.
    """
    said = element.attributes
    from_, to = bare_domain(said.get("from", "")), bare_domain(said.get("to", ""))
    if from_ is None or to is None:
        raise BadElement(Condition.IMPROPER_ADDRESSING, f"dial-back {element.name} without two domains")
    kind = _KINDS.get(said["type"]) if "type" in said else None
    if kind is None and "type" in said:
        raise BadElement(Condition.BAD_FORMAT, f"dial-back {element.name} of type {said['type']!r:.40}")
    tree = tree_of(element)
    error = next((one for one in tree.children if one.name == "error"), None)
    failure = _error_of(error) if kind is DbType.ERROR else None
    return Db(element.name, from_, to, tree.text.strip(), said.get("id", ""), kind, failure)


def _error_of(error: xmltree.Element | None) -> StanzaError:
    if error is None:
        return stanza_error(StanzaCondition.UNDEFINED_CONDITION)
    condition, text = StanzaCondition.UNDEFINED_CONDITION, ""
    for one in error.children:
        if one.namespace != STANZA_ERRORS:
            continue
        if one.name == "text":
            text = one.text[:200]
        else:
            condition = stanza_condition_named(one.name)
    kind = _ERROR_TYPES.get(error.attributes.get("type", ""))
    usual = stanza_error(condition, text)
    return usual if kind is None else StanzaError(condition, kind, text)


def features_of(element: Element) -> Features:
    """Read `<stream:features/>`; what is not known is passed over.

    Raises:
        BadElement: it is more than a tree may have.
    """
    found = {(one.namespace, one.name): one for one in tree_of(element).children}
    starttls = found.get((TLS, "starttls"))
    mechanisms = found.get((SASL, "mechanisms"))
    dialback = found.get((DIALBACK_FEATURE, "dialback"))
    limits = found.get((LIMITS_FEATURE, "limits"))
    return Features(
        starttls=starttls is not None,
        required=starttls is not None and any(one.name == "required" for one in starttls.children),
        mechanisms=_mechanisms(mechanisms),
        dialback=dialback is not None,
        errors=dialback is not None and any(one.name == "errors" for one in dialback.children),
        bidi=(BIDI_FEATURE, "bidi") in found,
        sm=(SM, "sm") in found,
        max_bytes=_number_in(limits, "max-bytes"),
        idle_s=_number_in(limits, "idle-seconds"),
    )


def _mechanisms(element: xmltree.Element | None) -> tuple[str, ...]:
    if element is None:
        return ()
    names = [one.text.strip()[:40] for one in element.children if one.name == "mechanism"]
    return tuple(names[:MECHANISMS_AT_MOST])


def _number_in(element: xmltree.Element | None, name: str) -> int:
    if element is None:
        return 0
    text = next((one.text for one in element.children if one.name == name), "")
    return number(text) or 0


def number(text: str) -> int | None:
    """Return a whole number of 32 bits; None for anything else."""
    text = text.strip()
    return (
        int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 1 << 32 else None
    )


def authzid_of(text: str) -> str | None:
    """Return what `<auth/>` asks to be taken for (XEP-0178 section 3), empty where it leaves that to us.

    Returns:
        None for what is not base64 of UTF-8.
    """
    text = text.strip()
    if text in {"", "="}:
        return ""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError):
        return None


def authzid(domain: str) -> str:
    """Return the initial response that asks to be taken for a domain (XEP-0178 section 3)."""
    return base64.b64encode(domain.encode()).decode("ascii")


def sasl_failure_of(element: Element) -> str:
    """Return the condition and the words of `<failure/>` of SASL (RFC 6120 section 6.4.5)."""
    try:
        children = element.tree().children
    except BadXml:
        return "failure"
    text = next((" ".join(one.text.split())[:200] for one in children if one.name == "text"), "")
    condition = next((one.name[:40] for one in children if one.name != "text"), "failure")
    return f"{condition}: {text}" if text else condition


def stream_error_of(element: Element) -> tuple[Condition, str]:
    """Return the condition and the words of `<stream:error/>`; for one that cannot be read as well."""
    try:
        tree = element.tree()
    except BadXml:
        return Condition.UNDEFINED_CONDITION, ""
    condition, text = Condition.UNDEFINED_CONDITION, ""
    for one in tree.children:
        if one.namespace != STREAM_ERRORS:
            continue
        if one.name == "text":
            text = " ".join(one.text.split())[:200]
        else:
            condition = condition_named(one.name)
    return condition, text
