"""`imxctl check DOMAIN --as OURS`: the whole way from a domain served here to another one, and back.

What is looked up and dialled first is asked as the router asks, with its policy, its name servers, its guard
and its sockets, on connections of their own. Then an ECHO (specification section 7.9) goes from OURS itself
to DOMAIN itself as every message goes: over a link that is there, or over a new one, where OURS is proved.

Where DOMAIN may be reached by XMPP its servers are asked too: OURS is proved to each by dial-back and by its
certificate, on streams of their own on which nothing is sent.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred

from imxrouter.admin.errors import AdminError
from imxrouter.app.operators.doctor import make_checker
from imxrouter.app.operators.peerview import clear_waits
from imxrouter.app.traffic.rules import strength_words
from imxrouter.link.claims import ClaimState, MadeClaim
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.operations import MAX_HOPS, MESSAGE_ID_BYTES
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.probe.check import Checker
from imxrouter.probe.proof_check import ProofChecker, Prover
from imxrouter.probe.report import (
    AS_ORDER,
    STREAMS_AS_ORDER,
    CheckView,
    Evidence,
    Report,
    StageReport,
    State,
    stage_of_ways,
    view_of_all,
)
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import Policy
from imxrouter.transport.link import Link
from imxrouter.transport.opening import Endpoint
from imxrouter.wire.describe import level_words
from imxrouter.wire.layout import OUTCOME_BYTES
from imxrouter.wire.record import Envelope, Record, decode_outcome
from imxrouter.wire.registry import RecordType

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: What an ECHO carries: enough that nobody answers it without having read it.
_ECHO_BYTES: Final = 32
_UPLINK = "our uplink takes what goes to other domains"


def check_as(router: Parts, domain: Domain, ours: Domain, timeout_s: float) -> Deferred[CheckView]:
    """Check a domain as one of ours.

    Args:
        router: which serves `ours`.
        domain: to be checked.
        ours: a domain served here.
        timeout_s: for each question, connection and hello; the claim and the ECHO have the router's limits.

    Raises:
        AdminError: `ours` is not served here, or `domain` is.
    """
    if ours not in router.domains:
        raise AdminError("not-found", f"{ours} is not served here", "as", "see imxctl domains")
    if domain in router.domains:
        do = f"imxctl domains doctor {domain}"
        raise AdminError("bad-request", f"{domain} is served here: no link leads there", "domain", do)
    return Deferred.fromCoroutine(_Checking(router, domain, ours, timeout_s).run())


class _Checking:
    """One check under way."""

    def __init__(self, router: Parts, domain: Domain, ours: Domain, timeout_s: float) -> None:
        self._router = router
        self._domain = domain
        self._ours = ours
        self._timeout_s = timeout_s

    async def run(self) -> CheckView:
        """Check by each protocol that the domain may be reached by, all at once."""
        preference = self._router.preferences.of(self._domain)
        by = {"imx": self._imx} if Protocol.IMX in preference.allowed or preference.pinned else {}
        if Protocol.XMPP in preference.allowed and not preference.pinned and not self._router.config.uplinks:
            by["xmpp"] = self._xmpp
        running = {name: Deferred.fromCoroutine(one()) for name, one in (by or {"imx": self._imx}).items()}
        return view_of_all({name: await one for name, one in running.items()})

    async def _xmpp(self) -> Report:
        """Work through the stages, and prove our domain by each way."""
        router, started_at = self._router, self._router.hub.now()
        tried = [self._policy_of_streams()]
        if tried[0].state is not State.FAILED:
            checker = make_checker(router, router.dialer.guard, self._timeout_s, ProofChecker)
            checker.prover = self._prover()
            tried += await checker.reach(self._domain)
        took_s = router.hub.now() - started_at
        return Report.of(self._domain, tried, took_s=took_s, order=STREAMS_AS_ORDER, ours=self._ours.name)

    def _prover(self) -> Prover:
        router, ours = self._router, self._ours
        ends = router.link_tls.ends

        def make(name: str, endpoint: Endpoint, alpn: bytes) -> SSL.Connection:
            if ends is None:
                raise LocalMisuse("there is no TLS")
            return ends.opening(ours, name, endpoint, alpn)

        shown = ends is not None and ends.contexts.certificates.for_domain(ours) is not None
        verify_s = router.config.dialback.claim_timeout_s
        return Prover(ours, make, shown, router.streams.trust.tongue, verify_s)

    def _policy_of_streams(self) -> StageReport:
        """What must be proved of the other side's servers."""
        router, ours = self._router, self._router.domains.get(self._ours)
        rule = router.rules.policy_of(self._domain, Protocol.XMPP)
        decision = router.gatekeeper.decide(self._domain, Protocol.XMPP)
        strength = router.gatekeeper.remembered.seen(self._domain, router.hub.now(), protocol=Protocol.XMPP)
        facts = {
            "required": router.gatekeeper.all_policies[Protocol.XMPP].policy_for(self._domain).value,
            "by": rule.setting, "remembered": strength_words(strength),
        }  # fmt: skip
        seen = [Evidence(f"policy for {self._domain}", decision.reason, decision.note, facts=facts)]
        if ours is not None and ours.suspended:
            seen.append(Evidence(f"{self._ours}", Reason.SUSPENDED, facts={"state": ours.state.value}))
        state = State.GOOD if all(one.good for one in seen) else State.FAILED
        return StageReport(Stage.POLICY, state, tuple(seen), took_s=0.0)

    async def _imx(self) -> Report:
        """Work through the stages until one fails."""
        started_at = self._router.hub.now()
        tried = [self._policy()]
        if self._router.config.uplinks:
            skipped = (Stage.DNS, Stage.CONNECT, Stage.PEER, Stage.DIALBACK)
            tried += [StageReport(stage, State.NOT_TRIED, why=_UPLINK) for stage in skipped]
            reached = True
        elif tried[0].state is not State.FAILED:
            pins = self._router.pinned.get(self._domain.name, ())
            checker = make_checker(self._router, self._router.dialer.guard, self._timeout_s, Checker)
            tried += await checker.reach(self._domain, pins)
            reached = tried[-1].stage is Stage.PEER and tried[-1].state is not State.FAILED
        else:
            reached = False
        if reached and tried[0].state is not State.FAILED:
            tried += await self._exchange(dialback=not self._router.config.uplinks)
        took_s = self._router.hub.now() - started_at
        return Report.of(self._domain, tried, took_s=took_s, order=AS_ORDER, ours=self._ours.name)

    def _policy(self) -> StageReport:
        """What both sides' entries ask, against the best that a link of ours can prove."""
        router, now = self._router, self._router.hub.now()
        rule, decision = router.rules.policy_of(self._domain), router.gatekeeper.decide(self._domain)
        facts = {
            "required": router.gatekeeper.policies.policy_for(self._domain).value, "by": rule.setting,
            "remembered": strength_words(router.gatekeeper.remembered.seen(self._domain, now)),
            "links_prove": level_words(router.claimer.best_level),
        }  # fmt: skip
        seen = [Evidence(f"policy for {self._domain}", decision.reason, decision.note, facts=facts)]
        record = router.domains.get(self._ours)
        own = record.policy if record is not None else None
        if record is not None and record.suspended:
            seen.append(Evidence(f"{self._ours}", Reason.SUSPENDED, facts={"state": record.state.value}))
        if own is not None:
            short = not router.switch.level_is_enough(self._ours.wire, router.claimer.best_level)
            weak = Reason.WEAKER_THAN_POLICY if short else Reason.NONE
            level = level_words(Policy(own).level)
            seen.append(Evidence(f"policy of {self._ours}", weak, facts={"required": own, "level": level}))
        state = State.GOOD if all(one.good for one in seen) else State.FAILED
        return StageReport(Stage.POLICY, state, tuple(seen), took_s=0.0)

    # -- claim and round trip ----------------------------------------------------------------------------

    async def _exchange(self, *, dialback: bool) -> list[StageReport]:
        """Send the ECHO as every request goes; returns both stages that it shows."""
        cleared = clear_waits(self._router, self._domain)  # it has just been reached
        body, started_at = os.urandom(_ECHO_BYTES), self._router.hub.now()
        ident = os.urandom(MESSAGE_ID_BYTES)
        outcome, answer = await self._echo(ident, body)
        took_s = self._router.hub.now() - started_at
        claims = self._claims(outcome, cleared) if dialback else []
        stages = []
        if claims:
            deciding = claims[0]
            state = State.GOOD if deciding.good else State.FAILED
            stages.append(StageReport(Stage.DIALBACK, state, tuple(claims), took_s=took_s))
            if not deciding.good:
                return stages
        facts = {
            "id": ident.hex(), "bytes": len(answer), "decided_by": outcome.decided_by,
            "decided_role": outcome.decided_role, "retry_after_s": outcome.retry_after_s,
        }  # fmt: skip
        reason, note = outcome.reason, outcome.note
        if outcome.ok:
            reason = Reason.NONE if answer == body else Reason.PROTOCOL_ERROR
            note = "" if answer == body else "what came back is not what was sent"
            facts = {"id": ident.hex(), "bytes": len(answer)}
        echo = Evidence(f"echo from @{self._ours} to @{self._domain}", reason, note, took_s, facts)
        return [*stages, stage_of_ways(Stage.SERVICE, [echo])]

    def _echo(self, ident: bytes, body: bytes) -> Deferred[tuple[Outcome, bytes]]:
        """Send it; fires with the full outcome and what came back."""
        answered: Deferred[tuple[Outcome, bytes]] = Deferred()
        envelope = Envelope(b"", self._domain.wire, b"", self._ours.wire)
        key = ident + b"@" + self._domain.wire + b"@" + self._ours.wire
        full = self._router.full_outcomes.awaiting(key)

        def respond(response: Record) -> None:
            back = response.body[OUTCOME_BYTES:]
            answered.callback((full(decode_outcome(response)), back))

        record = Record(RecordType.ECHO, 0, MAX_HOPS, 0, ident, envelope, (), body)
        self._router.inside.submit(record, respond)
        return answered

    def _claims(self, outcome: Outcome, cleared: list[str]) -> list[Evidence]:
        """Dial-back in both directions; the first piece of evidence decides."""
        return [self._our_claim(outcome, cleared), self._their_claim()]

    def _our_claim(self, outcome: Outcome, cleared: list[str]) -> Evidence:
        what, now = f"our claim of {self._ours} there", self._router.hub.now()
        made = [
            (session, claim) for session in self._router.hub.sessions.values()
            if (claim := session.made.of_pair(self._ours.wire, self._domain.wire)) is not None
        ]  # fmt: skip
        proved = [pair for pair in made if pair[1].state is ClaimState.PROVED]
        if proved:
            return Evidence(what, facts=_claim_facts(*proved[-1], cleared, now))
        ways = self._router.switch.ways.get(self._domain.wire, {}).get(self._ours.wire, ())
        if ways:
            why = f"not needed: {self._domain} opened link {ways[0].number} and proved itself there"
            return Evidence(what, facts={"answer": why})
        if made:
            session, claim = made[-1]
            reason = claim.reason if claim.reason is not Reason.NONE else outcome.reason
            return Evidence(what, reason, outcome.note, facts=_claim_facts(session, claim, cleared, now))
        facts: dict[str, object] = {
            "decided_by": outcome.decided_by, "retry_after_s": outcome.retry_after_s,
        }  # fmt: skip
        return Evidence(what, outcome.reason, outcome.note, facts=facts)

    def _their_claim(self) -> Evidence:
        """What they have proved here, if they have called; they need not."""
        what, wire = f"their claim of {self._domain} here", self._domain.wire
        for session in self._router.hub.sessions.values():
            proof = session.port.sources.get(wire)
            if proof is not None and proof[1] is None and not session.service:
                facts = {"link": session.number, "address": session.remote[0], "level": level_words(proof[0])}
                return Evidence(what, facts=facts, decides=False)
            if any(claim.from_domain == wire for claim in session.received.claims()):
                return Evidence(
                    what, facts={"answer": "is being verified", "link": session.number}, decides=False
                )
        theirs = [error for way, error in self._router.peer_log.of(wire) if way == "theirs"]
        facts = {"answer": "not tried: they have not called"}
        if theirs:
            ago = f"{time.time() - theirs[0].at_s:.0f} s ago"
            facts = {"answer": f"not proved now; refused {ago}: {theirs[0].reason.word}, {theirs[0].note}"}
        return Evidence(what, facts=facts, decides=False)


def _claim_facts(session: Link, claim: MadeClaim, cleared: list[str], now: float) -> dict[str, object]:
    return {
        "state": claim.state.value, "link": session.number,
        "address": f"{session.remote[0]}:{session.remote[1]}", "by_peer": claim.told,
        "level": level_words(claim.level) if claim.level else "", "cleared": cleared,
        "retry_after_s": max(0, round(claim.retry_at - now)),
    }  # fmt: skip
