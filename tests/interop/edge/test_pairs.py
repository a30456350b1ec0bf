"""Users of Prosody and of ejabberd, with a router between them, and with two that speak IMX to each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import pytest
from lxml import etree

from tests.interop.edge.clients import Account, Stanza, bare
from tests.interop.edge.equal import difference
from tests.interop.edge.pairs import WAYS, Pair
from tests.interop.edge.places import Edge
from tests.interop.edge.whole import WholeRouter
from tests.interop.netlab import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: What people's programs send: each a whole message but for its addresses and its id. ejabberd writes what it
#: knows behind what extensions have added; so it stands here, and the order is compared too.
_MESSAGES: Final = {
    "chat": "type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/>"
    "<request xmlns='urn:xmpp:receipts'/><body>Hi</body><thread parent='t0'>t1</thread>",
    "subject": "><body>one\ntwo</body><subject>Lunch &amp; more</subject><thread>t2</thread>",
    "headline": "type='headline'><body>News</body>",
    "languages": "type='chat' xml:lang='en'><body>Hello</body><body xml:lang='cs'>Nazdar</body>"
    "<subject>Hi</subject><subject xml:lang='cs'>Ahoj</subject>",
    "composing": "type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/>",
    "paused": "type='chat'><paused xmlns='http://jabber.org/protocol/chatstates'/>",
    "gone": "type='chat'><gone xmlns='http://jabber.org/protocol/chatstates'/>",
    "received": "type='chat'><received xmlns='urn:xmpp:receipts' id='m7'/>",
    "displayed": "type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='m7'/>",
    "formatted": "type='chat'><html xmlns='http://jabber.org/protocol/xhtml-im'>"
    "<body xmlns='http://www.w3.org/1999/xhtml'><p>a <strong>b</strong></p></body></html><body>a b</body>",
    "delayed": "type='chat'><delay xmlns='urn:xmpp:delay' from='{source}' stamp='2026-01-02T03:04:05Z'/>"
    "<body>late</body>",
    "unheard-of": "type='chat'><x:y xmlns:x='urn:x:1' x:at='1'> t <z xmlns=''/></x:y><body>x</body>",
    "nothing-known": "type='chat'><y xmlns='urn:x:1'/>",
}


@pytest.fixture(params=WAYS)
def pair(request: pytest.FixtureRequest, lab: Edge, whole: dict[str, WholeRouter]) -> Pair:  # noqa: ARG001
    """Two fresh users, on each way."""
    return Pair.fresh(lab, request.param)


def presence(source: Account, kind: str | None, show: str | None = None) -> Callable[[Stanza], bool]:
    """Whether a stanza is presence of somebody."""

    def fits(one: Stanza) -> bool:
        return (
            etree.QName(one).localname == "presence"
            and bare(one.get("from", "")) == source.address
            and one.get("type") == kind
            and (show is None or one.findtext("{*}show") == show)
        )

    return fits


def test_messages_arrive_as_they_were_sent(pair: Pair) -> None:
    """Subject, thread, kind, languages, receipts, chat states, markers, formatted text, unknown children."""
    for sender, receiver in pair.both_ways:
        sent = {}
        for name, text in _MESSAGES.items():
            body = text.format(source=sender.address.partition("@")[2])
            head = f"<message xmlns='jabber:client' to='{receiver.address}' id='{name}' "
            sent[name] = f"{head}{body}</message>"
            sender.ask("raw", xml=sent[name])
        for name, xml in sent.items():
            got = receiver.until(lambda one, name=name: one.get("id") == name, name)  # type: ignore[misc]
            assert bare(got.get("from", "")) == sender.address
            assert difference(xml, got) is None, etree.tostring(got)
        came = [one.get("id", "") for one in receiver.received if one.get("id") in sent]
        assert sorted(came) == sorted(sent)
        receipt = sender.until(_is_receipt_of("chat"), "the receipt")
        assert bare(receipt.get("from", "")) == receiver.address


def _is_receipt_of(ident: str) -> Callable[[Stanza], bool]:
    return lambda one: [child.get("id") for child in one.iterfind("{urn:xmpp:receipts}received")] == [ident]


#: What each of the two routers speaks with others for the hosts of a way; None: it is not on the way.
_SPOKEN: Final[dict[str, dict[str, set[str] | None]]] = {
    "prosody-behind": {"prosody": {"xmpp"}, "ejabberd": None},
    "ejabberd-behind": {"prosody": None, "ejabberd": {"xmpp"}},
    "one-router": {"prosody": set(), "ejabberd": None},
    "imx": {"prosody": {"imx"}, "ejabberd": {"imx"}},
}


def test_the_way_is_what_it_is_said_to_be(pair: Pair, whole: dict[str, WholeRouter]) -> None:
    """Links have the two domains for this protocol alone; the traces of who is on the way have it."""
    for sender, receiver in pair.both_ways:
        text = f"from {sender.address}"
        sender.ask("message", to=receiver.address, text=text)
        receiver.until_reads(text, sender.address)

        def passed(
            router: WholeRouter, source: str = sender.address, destination: str = receiver.address
        ) -> list[str]:
            found = router.client.traces(source, destination, None)["messages"]
            return [one["id"] for one in found if one["status"] == "success"]

        seen = []
        for name, spoken in _SPOKEN[pair.way].items():
            assert whole[name].spoken(WAYS[pair.way]) == (spoken or set())
            if spoken is None:
                assert not passed(whole[name])
            else:
                wait_until(partial(passed, whole[name]), f"{name}'s router tells of it")
                seen.append(passed(whole[name]))
        assert all(one == seen[0] for one in seen)
        assert len(seen[0]) == 1


def test_subscriptions_begin_and_end(pair: Pair) -> None:
    """Asked for, granted, seen, changed, given up; asked for again, seen, and taken back by the other."""
    for watcher, watched in pair.both_ways:
        _ask_and_grant(watcher, watched, 1)
        watcher.until(presence(watched, None), "the state")
        watched.ask("presence", show="dnd", status="busy with tests")
        seen = watcher.until(presence(watched, None, "dnd"), "the change")
        assert seen.findtext("{*}status") == "busy with tests"
        assert seen.get("from") == f"{watched.address}/desk"
        watcher.ask("presence", to=watched.address, kind="unsubscribe")
        watched.until(presence(watcher, "unsubscribe"), "that nobody watches")
        watched.ask("presence", show="xa")
        text = f"is {watched.address} seen?"
        watched.ask("message", to=watcher.address, text=text)
        watcher.until_reads(text, watched.address)
        assert not any(presence(watched, None, "xa")(one) for one in watcher.received)

        watched.ask("presence", show="away")
        _ask_and_grant(watcher, watched, 2)
        watcher.until(presence(watched, None, "away"), "the state")
        before = _count(watcher, presence(watched, "unsubscribed"))
        watched.ask("presence", to=watcher.address, kind="unsubscribed")
        watcher.until(lambda _: _count(watcher, presence(watched, "unsubscribed")) > before, "the end")  # noqa: B023
        watcher.until(presence(watched, "unavailable"), "that nothing is known any more")


def _ask_and_grant(watcher: Account, watched: Account, times: int) -> None:
    watcher.ask("presence", to=watched.address, kind="subscribe")
    watched.until(lambda _: _count(watched, presence(watcher, "subscribe")) == times, "the wish")
    assert _count(watcher, presence(watched, "subscribed")) == times - 1
    watched.ask("presence", to=watcher.address, kind="subscribed")
    watcher.until(lambda _: _count(watcher, presence(watched, "subscribed")) == times, "the consent")


def _count(account: Account, fits: Callable[[Stanza], bool]) -> int:
    return sum(map(fits, account.received))


def test_refused_subscription(pair: Pair) -> None:
    """A wish that is refused; nothing is seen."""
    for watcher, watched in pair.both_ways:
        watcher.ask("presence", to=watched.address, kind="subscribe")
        watched.until(presence(watcher, "subscribe"), "the wish")
        watched.ask("presence", to=watcher.address, kind="unsubscribed")
        watcher.until(presence(watched, "unsubscribed"), "the refusal")
        assert not any(presence(watched, None)(one) for one in watcher.received)


def test_cards_and_pings(pair: Pair) -> None:
    """A card is read, a program is pinged, what it can do is asked: iq to a bare and to a full address."""
    for asker, other in pair.both_ways:
        other.ask("publish_card", name=f"Card of {other.address}")
        assert asker.ask("card", of=other.address) == f"Card of {other.address}"
        assert asker.ask("ping", to=f"{other.address}/desk") > 0
        assert "urn:xmpp:ping" in asker.ask("features", of=f"{other.address}/desk")


def test_errors_come_back(pair: Pair) -> None:
    """What goes to nobody is answered once, with an error of XMPP and its text, from who was written to."""
    for sender, other in pair.both_ways:
        nobody = f"nobody@{other.address.partition('@')[2]}"
        sender.ask("message", to=nobody, text="anybody?", ident="lost")
        sender.ask("raw", xml=f"<iq to='{nobody}' type='get' id='asked'><q xmlns='urn:x:1'/></iq>")
        for ident in ("lost", "asked"):
            error = sender.until(lambda one, ident=ident: one.get("id") == ident, ident)  # type: ignore[misc]
            assert (error.get("type"), error.get("from")) == ("error", nobody)
            found = error.find("{*}error")
            assert found is not None
            assert found.get("type") == "cancel", etree.tostring(error)
            assert found.find("{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable") is not None
        sender.ask("message", to=other.address, text="it is over")
        other.until_reads("it is over", sender.address)
        assert _count(sender, lambda one: one.get("id") == "lost") == 1


def test_a_query_that_no_router_knows_passes(pair: Pair) -> None:
    """It reaches the program that it is for as it was sent; what that one answers comes back."""
    for sender, receiver in pair.both_ways:
        sent = f"<iq to='{receiver.address}/desk' type='get' id='odd'><q xmlns='urn:x:odd' a='1'>t</q></iq>"
        sender.ask("raw", xml=sent)
        got = receiver.until(lambda one: one.find("{urn:x:odd}q") is not None, "the query")
        assert bare(got.get("from", "")) == sender.address
        assert (
            difference(sent.replace("<iq ", "<iq xmlns='jabber:client' "), etree.tostring(got).decode())
            is None
        )
        answer = sender.until(lambda one: (one.get("id"), one.get("type")) == ("odd", "error"), "the answer")
        assert answer.get("from") == f"{receiver.address}/desk"
        assert answer.find(".//{*}feature-not-implemented") is not None


@pytest.mark.parametrize("server", ["prosody", "ejabberd"])
def test_cards_over_imx(lab: Edge, whole: dict[str, WholeRouter], server: str) -> None:
    """A card is read both ways between a user and one without XMPP, behind the other router; a ping too."""
    pair = Pair.fresh(lab, "imx")
    user, far = (pair.alice, "ejabberd") if server == "prosody" else (pair.bob, "prosody")
    router = whole[far]
    router.client.user(router.carol).set_attribute("alias", f"Carol behind {far}")
    assert user.ask("card", of=router.carol) == f"Carol behind {far}"
    assert user.ask("ping", to=router.domain) < 20
    user.ask("publish_card", name=f"Card of {user.address}")
    view = router.client.attributes(user.address, ["alias"], router.carol, fresh=True)
    assert [one["value"] for one in view["values"]] == [f"Card of {user.address}"], view
    assert "imx" in router.spoken([router.domain])
