"""Echo and attributes of a domain itself, as functions of a record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import AttributeQuery, AttributeValues
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.domains import ServedDomain, ServedDomains
from imxrouter.routing.published import RouterFacts
from imxrouter.transport.domain_attributes import DomainAttributes
from imxrouter.transport.echo import MAX_ECHO_BYTES, Echo
from imxrouter.transport.operations import query_to_record, result_of
from imxrouter.transport.translate import envelope_of
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import OUTCOME_BYTES
from imxrouter.wire.record import Record, decode_outcome, decode_record, encode_record
from imxrouter.wire.registry import FieldType, RecordType

FACTS = RouterFacts(16_384, 65_536, 300.0, 60.0, 30.0, "test", 3600)
IDENT = bytes(range(16))


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def echo_record(source: str, body: bytes = b"hello", to: str = "a.example") -> Record:
    """An ECHO request."""
    envelope = envelope_of(Address.parse(source), Address.parse(to))
    return Record(RecordType.ECHO, 0x80, 5, 77, IDENT, envelope, (), body)


def reason(response: Record) -> Reason:
    """What a response says, after its way over the wire."""
    return decode_outcome(decode_record(encode_record(response))).reason


def test_an_echo_sends_the_body_back() -> None:
    """With the outcome before it; To and From swapped, id and tag kept."""
    body = bytes(range(256)) * 4
    response = Echo(Clock()).respond(echo_record("b.example", body))
    assert response.type == RecordType.ECHO_RESPONSE
    assert decode_outcome(response).ok
    assert response.body[OUTCOME_BYTES:] == body
    assert (response.message_id, response.route_tag) == (IDENT, 77)
    assert response.envelope.to_domain == b"b.example"


def test_an_echo_of_a_user_or_of_too_much_is_refused_by_name() -> None:
    """And counted; it costs nothing of the rate."""
    echo, said = Echo(Clock()), list[str]()
    echo.on_result = said.append
    assert reason(echo.respond(echo_record("b.example", to="alice@a.example"))) is Reason.BAD_ADDRESS
    too_large = echo.respond(echo_record("b.example", bytes(MAX_ECHO_BYTES + 1)))
    assert reason(too_large) is Reason.TOO_LARGE
    assert len(too_large.body) == OUTCOME_BYTES
    assert said == ["bad-address", "too-large"]
    assert len(echo) == 0


def test_ten_at_once_then_one_a_second_for_each_from_domain() -> None:
    """All users of a domain share; another domain has its own."""
    clock = Clock()
    echo, said = Echo(clock), list[str]()
    echo.on_result = said.append
    answers = [reason(echo.respond(echo_record(f"u{number}@b.example"))) for number in range(12)]
    assert answers == [Reason.NONE] * 10 + [Reason.RATE_LIMITED] * 2
    assert decode_outcome(echo.respond(echo_record("b.example"))).retry_after_s == 1
    assert reason(echo.respond(echo_record("c.example"))) is Reason.NONE
    clock.now += 1.0
    assert reason(echo.respond(echo_record("b.example"))) is Reason.NONE
    assert reason(echo.respond(echo_record("b.example"))) is Reason.RATE_LIMITED
    assert (said.count("answered"), said.count("rate-limited")) == (12, 4)


def test_the_memory_of_the_echo_is_bounded_and_empties_itself() -> None:
    """One zone takes an eighth of it; what is full again goes."""
    clock = Clock()
    echo = Echo(clock, limit=80)
    answers = [reason(echo.respond(echo_record(f"d{number}.evil.example"))) for number in range(20)]
    assert answers == [Reason.NONE] * 10 + [Reason.RATE_LIMITED] * 10
    assert reason(echo.respond(echo_record("b.example"))) is Reason.NONE
    assert len(echo) == 11
    clock.now += 20.0
    for _ in range(4):
        echo.respond(echo_record("b.example"))
    assert len(echo) == 1


# -- attributes ----------------------------------------------------------------------------------------------


@pytest.fixture
def answers() -> DomainAttributes:
    """Of two domains, the first with an alias and something of its own."""
    domains = ServedDomains()
    first = ServedDomain(
        Domain("a.example"), "home", aliases=(Domain("www.a.example"),), attributes=(("hours", "9-17"),),
        hidden_attributes=("software",),
    )  # fmt: skip
    domains.replace_all([first, ServedDomain(Domain("z.example"), "home")])
    return DomainAttributes(domains, FACTS)


def query(source: str, to: str, *names: str) -> Record:
    """An ATTRIBUTES request."""
    operation = AttributeQuery(Address.parse(source), Address.parse(to), IDENT, names)
    return replace(query_to_record(operation), flags=0x80, route_tag=9)


def told(response: Record) -> dict[str, bytes]:
    """The values of a success, after its way over the wire."""
    response = decode_record(encode_record(response))
    outcome: Outcome = result_of(response, decode_outcome(response))
    assert isinstance(outcome.result, AttributeValues), outcome
    return {one.name: one.value for one in outcome.result.attributes}


def test_a_domain_tells_what_is_asked_for(answers: DomainAttributes) -> None:
    """What does not exist, and what the asker may not see, is left out."""
    names = ("a.example/hours", "alias", "software", "idle-timeout")
    response = answers.respond(query("bob@b.example", "a.example", *names))
    assert told(response) == {"a.example/hours": b"9-17", "idle-timeout": b"300"}
    assert (response.message_id, response.route_tag) == (IDENT, 9)
    inside = answers.respond(query("z.example", "a.example", "software"))
    assert told(inside) == {"software": b"test"}


def test_an_alias_tells_what_its_domain_tells(answers: DomainAttributes) -> None:
    """Under the domain's own name."""
    assert "a.example/hours" in told(answers.respond(query("b.example", "www.a.example")))


def test_a_user_and_a_domain_of_others_are_refused(answers: DomainAttributes) -> None:
    """By name."""
    assert reason(answers.respond(query("b.example", "alice@a.example"))) is Reason.BAD_ADDRESS
    assert reason(answers.respond(query("b.example", "c.example"))) is Reason.RELAY_DENIED


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"body": b"x"}, Reason.BAD_BODY),
        ({"body": b"\xff" * 16_000}, Reason.BAD_BODY),
        ({"fields": (Field(FieldType.ATTRIBUTE_NAME, b"A"),)}, Reason.BAD_RECORD),
        ({"fields": (Field(FieldType.ATTRIBUTE_NAME, b""),)}, Reason.BAD_RECORD),
        ({"fields": (Field(FieldType.ATTRIBUTE_NAME, b"\xff\x00"),)}, Reason.BAD_RECORD),
        ({"fields": (Field(FieldType.ATTRIBUTE_NAME, b"a" * 256),)}, Reason.BAD_RECORD),
        ({"fields": (Field(FieldType.ATTRIBUTE_NAME, b"alias"),) * 65}, Reason.BAD_RECORD),
    ],
)
def test_a_hostile_query_is_refused_by_name(
    answers: DomainAttributes, change: dict[str, object], expected: Reason
) -> None:
    """Nothing of it comes back."""
    response = answers.respond(replace(query("b.example", "a.example"), **change))  # type: ignore[arg-type]
    assert reason(response) is expected
    assert len(response.body) == OUTCOME_BYTES


def test_sixty_four_names_are_taken(answers: DomainAttributes) -> None:
    """The bound itself is allowed."""
    assert told(answers.respond(query("b.example", "a.example", *["idle-timeout"] * 64))) == {
        "idle-timeout": b"300"
    }
