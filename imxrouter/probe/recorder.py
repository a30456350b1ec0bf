"""Notes each question to DNS with its answer, records, time and whether DNSSEC validated it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from imxrouter.discovery.answers import TYPE_A, TYPE_AAAA, TYPE_SRV, TYPE_TLSA, Answer, Status, type_name
from imxrouter.discovery.errors import BadDnsRecord
from imxrouter.discovery.finder import Ask
from imxrouter.discovery.imxrr import ImxRecord, SrvRecord
from imxrouter.model.dane import BadTlsaRecord, TlsaRecord
from imxrouter.model.vocabulary import Reason
from imxrouter.probe.report import Evidence

#: Records shown of one answer; more than twice what a router uses, and bounded where an answer has thousands.
_MAX_RECORDS = 20

_REASONS: Final = {
    Status.FAILURE: Reason.DNS_FAILURE,
    Status.TIMEOUT: Reason.DNS_TIMEOUT,
    Status.MALFORMED: Reason.BAD_DNS_RECORD,
}


class QuestionRecorder:
    """Stands between a finder and name servers.

    Args:
        clock: time.
        ask: asks one question.
    """

    def __init__(self, clock: IReactorTime, ask: Ask) -> None:
        self._clock = clock
        self._ask = ask
        self._seen: list[Evidence] = []

    def ask(self, name: str, rdtype: int) -> Deferred[Answer]:
        """Ask, and note the answer."""
        what, at, started_at = f"{name} {type_name(rdtype)}", len(self._seen), self._clock.seconds()
        self._seen.append(_evidence(what, rdtype, Answer(Status.TIMEOUT), 0.0))

        def note(result: Answer | Failure) -> Answer | Failure:
            seconds = self._clock.seconds() - started_at
            self._seen[at] = _evidence(what, rdtype, _answer_of(result), seconds)
            return result

        asking = self._ask(name, rdtype)
        asking.addBoth(note)
        return asking

    @property
    def evidence(self) -> list[Evidence]:
        """The questions so far, in the order in which they were asked."""
        return list(self._seen)


def _answer_of(result: Answer | Failure) -> Answer:
    if isinstance(result, Answer):
        return result
    if isinstance(result.value, CancelledError):
        return Answer(Status.TIMEOUT)
    return Answer(Status.FAILURE, note=result.getErrorMessage()[:200])


def _evidence(what: str, rdtype: int, answer: Answer, seconds: float) -> Evidence:
    facts = {
        "answer": answer.status.value,
        "records": [record_text(rdtype, rdata) for rdata in answer.rdatas[:_MAX_RECORDS]],
        "dnssec": answer.secure,
    }
    reason = _REASONS.get(answer.status, Reason.NONE)
    return Evidence(what, reason, answer.note, seconds, facts, decides=False)


def record_text(rdtype: int, rdata: bytes) -> str:
    """Return RDATA for a screen; what cannot be read in hex."""
    try:
        if rdtype in {TYPE_A, TYPE_AAAA}:
            return str(ip_address(rdata))
        if rdtype == TYPE_TLSA:
            return TlsaRecord.parse(rdata).to_text()
        if rdtype == TYPE_SRV:
            return SrvRecord.parse(rdata).to_text()
        return ImxRecord.parse(rdata).to_text()
    except (BadDnsRecord, BadTlsaRecord, ValueError):
        return rdata.hex()
