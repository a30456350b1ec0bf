"""The gate in the switch: who is barred, what he is told, what it costs; and that `explain` says the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imxrouter.model.outcome import failure
from imxrouter.model.patterns import Pattern
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.access import AccessLists, Action, Direction, Entry, Home, Scope
from imxrouter.routing.gate import Gate
from imxrouter.routing.inboxes import InboxRate
from imxrouter.routing.limits import SenderRates
from imxrouter.routing.overload import Level
from imxrouter.routing.recipients import FirstContact, Recipients
from imxrouter.routing.rules import Right
from imxrouter.routing.traffic import Traffic, TrafficRate
from imxrouter.switch import slots
from imxrouter.switch.checks import Checks
from imxrouter.switch.explain import walk
from imxrouter.switch.explained import Case, Verdict
from imxrouter.switch.forms import is_presence, part_of, right_of_form
from imxrouter.switch.ports import FOREVER, Port, Role
from imxrouter.wire.record import Envelope, Record, decode_outcome, encode_record
from imxrouter.wire.registry import FORMS, RecordType
from tests.switch.rig import BOB, FAR, HERE, PEER, Rig, message

HOME = Home((HERE,), b"acme")


def gate(*entries: Entry, first_contact: FirstContact = FirstContact.SERVICE) -> Gate:
    """A gate of a router that serves HERE."""
    lists = AccessLists(lambda domain: HOME if domain == HERE else None)
    for entry in entries:
        lists.add(entry)
    recipients = Recipients(lambda domain: HERE if domain == HERE else None, lambda _domain: first_contact)
    return Gate(lists, recipients)


def entry(pattern: str, action: Action = Action.BLOCK, direction: Direction = Direction.BOTH) -> Entry:
    """An entry for the whole router."""
    return Entry(f"r-{pattern}", Pattern.parse(pattern), action, direction)


def settle(rig: Rig) -> None:
    """As the hub does at the end of a read."""
    barred, rig.switch.barred = rig.switch.barred, []
    for tag, bar in barred:
        rig.switch.complete(tag, failure(bar.reason, note=bar.note), rig.now)


@pytest.mark.parametrize(
    ("stanza", "passes"),
    [
        (b"<message type='error'/>", True),
        (b"<iq type='result'/>", True),
        (b"<presence type='unavailable'/>", True),
        (b"<presence type='unsubscribed'/>", True),
        (b"<presence/>", False),
        (b"<presence type='subscribe'/>", False),
        (b"<presence type='subscribed'/>", False),
        (b"<presence type='probe'/>", False),
        (b"<message><body>error</body></message>", False),
        (b"<iq type='get'/>", False),
    ],
)
def test_what_the_router_says_of_itself_passes_and_what_it_says_again_for_others_does_not(
    stanza: bytes, passes: bool
) -> None:
    """As it comes, and once more as it leaves; from anybody else none of it passes."""
    rig = Rig()
    rig.switch.routes[HERE].types |= FORMS
    inside = rig.port(9, Role.SERVICE)
    inside.internal = rig.service.internal = True
    rig.prove(inside, PEER)
    rig.switch.inside.append(inside)
    request = message(1, type=RecordType.STANZA, body=b"xmpp\0" + stanza)
    rig.feed(inside, request)
    [waits] = rig.switch.ledger.entries
    rig.switch.guard(gate(entry("alice@peer.example")))
    assert rig.switch.bars_now(waits) is not passes
    rig.out(rig.service)
    rig.feed(inside, replace(request, message_id=bytes(16)))
    assert bool(rig.out(rig.service)) is passes


@pytest.mark.parametrize("checks", [Checks(), Checks(access=False)])
def test_who_is_barred_is_answered_as_nobodys_sender(checks: Checks) -> None:
    """Record by record as a service answers for a user it does not have; the check is what stops it."""
    rig = Rig(checks)
    rig.switch.guard(gate(entry("alice@peer.example")))
    rig.feed(rig.peer, message(1))
    settle(rig)
    if not checks.access:
        assert len(rig.out(rig.service)) == 1
        return
    (barred,) = rig.out(rig.peer)
    rig.feed(rig.peer, message(2, envelope=Envelope(b"nobody", HERE, b"carol", PEER)))
    (asked,) = rig.out(rig.service)
    rig.answer(rig.service, asked, failure(Reason.UNKNOWN_USER, by=HERE.decode(), role="service"))
    (unknown,) = rig.out(rig.peer)
    same = replace(
        barred, message_id=unknown.message_id, route_tag=unknown.route_tag, envelope=unknown.envelope
    )
    assert same == unknown
    assert decode_outcome(barred).reason is Reason.NOT_DELIVERED
    assert slots.refusals(rig.switch.counters, Reason.BLOCKED) == 1
    assert rig.switch.conservation() == []


def test_a_copy_and_a_reused_id_look_alike_too() -> None:
    """The answer is remembered, as that of every request that was passed on."""
    rig = Rig()
    rig.switch.guard(gate(entry("peer.example")))
    rig.feed(rig.peer, message(1))
    settle(rig)
    first = rig.outcome(rig.peer)
    rig.feed(rig.peer, message(1))
    assert rig.outcome(rig.peer) == first
    rig.feed(rig.peer, message(1, body=b"another"))
    assert rig.outcome(rig.peer).reason is Reason.ID_REUSED
    assert rig.switch.conservation() == []


@pytest.mark.parametrize("local", [b"alice", b"Alice", b"ALICE", "ａlice".encode()])
def test_no_spelling_slips_past(local: bytes) -> None:
    """Keys are compared, in the pattern and in the record."""
    rig = Rig()
    rig.switch.guard(gate(entry("aLIce@peer.example")))
    rig.feed(rig.peer, message(1, envelope=Envelope(BOB, HERE, local, PEER)))
    settle(rig)
    assert rig.outcome(rig.peer).reason in (Reason.NOT_DELIVERED, Reason.BAD_ADDRESS)
    assert rig.out(rig.service) == []


def test_a_change_holds_for_pairs_that_are_known() -> None:
    """What was judged before is forgotten."""
    rig = Rig()
    open_gate = gate(entry("other.example"))
    rig.switch.guard(open_gate)
    rig.feed(rig.peer, message(1))
    assert len(rig.out(rig.service)) == 1
    open_gate.lists.add(entry("peer.example"))
    rig.switch.guard(open_gate)
    rig.feed(rig.peer, message(2))
    settle(rig)
    assert rig.outcome(rig.peer).reason is Reason.NOT_DELIVERED
    open_gate.lists.remove("r-peer.example")
    rig.switch.guard(open_gate)
    rig.feed(rig.peer, message(3))
    assert len(rig.out(rig.service)) == 1


def test_nothing_is_judged_twice_and_nothing_without_a_gate() -> None:
    """A record costs a look-up of its pair; without lists not even that."""
    rig = Rig()
    asked = []

    class Counting(Gate):
        def judge(self, source: bytes, destination: bytes, right: Right | None) -> None:
            asked.append((source, destination, right))

    made = gate(entry("other.example"))
    rig.switch.guard(Counting(made.lists, made.recipients))
    rig.feed(rig.peer, *(message(number) for number in range(1, 9)))
    assert asked == [(b"alice@peer.example", b"bob@here.example", Right.MESSAGE)]
    rig.switch.guard(None)
    rig.feed(rig.peer, *(message(number) for number in range(11, 19)))
    assert len(asked) == 1
    assert len(rig.out(rig.service)) == 16


def test_our_own_senders_are_told_by_their_domain() -> None:
    """What goes out to a blocked domain is refused before anybody is dialled."""
    rig = Rig()
    rig.switch.guard(gate(entry("far.example", direction=Direction.OUT)))
    rig.feed(rig.service, message(1, envelope=Envelope(b"x", FAR, BOB, HERE)))
    settle(rig)
    outcome = rig.outcome(rig.service)
    assert (outcome.reason, outcome.decided_by) == (Reason.NOT_DELIVERED, "here.example")
    assert rig.switch.held == []


# -- explain says what the switch does -----------------------------------------------------------------------

_locals = st.sampled_from([b"alice", b"Alice", b"carol"])
_lists = st.lists(
    st.builds(
        Entry,
        st.integers(0, 999).map(str),
        st.sampled_from(["alice@peer.example", "peer.example", ".example", "*", "a*@*", "far.example"]).map(
            Pattern.parse
        ),
        st.sampled_from(Action), st.sampled_from(Direction),
        st.sampled_from(["", "here.example", "tenant:acme", "bob@here.example"]).map(Scope.parse),
    ),
    max_size=3, unique_by=lambda one: one.ident,
)  # fmt: skip


#: Of a message (nothing), and of stanzas: what they are, and what they cost.
_forms = st.sampled_from([
    b"", b"", b"", b"<message to='bob@here.example'/>",
    b"<message to='bob@here.example/r' type='groupchat'/>",
    b"<presence/>", b"<presence type='probe'/>", b"<presence type='unavailable'/>",
    b"<iq type='get'><query/></iq>", b"<iq type='set'><query/></iq>",
    b"<iq type='set'><jingle action='session-initiate'/></iq>", b"<iq type='result'/>", b"<iq type='error'/>",
])  # fmt: skip


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[Rig, Port, Record]:
    """A rig in any state, a link of it, and a message that comes over that link."""
    rig = Rig()
    rates = SenderRates(1.0, draw(st.sampled_from([0.5, 5.0])))
    rig.switch.rates = rates
    route = rig.switch.routes[HERE]
    route.suspended = draw(st.booleans()) and draw(st.booleans())
    route.level = draw(st.sampled_from([1, 1, 3]))
    route.max_bytes = draw(st.sampled_from([3, 5000, 5000]))
    if draw(st.integers(0, 5)) == 0:
        route.types = frozenset({0x0101})
    if draw(st.integers(0, 4)) == 0:
        route.ports = []
    inward = draw(st.booleans())
    here, there = (BOB, HERE), (draw(_locals), PEER)
    if not inward:
        there = (draw(_locals), draw(st.sampled_from([PEER, FAR])))
    port = rig.peer if inward else rig.service
    only = draw(st.sampled_from([None, None, frozenset({HERE}), frozenset({FAR})]))
    interval, burst = draw(st.sampled_from([(0.001, 10.0), (1.0, 0.5)]))
    largest = draw(st.sampled_from([FOREVER, FOREVER, 4.0]))
    if inward and draw(st.integers(0, 4)):
        port.sources[PEER] = (draw(st.sampled_from([1, 1, 3])), only, FOREVER, interval, burst, largest)
    elif inward:
        port.sources.pop(PEER)
    sender = (there[0].lower() if inward else BOB) + b"@" + (PEER if inward else HERE)
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 3))):
            rates.admit(sender, PEER if inward else HERE, rig.now, interval, burst)
    port.granted_requests = draw(st.sampled_from([0, 1000, 1000, 1000]))
    if not draw(st.integers(0, 2)):
        rig.switch.uplinks.append(rig.port(9, Role.UPLINK))
    contact = draw(st.sampled_from(FirstContact))
    made = gate(*draw(_lists), first_contact=contact)
    rig.switch.guard(made if len(made.lists) or contact.value else None)
    _near_limits(draw, rig, port, PEER if inward else HERE)
    pair = (*here, *there) if inward else (*there, *here)
    form = draw(_forms)
    if not form:
        return rig, port, message(1, envelope=Envelope(*pair))
    rtype = _near_forms(draw, rig, port, PEER if inward else HERE)
    return rig, port, message(1, type=rtype, envelope=Envelope(*pair), body=b"xmpp\0" + form)


def _near_forms(draw: st.DrawFn, rig: Rig, port: Port, payer: bytes) -> int:
    """Let a form come over the link or not, and bring what its domain pays near its mark; its type."""
    port.internal = draw(st.booleans())
    rtype = draw(st.sampled_from([RecordType.FOREIGN, RecordType.STANZA])).value
    if draw(st.integers(0, 3)):
        rig.switch.routes[HERE].types |= {rtype}
    proof = port.sources.get(payer)
    if proof is not None and not draw(st.integers(0, 2)):
        for _ in range(12):
            rig.switch.rates.admit(b"@" + payer, payer, rig.now, proof[3], proof[4])
    return rtype


def _near_limits(draw: st.DrawFn, rig: Rig, port: Port, payer: bytes) -> None:
    """Bring each limit of the loop near, at, or over its mark; seldom, for each ends the walk."""

    def some(of: int = 6) -> bool:
        return draw(st.integers(0, of - 1)) == 0

    switch, now = rig.switch, rig.now
    switch.shed = Level.MESSAGES if some(12) else draw(st.sampled_from([Level.NOTHING, Level.SUBSCRIPTIONS]))
    rate, used = TrafficRate.of(50, 5000, 1.0), draw(st.integers(0, 60))
    switch.traffic = Traffic(lambda _domain: (rate, "acme"), lambda _domain: rate, lambda _tenant: rate, rate)
    if some():
        switch.traffic.senders.of(payer).take(used, used * 100, now)
    if some():
        above = switch.traffic.senders.of(payer).above
        assert above is not None
        above.take(used, 0, now)
    if some():
        route = switch.routes[HERE]
        route.meter = switch.traffic.receivers.of(HERE)
        route.meter.take(used, 0, now)
    if some():
        port.meter = switch.traffic.of_link(b"a link")
        port.meter.charge(used * 3, 0, now)
    if some():
        switch.acquainted = frozenset({payer}) if some(2) else frozenset()
        route = switch.routes[HERE]
        route.inbox = InboxRate(2.0, draw(st.sampled_from([1, 4])), 1.0).terms()
        place = switch.inboxes.place(BOB + b"@" + HERE)
        for _ in range(draw(st.integers(0, 5))):
            switch.inboxes.admit(place, now, route.inbox[0])
    if some():
        port.granted_bytes = draw(st.sampled_from([10, 100, 1000]))
    if some():
        for out in (rig.service, rig.peer, *switch.uplinks):
            out.shedding = some(2)
            out.largest = draw(st.sampled_from([20, 100_000]))
    if some(12):
        switch.memory.limit = draw(st.sampled_from([0, 1]))


@settings(max_examples=600)
@given(_worlds())
def test_explain_says_what_the_switch_does(world: tuple[Rig, Port, Record]) -> None:
    """Its verdict and its reason are those of a real record, and it changes nothing."""
    rig, port, record = world
    to = record.envelope
    case = Case(
        to.from_local + b"@" + to.from_domain, to.to_local + b"@" + to.to_domain, record.type,
        len(record.body), Right.MESSAGE, port,
    )  # fmt: skip
    if record.type in FORMS:
        raw = encode_record(record)
        part = part_of(raw)
        case = replace(case, right=right_of_form(raw), part=part, is_presence=is_presence(raw))
    rates = rig.switch.rates
    assert isinstance(rates, SenderRates)
    before, meters = dict(rates.arrivals), dict(rig.switch.traffic.senders.meters)
    due = list(rig.switch.inboxes.due)
    steps = walk(
        rig.switch,
        case,
        rig.now,
        lambda key, domain, interval, burst: rates.look(key, domain, rig.now, interval, burst),
    )
    assert (rates.arrivals, rig.switch.traffic.senders.meters) == (before, meters)
    assert rig.switch.inboxes.due == due
    told: list[Reason] = []
    rig.switch.on_settled = lambda _entry, outcome: told.append(outcome.reason)
    rig.feed(port, record)
    settle(rig)
    last = steps[-1]
    assert told == ([last.reason] if last.verdict is Verdict.REFUSE else []), steps
    assert rig.switch.conservation() == []
