"""Which questions find a domain's XMPP servers, and what the answers mean.

RFC 6120 section 3.2 and XEP-0368: SRV records for direct TLS and for STARTTLS are always both asked for, and
make one list by priority and weight; `.` says that there is no such service. Only where both are cleanly
absent, the domain's own addresses are a guess (RFC 6120 section 3.2.2). As for IMX, anything that fails ends
the search: nobody who can make DNS fail can push us to another server, or away from TLS at the first byte.
"""

from __future__ import annotations

from typing import Final

from imxrouter.discovery.answers import TYPE_A, TYPE_AAAA, TYPE_SRV, Answer, Status, Step, type_name
from imxrouter.discovery.errors import BadDnsRecord
from imxrouter.discovery.imxrr import SrvRecord
from imxrouter.discovery.plan import FAILURES, MAX_RECORDS, MAX_TARGETS, Question, Verdict
from imxrouter.discovery.records import XMPP_LABELS, Form, Target
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.ports import XMPP_PORT
from imxrouter.model.vocabulary import Reason

#: The longest name that DNS can hold, in octets of text.
_LONGEST: Final = 253


class XmppPlan:
    """One search: `question` says what to ask, `feed` takes its answer, until `verdict` is there.

    Attributes:
        domain: what is searched for.
        steps: the questions asked so far, with their answers in words.
        verdict: how the search ended; None while it goes on.
    """

    def __init__(self, domain: Domain) -> None:
        name = domain.name
        self.domain = domain
        self.steps: list[Step] = []
        self.verdict: Verdict | None = None
        self._waiting = [
            Question(f"{label}.{name}", TYPE_SRV, Form.XMPP_SRV)
            for label, _ in XMPP_LABELS
            if len(f"{label}.{name}") <= _LONGEST
        ]
        self._waiting += [Question(name, rdtype, Form.XMPP_ADDRESS) for rdtype in (TYPE_AAAA, TYPE_A)]
        self._targets: list[Target] = []
        self._declined = False
        self._failed: tuple[Question, Answer] | None = None
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
        if question.form is Form.XMPP_SRV:
            self._service(question, answer)
        else:
            self._address(question, answer)

    def _service(self, question: Question, answer: Answer) -> None:
        if answer.is_failure:
            self._end(question, FAILURES[answer.status], note=answer.note)
            return
        if answer.status is Status.RECORDS:
            try:
                self._read(question, answer)
            except BadDnsRecord as error:
                self._end(question, Reason.BAD_DNS_RECORD, note=str(error))
                return
        self._waiting.pop(0)
        if self._waiting[0].form is Form.XMPP_SRV:
            return
        if self._targets:
            self._end(question, Reason.NONE, targets=_kept(self._targets))
        elif self._declined:  # XEP-0368 section 3: no fall-back behind a `.`
            self._end(question, Reason.NO_SERVICE)

    def _read(self, question: Question, answer: Answer) -> None:
        """Take the targets of one SRV answer; none is left of a lone `.` (RFC 2782, "Target")."""
        records = [SrvRecord.parse(rdata) for rdata in answer.rdatas[:MAX_RECORDS]]
        if not records:
            raise BadDnsRecord("an answer without records")
        tls = next(tls for label, tls in XMPP_LABELS if question.name.startswith(f"{label}."))
        named = [record for record in records if record.target]
        self._targets += [Target(one.target, one.port, one.priority, one.weight, tls=tls) for one in named]
        self._declined = self._declined or not named

    def _address(self, question: Question, answer: Answer) -> None:
        """Look whether the domain itself is a host. One family that fails does not lose the other."""
        if answer.status is Status.RECORDS:
            host = Target(self.domain.name, XMPP_PORT, tls="starttls")
            self._end(question, Reason.NONE, targets=(host,))
            return
        if answer.is_failure:
            self._failed = self._failed or (question, answer)
        if len(self._waiting) > 1:
            self._waiting.pop(0)
        elif self._failed is not None:
            failed, why = self._failed
            self._end(failed, FAILURES[why.status], note=why.note)
        else:
            self._end(question, Reason.NO_SUCH_DOMAIN if self._only_nxdomain else Reason.NO_XMPP_RECORD)

    def _end(
        self, question: Question, reason: Reason, *, targets: tuple[Target, ...] = (), note: str = ""
    ) -> None:
        self.verdict = Verdict(
            reason,
            targets,
            question.form if reason is Reason.NONE else None,
            self._ttl_s if self._ttl_s != float("inf") else 0.0,
            not self._insecure_at and self._failed is None and self._ttl_s != float("inf"),
            self._insecure_at,
            str(question),
            note,
        )


def _kept(targets: list[Target]) -> tuple[Target, ...]:
    """The first of each place, by priority; at most `MAX_TARGETS` of both kinds together."""
    unique = {(one.host, one.port, one.tls): one for one in sorted(targets, key=_rank, reverse=True)}
    return tuple(sorted(unique.values(), key=_rank)[:MAX_TARGETS])


def _rank(target: Target) -> tuple[int, str, int, str]:
    return target.priority, target.host, target.port, target.tls or ""
