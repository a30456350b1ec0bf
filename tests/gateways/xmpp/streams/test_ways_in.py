"""Which streams may bring stanzas of which pairs of domains."""

from __future__ import annotations

from imxrouter.gateways.xmpp.pairs import Pair
from imxrouter.gateways.xmpp.streams.ways_in import WaysIn

A, B = ("theirs.example", "a.example"), ("theirs.example", "b.example")
COMPONENT = ("bridge.example", "")


def test_it_is_told_once_of_each_stream_that_a_pair_may_come_on() -> None:
    """However often the stream says so; again when another one does, or it comes back."""
    ways, told = WaysIn(), list[list[Pair]]()
    ways.opened = told.append
    ways.may_bring(1, [A])
    ways.may_bring(1, [A])
    ways.may_bring(1, [A, B])
    ways.may_bring(2, [A])
    ways.gone(1)
    ways.may_bring(1, [A])
    assert told == [[A], [B], [A], [A]]


def test_what_is_not_proved_any_more_comes_no_more() -> None:
    """The stream goes on for others: the silence of that pair says nothing."""
    ways, told = WaysIn(), list[list[Pair]]()
    ways.opened = told.append
    ways.may_bring(1, [A, B])
    ways.may_bring(1, [B])
    assert (ways.leads(*A), ways.leads(*B)) == (False, True)
    ways.may_bring(1, [A, B])
    ways.may_bring(1, [])
    assert not ways.leads(*A)
    assert (len(ways), told) == (0, [[A, B], [A]])


def test_a_way_leads_as_long_as_a_stream_is_there() -> None:
    """A component brings what is for anybody."""
    ways = WaysIn()
    assert not ways.leads(*A)
    ways.may_bring(1, [A])
    ways.may_bring(2, [A, COMPONENT])
    assert ways.leads(*A)
    assert not ways.leads(*B)
    assert ways.leads("bridge.example", "b.example")
    ways.gone(1)
    assert ways.leads(*A)
    ways.gone(2)
    assert not ways.leads(*A)
    assert not ways.leads("bridge.example", "b.example")
