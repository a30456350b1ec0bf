"""Foreign forms at the switch: what they are judged as, and which never come over IMX."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.vocabulary import Reason
from imxrouter.routing.limits import Rate, SenderRates
from imxrouter.routing.overload import Level
from imxrouter.routing.rules import Right
from imxrouter.switch import slots
from imxrouter.switch.checks import Checks
from imxrouter.switch.forms import (
    ASKED,
    HANDED_OUT,
    NOTHING,
    SET,
    WHOLE,
    is_presence,
    part_of,
    right_of_form,
)
from imxrouter.switch.ports import Port, Role
from imxrouter.wire.record import Envelope, Record, encode_record
from imxrouter.wire.registry import FORMS, RecordType
from tests.switch.rig import ALICE, BOB, FAR, HERE, PEER, Rig, message

CHAT = b"xmpp\0<message from='alice@peer.example'><body>hi</body></message>"
PRESENCE = b"xmpp\0<presence/>"
CANDIDATE = (
    b"xmpp\0<iq to='bob@here.example/desk' type='set' id='i'><jingle xmlns='urn:xmpp:jingle:1'"
    b" action='transport-info' sid='s'><content creator='initiator' name='audio'>"
    b"<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'><candidate port='1'/></transport></content>"
    b"</jingle></iq>"
)
RINGS = CANDIDATE.replace(b"transport-info", b"session-initiate")
OFFERS = b"xmpp\0<iq to='bob@here.example/desk' type='set'><x xmlns='http://jabber.org/protocol/si'/></iq>"


def form(body: bytes, number: int = 1, rtype: int = RecordType.FOREIGN, **more: object) -> Record:
    """A form from alice@peer.example to bob@here.example."""
    return message(number, type=rtype, body=body, **more)


def rig(**checks: bool) -> Rig:
    """One whose domain takes both types."""
    made = Rig(Checks(**checks))
    made.switch.routes[HERE].types |= FORMS
    return made


@pytest.mark.parametrize(
    ("body", "right", "presence"),
    [
        (CHAT, Right.MESSAGE, False),
        (b"xmpp\0<iq type='get'/>", Right.MESSAGE, False),
        (b"xmpp\0<iq id='1' type = \"result\"/>", None, False),
        (b"xmpp\0<iq type='error'>", None, False),
        (PRESENCE, None, True),
        (b"xmpp\0<presence type='unavailable'/>", None, True),
        (b"xmpp\0<presence from='a>b' type='probe'>", Right.FETCH, True),
        (b"xmpp\0<presence type='subscribe'/>", Right.SUBSCRIBE, True),
        (b"xmpp\0<presence type='s&#117;bscribe'/>", Right.SUBSCRIBE, True),
        # names that only begin so, prefixes, and tags that hide their type are judged as a message
        (b"xmpp\0<presence:message xmlns:presence='jabber:server'/>", Right.MESSAGE, False),
        (b"xmpp\0<presences/>", Right.MESSAGE, False),
        (b"xmpp\0 <presence/>", Right.MESSAGE, False),
        (b"xmpp\0<presence a='\"/>", Right.MESSAGE, False),
        (b"xmpp\0<presence id=' type=\"unavailable\" ' type='subscribe'/>", Right.SUBSCRIBE, True),
        (b"sip\0<presence/>", Right.MESSAGE, False),
        (b"", Right.MESSAGE, False),
    ],
)
def test_a_form_is_judged_as_what_it_plainly_is(body: bytes, right: Right | None, presence: bool) -> None:
    """And as a message where that is not plain."""
    data = encode_record(form(body))
    assert right_of_form(data) is right
    assert is_presence(data) is presence


TO_ROOM, FROM_ROOM = (
    b"xmpp\0<message from='%s' to='%s' type='groupchat'><body>hi</body></message>" % ends
    for ends in (
        (b"alice@peer.example/desk", b"room@here.example"),
        (b"room@peer.example/alice", b"bob@here.example/desk"),
    )
)


#: One of the messages that an archive holds, as XEP-0313 section 4.2 has it.
ARCHIVED = (
    b"xmpp\0<message to='bob@here.example/desk'><result xmlns='urn:xmpp:mam:2' id='1'><forwarded>"
    b"<delay a='>'/><message><body>hi</body></message></forwarded></result></message>"
)
SPAM = b"<body>buy</body>"


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (ARCHIVED, HANDED_OUT),
        (ARCHIVED.replace(b"/desk", b""), WHOLE),
        (ARCHIVED.replace(b"mam:2", b"ma:m"), WHOLE),
        (ARCHIVED.replace(b"result", b"results"), WHOLE),
        # something beside it, which programs show
        (ARCHIVED.replace(b"<result", SPAM + b"<result"), WHOLE),
        (ARCHIVED.replace(b"</result>", b"</result>" + SPAM), WHOLE),
        (ARCHIVED.replace(b"</result>", b"</result>" + SPAM + b"<result></result>"), WHOLE),
        (ARCHIVED.replace(b"<forwarded>", b"<![CDATA[<x>]]></result>" + SPAM + b"<y><forwarded>"), WHOLE),
        (
            b"xmpp\0<message to='b@here.example/d'><result xmlns='urn:xmpp:mam:2'/>" + SPAM + b"</message>",
            WHOLE,
        ),
        (b"xmpp\0<message to='b@here.example/d'><result xmlns='urn:xmpp:mam:2'/></message>", HANDED_OUT),
        (b"xmpp\0<message to='b@here.example/d'><x xmlns='urn:xmpp:mam:2'/></message>", WHOLE),
        (b"xmpp\0<message to='b@here.example/d'><result xmlns='urn:xmpp:mam:2'>", WHOLE),
        (b"xmpp\0<message to='b@here.example/d' a='urn:xmpp:mam:2'/>", WHOLE),
        (CHAT, WHOLE),
        (CHAT.replace(b"hi", b"groupchat"), WHOLE),
        (TO_ROOM, WHOLE),
        (FROM_ROOM, HANDED_OUT),
        (FROM_ROOM.replace(b"type='groupchat'", b'type = "groupchat" '), HANDED_OUT),
        (FROM_ROOM.replace(b"groupchat", b"chat"), WHOLE),
        (FROM_ROOM.replace(b"groupchat", b"group&#99;hat"), WHOLE),
        (b"xmpp\0<message to='bob@here.example' a='x/y' type='groupchat'/>", WHOLE),
        (b"xmpp\0<message to='bob@here.example/desk' type='groupchat' a='>", WHOLE),
        (b"xmpp\0<iq type='get'/>", ASKED),
        (b"xmpp\0<iq type='set'/>", SET),
        (CANDIDATE, SET),
        (CANDIDATE.replace(b"port='1'", b"port='&quot;'"), SET),
        (RINGS, WHOLE),
        (RINGS.replace(b"<jingle", b"<j:jingle xmlns:j='urn:xmpp:jingle:1'"), WHOLE),
        (RINGS.replace(b"<jingle", b"<x/><jingle"), WHOLE),
        (RINGS.replace(b"-initiate", b"&#45;initiate"), WHOLE),
        (RINGS.replace(b"-initiate", b"-&#x69;nitiate"), WHOLE),
        (OFFERS, WHOLE),
        (OFFERS.replace(b"/si'", b"/rosterx'"), WHOLE),
        (OFFERS.replace(b"/si'", b"/ibb'"), SET),
        (b"xmpp\0<iq type='SET'/>", WHOLE),
        (b"xmpp\0<iq/>", WHOLE),
        (b"xmpp\0<iq type='result'/>", NOTHING),
        (b"xmpp\0<iq type='error'/>", NOTHING),
        (PRESENCE, NOTHING),
        (b"xmpp\0<presence type='unavailable'/>", NOTHING),
        (b"xmpp\0<presence type='probe'/>", NOTHING),
        (b"xmpp\0<presence type='subscribed'/>", NOTHING),
        (b"xmpp\0<presence type='subscribe'/>", WHOLE),
        (b"xmpp\0<presence:message xmlns:presence='jabber:server'/>", WHOLE),
        (b"sip\0<presence/>", WHOLE),
        (b"", WHOLE),
    ],
)
def test_what_a_server_tells_many_costs_less_of_a_rate(body: bytes, part: float) -> None:
    """Presence, what is said in rooms, and answers; whatever is not plainly that is a message."""
    data = encode_record(form(body))
    assert part_of(data) == part
    made = rig()
    payer = b"@peer.example" if part == HANDED_OUT else b"alice@peer.example"
    made.feed(made.peer, form(body))
    assert [one.body for one in made.out(made.service)] == [body]
    cost = {who: arrival - made.now for who, arrival in made.rates.arrivals.items()}
    assert cost == (pytest.approx({payer: 0.001 * part}, abs=1e-9) if part else {})
    made.rates.arrivals.clear()
    made.rates.wait_s = {b"alice@peer.example": 2.5, b"@peer.example": 2.5}
    made.feed(made.peer, form(body, 2))
    if part:
        assert made.outcome(made.peer).reason is Reason.RATE_LIMITED
    else:
        assert [one.body for one in made.out(made.service)] == [body]


USUAL = Rate.of(5.0, 20)


def rated(rate: Rate) -> Rig:
    """One with a rate for each sender, and no limits of recipients and links."""
    made = rig(credit=False, duplicates=False)
    made.switch.rates = SenderRates(rate.interval_s, rate.burst_s)
    proof = made.peer.sources[PEER]
    made.peer.sources[PEER] = (*proof[:3], rate.interval_s, rate.burst_s, proof[5])
    return made


def test_a_program_that_begins_asks_of_all_contacts() -> None:
    """Three things of each of 600 at once, and he writes all the same; who goes on and on is held back."""
    made = rated(USUAL)
    ask = b"xmpp\0<iq type='get'/>"
    for number in range(1800):
        made.feed(made.peer, form(ask, number + 1))
    assert len(made.out(made.service)) == 1800
    made.feed(made.peer, form(CHAT, 2000))
    assert len(made.out(made.service)) == 1
    for number in range(3000, 3400):
        made.feed(made.peer, form(ask, number))
    assert len(made.out(made.service)) < 100


def test_a_call_of_many_candidates_is_begun_at_once() -> None:
    """Sixty, and he writes all the same; who goes on and on is held back, and who rings sooner."""
    made = rated(USUAL)
    made.feed(made.peer, form(RINGS, 1))
    for number in range(60):
        made.feed(made.peer, form(CANDIDATE, number + 2))
    made.feed(made.peer, form(CHAT, 100))
    assert [one.body for one in made.out(made.service)] == [RINGS, *[CANDIDATE] * 60, CHAT]
    for number in range(1000, 1400):
        made.feed(made.peer, form(CANDIDATE, number))
    assert len(made.out(made.service)) == 281, "twenty for each of the fourteen messages that were left"
    ringing = rated(USUAL)
    for number in range(60):
        ringing.feed(ringing.peer, form(RINGS, number + 1))
    assert len(ringing.out(ringing.service)) == 20


def test_what_rooms_say_is_bounded_by_their_domain() -> None:
    """Whichever names it makes up; what its users write in their own names is not touched by it."""
    made = rated(Rate.of(0.05, 2))
    for number in range(1200):
        said = Envelope(BOB, HERE, b"room%d" % number, PEER)
        made.feed(made.peer, form(FROM_ROOM, number + 1, envelope=said))
    assert len(made.out(made.service)) == 1002
    made.feed(made.peer, form(CHAT, 2000))
    assert len(made.out(made.service)) == 1


def test_rooms_may_be_large() -> None:
    """By the usual rates a room of a thousand people hears nineteen things at once, and five a second."""
    rates = SenderRates(USUAL.interval_s, USUAL.burst_s)

    def heard(now: float) -> int:
        waits = (rates.admit(b"@r.example", b"r.example", now, part=HANDED_OUT) for _ in range(25_000))
        return sum(wait <= 0 for wait in waits)

    assert (heard(0.0), heard(2.0)) == (19_002, 9_999)


@given(st.binary(max_size=80))
def test_any_bytes_are_judged(tail: bytes) -> None:
    """Total; nothing but the start of a tag makes a form milder than a message."""
    data = encode_record(form(b"xmpp\0<" + tail))
    if right_of_form(data) is not Right.MESSAGE:
        assert tail.startswith((b"presence", b"iq"))


def test_a_long_tag_costs_linear_time() -> None:
    """A quarter of a megabyte of attributes that never end in a tag."""
    body = b"xmpp\0<presence" + b" a='b'" * 10_000
    assert not is_presence(encode_record(form(body)))


@pytest.mark.parametrize("inside", [b"<a b='c'>", b"<a b='c' ", b"<a b='<a b=", b"<", b"</a", b"<a b='c'/>"])
def test_what_is_said_to_be_of_an_archive_is_read_in_linear_time(inside: bytes) -> None:
    """Twice as many bytes take no more than about twice as long, whatever they are."""
    head = b"xmpp\0<message to='b@here.example/d'><result xmlns='urn:xmpp:mam:2'>"

    def seconds(times: int) -> float:
        data = encode_record(form(head + inside * (times // len(inside))))

        def once() -> float:
            began = time.process_time()
            assert part_of(data) == WHOLE
            return time.process_time() - began

        return min(once() for _ in range(3))

    assert seconds(240_000) < 60 * seconds(24_000) + 0.01


@pytest.mark.parametrize("role", [Role.PEER, Role.SERVICE])
@pytest.mark.parametrize("guarded", [True, False])
def test_what_is_internal_comes_over_no_link(guarded: bool, role: Role) -> None:
    """Whatever the domain has enabled; taken away, the check lets it pass."""
    made = rig(internal=guarded)
    port, out = (made.peer, made.service) if role is Role.PEER else (made.service, made.service)
    if role is Role.SERVICE:
        to_from = Envelope(BOB, HERE, ALICE, HERE)
        made.feed(port, form(CHAT, rtype=RecordType.STANZA, envelope=to_from))
    else:
        made.feed(port, form(CHAT, rtype=RecordType.STANZA))
    if guarded:
        assert made.outcome(port).reason is Reason.TYPE_NOT_ENABLED
        assert slots.refusals(made.switch.counters, Reason.TYPE_NOT_ENABLED) == 1
    else:
        (passed,) = made.out(out)
        assert passed.type == RecordType.STANZA
    assert made.switch.conservation() == []


def test_a_service_over_imx_cannot_send_it_elsewhere() -> None:
    """Before anything is looked up or held for it."""
    made = rig()
    made.feed(made.service, form(CHAT, rtype=RecordType.STANZA, envelope=Envelope(BOB, FAR, ALICE, HERE)))
    assert made.outcome(made.service).reason is Reason.TYPE_NOT_ENABLED
    assert made.switch.held == []


@pytest.mark.parametrize("role", [Role.SERVICE, Role.PROCESS])
def test_gateways_and_processes_of_ours_hand_it_over(role: Role) -> None:
    """A gateway's own link says so of itself; another process has judged it where it came in."""
    made = rig()
    port = made.port(9, role)
    assert port.internal is (role is Role.PROCESS)
    port.internal = True
    made.prove(port, PEER)
    made.feed(port, form(CHAT, rtype=RecordType.STANZA))
    (passed,) = made.out(made.service)
    assert (passed.type, passed.body) == (RecordType.STANZA, CHAT)


def test_a_domain_that_does_not_take_it_is_not_given_it() -> None:
    """Its service speaks IMX and would not know it."""
    made = Rig()
    made.peer.internal = True
    made.feed(made.peer, form(CHAT, rtype=RecordType.STANZA))
    assert made.outcome(made.peer).reason is Reason.TYPE_NOT_ENABLED


def _crowded(made: Rig) -> Port:
    """Bob has got all the messages that he takes for now."""
    route = made.switch.routes[HERE]
    place = made.switch._check_target(BOB + b"@" + HERE)
    assert place is not None
    made.switch.inboxes.due[place[2]] = made.now + 60
    route.calm, route.watched_until = -1, made.now + 60
    route.inbox = ((1.0, 10.0), (1.0, 10.0), (0, 0.0))
    return made.peer


def test_a_form_counts_among_the_messages_to_its_recipient() -> None:
    """Else FOREIGN would be a way round the limit; presence is no message to him."""
    made = rig()
    port = _crowded(made)
    made.feed(port, form(CHAT, 1))
    assert made.outcome(port).reason is Reason.BUSY
    made.feed(port, form(PRESENCE, 2))
    assert [one.body for one in made.out(made.service)] == [PRESENCE]


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        (PRESENCE, False),
        (b"xmpp\0<presence type='unavailable'/>", True),
        (b"xmpp\0<presence type='error'/>", True),
        (b"xmpp\0<presence type='unsubscribed'/>", True),
        (b"xmpp\0<presence type='probe'/>", True),
        (b"xmpp\0<iq type='result'/>", True),
    ],
)
def test_presence_that_the_router_says_again_is_shed_as_well(body: bytes, passes: bool) -> None:
    """It comes again; what it says once, in its own name or to end something, passes."""
    made = rig()
    own = made.port(9, Role.SERVICE)
    own.internal = True
    own.sources[PEER] = made.peer.sources[PEER]
    made.switch.inside.append(own)
    stanza = form(body, 1, RecordType.STANZA)
    made.switch.shed = Level.MESSAGES
    made.feed(own, stanza)
    assert [one.body for one in made.out(made.service)] == ([body] if passes else [])
    if not passes:
        assert made.outcome(own).reason is Reason.BUSY
    made.switch.shed = Level.NOTHING
    made.feed(own, form(body, 2, RecordType.STANZA))
    assert [one.body for one in made.out(made.service)] == [body]


def test_forms_are_shed_by_what_they_are() -> None:
    """Presence first, messages with the messages."""
    made = rig()
    made.switch.shed = Level.PRESENCE
    made.feed(made.peer, form(CHAT, 1), form(PRESENCE, 2))
    assert [one.body for one in made.out(made.service)] == [CHAT]
    assert made.outcome(made.peer).reason is Reason.BUSY
    made.switch.shed = Level.MESSAGES
    made.feed(made.peer, *(form(CHAT, 10 + number) for number in range(4)))
    assert made.out(made.service) == []
    assert [one.type for one in made.out(made.peer)] == [RecordType.FOREIGN_RESPONSE] * 4
