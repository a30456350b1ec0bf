"""Reports of abuse that others send to the domains served here (specification section 7.10)."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final

from imxrouter.model.abuse import MAX_REPORT_BYTES, BadReport, Report
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.limits import Rate, SenderRates
from imxrouter.routing.zones import zone_of
from imxrouter.wire.record import Record, response_to

#: Of each From domain, lasting and at once (specification section 7.10).
RATE: Final = Rate.of(10 / 60, 20)
#: The same of all domains of one zone, whose owner makes as many as he likes.
ZONE_RATE: Final = Rate.of(1, 60)
#: From domains, and zones, remembered; each is forgotten once its allowance is full again, in two minutes.
MAX_DOMAINS: Final = 16_384
_SWEPT: Final = 4


class Reports:
    """Answers REPORT records.

    Args:
        clock: monotonic seconds.
        same_domain: whether two domains, as on the wire, are names of one that is served here.
        take: takes what is in order: the report, and the address that reports.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        same_domain: Callable[[bytes, bytes], bool],
        take: Callable[[Report, bytes], None],
    ) -> None:
        self._clock = clock
        self._same_domain = same_domain
        self._take = take
        self._rates = SenderRates(RATE.interval_s, RATE.burst_s, per_domain=1, limit=MAX_DOMAINS)
        self._zones = SenderRates(ZONE_RATE.interval_s, ZONE_RATE.burst_s, per_domain=1, limit=MAX_DOMAINS)
        #: told `taken`, or the word of the reason why not
        self.on_result: Callable[[str], None] = lambda _word: None

    def respond(self, request: Record) -> Record:
        """The response to a request whose To domain is served here."""
        outcome = self._judge(request)
        self.on_result("taken" if outcome.ok else outcome.reason.word)
        return response_to(request, outcome)

    def _judge(self, request: Record) -> Outcome:
        envelope = request.envelope
        here = envelope.to_domain.decode("ascii")
        if envelope.to_local:
            return failure(Reason.BAD_ADDRESS, by=here, note="a report is for a domain, not for a user")
        if len(request.body) > MAX_REPORT_BYTES:
            return failure(Reason.TOO_LARGE, by=here, note=f"{len(request.body)} bytes")
        now = self._clock()
        wait = self._wait(envelope.from_domain, now)
        if wait > 0:
            return failure(Reason.RATE_LIMITED, by=here, retry_after_s=ceil(wait))
        try:
            report = Report.decode(request.body)
        except BadReport as error:
            return failure(Reason.BAD_BODY, by=here, note=str(error))
        source, destination = report.source.domain, report.destination.domain
        if not self._same_domain(source.wire, envelope.to_domain):
            return failure(Reason.BAD_BODY, by=here, note=f"{source} is not the domain that is asked")
        if not self._reports_its_own(destination, envelope.from_domain):
            return failure(Reason.BAD_BODY, by=here, note=f"{destination} is not the domain that reports")
        self._take(report, envelope.from_local + b"@" + envelope.from_domain)
        return SUCCESS

    def _wait(self, domain: bytes, now: float) -> float:
        """Seconds until the domain may report again; 0 or less where it may now."""
        zone = zone_of(domain.decode("ascii")).encode("ascii")
        for rates, name in ((self._rates, domain), (self._zones, zone)):
            rates.sweep(now, _SWEPT)
            wait = rates.admit(b"@" + name, name, now)
            if wait > 0:
                return wait
        return 0.0

    def _reports_its_own(self, destination: Domain, from_domain: bytes) -> bool:
        """A domain reports what came to itself: nobody speaks of others' messages."""
        return destination.wire == from_domain or self._same_domain(destination.wire, from_domain)
