"""Asking through the cache: what is known is not asked again, and equal questions are asked once."""

from __future__ import annotations

from imxrouter.model.address import Address
from imxrouter.model.operations import Attribute, AttributeQuery, AttributeValues, Operation
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing import attribute_asking
from imxrouter.routing.attribute_asking import Asked, AttributeAsker
from imxrouter.routing.attribute_cache import AttributeCache
from imxrouter.routing.interfaces import Answer

ALICE, ALBERT = Address.parse("alice@a.example"), Address.parse("albert@a.example")
BOB, B = Address.parse("bob@b.example"), Address.parse("b.example")
IDLE, SOFTWARE = Attribute("idle-timeout", b"300", 100), Attribute("software", b"x", 50)


class Rig:
    """An asker with a double of the router behind it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[tuple[AttributeQuery, Answer]] = []
        self.told: list[Asked] = []
        self.ways: list[str] = []
        self.asker = AttributeAsker(AttributeCache(), self.submit, lambda: self.now)
        self.asker.on_way = self.ways.append

    def submit(self, operation: Operation, answer: Answer) -> None:
        """Take a query and leave it unanswered."""
        assert isinstance(operation, AttributeQuery)
        self.sent.append((operation, answer))

    def ask(self, owner: Address, *names: str, requester: Address = ALICE, fresh: bool = False) -> None:
        """Ask, and note what is told."""
        self.asker.ask(AttributeQuery(requester, owner, bytes(16), names), self.told.append, fresh=fresh)

    def answer(self, *values: Attribute) -> None:
        """Answer the oldest query."""
        self.reply(Outcome(Status.SUCCESS, result=AttributeValues(values)))

    def reply(self, outcome: Outcome) -> None:
        """Answer the oldest query with any outcome."""
        self.sent.pop(0)[1](outcome)


def test_the_second_question_is_answered_from_the_cache_with_what_is_left_of_its_age() -> None:
    """And says so."""
    rig = Rig()
    rig.ask(B, "idle-timeout")
    rig.answer(IDLE)
    rig.now = 30.0
    rig.ask(B, "idle-timeout", requester=ALBERT)
    assert rig.sent == []
    assert rig.told[0] == Asked(Outcome(Status.SUCCESS, result=AttributeValues((IDLE,))))
    assert rig.told[1].attributes == (Attribute("idle-timeout", b"300", 70),)
    assert rig.told[1].cached == {"idle-timeout"}
    assert rig.ways == ["asked", "cached"]


def test_only_what_is_not_known_is_asked_for() -> None:
    """The answer has both; what was told to be absent is not asked for either."""
    rig = Rig()
    rig.ask(B, "idle-timeout", "abuse-contact")
    rig.answer(IDLE)
    rig.ask(B, "idle-timeout", "abuse-contact", "software")
    assert rig.sent[0][0].names == ("software",)
    rig.answer(SOFTWARE)
    assert rig.told[1].attributes == (IDLE, SOFTWARE)
    assert rig.told[1].cached == {"idle-timeout"}


def test_what_is_known_not_to_be_told_is_answered_at_once() -> None:
    """With a success and no value."""
    rig = Rig()
    rig.ask(B, "abuse-contact")
    rig.answer()
    rig.ask(B, "abuse-contact")
    assert rig.sent == []
    assert rig.told[1] == Asked(Outcome(Status.SUCCESS, result=AttributeValues(())))


def test_equal_questions_under_way_are_asked_once() -> None:
    """Whatever the order of names; another requester's is his own, for what he may see is."""
    rig = Rig()
    rig.ask(BOB, "alias", "presence")
    rig.ask(BOB, "presence", "alias", "alias")
    rig.ask(BOB, "presence", "alias", requester=ALBERT)
    assert len(rig.sent) == 2
    rig.answer(Attribute("alias", b"Bob", 5))
    assert [asked.attributes for asked in rig.told] == [(Attribute("alias", b"Bob", 5),)] * 2
    assert rig.ways == ["asked", "joined", "asked"]
    rig.answer()
    assert rig.told[2].attributes == ()


def test_a_failure_is_told_to_all_and_not_kept() -> None:
    """The next question is asked anew."""
    rig = Rig()
    rig.ask(BOB, "alias")
    rig.ask(BOB, "alias")
    rig.reply(failure(Reason.CONNECT_TIMEOUT))
    assert [asked.outcome.reason for asked in rig.told] == [Reason.CONNECT_TIMEOUT] * 2
    rig.ask(BOB, "alias")
    assert len(rig.sent) == 1


def test_a_failure_of_the_rest_is_a_failure() -> None:
    """Half an answer is none."""
    rig = Rig()
    rig.ask(B, "idle-timeout")
    rig.answer(IDLE)
    rig.ask(B, "idle-timeout", "software")
    rig.reply(failure(Reason.BUSY))
    assert rig.told[1].outcome.reason is Reason.BUSY
    assert rig.told[1].attributes == ()


def test_a_success_without_readable_values_is_the_peers_failure() -> None:
    """Named, and not kept."""
    rig = Rig()
    rig.ask(B, "software")
    rig.reply(SUCCESS)
    assert rig.told[0].outcome.reason is Reason.PEER_FAILED
    assert rig.told[0].outcome.decided_by == "b.example"


def test_values_that_were_not_asked_for_or_are_malformed_are_not_told() -> None:
    """What a peer says beside the question does not count."""
    rig = Rig()
    rig.ask(B, "idle-timeout", "software")
    rig.answer(Attribute("idle-timeout", b"soon", 9), SOFTWARE, Attribute("abuse-contact", b"mailto:x@y", 9))
    assert rig.told[0].attributes == (SOFTWARE,)


def test_a_question_for_all_is_kept_as_one() -> None:
    """And answered from the cache until the first value expires."""
    rig = Rig()
    rig.ask(B)
    rig.answer(IDLE, SOFTWARE)
    rig.now = 49.0
    rig.ask(B)
    assert rig.sent == []
    assert [one.name for one in rig.told[1].attributes] == ["idle-timeout", "software"]
    rig.now = 50.0
    rig.ask(B)
    assert rig.sent[0][0].names == ()


def test_a_fresh_answer_can_be_asked_for() -> None:
    """For an operator who does not trust the cache."""
    rig = Rig()
    rig.ask(B, "software")
    rig.answer(SOFTWARE)
    rig.ask(B, "software", fresh=True)
    rig.answer(Attribute("software", b"y", 50))
    assert rig.told[1].attributes == (Attribute("software", b"y", 50),)
    assert rig.told[1].cached == frozenset()
    rig.ask(B, "software")
    assert rig.told[2].attributes[0].value == b"y"


def test_queries_under_way_are_bounded() -> None:
    """One more is answered `busy` and asks nobody."""
    rig = Rig()
    for number in range(attribute_asking.MAX_UNDER_WAY):
        rig.ask(Address.parse(f"u{number}@b.example"), "alias")
    rig.ask(BOB, "alias")
    assert rig.told[0].outcome.reason is Reason.BUSY
    assert rig.told[0].outcome.retry_after_s > 0
    assert rig.ways[-1] == "refused"
    assert len(rig.sent) == attribute_asking.MAX_UNDER_WAY
