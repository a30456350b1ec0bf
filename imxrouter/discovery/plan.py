"""Which question to ask DNS next for a domain, and what the answers mean.

Specification section 6: IMX at the domain, SVCB at `_imx.`, SRV at the name of RFC 3861, SRV at
`_imx._tcp.`. Only a clean no (NODATA, NXDOMAIN) leads to the next form; anything that fails ends the search
as a failure, so that nobody who can make DNS fail can push us to a weaker form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from imxrouter.discovery.answers import TYPE_IMX, TYPE_SRV, TYPE_SVCB, Answer, Status, Step, type_name
from imxrouter.discovery.errors import BadDnsRecord
from imxrouter.discovery.imxrr import ImxRecord, SrvRecord
from imxrouter.discovery.records import Form, Target
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.ports import DEFAULT_IMX_PORT
from imxrouter.model.vocabulary import Reason

#: Aliases followed for one domain. RFC 9460 section 3 asks for a limit; four covers a domain, its hoster,
#: the hoster's region and one more.
MAX_ALIASES = 4

#: Targets kept of one answer; the rest would be dialled on a stranger's word (section 8).
MAX_TARGETS = 8

#: Records of one answer that are read at all. A UDP answer of 1,232 octets holds about 40; a TCP answer of
#: 64 KiB could hold thousands.
MAX_RECORDS = 64

#: For what a domain's routers are looked up: RFC 3861 has two services for IMX; XMPP has one for all.
Purpose = Literal["im", "pres", "xmpp"]


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


class Search(Protocol):
    """What the finder works through: `question` says what to ask, `feed` takes its answer."""

    domain: Domain
    steps: list[Step]
    verdict: Verdict | None

    @property
    def question(self) -> Question | None:
        """What to ask next; None once there is a verdict."""

    def feed(self, answer: Answer, source: str = "dns") -> None:
        """Take the answer to `question`."""


class Plan:
    """One search: `question` says what to ask, `feed` takes its answer, until `verdict` is there.

    Attributes:
        domain: what is searched for.
        steps: the questions asked so far, with their answers in words.
        verdict: how the search ended; None while it goes on.
    """

    def __init__(self, domain: Domain, purpose: Purpose = "im") -> None:
        name = domain.name
        self.domain = domain
        self.steps: list[Step] = []
        self.verdict: Verdict | None = None
        self._waiting = [
            Question(name, TYPE_IMX, Form.IMX),
            Question(f"_imx.{name}", TYPE_SVCB, Form.SVCB),
            Question(f"_{purpose}._imx.{name}", TYPE_SRV, Form.SRV),
            Question(f"_imx._tcp.{name}", TYPE_SRV, Form.SRV),
        ]
        self._purpose: Purpose = purpose
        self._aliases: list[str] = []
        self._ttl_s = float("inf")
        self._insecure_at = ""
        self._only_nxdomain = True
        self._skip_long_names()

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
        if answer.is_failure:
            self._end(FAILURES[answer.status], note=answer.note)
            return
        self._ttl_s = min(self._ttl_s, answer.ttl_s)
        if not answer.secure:
            self._insecure_at = self._insecure_at or str(question)
        if answer.is_negative:
            self._absent(answer)
            return
        try:
            self._read(question, answer)
        except BadDnsRecord as error:
            self._end(Reason.BAD_DNS_RECORD, note=str(error))

    def _absent(self, answer: Answer) -> None:
        if self._aliases:
            # The domain does publish this form; its alias leads nowhere. To go on would be to fall back.
            self._end(Reason.BAD_DNS_RECORD, note=f"alias to {self._aliases[-1]}, which has no such record")
            return
        self._only_nxdomain = self._only_nxdomain and answer.status is Status.NXDOMAIN
        if len(self._waiting) > 1:
            self._waiting.pop(0)
            self._skip_long_names()
            return
        self._end(Reason.NO_SUCH_DOMAIN if self._only_nxdomain else Reason.NO_IMX_RECORD)

    def _read(self, question: Question, answer: Answer) -> None:
        if question.form is Form.SRV:
            self._take(_srv_targets([SrvRecord.parse(rdata) for rdata in answer.rdatas[:MAX_RECORDS]]))
            return
        records = [ImxRecord.parse(rdata) for rdata in answer.rdatas[:MAX_RECORDS]]
        aliases = sorted(record.target for record in records if record.is_alias)
        if aliases:  # RFC 9460 section 2.4.1: service records beside an alias are ignored
            self._follow(question, aliases[-1])
        else:
            self._take(_imx_targets(records, answer.owner or question.name))

    def _follow(self, question: Question, target: str) -> None:
        if not target:
            self._end(Reason.NO_SERVICE)
            return
        if target == question.name or target in self._aliases or target == self.domain.name:
            raise BadDnsRecord(f"the alias to {target} leads in a circle")
        if len(self._aliases) == MAX_ALIASES:
            raise BadDnsRecord(f"more than {MAX_ALIASES} aliases")
        self._aliases.append(target)
        self._waiting[0] = Question(target, question.rdtype, question.form)

    def _take(self, targets: Iterable[Target]) -> None:
        unique = {(target.host, target.port): target for target in sorted(targets, key=_rank, reverse=True)}
        kept = tuple(sorted(unique.values(), key=_rank)[:MAX_TARGETS])
        self._end(Reason.NONE if kept else Reason.NO_SERVICE, targets=kept)

    def _end(self, reason: Reason, *, targets: tuple[Target, ...] = (), note: str = "") -> None:
        question = self._waiting[0]
        found = reason is Reason.NONE
        self.verdict = Verdict(
            reason,
            targets,
            question.form if found else None,
            self._ttl_s if self._ttl_s != float("inf") else 0.0,
            not self._insecure_at and bool(self.steps),
            self._insecure_at,
            str(question),
            note,
            self._purpose if found and question.name.startswith(f"_{self._purpose}.") else None,
        )

    def _skip_long_names(self) -> None:
        """Pass over names that DNS cannot hold: a prefix before a domain of nearly 253 octets."""
        while len(self._waiting) > 1 and len(self._waiting[0].name) > 253:
            self._waiting.pop(0)
        if len(self._waiting[0].name) > 253:
            self._end(Reason.NO_SUCH_DOMAIN if self._only_nxdomain else Reason.NO_IMX_RECORD)


#: Why a search ends whose question failed.
FAILURES: Final = {
    Status.FAILURE: Reason.DNS_FAILURE,
    Status.TIMEOUT: Reason.DNS_TIMEOUT,
    Status.MALFORMED: Reason.BAD_DNS_RECORD,
}


def _rank(target: Target) -> tuple[int, str, int]:
    return target.priority, target.host, target.port


def _imx_targets(records: list[ImxRecord], owner: str) -> list[Target]:
    """Turn service records into targets. Raises `BadDnsRecord` when no record can be used."""
    usable = [record for record in records if not record.unusable_because]
    if not usable:
        raise BadDnsRecord(records[0].unusable_because if records else "an answer without records")
    return [
        Target(
            host=record.target or owner,  # RFC 9460 section 2.5.2
            port=record.port or DEFAULT_IMX_PORT,
            priority=record.priority,
            tls=record.tls,
            auth=record.auth,
            versions=record.versions or (),
        )
        for record in usable
    ]


def _srv_targets(records: list[SrvRecord]) -> list[Target]:
    """Turn SRV records into targets; none is left of a lone `.` (RFC 2782, "Target")."""
    if not records:
        raise BadDnsRecord("an answer without records")
    named = [record for record in records if record.target]
    return [Target(record.target, record.port, record.priority, record.weight) for record in named]
