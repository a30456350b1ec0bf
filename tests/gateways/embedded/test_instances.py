"""What instances publish, and who sees what of it (RFC 2779 section 5.2.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imxrouter.formats.pidf import read_pidf, write_pidf
from imxrouter.gateways.embedded.instances import (
    MAX_INSTANCES,
    MAX_PUBLISHED_BYTES,
    MAX_STATE_BYTES,
    BadPublication,
    Instances,
    Publication,
    fitting,
)
from imxrouter.model.presence import Activities, Basic, Extension, Note, Presence, PresenceTuple, offline
from imxrouter.model.presence import Person as Person4479
from imxrouter.routing.rules import Detail, Person, Who
from tests.gateways.embedded.rigs import at, state, words

ALICE = at("alice@a.example")
BOB = Person(b"bob@b.example", "b.example", groups=frozenset({"work"}), is_contact=True)
EVE = Person(b"eve@e.example", "e.example")


def published(presence: Presence, *audience: str, until: float = 100.0) -> Publication:
    """By Alice herself."""
    return Publication(presence, until, ALICE, tuple(map(Who.parse, audience)))


def test_nobody_there_is_offline() -> None:
    """The same value for everybody, so that nothing can be read from it."""
    assert Instances().whole(ALICE) == Instances().seen_by(ALICE, EVE, Detail.FULL) == offline(ALICE)


def test_instances_add_up() -> None:
    """Open if one is; each may say more than a status; a retracted or expired one says nothing."""
    mine = Instances()
    mine.publish("phone", published(state("closed", "on the road"), until=50.0))
    mine.publish("desk", published(state("open", "at my desk", "busy")))
    whole = mine.whole(ALICE)
    assert (whole.status, {note.text for note in whole.notes}) == (Basic.OPEN, {"on the road", "at my desk"})
    assert [one.activities[0].names for one in whole.persons] == [("busy",)]
    assert mine.next_expiry() == 50.0
    assert mine.expire(50.0) == ["phone"]
    assert words(mine.whole(ALICE)) == "open at my desk"
    assert mine.retract("desk")
    assert not mine.retract("desk")
    assert (mine.whole(ALICE), mine.next_expiry()) == (offline(ALICE), float("inf"))


def test_people_are_told_different_states() -> None:
    """An instance with an audience is there for those only; the others see the rest, or somebody offline."""
    mine = Instances()
    mine.publish("office", published(state("open", "come in"), "group:work"))
    assert words(mine.seen_by(ALICE, BOB, Detail.FULL)) == "open come in"
    assert mine.seen_by(ALICE, EVE, Detail.FULL) == offline(ALICE)
    mine.publish("home", published(state("closed", "not at home")))
    assert words(mine.seen_by(ALICE, EVE, Detail.FULL)) == "closed not at home"


def test_what_each_instance_says_stays_with_it() -> None:
    """Of the person and of the whole two say different things: each is said of its own tuples, too.

    A tuple's own words come first, one that is closed does nothing, and who says nothing is left alone.
    """
    mine = Instances()
    mine.publish("desk", published(state("open", "at my desk", "meeting")))
    alone = mine.whole(ALICE).tuples
    assert [(one.activities, one.notes) for one in alone] == [((), ())]
    mine.publish("phone", published(state("open", "on the road", "away")))
    mine.publish("old", published(state("closed", "gone", "sleeping")))
    own = PresenceTuple("own", Basic.OPEN, notes=(Note("mine"),), activities=(Activities(("busy",)),))
    mine.publish("tablet", published(replace(state("closed", "whole", "vacation"), tuples=(own,))))
    mine.publish("plain", published(replace(state(), tuples=(PresenceTuple("plain", Basic.OPEN),))))
    whole = read_pidf(write_pidf(mine.whole(ALICE)))
    told = {
        one.id: ([name for each in one.activities for name in each.names], [note.text for note in one.notes])
        for one in whole.tuples
    }
    assert told == {
        "own": (["busy"], ["mine"]), "plain": ([], []), "t.desk": (["meeting"], ["at my desk"]),
        "t.old": ([], []), "t.phone": (["away"], ["on the road"]),
    }  # fmt: skip
    assert {name for one in whole.persons for each in one.activities for name in each.names} == {
        "meeting", "away", "sleeping", "vacation",
    }  # fmt: skip


def test_words_of_a_person_stay_with_the_instance() -> None:
    """As those of the whole, where there are none of that."""
    mine = Instances()
    for name in ("desk", "phone"):
        one = Person4479("p", (), (Note(f"by my {name}"),))
        mine.publish(name, published(Presence(ALICE, (PresenceTuple("t", Basic.OPEN),), persons=(one,))))
    assert {one.id: one.notes for one in mine.whole(ALICE).tuples} == {
        "t.desk": (Note("by my desk"),), "t.phone": (Note("by my phone"),),
    }  # fmt: skip


def test_what_is_too_large_to_be_said_twice_is_said_once() -> None:
    """The words of the whole, not of each tuple: nothing is left out for them."""
    mine = Instances()
    tuples = tuple(PresenceTuple(f"t{number}", Basic.OPEN) for number in range(20))
    for name in ("desk", "phone"):
        mine.publish(name, published(Presence(ALICE, tuples, (Note(name * 150),))))
    whole = mine.whole(ALICE)
    assert len(write_pidf(whole)) <= MAX_STATE_BYTES
    assert (len(whole.tuples), len(whole.notes)) == (20, 2)


@pytest.mark.parametrize("basic", Basic)
def test_the_least_detail_is_a_status(basic: Basic) -> None:
    """Whoever is shown no more learns neither notes nor devices; closed is the same as offline."""
    mine = Instances()
    mine.publish("a", published(state(basic.value, "secret", "sleeping")))
    seen = mine.seen_by(ALICE, EVE, Detail.BASIC)
    assert seen.status is basic
    assert (seen.notes, seen.persons, len(seen.tuples)) == ((), (), 1)
    assert (seen == offline(ALICE)) is (basic is Basic.CLOSED)


def test_publications_are_bounded() -> None:
    """In number, name and size; a refused one changes nothing."""
    mine = Instances()
    for number in range(MAX_INSTANCES):
        mine.publish(f"i{number}", published(state()))
    mine.publish("i0", published(state("closed")))
    with pytest.raises(BadPublication, match="instances"):
        mine.publish("more", published(state()))
    with pytest.raises(BadPublication, match="bytes"):
        mine.publish("i1", published(state(note="x" * MAX_PUBLISHED_BYTES)))
    for name in ("", "x" * 256):
        with pytest.raises(BadPublication, match="name"):
            mine.publish(name, published(state()))
    assert len(mine) == MAX_INSTANCES


def test_a_state_that_is_too_large_keeps_what_is_useful() -> None:
    """The preferred tuples stay; elements of others go first."""
    filler = Extension("urn:x", "x", f'<x xmlns="urn:x">{"x" * 300}</x>')
    tuples = [PresenceTuple(f"t{n}", Basic.CLOSED, notes=(Note("n" * 200),)) for n in range(60)]
    tuples += [PresenceTuple("best", Basic.OPEN, extensions=(filler,))]
    small = fitting(Presence(ALICE, tuple(tuples)), 5_000)
    assert len(write_pidf(small)) <= 5_000
    assert small.tuples[0] == PresenceTuple("best", Basic.OPEN)
    assert len(small.tuples) > 5
    assert read_pidf(write_pidf(small), ALICE) == small
    assert fitting(small, 5_000) is small


def test_leaving_elements_out_invents_nothing() -> None:
    """What depends on an element that must be understood goes with it (RFC 3863 section 4.2)."""
    marked = Extension("urn:x", "x", f'<x xmlns="urn:x">{"x" * 5_000}</x>', must_understand=True)
    one = PresenceTuple("a", Basic.OPEN, extensions=(marked,))
    other = PresenceTuple("b", Basic.CLOSED)
    assert fitting(Presence(ALICE, (one, other)), 1_000).tuples == (other,)
    whole = Presence(ALICE, (PresenceTuple("a", Basic.OPEN),), extensions=(marked,))
    assert fitting(whole, 1_000).status is Basic.UNKNOWN


def test_the_same_state_is_made_once_until_something_is_published() -> None:
    """Thousands of watchers see one; what is shown to who sees nothing is kept in the same way."""
    mine = Instances()
    mine.publish("desk", published(state("open", "here")))
    first, hidden = mine.seen_by(ALICE, BOB, Detail.FULL), mine.hidden(ALICE)
    assert mine.seen_by(ALICE, EVE, Detail.FULL) is first
    assert mine.hidden(ALICE) is hidden
    assert hidden == offline(ALICE)
    mine.publish("desk", published(state("open", "gone")))
    assert words(mine.seen_by(ALICE, BOB, Detail.FULL)) == "open gone"
    mine.expire(100.0)
    assert mine.seen_by(ALICE, BOB, Detail.FULL) == offline(ALICE)
