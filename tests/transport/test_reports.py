"""How many reports of abuse are taken: of one domain, and of all domains of one owner."""

from __future__ import annotations

from itertools import count

from imxrouter.model.abuse import AbuseType, Report
from imxrouter.model.address import Address
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.reports import Reports
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Envelope, Record, decode_outcome
from imxrouter.wire.registry import RecordType

OURS = Address.parse("bob@b.example")
_numbers = count(1)


class Scene:
    """Reports to b.example, at a time that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.taken: list[bytes] = []
        self.reports = Reports(
            lambda: self.now,
            lambda one, other: one == other == b"b.example",
            lambda _report, by: self.taken.append(by),
        )

    def told(self, domain: str) -> tuple[Reason, int]:
        """What a report of a domain is answered, and when to try again."""
        number = next(_numbers)
        report = Report(AbuseType.SPAM, OURS, Address.parse(f"ann@{domain}"), number)
        envelope = Envelope(b"", b"b.example", b"", domain.encode())
        request = Record(
            RecordType.REPORT, FLAG_RESPONSE_WANTED, 9, number, bytes(16), envelope, (), report.encode()
        )
        outcome = decode_outcome(self.reports.respond(request))
        return outcome.reason, outcome.retry_after_s or 0


def test_a_domain_reports_so_often() -> None:
    """Twenty at once, ten a minute; who has to wait is told how long."""
    scene = Scene()
    assert [scene.told("m.example")[0] for _ in range(20)] == [Reason.NONE] * 20
    assert scene.told("m.example") == (Reason.RATE_LIMITED, 6)
    assert scene.told("n.test")[0] is Reason.NONE
    scene.now += 6
    assert [scene.told("m.example")[0] for _ in range(2)] == [Reason.NONE, Reason.RATE_LIMITED]


def test_the_owner_of_a_zone_reports_no_more_by_many_names() -> None:
    """Sixty at once and one a second, from however many domains; the next zone is not concerned."""
    scene = Scene()
    told = [scene.told(f"d{number}.owner.example")[0] for number in range(100)]
    assert told == [Reason.NONE] * 60 + [Reason.RATE_LIMITED] * 40
    assert scene.told("other.test")[0] is Reason.NONE
    scene.now += 10
    assert [scene.told(f"e{number}.owner.example")[0] for number in range(11)].count(Reason.NONE) == 10
