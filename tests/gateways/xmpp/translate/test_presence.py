"""Presence stanzas and documents: what the rows of the mapping's section 5 leave to rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.formats.pidf import read_pidf, write_pidf
from imxrouter.gateways.xmpp.translate import showing
from imxrouter.gateways.xmpp.translate.presence import (
    MAX_DOCUMENT_BYTES,
    MAX_EXTENSION_BYTES,
    MAX_EXTENSIONS,
    Resource,
    presence_of,
    resource_of,
    resource_of_id,
    tuple_id,
)
from imxrouter.gateways.xmpp.translate.reserved import is_reserved
from imxrouter.gateways.xmpp.translate.showing import NOTHING, Asked, Shown, hide, show
from imxrouter.model.domain import Domain
from imxrouter.model.presence import Basic, Contact, Presence, PresenceTuple, Unknown, same_meaning
from imxrouter.model.vocabulary import Reason
from tests.formats.presence_strategies import CALM, assert_valid, states
from tests.gateways.xmpp.translate.presences import ALICE, BOB, NOW, read, resources, said

ASKED = Asked(NOW, "p1")
DOUBT = Unknown(ALICE, Reason.UNREACHABLE, Domain.parse("a.example"))
CAPS = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>"


def by_name(found: list[Resource]) -> dict[str, Resource]:
    """The last word of each resource, as a pair keeps it."""
    return {one.name: one for one in found}


@CALM
@given(st.text(max_size=40))
def test_ids_of_resources_are_one_to_one(resource: str) -> None:
    """Whatever a resource is, its id is an xs:ID; each resource that PRECIS allows comes back."""
    ident = tuple_id(resource.encode("utf-8", "replace").decode())
    PresenceTuple(ident)
    back = resource_of_id(ident)
    assert back in {resource, ident}


@CALM
@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9._-]{0,12}|ID-([a-z]|_[0-9a-f]{2}){0,6}", fullmatch=True))
def test_no_two_ids_decode_to_one_coded_resource(ident: str) -> None:
    """An id that decodes is the only spelling of its resource; all others are taken whole."""
    resource = resource_of_id(ident)
    assert resource == ident or tuple_id(resource) == ident


@CALM
@given(st.lists(resources(), max_size=5))
def test_what_resources_say_is_a_good_document_and_comes_back(found: list[Resource]) -> None:
    """The schema holds, reading it again changes nothing, and a watcher sees each open resource once."""
    mine = by_name(found)
    state = presence_of(ALICE, mine.values())
    document = write_pidf(state)
    assert_valid(document)
    assert state.tuples
    assert same_meaning(read_pidf(document), state)
    shown, stanzas = show(NOTHING, read_pidf(document), BOB)
    there = {name for name, one in mine.items() if one.tuple.basic is Basic.OPEN}
    assert {one.resource for one in stanzas} == there == set(shown.resources)
    assert show(shown, state, BOB) == (shown, ())


@CALM
@given(st.lists(resources(), max_size=4))
def test_a_resource_comes_back_as_it_was(found: list[Resource]) -> None:
    """From stanza to tuple to stanza to tuple: the second time nothing changes any more."""
    for one in by_name(found).values():
        state = presence_of(ALICE, [one])
        _, stanzas = show(NOTHING, state, BOB, ASKED)
        again = [resource_of(read(each), each.resource, ALICE, NOW) for each in stanzas]
        if one.tuple.basic is Basic.OPEN:
            assert again == [one]


@CALM
@given(st.lists(states() | st.just(DOUBT), min_size=1, max_size=6))
def test_the_watcher_is_left_with_the_last_state(found: list[Presence | Unknown]) -> None:
    """Any documents, of any system: what stanzas say adds up to the open tuples of the last one."""
    shown, available = NOTHING, set[str]()
    for one in found:
        state = replace(one, presentity=ALICE)
        before = shown
        shown, stanzas = show(shown, state, BOB)
        assert len(stanzas) <= len(before.resources) + len(shown.resources) + 1
        for each in stanzas:
            read(each)
            if each.type == "":
                available.add(each.resource)
            else:
                available.discard(each.resource)
        assert available == set(shown.resources)
        assert show(shown, state, BOB) == (shown, ())
    last = replace(found[-1], presentity=ALICE)
    wanted = set() if isinstance(last, Unknown) else set(showing.open_resources(last))
    assert available == wanted
    assert {one.resource for one in hide(shown, ALICE, BOB)} == wanted


@CALM
@given(states())
def test_what_was_shown_alone_decides_what_is_sent(state: Presence) -> None:
    """A probe is answered whole, and it leaves what is shown as it was."""
    shown, first = show(NOTHING, state, BOB)
    again, stanzas = show(shown, state, BOB, ASKED)
    assert again == shown
    assert [one.resource for one in stanzas] == ([one.resource for one in first] or [""])
    assert stanzas[0].type == ("" if shown.resources else "unavailable")


def test_a_crowd_of_talkative_resources_still_makes_a_small_document() -> None:
    """Details of the least preferred go first, then resources; what is negative stays negative."""
    text = "\u20ac" * 1024
    inside = (
        f"<priority>-1</priority><status>{text}</status><status xml:lang='cs'>{text}</status>"
        + f"<x xmlns='urn:example:x'>{'y' * 3900}</x>" * 12
    )
    state = presence_of(ALICE, [said(inside, "", f"r{number}") for number in range(300)])
    document = write_pidf(state)
    assert MAX_DOCUMENT_BYTES // 2 < len(document) <= MAX_DOCUMENT_BYTES
    read_pidf(document)
    assert len(state.tuples) == 100
    assert all(any(each.name == "priority" for each in one.extensions) for one in state.tuples)
    long = [said("", "", "\u20ac" * 341 + str(number)) for number in range(10, 99)]
    assert len(write_pidf(presence_of(ALICE, long))) <= MAX_DOCUMENT_BYTES


def test_the_largest_extensions_are_left_out() -> None:
    """At most eight of 4,096 bytes; the order of the others stays."""
    inside = "".join(
        f"<x{number} xmlns='urn:example:x'>{'y' * (500 * number)}</x{number}>" for number in range(9, 0, -1)
    )
    names = [one.name for one in said(inside).tuple.extensions]
    assert names == [f"x{number}" for number in range(8, 0, -1)]
    assert all(len(one.xml) <= MAX_EXTENSION_BYTES for one in said(inside).tuple.extensions)
    assert len(names) == MAX_EXTENSIONS


ACTING = [
    "http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#user", "urn:xmpp:carbons:2",
    "urn:xmpp:forward:0", "urn:xmpp:sid:0", "urn:xmpp:occupant-id:0", "http://jabber.org/protocol/pubsub",
    "http://jabber.org/protocol/pubsub#event", "urn:xmpp:jingle:1", "urn:xmpp:delay", "jabber:client",
    "jabber:server", "urn:ietf:params:xml:ns:pidf", "urn:ietf:params:xml:ns:pidf:rpid",
    "urn:imxrouter:reason:1", "http://jabber.org/protocol/address",
]  # fmt: skip


@pytest.mark.parametrize("namespace", ACTING)
def test_what_acts_passes_in_neither_direction(namespace: str) -> None:
    """A stranger's document cannot put a room's word, a carbon or a forwarded stanza into a presence."""
    assert is_reserved(namespace)
    inside = f"<q:evil xmlns:q='{namespace}'/><ok xmlns='urn:example:ok'/>"
    assert [one.name for one in said(inside).tuple.extensions] == ["ok"]
    document = (
        f"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:alice@a.example'><tuple id='t'>"
        f"<status><basic>open</basic></status>{inside}</tuple></presence>"
    )
    _, [one] = show(NOTHING, read_pidf(document.encode()), BOB)
    assert [each.name for each in read(one).children] == ["ok"]


def test_names_that_begin_alike_are_not_reserved() -> None:
    """A family ends where another name begins."""
    for namespace in (
        "http://jabber.org/protocol/mucus",
        "urn:example:muc",
        "jabber:clients",
        "urn:xmpp:idle:1",
    ):
        assert not is_reserved(namespace)


def test_a_mark_from_xmpp_hides_nothing() -> None:
    """`mustUnderstand` on a child would make the tuple unknown to everybody who does not know it."""
    inside = "<x xmlns='urn:example:x' xmlns:q='urn:ietf:params:xml:ns:pidf' q:mustUnderstand='1'/>"
    assert said(inside).tuple.extensions == ()


def test_tuples_that_give_one_resource_are_told_apart() -> None:
    """The preferred one has the resource; the others have their ids, and numbers where those collide too."""
    ids = ("ID-r1", "r1", "ID-r1.2")
    state = Presence(
        ALICE,
        tuple(
            PresenceTuple(one, Basic.OPEN, Contact("im:alice@a.example", 900 - 100 * at))
            for at, one in enumerate(ids)
        ),
    )
    assert list(showing.open_resources(state)) == ["r1", "r1.2", "ID-r1.2"]
    swapped = Presence(ALICE, (PresenceTuple("r1", Basic.OPEN), replace(state.tuples[0], contact=None)))
    assert list(showing.open_resources(swapped)) == ["r1", "r1.2"]


def test_unknown_is_said_once_and_by_whom() -> None:
    """From the bare JID and from what was shown; the same doubt again says nothing; a probe is answered."""
    shown, _ = show(NOTHING, presence_of(ALICE, [said("", "", "r1"), said("", "", "r2")]), BOB)
    doubted, stanzas = show(shown, DOUBT, BOB)
    assert sorted((one.resource, one.type) for one in stanzas) == [
        ("", "error"),
        ("r1", "error"),
        ("r2", "error"),
    ]
    [error] = read(stanzas[0]).children
    assert (error.attributes["type"], error.attributes["by"]) == ("wait", "a.example")
    assert [one.name for one in error.children] == ["remote-server-timeout", "text", "reason"]
    assert error.children[1].text == "Presence of alice@a.example is unknown: unreachable at a.example"
    assert doubted == Shown({}, (Reason.UNREACHABLE, Domain.parse("a.example")))
    assert show(doubted, DOUBT, BOB) == (doubted, ())
    _, [answer] = show(doubted, DOUBT, BOB, ASKED)
    assert (answer.type, answer.id) == ("error", "p1")
    _, [over] = show(doubted, presence_of(ALICE, []), BOB)
    assert (over.resource, over.type) == ("", "unavailable")


def test_an_internal_reason_is_not_shown() -> None:
    """What only operators may know stays inside."""
    shown, [one] = show(NOTHING, Unknown(ALICE, Reason.BLOCKED, Domain.parse("a.example")), BOB)
    assert shown.doubt is not None
    assert "blocked" not in "".join(one.children)
    assert "not-delivered" in "".join(one.children)


def test_caps_of_the_gateway_stand_where_there_are_none() -> None:
    """And nowhere else."""
    bare, own = said(), said(CAPS.replace("'v'", "'own'"))
    _, [one] = show(NOTHING, presence_of(ALICE, [bare]), BOB, None, CAPS)
    _, [other] = show(NOTHING, presence_of(ALICE, [own]), BOB, None, CAPS)
    assert [each.attributes["ver"] for each in read(one).children] == ["v"]
    assert [each.attributes["ver"] for each in read(other).children] == ["own"]


def test_age_is_said_to_who_asks_and_is_no_news() -> None:
    """A stamp is on the answer to a probe alone, and only where it is old."""
    old = said("<delay xmlns='urn:xmpp:delay' stamp='2026-01-02T03:04:05Z'/>")
    shown, [pushed] = show(NOTHING, presence_of(ALICE, [old]), BOB)
    assert read(pushed).children == []
    _, [answer] = show(shown, presence_of(ALICE, [old]), BOB, ASKED)
    [delay] = read(answer).children
    assert (delay.name, delay.attributes["stamp"]) == ("delay", "2026-01-02T03:04:05Z")
    young = said("<delay xmlns='urn:xmpp:delay' stamp='2026-01-02T03:59:05Z'/>")
    assert read(show(NOTHING, presence_of(ALICE, [young]), BOB, ASKED)[1][0]).children == []
    future = said("<delay xmlns='urn:xmpp:delay' stamp='2026-01-02T05:00:00Z'/>")
    assert future.tuple.timestamp is None
