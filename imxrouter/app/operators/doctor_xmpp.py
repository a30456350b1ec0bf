"""What the doctor looks at where XMPP is spoken: whether records and servers lead to this router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from imxrouter.app.trust.identity_view import opinion
from imxrouter.app.trust.published_terms import servers_of
from imxrouter.discovery.answers import TYPE_SRV, Answer, Status
from imxrouter.discovery.records import XMPP_LABELS, xmpp_lines
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.probe.check import Checker
from imxrouter.probe.recorder import record_text
from imxrouter.probe.report import Evidence, StageReport
from imxrouter.routing import choice
from imxrouter.routing.domains import ServedDomain
from imxrouter.tls.identity import Service
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.peer import PeerCertificate, fingerprint_of

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


#: What DNSSEC says of the way to each host and port.
_Ways = Mapping[tuple[str, int], Delegation]


class Say(Protocol):
    """Takes one finding."""

    def __call__(
        self, severity: str, what: str, stage: Stage, reason: Reason = Reason.NONE,
        evidence: Sequence[str] = (), remedy: str = "",
    ) -> None:  # fmt: skip
        """Take it."""


async def look_at_streams(
    router: Parts,
    record: ServedDomain,
    name: Domain,
    say: Say,
    ask: Callable[[str, int], Awaitable[Answer]],
    checker: Callable[[], Checker],
) -> None:
    """Look at the XMPP records of a domain, and at who answers where they lead.

    Args:
        router: which serves it.
        record: of the domain.
        name: the domain or one of its aliases.
        say: takes what is found.
        ask: asks DNS.
        checker: makes what connects.
    """
    servers = servers_of(router)
    if servers is None:
        return
    by_xmpp = choice.Protocol.XMPP in record.protocols
    wanted = xmpp_lines(name, servers, published=by_xmpp)
    there = 0
    for label, _ in XMPP_LABELS:
        owner = f"{label}.{name.name}"
        lines = [line.split(" SRV ", 1)[1] for line in wanted if line.startswith(f"{owner}. ")]
        there += _record(say, f"{owner} SRV", await ask(owner, TYPE_SRV), lines, published=by_xmpp)
    if by_xmpp and there:
        looking = checker()
        stages = await looking.reach(name)
        _servers(router, name, say, stages, looking.delegations)


def _record(say: Say, question: str, answer: Answer, wanted: list[str], *, published: bool) -> bool:
    """Compare one answer with what should be there; returns whether servers are named there."""
    if answer.is_failure:
        reason = Reason.DNS_TIMEOUT if answer.status is Status.TIMEOUT else Reason.DNS_FAILURE
        say("error", f"{question}: {reason.word}", Stage.DNS, reason, [answer.note or answer.words])
        return False
    there = [record_text(TYPE_SRV, rdata) for rdata in answer.rdatas]
    if sorted(there) == sorted(wanted):
        if there:
            say("good", f"{question}: as it should be", Stage.DNS, evidence=there)
    elif not there:
        severity = "error" if published else "note"
        what = "not published: no server finds it so" if published else "not published"
        say(severity, f"{question}: {what}", Stage.DNS, evidence=[answer.words],
            remedy="publish the lines below")  # fmt: skip
    else:
        evidence = [f"there: {one}" for one in there] + [f"wanted: {one}" for one in wanted]
        say("warning", f"{question}: not what this router wants published", Stage.DNS, evidence=evidence,
            remedy="publish the lines below, unless the difference is meant")  # fmt: skip
    return any(not one.endswith(" .") for one in there)


def _servers(router: Parts, name: Domain, say: Say, stages: Sequence[StageReport], ways: _Ways) -> None:
    """Say who answers at each address: by the certificate that is shown there, and by whose keys it knows."""
    own = {fingerprint_of(one.leaf).hex(): one for one in router.link_tls.certificates.all}
    hosts = {host for host, _ in router.published()}
    last: dict[str, Evidence] = {}
    for stage in stages:
        if stage.stage is not Stage.DNS:
            last.update({one.what: one for one in stage.evidence if stage.stage is not Stage.DIALBACK})
    shown = {what: own.get(str(one.facts.get("sha256"))) for what, one in _of(stages, Stage.IDENTITY).items()}
    keys = _of(stages, Stage.DIALBACK)
    for what, way in last.items():
        certificate, key = shown.get(what), keys.get(what)
        ours = certificate is not None or (key is not None and key.good)
        if certificate is not None:
            say("good", f"{what} shows a certificate of this router, for XMPP", Stage.PEER)
            _certificate(router, name, say, certificate, way, ways)
        elif way.good and (ours or (router.config.listen.publish and way.facts.get("host") in hosts)):
            say("good", f"{what} is a host of {'listen.publish' if not ours else 'ours'}", Stage.PEER)
        elif way.good:
            say("error", f"{what} is another server: its users' messages pass this router by", Stage.PEER,
                Reason.NOT_MINE, remedy="take that target out of the domain's records")  # fmt: skip
            continue
        else:
            note = f" ({way.note})" if way.note else ""
            say("warning", f"{what}: {way.reason.word}{note}", way.reason.stage, way.reason)
        if way.good:
            _key(say, what, name, key)


def _of(stages: Sequence[StageReport], which: Stage) -> dict[str, Evidence]:
    return {one.what: one for stage in stages if stage.stage is which for one in stage.evidence}


def _certificate(
    router: Parts, name: Domain, say: Say, one: OwnCertificate, way: Evidence, ways: _Ways
) -> None:
    """Say what the certificate counts for in the eyes of servers that trust whom we trust."""
    place = (str(way.facts.get("host", "")), int(str(way.facts.get("port", 0))))
    led = ways.get(place, Delegation())
    verdict = router.link_tls.judge_own(PeerCertificate(one.leaf, one.chain), name, led, Service.XMPP)
    told = opinion(name, place, led, one, verdict)
    say(told.severity, f"XMPP: {told.what}", Stage.IDENTITY, told.reason, list(told.evidence), told.remedy)


def _key(say: Say, what: str, name: Domain, key: Evidence | None) -> None:
    """Say whether a key of ours comes back as ours, asked for as any server does that we claim to."""
    if key is None:
        say("note", f"{what} takes no question about dial-back keys", Stage.DIALBACK)
    elif key.good:
        say("good", f"{what} knows a dial-back key of {name} for our own", Stage.DIALBACK)
    else:
        said = f" ({key.facts.get('answer')})" if key.facts.get("answer") else ""
        do = (
            "give all hosts of the domain the same dialback.key_file" if key.reason is Reason.NOT_MINE else ""
        )
        say("error", f"{what} does not know a dial-back key of {name}{said}: servers refuse what we claim",
            Stage.DIALBACK, key.reason, [key.note] if key.note else [], do)  # fmt: skip
