"""Extensions that no router knows, between programs of users of both servers: all of it passes, unchanged."""

from __future__ import annotations

from typing import Final

import pytest
from lxml import etree

from tests.interop.edge.clients import Account, text_of
from tests.interop.edge.equal import difference
from tests.interop.edge.pairs import WAYS, Pair
from tests.interop.edge.places import Edge
from tests.interop.edge.whole import WholeRouter

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

_MUC: Final = "http://jabber.org/protocol/muc"
_MAM: Final = "urn:xmpp:mam:2"
#: Candidates of a call of two media (XEP-0176): more than somebody may write at once.
_CANDIDATES: Final = 60
#: More than somebody may write at once, and what programs ask an archive for at a time.
_LINES: Final = 50


@pytest.fixture(params=WAYS)
def pair(request: pytest.FixtureRequest, lab: Edge, whole: dict[str, WholeRouter]) -> Pair:  # noqa: ARG001
    """Two fresh users, on each way."""
    return Pair.fresh(lab, request.param)


def _asked(one: Account, to: str, ident: str, kind: str, inside: str) -> etree._Element:
    """Ask by iq and return the answer."""
    one.ask("raw", xml=f"<iq xmlns='jabber:client' to='{to}' type='{kind}' id='{ident}'>{inside}</iq>")
    return one.until(lambda got: got.get("id") == ident and got.get("type") in {"result", "error"}, ident)


def _room(host: Account) -> str:
    user, _, domain = host.address.partition("@")
    room = f"room{user}@conference.{domain}"
    host.ask("raw", xml=f"<presence to='{room}/host'><x xmlns='{_MUC}'/></presence>")
    host.until(lambda one: one.get("from") == f"{room}/host", "himself")
    return room


@pytest.mark.parametrize("server", ["prosody", "ejabberd"])
def test_owner_of_a_room_elsewhere(pair: Pair, server: str) -> None:
    """He is invited, made an owner, and reads and changes the room's configuration."""
    host, guest = (pair.alice, pair.bob) if server == "prosody" else (pair.bob, pair.alice)
    room = _room(host)
    host.ask(
        "raw",
        xml=f"<message to='{room}'><x xmlns='{_MUC}#user'><invite to='{guest.address}'>"
        "<reason>come &amp; see</reason></invite></x></message>",
    )
    got = guest.until(lambda one: one.find(f"{{{_MUC}#user}}x/{{{_MUC}#user}}invite") is not None, "invited")
    assert got.get("from") == room
    assert got.findtext(f"{{{_MUC}#user}}x/{{{_MUC}#user}}invite/{{{_MUC}#user}}reason") == "come & see"
    guest.ask("raw", xml=f"<presence to='{room}/guest'><x xmlns='{_MUC}'/></presence>")
    host.until(lambda one: one.get("from") == f"{room}/guest", "the guest")
    item = f"<query xmlns='{_MUC}#admin'><item affiliation='owner' jid='{guest.address}'/></query>"
    assert _asked(host, room, "make", "set", item).get("type") == "result"
    form = _asked(guest, room, "form", "get", f"<query xmlns='{_MUC}#owner'/>")
    assert form.get("type") == "result"
    assert len(form.findall(".//{jabber:x:data}field")) > 10
    submit = (
        f"<query xmlns='{_MUC}#owner'><x xmlns='jabber:x:data' type='submit'>"
        f"<field var='FORM_TYPE'><value>{_MUC}#roomconfig</value></field>"
        "<field var='muc#roomconfig_roomname'><value>Ours &lt;now&gt;</value></field></x></query>"
    )
    assert _asked(guest, room, "submit", "set", submit).get("type") == "result"
    info = _asked(host, room, "info", "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
    assert [one.get("name") for one in info.iterfind(".//{*}identity")] == ["Ours <now>"]


@pytest.mark.parametrize("server", ["prosody", "ejabberd"])
def test_archive_of_a_room_elsewhere(pair: Pair, server: str) -> None:
    """A page of an archive is read (XEP-0313): more than anybody may write at once."""
    host, guest = (pair.alice, pair.bob) if server == "prosody" else (pair.bob, pair.alice)
    room = _room(host)
    for number in range(_LINES):
        text = f"line {number}"
        host.ask("raw", xml=f"<message to='{room}' type='groupchat'><body>{text}</body></message>")
        host.until(lambda one, text=text: text_of(one) == text, text)  # type: ignore[misc]
    guest.ask(
        "raw",
        xml=f"<presence to='{room}/guest'><x xmlns='{_MUC}'><history maxstanzas='0'/></x></presence>",
    )
    host.until(lambda one: one.get("from") == f"{room}/guest", "the guest")
    page = (
        f"<query xmlns='{_MAM}' queryid='q1'>"
        f"<set xmlns='http://jabber.org/protocol/rsm'><max>{_LINES}</max></set></query>"
    )
    answer = _asked(guest, room, "page", "set", page)
    assert answer.find(f"{{{_MAM}}}fin") is not None, etree.tostring(answer)
    lines = [
        one.findtext(".//{jabber:client}body")
        for one in guest.received
        if one.get("from") == room and one.find(f"{{{_MAM}}}result") is not None
    ]
    assert lines == [f"line {number}" for number in range(_LINES)]


#: What programs of today send each other: whole but for address and id.
_SENT: Final = {
    "propose": "message type='chat'><propose xmlns='urn:xmpp:jingle-message:0' id='s1'>"
    "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>"
    "<store xmlns='urn:xmpp:hints'/>",
    "correct": "message type='chat'><replace xmlns='urn:xmpp:message-correct:0' id='c1'/><body>better</body>",
    "react": "message type='chat'><reactions xmlns='urn:xmpp:reactions:0' id='c1'>"
    "<reaction>\N{WAVING HAND SIGN}</reaction></reactions><store xmlns='urn:xmpp:hints'/>",
    "attention": "message type='headline'><attention xmlns='urn:xmpp:attention:0'/>",
    "direct": "message><x xmlns='jabber:x:conference' jid='r@c.example' reason='why'/>",
    "avatar": "presence xml:lang='en'><show>away</show><status>out</status>"
    "<status xml:lang='cs'>pryč</status>"
    "<priority>-3</priority><x xmlns='vcard-temp:x:update'><photo>aa</photo></x>",
}
_CALL: Final = (
    "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' initiator='{caller}' sid='s1'>"
    "<content creator='initiator' name='v'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>"
    "<payload-type id='96' name='speex' clockrate='16000'/></description>"
    "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' pwd='p' ufrag='u'>"
    "<candidate component='1' foundation='1' generation='0' id='e' ip='192.0.2.3' network='1' port='45664'"
    " priority='1' protocol='udp' type='host'/></transport></content></jingle>"
)


def test_calls_reactions_corrections(pair: Pair) -> None:
    """A call is proposed and begun, a message corrected and reacted to, presence has an avatar."""
    for one, other in pair.both_ways:
        to = f"xmlns='jabber:client' to='{other.address}/desk'"
        for ident, text in _SENT.items():
            start, _, inside = text.partition(">")
            sent = f"<{start} {to} id='{ident}'>{inside}</{start.partition(' ')[0]}>"
            one.ask("raw", xml=sent)
            got = other.until(lambda it, ident=ident: it.get("id") == ident, ident)  # type: ignore[misc]
            assert difference(sent, got, ordered=False) is None, etree.tostring(got)
        call = f"<iq {to} type='set' id='call'>{_CALL.format(caller=f'{one.address}/desk')}</iq>"
        one.ask("raw", xml=call)
        got = other.until(lambda it: (it.get("id"), it.get("type")) == ("call", "set"), "the call")
        assert difference(call, got) is None, etree.tostring(got)
        # slixmpp has answered by itself that it takes no calls
        one.until(lambda it: (it.get("id"), it.get("type")) == ("call", "error"), "the answer")


def test_candidates_of_a_call(pair: Pair) -> None:
    """Each in a set of its own, all at once: every one arrives and is answered by who got it."""
    for one, other in pair.both_ways:
        text = _CALL.replace("session-initiate", "transport-info").format(caller=f"{one.address}/desk")
        idents = [f"{one.address}{number}" for number in range(_CANDIDATES)]
        for ident in idents:
            xml = f"<iq xmlns='jabber:client' to='{other.address}/desk' type='set' id='{ident}'>{text}</iq>"
            one.ask("raw", xml=xml)
        for ident in idents:
            got = one.until(lambda it, ident=ident: it.get("id") == ident, ident)  # type: ignore[misc]
            # slixmpp has answered by itself that it takes no calls
            assert got.find(".//{*}feature-not-implemented") is not None, etree.tostring(got)
        # Prosody 0.12 has stanzas that come while a stream of its own begins overtake those that wait for it
        sets = [it.get("id") for it in other.received if it.get("type") == "set"]
        assert len(sets) == _CANDIDATES
        assert set(sets) == set(idents)
