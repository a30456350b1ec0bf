"""Opens a connection to a domain: look-up, targets in order, addresses raced, fail-over, limits of time.

Only this module decides what is dialled. The guard judges the address before the attempt and the address
actually connected to; a name is never trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.python.failure import Failure

from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Found
from imxrouter.discovery.guard import DialGuard
from imxrouter.discovery.order import Chance, weighted_order
from imxrouter.discovery.plan import Purpose
from imxrouter.discovery.records import Target
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.transport.opening import Endpoint, OpenedSocket, OpenSocket, Race

#: Told of each step: its stage, a sentence, and its facts.
OnStep = Callable[[Stage, str, Mapping[str, object]], None]

T = TypeVar("T")

#: From the most telling failure to the least: what came furthest says most about what to mend. A reason that
#: is not listed comes from policy or DNS and stands at the end.
_TELLING: Final = (
    Reason.CONNECTION_REFUSED,
    Reason.CONNECT_TIMEOUT,
    Reason.UNREACHABLE,
    Reason.DIAL_LIMIT,
    Reason.ADDRESS_REFUSED,
    Reason.WEAKER_THAN_POLICY,
    Reason.WEAKER_THAN_REMEMBERED,
    Reason.DNS_TIMEOUT,
    Reason.DNS_FAILURE,
)


class Finds(Protocol):
    """What looks up domains and hosts; `discovery.finder.Finder` does."""

    def find(self, domain: Domain, purpose: Purpose = "im") -> Deferred[Found]:
        """Find a domain's routers; fails with `DiscoveryFailed`."""

    def addresses(self, host: str) -> Deferred[list[str]]:
        """Find a host's addresses in the order in which they race; fails with `DiscoveryFailed`."""


@dataclass(frozen=True, slots=True)
class ConnectLimits:
    """Bounds of one connection to a domain.

    Attributes:
        dns_s: for the look-up of the domain, and for that of each target's addresses.
        connect_s: for one attempt.
        total_s: for everything together; below the 15 s for which messages are held.
        race_delay_s: head start of an attempt (RFC 8305 section 8 recommends 250 ms).
        targets: targets tried.
        stranger_attempts: attempts where a stranger's word makes us dial; `admit_target` may allow fewer.
    """

    dns_s: float = 10.0
    connect_s: float = 5.0
    total_s: float = 14.0
    race_delay_s: float = 0.25
    targets: int = 8
    stranger_attempts: int = 4


@dataclass(frozen=True, slots=True)
class Attempt:
    """One target or address that came to nothing.

    Attributes:
        host: the target's name.
        ip: the address; empty where it did not come to that.
        port: the target's port.
        reason: why.
        seconds: how long it took.
    """

    host: str
    ip: str
    port: int
    reason: Reason
    seconds: float = 0.0


class ConnectFailed(RouterError):
    """No connection to a domain.

    Attributes:
        reason: of the most telling attempt.
        domain: whom it was for.
        note: an operator's detail.
        attempts: everything that was tried, in the order in which it failed.
        exhausted: every endpoint was one that the caller wanted skipped.
    """

    def __init__(
        self,
        reason: Reason,
        domain: Domain,
        note: str = "",
        attempts: Sequence[Attempt] = (),
        *,
        exhausted: bool = False,
    ) -> None:
        super().__init__(f"{domain}: {reason.word}{f': {note}' if note else ''}")
        self.reason = reason
        self.domain = domain
        self.note = note
        self.attempts = tuple(attempts)
        self.exhausted = exhausted


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection to one of a domain's targets.

    Attributes:
        protocol: what the factory made, connected; or what `reuse` gave.
        target: the target reached; for a pin its address and port.
        ip: the address connected to.
        port: the port connected to.
        found: what discovery said; None for a pin.
        reused: it was open before.
    """

    protocol: Any
    target: Target
    ip: str
    port: int
    found: Found | None
    reused: bool = False


@dataclass(frozen=True, slots=True)
class DialTerms:
    """What may differ from one connection to the next.

    Attributes:
        purpose: `im` or `pres`.
        strangers_word: a stranger made us dial: few attempts, each asked of `admit_target`.
        filter_target: returns why a target is not to be tried, or None.
        pins: configured addresses; they replace discovery, race in random order, and are not guarded,
            because the operator named them.
        skip: endpoints not to be tried.
        reuse: an open connection to that very endpoint, or None.
        admit_target: asked before each attempt on a stranger's word; a reason refuses it.
        failed_connect: told after each attempt on a stranger's word that failed.
    """

    purpose: Purpose = "im"
    strangers_word: bool = False
    filter_target: Callable[[Target], Reason | None] = lambda _target: None
    pins: tuple[Endpoint, ...] = ()
    skip: AbstractSet[Endpoint] = frozenset()
    reuse: Callable[[Endpoint], object | None] = lambda _endpoint: None
    admit_target: Callable[[str, int], Reason | None] = lambda _ip, _port: None
    failed_connect: Callable[[str, int, Reason], None] = lambda _ip, _port, _reason: None


def _silent(_stage: Stage, _text: str, _fields: Mapping[str, object]) -> None:
    """Nobody watches."""


class Connector:
    """Opens connections.

    Args:
        clock: time for limits and head starts.
        finder: looks up domains and hosts.
        guard: judges addresses and ports.
        open_socket: opens one connection, such as `opening.TcpOpener`.
        chance: draws the order of pins; the finder draws that of targets.
        limits: bounds.
    """

    def __init__(
        self,
        clock: IReactorTime,
        finder: Finds,
        guard: DialGuard,
        open_socket: OpenSocket,
        chance: Chance,
        limits: ConnectLimits | None = None,
    ) -> None:
        self.clock = clock
        self.finder = finder
        self.guard = guard
        self.open_socket = open_socket
        self.chance = chance
        self.limits = limits or ConnectLimits()

    def connect(
        self,
        domain: Domain,
        protocol_factory: Callable[[], IProtocol],
        terms: DialTerms | None = None,
        on_step: OnStep = _silent,
    ) -> Deferred[Connected]:
        """Connect to a domain.

        Args:
            domain: to whom.
            protocol_factory: called once, for the connection that is used.
            terms: what differs from the usual.
            on_step: told of each step.

        Returns:
            fires with `Connected`, fails with `ConnectFailed`; cancelling gives up.
        """
        dial = _Dial(self, domain, protocol_factory, terms or DialTerms(), on_step)
        running = Deferred.fromCoroutine(dial.run())
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            running.cancel()

        timer = self.clock.callLater(self.limits.total_s, expire)

        def ended(result: Connected | Failure) -> Connected | Failure:
            if timer.active():
                timer.cancel()
            if late and isinstance(result, Failure) and isinstance(result.value, CancelledError):
                raise dial.expired()
            return result

        running.addBoth(ended)
        return running


class _Dial:
    """One connection under way. It is the `RaceRules` of the race that runs."""

    def __init__(
        self,
        connector: Connector,
        domain: Domain,
        protocol_factory: Callable[[], IProtocol],
        terms: DialTerms,
        on_step: OnStep,
    ) -> None:
        self._with = connector
        self._domain = domain
        self._make = protocol_factory
        self._terms = terms
        self._on_step = on_step
        self._attempts: list[Attempt] = []
        self._notes: list[str] = []
        self._left = connector.limits.stranger_attempts if terms.strangers_word else None
        self._skipped = 0
        self._stage = Stage.DNS
        self._racing: Target | None = None

    async def run(self) -> Connected:
        """Work through the targets."""
        if self._terms.pins:
            return await self._pinned()
        found = await self._find()
        for target in found.targets[: self._with.limits.targets]:
            connected = await self._try(target, found)
            if connected is not None:
                return connected
            if self._left == 0:
                break
        raise self._failure()

    def expired(self) -> ConnectFailed:
        """The failure where time for everything is up."""
        reason = Reason.DNS_TIMEOUT if self._stage is Stage.DNS else Reason.CONNECT_TIMEOUT
        if self._attempts:
            reason = _most_telling(self._attempts).reason
        note = f"not connected within {self._with.limits.total_s:g} s"
        return ConnectFailed(reason, self._domain, note, self._attempts)

    # -- stages ------------------------------------------------------------------------------------------

    async def _find(self) -> Found:
        self._tell(Stage.DNS, f"looking up the routers of {self._domain}")
        try:
            found = await self._within_dns(self._with.finder.find(self._domain, self._terms.purpose))
        except DiscoveryFailed as error:
            self._tell(
                Stage.DNS, f"not found: {error.reason.word}", reason=error.reason.word, step=error.step
            )
            note = f"{error.step}: {error.note}".strip(": ")
            raise ConnectFailed(error.reason, self._domain, note) from None
        names = ", ".join(f"{target.host}:{target.port}" for target in found.targets)
        self._tell(Stage.DNS, f"found by {found.form.value.upper()}: {names}", form=found.form.value)
        return found

    async def _try(self, target: Target, found: Found) -> Connected | None:
        """Reach one target, or note why not."""
        refusal = self._terms.filter_target(target)
        if refusal is None and _is_ip(target.host):  # a name is all that a record may hold (RFC 2782, 9460)
            refusal = Reason.ADDRESS_REFUSED
        if refusal is not None:
            self._note(target, "", target.port, refusal, 0.0)
            return None
        self._stage = Stage.DNS
        started_at = self._with.clock.seconds()
        try:
            addresses = await self._within_dns(self._with.finder.addresses(target.host))
        except DiscoveryFailed as error:
            self._notes.append(error.note)
            self._note(target, "", target.port, error.reason, self._with.clock.seconds() - started_at)
            return None
        self._tell(Stage.DNS, f"{target.host} has {', '.join(addresses)}", host=target.host)
        return await self._reach(target, [(ip, target.port) for ip in addresses], found)

    async def _pinned(self) -> Connected:
        pins = self._terms.pins
        order = weighted_order([1] * len(pins), self._with.chance)
        endpoints = [pins[at] for at in order][: self._with.limits.targets]
        self._tell(Stage.DNS, "pinned: " + ", ".join(f"{ip} port {port}" for ip, port in endpoints))
        connected = await self._reach(None, endpoints, None)
        if connected is None:
            raise self._failure()
        return connected

    async def _reach(
        self, target: Target | None, endpoints: Iterable[Endpoint], found: Found | None
    ) -> Connected | None:
        """Use what is open to one of the endpoints, or race them."""
        wanted = [endpoint for endpoint in endpoints if not self._is_skipped(endpoint)]
        for endpoint in wanted:
            open_before = self._terms.reuse(endpoint)
            if open_before is not None:
                self._tell(Stage.CONNECT, f"{_words(endpoint)} is connected already", ip=endpoint[0])
                return Connected(open_before, target or Target(*endpoint), *endpoint, found, reused=True)
        self._stage = Stage.CONNECT
        self._racing = target
        limits = self._with.limits
        race = Race(self._with.clock, self._with.open_socket, self, limits.race_delay_s, limits.connect_s)
        winner = await race.run(wanted)
        return None if winner is None else self._attach(*winner, found)

    def _attach(self, socket: OpenedSocket, endpoint: Endpoint, found: Found | None) -> Connected:
        self._tell(Stage.CONNECT, f"connected to {_words(endpoint)}", ip=endpoint[0], port=endpoint[1])
        protocol = self._make()
        socket.attach(protocol)
        return Connected(protocol, self._racing or Target(*endpoint), *endpoint, found)

    # -- rules of the race -------------------------------------------------------------------------------

    def admit(self, endpoint: Endpoint) -> bool:
        """Judge an attempt before it starts."""
        target = self._racing or Target(*endpoint)
        if not self._terms.pins:
            refused = self._with.guard.check(*endpoint)
            if refused is not None:
                self._notes.append(f"{refused.note}: {refused.rule}")
                self._note(target, endpoint[0], endpoint[1], refused.reason, 0.0)
                return False
        if self._left == 0:
            return False
        if self._terms.strangers_word:
            reason = self._terms.admit_target(*endpoint)
            if reason is not None:
                self._note(target, endpoint[0], endpoint[1], reason, 0.0)
                return False
        if self._left is not None:
            self._left -= 1
        self._tell(Stage.CONNECT, f"connecting to {_words(endpoint)}", ip=endpoint[0], port=endpoint[1])
        return True

    def accept(self, endpoint: Endpoint, remote: Endpoint) -> bool:
        """Judge the address actually connected to."""
        return bool(self._terms.pins) or remote == endpoint or self._with.guard.check(*remote) is None

    def failed(self, endpoint: Endpoint, reason: Reason, seconds: float) -> None:
        """Take down an attempt that failed."""
        self._note(self._racing or Target(*endpoint), endpoint[0], endpoint[1], reason, seconds)
        if self._terms.strangers_word:
            self._terms.failed_connect(endpoint[0], endpoint[1], reason)

    # -- inside ------------------------------------------------------------------------------------------

    def _is_skipped(self, endpoint: Endpoint) -> bool:
        skipped = endpoint in self._terms.skip
        self._skipped += skipped
        return skipped

    async def _within_dns(self, asking: Deferred[T]) -> T:
        limit_s = self._with.limits.dns_s
        try:
            return await asking.addTimeout(limit_s, self._with.clock)
        except DeferredTimeout:
            note = f"no result within {limit_s:g} s"
            raise DiscoveryFailed(Reason.DNS_TIMEOUT, self._domain.name, note=note) from None

    def _note(self, target: Target, ip: str, port: int, reason: Reason, seconds: float) -> None:
        self._attempts.append(Attempt(target.host, ip, port, reason, seconds))
        where = f"{target.host} ({ip})" if ip and ip != target.host else target.host
        self._tell(
            reason.stage, f"{where} port {port}: {reason.word}", host=target.host, ip=ip, port=port,
            reason=reason.word, seconds=seconds,
        )  # fmt: skip

    def _tell(self, stage: Stage, text: str, **fields: object) -> None:
        self._on_step(stage, text, {"domain": self._domain.name, **fields})

    def _failure(self) -> ConnectFailed:
        if not self._attempts:
            reason = Reason.DIAL_LIMIT if self._left == 0 else Reason.UNREACHABLE
            exhausted = self._skipped > 0
            note = "no target is left to try" if exhausted else "nothing to dial"
            return ConnectFailed(reason, self._domain, note, exhausted=exhausted)
        told = _most_telling(self._attempts)
        where = f"{told.ip or told.host} port {told.port}"
        others = f", {len(self._attempts)} attempts in all" if len(self._attempts) > 1 else ""
        note = "; ".join([where + others, *filter(None, self._notes[:1])])
        return ConnectFailed(told.reason, self._domain, note, self._attempts)


def _most_telling(attempts: Sequence[Attempt]) -> Attempt:
    return min(attempts, key=lambda attempt: telling_rank(attempt.reason))


def telling_rank(reason: Reason) -> int:
    """Return how much a failure says about what to mend among those of one search: the least says most."""
    return _TELLING.index(reason) if reason in _TELLING else len(_TELLING)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _words(endpoint: Endpoint) -> str:
    return f"{endpoint[0]} port {endpoint[1]}"
