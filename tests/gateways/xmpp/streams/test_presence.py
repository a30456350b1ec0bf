"""Presence between users of XMPP on two routers, over operations of the model."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp.subscriptions import presentity_table, watcher_table
from imxrouter.gateways.xmpp.subscriptions.rounds import PACE_BURST
from imxrouter.gateways.xmpp.translate.forms import Misfit
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Subscribe, SubscribeResult, SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.transport.operations import operation_to_record, result_of
from imxrouter.wire.record import Record, decode_outcome
from imxrouter.wire.registry import FieldType, RecordType
from tests.gateways.xmpp.streams.edge_rig import EdgePair
from tests.gateways.xmpp.streams.rig import A, B
from tests.gateways.xmpp.streams.sides import ALICE, BOB, Side, Sides


def test_from_subscribe_to_presence_and_back() -> None:
    """The whole way: request, approval, presence, end; each service sees what RFC 6121 has it see."""
    sides = Sides()
    sides.b.says("from='bob@b.example/x' to='alice@a.example' type='subscribe'/>")
    sides.wait(2)
    assert sides.a.new() == ["subscribe bob@b.example alice@a.example"]
    sides.a.says("from='alice@a.example' to='bob@b.example' type='subscribed'/>")
    sides.a.says("from='alice@a.example/desk' to='bob@b.example'><show>away</show></presence>")
    sides.wait(3)
    assert sides.b.new() == [
        "subscribed alice@a.example bob@b.example",
        "available alice@a.example/desk bob@b.example",
    ]
    assert b"<show>away</show>" in sides.b.raw[-1]
    assert sides.b.presence.pair("bob@b.example", "alice@a.example/desk")
    assert sides.a.presence.pair("alice@a.example/desk", "bob@b.example")
    sides.b.says("from='bob@b.example' to='alice@a.example' type='unsubscribe' id='u'/>")
    sides.wait(3)
    assert sides.b.new() == [
        "unavailable alice@a.example/desk bob@b.example",
        "unsubscribed alice@a.example bob@b.example",
    ]
    assert sides.a.new() == ["unsubscribe bob@b.example alice@a.example"]
    assert b"id='u'" in sides.a.raw[-1]
    assert not sides.a.presence.pair("alice@a.example", "bob@b.example")
    assert sides.a.store.items("xmpp-watched") == sides.b.store.items("xmpp-watching") == []


def test_a_restart_of_both_loses_no_consent() -> None:
    """Both go on with their stores; the service is asked before anything is told."""
    sides = Sides()
    sides.friends()
    sides.a.new(), sides.b.new()
    sides.a.presence, sides.b.presence = sides.a.made(), sides.b.made()
    sides.wait(40)
    assert "probe bob@b.example alice@a.example" in sides.a.new()
    sides.a.says("from='alice@a.example/phone' to='bob@b.example'/>")
    sides.wait(10)
    assert sides.b.new()[-1] == "available alice@a.example/phone bob@b.example"


def test_a_lost_service_makes_its_users_unknown_after_grace() -> None:
    """Five seconds; when it is back it is asked."""
    sides = Sides()
    sides.friends()
    sides.b.new()
    sides.a.reached = False
    sides.wait(3)
    assert sides.b.new() == []
    sides.wait(6)
    assert sides.b.new() == [
        "error alice@a.example/desk bob@b.example",
        "error alice@a.example bob@b.example",
    ]
    sides.a.new()
    sides.a.reached = True
    sides.wait(6)
    assert sides.a.new() == ["probe bob@b.example alice@a.example"]


def test_a_removed_domain_ends_both_ways() -> None:
    """Its users watch nobody, and nobody watches them."""
    sides = Sides()
    sides.friends()
    sides.a.presence.removed([Domain.parse("a.example")])
    sides.wait(3)
    assert sides.b.new()[-1] == "unsubscribed alice@a.example bob@b.example"
    assert sides.a.store.items("xmpp-watched") == []


def test_without_room_nothing_is_lost_but_time() -> None:
    """What the switch does not take is counted, and tried again where it must be."""
    sides = Sides()
    sides.b.room = False
    sides.b.says("from='bob@b.example' to='alice@a.example' type='subscribe'/>")
    sides.wait(3)
    assert sides.b.records == []
    sides.b.room = True
    sides.wait(20)
    assert sides.a.new() == ["subscribe bob@b.example alice@a.example"]


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (b"<presence from='bob@b.example' to='carol@a.example' type='unsubscribe'/>", Misfit.ENVELOPE),
        (b"<presence from='mallory@b.example' to='alice@a.example' type='unsubscribe'/>", Misfit.ENVELOPE),
        (b"<presence from='bob@b.example/x' to='alice@a.example' type='unsubscribe'/>", Misfit.ENVELOPE),
        (b"<presence from='Bob@b.example' to='alice@a.example' type='unsubscribe'/>", Misfit.ENVELOPE),
        (b"<presence from='bob@b.example' to='alice@a.example' type='subscribed'/>", Misfit.KIND),
        (b"<presence from='bob@b.example' to='alice@a.example'/>", Misfit.KIND),
        (b"<presence from='bob@b.example' to='alice@a.example' type='error'/>", Misfit.ERROR),
        (b"<message from='bob@b.example' to='alice@a.example' type='unsubscribe'/>", Misfit.KIND),
        (b"<presence from='bob@b.example' to='alice@a.example' type='unsubscribe'>", Misfit.PARSE),
    ],
)
def test_a_form_that_says_something_else_is_not_used(form: bytes, why: Misfit) -> None:
    """Another's consent cannot be ended by a form, and nothing of it reaches the user; it is counted."""
    sides = Sides()
    sides.friends()
    ident = next(iter(sides.b.presence.watchers._watching.standings(0.0))).subscription_id
    sides.a.new()
    end = Subscribe(BOB, ALICE, bytes(16), ident, 0, original_form=b"xmpp\0" + form)
    assert sides.a.presence.request(operation_to_record(end)).ok
    sides.wait(2)
    assert sides.a.new() == ["unavailable bob@b.example alice@a.example"]
    state = sides.a.presence.presentities.state(BOB, ALICE)
    assert state is presentity_table.State.DORMANT
    assert sides.a.dropped == {f"form-{why.value}": 1}


def test_nobody_else_gives_a_stanza_id_of_the_service() -> None:
    """Such an id is cut out of a form, as of a message's; what others gave stays (XEP-0359 section 3)."""
    sides = Sides()
    of = "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='{}'/>".format
    ids = of("a.example") + of("b.example")
    sides.b.says(f"from='bob@b.example' to='alice@a.example' type='subscribe' id='s'>{ids}</presence>")
    sides.wait(2)
    assert [one.value(FieldType.ORIGINAL_FORM) for one in sides.b.records] == [
        b"xmpp\0<presence from='bob@b.example' to='alice@a.example' type='subscribe' id='s'>%s</presence>"
        % ids.encode()
    ]
    (asked,) = sides.a.raw
    assert asked.count(b"<stanza-id ") == 1
    assert b"by='b.example'" in asked


@pytest.mark.parametrize("off", ["a", "b"])
def test_without_original_forms_nothing_goes_along(off: str) -> None:
    """Where either side uses none; what ends a consent still ends it (row org-off)."""
    sides = Sides()
    getattr(sides, off).forms = False
    hidden = "<x xmlns='urn:x:hidden'/>"
    sides.b.says(f"from='bob@b.example' to='alice@a.example' type='subscribe' id='s'>{hidden}</presence>")
    sides.wait(2)
    sides.a.says("from='alice@a.example' to='bob@b.example' type='subscribed'/>")
    sides.wait(3)
    sides.b.says(f"from='bob@b.example' to='alice@a.example' type='unsubscribe' id='u'>{hidden}</presence>")
    sides.wait(3)
    came = sides.a.new()
    assert (came[0], came[-1]) == (
        "subscribe bob@b.example alice@a.example", "unsubscribe bob@b.example alice@a.example",
    )  # fmt: skip
    assert not [one for one in sides.a.raw if b"hidden" in one]
    assert sides.a.store.items("xmpp-watched") == []
    told = [one.value(FieldType.ORIGINAL_FORM) or b"" for one in sides.b.records]
    assert any(b"hidden" in one for one in told) is (off == "a")
    # of what ends a consent its type is used, and its form is not
    assert sides.a.dropped == ({"form-off": 2} if off == "a" else {})


def test_operations_that_are_none_are_refused() -> None:
    """With their reasons; what is of no subscription is answered so."""
    sides = Sides()
    sides.friends()
    told = next(one for one in sides.a.records if one.type == RecordType.NOTIFY)
    sides.b.presence = Side(sides.clock).presence
    assert sides.b.presence.request(told).reason is Reason.NOT_SUBSCRIBED
    assert sides.b.presence.watchers.state(BOB, ALICE) is watcher_table.State.NONE


def test_the_edge_answers_operations_with_their_results() -> None:
    """A SUBSCRIBE that leaves towards XMPP is never written on a stream: the machine answers it."""
    pair = EdgePair()
    asked: list[Record] = []
    granted = Outcome(Status.SUCCESS, result=SubscribeResult(SubscriptionState.PENDING, 60))

    def answer(record: Record) -> Outcome:
        asked.append(record)
        return granted

    pair.a.again(operations=answer)
    watcher, presentity = Address.parse(f"alice@{A}"), Address.parse(f"bob@{B}")
    request = operation_to_record(Subscribe(watcher, presentity, bytes(16), b"s", 60))
    responses: list[Record] = []
    pair.a.inside.submit(request, responses.append)
    pair.settle()
    assert [one.type for one in asked] == [RecordType.SUBSCRIBE]
    [response] = responses
    assert result_of(response, decode_outcome(response)).result == granted.result
    assert pair.b.service.requests == []


def test_a_presence_that_is_lost_is_said_again() -> None:
    """What went into a stream that broke reaches the watcher all the same, and the newest alone."""
    sides = Sides()
    sides.friends()
    sides.b.new()
    sides.b.arrives = False
    sides.a.says("from='alice@a.example/desk' to='bob@b.example'><show>dnd</show></presence>")
    sides.wait(3)
    sides.a.says("from='alice@a.example/desk' to='bob@b.example'><show>xa</show></presence>")
    sides.wait(3)
    sides.b.arrives = True
    for _ in range(10):
        sides.clock.advance(1)
        sides.b.again.tick()
    assert sides.b.new() == ["available alice@a.example/desk bob@b.example"]
    assert b"<show>xa</show>" in sides.b.raw[-1]


@pytest.mark.parametrize("side", ["a", "b"])
def test_what_was_shed_is_told_when_there_is_less_to_do(side: str) -> None:
    """The newest of it, be it that Alice's router had too much to do, or Bob's."""
    sides = Sides()
    sides.friends()
    sides.b.new()
    which = sides.a if side == "a" else sides.b
    which.sheds = True
    for show in ("away", "dnd"):
        sides.a.says(f"from='alice@a.example/desk' to='bob@b.example'><show>{show}</show></presence>")
        sides.wait(3)
    assert sides.b.new() == []
    which.sheds = False
    for _ in range(30):
        sides.wait(1)
        sides.b.again.tick()
    assert sides.b.new() == ["available alice@a.example/desk bob@b.example"]
    assert b"dnd" in sides.b.raw[-1]


def test_a_stream_that_breaks_has_its_users_asked() -> None:
    """What they said into it is lost; no doubt is told where another stream is there in time."""
    sides = Sides()
    sides.friends()
    sides.a.new(), sides.b.new()
    sides.a.presence.shaken([Domain.parse("a.example"), Domain.parse("nobody.example")])
    sides.wait(3)
    assert sides.a.new() == ["probe bob@b.example alice@a.example"]
    sides.a.says("from='alice@a.example/phone' to='bob@b.example'/>")
    sides.wait(9)
    assert sides.b.new() == [
        "unavailable alice@a.example/desk bob@b.example",
        "available alice@a.example/phone bob@b.example",
    ]


def test_users_whose_server_was_lost_are_told_what_came_meanwhile() -> None:
    """A subscription in their name is renewed once it is back: what could not be told is told then."""
    sides = Sides()
    sides.friends()
    before = [one.type for one in sides.b.records].count(RecordType.SUBSCRIBE)
    sides.b.reached = False
    sides.wait(3)
    assert [one.type for one in sides.b.records].count(RecordType.SUBSCRIBE) == before
    sides.b.reached = True
    sides.wait(3)
    assert [one.type for one in sides.b.records].count(RecordType.SUBSCRIBE) == before + 1


def test_the_loss_of_another_operator_is_told_by_who_tells_it_of_all() -> None:
    """Once; but nothing that is old is told as new meanwhile, and when it is back it is asked."""
    sides = Sides()
    sides.friends()
    sides.a.new(), sides.b.new()
    sides.a.is_served = sides.a.reached = False
    sides.wait(9)
    assert sides.b.new() == []
    assert sides.a.presence.presentities.state_for(BOB, ALICE) is None
    sides.a.reached = True
    sides.wait(2)
    assert sides.a.new() == ["probe bob@b.example alice@a.example"]


def test_a_user_pays_for_what_he_begins_and_for_no_renewal() -> None:
    """A wish costs him and his domain, a look at somebody his domain; what goes on costs nothing."""
    sides = Sides()
    sides.friends()
    assert sides.b.charged == [("bob@b.example", True)]
    asked = len(sides.b.records)
    sides.b.says("from='bob@b.example' to='alice@a.example' type='probe'/>")
    sides.b.says("from='bob@b.example' to='alice@a.example' type='subscribe'/>")
    for _ in range(50):
        sides.clock.advance(600)
        sides.b.presence.tick()
    assert len(sides.b.records) > asked
    assert sides.b.charged == [("bob@b.example", True)]
    sides.b.says("from='carol@b.example' to='alice@a.example' type='probe'/>")
    assert sides.b.charged[1:] == [("carol@b.example", False)]


@pytest.mark.parametrize("how", ["lost", "no room"])
def test_a_probe_that_does_not_arrive_shows_nobody_as_gone(how: str) -> None:
    """Who asks into a stream that is dead, or finds no room, learns nothing; it is asked again."""
    sides = Sides()
    sides.friends()
    sides.a.new(), sides.b.new()
    sides.a.arrives, sides.a.room = how != "lost", how != "no room"
    sides.a.presence.shaken([Domain.parse("a.example")])
    sides.wait(5)
    assert sides.a.new() == sides.b.new() == []
    sides.a.arrives = sides.a.room = True
    sides.wait(5)
    assert sides.a.new()[:1] == ["probe bob@b.example alice@a.example"]
    sides.a.says("from='alice@a.example/desk' to='bob@b.example'><show>away</show></presence>")
    sides.wait(20)
    assert sides.b.new() == []


def test_of_a_service_that_nobody_is_held_of_nothing_is_remembered() -> None:
    """It can be watched again, whatever it was when the last watcher left."""
    sides = Sides()
    sides.friends()
    sides.a.reached = False
    sides.wait(9)
    sides.b.says("from='bob@b.example' to='alice@a.example' type='unsubscribe'/>")
    sides.wait(3)
    sides.a.reached = True
    sides.wait(3)
    assert not sides.a.presence._unreached
    sides.a.new()
    sides.b.says("from='bob@b.example' to='alice@a.example' type='subscribe'/>")
    sides.wait(3)
    assert sides.a.new() == ["subscribe bob@b.example alice@a.example"]


def test_who_breaks_streams_has_little_asked() -> None:
    """A minute of streams that break each second is seven rounds; and no renewal is put off for ever."""
    sides = Sides()
    sides.friends()
    before = [one.type for one in sides.b.records].count(RecordType.SUBSCRIBE)
    sides.a.new()
    for _ in range(60):
        sides.a.presence.shaken([Domain.parse("a.example")])
        sides.b.presence.shaken([Domain.parse("b.example")])
        sides.wait(1)
    renewed = [one.type for one in sides.b.records].count(RecordType.SUBSCRIBE) - before
    probed = sides.a.new().count("probe bob@b.example alice@a.example")
    assert probed == PACE_BURST + 3
    assert 0 < renewed <= PACE_BURST + 3
    sides.wait(90)
    assert not sides.a.presence._spent
    sides.a.new()
    sides.a.presence.shaken([Domain.parse("a.example")])
    sides.wait(3)
    assert sides.a.new() == ["probe bob@b.example alice@a.example"]


def test_a_service_that_is_lost_while_its_users_watch_can_be_watched_later() -> None:
    """Its loss is noticed for them alone, and forgotten with them."""
    sides = Sides()
    sides.friends()
    sides.b.reached = False
    sides.wait(9)
    sides.b.says("from='bob@b.example' to='alice@a.example' type='unsubscribe'/>")
    sides.wait(3)
    sides.b.reached = True
    sides.wait(3)
    sides.b.new()
    sides.a.says("from='alice@a.example' to='bob@b.example' type='subscribe'/>")
    sides.wait(3)
    assert sides.b.new() == ["subscribe alice@a.example bob@b.example"]
