"""Queries of XMPP and attributes of the model, each made of the other (mapping section 7).

iq stanzas that are not named here are answered by `failures.error_of`: the gateway knows nothing of them.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from hashlib import sha1
from typing import Final

from imxrouter.formats.xcard import VCARD4, BadCard, Card, card_of, fitting, read_xcard, vcard, write_xcard
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.build import Xml, element, stanza, without_unsayable
from imxrouter.gateways.xmpp.names import PING
from imxrouter.gateways.xmpp.translate.jid import to_jid
from imxrouter.gateways.xmpp.translate.vcards import VCARD_TEMP, card_of_temp, temp_of_card
from imxrouter.model.address import Address
from imxrouter.model.operations import Attribute, AttributeQuery
from imxrouter.model.vocabulary import Reason

DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS: Final = "http://jabber.org/protocol/disco#items"
PUBSUB: Final = "http://jabber.org/protocol/pubsub"
CAPS: Final = "http://jabber.org/protocol/caps"
#: The node of a vCard 4 (XEP-0292 section 5).
NODE: Final = "urn:xmpp:vcard4"
_FORM: Final = "jabber:x:data"
#: XEP-0157 section 2.
_CONTACTS: Final = "http://jabber.org/network/serverinfo"
#: Of the gateway's own features, in presences (XEP-0115 section 4).
CAPS_NODE: Final = "https://imxrouter.example/caps"
#: Seconds for which what was fetched from a service may be kept (row att-cache).
MAX_AGE_S: Final = 300
#: Characters of a name to show.
MAX_ALIAS: Final = 255
ALIAS: Final = "alias"
VCARD: Final = "vcard"
#: What is asked of a user and of a domain.
USER_NAMES: Final = (ALIAS, VCARD)
DOMAIN_NAMES: Final = ("software", "abuse-contact")


class Wanted(Enum):
    """What an iq asks for."""

    VCARD = "vcard"
    VCARD4 = "vcard4"
    DOMAIN_INFO = "domain-info"
    USER_INFO = "user-info"
    RESOURCE_INFO = "resource-info"
    ITEMS = "items"
    PING = "ping"
    #: to change something of somebody else's
    SET = "set"


@dataclass(frozen=True, slots=True)
class About:
    """What an entity is and can (XEP-0030 section 3).

    Attributes:
        category: of its identity.
        type: of its identity.
        name: for people, empty for none.
        features: namespaces.
        abuse: a URI to which abuse is reported, empty for none.
    """

    category: str
    type: str
    name: str = ""
    features: tuple[str, ...] = (DISCO_INFO,)
    abuse: str = ""


#: What the gateway answers for somebody's program: all that it can translate.
PROGRAM: Final = About(
    "client", "pc", "",
    (
        DISCO_INFO, "http://jabber.org/protocol/chatstates", "urn:xmpp:receipts", "urn:xmpp:chat-markers:0",
        "http://jabber.org/protocol/xhtml-im",
    ),
)  # fmt: skip
ACCOUNT: Final = About("account", "registered")
_DOMAIN_FEATURES: Final = (DISCO_INFO, DISCO_ITEMS, PING)


def wanted_of(iq: Element, owner: Address, resource: str) -> Wanted | None:
    """What a `get` or `set` asks for; None where it is not known here.

    Args:
        iq: with its one child.
        owner: whom it is for.
        resource: the same; empty for the bare JID.
    """
    child, kind = iq.children[0], iq.attributes.get("type")
    name = child.namespace, child.name
    if kind != "get":
        return Wanted.SET if kind == "set" and name == (VCARD_TEMP, "vCard") else None
    to_domain = not owner.local and not resource
    found: Wanted | None = None
    if name == (VCARD_TEMP, "vCard") and owner.local:
        found = Wanted.VCARD
    elif name == (PUBSUB, "pubsub") and _asks_for_card(child) and owner.local and not resource:
        found = Wanted.VCARD4
    elif name == (DISCO_INFO, "query"):
        of_user = Wanted.RESOURCE_INFO if resource else Wanted.USER_INFO
        found = Wanted.DOMAIN_INFO if to_domain else of_user
    elif name == (DISCO_ITEMS, "query"):
        found = Wanted.ITEMS
    elif name == (PING, "ping") and to_domain:
        found = Wanted.PING
    return found


def _asks_for_card(pubsub: Element) -> bool:
    items = [one for one in pubsub.children if one.name == "items" and one.namespace == PUBSUB]
    return len(items) == 1 and items[0].attributes.get("node") == NODE


def query_of(wanted: Wanted, requester: Address, owner: Address, new_id: bytes) -> AttributeQuery | None:
    """The query that brings the answer; None where the gateway answers by itself."""
    if wanted in {Wanted.VCARD, Wanted.VCARD4}:
        return AttributeQuery(requester, owner, new_id, USER_NAMES)
    if wanted is Wanted.DOMAIN_INFO:
        return AttributeQuery(requester, owner, new_id, DOMAIN_NAMES)
    return None


def answer_of(
    iq: Element, wanted: Wanted, values: Iterable[Attribute] = (), *, visible: bool = False
) -> bytes | Reason:
    """The result of a query, or why there is none (rows att-disco-user, att-set).

    Args:
        iq: what was asked.
        wanted: the same.
        values: what the query of the model brought.
        visible: there is a consent between both, and the resource asked for is shown to the asker.
    """
    said = {one.name: one.value.decode("utf-8", "replace") for one in values}
    node = iq.children[0].attributes.get("node", "")
    attributes = {"node": node} if node else None
    if wanted is Wanted.SET:
        return Reason.RELAY_DENIED
    if wanted in {Wanted.USER_INFO, Wanted.RESOURCE_INFO}:
        if not visible:
            return Reason.NOT_DELIVERED
        inside = disco_info(ACCOUNT if wanted is Wanted.USER_INFO else PROGRAM, node)
    elif wanted is Wanted.DOMAIN_INFO:
        name, abuse = said.get("software", ""), said.get("abuse-contact", "")
        inside = disco_info(About("gateway", "imx", name, _DOMAIN_FEATURES, abuse), node)
    elif wanted is Wanted.ITEMS:
        inside = element("query", namespace=DISCO_ITEMS, attributes=attributes)
    elif wanted is Wanted.VCARD:
        inside = temp_of_card(_card(values))
    elif wanted is Wanted.VCARD4:
        item = element("item", Xml(vcard(_card(values), VCARD4)), attributes={"id": "current"})
        items = element("items", item, attributes={"node": NODE})
        inside = element("pubsub", items, namespace=PUBSUB)
    else:
        inside = Xml("")
    return _result(iq, inside)


def _result(iq: Element, inside: Xml) -> bytes:
    to, from_ = iq.attributes.get("from", ""), iq.attributes.get("to", "")
    ident = iq.attributes.get("id", "")
    return stanza("iq", *(inside,) * bool(inside), to=to, from_=from_, ident=ident, type_="result")


def _card(values: Iterable[Attribute]) -> Card:
    """The card among attributes; without one, what the name to show makes of it."""
    said = {one.name: one.value for one in values}
    card: Card = ()
    if VCARD in said:
        try:
            card = read_xcard(said[VCARD])
        except BadCard:
            card = ()
    alias = said.get(ALIAS, b"").decode("utf-8", "replace")
    if alias and not any(one.name == "fn" for one in card):
        document = (
            f'<vcard xmlns="{VCARD4}">{element("fn", element("text", without_unsayable(alias)))}</vcard>'
        )
        card = (*read_xcard(document.encode()), *card)
    return card


# -- attributes of users of XMPP ---------------------------------------------------------------------------


def iq_of(query: AttributeQuery, ident: str) -> bytes | None:
    """The iq that asks a user's service, or a domain; None where nothing of what is wanted can be had of it.

    Raises:
        BadJid: an address is none in XMPP.
    """
    to_user = bool(query.owner.local)
    if query.names and not set(query.names) & set(USER_NAMES if to_user else DOMAIN_NAMES):
        return None
    asked = element("vCard", namespace=VCARD_TEMP) if to_user else element("query", namespace=DISCO_INFO)
    return stanza(
        "iq", asked, to=str(to_jid(query.owner)), from_=str(to_jid(query.requester)), ident=ident, type_="get"
    )


def attributes_of(
    result: Element, names: tuple[str, ...], *, of_domain: bool = False
) -> tuple[Attribute, ...]:
    """What the answer to that says; a value that is not wanted, or empty, is left out.

    Args:
        result: an iq of type `result`, of vcard-temp, of a vCard 4 or of disco#info.
        names: what was asked for; none: all.
        of_domain: a domain was asked, no user.
    """
    if of_domain:
        said = _of_domain(result)
        return tuple(
            Attribute(name, said[name].encode(), MAX_AGE_S)
            for name in names or DOMAIN_NAMES
            if said.get(name)
        )
    card = next((made for one in result.children for made in _cards(one)), ())
    found: list[Attribute] = []
    texts = [
        one.texts()[0] for name in ("nickname", "fn") for one in card if one.name == name and one.texts()
    ]
    wanted = names or USER_NAMES
    alias = _line(texts[0]) if texts else ""
    if ALIAS in wanted and alias:
        found.append(Attribute(ALIAS, alias.encode(), MAX_AGE_S))
    if VCARD in wanted and card:
        found.append(Attribute(VCARD, write_xcard(fitting(card)), MAX_AGE_S))
    return tuple(found)


def _line(text: str) -> str:
    """A name to show: one line, not longer than is shown."""
    return "".join(one if one.isprintable() else " " for one in text[:MAX_ALIAS]).strip()


def _of_domain(result: Element) -> dict[str, str]:
    """What a server says of itself: the name of its software, and where abuse is reported (XEP-0157)."""
    found: dict[str, str] = {}
    for one in result.walk():
        name, said = (one.namespace, one.name), one.attributes
        if name == (DISCO_INFO, "identity"):
            if said.get("category") == "server" or "software" not in found:
                found["software"] = _line(said.get("name", ""))
        elif name == (_FORM, "field") and said.get("var") == "abuse-addresses":
            found["abuse-contact"] = next((_line(v.text) for v in one.children if v.name == "value"), "")
    return found


def _cards(child: Element) -> list[Card]:
    if (child.namespace, child.name) == (VCARD_TEMP, "vCard"):
        return [card_of_temp(child)]
    return [card_of(one) for one in child.walk() if (one.namespace, one.name) == (VCARD4, "vcard")]


# -- what somebody is and can ------------------------------------------------------------------------------


def disco_info(about: About, node: str = "") -> Xml:
    """An answer of XEP-0030 section 3."""
    identity = {"category": about.category, "type": about.type}
    if about.name:
        identity["name"] = without_unsayable(about.name)
    parts = [element("identity", attributes=identity)]
    parts += [element("feature", attributes={"var": one}) for one in about.features]
    if about.abuse:
        kind = element("field", _value(_CONTACTS), attributes={"var": "FORM_TYPE", "type": "hidden"})
        abuse = element("field", _value(about.abuse), attributes={"var": "abuse-addresses"})
        parts.append(element("x", kind, abuse, namespace=_FORM, attributes={"type": "result"}))
    return element("query", *parts, namespace=DISCO_INFO, attributes={"node": node} if node else None)


def _value(text: str) -> Xml:
    return element("value", without_unsayable(text))


def caps_hash(about: About) -> str:
    """The verification string of an answer without forms (XEP-0115 section 5.1)."""
    said = f"{about.category}/{about.type}//{about.name}<"
    said += "".join(f"{one}<" for one in sorted(about.features))
    return b64encode(sha1(said.encode(), usedforsecurity=False).digest()).decode()


def caps(about: About = PROGRAM) -> Xml:
    """What stands in a presence of somebody whose program said nothing of this (row att-caps)."""
    said = {"hash": "sha-1", "node": CAPS_NODE, "ver": caps_hash(about)}
    return element("c", namespace=CAPS, attributes=said)
