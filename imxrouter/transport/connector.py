"""Opens a connection to a domain: look-up, targets in order, addresses raced, fail-over, limits of time.

Only this module decides what is dialled. The guard judges the address before the attempt and the address
actually connected to; a name is never trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.python.failure import Failure

from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Found
from imxrouter.discovery.guard import DialGuard
from imxrouter.discovery.order import Chance, weighted_order
from imxrouter.discovery.records import Target
from imxrouter.discovery.search import Purpose
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.dial_terms import (
    Attempt,
    Connected,
    ConnectFailed,
    ConnectLimits,
    DialTerms,
    NotNegotiated,
)  # fmt: skip
from imxrouter.transport.encryption import HandshakeFailed
from imxrouter.transport.opening import Endpoint, OpenedSocket, OpenSocket, Race
from imxrouter.transport.telling import LATE, most_telling
from imxrouter.transport.time_left import TimeLeft

__all__ = [
    "Attempt", "ConnectFailed", "ConnectLimits", "Connected", "Connector", "DialTerms", "Finds", "OnStep",
]  # fmt: skip

#: Told of each step: its stage, a sentence, and its facts.
OnStep = Callable[[Stage, str, Mapping[str, object]], None]

T = TypeVar("T")


class Finds(Protocol):
    """What looks up domains and hosts; `discovery.finder.Finder` does."""

    def find(self, domain: Domain, purpose: Purpose = "im") -> Deferred[Found]:
        """Find a domain's routers; fails with `DiscoveryFailed`."""

    def addresses(self, host: str) -> Deferred[list[str]]:
        """Find a host's addresses in the order in which they race; fails with `DiscoveryFailed`."""

    def delegation(self, found: Found, target: Target) -> Deferred[Delegation]:
        """Find what DNSSEC says of the way to a target; never fails."""


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
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            running.cancel()

        dial.time_left = TimeLeft(self.clock, self.limits.total_s, expire)

        def ended(result: Connected | Failure) -> Connected | Failure:
            dial.time_left.stop()
            if late and isinstance(result, Failure) and isinstance(result.value, CancelledError):
                raise dial.expired()
            return result

        running = Deferred.fromCoroutine(dial.run())
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
        #: addresses of the target that failed
        self._failed: set[Endpoint] = set()
        #: the session that was refused last was a resumed one: its certificate was not shown anew
        self._resumed = False
        self.time_left: TimeLeft

    async def run(self) -> Connected:
        """Work through the targets."""
        if self._terms.pins:
            return await self._pinned()
        if self._terms.only is not None:
            connected = await self._try(self._terms.only, None)
            if connected is None:
                raise self._failure()
            return connected
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
        reason = LATE.get(self._stage, Reason.CONNECT_TIMEOUT)
        if self._attempts:
            reason = most_telling(self._attempts).reason
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

    async def _try(self, target: Target, found: Found | None) -> Connected | None:
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
        promises = found is not None and found.secure and self._terms.promised
        if found is not None and (promises or self._terms.encrypt(target) is not None):
            target = replace(target, way=await self._with.finder.delegation(found, target))
        connected = await self._reach(target, [(ip, target.port) for ip in addresses], found)
        late = await self._late(target.host, addresses) if connected is None else []
        return await self._reach(target, [(ip, target.port) for ip in late], found) if late else connected

    async def _late(self, host: str, known: list[str]) -> list[str]:
        """Addresses of the family whose answer was not waited for, once none of the other's will do.

        RFC 8305 section 3: what DNS says while connections are attempted is tried as well.
        """
        if len({":" in ip for ip in known}) > 1:
            return []
        try:
            addresses = await self._within_dns(self._with.finder.addresses(host))
        except DiscoveryFailed:
            return []
        late = [ip for ip in addresses if ip not in known]
        if late:
            self._tell(Stage.DNS, f"{host} has {', '.join(late)} as well", host=host)
        return late

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
        reused = self._reuse(target, wanted, found)
        if reused is not None or not wanted:
            return reused
        self._stage = Stage.LIMIT
        ended = await self._wait_for_turn(target or Target(*wanted[0]), wanted)
        if ended is None:
            return None
        try:
            # while it waited, a link may have been opened that does
            return self._reuse(target, wanted, found) or await self._open(target, wanted, found)
        finally:
            ended()

    async def _wait_for_turn(self, target: Target, wanted: Sequence[Endpoint]) -> Callable[[], None] | None:
        """Wait until these may be dialled; what that takes says nothing of how they answer."""
        limit_s, started_at = self._with.limits.turn_s, self._with.clock.seconds()
        self.time_left.stop()
        try:
            return await self._terms.turn(wanted).addTimeout(limit_s, self._with.clock)
        except DeferredTimeout:
            waited_s = self._with.clock.seconds() - started_at
            note = f"too many links are opened there at a time: no turn within {limit_s:g} s"
            self._note(target, *wanted[0], Reason.DIAL_LIMIT, waited_s, note)
            return None
        finally:
            self.time_left.go_on()

    def _reuse(
        self, target: Target | None, wanted: Sequence[Endpoint], found: Found | None
    ) -> Connected | None:
        for endpoint in wanted:
            open_before = self._terms.reuse(endpoint, target or Target(*endpoint))
            if open_before is not None:
                self._tell(Stage.CONNECT, f"{_words(endpoint)} is connected already", ip=endpoint[0])
                return Connected(open_before, target or Target(*endpoint), *endpoint, found, reused=True)
        return None

    async def _open(
        self, target: Target | None, wanted: list[Endpoint], found: Found | None
    ) -> Connected | None:
        """Race the endpoints until one is there that may be used."""
        self._racing, self._failed = target, set()
        limits = self._with.limits
        while wanted:
            self._stage = Stage.CONNECT
            race = Race(self._with.clock, self._with.open_socket, self, limits.race_delay_s, limits.connect_s)
            winner = await race.run(wanted)
            if winner is None:
                return None
            socket, endpoint = winner
            self._tell(Stage.CONNECT, f"connected to {_words(endpoint)}", ip=endpoint[0], port=endpoint[1])
            secured = await self._secure(target or Target(*endpoint), socket, endpoint)
            if secured is not None:
                protocol = self._make()
                if await self._negotiated(target or Target(*endpoint), secured, endpoint, protocol):
                    return Connected(protocol, target or Target(*endpoint), *endpoint, found)
            if not self._resumed:  # else once more: the other side may have another certificate by now
                self._failed.add(endpoint)
            wanted = [one for one in wanted if one not in self._failed]
        return None

    async def _secure(self, target: Target, socket: OpenedSocket, endpoint: Endpoint) -> OpenedSocket | None:
        """Make the handshake where TLS is wanted, and judge who is there, before anything is said."""
        encrypt, started_at = self._terms.encrypt(target), self._with.clock.seconds()
        self._resumed = False
        facts: TlsFacts | None = None
        refuse = socket.close
        if encrypt is not None:
            self._stage = Stage.TLS
            try:
                socket = encrypted = await encrypt(socket, self._with.limits.handshake_s)
            except HandshakeFailed as error:
                self._refuse(target, endpoint, error.reason, error.note, started_at)
                return None
            facts, refuse = encrypted.facts, encrypted.refuse
            self._tell(
                Stage.TLS, f"{facts.version} with {_words(endpoint)}", ip=endpoint[0], port=endpoint[1],
                version=facts.version, cipher=facts.cipher,
            )  # fmt: skip
        decision = self._terms.identify(target, facts)
        if decision.accepted:
            return socket
        self._resumed = facts is not None and facts.resumed
        refuse()
        self._refuse(target, endpoint, decision.reason, decision.note, started_at)
        return None

    async def _negotiated(
        self, target: Target, socket: OpenedSocket, endpoint: Endpoint, protocol: IProtocol
    ) -> bool:
        """Give the protocol its connection, and wait until that is of use."""
        limit_s, started_at = self._with.limits.negotiation_s, self._with.clock.seconds()
        negotiating = self._terms.negotiate(target, protocol)
        socket.attach(protocol)
        if negotiating is None:
            return True
        self._stage, why = Stage.PEER, (Reason.HELLO_TIMEOUT, f"not negotiated within {limit_s:g} s")
        try:
            await negotiating.addTimeout(limit_s, self._with.clock)
        except NotNegotiated as error:
            why = error.reason, error.note
        except DeferredTimeout:
            pass
        else:
            return True
        self._refuse(target, endpoint, *why, started_at)
        return False

    def _refuse(
        self, target: Target, endpoint: Endpoint, reason: Reason, note: str, started_at: float
    ) -> None:
        """An endpoint was reached and may not be used; that says nothing of its address for others."""
        self._note(target, *endpoint, reason, self._with.clock.seconds() - started_at, note)

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
        self._failed.add(endpoint)
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

    def _note(
        self, target: Target, ip: str, port: int, reason: Reason, seconds: float, note: str = ""
    ) -> None:
        self._attempts.append(Attempt(target.host, ip, port, reason, seconds, note))
        where = f"{target.host} ({ip})" if ip and ip != target.host else target.host
        self._tell(
            reason.stage, ": ".join(filter(None, (f"{where} port {port}", reason.word, note))),
            host=target.host, ip=ip, port=port,
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
        told = most_telling(self._attempts)
        where = f"{told.ip or told.host} port {told.port}"
        others = f", {len(self._attempts)} attempts in all" if len(self._attempts) > 1 else ""
        notes = [told.note] if told.note else self._notes[:1]
        note = "; ".join([where + others, *filter(None, notes)])
        return ConnectFailed(told.reason, self._domain, note, self._attempts)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _words(endpoint: Endpoint) -> str:
    return f"{endpoint[0]} port {endpoint[1]}"
