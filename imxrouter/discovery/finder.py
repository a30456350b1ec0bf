"""Finds a domain's routers and a router's addresses: plan, cache and name servers put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from imxrouter.discovery.answers import TYPE_A, TYPE_AAAA, Answer, Status, Step, type_name
from imxrouter.discovery.cache import AnswerCache
from imxrouter.discovery.delegation import SecureWay
from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.order import Chance, interleave, trial_order
from imxrouter.discovery.plan import Plan
from imxrouter.discovery.records import Form, Target
from imxrouter.discovery.search import Purpose, Search, Verdict
from imxrouter.discovery.xmpp_plan import XmppPlan
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason

#: How a question is asked. The Deferred gives an `Answer` for failures too, and may be cancelled.
Ask = Callable[[str, int], Deferred[Answer]]

#: Called with the name that is searched for and each step as it ends.
Trace = Callable[[str, Step], None]


@dataclass(frozen=True, slots=True)
class FindLimits:
    """Bounds of the search.

    Attributes:
        question_s: for one question. Resolvers commonly give up after 5 s themselves.
        search_s: for a whole search; below the 15 s for which messages are held.
        second_family_s: how long addresses of one family wait for the other. RFC 8305 section 3 has 50 ms
            for a person at a screen; a server can wait a little for the better family.
        addresses: addresses kept of one host.
        questions: questions under way at once; more are refused as `busy`.
    """

    question_s: float = 5.0
    search_s: float = 10.0
    second_family_s: float = 0.25
    addresses: int = 8
    questions: int = 1_000


@dataclass(frozen=True, slots=True)
class Found:
    """A domain's routers.

    Attributes:
        domain: what was searched for.
        form: the form that gave them.
        targets: in the order to try them, drawn anew for each search.
        ttl_s: how long this holds.
        asked: the steps, for `imxctl dns lookup`.
        secure: every answer it rests on was validated with DNSSEC.
        insecure_at: the first question whose answer was not, as `NAME TYPE`; empty where all were.
        only: the targets are published for this alone.
    """

    domain: Domain
    form: Form
    targets: tuple[Target, ...]
    ttl_s: float
    asked: tuple[Step, ...]
    secure: bool
    insecure_at: str = ""
    only: Purpose | None = None


class Finder:
    """Looks up domains and hosts.

    Args:
        clock: time for limits.
        ask: asks one question, such as `NameServerAsker.ask`.
        chance: draws the order among equals.
        cache: what is known; shared with nobody else.
        limits: bounds.
        trace: told of each step.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ask: Ask,
        chance: Chance,
        cache: AnswerCache,
        limits: FindLimits | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._chance = chance
        self._cache = cache
        self._limits = limits or FindLimits()
        self._trace = trace
        self._running: dict[tuple[str, int], _Running] = {}

    def change(self, ask: Ask, limits: FindLimits) -> None:
        """Ask somebody else, within other limits; what is under way goes on as it began."""
        self._ask, self._limits = ask, limits

    def find(self, domain: Domain, purpose: Purpose = "im", fresh: bool = False) -> Deferred[Found]:
        """Find the routers of a domain.

        Args:
            domain: whose routers.
            purpose: `im` or `pres` (RFC 3861), or `xmpp` for its XMPP servers.
            fresh: ask DNS even if the answer is known.

        Returns:
            fires with `Found`, fails with `DiscoveryFailed`.
        """
        plan = XmppPlan(domain) if purpose == "xmpp" else Plan(domain, purpose)
        return self._within(domain.name, Deferred.fromCoroutine(self._find(plan, fresh)), plan)

    def addresses(self, host: str, fresh: bool = False) -> Deferred[list[str]]:
        """Find the addresses of a host, in the order in which they race (RFC 8305), IPv6 first.

        An IP address gives itself. One family that fails does not lose the other.

        Returns:
            fires with at least one address, fails with `DiscoveryFailed`.
        """
        try:
            return _fired([str(ip_address(host))])
        except ValueError:
            pass
        return self._within(host, Deferred.fromCoroutine(self._addresses(host.rstrip(".").lower(), fresh)))

    async def _find(self, plan: Search, fresh: bool) -> Found:
        name = plan.domain.name
        while (question := plan.question) is not None:
            answer, source = await self._answer(question.name, question.rdtype, fresh, name)
            plan.feed(answer, source)
            if self._trace is not None:
                self._trace(name, plan.steps[-1])
        return self._found(plan, plan.verdict)

    def _found(self, plan: Search, verdict: Verdict | None) -> Found:
        if verdict is None or verdict.form is None:
            reason = verdict.reason if verdict else Reason.DNS_FAILURE
            step, note = (verdict.step, verdict.note) if verdict else ("", "")
            raise DiscoveryFailed(
                reason, plan.domain.name, step, note, tuple(plan.steps),
                secure=verdict is not None and verdict.secure, ttl_s=verdict.ttl_s if verdict else 0.0,
            )  # fmt: skip
        targets = trial_order(verdict.targets, verdict.form, self._chance)
        return Found(
            plan.domain, verdict.form, targets, verdict.ttl_s, tuple(plan.steps), verdict.secure,
            verdict.insecure_at, verdict.only,
        )  # fmt: skip

    def delegation(self, found: Found, target: Target) -> Deferred[Delegation]:
        """Find what DNSSEC says of the way from a domain to one of its targets.

        TLSA records are asked for only where all before them was validated (RFC 7673 section 3.1, RFC 7672
        section 2.2.2). The answers that led to the target are not asked again.

        Returns:
            fires with it; that a look-up failed is told there.
        """
        way = SecureWay(target.host, target.port, found.insecure_at, secure=found.secure)
        search = self._within(target.host, Deferred.fromCoroutine(self._delegation(way)))

        def failed(failure: Failure) -> Delegation:
            error = failure.value
            if not isinstance(error, DiscoveryFailed):
                failure.raiseException()
            return way.failed(error.reason, error.note)

        return search.addErrback(failed)

    async def _delegation(self, way: SecureWay) -> Delegation:
        if way.needs_addresses:
            answers = await self._address_answers(way.host, fresh=False)
            way.feed_addresses([answer for answer, _ in answers.values()])
        while (name := way.question) is not None:
            rdtype = way.rdtype
            answer, source = await self._answer(name, rdtype, False, way.host)
            way.feed(answer)
            if self._trace is not None:
                self._trace(way.host, Step(name, type_name(rdtype), answer.words, source))
        return way.result

    async def _addresses(self, host: str, fresh: bool) -> list[str]:
        answers = await self._address_answers(host, fresh)
        for rdtype, (answer, source) in answers.items():
            if self._trace is not None:
                self._trace(host, Step(host, type_name(rdtype), answer.words, source))
        families = [_texts(answers.get(rdtype), rdtype) for rdtype in (TYPE_AAAA, TYPE_A)]
        mixed = interleave(*families, limit=self._limits.addresses)
        if not mixed:
            raise _no_address(host, answers)
        return mixed

    async def _address_answers(self, host: str, fresh: bool) -> dict[int, tuple[Answer, str]]:
        """Ask for both families; an answer and its source by record type."""
        race = _FamilyRace(self._clock, self._limits.second_family_s)
        for rdtype in (TYPE_AAAA, TYPE_A):
            asking = Deferred.fromCoroutine(self._answer(host, rdtype, fresh, host))
            asking.addCallbacks(race.answered, race.failed, callbackArgs=(rdtype,), errbackArgs=(rdtype,))
        return await race.done

    async def _answer(self, name: str, rdtype: int, fresh: bool, wanted_by: str) -> tuple[Answer, str]:
        """Get one answer and its source: cache, a question under way, or DNS."""
        if not fresh and (known := self._cache.get(name, rdtype)) is not None:
            return self._or_stale(name, rdtype, known, "cache")
        running = self._running.get((name, rdtype))
        source = "joined" if running else "dns"
        if running is None:
            if len(self._running) >= self._limits.questions:
                raise DiscoveryFailed(Reason.BUSY, wanted_by, note="too many look-ups are under way")
            running = self._start(name, rdtype)
        return self._or_stale(name, rdtype, await running.join(), source)

    def _or_stale(self, name: str, rdtype: int, answer: Answer, source: str) -> tuple[Answer, str]:
        """Serve what was known where DNS fails (RFC 8767); a malformed record is no such failure."""
        if answer.status in {Status.FAILURE, Status.TIMEOUT}:
            stale = self._cache.stale(name, rdtype)
            if stale is not None:
                return stale, "stale"
        return answer, source

    def _start(self, name: str, rdtype: int) -> _Running:
        running = _Running(self._clock, self._limits.question_s)
        self._running[name, rdtype] = running

        def ended(answer: Answer) -> None:
            del self._running[name, rdtype]
            self._cache.put(name, rdtype, answer)

        running.start(lambda: self._ask(name, rdtype), ended)
        return running

    def _within(self, what: str, search: Deferred[Any], plan: Search | None = None) -> Deferred[Any]:
        """Limit a whole search; the questions under way go on for whoever comes next."""
        limit_s = self._limits.search_s
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            search.cancel()

        timer = self._clock.callLater(limit_s, expire)

        def ended(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            if late and isinstance(result, Failure) and isinstance(result.value, CancelledError):
                asked = tuple(plan.steps) if plan is not None else ()
                note = f"no result within {limit_s:g} s"
                raise DiscoveryFailed(Reason.DNS_TIMEOUT, what, note=note, asked=asked)
            return result

        return search.addBoth(ended)


class _Running:
    """One question under way, with those who wait for its answer."""

    def __init__(self, clock: IReactorTime, limit_s: float) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._waiting: list[Deferred[Answer]] = []
        self._answer: Answer | None = None
        self._asking: Deferred[Answer] | None = None
        self._timer: IDelayedCall | None = None
        self._ended: Callable[[Answer], None] = lambda _: None

    def start(self, ask: Callable[[], Deferred[Answer]], ended: Callable[[Answer], None]) -> None:
        """Ask; `ended` is called once, before those who wait."""
        self._ended = ended
        self._timer = self._clock.callLater(self._limit_s, self._expire)
        try:
            self._asking = ask()
        except Exception as error:  # noqa: BLE001 - whatever an asker raises is a failed question
            self._settle(Answer(Status.FAILURE, note=f"{type(error).__name__}: {error}"[:200]))
            return
        self._asking.addCallbacks(self._settle, self._failed)

    def join(self) -> Deferred[Answer]:
        """Wait for the answer; cancelling leaves the question to the others."""
        if self._answer is not None:
            return _fired(self._answer)
        waiting: Deferred[Answer] = Deferred(self._waiting_cancelled)
        self._waiting.append(waiting)
        return waiting

    def _waiting_cancelled(self, waiting: Deferred[Answer]) -> None:
        self._waiting.remove(waiting)

    def _expire(self) -> None:
        self._settle(Answer(Status.TIMEOUT, note=f"no answer within {self._limit_s:g} s"))
        if self._asking is not None:
            self._asking.cancel()

    def _failed(self, failure: Failure) -> None:
        kind = type(failure.value).__name__
        self._settle(Answer(Status.FAILURE, note=f"{kind}: {failure.getErrorMessage()}"[:200]))

    def _settle(self, answer: Answer) -> None:
        if self._answer is not None:
            return
        self._answer = answer
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._ended(answer)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(answer)


class _FamilyRace:
    """Waits for both families, or for one with addresses and a moment more."""

    def __init__(self, clock: IReactorTime, patience_s: float) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._answers: dict[int, tuple[Answer, str]] = {}
        self._timer: IDelayedCall | None = None
        self.done: Deferred[dict[int, tuple[Answer, str]]] = Deferred(self._cancelled)

    def answered(self, result: tuple[Answer, str], rdtype: int) -> None:
        """Take one family's answer."""
        if self.done.called:
            return
        self._answers[rdtype] = result
        if len(self._answers) == 2:
            self._finish()
        elif result[0].status is Status.RECORDS:
            self._timer = self._clock.callLater(self._patience_s, self._finish)

    def failed(self, failure: Failure, rdtype: int) -> None:
        """Take one family's failure to be asked at all."""
        self.answered((Answer(Status.FAILURE, note=failure.getErrorMessage()), "dns"), rdtype)

    def _finish(self) -> None:
        self._cancelled(self.done)
        self.done.callback(dict(self._answers))

    def _cancelled(self, _: object) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def _fired(value: Any) -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    deferred.callback(value)
    return deferred


def _texts(result: tuple[Answer, str] | None, rdtype: int) -> list[str]:
    """Return the addresses of an answer; RDATA of a wrong length is passed over."""
    size = 16 if rdtype == TYPE_AAAA else 4
    rdatas = result[0].rdatas if result else ()
    return [str(ip_address(rdata)) for rdata in rdatas if len(rdata) == size]


def _no_address(host: str, answers: dict[int, tuple[Answer, str]]) -> DiscoveryFailed:
    """Say why a host has no address: a failure of one family weighs more than the other's clean no."""
    reasons = {
        Status.TIMEOUT: Reason.DNS_TIMEOUT,
        Status.FAILURE: Reason.DNS_FAILURE,
        Status.MALFORMED: Reason.BAD_DNS_RECORD,
    }
    for rdtype, (answer, _) in answers.items():
        if answer.status in reasons:
            return DiscoveryFailed(reasons[answer.status], host, f"{host} {type_name(rdtype)}", answer.note)
    return DiscoveryFailed(Reason.NO_ADDRESS, host, f"{host} A, AAAA", "neither an A nor an AAAA record")
