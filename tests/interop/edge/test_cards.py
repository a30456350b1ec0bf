"""Cards and what somebody is: users of Prosody and ejabberd, and one of the router who knows only the model.

Cards, pings and queries that nobody knows between users of both servers are of `test_pairs`.
"""

from __future__ import annotations

import itertools

import pytest
from lxml import etree

from tests.interop.edge.clients import Account, Stanza
from tests.interop.edge.names import Mode
from tests.interop.edge.places import EJABBERD, PROSODY, Edge
from tests.interop.edge.routers import EdgeRouter
from tests.interop.netlab import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

SIDES = {"prosody": PROSODY, "ejabberd": EJABBERD}
IDS = itertools.count(1)

CARD = "<vCard xmlns='vcard-temp'/>"
CARD4 = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:vcard4'/></pubsub>"
INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
ITEMS = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
PING = "<ping xmlns='urn:xmpp:ping'/>"
UNKNOWN = "<query xmlns='urn:x:nobody'/>"


@pytest.fixture(params=SIDES)
def pair(
    request: pytest.FixtureRequest, lab: Edge, routers: dict[str, EdgeRouter]
) -> tuple[Account, EdgeRouter]:
    """A fresh user of a server, and the router before it."""
    side, router = SIDES[request.param], routers[request.param]
    account = lab.clients.login(lab.fresh("alice", side.inside(Mode.CLEAR)), side.server)
    return account, router


def asks(alice: Account, to: str, inside: str, kind: str = "get") -> Stanza:
    """Alice asks somebody; the one answer."""
    ident = f"asked-{next(IDS)}"
    alice.ask("raw", xml=f"<iq to='{to}' type='{kind}' id='{ident}'>{inside}</iq>")
    answer = alice.until(lambda one: one.get("id") == ident, f"the answer to {inside}")
    assert answer.get("from") == to
    return answer


def refused(answer: Stanza) -> str:
    """The condition of an error."""
    assert answer.get("type") == "error", etree.tostring(answer)
    (error,) = answer.findall("{*}error")
    return etree.QName(error[0]).localname


def test_the_card_of_the_routers_user(pair: tuple[Account, EdgeRouter]) -> None:
    """He reads what she shows him, and what she has changed; the rest he is told as of nobody."""
    alice, router = pair
    carol = router.client.user(router.carol)
    for name in ("Carol", "Carol of the router"):
        carol.set_attribute("alias", name)
        assert asks(alice, router.carol, CARD).findtext(".//{*}FN") == name
    assert asks(alice, router.carol, CARD4).findtext(".//{*}fn/{*}text") == name
    carol.set_attribute("alias", name, [f"nobody@{router.domain}"])
    unseen = refused(asks(alice, router.carol, CARD))
    assert unseen == refused(asks(alice, f"nobody@{router.domain}", CARD)) == "service-unavailable"
    changed = "<vCard xmlns='vcard-temp'><FN>Mallory</FN></vCard>"
    assert refused(asks(alice, router.carol, changed, "set")) == "not-allowed"


def test_what_the_router_and_its_user_are(pair: tuple[Account, EdgeRouter]) -> None:
    """The domain says it to everybody, answers pings; she is described to who watches her by her consent."""
    alice, router = pair
    identity = asks(alice, router.domain, INFO).find(".//{*}identity")
    assert identity is not None
    assert (identity.get("category"), identity.get("type")) == ("gateway", "imx")
    assert len(asks(alice, router.domain, ITEMS)[0]) == 0
    assert asks(alice, router.domain, PING).get("type") == "result"
    for inside in (INFO, PING, UNKNOWN):
        assert refused(asks(alice, router.carol, inside)) == "service-unavailable"
    assert refused(asks(alice, router.domain, UNKNOWN)) == "service-unavailable"
    carol = router.client.user(router.carol)
    alice.ask("presence", to=router.carol, kind="subscribe")
    wait_until(lambda: alice.address in str(carol.watchers()), "she is asked", 20)
    carol.decide(alice.address, "allow")
    alice.until(lambda one: one.get("type") == "subscribed", "her consent")
    described = asks(alice, router.carol, INFO).find(".//{*}identity")
    assert described is not None
    assert described.get("category") == "account"


def test_attributes_of_a_user_of_the_server(pair: tuple[Account, EdgeRouter]) -> None:
    """His card is what the router's user is told of him; without one nothing is, as of nobody."""
    alice, router = pair

    def told(whom: str) -> dict[str, str]:
        view = router.client.attributes(whom, [], router.carol, fresh=True)
        assert view["status"] == "success" or view["reason"] in {"not-delivered", "unknown-user"}, view
        return {one["name"]: one["value"] for one in view["values"]}

    assert told(alice.address) == told(f"nobody@{alice.address.partition('@')[2]}") == {}
    alice.ask("publish_card", name="Alice of the server")
    values = told(alice.address)
    assert values["alias"] == "Alice of the server"
    assert "Alice of the server" in values["vcard"]
