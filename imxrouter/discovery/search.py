"""What every search in DNS has: questions in turn, answers that are noted, and one verdict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from imxrouter.discovery.answers import Answer, Status, Step, type_name
from imxrouter.discovery.errors import BadDnsRecord
from imxrouter.discovery.imxrr import SrvRecord
from imxrouter.discovery.records import Form, Target
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason

#: Targets kept of one answer; the rest would be dialled on a stranger's word (section 8).
MAX_TARGETS = 8

#: Records of one answer that are read at all. A UDP answer of 1,232 octets holds about 40; a TCP answer of
#: 64 KiB could hold thousands.
MAX_RECORDS = 64

#: The longest name that DNS can hold, in octets of text.
LONGEST_NAME: Final = 253

#: For what a domain's routers are looked up: RFC 3861 has two services for IMX; XMPP has one for all.
Purpose = Literal["im", "pres", "xmpp"]

#: Why a search ends whose question failed.
_FAILURES: Final = {
    Status.FAILURE: Reason.DNS_FAILURE,
    Status.TIMEOUT: Reason.DNS_TIMEOUT,
    Status.MALFORMED: Reason.BAD_DNS_RECORD,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask: a name without trailing dot, a record type, and the form that it belongs to."""

    name: str
    rdtype: int
    form: Form

    def __str__(self) -> str:
        return f"{self.name} {type_name(self.rdtype)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a search ended.

    Attributes:
        reason: NONE when targets were found.
        targets: sorted by priority, at most `MAX_TARGETS`; empty on failure.
        form: the form that gave them; None on failure.
        ttl_s: how long the verdict holds.
        secure: every answer it rests on was validated.
        insecure_at: the first question whose answer was not, as `NAME TYPE`; empty where all were.
        step: the question that decided, as `NAME TYPE`.
        note: an operator's detail.
        only: the targets are published for this alone.
    """

    reason: Reason
    targets: tuple[Target, ...] = ()
    form: Form | None = None
    ttl_s: float = 0.0
    secure: bool = False
    insecure_at: str = ""
    step: str = ""
    note: str = ""
    only: Purpose | None = None


class Search(ABC):
    """`question` says what to ask, `feed` takes its answer, until `verdict` is there.

    Args:
        domain: what is searched for.
        questions: what is asked for it at first, in their order.

    Attributes:
        domain: that.
        steps: the questions asked so far, with their answers in words.
        verdict: how the search ended; None while it goes on.
    """

    def __init__(self, domain: Domain, questions: Iterable[Question]) -> None:
        self.domain = domain
        self.steps: list[Step] = []
        self.verdict: Verdict | None = None
        self._waiting = list(questions)
        self._ttl_s = float("inf")
        self._insecure_at = ""
        self._only_nxdomain = True

    @property
    def question(self) -> Question | None:
        """What to ask next; None once there is a verdict."""
        return self._waiting[0] if self.verdict is None else None

    def feed(self, answer: Answer, source: str = "dns") -> None:
        """Take the answer to `question`.

        Raises:
            LocalMisuse: no question is open.
        """
        question = self.question
        if question is None:
            raise LocalMisuse(f"the search for {self.domain} has ended")
        self.steps.append(Step(question.name, type_name(question.rdtype), answer.words, source))
        if not answer.is_failure:
            self._ttl_s = min(self._ttl_s, answer.ttl_s)
            self._only_nxdomain = self._only_nxdomain and answer.status is Status.NXDOMAIN
            if not answer.secure:
                self._insecure_at = self._insecure_at or str(question)
        try:
            self._judge(question, answer)
        except BadDnsRecord as error:
            self._end(question, Reason.BAD_DNS_RECORD, note=str(error))

    @abstractmethod
    def _judge(self, question: Question, answer: Answer) -> None:
        """Go on to another question, or end. Raises `BadDnsRecord`, which ends the search."""

    @property
    def _is_secure(self) -> bool:
        """Whether every answer was validated."""
        return not self._insecure_at and bool(self.steps)

    def _fail(self, question: Question, answer: Answer) -> None:
        """End, for an answer that is a failure."""
        self._end(question, _FAILURES[answer.status], note=answer.note)

    def _end(
        self,
        question: Question,
        reason: Reason,
        *,
        targets: tuple[Target, ...] = (),
        note: str = "",
        only: Purpose | None = None,
    ) -> None:
        self.verdict = Verdict(
            reason,
            targets,
            question.form if reason is Reason.NONE else None,
            self._ttl_s if self._ttl_s != float("inf") else 0.0,
            self._is_secure,
            self._insecure_at,
            str(question),
            note,
            only,
        )


def named_srv(answer: Answer) -> list[SrvRecord]:
    """The SRV records of an answer; none is left of a lone `.` (RFC 2782, "Target").

    Raises:
        BadDnsRecord: there is none, or one cannot be read.
    """
    records = [SrvRecord.parse(rdata) for rdata in answer.rdatas[:MAX_RECORDS]]
    if not records:
        raise BadDnsRecord("an answer without records")
    return [record for record in records if record.target]
