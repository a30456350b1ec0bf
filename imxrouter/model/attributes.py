"""The registry of global attribute keys, and what their values may be (specification sections 7.8 and 12.5).

A key that is not here is a domain's own one, `domain/key`; its meaning and its values are that domain's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.model.errors import RouterError
from imxrouter.model.operations import Attribute

#: Bytes of a name at most (specification section 7.8).
MAX_NAME_BYTES: Final = 255
#: Names in one query at most (specification section 7.8).
MAX_NAMES: Final = 64
#: Bytes of a number's digits: 20 hold every 64-bit number.
MAX_DIGITS: Final = 20

#: A global key, or `domain/key`.
_NAME: Final = re.compile(r"(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*/)?[a-z0-9][a-z0-9.-]*\Z")
_NUMBER: Final = re.compile(rb"(?:0|[1-9][0-9]*)\Z")


class BadAttribute(RouterError):
    """A name or a value that the registry does not allow; says what is wrong with it."""


class OwnerKind(Enum):
    """Whose attribute a key is."""

    USER = "user"
    DOMAIN = "domain"


class ValueKind(Enum):
    """What the bytes of a value are."""

    #: UTF-8 without control characters
    TEXT = "text"
    #: decimal ASCII digits without leading zeros
    NUMBER = "number"
    #: the bytes of a document; its own reader judges them
    DOCUMENT = "document"
    #: of a domain's own key: anything
    ANY = "any"


@dataclass(frozen=True, slots=True)
class GlobalKey:
    """One entry of the registry.

    Attributes:
        name: on the wire.
        owner: of whom it is.
        kind: of its value.
        meaning: one phrase.
        source: where the key comes from.
    """

    name: str
    owner: OwnerKind
    kind: ValueKind
    meaning: str
    source: str


_USER, _DOMAIN = OwnerKind.USER, OwnerKind.DOMAIN
_TEXT, _NUMBER_KIND = ValueKind.TEXT, ValueKind.NUMBER

GLOBAL_KEYS: Final[tuple[GlobalKey, ...]] = (
    GlobalKey("alias", _USER, _TEXT, "the name to show", "IMX draft 4.4.5"),
    GlobalKey("presence", _USER, ValueKind.DOCUMENT, "the presence document, as in NOTIFY", "section 7.7"),
    GlobalKey("vcard", _USER, ValueKind.DOCUMENT, "who he is: a vCard in XML", "RFC 6351"),
    GlobalKey("max-message-size", _DOMAIN, _NUMBER_KIND, "bytes of the largest body", "section 7.5"),
    GlobalKey("content-types", _DOMAIN, _TEXT, "content types, joined by `, `", "section 7.1"),
    GlobalKey("subscription-lifetime", _DOMAIN, _NUMBER_KIND, "seconds granted at most", "section 7.6"),
    GlobalKey("foreign-forms", _DOMAIN, _TEXT, "protocols of FOREIGN, joined by `, `", "section 7.11"),
    GlobalKey(
        "idle-timeout", _DOMAIN, _NUMBER_KIND, "seconds after which an idle link is closed", "section 10"
    ),
    GlobalKey("duplicate-window", _DOMAIN, _NUMBER_KIND, "seconds", "section 8.2"),
    GlobalKey("answer-timeout", _DOMAIN, _NUMBER_KIND, "seconds", "section 7.4"),
    GlobalKey("abuse-contact", _DOMAIN, _TEXT, "a URI to which abuse is reported", "RFC 2142 section 4"),
    GlobalKey("software", _DOMAIN, _TEXT, "name and version of the router", "section 5.1"),
)

KEYS: Final[dict[str, GlobalKey]] = {key.name: key for key in GLOBAL_KEYS}


def is_attribute_name(name: str) -> bool:
    """Whether it is a global key or `domain/key`, lower-case ASCII, at most 255 bytes."""
    return len(name) <= MAX_NAME_BYTES and _NAME.match(name) is not None


def kind_of(name: str) -> ValueKind:
    """What the values of a key are; `ANY` where the registry does not say it."""
    key = KEYS.get(name)
    return key.kind if key is not None else ValueKind.ANY


def check_name(name: str) -> None:
    """Raise `BadAttribute` unless it is a global key of the registry or a domain's own one."""
    if not is_attribute_name(name):
        raise BadAttribute(f"{name[:40]!r} is no attribute name: lower-case letters, digits, '.' and '-'")
    if "/" not in name and name not in KEYS:
        raise BadAttribute(f"{name[:40]!r} is no global key; a domain's own keys are written DOMAIN/KEY")


def check_value(name: str, value: bytes) -> None:
    """Raise `BadAttribute` unless the value is of the kind that the registry gives this key."""
    kind = kind_of(name)
    if kind is ValueKind.NUMBER:
        if len(value) > MAX_DIGITS or _NUMBER.match(value) is None:
            raise BadAttribute(f"{name} is a number: decimal digits, not {value[:40]!r}")
    elif kind is ValueKind.TEXT:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadAttribute(f"{name} is text: UTF-8, not {value[:40]!r}") from None
        if not all(char.isprintable() for char in text):
            raise BadAttribute(f"{name} is text without control characters, not {text[:40]!r}")
    elif kind is ValueKind.DOCUMENT and not value:
        raise BadAttribute(f"{name} is a document; it is empty")


def is_good(attribute: Attribute) -> bool:
    """Whether an attribute from elsewhere may be used: it has a name, and a value of that key's kind.

    A global key that is not known here may be of a later registry: its value is not judged.
    """
    if not is_attribute_name(attribute.name):
        return False
    try:
        check_value(attribute.name, attribute.value)
    except BadAttribute:
        return False
    return True


def text_attribute(name: str, text: str, max_age_s: int) -> Attribute:
    """An attribute with a text. Raises `BadAttribute`."""
    return _checked(Attribute(name, text.encode("utf-8", "surrogatepass"), max_age_s))


def number_attribute(name: str, number: int, max_age_s: int) -> Attribute:
    """An attribute with a number, from 0. Raises `BadAttribute`."""
    return _checked(Attribute(name, str(number).encode("ascii"), max_age_s))


def _checked(attribute: Attribute) -> Attribute:
    check_name(attribute.name)
    check_value(attribute.name, attribute.value)
    return attribute
