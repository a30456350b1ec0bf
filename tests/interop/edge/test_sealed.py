"""Encrypted messages in the shape of OMEMO, old and new, and what belongs to them: unchanged on every way."""

from __future__ import annotations

from typing import Final

import pytest
from lxml import etree

from tests.interop.edge.clients import bare
from tests.interop.edge.equal import difference
from tests.interop.edge.pairs import WAYS, Pair
from tests.interop.edge.places import Edge
from tests.interop.edge.whole import WholeRouter

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

_OLD: Final = "eu.siacs.conversations.axolotl"
_NEW: Final = "urn:xmpp:omemo:2"
_OLD_SEALED: Final = (
    f"<encrypted xmlns='{_OLD}'><header sid='27183'><key rid='31415'>MwohBb+/=</key>"
    "<key prekey='true' rid='12321'>MwgB</key><iv>BASE64+/</iv></header>"
    "<payload>c2VhbGVk</payload></encrypted>"
    f"<encryption xmlns='urn:xmpp:eme:0' name='OMEMO' namespace='{_OLD}'/>"
)
_NEW_SEALED: Final = (
    f"<encrypted xmlns='{_NEW}'><header sid='27183'><keys jid='{{to}}'><key rid='31415'>b64</key>"
    "<key kex='true' rid='1337'>b64</key></keys><keys jid='{from_}'><key rid='1'>b64</key></keys></header>"
    "<payload>c2VhbGVk</payload></encrypted>"
    f"<encryption xmlns='urn:xmpp:eme:0' name='OMEMO' namespace='{_NEW}'/>"
)
_STORE: Final = "<store xmlns='urn:xmpp:hints'/>"
_DEVICES: Final = f"<list xmlns='{_OLD}'><device id='27183'/><device id='31415'/></list>"
_PUBSUB: Final = "http://jabber.org/protocol/pubsub"

#: Whole but for addresses and ids. ejabberd writes bodies last.
_MESSAGES: Final = {
    "old": f"type='chat'>{_OLD_SEALED}{_STORE}<body>I sent you an OMEMO encrypted message</body>",
    "new": f"type='chat'>{_NEW_SEALED}{_STORE}<body>encrypted</body>",
    # without a fallback for people, as for the transport of a key
    "old-bare": f"type='chat'>{_OLD_SEALED}{_STORE}",
    "new-bare": f"type='chat'>{_NEW_SEALED}<no-store xmlns='urn:xmpp:hints'/>",
    "devices": f"type='headline'><event xmlns='{_PUBSUB}#event'><items node='{_OLD}.devicelist'>"
    f"<item id='current'>{_DEVICES}</item></items></event>",
    "devices-new": f"type='headline'><event xmlns='{_PUBSUB}#event'><items node='{_NEW}:devices'>"
    f"<item id='current'><devices xmlns='{_NEW}'><device id='12345' label='x'/></devices></item>"
    "</items></event>",
}
_QUERIES: Final = {
    "publish": f"type='set'><pubsub xmlns='{_PUBSUB}'><publish node='{_OLD}.devicelist'><item id='current'>"
    f"{_DEVICES}</item></publish><publish-options><x xmlns='jabber:x:data' type='submit'>"
    f"<field type='hidden' var='FORM_TYPE'><value>{_PUBSUB}#publish-options</value></field>"
    "<field var='pubsub#access_model'><value>open</value></field></x></publish-options></pubsub>",
    "bundles": f"type='get'><pubsub xmlns='{_PUBSUB}'><items node='{_OLD}.bundles:31415'/></pubsub>",
}


@pytest.fixture(params=WAYS)
def pair(request: pytest.FixtureRequest, lab: Edge, whole: dict[str, WholeRouter]) -> Pair:  # noqa: ARG001
    """Two fresh users, on each way."""
    return Pair.fresh(lab, request.param)


def test_sealed_messages_and_events(pair: Pair) -> None:
    """What one program wrote is what the other one reads, whatever the servers and routers know of it."""
    for sender, receiver in pair.both_ways:
        sent = {}
        for name, text in _MESSAGES.items():
            inside = text.replace("{to}", receiver.address).replace("{from_}", sender.address)
            head = f"<message xmlns='jabber:client' to='{receiver.address}/desk' id='{name}' "
            sent[name] = f"{head}{inside}</message>"
            sender.ask("raw", xml=sent[name])
        for name, xml in sent.items():
            got = receiver.until(lambda one, name=name: one.get("id") == name, name)  # type: ignore[misc]
            assert bare(got.get("from", "")) == sender.address
            assert difference(xml, got) is None, etree.tostring(got)


def test_queries_of_one_program_to_another(pair: Pair) -> None:
    """They arrive as they were sent, and what is answered arrives as it was answered."""
    for sender, receiver in pair.both_ways:
        for name, text in ((f"{name}-{sender.address}", text) for name, text in _QUERIES.items()):
            sent = f"<iq xmlns='jabber:client' to='{receiver.address}/desk' id='{name}' {text}</iq>"
            sender.ask("raw", xml=sent)
            got = receiver.until(lambda one, name=name: one.get("id") == name, name)  # type: ignore[misc]
            assert difference(sent, got) is None, etree.tostring(got)
            answer = sender.until(lambda one, name=name: one.get("id") == name, "the answer")  # type: ignore[misc]
            assert (answer.get("type"), answer.get("from")) == ("error", f"{receiver.address}/desk")


def test_devices_and_keys_are_found(pair: Pair) -> None:
    """As programs do it: published at one's own server, told to who watches, and fetched from there."""
    node = f"{_OLD}.devicelist"
    # they see each other, and say that they want to be told of devices
    for owner, other in pair.both_ways:
        other.ask("presence", to=owner.address, kind="subscribe")
        owner.until(lambda one: one.get("type") == "subscribe", "the wish")
        owner.ask("presence", to=other.address, kind="subscribed")
        other.until(lambda one: one.get("type") == "subscribed", "the consent")
    for owner, other in pair.both_ways:
        other.ask("interest", node=node)
        bundle = f"<bundle xmlns='{_OLD}'><identityKey>b64</identityKey></bundle>"
        for to, inside in ((node, _DEVICES), (f"{_OLD}.bundles:31415", bundle)):
            published = (
                f"<iq xmlns='jabber:client' type='set' id='{to}'><pubsub xmlns='{_PUBSUB}'>"
                f"<publish node='{to}'><item id='current'>{inside}</item></publish></pubsub></iq>"
            )
            owner.ask("raw", xml=published)
            done = owner.until(lambda one, to=to: one.get("id") == to, to)  # type: ignore[misc]
            assert done.get("type") == "result", etree.tostring(done)
        path = f"{{{_PUBSUB}#event}}event/{{*}}items[@node='{node}']/{{*}}item"
        event = other.until(
            lambda one, owner=owner, path=path: (  # type: ignore[misc]
                bare(one.get("from", "")) == owner.address and one.find(path) is not None
            ),
            "the devices",
        )
        devices = event.find(".//{*}list")
        assert devices is not None
        assert difference(_DEVICES, devices) is None
        ask = f"<pubsub xmlns='{_PUBSUB}'><items node='{_OLD}.bundles:31415'/></pubsub>"
        other.ask("raw", xml=f"<iq to='{owner.address}' type='get' id='keys'>{ask}</iq>")
        keys = other.until(lambda one: one.get("id") == "keys", "the keys")
        assert keys.get("type") == "result", etree.tostring(keys)
        assert keys.findtext(".//{*}identityKey") == "b64"
