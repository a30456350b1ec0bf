"""The gateway of one service (XEP-0100): which domains it reaches, and what it answers for itself.

A server of ours has a component of one name; addresses at that name stand for addresses elsewhere
(`translate.gateway`). They are made and read here, at the edge of the component's streams, so that everything
behind it, limits, blocks, consents, traces, has the addresses that are meant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from imxrouter.formats.xmltree import BadXml, Element
from imxrouter.gateways.xmpp.build import Xml, element, stanza
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.names import PING
from imxrouter.gateways.xmpp.stanza import Stanza, readdressed
from imxrouter.gateways.xmpp.streams.records import head_of
from imxrouter.gateways.xmpp.streams.told import Told
from imxrouter.gateways.xmpp.translate.gateway import Misspelled, address_behind, address_typed, gateway_jid
from imxrouter.gateways.xmpp.translate.jid import BadJid, address_of, parse_jid, to_jid
from imxrouter.gateways.xmpp.translate.queries import DISCO_INFO, DISCO_ITEMS, About, disco_info
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.outcome import failure
from imxrouter.model.patterns import places_of
from imxrouter.model.vocabulary import Reason

#: XEP-0100 section 5.3.
GATEWAY: Final = "jabber:iq:gateway"
#: Gateway and protocol are those that every domain behind this router is shown with (row att-disco-domain).
ABOUT: Final = About("gateway", "imx", "", (DISCO_INFO, DISCO_ITEMS, PING, GATEWAY, "jid\\20escaping"))
_DESC: Final = "Enter the address of the person that you want to reach, such as bob@far.example."
_PROMPT: Final = "Address"


class NotThrough(RouterError):
    """A stanza for a gateway address goes nowhere.

    Attributes:
        reason: in the one vocabulary.
        words: what its sender is told of it beside that; may have the address.
        note: for logs and traces, with domains alone.
    """

    def __init__(self, reason: Reason, words: str, note: str = "") -> None:
        super().__init__(note or words)
        self.reason, self.words, self.note = reason, words, note or words


@dataclass(frozen=True, slots=True)
class Reach:
    """Which domains a gateway stands for.

    Attributes:
        is_gateway: whether a domain is the name of one of this router's gateways.
        listed: domains that the service's server knows by their own names (A-labels).
        is_own: whether a domain is one of the service itself.
        wanted: what patterns of domains name (`Pattern.where`); nothing: all others.
    """

    is_gateway: Callable[[str], bool]
    listed: Collection[str]
    is_own: Callable[[str], bool]
    wanted: Collection[bytes] = ()

    def against(self, domain: str) -> tuple[Reason, str] | None:
        """What speaks against a domain (A-labels); with words for a user who wrote there."""
        if self.is_gateway(domain):
            return Reason.LOOP, "a gateway is not reached through a gateway"
        if self.is_own(domain):
            return Reason.LOOP, f"{domain} is a domain of your own server: write there without the gateway"
        if domain in self.listed:
            return Reason.BAD_ADDRESS, f"write to {domain} without the gateway"
        if self.wanted and not any(
            place in self.wanted for places in places_of(domain.encode()) for place in places
        ):
            return Reason.RELAY_DENIED, f"{domain} is not reached through this gateway"
        return None


class ServiceGateway:
    """See the module.

    Args:
        name: of the component (A-labels).
        reach: the domains that it stands for.
    """

    def __init__(self, name: str, reach: Reach) -> None:
        self.name, self.reach = name, reach
        self._domain = Domain(name)

    # -- addresses -----------------------------------------------------------------------------------------

    def arrived(self, got: StanzaIn) -> StanzaIn:
        """A stanza for a gateway address as one for the address that is meant.

        Raises:
            NotThrough: it stands for none, or for one that may not be reached so.
        """
        given = got.stanza
        try:
            jid = parse_jid(given.to)
            address = address_behind(jid)
            to = str(to_jid(address, jid.resource))
        except Misspelled as error:
            raise NotThrough(error.reason, f"write {error.right}", str(error)) from None
        except BadJid as error:
            raise NotThrough(error.reason, str(error)) from None
        self._permit(address)
        meant = Stanza(
            given.namespace, given.name, readdressed(given.raw, "to", to), {**given.attributes, "to": to},
            given.content, given.outer, given.language, given.touchy,
        )  # fmt: skip
        return replace(got, stanza=meant, to=address.domain.name)

    def _permit(self, address: Address) -> None:
        against = self.reach.against(address.domain.name)
        if against is not None:
            raise NotThrough(*against)

    def leaving(self, raw: bytes) -> bytes:
        """A stanza from elsewhere as one from its sender's gateway address.

        Raises:
            BadJid: he has none.
            BadXml: it begins with no tag.
        """
        address, resource = address_of(head_of(raw).attributes.get("from", ""))
        return readdressed(raw, "from", str(gateway_jid(address, self._domain, resource)))

    # -- the gateway itself --------------------------------------------------------------------------------

    def answers(self, given: Stanza, told: Told | None) -> list[bytes]:
        """What it says to a stanza for its own name, rooted in `jabber:server`; nothing to what only tells.

        It keeps nothing of anybody: who wants to see it in his list sees it while it is attached.
        """
        if given.kind == "presence":
            return [
                stanza("presence", to=given.from_.partition("/")[0], from_=self._domain.display, type_=type_)
                for type_ in _PRESENCE.get(given.type, ())
            ]
        if told is None:
            return []
        said = self._answer(given, told) if given.kind == "iq" else None
        said = said or told.error(failure(Reason.TYPE_NOT_ENABLED))
        return [said] if said is not None else []

    def _answer(self, given: Stanza, told: Told) -> bytes | None:
        """The answer to an iq that asks; None where nothing here knows it."""
        try:
            children = given.tree().children
        except BadXml:
            return None
        if len(children) != 1 or "/" in given.to or children[0].attributes.get("node"):
            return None
        child = children[0]
        asked = given.type, child.namespace, child.name
        if asked == ("set", GATEWAY, "query"):
            return self._translated(child, told)
        inside = _KNOWN.get(asked)
        return told.answer(*(inside,) * bool(inside), type_="result") if inside is not None else None

    def _translated(self, query: Element, told: Told) -> bytes | None:
        """The gateway address of what somebody typed (XEP-0100 section 5.3)."""
        typed = next((one.text for one in query.children if one.name == "prompt"), "")
        try:
            address = address_typed(typed)
            self._permit(address)
            jid = gateway_jid(address, self._domain)
        except BadJid as error:
            return told.error(failure(error.reason), str(error))
        except NotThrough as error:
            return told.error(failure(error.reason), error.words)
        return told.answer(element("query", element("jid", str(jid)), namespace=GATEWAY), type_="result")


#: Types of presence for the gateway -> those that answer it (RFC 6121 sections 3.1.3, 3.3.3 and 4.3.2).
_PRESENCE: Final = {"subscribe": ("subscribed", ""), "probe": ("",), "unsubscribe": ("unavailable",)}
#: What is asked of the gateway -> what is in the answer.
_KNOWN: Final = {
    ("get", DISCO_INFO, "query"): disco_info(ABOUT),
    ("get", DISCO_ITEMS, "query"): element("query", namespace=DISCO_ITEMS),
    ("get", PING, "ping"): Xml(""),
    ("get", GATEWAY, "query"): element(
        "query", element("desc", _DESC), element("prompt", _PROMPT), namespace=GATEWAY
    ),
}
