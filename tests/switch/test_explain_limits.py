"""`explain` names the limit that would refuse, each by itself, and says how near the others are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.inboxes import InboxRate
from imxrouter.routing.limits import Rate, SenderRates
from imxrouter.routing.overload import Level
from imxrouter.routing.rules import Right
from imxrouter.routing.traffic import Traffic, TrafficRate
from imxrouter.switch.explain import walk
from imxrouter.switch.explained import Case, Step, Verdict
from imxrouter.switch.forms import ASKED, HANDED_OUT, NOTHING, SET, WHOLE
from imxrouter.wire.registry import RecordType
from tests.switch.rig import ALICE, BOB, HERE, PEER, Rig, message

_RATE = TrafficRate.of(50, 5000, 1.0)
_FREE = TrafficRate.of(0, 0)


def rig() -> Rig:
    """One with real rates."""
    made = Rig()
    made.switch.rates = SenderRates(0.001, 10.0)
    return made


def steps_of(rig: Rig, rtype: RecordType = RecordType.MESSAGE, part: float = WHOLE) -> list[Step]:
    """What is said of a message from alice to bob."""
    case = Case(ALICE + b"@" + PEER, BOB + b"@" + HERE, rtype, 5, Right.MESSAGE, rig.peer, part=part)
    rig.switch.routes[HERE].types |= {rtype.value}
    rates = rig.switch.rates
    assert isinstance(rates, SenderRates)
    return walk(rig.switch, case, rig.now, lambda *args: rates.look(args[0], args[1], rig.now, *args[2:]))


def _memory(rig: Rig) -> None:
    rig.switch.memory.limit = 0


def _shed(rig: Rig) -> None:
    rig.switch.shed = Level.MESSAGES


def _link(rig: Rig) -> None:
    rig.switch.traffic = Traffic(link_rate=_RATE)
    rig.peer.meter = rig.switch.traffic.of_link(b"a link")
    rig.peer.meter.charge(500, 0, rig.now)


def _peer(rig: Rig) -> None:
    rig.switch.traffic = Traffic(peer_rate=lambda _domain: _RATE)
    rig.switch.traffic.senders.of(PEER).take(500, 0, rig.now)


def _bytes_of_peer(rig: Rig) -> None:
    rig.switch.traffic = Traffic(peer_rate=lambda _domain: _RATE)
    rig.switch.traffic.senders.of(PEER).take(0, 50_000, rig.now)


def _domain_in(rig: Rig) -> None:
    rig.switch.traffic = Traffic(lambda domain: (_RATE, "") if domain == HERE else None)
    meter = rig.switch.routes[HERE].meter = rig.switch.traffic.receivers.of(HERE)
    meter.take(500, 0, rig.now)


def _tenant_in(rig: Rig) -> None:
    rig.switch.traffic = Traffic(
        lambda domain: (_FREE, "acme") if domain == HERE else None, tenant_rate=lambda _tenant: _RATE
    )
    meter = rig.switch.routes[HERE].meter = rig.switch.traffic.receivers.of(HERE)
    assert meter.above is not None
    meter.above.take(500, 0, rig.now)


def _no_room_for_peers(rig: Rig) -> None:
    rig.switch.traffic.senders._limit = 0


def _sender(rig: Rig) -> None:
    rates = rig.switch.rates
    for _ in range(12_000):
        rates.admit(ALICE + b"@" + PEER, PEER, rig.now, 0.001, 10.0)


def _approved_sender(rig: Rig) -> None:
    rates = rig.switch.rates
    assert isinstance(rates, SenderRates)
    rates.set_exceptions({ALICE + b"@" + PEER: Rate.of(0, 1)})


def _no_room_for_senders(rig: Rig) -> None:
    rates = rig.switch.rates
    assert isinstance(rates, SenderRates)
    rates.per_domain = 0


def _inbox(rig: Rig, strangers: float) -> None:
    route = rig.switch.routes[HERE]
    route.inbox = InboxRate(2.0, 4, strangers).terms()
    place = rig.switch.inboxes.place(BOB + b"@" + HERE)
    for _ in range(5):
        rig.switch.inboxes.admit(place, rig.now, route.inbox[0])


def _strangers(rig: Rig) -> None:
    _inbox(rig, 1.0)


def _recipient(rig: Rig) -> None:
    rig.switch.acquainted = frozenset({PEER})
    _inbox(rig, 1.0)


def _credit(rig: Rig) -> None:
    rig.peer.granted_bytes = 10


def _output(rig: Rig) -> None:
    rig.service.shedding = True


_CASES: list[tuple[Callable[[Rig], None], Limit]] = [
    (_memory, Limit.DUPLICATES), (_shed, Limit.SHED_MESSAGES), (_link, Limit.LINK_RATE),
    (_peer, Limit.PEER_RATE), (_bytes_of_peer, Limit.PEER_RATE), (_domain_in, Limit.DOMAIN_IN),
    (_tenant_in, Limit.TENANT_IN), (_no_room_for_peers, Limit.PEERS_REMEMBERED), (_sender, Limit.SENDER),
    (_approved_sender, Limit.SENDER), (_no_room_for_senders, Limit.SENDERS_REMEMBERED),
    (_strangers, Limit.RECIPIENT_STRANGERS), (_recipient, Limit.RECIPIENT), (_credit, Limit.CREDIT),
    (_output, Limit.OUTPUT),
]  # fmt: skip


@pytest.mark.parametrize(("fill", "limit"), _CASES, ids=[fill.__name__.strip("_") for fill, _ in _CASES])
def test_the_limit_that_would_refuse_is_named(fill: Callable[[Rig], None], limit: Limit) -> None:
    """The one by which the switch then refuses the record, with its reason, and no other before it."""
    made = rig()
    fill(made)
    *before, last = steps_of(made)
    assert (last.verdict, last.limit, last.reason) == (Verdict.REFUSE, limit, limit.reason)
    assert last.name == f"limit {limit.word}"
    assert {step.verdict for step in before} == {Verdict.PASS}
    told: list[Reason] = []
    made.switch.on_settled = lambda _entry, outcome: told.append(outcome.reason)
    made.feed(made.peer, message(1))
    assert told == [limit.reason]
    assert made.switch.book.counts[limit] == 1


def test_how_near_each_limit_is() -> None:
    """Figures of what is used, and of how much there is."""
    made = rig()
    made.switch.traffic = Traffic(peer_rate=lambda _domain: _RATE, link_rate=_RATE)
    made.peer.meter = made.switch.traffic.of_link(b"a link")
    made.peer.meter.charge(25, 0, made.now)
    made.switch.traffic.senders.of(PEER).take(10, 0, made.now)
    for _ in range(2500):
        made.switch.rates.admit(ALICE + b"@" + PEER, PEER, made.now, 0.001, 10.0)
    made.peer.in_flight = 3
    told = {step.limit: step.text for step in steps_of(made) if step.limit is not None}
    assert told[Limit.LINK_RATE].startswith("link 1: 51% of what may come at once is used (50 requests")
    assert told[Limit.PEER_RATE].startswith("peer.example: 20% of what may come at once is used (50 requests")
    assert told[Limit.SENDER] == "25% of his burst is used (1000 a second)"
    assert told[Limit.CREDIT].startswith("link 1: 3 of 1024 requests, 0 of ")
    assert told[Limit.DUPLICATES] == "0 of 1000 ids are remembered"
    assert told[Limit.SHED_MESSAGES] == "nothing is shed"
    assert Limit.OUTPUT in told


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (WHOLE, "25% of his burst is used (1000 a second)"),
        (SET, "25% of his burst is used (1000 a second); this costs 1/20 of a message (20000 a second)"),
        (ASKED, "25% of his burst is used (1000 a second); this costs 1/100 of a message (100000 a second)"),
        (HANDED_OUT, ("50% of the burst of peer.example as a whole is used (1000 a second);"
                      " this costs 1/1000 of a message (1000000 a second)")),
        (NOTHING, "it costs the sender nothing"),
    ],
)  # fmt: skip
def test_what_a_form_costs_is_said(part: float, text: str) -> None:
    """Not all cost what a message does; what rooms and archives hand out, their domain pays."""
    made = rig()
    for payer, count in ((ALICE + b"@" + PEER, 2500), (b"@" + PEER, 5000)):
        for _ in range(count):
            made.switch.rates.admit(payer, PEER, made.now, 0.001, 10.0)
    (said,) = [one.text for one in steps_of(made, RecordType.FOREIGN, part) if one.limit is Limit.SENDER]
    assert said == text


def test_who_is_over_his_rate_pays_for_all_but_what_costs_nothing() -> None:
    """And nothing of what others pay for him."""
    made = rig()
    _sender(made)
    for part in (WHOLE, SET, ASKED):
        assert steps_of(made, RecordType.FOREIGN, part)[-1].text.startswith(
            "the sender is over his rate, and"
        )
    for part in (HANDED_OUT, NOTHING):
        assert steps_of(made, RecordType.FOREIGN, part)[-1].limit is not Limit.SENDER
    for _ in range(12_000):
        made.switch.rates.admit(b"@" + PEER, PEER, made.now, 0.001, 10.0)
    over = steps_of(made, RecordType.FOREIGN, HANDED_OUT)[-1]
    assert over.text.startswith("peer.example as a whole is over its rate, and has to wait ")


def test_a_part_of_the_messages_is_a_matter_of_luck() -> None:
    """Where a quarter is shed nobody knows beforehand whom it is."""
    made = rig()
    made.switch.shed = Level.QUARTER
    (shed,) = [step for step in steps_of(made) if step.limit is Limit.SHED_MESSAGES]
    assert shed.verdict is Verdict.WAIT
    assert "a quarter of the messages" in shed.text


@pytest.mark.parametrize(
    ("rtype", "level", "limit"),
    [
        (RecordType.ATTRIBUTES, Level.PRESENCE, Limit.SHED_PRESENCE),
        (RecordType.SUBSCRIBE, Level.SUBSCRIPTIONS, Limit.SHED_SUBSCRIPTIONS),
    ],
)
def test_presence_is_shed_before(rtype: RecordType, level: Level, limit: Limit) -> None:
    """As the switch does."""
    made = rig()
    made.switch.routes[HERE].types = frozenset({rtype.value})
    made.switch.shed = Level(level - 1)
    assert all(step.verdict is Verdict.PASS for step in steps_of(made, rtype))
    made.switch.shed = level
    assert steps_of(made, rtype)[-1].limit is limit
