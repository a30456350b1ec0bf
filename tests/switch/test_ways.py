"""The table of ways: whatever comes and goes, it and its index say the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.switch.ports import Port, Role
from imxrouter.switch.ways import Ways

REMOTE, OURS = [b"x.example", b"y.example", b"z.example"], [b"a.example", b"b.example"]
steps = st.one_of(
    st.tuples(
        st.sampled_from(["open", "end"]), st.sampled_from(REMOTE), st.sampled_from(OURS), st.integers(1, 3)
    ),
    st.tuples(st.just("to"), st.sampled_from(REMOTE), st.none(), st.integers(1, 3)),
    st.tuples(st.just("from"), st.none(), st.sampled_from(OURS), st.integers(1, 3)),
    st.tuples(st.just("all"), st.none(), st.none(), st.integers(1, 3)),
    st.tuples(st.just("source"), st.none(), st.sampled_from(OURS), st.none()),
)


def port(number: int) -> Port:
    """A link with nothing behind it."""
    return Port(number, Role.PEER, lambda _data: None)


@given(st.lists(steps, max_size=40))
def test_it_is_the_set_of_triples_it_should_be(
    script: list[tuple[str, bytes | None, bytes | None, int | None]],
) -> None:
    """Against a plain set; no empty table is left behind."""
    ports = {number: port(number) for number in (1, 2, 3)}
    ways, plain = Ways(), set[tuple[bytes, bytes, int]]()
    for word, remote, ours, number in script:
        link = ports.get(number or 0)
        if word == "source":
            assert ours is not None
            assert ways.end_source(ours) == {n for _, o, n in plain if o == ours}
            plain = {one for one in plain if one[1] != ours}
            continue
        assert link is not None
        if word == "open":
            assert remote is not None
            assert ours is not None
            ways.open(remote, ours, link)
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
    seen = {
        (r, o, one.number) for r, sources in ways.items() for o, links in sources.items() for one in links
    }
    assert seen == plain
    assert all(links for sources in ways.values() for links in sources.values())
    assert all(ways.values())


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
