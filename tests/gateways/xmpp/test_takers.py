"""What domains elsewhere take: asked once, kept, and not known until there is an answer."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.gateways.xmpp.takers import AGAIN_S, NAMES, NOTHING, UNKNOWN, USUAL_S, Taken, Takers
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Attribute, AttributeQuery, AttributeValues
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.attribute_asking import Asked

A, B = Domain("a.example"), Domain("b.example")


class World:
    """A clock, and the questions that were asked."""

    def __init__(self, limit: int = 100) -> None:
        self.now = 0.0
        self.asked: list[tuple[AttributeQuery, Callable[[Asked], None]]] = []
        self.takers = Takers(
            lambda query, told: self.asked.append((query, told)), lambda: bytes(16), lambda: self.now, limit
        )

    def answer(self, outcome: Outcome) -> None:
        """The last question has this answer."""
        self.asked[-1][1](Asked(outcome))

    def tell(self, max_age_s: int = 600, **values: str) -> None:
        """The last question is answered with these."""
        told = tuple(
            Attribute(name.replace("_", "-"), value.encode(), max_age_s) for name, value in values.items()
        )
        self.answer(Outcome(Status.SUCCESS, result=AttributeValues(told)))


def test_it_is_asked_once_and_kept_for_its_age() -> None:
    """In the name of the domain that sends."""
    world = World()
    assert world.takers.of(A, B) is UNKNOWN
    assert world.takers.of(A, B) is UNKNOWN
    ((query, _),) = world.asked
    assert (query.requester.domain, query.requester.local, query.owner.domain) == (A, "", B)
    assert query.names == NAMES
    world.tell(foreign_forms="sip, xmpp", content_types="text/plain, text/html-lite", max_message_size="9000")
    assert world.takers.of(A, B) == Taken(foreign=True, html=True, max_bytes=9000)
    world.now = 599.0
    assert world.takers.of(A, B).html
    assert len(world.asked) == 1
    world.now = 600.0
    assert world.takers.of(A, B).html  # until there is another answer
    assert len(world.asked) == 2
    world.tell()
    assert world.takers.of(A, B) == NOTHING


def test_who_tells_nothing_of_it_takes_none() -> None:
    """And is not asked again for an hour."""
    world = World()
    world.takers.of(A, B)
    world.tell()
    assert world.takers.of(A, B) == NOTHING
    world.now = USUAL_S - 1
    world.takers.of(A, B)
    assert len(world.asked) == 1


def test_who_has_no_attributes_takes_none() -> None:
    """Its router does not know the question."""
    world = World()
    world.takers.of(A, B)
    world.answer(failure(Reason.TYPE_NOT_ENABLED))
    assert world.takers.of(A, B) is NOTHING


def test_who_is_not_reached_is_asked_again_a_minute_later() -> None:
    """Until then nothing is known."""
    world = World()
    world.takers.of(A, B)
    world.answer(failure(Reason.UNREACHABLE))
    assert world.takers.of(A, B) is UNKNOWN
    assert len(world.asked) == 1
    world.now = AGAIN_S
    assert world.takers.of(A, B) is UNKNOWN
    assert len(world.asked) == 2


def test_a_refusal_is_remembered() -> None:
    """What it said of itself, or nobody could ask: its answer to a foreign form counts."""
    world = World()
    world.takers.of(A, B)
    world.tell(foreign_forms="xmpp", content_types="*/*")
    world.takers.refused(B)
    assert world.takers.of(A, B) == Taken(foreign=False, html=True)
    world.now = USUAL_S - 1
    assert not world.takers.of(A, B).foreign
    world.takers.refused(Domain("c.example"))
    assert len(world.takers) == 1


def test_values_that_are_none_are_passed_over() -> None:
    """Of each alone."""
    world = World()
    world.takers.of(A, B)
    world.tell(foreign_forms="XMPP ,", content_types="text/html", max_message_size="many")
    assert world.takers.of(A, B) == Taken(foreign=True, html=False)


def test_there_is_room_for_so_many() -> None:
    """Nobody's place is taken by another one; what is over makes room."""
    world = World(limit=2)
    for name in ("b.example", "c.example", "d.example"):
        assert world.takers.of(A, Domain(name)) is UNKNOWN
    assert (len(world.asked), len(world.takers)) == (2, 2)
    world.now = AGAIN_S
    world.takers.of(A, Domain("d.example"))
    assert len(world.asked) == 3
