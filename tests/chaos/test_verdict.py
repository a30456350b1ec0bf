"""The judge of chaos: each fault is found in figures that hold it, and none in those that do not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.model.outcome import SUCCESS, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RETRY
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import FieldType, RecordType
from tests.chaos.book import SPAN, Book, Report
from tests.chaos.load import Count
from tests.chaos.routers import BY_LIMIT, CREDIT
from tests.chaos.service import Plan, Service
from tests.chaos.verdict import MEMORY_BOUND_KIB, Event, Verdict
from tests.chaos.witness import Cut, Life, Reader, Witness

_ENDS = (Life("a", 1), Life("b0", 1))
_LIFE = {"accepted": 4, "delivered": 2, "refused": 0, "failed": 1, "indeterminant": 1, "in_flight": 0}


def _book() -> Book:
    """Four messages: two arrived, one failed, one is in doubt from second 5 to second 7."""
    book = Book()
    for number in range(1, 5):
        book.sent(number)
    for number in (1, 2):
        book.delivered(number)
        book.ended(number, SUCCESS, "source", 1.0, 2.0, retried=False)
    book.ended(3, failure(Reason.UNREACHABLE), "source", 1.0, 2.0, retried=False)
    book.ended(4, indeterminant(Reason.LINK_LOST), "source", 5.0, 7.0, retried=True)
    return book


def _verdict(book: Book, *, waiting: int = 0) -> Verdict:
    witness = Witness()
    witness.cut(Cut(6.0, 6.0, "reset", _ENDS, frozenset({4}), 1))
    events = [Event(5.5, "reset", Count(1, 4))]
    return Verdict(book.close(waiting), witness, events, {"a": [dict(_LIFE)]}, 60_000, [], 0.5)


def test_a_sound_run_has_no_fault_and_tells_what_is_in_doubt() -> None:
    """One message in doubt, on the link that was cut."""
    verdict = _verdict(_book())
    assert verdict.faults() == []
    assert "  reset: 1 times, 1 in doubt, 1 seen in flight on the links cut, bound 1" in verdict.lines()


def _twice(book: Book) -> None:
    book.delivered(1)


def _failure_delivered(book: Book) -> None:
    book.delivered(3)


def _contradiction(book: Book) -> None:
    book.answered_again(1, failure(Reason.UNREACHABLE))


def _success_not_delivered(book: Book) -> None:
    book.sent(5)
    book.ended(5, SUCCESS, "source", 1.0, 2.0, retried=False)


def _unasked(book: Book) -> None:
    book.delivered(SPAN + 1)


def _doubt_without_cut(book: Book) -> None:
    book.sent(5)
    book.ended(5, indeterminant(Reason.LINK_LOST), "source", 8.0, 9.0, retried=False)


def _doubt_beyond_bound(book: Book) -> None:
    book.sent(5)
    book.ended(5, None, "source", 5.0, 9.0, retried=False)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (_twice, "1 delivered twice"),
        (_failure_delivered, "not true"),
        (_success_not_delivered, "not true"),
        (_contradiction, "two different answers"),
        (_unasked, "nobody sent"),
        (_doubt_without_cut, "no link was cut"),
    ],
)
def test_a_fault_of_services_is_found(spoil: Callable[[Book], None], fault: str) -> None:
    """One entry too many in the book."""
    book = _book()
    spoil(book)
    assert fault in "; ".join(_verdict(book).faults())


@pytest.mark.parametrize(
    ("since", "until", "excused"),
    [(7.5, 8.1, True), (8.9, 12.0, True), (2.0, 4.0, False), (9.5, 11.0, False)],
)
@pytest.mark.parametrize("who", ["services", "network"])
def test_what_was_late_where_nobody_had_a_turn_is_no_fault(
    who: str, since: float, until: float, excused: bool
) -> None:
    """Only what was under way then: from second 8 to second 9."""
    book = _book()
    _doubt_without_cut(book)
    verdict = _verdict(book)
    (verdict.report if who == "services" else verdict.witness).stills.append((since, until))
    assert (verdict.faults() == []) == excused


def test_a_first_try_that_its_retry_overtook_is_not_delivered_again() -> None:
    """A service that was late reads both, the retry first; two first tries are two deliveries."""
    service = Service(Plan("sink0", (1,)), Ed25519PrivateKey.generate(), bytes(8), _book())
    for number, flags, expected in ((3, FLAG_RETRY, 0), (3, 0, 0), (1, 0, 1)):
        fields = (Field(FieldType.EPOCH, bytes(8)),) if flags else ()
        envelope = Envelope(b"u", b"b.example", b"u", b"a.example")
        ident = number.to_bytes(16, "big")
        record = Record(RecordType.MESSAGE, flags, 110, number, ident, envelope, fields)
        assert service._deliver(record) == SUCCESS
        assert service._book.doubled == expected


def test_more_doubt_than_was_in_flight_is_a_fault() -> None:
    """Two in doubt, where one was open when it began."""
    book = _book()
    _doubt_beyond_bound(book)
    verdict = _verdict(book)
    verdict.events = [Event(5.5, "reset", Count(1, 5))]
    assert verdict.faults() == ["reset: 2 in doubt, at most 1 were in flight"]


def test_the_credit_of_the_links_cut_bounds_the_doubt() -> None:
    """However much was open at services."""
    verdict = _verdict(_book())
    verdict.events = [Event(5.5, "reset", Count(1000, 4))]
    assert verdict.bounds() == {"reset": CREDIT}


def test_a_link_that_never_carried_a_request_is_the_last_to_be_blamed() -> None:
    """It was made after the one that was cut, and cut before it was proved; and its bound is 0."""
    verdict = _verdict(_book())
    never = Cut(6.5, 9.0, "one byte a second", _ENDS, frozenset(), 0)
    verdict.witness.cuts = [never]
    assert verdict.faults() == ["one byte a second: 1 in doubt, at most 0 were in flight"]
    verdict = _verdict(_book())
    reset = Cut(6.0, 6.0, "reset", _ENDS, frozenset(), 1)  # the answer was read, and not written any more
    verdict.witness.cuts = [reset, never]
    verdict.events.append(Event(6.5, "one byte a second", Count(0, 4)))
    assert verdict.faults() == []


def test_a_message_without_an_outcome_is_a_fault() -> None:
    """And so are memory above the bound, no recovery, tracebacks, a load over a limit, wrong sums."""
    book = _book()
    book.sent(5)
    verdict = _verdict(book, waiting=1)
    verdict.recovered_s = None
    verdict.tracebacks.append("a 0: Unhandled Error")
    verdict.peak_kib = MEMORY_BOUND_KIB
    verdict.lives["a"][0]["accepted"] += 1
    verdict.lives["a"][0] |= {BY_LIMIT + "credit": 5, BY_LIMIT + "recipient": 7}
    assert [fault.split(":")[0] for fault in verdict.faults()] == [
        "1 messages without an outcome",
        f"{MEMORY_BOUND_KIB} KiB of memory; the bound is {MEMORY_BOUND_KIB}",
        "messages still fail long after everything is right again",
        "a 0",
        "7 refused by the limit recipient",
        "figures of a, life 1, do not add up",
    ]


def test_a_report_crosses_a_pipe() -> None:
    """As JSON."""
    report = _verdict(_book()).report
    report.stills.append((1.0, 2.5))
    assert Report.from_json(json.loads(json.dumps(report.as_json()))) == report


def test_retries_are_counted_by_where_they_land() -> None:
    """The same process, its later life, another process, or after a first try that was not seen."""
    witness = Witness()
    witness.request(1, Life("b0", 1), is_retry=False)
    for life in (Life("b0", 1), Life("b0", 2), Life("b1", 1)):
        witness.request(1, life, is_retry=True)
    witness.request(2, Life("b1", 1), is_retry=True)
    assert witness.retries == {
        "the same process": 1,
        "its later life": 1,
        "another process": 1,
        "first try not seen": 1,
    }


def test_what_is_no_record_ends_the_reading() -> None:
    """A router ends such a link; the witness does not fail."""
    reader = Reader()
    assert reader.feed(bytes(64)) == []
    assert reader.feed(bytes(64)) == []
