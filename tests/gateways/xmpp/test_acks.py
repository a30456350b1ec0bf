"""Which stanzas are known to have arrived: acknowledgements, pings behind them, and neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.gateways.xmpp.acks import (
    DROPPED_AT_MOST,
    TRUST_WRITING_S,
    WRAP,
    Ask,
    Confirmations,
    PingDroppers,
    TooHigh,
)
from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings
from tests.gateways.xmpp.pipe import START, chance

SETTINGS = StreamSettings(answer_s=30.0, barrier_rest_s=0.05)


def confirmations(confirm: Confirm = Confirm.PING) -> Confirmations:
    """Of a new stream."""
    return Confirmations(confirm, SETTINGS, chance())


def counted() -> Confirmations:
    """With XEP-0198."""
    one = confirmations()
    one.enable()
    return one


def test_a_batch_is_asked_about_once_and_settled_in_order() -> None:
    """One `<r/>` is out at a time; stanzas that nobody asks about are counted as well."""
    one = counted()
    assert one.wrote([1, None, 2], START) == (Ask.REQUEST, ())
    assert one.wrote([3], START) == (Ask.NOTHING, ())
    assert one.acked(2) == (1,)
    assert one.ask_if_due(START) is Ask.REQUEST
    assert one.acked(4) == (2, 3)
    assert one.pending == 0
    assert one.ask_if_due(START) is Ask.NOTHING


@pytest.mark.parametrize("handled", [4, 1, WRAP - 1, 1000])
def test_an_acknowledgement_of_more_than_was_sent_is_refused(handled: int) -> None:
    """And so is one of fewer than before."""
    one = counted()
    one.wrote([1, 2, 3], START)
    one.acked(2)
    with pytest.raises(TooHigh) as caught:
        one.acked(handled)
    assert (caught.value.handled, caught.value.sent) == (handled, 3)
    assert one.pending == 1


def test_counters_go_round() -> None:
    """At 2^32 they begin again (XEP-0198 section 4)."""
    one = counted()
    one._sent = one._confirmed = WRAP - 1
    one.wrote([1, 2, 3], START)
    assert one.acked(1) == (1, 2)
    assert one.acked(2) == (3,)


def test_what_was_sent_before_counting_began_is_settled_by_the_first_acknowledgement() -> None:
    """The stream is read in order, so whoever counts has read it."""
    one = confirmations()
    one.wrote([1], START)
    one.enable()
    one.wrote([2], START)
    assert one.acked(1) == (1, 2)


def test_a_ping_settles_what_stands_before_it_and_no_more() -> None:
    """Its answer comes by whatever way; one that was not asked for settles nothing."""
    one = confirmations()
    assert one.wrote([1, 2], START) == (Ask.PING, ())
    ident = one.barrier
    assert len(ident) == 32
    assert one.wrote([3], START) == (Ask.NOTHING, ())
    assert one.barrier_answered("0" * 32, START) is None
    assert one.barrier_answered("", START) is None
    assert one.barrier_answered(ident, START) == (1, 2)
    assert one.barrier_answered(ident, START) is None
    assert one.pending == 1


def test_pings_rest_between_each_other() -> None:
    """A stream that carries one stanza at a time is not doubled by pings."""
    one = confirmations()
    one.wrote([1], START)
    one.barrier_answered(one.barrier, START)
    assert one.wrote([2], START + 0.01) == (Ask.NOTHING, ())
    assert one.due_at == pytest.approx(START + 0.05)
    assert one.ask_if_due(START + 0.049) is Ask.NOTHING
    assert one.ask_if_due(START + 0.051) is Ask.PING


def test_what_is_not_confirmed_in_time_is_late_once() -> None:
    """A confirmation that comes afterwards changes nothing for it."""
    one = confirmations()
    one.wrote([1], START)
    ident = one.barrier
    one.wrote([2], START + 10)
    assert one.late(START + 29.9) == ()
    assert one.late(START + 30) == (1,)
    assert one.give_up_barrier(START + 30)
    assert one.barrier_answered(ident, START + 31) is None
    assert one.late(START + 40) == (2,)
    assert one.late(START + 99) == ()


def test_where_writing_must_do_it_settles_at_once() -> None:
    """Nothing is asked and nothing waits."""
    one = confirmations(Confirm.WRITTEN)
    assert one.wrote([1, None, 2], START) == (Ask.NOTHING, (1, 2))
    assert one.pending == 0
    assert one.ask(START) is Ask.NOTHING
    assert one.fence(START) is Ask.NOTHING
    assert one.fenced


def test_where_counting_is_refused_a_ping_follows() -> None:
    """What went out in between is not lost."""
    one = counted()
    one.wrote([1], START)
    one.failed(Confirm.PING)
    assert one.ask_if_due(START) is Ask.PING
    assert one.barrier_answered(one.barrier, START) == (1,)


def test_a_fence_is_passed_when_all_before_it_was_read() -> None:
    """Later stanzas do not matter to it."""
    one = confirmations()
    fenced = [one.fenced]
    one.wrote([None], START)
    assert one.fence(START) is Ask.PING
    ident = one.barrier
    one.wrote([1], START)
    fenced.append(one.fenced)
    one.barrier_answered(ident, START)
    assert [*fenced, one.fenced] == [True, False, True]


def test_a_question_is_said_again_after_a_second_then_after_two() -> None:
    """What the newest covers is what was written before it; none is said again once all are given up."""
    one = confirmations()
    one.wrote([1], START)
    first = one.barrier
    assert one.ask_again(START + 0.99) is Ask.NOTHING
    one.wrote([2], START + 0.5)
    assert one.ask_again(START + 1) is Ask.PING
    second = one.barrier
    assert one.ask_again(START + 2.99) is Ask.NOTHING
    assert list(one.pings) == [first, second]
    assert one.asked_at == START
    one.wrote([3], START + 1.5)
    assert one.barrier_answered(first, START + 1.6) == (1,)
    assert (list(one.pings), one.asked_at) == ([second], START + 1)
    assert one.barrier_answered(second, START + 1.7) == (2,)
    assert one.round_trip_s == pytest.approx(0.7)
    assert list(one.pings) == []
    assert one.ask_if_due(START + 2) is Ask.PING
    assert one.give_up_barrier(START + 32)
    assert (list(one.pings), one.ask_again(START + 99)) == ([], Ask.NOTHING)


def test_acknowledgements_are_not_asked_for_again() -> None:
    """They come on the stream itself, where nothing is lost alone."""
    one = counted()
    one.wrote([1], START)
    assert one.ask_again(START + 29) is Ask.NOTHING


def test_a_domain_that_drops_pings_is_trusted_to_read_for_an_hour() -> None:
    """After two that it left although it spoke; an answer clears it."""
    table = PingDroppers()
    for _ in range(DROPPED_AT_MOST - 1):
        assert not table.dropped("a.example", START)
        assert table.confirm("a.example", START) is Confirm.PING
    assert table.dropped("a.example", START)
    assert table.confirm("a.example", START + TRUST_WRITING_S - 1) is Confirm.WRITTEN
    assert table.confirm("b.example", START) is Confirm.PING
    assert table.confirm("a.example", START + TRUST_WRITING_S) is Confirm.PING
    assert not table.dropped("a.example", START + TRUST_WRITING_S)
    table.answered("a.example")
    assert not table.dropped("a.example", START)


def test_the_memory_of_droppers_is_bounded() -> None:
    """The oldest is forgotten."""
    table = PingDroppers(at_most=3)
    for number in range(10):
        table.dropped(f"{number}.example", START)
        table.dropped(f"{number}.example", START)
    dropping = [one for one in range(10) if table.confirm(f"{one}.example", START) is Confirm.WRITTEN]
    assert dropping == [7, 8, 9]


@given(
    st.sampled_from(["acks", "ping", "written"]),
    st.lists(
        st.tuples(st.sampled_from(["write", "answer", "ask", "again", "tick", "fence"]), st.integers(0, 4))
    ),
)
def test_every_stanza_has_one_outcome(way: str, inputs: list[tuple[str, int]]) -> None:
    """Confirmed, settled by writing, late, or still waiting: each tag once, in order of its kind."""
    one = counted() if way == "acks" else confirmations(Confirm(way))
    now, told = START, list[int]()
    next_tag = sent = handled = 0
    for what, number in inputs:
        if what == "write":
            tags = list(range(next_tag, next_tag + number))
            next_tag += number
            sent += number
            told += one.wrote(tags, now)[1]
        elif what == "answer" and way == "acks":
            handled = min(sent, handled + number)
            told += one.acked(handled)
        elif what == "answer":
            out = list(one.pings) or [""]
            told += one.barrier_answered(out[number % len(out)], now) or ()
        elif what == "again":
            now += number
            one.ask_again(now)
        elif what == "ask":
            one.ask_if_due(now)
        elif what == "fence":
            one.fence(now)
        else:
            now += number * 10
            told += one.late(now)
            one.give_up_barrier(now)
    assert told == list(range(len(told)))
    assert len(told) + one.pending == next_tag
