"""Which questions find a domain's XMPP servers, and what the answers mean.

RFC 6120 section 3.2 and XEP-0368: SRV records for direct TLS and for STARTTLS are always both asked for, and
make one list by priority and weight; `.` says that there is no such service. Only where both are cleanly
absent, the domain's own addresses are a guess (RFC 6120 section 3.2.2). As for IMX, anything that fails ends
the search: nobody who can make DNS fail can push us to another server, or away from TLS at the first byte.
"""

from __future__ import annotations

from imxrouter.discovery.answers import TYPE_A, TYPE_AAAA, TYPE_SRV, Answer, Status
from imxrouter.discovery.records import XMPP_LABELS, Form, Target
from imxrouter.discovery.search import LONGEST_NAME, MAX_TARGETS, Question, Search, named_srv
from imxrouter.model.domain import Domain
from imxrouter.model.ports import XMPP_PORT
from imxrouter.model.vocabulary import Reason


class XmppPlan(Search):
    """One search for a domain's XMPP servers.

    Args:
        domain: what is searched for.
    """

    def __init__(self, domain: Domain) -> None:
        name = domain.name
        services = [Question(f"{label}.{name}", TYPE_SRV, Form.XMPP_SRV) for label, _ in XMPP_LABELS]
        addresses = [Question(name, rdtype, Form.XMPP_ADDRESS) for rdtype in (TYPE_AAAA, TYPE_A)]
        super().__init__(domain, [one for one in services if len(one.name) <= LONGEST_NAME] + addresses)
        self._targets: list[Target] = []
        self._declined = False
        self._failed: tuple[Question, Answer] | None = None

    @property
    def _is_secure(self) -> bool:
        """Whether there were answers, every one was validated, and none is missing."""
        return super()._is_secure and self._failed is None and self._ttl_s != float("inf")

    def _judge(self, question: Question, answer: Answer) -> None:
        if question.form is Form.XMPP_SRV:
            self._service(question, answer)
        else:
            self._address(question, answer)

    def _service(self, question: Question, answer: Answer) -> None:
        if answer.is_failure:
            self._fail(question, answer)
            return
        if answer.status is Status.RECORDS:
            self._read(question, answer)
        self._waiting.pop(0)
        if self._waiting[0].form is Form.XMPP_SRV:
            return
        if self._targets:
            self._end(question, Reason.NONE, targets=_kept(self._targets))
        elif self._declined:  # XEP-0368 section 3: no fall-back behind a `.`
            self._end(question, Reason.NO_SERVICE)

    def _read(self, question: Question, answer: Answer) -> None:
        """Take the targets of one SRV answer."""
        tls = next(tls for label, tls in XMPP_LABELS if question.name.startswith(f"{label}."))
        named = named_srv(answer)
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
            self._fail(*self._failed)
        else:
            self._end(question, Reason.NO_SUCH_DOMAIN if self._only_nxdomain else Reason.NO_XMPP_RECORD)


def _kept(targets: list[Target]) -> tuple[Target, ...]:
    """The first of each place, by priority; at most `MAX_TARGETS` of both kinds together."""
    unique = {(one.host, one.port, one.tls): one for one in sorted(targets, key=_rank, reverse=True)}
    return tuple(sorted(unique.values(), key=_rank)[:MAX_TARGETS])


def _rank(target: Target) -> tuple[int, str, int, str]:
    return target.priority, target.host, target.port, target.tls or ""
