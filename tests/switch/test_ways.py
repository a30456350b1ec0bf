"""The table of ways: whatever comes and goes, it and its index say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.routing.choice import Uri
from imxrouter.switch.ports import Port, Role
from imxrouter.switch.ways import Ways

REMOTE, OURS = [b"x.example", b"y.example", b"z.example"], [b"a.example", b"b.example"]
#: Numbers of the links that are streams of another protocol.
STREAMS = (4, 5)
steps = st.one_of(
    st.tuples(
        st.sampled_from(["open", "end"]), st.sampled_from(REMOTE), st.sampled_from(OURS), st.integers(1, 5)
    ),
    st.tuples(st.sampled_from(["admit", "dismiss"]), st.sampled_from(REMOTE), st.none(), st.none()),
    st.tuples(st.just("to"), st.sampled_from(REMOTE), st.none(), st.integers(1, 5)),
    st.tuples(st.just("from"), st.none(), st.sampled_from(OURS), st.integers(1, 5)),
    st.tuples(st.just("all"), st.none(), st.none(), st.integers(1, 5)),
    st.tuples(st.just("source"), st.none(), st.sampled_from(OURS), st.none()),
)


def port(number: int) -> Port:
    """A link with nothing behind it."""
    link = Port(number, Role.PEER, lambda _data: None)
    link.carries_stanzas = number in STREAMS
    return link


@given(st.lists(steps, max_size=40))
def test_it_is_the_set_of_triples_it_should_be(
    script: list[tuple[str, bytes | None, bytes | None, int | None]],
) -> None:
    """Against a plain set; no empty table is left behind."""
    ports = {number: port(number) for number in (1, 2, 3, *STREAMS)}
    ways, plain, admitted = Ways(), set[tuple[bytes, bytes, int]](), set[bytes]()
    for word, remote, ours, number in script:
        link = ports.get(number or 0)
        if word == "source":
            assert ours is not None
            assert ways.end_source(ours) == {n for _, o, n in plain if o == ours}
            plain = {one for one in plain if one[1] != ours}
            continue
        if word in ("admit", "dismiss"):
            assert remote is not None
            (ways.admit if word == "admit" else ways.dismiss)(remote)
            admitted = admitted | {remote} if word == "admit" else admitted - {remote}
            continue
        assert link is not None
        if word == "open":
            assert remote is not None
            assert ours is not None
            ways.open(remote, ours, link)
            if link.number not in STREAMS and (remote, ours, link.number) not in plain:
                admitted -= {remote}
            plain.add((remote, ours, link.number))
            continue
        if word == "end" and remote is not None and ours is not None:
            ways.end(remote, ours, link)
        elif word == "to" and remote is not None:
            ways.end_to(remote, link)
        elif word == "from" and ours is not None:
            ways.end_from(ours, link)
        else:
            ways.end_all(link)
        plain = {
            one for one in plain
            if one[2] != link.number or (remote or one[0]) != one[0] or (ours or one[1]) != one[1]
        }  # fmt: skip
    assert triples(ways) == {one for one in plain if one[2] not in STREAMS or one[0] in admitted}
    assert triples(ways.presence) == triples(ways)
    assert triples(ways.streams) == {one for one in plain if one[2] in STREAMS}
    for number, link in ports.items():
        assert ways.of_port(link) == {(r, o) for r, o, n in plain if n == number}
        assert all(ways.carries(r, o, link) for r, o, n in plain if n == number)
    assert {one for one in REMOTE if ways.leads_to(one)} == {one[0] for one in plain}


def triples(table: dict[bytes, dict[bytes, list[Port]]]) -> set[tuple[bytes, bytes, int]]:
    """All that stands in a table, which has no empty one in it and no link twice."""
    assert all(links for sources in table.values() for links in sources.values())
    assert all(table.values())
    every = [(r, o, one.number) for r, by in table.items() for o, links in by.items() for one in links]
    assert len(every) == len(set(every))
    return set(every)


@pytest.mark.parametrize("end", ["end_all", "end_from", "end"])
def test_a_link_that_goes_costs_what_it_used(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """Not what the router knows of others: nobody can make it walk its tables by coming and going."""
    ways, busy, guest = Ways(), port(1), port(2)
    for number in range(1000):
        ways.open(b"%d.example" % number, OURS[0], busy)
    monkeypatch.setattr(Ways, "items", lambda _self: pytest.fail("walked the whole table"))
    {
        "end_all": lambda: ways.end_all(guest),
        "end_from": lambda: ways.end_from(OURS[0], guest),
        "end": lambda: ways.end(b"7.example", OURS[0], guest),
    }[end]()
    assert len(ways) == 1000


def test_links_for_messages_or_presence_alone() -> None:
    """A link is where it was published for; reached for the other as well, it is for both."""
    ways, link = Ways(), port(1)
    ways.restrict(REMOTE[0], link, Uri.PRES)
    for remote in REMOTE[:2]:
        ways.open(remote, OURS[0], link)
    assert triples(ways) == {(REMOTE[1], OURS[0], 1)}
    assert triples(ways.presence) == {(REMOTE[0], OURS[0], 1), (REMOTE[1], OURS[0], 1)}
    ways.restrict(REMOTE[0], link, Uri.IM)
    ways.restrict(REMOTE[1], link, Uri.IM)  # it is open for both already
    assert triples(ways) == triples(ways.presence) == {(one, OURS[0], 1) for one in REMOTE[:2]}
    ways.end_all(link)
    assert triples(ways) == triples(ways.presence) == set()


def test_streams_are_admitted_to_each_apart() -> None:
    """Presence may be chosen to go there while messages are not, and the other way round."""
    ways, stream = Ways(), port(STREAMS[0])
    ways.open(REMOTE[0], OURS[0], stream)
    ways.admit(REMOTE[0], Uri.PRES)
    assert (triples(ways), len(triples(ways.presence))) == (set(), 1)
    ways.admit(REMOTE[0], Uri.IM)
    ways.dismiss(REMOTE[0], Uri.PRES)
    assert (len(triples(ways)), triples(ways.presence)) == (1, set())


@pytest.mark.parametrize("when", ["before", "after"])
def test_streams_that_policy_does_not_allow_are_put_by(when: str) -> None:
    """Whatever was admitted, and though the stream stays; allowed again, they carry its stanzas again."""
    ways, stream, link = Ways(), port(STREAMS[0]), port(1)
    barred = {REMOTE[0]} if when == "before" else set()
    ways.may_stream = lambda domain: domain not in barred
    for remote in REMOTE[:2]:
        ways.open(remote, OURS[0], stream)
        ways.admit(remote)
    ways.open(REMOTE[2], OURS[0], link)
    barred.add(REMOTE[0])
    ways.judge()
    rest = {(REMOTE[1], OURS[0], STREAMS[0])}
    assert triples(ways.streams) == rest
    assert triples(ways) == triples(ways.presence) == rest | {(REMOTE[2], OURS[0], 1)}
    assert ways.carries(REMOTE[0], OURS[0], stream)
    barred.clear()
    ways.judge()
    assert triples(ways.streams) == rest | {(REMOTE[0], OURS[0], STREAMS[0])}
    assert (REMOTE[0], OURS[0], STREAMS[0]) in triples(ways) or when == "after"
    barred.add(REMOTE[1])
    ways.judge()
    ways.end_all(stream)
    barred.clear()
    ways.judge()
    assert triples(ways.streams) == set()
