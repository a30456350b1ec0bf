"""`imxctl domains doctor`: whether what a domain served here publishes leads here, and what to publish.

Looks from here: what only the outside can see (a firewall before this host, a name server that answers others
differently) it cannot.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from imxrouter.admin.detail import DoctorView, FindingView
from imxrouter.admin.errors import AdminError
from imxrouter.app.operators.dnsview import records_of
from imxrouter.app.operators.doctor_xmpp import look_at_streams
from imxrouter.app.trust.identity_view import NO_VALIDATION, ending, opinion, shown
from imxrouter.app.trust.published_terms import judge, targets_of
from imxrouter.discovery.answers import TYPE_IMX, TYPE_SRV, TYPE_SVCB, Answer, Status, type_name
from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.guard import DialGuard
from imxrouter.discovery.records import imx_record, srv_record
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.probe.check import Checker
from imxrouter.probe.encrypted import TlsProbe
from imxrouter.probe.proof_check import OwnChecker
from imxrouter.probe.recorder import record_text
from imxrouter.probe.report import Evidence, StageReport
from imxrouter.routing.choice import Protocol
from imxrouter.routing.domains import ServedDomain
from imxrouter.routing.policy import Policy
from imxrouter.tls.peer import PeerCertificate, fingerprint_of
from imxrouter.transport.strengths import Judged

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: From what needs a hand first to what needs none.
SEVERITIES: Final = ("error", "warning", "note", "good")
#: Aliases of a domain that are looked up; the rest is told.
_ALIASES: Final = 20
#: For each question, connection and hello, seconds.
_PATIENCE_S: Final = 5.0


_Kind = TypeVar("_Kind", bound=Checker)


def make_checker(
    router: Parts, guard: DialGuard, patience_s: float, kind: type[_Kind], tls: TlsProbe | None = None
) -> _Kind:
    """What looks up, connects and says hello as that router does: its name servers, its sockets, its TLS."""
    return kind(
        router.reactor, router.ask, guard, router.dialer.opener, timeout_s=patience_s,
        chance=random.SystemRandom(), random_bytes=os.urandom, tls=tls or router.link_tls.probe(),
    )  # fmt: skip


class Doctor:
    """Looks at one served domain; use once.

    Args:
        router: which serves it.
        name: the domain or one of its aliases.

    Raises:
        AdminError: it is not served here.
    """

    def __init__(self, router: Parts, name: Domain, patience_s: float = _PATIENCE_S) -> None:
        record = router.domains.get(name)
        if record is None:
            raise AdminError("not-found", f"{name} is not served here", "domain", "see imxctl domains")
        self._router = router
        self._name = name
        self._record: ServedDomain = record
        self._patience_s = patience_s
        self._found: list[FindingView] = []
        #: the form that leads here and nowhere else, such as `SVCB`
        self._used = ""
        self._wanted = targets_of(router, name)

    def run(self) -> Deferred[DoctorView]:
        """Look at everything; fails only by a bug."""
        return Deferred.fromCoroutine(self._run())

    async def _run(self) -> DoctorView:
        started_at = self._router.hub.now()
        self._service()
        self._policy()
        self._keys()
        if Protocol.IMX in self._record.protocols:
            await self._targets()
            await self._terms()
            await self._forms()
        await look_at_streams(
            self._router, self._record, self._name, self._say, self._asked, self._stream_checker
        )
        if self._name == self._record.name and Protocol.IMX in self._record.protocols:
            for alias in self._record.aliases[:_ALIASES]:
                await self._alias(alias)
        zone = records_of(self._router, self._name)["zone"]
        self._found.sort(key=lambda one: SEVERITIES.index(one["severity"]))
        worst = self._found[0]["severity"]
        return DoctorView(
            domain=self._name.name, result={"error": "failed", "warning": "warnings"}.get(worst, "good"),
            findings=self._found, publish=zone,
            took_s=round(self._router.hub.now() - started_at, 6),
        )  # fmt: skip

    def _say(
        self, severity: str, what: str, stage: Stage, reason: Reason = Reason.NONE,
        evidence: Sequence[str] = (), remedy: str = "",
    ) -> None:  # fmt: skip
        word = "" if reason is Reason.NONE else reason.word
        self._found.append(
            FindingView(
                severity=severity, what=what, stage=(reason.stage if word else stage).value, reason=word,
                evidence=list(evidence), remedy=remedy or (reason.remedy if word else ""),
            )
        )  # fmt: skip

    # -- this router -------------------------------------------------------------------------------------

    def _service(self) -> None:
        record, name = self._record, self._record.name.name
        route = self._router.switch.routes.get(self._name.wire)
        if record.suspended:
            do = f"imxctl domains resume {name}, and state in its [[domain]] table"
            self._say(
                "error", f"{name} is suspended: nothing passes", Stage.POLICY, Reason.SUSPENDED, remedy=do
            )
        elif route is None or not route.ports:
            do = f"start the server of [[service]] {record.service}, and see its log; it logs in by itself"
            what = f"no link of its service {record.service} is up"
            self._say("error", what, Stage.SERVICE, Reason.SERVICE_DOWN, remedy=do)
        elif record.service in self._router.behind.pools:
            self._server()
        else:
            self._say("good", f"its service {record.service} is up", Stage.SERVICE)

    def _server(self) -> None:
        """Whether the server of a service of XMPP is there."""
        name = self._record.service
        answers, missing = self._router.behind.standing(name)
        if answers is None:
            what = f"the server of its service {name} was not asked for a stream yet"
            self._say("note", what, Stage.SERVICE, remedy="whether it answers is seen with the next message")
        elif answers and not missing:
            self._say("good", f"its service {name} is up", Stage.SERVICE)
        else:
            what = f"a part of its service {name}" if answers else f"the server of its service {name}"
            do = (
                "start it, or correct what [[service]] or [[xmpp.component]] says of it; see its log and ours"
            )
            severity = "warning" if answers else "error"
            self._say(severity, f"{what} is not there", Stage.SERVICE, Reason.SERVICE_DOWN, missing, do)

    def _policy(self) -> None:
        """Whether peers can prove what is asked of them over links with us."""
        own, best = self._record.policy, self._router.claimer.best_level
        trust = self._router.gatekeeper.policies.default
        if own is not None and Policy(own).level & ~best:
            self._say(
                "error", f"no peer can meet its policy {own}: without tls.certificates links are in clear",
                Stage.POLICY, Reason.WEAKER_THAN_POLICY,
                [f'[[domain]] name = "{self._record.name.name}": policy = "{own}"'],
                "write tls.certificates, or "
                f"imxctl domains change {self._record.name.name} --policy dialback, or take the policy away",
            )  # fmt: skip
        elif trust.level & ~best:
            self._say(
                "warning", f"all peers without an entry of their own must prove {trust.value}, and cannot",
                Stage.POLICY, Reason.WEAKER_THAN_POLICY, [f'[trust] default_policy = "{trust.value}"'],
                'write tls.certificates, or add [[trust.peer]] with policy = "dialback" for each partner',
            )  # fmt: skip
        else:
            self._say("good", "its policy can be met by links with us", Stage.POLICY)

    def _keys(self) -> None:
        config = self._router.config
        if len(self._wanted) > 1 and not config.dialback.key_file and not config.dialback.keys:
            self._say(
                "warning", f"of {len(self._wanted)} hosts, this one has a dial-back key of its own",
                Stage.DIALBACK, Reason.NOT_MINE, ["dialback.key_file is not set"],
                "give all hosts of the domain the same dialback.key_file",
            )  # fmt: skip

    # -- where it leads ----------------------------------------------------------------------------------

    async def _targets(self) -> None:
        """Look the domain up as a peer does, and see who answers at each address."""
        dial = self._router.config.dial
        guard = DialGuard(
            dial.allow_networks, dial.allow_ports_below_1024
        )  # our own listener is what we want
        checker = make_checker(self._router, guard, self._patience_s, Checker)
        stages = await checker.reach(self._name)
        by_stage = {one.stage: one for one in stages}
        dns = by_stage[Stage.DNS]
        questions = [_line(one) for one in dns.evidence]
        if len(by_stage) == 1:
            self._not_found(dns, questions)
            return
        targets = ", ".join(map(str, _listed(dns.facts.get("targets"))))
        form = str(dns.facts.get("form")).upper()
        self._say("good", f"DNS leads to {targets}, by {form}", Stage.DNS, evidence=questions)
        ways = self._ways(by_stage)
        here = [self._judge(one) for one in ways]
        ours = {
            (one.facts["host"], one.facts["port"]) for one, is_ours in zip(ways, here, strict=True) if is_ours
        }
        self._identity({place: way for place, way in checker.delegations.items() if place in ours})
        if not any(here):
            self._say(
                "error", "no published address leads to this router", Stage.CONNECT, evidence=[targets],
                remedy="publish the records below, in place of those that are there",
            )  # fmt: skip
        self._used = form if all(here) else ""

    def _stream_checker(self) -> OwnChecker:
        dial, probe = self._router.config.dial, self._router.link_tls.probe()
        guard = DialGuard(dial.allow_networks, dial.allow_ports_below_1024)
        if probe is not None:  # what the certificate counts for is told apart
            probe = replace(probe, judge_stream=lambda *_: Judged(True))
        checker = make_checker(self._router, guard, self._patience_s, OwnChecker, probe)
        checker.tongue = self._router.streams.trust.tongue
        return checker

    def _identity(self, ways: Mapping[tuple[str, int], Delegation]) -> None:
        """What peers make of the certificates that we show them, who trust the authorities that we trust."""
        tls, told = self._router.link_tls, set()
        for place, way in ways.items():
            one = shown(tls.certificates, self._name, way)
            if one is None:
                continue
            verdict = tls.judge_own(PeerCertificate(one.leaf, one.chain), self._name, way)
            opinions = [opinion(self._name, place, way, one, verdict)]
            if one.fingerprint not in told and (soon := ending(one, time.time())) is not None:
                opinions.append(soon)
            told.add(one.fingerprint)
            for each in opinions:
                evidence, remedy = list(each.evidence), each.remedy
                if not way.secure and not self._router.validates:
                    evidence.append(NO_VALIDATION)
                self._say(each.severity, each.what, Stage.IDENTITY, each.reason, evidence, remedy)

    def _ways(self, by_stage: dict[Stage, StageReport]) -> list[Evidence]:
        """The last that is known of each address: its hello, its certificate, or why there was nothing."""
        last = {one.what: one for one in by_stage[Stage.CONNECT].evidence}
        for stage in (Stage.TLS, Stage.IDENTITY, Stage.PEER):
            if stage in by_stage:
                last.update({one.what: one for one in by_stage[stage].evidence})
        return list(last.values())

    def _judge(self, way: Evidence) -> bool:
        """Say who answers at an address; returns whether it is this router."""
        config = self._router.config
        software, instance = str(way.facts.get("software", "")), way.facts.get("instance")
        if way.good and instance == self._router.hub.identity.instance.hex():
            self._say("good", f"{way.what} is this process", Stage.PEER)
            return True
        if way.good and software.startswith(f"{config.name} "):
            self._say(
                "good", f"{way.what} is another process of {config.name}", Stage.PEER, evidence=[software]
            )
            return True
        own = {fingerprint_of(one.leaf).hex() for one in self._router.link_tls.certificates.all}
        if not way.good and way.facts.get("sha256") in own:
            self._say("good", f"{way.what} shows a certificate of this router", Stage.PEER)
            return True  # what the certificate is worth is told apart
        place = (str(way.facts.get("host", "")).rstrip("."), way.facts.get("port"))
        if way.good and config.listen.publish and place in {(one.host, one.port) for one in self._wanted}:
            self._say("good", f"{way.what} is a host of listen.publish", Stage.PEER, evidence=[software])
            return True
        if way.good:
            self._say(
                "error", f"{way.what} is another router", Stage.PEER, Reason.NOT_MINE,
                [software or "unnamed"],
                "take that target out of the domain's records, or out of its address records",
            )  # fmt: skip
            return False
        severity = "error" if way.reason is Reason.ADDRESS_REFUSED else "warning"
        note = f" ({way.note})" if way.note else ""
        seen = "" if severity == "error" else "; seen from this host, try imxctl check from outside"
        self._say(
            severity, f"{way.what}: {way.reason.word}{note}", way.reason.stage, way.reason, [],
            f"{way.reason.remedy}{seen}",
        )  # fmt: skip
        return False

    def _not_found(self, dns: StageReport, questions: list[str]) -> None:
        cause = dns.cause
        reason = cause.reason if cause is not None else Reason.NO_IMX_RECORD
        publish = reason in {
            Reason.NO_SUCH_DOMAIN,
            Reason.NO_IMX_RECORD,
            Reason.NO_SERVICE,
            Reason.NO_ADDRESS,
        }
        do = "publish the records below" if publish else ""
        if reason is Reason.NO_ADDRESS:
            do = "publish A or AAAA records for each target of the records"
        what = f"no peer finds {self._name}" + (f": {cause.what}" if cause is not None else "")
        self._say("error", what, Stage.DNS, reason, questions, do)

    async def _terms(self) -> None:
        """What the records say of TLS, beside what there is here."""
        try:
            found = await self._router.finder.find(self._name, fresh=True)
        except DiscoveryFailed:
            return  # told before
        for one in judge(self._wanted, found.targets):
            self._say(one.severity, one.what, Stage.TLS, one.reason, one.evidence, one.remedy)

    # -- each form ---------------------------------------------------------------------------------------

    async def _forms(self) -> None:
        """Compare each form with what should be published, whichever of them peers use now."""
        name = self._name.name
        records = [imx_record(target) for target in self._wanted]
        services = [srv_record(target).to_text() for target in self._wanted]
        await self._form(name, TYPE_IMX, [one.to_text() for one in records], first=True)
        await self._form(f"_imx.{name}", TYPE_SVCB, [one.to_text() for one in records])
        there = {
            label: await self._form(f"{label}.{name}", TYPE_SRV, services)
            for label in ("_im._imx", "_pres._imx", "_imx._tcp")
        }
        if self._used == type_name(TYPE_SRV) and not there["_pres._imx"] and not there["_imx._tcp"]:
            self._say(
                "warning", f"no peer finds {name} for presence", Stage.DNS, Reason.NO_IMX_RECORD,
                [f"_pres._imx.{name} SRV: not published", f"_imx._tcp.{name} SRV: not published"],
                "publish _pres._imx beside _im._imx: presence is looked up apart (RFC 3861)",
            )  # fmt: skip

    async def _form(self, name: str, rdtype: int, wanted: list[str], *, first: bool = False) -> bool:
        """Say what is there; returns whether anything is, or may be."""
        answer = await self._asked(name, rdtype)
        question = f"{name} {type_name(rdtype)}"
        if answer.is_failure:
            reason = Reason.DNS_TIMEOUT if answer.status is Status.TIMEOUT else Reason.DNS_FAILURE
            if answer.status is Status.MALFORMED:
                reason = Reason.BAD_DNS_RECORD
            severity = "error" if first else "warning"  # peers end their search there
            self._say(
                severity, f"{question}: {reason.word}", Stage.DNS, reason, [answer.note or answer.words]
            )
            return True
        there = [record_text(rdtype, rdata) for rdata in answer.rdatas]
        if not there:
            self._say("note", f"{question}: not published", Stage.DNS, evidence=[answer.words],
                      remedy="not needed where an earlier form is published")  # fmt: skip
        elif sorted(there) == sorted(wanted):
            self._say("good", f"{question}: as it should be", Stage.DNS, evidence=there)
        else:
            evidence = [f"there: {one}" for one in there] + [f"wanted: {one}" for one in wanted]
            leads_here = type_name(rdtype) == self._used
            also = ", but leads here" if leads_here else ""
            self._say(
                "note" if leads_here else "warning",
                f"{question}: not what this router wants published{also}", Stage.DNS, evidence=evidence,
                remedy="publish the lines below, unless the difference is meant",
            )  # fmt: skip
        return bool(there)

    async def _asked(self, name: str, rdtype: int) -> Answer:
        try:
            return await self._router.ask(name, rdtype).addTimeout(self._patience_s, self._router.reactor)
        except (DeferredTimeout, CancelledError):
            return Answer(Status.TIMEOUT, note=f"no answer within {self._patience_s:g} s")

    async def _alias(self, alias: Domain) -> None:
        try:
            found = await self._router.finder.find(alias, fresh=True)
        except DiscoveryFailed as error:
            self._say(
                "warning", f"no peer finds its alias {alias}", Stage.DNS, error.reason, [str(error)],
                f"imxctl domains doctor {alias}",
            )  # fmt: skip
            return
        places = ", ".join(f"{target.host}:{target.port}" for target in found.targets)
        self._say("good", f"its alias {alias} leads to {places}", Stage.DNS)


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _line(one: Evidence) -> str:
    """A question with its answer."""
    records = ", ".join(map(str, _listed(one.facts.get("records"))))
    said = records or one.reason.word if not one.good else records or str(one.facts.get("answer", "good"))
    return f"{one.what}: {said}" + (f" ({one.note})" if one.note else "")
