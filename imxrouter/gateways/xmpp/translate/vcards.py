"""vcard-temp (XEP-0054) and vCard 4 (XEP-0292 section 11), each made of the other.

Left out are what vCard 4 has no more (CLASS, LABEL, MAILER, AGENT) and kinds that it has not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, unquote

from imxrouter.formats.xcard import KINDS, MAX_PROPERTIES, Card, Property, made
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.build import Xml, element, without_unsayable
from imxrouter.gateways.xmpp.translate.jid import BadJid, parse_jid

VCARD_TEMP: Final = "vcard-temp"

#: Properties that are one text, and the kind of their value.
_TEXTS: Final = {
    "FN": ("fn", "text"), "NICKNAME": ("nickname", "text"), "TZ": ("tz", "text"), "TITLE": ("title", "text"),
    "ROLE": ("role", "text"), "PRODID": ("prodid", "text"), "UID": ("uid", "text"), "URL": ("url", "uri"),
    "DESC": ("note", "text"), "NOTE": ("note", "text"),
}  # fmt: skip
_BACK: Final = {name: temp for temp, (name, _) in _TEXTS.items() if temp != "NOTE"}
#: Components of the structured ones.
_N: Final = {
    "FAMILY": "surname", "GIVEN": "given", "MIDDLE": "additional", "PREFIX": "prefix", "SUFFIX": "suffix",
}  # fmt: skip
_ADR: Final = {
    "POBOX": "pobox", "EXTADD": "ext", "STREET": "street", "LOCALITY": "locality", "REGION": "region",
    "PCODE": "code", "CTRY": "country",
}  # fmt: skip
_MEDIA: Final = {"PHOTO": "photo", "LOGO": "logo", "SOUND": "sound"}
_NUMBER: Final = re.compile(r"\+?[0-9().-]{1,40}\Z")
_DAY: Final = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})\Z")
_DATA: Final = re.compile(r"data:([a-z0-9.+-]+/[a-z0-9.+-]+);base64,([A-Za-z0-9+/=]*)\Z", re.IGNORECASE)
_GEO: Final = re.compile(r"geo:(-?[0-9.]{1,20}),(-?[0-9.]{1,20})")
#: ISO 8601 with separators as vcard-temp has it (XEP-0054), and without them (RFC 6350 section 4.3.5).
_TIME: Final = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})T([0-9]{2}):?([0-9]{2}):?([0-9]{2})(?:\.[0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}(?::?[0-9]{2})?|)\Z"
)
#: Of a JID in a URI what needs no percent sign: separators, and `nodeallow` of RFC 5122 section 2.2.
_SAFE: Final = "@/!$()*+,;="
#: What ends the path of a URI.
_PATH: Final = re.compile(r"[?#]")
_TYPE: Final = re.compile(r"[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+\Z")
_DEGREES: Final = re.compile(r"-?[0-9.]{1,20}\Z")


def card_of_temp(card: Element) -> Card:
    """The vCard 4 of a `<vCard/>`."""
    found = (_property(one) for one in card.children if one.namespace == VCARD_TEMP)
    return tuple(one for one in found if one is not None)[:MAX_PROPERTIES]


def _property(one: Element) -> Property | None:  # noqa: PLR0911 - a table, one return a line
    name = one.name
    inside = {child.name: child.text.strip() for child in reversed(one.children)}
    kinds = {child.name.lower() for child in one.children} & KINDS
    if name in _TEXTS:
        return made(_TEXTS[name][0], [(_TEXTS[name][1], one.text.strip())])
    if name in {"N", "ADR"}:
        table = _N if name == "N" else _ADR
        return made(name.lower(), [(table[key], inside[key]) for key in table if key in inside], kinds)
    if name in _MEDIA:
        return made(_MEDIA[name], [("uri", _media(inside))])
    if name == "BDAY":
        return _birthday(one.text.strip())
    if name == "TEL":
        return _telephone(inside.get("NUMBER", one.text.strip()), kinds)
    if name == "EMAIL":
        return made("email", [("text", inside.get("USERID", one.text.strip()))], kinds)
    if name in _MADE_OF_TEXT:
        made_name, kind, made_of = _MADE_OF_TEXT[name]
        return made(made_name, [(kind, made_of(one.text.strip()))])
    if name == "ORG":
        units = [child.text.strip() for child in one.children if child.name == "ORGUNIT"]
        return made("org", [("text", text) for text in (inside.get("ORGNAME", ""), *units)])
    if name == "CATEGORIES":
        return made("categories", [("text", child.text.strip()) for child in one.children])
    if name == "GEO":
        where = [inside.get(key, "") for key in ("LAT", "LON")]
        return made("geo", [("uri", f"geo:{where[0]},{where[1]}" if all(map(_DEGREES.match, where)) else "")])
    if name == "KEY":
        return made("key", [("text", inside.get("CRED", ""))])
    return None


def _media(inside: dict[str, str]) -> str:
    data = "".join(inside.get("BINVAL", "").split())
    kind = inside.get("TYPE", "")
    if data:
        uri = f"data:{kind if _TYPE.match(kind) else 'application/octet-stream'};base64,{data}"
        return uri if _DATA.match(uri) else ""
    return inside.get("EXTVAL", "")


def _birthday(text: str) -> Property | None:
    day = _DAY.match(text)
    return made("bday", [("date", "".join(day.groups()))] if day is not None else [("text", text)])


def _telephone(number: str, kinds: set[str]) -> Property | None:
    plain = "".join(number.split())
    return made("tel", [("uri", f"tel:{plain}") if _NUMBER.match(plain) else ("text", number)], kinds)


def _uri_of(jid: str) -> str:
    """The URI of a JID (RFC 5122 section 2.7); empty where it is none."""
    try:
        said = str(parse_jid(jid))
    except BadJid:
        return ""
    return f"xmpp:{quote(said, safe=_SAFE)}"


def _jid_of_uri(uri: str) -> str:
    """The JID of a URI; empty of another scheme: an address of SIP is none (RFC 4770, RFC 5122 section 2)."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "xmpp":
        return ""
    if rest.startswith("//"):  # whom to be logged in as
        rest = rest[2:].partition("/")[2]
    try:
        return str(parse_jid(unquote(_PATH.split(rest, maxsplit=1)[0], errors="strict")))
    except (BadJid, UnicodeDecodeError):
        return ""


def _changed(text: str, between_day: str = "", between_time: str = "") -> str:
    """When a card was changed, with these between the parts of day and time; empty where it is no time."""
    found = _TIME.match(text)
    if found is None:
        return ""
    zone = found[7] if found[7] == "Z" else found[7].replace(":", "")
    zone = f"{zone[:3]}{between_time}{zone[3:]}" if len(zone) == 5 else zone
    return f"{between_day.join(found.group(1, 2, 3))}T{between_time.join(found.group(4, 5, 6))}{zone}"


_MADE_OF_TEXT: Final[dict[str, tuple[str, str, Callable[[str], str]]]] = {
    "JABBERID": ("impp", "uri", _uri_of), "REV": ("rev", "timestamp", _changed),
}  # fmt: skip


def temp_of_card(card: Card) -> Xml:
    """The `<vCard/>` of a vCard 4; without any property an empty one, as XEP-0054 section 3.3 has it."""
    said = [part for one in card for part in _temp(one)]
    names = [one for one in card if one.name in {"fn", "nickname"} and one.texts()]
    # Some programs show one of them, and some the other (row att-fn).
    if len({one.name for one in names}) == 1:
        said.append(_text("NICKNAME" if names[0].name == "fn" else "FN", names[0].texts()[0]))
    return element("vCard", *said, namespace=VCARD_TEMP)


def _text(name: str, text: str) -> Xml:
    return element(name, without_unsayable(text))


def _temp(one: Property) -> list[Xml]:
    text = next(iter(one.texts()), "")
    if not text:
        return []
    if one.name in _BACK:
        return [_text(_BACK[one.name], text)]
    if one.name in {"n", "adr"}:
        table = _N if one.name == "n" else _ADR
        # Several of one kind, such as two middle names, have one place here.
        between = " " if one.name == "n" else ", "
        parts = [
            _text(temp, between.join(one.texts(part))) for temp, part in table.items() if one.texts(part)
        ]
        return [element(one.name.upper(), *_kinds(one), *parts)]
    made_of = _TEMP.get(one.name)
    said = made_of(one, text) if made_of is not None else Xml("")
    return [said] if said else []


def _kinds(one: Property) -> list[Xml]:
    return [element(kind.upper()) for kind in sorted(one.kinds)]


def _media_of(one: Property, text: str) -> Xml:
    data = _DATA.match(text)
    if data is None:
        return element(one.name.upper(), _text("EXTVAL", text))
    return element(one.name.upper(), _text("TYPE", data[1]), _text("BINVAL", data[2]))


def _birthday_of(_one: Property, text: str) -> Xml:
    day = _DAY.match(text)
    return _text("BDAY", "-".join(day.groups()) if day is not None else text)


def _geo_of(_one: Property, text: str) -> Xml:
    where = _GEO.match(text)
    parts = [_text("LAT", where[1]), _text("LON", where[2])] if where is not None else []
    return element("GEO", *parts)


def _org_of(one: Property, text: str) -> Xml:
    return element("ORG", _text("ORGNAME", text), *(_text("ORGUNIT", unit) for unit in one.texts()[1:]))


def _telephone_of(one: Property, text: str) -> Xml:
    return element("TEL", *_kinds(one), _text("NUMBER", text.removeprefix("tel:")))


def _email_of(one: Property, text: str) -> Xml:
    return element("EMAIL", *_kinds(one), _text("USERID", text))


def _jid_of(_one: Property, text: str) -> Xml:
    jid = _jid_of_uri(text)
    return _text("JABBERID", jid) if jid else Xml("")


def _changed_of(_one: Property, text: str) -> Xml:
    when = _changed(text, "-", ":")
    return _text("REV", when) if when else Xml("")


def _categories_of(one: Property, _first: str) -> Xml:
    return element("CATEGORIES", *(_text("KEYWORD", each) for each in one.texts()))


def _key_of(_one: Property, text: str) -> Xml:
    return element("KEY", _text("CRED", text))


_TEMP: Final[dict[str, Callable[[Property, str], Xml]]] = {
    "photo": _media_of, "logo": _media_of, "sound": _media_of, "bday": _birthday_of, "geo": _geo_of,
    "org": _org_of, "tel": _telephone_of, "email": _email_of, "impp": _jid_of,
    "categories": _categories_of, "key": _key_of, "rev": _changed_of,
}  # fmt: skip
