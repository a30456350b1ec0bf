"""A router that is a gateway for the users of a server: addresses at its component stand for others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.gateways.xmpp.streams import pool
from imxrouter.model.vocabulary import Reason
from tests.attacks.stream_routers import wait_for_message
from tests.doubles.component import ComponentPeer, ComponentServer, attached_table, secret_file
from tests.doubles.raw_peer import text_message
from tests.doubles.router_rig import Lab, RouterRig

A, GW, LISTED, FAR = "a.example", "gw.a.example", "listed.example", "far.example"
ALICE, BOB = f"alice@{A}", f"bob@{FAR}"
BOB_HERE = f"bob\\40{FAR}@{GW}"


class Gated:
    """A router that is a gateway at a server, and a router far away.

    Attributes:
        peer: the stream of the gateway.
        streams: all, by their names.
    """

    def __init__(self, lab: Lab, more: str = "", listed: tuple[str, ...] = (LISTED,), **options: Any) -> None:
        self.lab, self.server = lab, ComponentServer()
        table = attached_table("chat", self.server, secret_file(lab), *listed)
        table += f'gateway = "{GW}"\n{more}[[domain]]\nname = "{A}"\nservice = "chat"\n'
        table += '[[domain]]\nname = "second.example"\nservice = "chat"\n'
        self.rig: RouterRig = lab.router("b.example", tables=table, **options)
        lab.publish(A, self.rig.endpoint)
        self.far: RouterRig = lab.router(FAR)
        self.streams: dict[str, ComponentPeer] = {}
        for _ in (GW, *listed):
            peer = self.server.accept()
            self.streams[peer.take()] = peer
        self.peer = self.streams[GW]
        lab.wait_until(
            lambda: [one.is_open for one in self.rig.router.behind.streams()] == [True] * len(self.streams),
            "they are open",
        )

    def asks(self, xml: str) -> Stanza:
        """Alice sends something; the next stanza of the router's that is no ping."""
        self.peer.send(xml)
        return next_of(self.peer)

    def inbox(self, user: str = BOB) -> list[tuple[str, str]]:
        """What a far user has, once he has something."""
        wait_for_message(self.lab, self.far, user)
        return list(self.far.inbox(user))

    def close(self) -> None:
        """Close the streams."""
        for peer in self.streams.values():
            peer.close()
        self.server.close()


@pytest.fixture
def gated(lab: Lab) -> Iterator[Gated]:
    """Both streams are there."""
    made = Gated(lab)
    yield made
    made.close()


def next_of(peer: ComponentPeer) -> Stanza:
    """The next stanza that is no ping; those are answered."""
    while True:
        one = peer.stanza()
        if one.kind == "iq" and b"urn:xmpp:ping" in one.raw and one.type == "get":
            peer.pong(one.ident, one.to, one.from_)
        else:
            return one


def pinged(peer: ComponentPeer) -> None:
    """Answer the next ping."""
    one = peer.stanza()
    assert b"urn:xmpp:ping" in one.raw
    assert (one.from_, one.to) == (GW, A)
    peer.pong(one.ident, one.to, one.from_)


def test_messages_both_ways(gated: Gated) -> None:
    """Outside Alice is who she is, and Bob is at her server who his gateway address says."""
    gated.peer.says(f"{ALICE}/desk", BOB_HERE, "hello")
    assert gated.inbox() == [(ALICE, "hello")]
    sent = gated.far.send(BOB, ALICE, "and hello to you")
    got = gated.peer.stanza()
    assert (got.from_, got.to) == (BOB_HERE, ALICE)
    assert b"<body>and hello to you</body>" in got.raw
    pinged(gated.peer)
    assert sent.outcome().ok


def test_errors_both_ways(gated: Gated) -> None:
    """One for Alice comes from the address that she wrote to; hers for Bob is the outcome of his message."""
    nobody = f"nobody\\40{FAR}@{GW}"
    told = gated.asks(f"<message from='{ALICE}' to='{nobody}' id='1'><body>x</body></message>")
    assert (told.type, told.from_, told.to, told.ident) == ("error", nobody, ALICE, "1")
    sent = gated.far.send(BOB, ALICE, "are you there")
    got = gated.peer.stanza()
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    gated.peer.send(
        f"<message type='error' from='{ALICE}' to='{BOB_HERE}' id='{got.ident}'>{error}</message>"
    )
    pinged(gated.peer)
    assert sent.outcome().reason is Reason.NOT_DELIVERED


def test_error_with_the_answer_to_a_ping_behind_it(lab: Lab) -> None:
    """Both in one read of the only stream: the error came first, and is the outcome."""
    gated = Gated(lab, listed=())
    sent = gated.far.send(BOB, ALICE, "are you there")
    got, ping = gated.peer.stanza(), gated.peer.stanza()
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    gated.peer.send(
        f"<message type='error' from='{ALICE}' to='{BOB_HERE}' id='{got.ident}'>{error}</message>"
        f"<iq type='result' from='{ping.to}' to='{ping.from_}' id='{ping.ident}'/>"
    )
    assert sent.outcome().reason is Reason.NOT_DELIVERED
    gated.close()


def test_users_of_the_router_itself(gated: Gated) -> None:
    """A domain that is served here and not listed goes by the gateway as well."""
    here = f"bob\\40b.example@{GW}"
    gated.peer.says(ALICE, here, "hello")
    wait_for_message(gated.lab, gated.rig, "bob@b.example")
    sent = gated.rig.send("bob@b.example", ALICE, "back")
    assert gated.peer.stanza().from_ == here
    pinged(gated.peer)
    assert sent.outcome().ok


def test_listed_domain_has_its_own_stream(gated: Gated) -> None:
    """It has one address at the server, not two."""
    other = gated.lab.router(LISTED)
    other.send(f"bob@{LISTED}", ALICE, "hello")
    assert gated.streams[LISTED].stanza().from_ == f"bob@{LISTED}"


STANZAS_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"


def condition(stanza: Stanza) -> tuple[str, str]:
    """Condition and words of a stanza error."""
    (error,) = [one for one in stanza.tree().children if one.name == "error"]
    named = [one for one in error.children if one.namespace == STANZAS_ERRORS]
    words = " ".join(one.text for one in named if one.name == "text")
    return next(one.name for one in named if one.name != "text"), words


@pytest.mark.parametrize(
    ("local", "named", "words", "reason"),
    [
        ("bob", "jid-malformed", "with one \\40", Reason.BAD_ADDRESS),
        ("bob.example", "jid-malformed", "with one \\40", Reason.BAD_ADDRESS),
        ("bob%far.example", "jid-malformed", "with one \\40", Reason.BAD_ADDRESS),
        ("bob\\40far.example\\40x.example", "jid-malformed", "with one \\40", Reason.BAD_ADDRESS),
        ("\\20bob\\40far.example", "jid-malformed", "with one \\40", Reason.BAD_ADDRESS),
        ("bob\\40", "jid-malformed", "", Reason.BAD_ADDRESS),
        ("bob\\40far", "jid-malformed", "no domain name", Reason.BAD_ADDRESS),
        ("bob\\40192.0.2.1", "jid-malformed", "no domain name", Reason.BAD_ADDRESS),
        ("bob\\40far.example\\2fx", "jid-malformed", "", Reason.BAD_ADDRESS),
        ("b" * 256 + "\\40far.example", "jid-malformed", "address-too-long", Reason.ADDRESS_TOO_LONG),
        ("b\\40xn--mnchen-3ya.example", "jid-malformed", "write b\\40münchen.example@gw", Reason.BAD_ADDRESS),
        ("b\\40listed.example", "jid-malformed", "write to listed.example without", Reason.BAD_ADDRESS),
        ("alice\\40a.example", "not-acceptable", "of your own server", Reason.LOOP),
        ("dave\\40second.example", "not-acceptable", "of your own server", Reason.LOOP),
        ("bob\\5c40far.example\\40gw.a.example", "not-acceptable", "through a gateway", Reason.LOOP),
        ("\\40gw.a.example", "not-acceptable", "through a gateway", Reason.LOOP),
    ],
)
def test_addresses_that_go_nowhere(gated: Gated, local: str, named: str, words: str, reason: Reason) -> None:
    """They are told with the reason, and what to write in words; it is counted, and the stream goes on."""
    told = gated.asks(f"<message from='{ALICE}' to='{local}@{GW}' id='1'><body>x</body></message>")
    assert (told.type, told.from_, told.to) == ("error", f"{local}@{GW}", ALICE)
    found, text = condition(told)
    assert found == named
    assert words in text
    assert gated.rig.refusals(reason) == 1
    gated.peer.says(ALICE, BOB_HERE, "hello")
    assert gated.inbox() == [(ALICE, "hello")]


def test_only_some_domains(lab: Lab) -> None:
    """Where the operator lists what the gateway reaches, nothing else is, either way."""
    gated = Gated(lab, 'gateway_domains = ["far.example", "*.far.example"]\n')
    gated.peer.says(ALICE, BOB_HERE, "hello")
    assert gated.inbox() == [(ALICE, "hello")]
    told = gated.asks(
        f"<message from='{ALICE}' to='eve\\40else.example@{GW}' id='1'><body>x</body></message>"
    )
    assert condition(told)[0] == "not-allowed"
    assert "else.example is not reached" in condition(told)[1]
    other = lab.router("else.example")
    assert other.send("bob@else.example", ALICE).outcome().reason is Reason.SERVICE_DOWN
    gated.close()


def test_block_is_of_the_address_that_is_meant(lab: Lab) -> None:
    """Rules know nothing of gateway addresses, and are not got round by them."""
    block = f'[[access.entry]]\nmatch = "{BOB}"\ndirection = "out"\naction = "block"\n'
    gated = Gated(lab, block)
    told = gated.asks(f"<message from='{ALICE}' to='{BOB_HERE}' id='1'><body>x</body></message>")
    assert told.type == "error"
    gated.peer.says(ALICE, f"bob2\\40{FAR}@{GW}", "hello")
    assert gated.far.inbox(BOB) == []
    gated.close()


# -- the gateway itself ------------------------------------------------------------------------------------


def asked(gated: Gated, type_: str, inside: str, to: str = GW) -> Stanza:
    """The answer to an iq of Alice's."""
    return gated.asks(f"<iq type='{type_}' from='{ALICE}/desk' to='{to}' id='q1'>{inside}</iq>")


def test_what_it_is(gated: Gated) -> None:
    """A gateway that understands escaped addresses and `jabber:iq:gateway`, and answers pings."""
    info = asked(gated, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
    assert (info.type, info.from_, info.to, info.ident) == ("result", GW, f"{ALICE}/desk", "q1")
    (query,) = info.tree().children
    identity = next(one for one in query.children if one.name == "identity")
    assert identity.attributes["category"] == "gateway"
    features = {one.attributes["var"] for one in query.children if one.name == "feature"}
    assert {"jabber:iq:gateway", "jid\\20escaping", "urn:xmpp:ping"} < features
    assert asked(gated, "get", "<ping xmlns='urn:xmpp:ping'/>").type == "result"
    items = asked(gated, "get", "<query xmlns='http://jabber.org/protocol/disco#items'/>")
    assert items.tree().children[0].children == []


def test_prompt_and_translation(gated: Gated) -> None:
    """XEP-0100 section 5.3: what to ask people for, and the gateway address of what they said."""
    prompt = asked(gated, "get", "<query xmlns='jabber:iq:gateway'/>")
    (query,) = prompt.tree().children
    assert [one.name for one in query.children] == ["desc", "prompt"]
    for typed, jid in (("Bob@far.example", BOB_HERE), ("o'malley@far.example", f"o\\27malley\\40{FAR}@{GW}")):
        said = asked(gated, "set", f'<query xmlns="jabber:iq:gateway"><prompt>{typed}</prompt></query>')
        (query,) = said.tree().children
        assert [(one.name, one.text) for one in query.children] == [("jid", jid)]


@pytest.mark.parametrize(
    ("typed", "named"), [("bob", "jid-malformed"), ("", "jid-malformed"), (f"x@{A}", "not-acceptable")]
)
def test_translation_of_what_is_none(gated: Gated, typed: str, named: str) -> None:
    """It is refused as a message to it would be."""
    said = asked(gated, "set", f"<query xmlns='jabber:iq:gateway'><prompt>{typed}</prompt></query>")
    assert (said.type, condition(said)[0]) == ("error", named)


@pytest.mark.parametrize(
    ("type_", "inside"),
    [
        ("get", "<query xmlns='jabber:iq:version'/>"),
        ("set", "<query xmlns='jabber:iq:register'/>"),
        ("get", ""),
    ],
)
def test_queries_that_it_does_not_know(gated: Gated, type_: str, inside: str) -> None:
    """There is nothing to register for, and nothing else to ask."""
    said = asked(gated, type_, inside)
    assert (said.type, condition(said)[0]) == ("error", "service-unavailable")


def test_message_to_the_gateway(gated: Gated) -> None:
    """Nobody reads it."""
    told = gated.asks(f"<message from='{ALICE}' to='{GW}' id='1'><body>x</body></message>")
    assert (told.type, told.from_, condition(told)[0]) == ("error", GW, "service-unavailable")


def test_gateway_in_a_list_of_contacts(gated: Gated) -> None:
    """Clients look for gateways there; it is seen while it is attached."""
    gated.peer.send(f"<presence type='subscribe' from='{ALICE}' to='{GW}'/>")
    both = [gated.peer.stanza() for _ in range(2)]
    assert [(one.type, one.from_, one.to) for one in both] == [("subscribed", GW, ALICE), ("", GW, ALICE)]
    gated.peer.send(f"<presence from='{ALICE}/desk' to='{GW}'/>")
    assert gated.asks(f"<presence type='probe' from='{ALICE}' to='{GW}'/>").type == ""
    assert gated.asks(f"<presence type='unsubscribe' from='{ALICE}' to='{GW}'/>").type == "unavailable"


def test_answers_cost_as_messages_do(lab: Lab) -> None:
    """Who asks the gateway without end is over his rate; his server's other users are answered."""
    gated = Gated(lab, settings={"limits.sender_burst": 5, "limits.sender_rate_per_s": 1})
    ping = "<iq type='get' from='{}' to='{}' id='{}'><ping xmlns='urn:xmpp:ping'/></iq>"
    for number in range(30):
        gated.peer.send(ping.format(f"{ALICE}/desk", GW, number))
    said = [next_of(gated.peer) for _ in range(30)]
    over = [one for one in said if one.type == "error"]
    assert 20 <= len(over) <= 26
    assert {condition(one)[0] for one in over} == {"policy-violation"}
    gated.peer.send(ping.format(f"carol@{A}/desk", GW, "c"))
    assert next_of(gated.peer).type == "result"
    gated.close()


# -- who may use it, and what is kept ----------------------------------------------------------------------


def test_stranger_is_seen(lab: Lab) -> None:
    """Who has no business there is told, counted, and found by the domain in the traces."""
    gated = Gated(lab, settings={"log.trace_entries": 100})
    gated.peer.send(
        f"<message from='mallory@world.example' to='{BOB_HERE}' id='e1'><body>spam</body></message>"
    )
    told = next_of(gated.peer)
    assert (told.from_, told.to) == (BOB_HERE, "mallory@world.example")
    assert condition(told)[0] == "not-allowed"
    assert gated.rig.refusals(Reason.RELAY_DENIED) == 1
    trace = gated.rig.router.trace
    (ident,) = gated.rig.call(lambda: trace.of_origin("e1"))
    (row,) = gated.rig.call(lambda: trace.find(ident))
    assert (row.get("reason"), row.get("domain")) == ("relay-denied", GW)
    assert "world.example" in row.get("source")
    assert "mallory" not in str(row)
    gated.close()


def test_spelling_is_kept_out_of_traces(lab: Lab) -> None:
    """Who wrote an address otherwise is told the right one; traces have of it the domain alone."""
    gated = Gated(lab, settings={"log.trace_entries": 100})
    told = gated.asks(
        f"<message from='{ALICE}' to='bob\\40far.example.@{GW}' id='m1'><body>x</body></message>"
    )
    assert BOB_HERE in condition(told)[1]
    trace = gated.rig.router.trace
    (ident,) = gated.rig.call(lambda: trace.of_origin("m1"))
    (row,) = gated.rig.call(lambda: trace.find(ident))
    assert row.get("note") == "bad-address: not the one spelling of a gateway address"
    assert "bob" not in str(row)
    gated.close()


def test_stranger_outside(gated: Gated) -> None:
    """Gateway addresses are the server's own matter: nobody reaches the router for them."""
    link = gated.lab.organisation("m.example").proved_link(gated.rig)
    link.send(text_message("mallory@m.example", f"bob\\40b.example@{GW}", "spam"))
    assert link.outcome().reason is Reason.RELAY_DENIED
    assert gated.rig.inbox("bob@b.example") == []


def test_ways_are_bounded(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """The world has many domains: those that wrote last are remembered, and all can write."""
    monkeypatch.setattr(pool, "WAYS_AT_MOST", 2)
    here = gated.rig.router.behind.pools["chat"]
    others = [gated.lab.router(f"r{number}.example") for number in range(4)]
    for _ in range(2):
        for number, rig in enumerate(others):
            sent = rig.send(f"bob@r{number}.example", ALICE)
            assert next_of(gated.peer).from_ == f"bob\\40r{number}.example@{GW}"
            pinged(gated.peer)
            assert sent.outcome().ok
            assert len(here._ways) <= 2


def test_name_of_another_components_user(gated: Gated) -> None:
    """What is for no name of ours is answered, and counted; the stream goes on."""
    gated.peer.says(ALICE, BOB, "hello")
    told = next_of(gated.peer)
    assert (told.from_, told.to, condition(told)[0]) == (BOB, ALICE, "not-allowed")
    assert gated.rig.refusals(Reason.RELAY_DENIED) == 1
    gated.peer.says(ALICE, BOB_HERE, "hello")
    assert gated.inbox() == [(ALICE, "hello")]


def test_server_that_brings_it_on_another_stream(gated: Gated) -> None:
    """Ejabberd takes any stream of a listener for what is to any component of it."""
    gated.streams[LISTED].says(ALICE, BOB_HERE, "hello")
    assert gated.inbox() == [(ALICE, "hello")]
    assert not re.search(r"@gw\.", str(gated.far.inbox(BOB)))
