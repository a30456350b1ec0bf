"""The life of a link."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imxrouter.link.machine import (
    LEGAL,
    Draining,
    Drop,
    Effect,
    LinkMachine,
    LinkSettings,
    LinkState,
    Opened,
    Received,
    Send,
    Side,
)
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import CONTROLS, Close, Hello, Ping, Pong, decode_control
from imxrouter.wire.record import decode_record
from tests.vectors.load import load, record_bytes, seeds
from tests.wire.strategies import controls, mutated

VECTORS = record_bytes()
HELLO = Hello((1,), (1, 2, 3))
START = 1000.0


def a_machine(side: Side, **timers: float) -> LinkMachine:
    """A link whose pings all have one nonce."""
    return LinkMachine(side, HELLO, LinkSettings(**timers), START, lambda count: b"\x07" * count)


def opened(side: Side, **timers: float) -> LinkMachine:
    """A link after both hellos."""
    machine = a_machine(side, **timers)
    machine.start()
    effects = machine.receive(HELLO.encode(), START)
    assert isinstance(effects[-1], Opened)
    return machine


def sent(effects: list[Effect]) -> list[object]:
    """The records that went out."""
    return [decode_control(decode_record(effect.data)) for effect in effects if isinstance(effect, Send)]


def closed_with(effects: list[Effect]) -> Reason:
    """The reason of a link that ended at once: a close record and a drop that agree."""
    send, drop = effects
    assert isinstance(send, Send)
    assert isinstance(drop, Drop)
    close = decode_control(decode_record(send.data))
    assert isinstance(close, Close)
    assert (close.reason, close.deadline_ms) == (drop.reason.code, 0)
    return drop.reason


def test_the_opener_speaks_first() -> None:
    """The acceptor answers."""
    opener, acceptor = a_machine(Side.OPENER), a_machine(Side.ACCEPTOR)
    assert sent(opener.start()) == [HELLO]
    assert acceptor.start() == []
    assert acceptor.receive(HELLO.encode(), START) == [Send(HELLO.encode()), Opened(HELLO)]
    assert opener.receive(HELLO.encode(), START) == [Opened(HELLO)]
    assert {opener.state, acceptor.state} == {LinkState.OPEN}


def test_the_vectors_of_bad_links_end_as_they_say() -> None:
    """Each with a close record that carries the reason."""
    makers = {
        "acceptor": lambda: a_machine(Side.ACCEPTOR),
        "opened acceptor": lambda: opened(Side.ACCEPTOR),
        "opened opener": lambda: opened(Side.OPENER),
    }
    for case in load("bad")["links"]:
        machine = makers[case["state"]]()
        if machine.state is LinkState.NEW:
            machine.start()
        effects = machine.receive(bytes.fromhex(case["hex"]), START)
        assert closed_with(effects).word == case["reason"], case["name"]
        assert machine.state is LinkState.CLOSED


@pytest.mark.parametrize(
    "conversation", load("conversations")["conversations"], ids=lambda one: str(one["name"])
)
def test_the_vectors_of_conversations_are_spoken(conversation: dict[str, list[dict[str, object]]]) -> None:
    """Each side takes what the other one says, and answers by itself what it must."""
    hellos: dict[str, Hello] = {}
    for step in conversation["steps"]:
        if step["record"] == "hello":
            hello = decode_control(decode_record(bytes.fromhex(str(step["hex"]))))
            assert isinstance(hello, Hello)
            hellos[str(step["from"])] = hello
    machines: dict[tuple[object, str], LinkMachine] = {}
    due: dict[tuple[object, str], list[bytes]] = {}
    for number in {step["connection"] for step in conversation["steps"]}:
        for side in Side:
            machine = LinkMachine(side, hellos[side.value], LinkSettings(), START, bytes)
            machines[number, side.value] = machine
            effects = machine.start()
            due[number, side.value] = [effect.data for effect in effects if isinstance(effect, Send)]
    for step in conversation["steps"]:
        number, speaker, data = step["connection"], str(step["from"]), bytes.fromhex(str(step["hex"]))
        listener = "acceptor" if speaker == "opener" else "opener"
        if step["automatic"]:
            assert due[number, speaker].pop(0) == data
        elif step["record"] == "close":
            reason = decode_control(decode_record(data))
            assert isinstance(reason, Close)
            effects = machines[number, speaker].close(Reason.IDLE, START)
            assert sent(effects) == [reason]
        if str(step["record"]).startswith("message"):
            continue
        effects = machines[number, listener].receive(data, START)
        assert not any(isinstance(effect, Drop) for effect in effects)
        due[number, listener] += [effect.data for effect in effects if isinstance(effect, Send)]
    assert not any(due.values())


def test_a_ping_is_answered_and_measures() -> None:
    """Silence, ping, pong; whatever is heard puts the next ping off."""
    machine = opened(Side.OPENER, ping_s=10, dead_s=30)
    assert machine.tick(START + 9.9) == []
    (ping,) = sent(machine.tick(START + 10))
    assert isinstance(ping, Ping)
    assert machine.tick(START + 11) == []
    machine.receive(Pong(ping.nonce).encode(), START + 10.25)
    assert machine.round_trip_s == pytest.approx(0.25)
    machine.heard(START + 15)
    assert machine.tick(START + 24) == []
    assert sent(machine.receive(Ping(b"12345678").encode(), START + 24)) == [Pong(b"12345678")]


def test_a_pong_to_no_ping_measures_nothing() -> None:
    """A peer cannot make up round trips."""
    machine = opened(Side.OPENER)
    machine.receive(Pong(b"12345678").encode(), START + 5)
    assert machine.round_trip_s is None


@pytest.mark.parametrize("draining", [False, True])
def test_a_silent_link_is_dead(draining: bool) -> None:
    """Within the configured time, draining or not."""
    machine = opened(Side.ACCEPTOR, ping_s=10, dead_s=30, close_deadline_s=60)
    if draining:
        machine.close(Reason.IDLE, START)
    for second in range(1, 30):
        assert not any(isinstance(effect, Drop) for effect in machine.tick(START + second))
    (drop,) = machine.tick(START + 30)
    assert isinstance(drop, Drop)
    assert drop.reason is Reason.KEEPALIVE_TIMEOUT


def test_a_missing_hello_is_waited_for_so_long() -> None:
    """And pings do not replace it."""
    machine = a_machine(Side.ACCEPTOR, hello_timeout_s=10)
    machine.start()
    assert machine.tick(START + 9.9) == []
    machine.heard(START + 9.9)
    assert closed_with(machine.tick(START + 10)) is Reason.HELLO_TIMEOUT


def test_a_close_is_answered_and_waits_for_what_is_in_flight() -> None:
    """Both announce; the link ends when nothing is in flight."""
    first, second = opened(Side.OPENER), opened(Side.ACCEPTOR)
    draining, announced = first.close(Reason.IDLE, START)
    assert draining == Draining(Reason.IDLE, by_peer=False)
    assert isinstance(announced, Send)
    reaction = second.receive(announced.data, START)
    assert reaction[0] == Draining(Reason.IDLE, by_peer=True)
    (answer,) = [effect for effect in reaction if isinstance(effect, Send)]
    assert first.settle(0) == []
    assert first.receive(answer.data, START) == []
    assert first.settle(1) == []
    assert first.settle(0) == [Drop(Reason.IDLE)]
    assert second.settle(0) == [Drop(Reason.IDLE)]


def test_closes_that_cross_settle() -> None:
    """Neither answers the other's."""
    first, second = opened(Side.OPENER), opened(Side.ACCEPTOR)
    ours = first.close(Reason.IDLE, START)[1]
    theirs = second.close(Reason.SHUTTING_DOWN, START)[1]
    assert isinstance(ours, Send)
    assert isinstance(theirs, Send)
    assert first.receive(theirs.data, START) == []
    assert second.receive(ours.data, START) == []
    assert isinstance(first.settle(0)[0], Drop)
    assert isinstance(second.settle(0)[0], Drop)


def test_a_close_has_a_deadline() -> None:
    """The smaller of what the peer says and what we allow."""
    machine = opened(Side.OPENER, close_deadline_s=10)
    machine.receive(Close(Reason.IDLE.code, 3000).encode(), START)
    assert machine.tick(START + 2.9) == []
    assert machine.tick(START + 3) == [Drop(Reason.IDLE, "close deadline")]
    patient = opened(Side.OPENER, close_deadline_s=10)
    patient.receive(Close(Reason.IDLE.code, 0xFFFF_FFFF).encode(), START)
    assert patient.tick(START + 9.9) == []
    assert isinstance(patient.tick(START + 10)[-1], Drop)


def test_a_refusal_before_hello_is_understood() -> None:
    """An opener over a cap learns why and when to come again."""
    machine = a_machine(Side.OPENER)
    machine.start()
    effects = machine.receive(Close(Reason.OVER_CAP.code, 0, 30, None, "later").encode(), START)
    assert effects == [Drop(Reason.OVER_CAP, "later")]
    assert machine.close_received is not None
    assert machine.close_received.retry_after_s == 30


def test_a_link_ends_once() -> None:
    """A closed link says nothing any more, whatever is asked of it."""
    machine = opened(Side.OPENER)
    machine.refuse(Reason.OVER_CAP)
    assert machine.refuse(Reason.OVER_CAP) == []
    assert machine.close(Reason.IDLE, START) == []
    assert machine.settle(0) == []
    assert machine.tick(START + 100) == []
    assert machine.receive(VECTORS["ping"], START) == []


def test_every_control_record_has_a_place_in_the_table() -> None:
    """And each of the table is one."""
    assert set(LEGAL) == set(CONTROLS.values())


#: What a link may become from each state, itself included.
NEXT = {
    LinkState.NEW: {LinkState.NEW, LinkState.AWAIT_HELLO, LinkState.CLOSED},
    LinkState.AWAIT_HELLO: {LinkState.AWAIT_HELLO, LinkState.OPEN, LinkState.CLOSED},
    LinkState.OPEN: {LinkState.OPEN, LinkState.DRAINING, LinkState.CLOSED},
    LinkState.DRAINING: {LinkState.DRAINING, LinkState.CLOSED},
    LinkState.CLOSED: {LinkState.CLOSED},
}

_inputs = st.one_of(
    st.tuples(st.just("receive"), controls.map(lambda control: control.encode())),
    st.tuples(st.just("receive"), st.sampled_from(sorted(VECTORS.values()))),
    st.tuples(st.just("receive"), mutated(seeds()) | st.binary(max_size=80)),
    st.tuples(st.sampled_from(["tick", "heard", "busy"]), st.floats(0, 40)),
    st.tuples(st.just("close"), st.sampled_from(Reason)),
    st.tuples(st.just("refuse"), st.sampled_from(Reason)),
    st.tuples(st.just("settle"), st.integers(0, 2)),
    st.tuples(st.sampled_from(["lost", "hello"]), st.none()),
)


def apply(machine: LinkMachine, name: str, value: object, now: float) -> list[Effect]:
    """One input."""
    if name == "receive" and isinstance(value, bytes):
        return machine.receive(value, now)
    if name == "hello":
        return machine.receive(HELLO.encode(), now)
    if name == "tick":
        return machine.tick(now)
    if name == "close" and isinstance(value, Reason):
        return machine.close(value, now, retry_after_s=3, text="ü" * 300)
    if name == "refuse" and isinstance(value, Reason):
        return machine.refuse(value, text="why" * 200)
    if name == "settle" and isinstance(value, int):
        return machine.settle(value)
    if name == "lost":
        machine.lost()
    elif name == "heard":
        machine.heard(now)
    elif name == "busy":
        machine.busy(now)
    return []


@settings(max_examples=400)
@given(st.sampled_from(Side), st.booleans(), st.lists(_inputs, max_size=30))
def test_any_inputs_leave_a_legal_state(side: Side, greeted: bool, inputs: list[tuple[str, object]]) -> None:
    """Nothing raises, states follow the table, what goes out can be read, one drop and nothing after it."""
    machine, now, dropped = a_machine(side), START, 0
    machine.start()
    if greeted:
        machine.receive(HELLO.encode(), now)
    for name, value in inputs:
        if isinstance(value, float):
            now += value
        before = machine.state
        effects = apply(machine, name, value, now)
        assert machine.state in NEXT[before]
        assert not (before is LinkState.CLOSED and effects)
        for place, effect in enumerate(effects):
            if isinstance(effect, Send):
                assert decode_control(decode_record(effect.data)) is not None
            elif isinstance(effect, Received):
                states, sides = LEGAL[type(effect.record)]
                assert before in states
                assert side in sides
            elif isinstance(effect, Drop):
                dropped += 1
                assert place == len(effects) - 1
                assert machine.state is LinkState.CLOSED
    assert dropped <= 1


OTHER = {Side.OPENER: Side.ACCEPTOR, Side.ACCEPTOR: Side.OPENER}


class Pair:
    """Two machines back to back; what is written waits until it is delivered."""

    def __init__(self) -> None:
        self.now = START
        self.machines = {side: a_machine(side) for side in Side}
        self.pipes: dict[Side, list[bytes]] = {side: [] for side in Side}
        self.drops: list[Reason] = []
        for side in Side:
            self.perform(side, self.machines[side].start())

    def perform(self, side: Side, effects: list[Effect]) -> None:
        """Do what a machine says."""
        for effect in effects:
            if isinstance(effect, Send):
                self.pipes[side].append(effect.data)
            elif isinstance(effect, Drop):
                self.drops.append(effect.reason)

    def deliver(self, side: Side) -> None:
        """Give a side the next record of the other one."""
        if self.pipes[OTHER[side]]:
            data = self.pipes[OTHER[side]].pop(0)
            self.perform(side, self.machines[side].receive(data, self.now))

    def close(self, side: Side) -> None:
        """Close in order, where that makes sense."""
        if self.machines[side].state is LinkState.OPEN:
            self.perform(side, self.machines[side].close(Reason.SHUTTING_DOWN, self.now))

    def run_out(self) -> None:
        """Deliver everything."""
        while any(self.pipes.values()):
            for side in Side:
                self.deliver(side)


steps = st.tuples(
    st.sampled_from(Side),
    st.sampled_from(["deliver", "deliver", "deliver", "tick", "close"]),
    st.floats(0, 5),
)


@settings(max_examples=200)
@given(st.lists(steps, max_size=25), st.booleans())
def test_two_machines_agree(script: list[tuple[Side, str, float]], cut: bool) -> None:
    """Delivered at any time, closed by either side, cut off or not: both end, none by a protocol error."""
    pair = Pair()
    for side, step, pause in script:
        if step == "deliver":
            pair.deliver(side)
        elif step == "close":
            pair.close(side)
        else:
            pair.now += pause
            pair.perform(side, pair.machines[side].tick(pair.now))
    if cut:
        for machine in pair.machines.values():
            machine.lost()
    pair.run_out()
    for side in Side:
        pair.close(side)
    pair.run_out()
    for side in Side:
        pair.perform(side, pair.machines[side].settle(0))
    assert {machine.state for machine in pair.machines.values()} == {LinkState.CLOSED}
    assert set(pair.drops) <= {Reason.SHUTTING_DOWN, Reason.HELLO_TIMEOUT, Reason.KEEPALIVE_TIMEOUT}
