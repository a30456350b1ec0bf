"""Checks a domain from outside: look-up, every address of every target, TLS, hello. Claims nothing."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from imxrouter import __version__
from imxrouter.discovery.adapter import BadNameServer, NameServerAsker
from imxrouter.discovery.cache import AnswerCache
from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Ask, Finder, FindLimits, Found
from imxrouter.discovery.guard import LOW_PORTS, DialGuard
from imxrouter.discovery.order import Chance
from imxrouter.discovery.records import Target
from imxrouter.discovery.search import Purpose
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.probe.encrypted import TlsProbe, encrypt, outside_probe
from imxrouter.probe.recorder import QuestionRecorder
from imxrouter.probe.report import Evidence, Report, StageReport, State, stage_of_ways
from imxrouter.tls.anchors import BadAnchors
from imxrouter.transport.greeting import Greeted, Greeting
from imxrouter.transport.opening import Endpoint, OpenedSocket, OpenSocket, Race, TcpOpener

__all__ = ["BadAnchors", "BadNameServer", "Checker", "Terms", "check"]

#: Connections at once. One host is dialled twice (both families) as a rule; more at once would look like an
#: attack, and a router counts connections of one address (16 by default).
_AT_ONCE = 4

#: A search asks up to eight questions, one after the other; one that is answered late ends it as a failure.
_SEARCH_QUESTIONS = 4

#: A finder waits so much longer than the asker, whose time-out says which server was silent.
_ASKER_FIRST_S = 0.5

_TLS_ASKED = "its record asks for TLS, and no TLS is configured here: see tls.certificates"
_NOT_DIALLED = "not dialled, as no router would; --lab dials it"


@dataclass(frozen=True, slots=True)
class Terms:
    """What may differ from one check to the next.

    Attributes:
        timeout_s: for each question, connection and hello.
        lab: dial addresses and ports that a router refuses.
        name_servers: whom to ask, `ADDRESS` or `ADDRESS:PORT`; none: the system's.
        tls: speak TLS with every target, not only with those whose record asks for it.
        trust: whose certificates are good: `system`, PEM files.
    """

    timeout_s: float = 5.0
    lab: bool = False
    name_servers: tuple[str, ...] = ()
    tls: bool = False
    trust: tuple[str, ...] = ("system",)


def check(reactor: Any, domain: Domain, terms: Terms) -> Deferred[Report]:
    """Check a domain over the network.

    Raises:
        BadNameServer: a name server cannot be understood, or there is none.
        BadAnchors: a file of authorities cannot be used.
    """
    asker = NameServerAsker(reactor, terms.name_servers, question_s=terms.timeout_s)
    every = ("0.0.0.0/0", "::/0")
    guard = DialGuard(every, range(LOW_PORTS)) if terms.lab else DialGuard()
    checker = Checker(
        reactor,
        asker.ask,
        guard,
        TcpOpener(reactor),
        timeout_s=terms.timeout_s,
        chance=random.SystemRandom(),
        random_bytes=secrets.token_bytes,
        name_servers=asker.servers,
        tls=outside_probe(time.time, always=terms.tls, trust=terms.trust),
    )
    return checker.run(domain)


class Checker:
    """Walks through the stages.

    Args:
        clock: time.
        ask: asks one question to DNS.
        guard: judges addresses and ports.
        open_socket: opens one connection.
        timeout_s: for each question, connection and hello.
        chance: draws the order among equal targets, as a router does.
        random_bytes: for what a hello says of itself.
        name_servers: who is asked; told in the report.
        tls: how to speak TLS; None: in clear only.

    Attributes:
        purpose: for what domains are looked up.
    """

    purpose: Purpose = "im"

    def __init__(
        self,
        clock: IReactorTime,
        ask: Ask,
        guard: DialGuard,
        open_socket: OpenSocket,
        *,
        timeout_s: float,
        chance: Chance,
        random_bytes: Callable[[int], bytes],
        name_servers: Sequence[str] = (),
        tls: TlsProbe | None = None,
    ) -> None:
        self._clock = clock
        self._guard = guard
        self._open = open_socket
        self._timeout_s = timeout_s
        self._random_bytes = random_bytes
        self._name_servers = tuple(name_servers)
        self._tls = tls
        #: what DNSSEC says of the way to each target, by host and port
        self.delegations: dict[tuple[str, int], Delegation] = {}
        self._recorder = QuestionRecorder(clock, ask)
        wait_s = timeout_s + _ASKER_FIRST_S
        limits = FindLimits(wait_s, _SEARCH_QUESTIONS * wait_s, second_family_s=wait_s)
        self._finder = Finder(clock, self._recorder.ask, chance, AnswerCache(clock.seconds), limits)

    def run(self, domain: Domain) -> Deferred[Report]:
        """Check a domain; never fails for what others do. One checker checks one domain."""
        return Deferred.fromCoroutine(self._run(domain))

    def reach(self, domain: Domain, pins: Sequence[Endpoint] = ()) -> Deferred[list[StageReport]]:
        """Look up, connect, say hello: the stages that were tried.

        Args:
            domain: whose routers.
            pins: configured endpoints; DNS is not asked then, and nothing judges them, as in the connector.
        """
        return Deferred.fromCoroutine(self._reach(domain, pins))

    async def _run(self, domain: Domain) -> Report:
        started_at = self._clock.seconds()
        tried = await self._reach(domain, ())
        took_s = self._clock.seconds() - started_at
        return Report.of(domain, tried, self._name_servers, took_s)

    async def _reach(self, domain: Domain, pins: Sequence[Endpoint]) -> list[StageReport]:
        if pins:
            tried = [StageReport(Stage.DNS, State.NOT_TRIED, why="the addresses are configured: [[peer]]")]
            ways = [(Target(ip, port), ip) for ip, port in pins]
        else:
            dns, ways = await self._look_up(domain)
            tried = [dns]
        if ways:
            tries = await self._dial(domain, ways, pinned=bool(pins))
            tried.append(stage_of_ways(Stage.CONNECT, [one.connect for one in tries]))
            for stage, evidence in (
                (Stage.TLS, [one.tls for one in tries]),
                (Stage.IDENTITY, [one.identity for one in tries]),
                (Stage.PEER, [one.hello for one in tries]),
                (Stage.DIALBACK, [one.dialback for one in tries]),
            ):
                if seen := [one for one in evidence if one is not None]:
                    tried.append(stage_of_ways(stage, seen))
            if proofs := [each for one in tries for each in one.proofs]:
                asked = tried.pop().evidence if tried[-1].stage is Stage.DIALBACK else ()
                proved = stage_of_ways(Stage.DIALBACK, proofs)  # what was asked before does not end a way
                bad = proved.state is State.GOOD and not all(one.good for one in asked)
                state = State.PARTLY if bad else proved.state
                tried.append(replace(proved, state=state, evidence=(*asked, *proofs)))
        return tried

    # -- dns ---------------------------------------------------------------------------------------------

    async def _look_up(self, domain: Domain) -> tuple[StageReport, list[tuple[Target, str]]]:
        """Find targets and addresses; returns the stage, and each (target, address) in the order of trial."""
        started_at = self._clock.seconds()
        try:
            found = await self._finder.find(domain, self.purpose)
        except DiscoveryFailed as error:
            return self._dns_stage(State.FAILED, [error], started_at), []
        asking = [(target, self._finder.addresses(target.host)) for target in found.targets]
        ways: list[tuple[Target, str]] = []
        errors: list[DiscoveryFailed] = []
        for target, waiting in asking:
            try:
                ways += [(target, ip) for ip in await waiting]
            except DiscoveryFailed as error:
                errors.append(error)
        for target in found.targets:
            self.delegations[target.host, target.port] = await self._finder.delegation(found, target)
        state = State.GOOD if ways else State.FAILED  # good as far as the questions below it are
        return self._dns_stage(state, errors, started_at, found), ways

    def _dns_stage(
        self, state: State, errors: Iterable[DiscoveryFailed], started_at: float, found: Found | None = None
    ) -> StageReport:
        evidence = self._recorder.evidence
        for error in errors:
            _blame(evidence, error)
        if state is State.GOOD and not all(one.good for one in evidence):
            state = State.PARTLY
        facts: dict[str, object] = {}
        if found is not None:
            targets = [f"{target.host}:{target.port}" for target in found.targets]
            secure = [(place, way) for place, way in self.delegations.items() if way.secure]
            facts = {
                "form": found.form.value, "targets": targets, "dnssec": found.secure,
                "insecure_at": found.insecure_at,
                "dane": [f"{host}:{port}: {way.words}" for (host, port), way in secure],
            }  # fmt: skip
        took_s = self._clock.seconds() - started_at
        return StageReport(Stage.DNS, state, tuple(evidence), took_s=took_s, facts=facts)

    # -- connect and hello -------------------------------------------------------------------------------

    async def _dial(
        self, domain: Domain, ways: Sequence[tuple[Target, str]], *, pinned: bool = False
    ) -> list[Tried]:
        """Dial every address of every target; returns the evidence of each."""
        room = DeferredSemaphore(_AT_ONCE)
        running = [room.run(_started, self._try(domain, target, ip, pinned)) for target, ip in ways]
        return [await one for one in running]

    async def _try(self, domain: Domain, target: Target, ip: str, pinned: bool) -> Tried:
        facts = {
            "host": target.host,
            "ip": ip,
            "family": "IPv6" if ":" in ip else "IPv4",
            "port": target.port,
        }
        way = Evidence(f"{target.host} {ip} port {target.port}", facts=facts)
        refusal = None if pinned else self._refusal(target, ip)
        if refusal is not None:
            return Tried(replace(way, reason=refusal[0], note=refusal[1]))
        refused = self._tls.refuses(domain, target) if self._tls is not None else None
        if refused is not None:
            return Tried(replace(way, reason=refused, note="its record and our policy exclude each other"))
        led = self.delegations.get((target.host, target.port))
        target = replace(target, way=led)
        connected, socket = await self._connect(way, (ip, target.port))
        if socket is None:
            return Tried(connected)
        return await self._speak(domain, target, connected, way, socket)

    async def _connect(self, way: Evidence, endpoint: Endpoint) -> tuple[Evidence, OpenedSocket | None]:
        """Open one connection, or say why there is none."""
        started_at = self._clock.seconds()
        attempt = _OneAttempt()
        race = Race(self._clock, self._open, attempt, 0.0, self._timeout_s)
        winner = await race.run([endpoint])
        if winner is None:
            return replace(way, reason=attempt.reason, took_s=attempt.seconds), None
        return replace(way, took_s=self._clock.seconds() - started_at), winner[0]

    async def _speak(
        self, domain: Domain, target: Target, connected: Evidence, way: Evidence, socket: OpenedSocket
    ) -> Tried:
        """Speak TLS where it is wanted, and say hello."""
        led = target.way
        if self._tls is None or not self._tls.wants(domain, target):
            return Tried(connected, hello=_told(way, await self._greet(socket)))
        came = await encrypt(self._clock, self._tls, domain, way, socket, self._timeout_s, led)
        if came.socket is None:
            return Tried(connected, came.tls, came.identity)
        return Tried(connected, came.tls, came.identity, _told(way, await self._greet(came.socket)))

    def _greet(self, socket: OpenedSocket) -> Deferred[Greeted]:
        """Say hello; in the same call in which the connection was opened, or bytes are lost."""
        greeting = Greeting(
            self._clock, self._timeout_s, f"imxctl check (imxrouter {__version__})", self._random_bytes
        )
        socket.attach(greeting)
        return greeting.done

    def _refusal(self, target: Target, ip: str) -> tuple[Reason, str] | None:
        """Why a router would not dial, as the connector has it; None if it would."""
        if target.tls == "required" and self._tls is None:
            return Reason.WEAKER_THAN_POLICY, _TLS_ASKED
        refused = self._guard.check(ip, target.port)
        return None if refused is None else (refused.reason, f"{refused.rule}: {_NOT_DIALLED}")


class _OneAttempt:
    """The rules of a race with one runner. What is dialled is an address, judged before."""

    def __init__(self) -> None:
        self.reason = Reason.NONE
        self.seconds = 0.0

    def admit(self, endpoint: Endpoint) -> bool:  # noqa: ARG002 - as RaceRules has it
        return True

    def accept(self, endpoint: Endpoint, remote: Endpoint) -> bool:
        return ip_address(remote[0]) == ip_address(endpoint[0])

    def failed(self, endpoint: Endpoint, reason: Reason, seconds: float) -> None:  # noqa: ARG002 - as above
        self.reason, self.seconds = reason, seconds


@dataclass(frozen=True, slots=True)
class Tried:
    """Evidence of one address, stage by stage, as far as it came."""

    connect: Evidence
    tls: Evidence | None = None
    identity: Evidence | None = None
    hello: Evidence | None = None
    dialback: Evidence | None = None
    proofs: tuple[Evidence, ...] = ()


def _started(trying: Coroutine[Deferred[Any], Any, Tried]) -> Deferred[Tried]:
    return Deferred.fromCoroutine(trying)


def _blame(evidence: list[Evidence], error: DiscoveryFailed) -> None:
    """Mark the question that decided; where none did alone, the failure is evidence of its own."""
    for at, one in enumerate(evidence):
        if one.what == error.step:
            evidence[at] = replace(one, reason=error.reason, note=error.note or one.note, decides=True)
            return
    evidence.append(Evidence(error.step or error.domain, error.reason, error.note))


def _told(way: Evidence, greeted: Greeted) -> Evidence:
    """The evidence of a hello, or of why there was none."""
    facts = dict(way.facts)
    hello = greeted.hello
    if hello is None:
        facts["first_bytes"] = greeted.first_bytes.decode("ascii", "backslashreplace")
        facts["by_peer"] = greeted.by_peer
        facts["retry_after_s"] = greeted.retry_after_s
    else:
        facts |= {
            "version": greeted.version,
            "software": hello.software or "",
            "instance": (hello.instance or b"").hex(),
            "capabilities": greeted.capabilities,
            "max_record_bytes": hello.max_record,
            "credit_requests": hello.credit_requests,
            "credit_bytes": hello.credit_bytes,
            "ping_s": _seconds(hello.ping_ms),
            "dead_s": _seconds(hello.dead_ms),
            "idle_s": _seconds(hello.idle_ms),
            "duplicate_window_s": _seconds(hello.duplicate_window_ms),
        }
    return replace(way, reason=greeted.reason, note=greeted.note, took_s=greeted.seconds, facts=facts)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
