"""Which question to ask DNS next for a domain, and what the answers mean.

Specification section 6: IMX at the domain, SVCB at `_imx.`, SRV at the name of RFC 3861, SRV at
`_imx._tcp.`. Only a clean no (NODATA, NXDOMAIN) leads to the next form; anything that fails ends the search
as a failure, so that nobody who can make DNS fail can push us to a weaker form.
"""

from __future__ import annotations

from collections.abc import Iterable

from imxrouter.discovery.answers import TYPE_IMX, TYPE_SRV, TYPE_SVCB, Answer
from imxrouter.discovery.errors import BadDnsRecord
from imxrouter.discovery.imxrr import ImxRecord, SrvRecord
from imxrouter.discovery.records import Form, Target
from imxrouter.discovery.search import (
    LONGEST_NAME,
    MAX_RECORDS,
    MAX_TARGETS,
    Purpose,
    Question,
    Search,
    named_srv,
)
from imxrouter.model.domain import Domain
from imxrouter.model.ports import DEFAULT_IMX_PORT
from imxrouter.model.vocabulary import Reason

#: Aliases followed for one domain. RFC 9460 section 3 asks for a limit; four covers a domain, its hoster,
#: the hoster's region and one more.
MAX_ALIASES = 4


class Plan(Search):
    """One search for a domain's IMX routers.

    Args:
        domain: what is searched for.
        purpose: for what they are looked up.
    """

    def __init__(self, domain: Domain, purpose: Purpose = "im") -> None:
        name = domain.name
        super().__init__(
            domain,
            (
                Question(name, TYPE_IMX, Form.IMX),
                Question(f"_imx.{name}", TYPE_SVCB, Form.SVCB),
                Question(f"_{purpose}._imx.{name}", TYPE_SRV, Form.SRV),
                Question(f"_imx._tcp.{name}", TYPE_SRV, Form.SRV),
            ),
        )
        self._purpose: Purpose = purpose
        self._aliases: list[str] = []
        self._skip_long_names()

    def _judge(self, question: Question, answer: Answer) -> None:
        if answer.is_failure:
            self._fail(question, answer)
        elif answer.is_negative:
            self._absent(question)
        else:
            self._read(question, answer)

    def _absent(self, question: Question) -> None:
        if self._aliases:
            # The domain does publish this form; its alias leads nowhere. To go on would be to fall back.
            note = f"alias to {self._aliases[-1]}, which has no such record"
            self._end(question, Reason.BAD_DNS_RECORD, note=note)
        elif len(self._waiting) > 1:
            self._waiting.pop(0)
            self._skip_long_names()
        else:
            self._nothing_found()

    def _nothing_found(self) -> None:
        reason = Reason.NO_SUCH_DOMAIN if self._only_nxdomain else Reason.NO_IMX_RECORD
        self._end(self._waiting[0], reason)

    def _read(self, question: Question, answer: Answer) -> None:
        if question.form is Form.SRV:
            self._take(question, [_srv_target(record) for record in named_srv(answer)])
            return
        records = [ImxRecord.parse(rdata) for rdata in answer.rdatas[:MAX_RECORDS]]
        aliases = sorted(record.target for record in records if record.is_alias)
        if aliases:  # RFC 9460 section 2.4.1: service records beside an alias are ignored
            self._follow(question, aliases[-1])
        else:
            self._take(question, _imx_targets(records, answer.owner or question.name))

    def _follow(self, question: Question, target: str) -> None:
        if not target:
            self._end(question, Reason.NO_SERVICE)
            return
        if target == question.name or target in self._aliases or target == self.domain.name:
            raise BadDnsRecord(f"the alias to {target} leads in a circle")
        if len(self._aliases) == MAX_ALIASES:
            raise BadDnsRecord(f"more than {MAX_ALIASES} aliases")
        self._aliases.append(target)
        self._waiting[0] = Question(target, question.rdtype, question.form)

    def _take(self, question: Question, targets: Iterable[Target]) -> None:
        unique = {(target.host, target.port): target for target in sorted(targets, key=_rank, reverse=True)}
        kept = tuple(sorted(unique.values(), key=_rank)[:MAX_TARGETS])
        only = self._purpose if kept and question.name.startswith(f"_{self._purpose}.") else None
        self._end(question, Reason.NONE if kept else Reason.NO_SERVICE, targets=kept, only=only)

    def _skip_long_names(self) -> None:
        """Pass over names that DNS cannot hold: a prefix before a domain of nearly 253 octets."""
        while len(self._waiting) > 1 and len(self._waiting[0].name) > LONGEST_NAME:
            self._waiting.pop(0)
        if len(self._waiting[0].name) > LONGEST_NAME:
            self._nothing_found()


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


def _srv_target(record: SrvRecord) -> Target:
    return Target(record.target, record.port, record.priority, record.weight)
