"""Rooms of Prosody and of ejabberd, entered by users of the other server: all of it passes, and unchanged."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Final

import pytest
from lxml import etree

from tests.interop.edge.clients import Account, Stanza, text_of
from tests.interop.edge.equal import difference
from tests.interop.edge.pairs import WAYS, Pair
from tests.interop.edge.places import Edge
from tests.interop.edge.whole import WholeRouter

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: Said before the guest comes: as many as both servers keep, and more than somebody may write at once.
_HISTORY: Final = 20
_MUC: Final = "http://jabber.org/protocol/muc"
_USER: Final = f"{_MUC}#user"
_SAID: Final = (
    "<message to='{to}' type='groupchat' id='{ident}'><x:y xmlns:x='urn:x:1' x:at='1'> t </x:y>"
    "<active xmlns='http://jabber.org/protocol/chatstates'/><body>{text}</body></message>"
)


@pytest.fixture(params=WAYS)
def pair(request: pytest.FixtureRequest, lab: Edge, whole: dict[str, WholeRouter]) -> Pair:  # noqa: ARG001
    """Two fresh users, on each way."""
    return Pair.fresh(lab, request.param)


def _is(name: str, source: str, kind: str | None = None) -> Callable[[Stanza], bool]:
    """Whether a stanza is of a kind and type and from somebody."""
    return lambda one: (
        etree.QName(one).localname == name and (one.get("from"), one.get("type")) == (source, kind)
    )


def _statuses(presence: Stanza) -> set[str | None]:
    return {one.get("code") for one in presence.iterfind(f"{{{_USER}}}x/{{{_USER}}}status")}


def _role(presence: Stanza) -> tuple[str | None, str | None]:
    item = presence.find(f"{{{_USER}}}x/{{{_USER}}}item")
    assert item is not None, etree.tostring(presence)
    return item.get("affiliation"), item.get("role")


def _without(stanza: Stanza, *namespaces: str) -> Stanza:
    """A stanza without what rooms write into it."""
    copy = deepcopy(stanza)
    for child in copy:
        if etree.QName(child).namespace in namespaces:
            copy.remove(child)
    return copy


def _open(host: Account) -> str:
    """The host makes a room, gives it a subject and says a lot."""
    user, _, domain = host.address.partition("@")
    room = f"room{user}@conference.{domain}"
    host.ask("raw", xml=f"<presence to='{room}/host'><x xmlns='{_MUC}'/></presence>")
    assert _role(host.until(_is("presence", f"{room}/host"), "himself")) == ("owner", "moderator")
    for number in range(_HISTORY):
        text = f"line {number}"
        host.ask("raw", xml=_SAID.format(to=room, ident=f"l{number}", text=text))
        host.until(lambda one, text=text: text_of(one) == text, text)  # type: ignore[misc]
    host.ask("raw", xml=f"<message to='{room}' type='groupchat'><subject>All &amp; more</subject></message>")
    host.until(lambda one: one.findtext("{*}subject") == "All & more", "the subject")
    return room


def _enter(guest: Account, host: Account, room: str) -> None:
    """The guest comes, is seen, and is given who is there, what was said, and the subject, in this order."""
    began = len(guest.received)
    guest.ask("raw", xml=f"<presence to='{room}/guest'><x xmlns='{_MUC}'/><c xmlns='urn:x:2'/></presence>")
    host.until(_is("presence", f"{room}/guest"), "the guest")
    guest.until(lambda one: one.findtext("{*}subject") == "All & more", "the subject")
    came = [one for one in guest.received[began:] if one.get("from", "").startswith(room)]
    # ejabberd's rooms have a presence of their own
    first, second = (
        one for one in came if etree.QName(one).localname == "presence" and one.get("from") != room
    )
    assert (first.get("from"), second.get("from")) == (f"{room}/host", f"{room}/guest")
    assert _role(first) == ("owner", "moderator")
    assert "110" in _statuses(second)
    texts = [text for one in came if (text := text_of(one)) is not None]
    assert texts == [f"line {number}" for number in range(_HISTORY)]
    oldest = next(one for one in came if text_of(one) == "line 0")
    assert oldest.find("{urn:xmpp:delay}delay") is not None, etree.tostring(oldest)
    _same(host, guest, room)


def _same(host: Account, guest: Account, room: str) -> None:
    """What both have from the room since the guest is there is the same, but for whom it is to."""
    texts = {one for one in map(text_of, guest.received) if one is not None and not one.startswith("line")}
    for text in texts:
        two = [
            next(
                one for one in each.received if text_of(one) == text and one.get("from", "").startswith(room)
            )
            for each in (host, guest)
        ]
        assert difference(*two, ignored=("to",), ordered=False) is None, [etree.tostring(one) for one in two]


@pytest.mark.parametrize("server", ["prosody", "ejabberd"])
def test_a_room_of_the_other_server(pair: Pair, server: str) -> None:
    """Entered, written in by both, asked about, whispered in, left, entered again, and thrown out of."""
    host, guest = (pair.alice, pair.bob) if server == "prosody" else (pair.bob, pair.alice)
    room = _open(host)
    _enter(guest, host, room)

    # both say something; each has it from the room as the other one has
    for one, nick in ((guest, "guest"), (host, "host")):
        text = f"said by {one.address}"
        sent = _SAID.format(to=room, ident=nick, text=text)
        one.ask("raw", xml=sent)
        for each in (host, guest):
            got = each.until_reads(text, room)
            assert got.get("from") == f"{room}/{nick}"
            assert got.get("id") == nick
            assert got.find("{urn:x:1}y") is not None
    _same(host, guest, room)

    # a new state, a new subject
    guest.ask("raw", xml=f"<presence to='{room}/guest'><show>away</show><status>tea</status></presence>")
    host.until(
        lambda one: _is("presence", f"{room}/guest")(one) and one.findtext("{*}show") == "away", "away"
    )
    host.ask("raw", xml=f"<message to='{room}' type='groupchat'><subject>Now</subject></message>")
    guest.until(lambda one: one.findtext("{*}subject") == "Now", "the new subject")

    # private messages, both ways; the room is asked, and a program in it is pinged
    for one, other, nick in ((guest, host, "host"), (host, guest, "guest")):
        sent = (
            f"<message xmlns='jabber:client' to='{room}/{nick}' type='chat' id='pm-{nick}'>"
            "<x:y xmlns:x='urn:x:1' x:at='1'> t </x:y><body>in private</body></message>"
        )
        one.ask("raw", xml=sent)
        got = other.until(lambda one, nick=nick: one.get("id") == f"pm-{nick}", "the private one")  # type: ignore[misc]
        assert difference(sent, _without(got, _USER, "urn:xmpp:occupant-id:0"), ordered=False) is None
    assert _MUC in guest.ask("features", of=room)
    assert guest.ask("ping", to=f"{room}/host") > 0
    assert host.ask("ping", to=f"{room}/guest") > 0

    # he goes, comes again, and is thrown out
    guest.ask("raw", xml=f"<presence to='{room}/guest' type='unavailable'><status>bye</status></presence>")
    gone = host.until(_is("presence", f"{room}/guest", "unavailable"), "that he left")
    assert gone.findtext("{*}status") == "bye"
    assert "110" in _statuses(guest.until(_is("presence", f"{room}/guest", "unavailable"), "that he is out"))
    guest.ask("raw", xml=f"<presence to='{room}/again'><x xmlns='{_MUC}'/></presence>")
    host.until(_is("presence", f"{room}/again"), "that he is back")
    host.ask(
        "raw",
        xml=f"<iq to='{room}' type='set' id='kick'><query xmlns='{_MUC}#admin'>"
        "<item nick='again' role='none'><reason>enough</reason></item></query></iq>",
    )
    out = guest.until(_is("presence", f"{room}/again", "unavailable"), "that he was thrown out")
    assert "307" in _statuses(out)
    assert out.findtext(f"{{{_USER}}}x/{{{_USER}}}item/{{{_USER}}}reason") == "enough"
