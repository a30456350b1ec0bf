"""vCards as XML: application/vcard+xml (RFC 6351), of the properties that XMPP has too.

What is not in the table of properties is left out, as are parameters other than kinds and preference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imxrouter.formats.xmltree import BadXml, Element, Limits, escape_text, parse
from imxrouter.model.errors import RouterError

VCARD4: Final = "urn:ietf:params:xml:ns:vcard-4.0"
CONTENT_TYPE: Final = "application/vcard+xml"
#: Of a card as an attribute: leaves room beside it in the smallest record that links grant.
MAX_CARD_BYTES: Final = 32_768
#: Properties of one card; people have about ten.
MAX_PROPERTIES: Final = 64
MAX_PARTS: Final = 16
_LIMITS: Final = Limits(size_bytes=262_144, depth=8, elements=2_000, attributes=8, namespaces=8)

#: RFC 6351 section 5 and RFC 6350 section 6: what a property's parts may be, by its name. What has a kind of
#: value stands in one of them; `n` and `adr` have their own parts.
PROPERTIES: Final[dict[str, tuple[str, ...]]] = {
    "fn": ("text",),
    "n": ("surname", "given", "additional", "prefix", "suffix"),
    "nickname": ("text",),
    "bday": ("date", "text"),
    "adr": ("pobox", "ext", "street", "locality", "region", "code", "country"),
    "tel": ("uri", "text"),
    "email": ("text",),
    "impp": ("uri",),
    "tz": ("text",),
    "geo": ("uri",),
    "title": ("text",),
    "role": ("text",),
    "org": ("text",),
    "categories": ("text",),
    "note": ("text",),
    "prodid": ("text",),
    "rev": ("timestamp",),
    "uid": ("uri", "text"),
    "url": ("uri",),
    "key": ("uri", "text"),
    "logo": ("uri",),
    "sound": ("uri",),
    "photo": ("uri",),
}
#: In every card exactly these parts, be they empty (RFC 6351 appendix A).
_WHOLE: Final = frozenset({"n", "adr"})
#: Of one property so many of a part.
_MANY: Final = frozenset({"org", "categories", "nickname"})
#: Kinds of `type` (RFC 6350 sections 5.6 and 6.4.1), and `pref` for the parameter of that name.
KINDS: Final = frozenset({
    "home", "work", "text", "voice", "fax", "cell", "video", "pager", "pref",
})  # fmt: skip
#: Left out first where a card is too large, in this order; then whatever is largest.
_HEAVY: Final = ("photo", "logo", "sound")


class BadCard(RouterError):
    """The bytes are no vCard; says why."""


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a card.

    Attributes:
        name: of `PROPERTIES`.
        parts: kind and text of each value or component, in order.
        kinds: of `KINDS`.
    """

    name: str
    parts: tuple[tuple[str, str], ...]
    kinds: frozenset[str] = frozenset()

    def texts(self, kind: str = "") -> tuple[str, ...]:
        """The values of a part that say something; of all parts where none is named."""
        return tuple(text for part, text in self.parts if text and (not kind or part == kind))


Card = tuple[Property, ...]


def read_xcard(raw: bytes) -> Card:
    """Read a document, the first card in it.

    Raises:
        BadCard: it is no such document. Nothing else, whatever the bytes, in linear time.
    """
    try:
        root = parse(raw, _LIMITS)
    except BadXml as error:
        raise BadCard(str(error)) from None
    cards = [one for one in (root, *root.children) if (one.namespace, one.name) == (VCARD4, "vcard")]
    if not cards or (root.namespace, root.name) not in {(VCARD4, "vcards"), (VCARD4, "vcard")}:
        raise BadCard(f"<{root.name[:40]}> of {root.namespace[:60]!r} is no vCard")
    return card_of(cards[0])


def card_of(card: Element) -> Card:
    """The properties in a `<vcard/>`, groups opened (RFC 6351 section 5.2)."""
    found: list[Property] = []
    for child in card.children:
        inside = child.children if child.name == "group" and child.namespace == VCARD4 else [child]
        for one in inside:
            made = _property(one)
            if made is not None and len(found) < MAX_PROPERTIES:
                found.append(made)
    return tuple(found)


def _property(element: Element) -> Property | None:
    allowed = PROPERTIES.get(element.name)
    if element.namespace != VCARD4 or allowed is None:
        return None
    parts = [
        (one.name, one.text.strip())
        for one in element.children
        if one.namespace == VCARD4 and one.name in allowed
    ]
    kinds = {
        "pref" if one.name == "pref" else value.text.strip().lower()
        for parameters in element.children
        if parameters.name == "parameters"
        for one in parameters.children
        if one.name in {"type", "pref"}
        for value in one.children
    }
    return made(element.name, parts, kinds)


def made(
    name: str, parts: list[tuple[str, str]], kinds: set[str] | frozenset[str] = frozenset()
) -> Property | None:
    """A property of what is known of it; None where it says nothing."""
    said = [(part, text) for part, text in parts if text][:MAX_PARTS]
    if name not in _WHOLE and name not in _MANY:
        said = said[:1]
    return Property(name, tuple(said), frozenset(kinds) & KINDS) if said else None


def write_xcard(card: Card) -> bytes:
    """Write a document for which RFC 6351 holds; what XML cannot carry becomes U+FFFD."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<vcards xmlns="{VCARD4}">{vcard(card)}</vcards>'.encode(
        "utf-8", "replace"
    )


def vcard(card: Card, namespace: str = "") -> str:
    """The `<vcard/>` alone, with its namespace where one is given; a name to show is always there."""
    named = card if any(one.name == "fn" for one in card) else (Property("fn", (("text", ""),)), *card)
    declared = f' xmlns="{namespace}"' if namespace else ""
    return f"<vcard{declared}>{''.join(map(_written, named))}</vcard>"


def fitting(card: Card, most: int = MAX_CARD_BYTES) -> Card:
    """A card that fits: pictures and sounds go first, then whatever is largest."""
    left = list(card)
    while left and len(write_xcard(tuple(left))) > most:
        heavy = [one for name in _HEAVY for one in left if one.name == name]
        left.remove(heavy[0] if heavy else max(left, key=lambda one: len(_written(one))))
    return tuple(left)


def _written(one: Property) -> str:
    parameters = "".join(f"<type><text>{kind}</text></type>" for kind in sorted(one.kinds - {"pref"})) + (
        "<pref><integer>1</integer></pref>" if "pref" in one.kinds else ""
    )
    inside = f"<parameters>{parameters}</parameters>" if parameters else ""
    if one.name in _WHOLE:
        for part in PROPERTIES[one.name]:
            texts = one.texts(part) or ("",)
            inside += "".join(f"<{part}>{escape_text(text)}</{part}>" for text in texts)
    else:
        inside += "".join(f"<{part}>{escape_text(text)}</{part}>" for part, text in one.parts)
    return f"<{one.name}>{inside}</{one.name}>"
