"""Section 7.1 of the mapping: attributes, and what the gateway answers by itself."""

from __future__ import annotations

from imxrouter.formats.xcard import MAX_CARD_BYTES, read_xcard
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.streams.queries import ANSWER_S, MAX_WAITING
from imxrouter.gateways.xmpp.translate.awaited import Awaited
from imxrouter.gateways.xmpp.translate.failures import error_of
from imxrouter.gateways.xmpp.translate.presence import presence_of
from imxrouter.gateways.xmpp.translate.queries import (
    CAPS,
    DISCO_INFO,
    MAX_AGE_S,
    PROGRAM,
    Wanted,
    answer_of,
    attributes_of,
    caps,
    caps_hash,
    iq_of,
    query_of,
    wanted_of,
)
from imxrouter.gateways.xmpp.translate.showing import NOTHING, show
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Attribute, AttributeQuery
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.checks import rule
from tests.gateways.xmpp.checks.shares import shares_of
from tests.gateways.xmpp.subscriptions.presentity_rig import PresentityRig
from tests.gateways.xmpp.translate.presences import ALICE, BOB, read, said

B = Address.parse("b.example")
CARD4 = "urn:ietf:params:xml:ns:vcard-4.0"


def iq(inside: str, kind: str = "get", to: str = "bob@b.example") -> Element:
    """An iq from Alice."""
    return tree_of(f"<iq from='alice@a.example/r1' to='{to}' id='i1' type='{kind}'>{inside}</iq>".encode())


def answered(one: Element, wanted: Wanted, *values: Attribute, visible: bool = False) -> Element:
    """The result, addressed back."""
    answer = answer_of(one, wanted, values, visible=visible)
    assert isinstance(answer, bytes), answer
    tree = tree_of(answer)
    assert (tree.attributes["to"], tree.attributes["from"]) == ("alice@a.example/r1", one.attributes["to"])
    assert (tree.attributes["id"], tree.attributes["type"]) == ("i1", "result")
    return tree


TEMP = iq("<vCard xmlns='vcard-temp'/>")
CARD4_GET = iq("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:vcard4'/></pubsub>")
INFO = f"<query xmlns='{DISCO_INFO}' node='n'/>"


def condition(reason: Reason, one: Element) -> tuple[str, str]:
    """Type and condition of the error for it."""
    raw = error_of(failure(reason), one, Domain.parse("b.example"))
    assert raw is not None
    [error] = tree_of(raw).children
    return error.attributes["type"], error.children[0].name


@rule("att-vcard-get", "att-vcard4-get")
def _get() -> None:
    for one, wanted in ((TEMP, Wanted.VCARD), (CARD4_GET, Wanted.VCARD4)):
        assert wanted_of(one, BOB, "") is wanted
        query = query_of(wanted, ALICE, BOB, bytes(16))
        assert query == AttributeQuery(ALICE, BOB, bytes(16), ("alias", "vcard"))
    raw = iq_of(AttributeQuery(ALICE, BOB, bytes(16), ("alias", "vcard")), "q1")
    assert raw is not None
    asked = tree_of(raw)
    assert (asked.attributes["from"], asked.attributes["to"]) == ("alice@a.example", "bob@b.example")
    assert wanted_of(asked, BOB, "") is Wanted.VCARD
    assert iq_of(AttributeQuery(ALICE, BOB, bytes(16), ("presence",)), "q1") is None


@rule("att-fn")
def _name() -> None:
    for inside, alias in (
        ("<FN>Bob</FN>", "Bob"),
        ("<FN>Robert</FN><NICKNAME>Bob</NICKNAME>", "Bob"),
        ("<FN> </FN>", None),
    ):
        found = attributes_of(iq(f"<vCard xmlns='vcard-temp'>{inside}</vCard>", "result"), ("alias",))
        assert [one.value.decode() for one in found] == ([alias] if alias else [])
    card = answered(TEMP, Wanted.VCARD, Attribute("alias", b"Bob")).children[0]
    assert {one.name: one.text for one in card.children} == {"FN": "Bob", "NICKNAME": "Bob"}


FULL = (
    "<FN>Bob B</FN><N><FAMILY>B</FAMILY><GIVEN>Bob</GIVEN></N><NICKNAME>bob</NICKNAME><BDAY>1980-02-29</BDAY>"
    "<TEL><HOME/><VOICE/><NUMBER>+1 23</NUMBER></TEL>"
    "<EMAIL><INTERNET/><PREF/><USERID>b@b.example</USERID></EMAIL>"
    "<JABBERID>bob@b.example</JABBERID><ADR><WORK/><STREET>S 1</STREET><CTRY>X</CTRY></ADR>"
    "<ORG><ORGNAME>O</ORGNAME><ORGUNIT>U</ORGUNIT></ORG><GEO><LAT>1.5</LAT><LON>-2</LON></GEO>"
    "<URL>https://b.example/</URL><DESC>me &amp; you</DESC><CATEGORIES><KEYWORD>k</KEYWORD></CATEGORIES>"
    "<PHOTO><TYPE>image/png</TYPE><BINVAL>aGk=\n</BINVAL></PHOTO>"
)


@rule("att-vcard")
def _card() -> None:
    result = iq(f"<vCard xmlns='vcard-temp'>{FULL}<CLASS><PUBLIC/></CLASS></vCard>", "result")
    [_, found] = attributes_of(result, ())
    assert (found.name, found.max_age_s) == ("vcard", MAX_AGE_S)
    back = answered(TEMP, Wanted.VCARD, found).children[0]
    texts = {(one.name, each.text) for one in back.children for each in (one, *one.children) if each.text}
    for wanted in (
        ("FN", "Bob B"), ("N", "B"), ("NICKNAME", "bob"), ("BDAY", "1980-02-29"), ("TEL", "+123"),
        ("EMAIL", "b@b.example"), ("JABBERID", "bob@b.example"), ("ADR", "S 1"), ("ORG", "U"), ("GEO", "-2"),
        ("URL", "https://b.example/"), ("DESC", "me & you"), ("CATEGORIES", "k"), ("PHOTO", "aGk="),
    ):  # fmt: skip
        assert wanted in texts, wanted
    assert not [one for one in back.children if one.name == "CLASS"]
    kinds = {one.name: {each.name for each in one.children} for one in back.children}
    assert {"HOME", "VOICE"} <= kinds["TEL"]
    assert "PREF" in kinds["EMAIL"]
    large = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{'A' * 40_000}</BINVAL></PHOTO><FN>Bob</FN>"
    [_, small] = attributes_of(iq(f"<vCard xmlns='vcard-temp'>{large}</vCard>", "result"), ())
    assert len(small.value) <= MAX_CARD_BYTES
    assert [one.name for one in read_xcard(small.value)] == ["fn"]
    four = answered(CARD4_GET, Wanted.VCARD4, found).children[0]
    assert [one.text for one in four.walk() if one.name == "surname"] == ["B"]
    whole = answer_of(CARD4_GET, Wanted.VCARD4, [found])
    assert isinstance(whole, bytes)
    [_, again] = attributes_of(tree_of(whole), ())
    assert read_xcard(again.value) == read_xcard(found.value)


@rule("att-none")
def _none() -> None:
    card = answered(TEMP, Wanted.VCARD).children[0]
    assert (card.namespace, card.name, card.children) == ("vcard-temp", "vCard", [])
    assert attributes_of(iq("<vCard xmlns='vcard-temp'/>", "result"), ()) == ()


@rule("att-no-user")
def _no_user() -> None:
    for reason in (Reason.NOT_DELIVERED, Reason.UNKNOWN_USER, Reason.BLOCKED):
        assert condition(reason, TEMP) == ("cancel", "service-unavailable")


@rule("att-set")
def _set() -> None:
    one = iq("<vCard xmlns='vcard-temp'><FN>Mallory</FN></vCard>", "set")
    assert wanted_of(one, BOB, "") is Wanted.SET
    assert query_of(Wanted.SET, ALICE, BOB, bytes(16)) is None
    reason = answer_of(one, Wanted.SET)
    assert isinstance(reason, Reason)
    assert condition(reason, one) == ("cancel", "not-allowed")


@rule("att-cache")
def _cache() -> None:
    found = attributes_of(iq("<vCard xmlns='vcard-temp'><FN>Bob</FN></vCard>", "result"), ())
    assert {one.max_age_s for one in found} == {300}


@rule("att-disco-domain")
def _domain() -> None:
    one = iq(INFO, to="b.example")
    assert wanted_of(one, B, "") is Wanted.DOMAIN_INFO
    query = query_of(Wanted.DOMAIN_INFO, ALICE, B, bytes(16))
    assert query is not None
    assert query.names == ("software", "abuse-contact")
    values = (Attribute("software", b"imxrouter 1"), Attribute("abuse-contact", b"mailto:abuse@b.example"))
    info = answered(one, Wanted.DOMAIN_INFO, *values).children[0]
    identity = info.children[0].attributes
    assert (identity["category"], identity["type"], identity["name"]) == ("gateway", "imx", "imxrouter 1")
    assert info.attributes["node"] == "n"
    assert "mailto:abuse@b.example" in [each.text for each in info.walk() if each.name == "value"]


@rule("att-disco-ask")
def _ask_domain() -> None:
    raw = iq_of(AttributeQuery(ALICE, B, bytes(16), ()), "q1")
    assert raw is not None
    asked = tree_of(raw)
    assert (asked.attributes["to"], asked.children[0].namespace) == ("b.example", DISCO_INFO)
    assert wanted_of(asked, B, "") is Wanted.DOMAIN_INFO
    assert iq_of(AttributeQuery(ALICE, B, bytes(16), ("max-message-size",)), "q1") is None
    identities = "".join(
        f"<identity category='{one}' type='t' name='{one}'/>" for one in ("pubsub", "server", "gateway")
    )
    abuse = "<field var='abuse-addresses'><value>mailto:a@b.example</value><value>x:y</value></field>"
    form = f"<x xmlns='jabber:x:data' type='result'>{abuse}</x>"
    result = iq(f"<query xmlns='{DISCO_INFO}'>{identities}{form}</query>", "result")
    found = attributes_of(result, (), of_domain=True)
    assert {one.name: one.value for one in found} == {
        "software": b"server", "abuse-contact": b"mailto:a@b.example",
    }  # fmt: skip
    assert [one.name for one in attributes_of(result, ("software",), of_domain=True)] == ["software"]


@rule("att-wait")
def _wait() -> None:
    assert (ANSWER_S, MAX_WAITING) == (20.0, 4096)
    shares = shares_of(lambda: Awaited(ANSWER_S, MAX_WAITING))
    assert shares == (128, 768, 1024, 2048, 4096)
    waiting: Awaited[int] = Awaited(ANSWER_S, MAX_WAITING)
    for at in (0.0, 20.0):
        asked = [waiting.sent(("a", "b", str(n)), "a@a.example", "b.example", n, at) for n in range(129)]
        assert asked == [True] * 128 + [False]
        assert len(waiting.due(at + 20.0)) == 128


@rule("att-disco-user", "att-disco-resource")
def _user() -> None:
    for resource, wanted, identity in (
        ("", Wanted.USER_INFO, ("account", "registered")),
        ("r", Wanted.RESOURCE_INFO, ("client", "pc")),
    ):
        one = iq(INFO, to="bob@b.example" + ("/r" if resource else ""))
        assert wanted_of(one, BOB, resource) is wanted
        hidden = answer_of(one, wanted)
        assert isinstance(hidden, Reason)
        assert condition(hidden, one) == ("cancel", "service-unavailable")
        info = answered(one, wanted, visible=True).children[0]
        told = info.children[0].attributes
        assert (told["category"], told["type"]) == identity


@rule("att-disco-items")
def _items() -> None:
    one = iq("<query xmlns='http://jabber.org/protocol/disco#items'/>")
    assert wanted_of(one, BOB, "") is Wanted.ITEMS
    assert answered(one, Wanted.ITEMS).children[0].children == []


@rule("att-caps")
def _caps() -> None:
    state = presence_of(ALICE, [said()])
    [stanza] = show(NOTHING, state, BOB, None, caps())[1]
    [found] = [one for one in read(stanza).children if one.namespace == CAPS]
    assert (found.attributes["hash"], found.attributes["ver"]) == ("sha-1", caps_hash(PROGRAM))


@rule("att-ping")
def _ping() -> None:
    one = iq("<ping xmlns='urn:xmpp:ping'/>", to="b.example")
    assert wanted_of(one, B, "") is Wanted.PING
    assert answered(one, Wanted.PING).children == []
    assert wanted_of(one, BOB, "") is None


@rule("att-presence")
def _presence() -> None:
    """Whoever has a consent is told what he is told anyway; nobody else is told anything."""
    rig = PresentityRig()
    assert rig.presentities.state_for(BOB, ALICE) is None
    rig.approve("r1")
    state = rig.presentities.state_for(BOB, ALICE)
    assert state == rig.told[-1].presence
    assert rig.presentities.state_for(Address.parse("carol@c.example"), ALICE) is None
    rig.says("unsubscribed")
    assert rig.presentities.state_for(BOB, ALICE) is None
