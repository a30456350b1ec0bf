"""States of presence: what they may hold, what they add up to, which of them say the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.presence import (
    Activities,
    BadPresence,
    Basic,
    Contact,
    Extension,
    Note,
    Person,
    Presence,
    PresenceTuple,
    Unknown,
    element_id,
    meaning,
    merge,
    offline,
    preferred,
    same_meaning,
)
from imxrouter.model.vocabulary import Reason
from tests.formats.presence_strategies import CALM, states

ALICE = Address.parse("alice@a.example")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
OPEN, CLOSED, UNKNOWN = Basic.OPEN, Basic.CLOSED, Basic.UNKNOWN
MARKED = Extension("urn:f", "x", "<x xmlns='urn:f'/>", must_understand=True)
INSTANCES = st.dictionaries(st.sampled_from(["desk", "phone", "tv set", ""]), states(), max_size=3)


def state(*tuples: PresenceTuple) -> Presence:
    """Alice's, of these tuples."""
    return Presence(ALICE, tuples)


@pytest.mark.parametrize(
    ("basics", "expected"),
    [
        ([], UNKNOWN),
        ([CLOSED], CLOSED),
        ([CLOSED, CLOSED], CLOSED),
        ([CLOSED, OPEN], OPEN),
        ([UNKNOWN, OPEN], OPEN),
        ([UNKNOWN, CLOSED], UNKNOWN),
    ],
)
def test_status_of_the_whole(basics: list[Basic], expected: Basic) -> None:
    """Open if anything is, closed only if everything is."""
    assert state(*(PresenceTuple(f"t{at}", basic) for at, basic in enumerate(basics))).status is expected


def test_a_mark_makes_unknown_what_it_stands_in() -> None:
    """The tuple, or the whole state."""
    one = PresenceTuple("a", OPEN)
    assert replace(one, extensions=(MARKED,)).status is UNKNOWN
    assert replace(one, status_extensions=(MARKED,)).status is UNKNOWN
    assert state(replace(one, extensions=(MARKED,)), PresenceTuple("b", OPEN)).status is OPEN
    assert replace(state(one), extensions=(MARKED,)).status is UNKNOWN


def test_the_routers_own_word() -> None:
    """It names why and where, and is never open or closed."""
    word = Unknown(ALICE, Reason.KEEPALIVE_TIMEOUT, Domain.parse("z.example"))
    assert (word.status, word.reason.word) == (UNKNOWN, "keepalive-timeout")


@pytest.mark.parametrize(
    "uri",
    [
        "im:alice@a.example",
        "tel:+1-201-555-0123",
        "sip:alice@a.example:5060;transport=tcp?Subject=x",
        "http://a.example",
        "http://u:p@[2001:db8::1]:80/x/y?z#w",
        "xmpp:alice@a.example/Desk%20top",
        "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "file:///x",
    ],
)
def test_contacts(uri: str) -> None:
    """Absolute URIs of any scheme."""
    assert Contact(uri).uri == uri


@pytest.mark.parametrize(
    "uri",
    ["", "alice", "a:", "//a.example", "1a:b", "a:b c", "a:<b>", "a:%4", "a:%zz", "a:b#c#d", "a:é", "a:b\n",
     "a:[b]", "http://a:b:c/", "http://a.example:/", "http://a.example:123456/", "http://[x]/", "a:\x00"],
)  # fmt: skip
def test_contacts_that_are_none(uri: str) -> None:
    """Nothing that a schema or a client would stumble over."""
    with pytest.raises(BadPresence):
        Contact(uri)


def test_parts_that_no_format_could_carry_are_refused() -> None:
    """Where they are made, so that nothing else needs to look."""
    for make in (
        lambda: PresenceTuple("1"),
        lambda: PresenceTuple("a b"),
        lambda: PresenceTuple("é"),
        lambda: Person(""),
        lambda: PresenceTuple("a", timestamp=NOON.replace(tzinfo=None)),
        lambda: PresenceTuple("a", timestamp=NOON.replace(year=9999)),
        lambda: Note("x", "de_DE"),
        lambda: Contact("a:b", 1001),
        lambda: Contact("a:b", -1),
        lambda: Activities(("dancing",)),
        Activities,
        lambda: Activities(since=NOON),
        lambda: Activities(("away",), until=NOON.replace(tzinfo=None)),
        lambda: state(PresenceTuple("a"), PresenceTuple("a")),
        lambda: Presence(ALICE, (PresenceTuple("a"),), persons=(Person("a"),)),
    ):
        with pytest.raises(BadPresence):
            make()


@given(st.text(max_size=20))
@settings(CALM)
def test_any_text_becomes_an_id(text: str) -> None:
    """One that a tuple takes; a good one stays."""
    made = element_id(text, "t")
    assert PresenceTuple(made).id == made
    assert element_id(made, "t") == made


# order


def test_what_is_preferred() -> None:
    """Open before unknown before closed, then priority, then the newer one, then the id."""
    in_order = (
        PresenceTuple("z", OPEN, Contact("a:1", 900)),
        PresenceTuple("y", OPEN, Contact("a:1", 0), timestamp=LATER),
        PresenceTuple("x", OPEN, Contact("a:1", 0), timestamp=NOON),
        PresenceTuple("w", OPEN, Contact("a:1", 0)),
        PresenceTuple("u", OPEN),
        PresenceTuple("v", OPEN, Contact("a:1")),
        PresenceTuple("t", UNKNOWN, Contact("a:1", 1000)),
        PresenceTuple("s", CLOSED, Contact("a:1", 1000)),
    )
    assert preferred(reversed(in_order)) == in_order


# meaning


def test_ids_times_and_order_mean_nothing() -> None:
    """A client that says the same again changes them."""
    first = Presence(
        ALICE,
        (PresenceTuple("a", OPEN, timestamp=NOON), PresenceTuple("b", CLOSED)),
        (Note("x", "de"), Note("y")),
        (Person("p", timestamp=NOON, notes=(Note("z"),)),),
    )
    second = Presence(
        Address.parse("Alice@a.example"),
        (PresenceTuple("c", CLOSED, timestamp=LATER), PresenceTuple("a", OPEN)),
        (Note("y"), Note("x", "DE")),
        (Person("q", timestamp=LATER, notes=(Note("z"),)),),
    )
    assert same_meaning(first, second)
    assert meaning(first) == meaning(second)


def test_everything_else_means_something() -> None:
    """Each of these would be told."""
    plain = state(PresenceTuple("a", OPEN, Contact("a:1", 5), (Note("x"),)))
    (one,) = plain.tuples
    away = Activities(("away",))
    for other in (
        Presence(Address.parse("bob@a.example"), plain.tuples),
        state(),
        state(one, replace(one, id="b")),
        state(replace(one, basic=CLOSED)),
        state(replace(one, basic=UNKNOWN)),
        state(replace(one, contact=None)),
        state(replace(one, contact=Contact("a:1"))),
        state(replace(one, notes=())),
        state(replace(one, notes=(Note("x", "de"),))),
        state(replace(one, activities=(away,))),
        state(replace(one, activities=(replace(away, until=NOON),))),
        state(replace(one, extensions=(MARKED,))),
        state(replace(one, status_extensions=(MARKED,))),
        replace(plain, notes=(Note("x"),)),
        replace(plain, extensions=(MARKED,)),
        replace(plain, persons=(Person("p"),)),
        replace(plain, persons=(Person("p", (away,)),)),
    ):
        assert not same_meaning(plain, other)


@given(states())
@settings(CALM)
def test_meaning_ignores_order(one: Presence) -> None:
    """And can be a key of a table."""
    other = replace(one, tuples=one.tuples[::-1], persons=one.persons[::-1], notes=one.notes[::-1])
    assert same_meaning(one, other)
    assert len({meaning(one), meaning(other)}) == 1


# merging


def test_one_state_of_two_instances() -> None:
    """Tuples by preference, notes and persons of both, ids told apart by the instances' names."""
    desk = Presence(ALICE, (PresenceTuple("t", CLOSED),), (Note("x"),), (Person("p", notes=(Note("d"),)),))
    phone = Presence(ALICE, (PresenceTuple("t", OPEN),), (Note("x"), Note("y")), (Person("p"),), (MARKED,))
    assert merge(ALICE, {"desk": desk, "my phone": phone}) == Presence(
        ALICE,
        (PresenceTuple("t.my_phone", OPEN), PresenceTuple("t.desk", CLOSED)),
        (Note("x"), Note("y")),
        (Person("p.desk", notes=(Note("d"),)), Person("p.my_phone")),
        (MARKED,),
    )


def test_what_two_instances_say_alike_is_said_once() -> None:
    """With the newer of the two times."""
    first, second = (state(PresenceTuple("t", OPEN, timestamp=time)) for time in (NOON, LATER))
    assert merge(ALICE, {"a": first, "b": second}) == second == merge(ALICE, {"a": second, "b": first})


def test_names_of_instances_that_look_alike_stay_apart() -> None:
    """`a b` and `a_b` give the same id; a number follows."""
    one, other = state(PresenceTuple("t", OPEN)), state(PresenceTuple("t", CLOSED))
    assert {each.id for each in merge(ALICE, {"a b": one, "a_b": other}).tuples} == {"t.a_b", "t.a_b.2"}


def test_a_crowd_is_cut_at_the_bound() -> None:
    """The least preferred go."""
    crowd = {
        f"i{at}": state(PresenceTuple(f"t{at}", OPEN if at % 2 else CLOSED, Contact("a:1", at)))
        for at in range(20)
    }
    assert [one.id for one in merge(ALICE, crowd, max_tuples=3).tuples] == ["t19", "t17", "t15"]


def test_nobody_there() -> None:
    """No instance gives no tuples; an offline state is always the same."""
    assert merge(ALICE, {}) == Presence(ALICE)
    assert offline(ALICE) == offline(Address.parse("alice@a.example"))
    assert offline(ALICE).status is CLOSED


@given(INSTANCES)
@settings(CALM)
def test_merging_keeps_what_is_said(instances: dict[str, Presence]) -> None:
    """In whatever order the instances stand; the status is that of all tuples; nothing is invented."""
    merged = merge(ALICE, instances)
    assert merge(ALICE, dict(reversed(instances.items()))) == merged
    said = {replace(one, id="x", timestamp=None) for each in instances.values() for one in each.tuples}
    assert {replace(one, id="x", timestamp=None) for one in merged.tuples} == said
    assert preferred(merged.tuples) == merged.tuples
    assert merged.presentity == ALICE


@given(states())
@settings(CALM)
def test_one_instance_is_itself(one: Presence) -> None:
    """Merging it alone changes the order of its tuples, and what it says twice."""
    merged = merge(one.presentity, {"desk": one})
    assert merged.tuples == preferred(one.tuples)
    assert merged.persons == one.persons
    assert set(merged.notes) == set(one.notes)
