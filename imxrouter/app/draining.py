"""The drain of a router as operators and supervisors see it: asked for, kept, told to the other processes.

A drain that an operator asked for is kept in the store until it is taken back, for the whole host: a process
that starts meanwhile is out of service from its first moment. One by SIGTERM ends with the process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from imxrouter.admin.views import DrainView
from imxrouter.app.host import ABSENT, Host
from imxrouter.config.net import parse_published
from imxrouter.discovery.finder import Found
from imxrouter.model.domain import Domain
from imxrouter.routing.interfaces import Bus, Store
from imxrouter.telemetry.metrics import DrainFigures
from imxrouter.transport.draining import Drain, DrainState
from imxrouter.transport.redirecting import Redirector
from imxrouter.transport.siblings import Siblings

#: The table of the store: what is wanted.
DRAIN: Final = "drain"
#: One entry for the host; earlier versions kept one for each process beside it.
TABLE_ENTRIES: Final = {DRAIN: 1024}
#: Kinds of messages on the bus: what is wanted has changed; how far a process is.
ASKED: Final = "drain"
FAR: Final = "drain-far"
#: How long a process that is drained waits for the others beyond its deadline before it ends.
TOGETHER_S: Final = 1.0

_WANTED: Final = b"wanted"

#: A host and its port.
HostPort = tuple[str, int]


class _Wanted(msgspec.Struct, frozen=True):
    """The value at `wanted`, as JSON: since when, seconds since 1970, and within how many seconds.

    Without a deadline the host is wanted in service. The newest wins: a process may read what another wrote
    into the store after it was told what came later.
    """

    since: float
    deadline_s: float | None


class _Far(msgspec.Struct, frozen=True, array_like=True):
    """How far a process is; `ready`: nothing new can come there."""

    process: int
    state: str
    ready: bool


class Draining:
    """What operators ask of the drain, in all processes of the host.

    The processes go together: none closes its links before nothing new can come at any of them, for what
    comes at one may be for a service at another; and none ends before all of them are drained.

    Args:
        drain: of this process.
        store: keeps what is wanted.
        bus: the other processes of this host.
        host: the processes.
        wall: seconds since 1970.
        back: called when the process is in service again, for what is dialled by itself.

    Attributes:
        leads: this process stops the others when it is stopped.
    """

    log = Logger()

    def __init__(
        self,
        drain: Drain,
        store: Store,
        bus: Bus,
        host: Host,
        wall: Callable[[], float],
        back: Callable[[], None],
    ) -> None:
        self._drain = drain
        self._store = store
        self._bus = bus
        self._wall = wall
        self._back = back
        self._host = host
        self.leads = False
        #: how far the others are, by what they said last
        self._far: dict[int, _Far] = {}
        self._stopping = False
        #: who waits for all of the host to be drained, and until when at most, as of `wall`
        self._ends: list[tuple[float, Deferred[None]]] = []
        #: what operators want, here or told by another process; the store may be a second behind
        self._wanted = _Wanted(0.0, None)
        drain.on_state = self._tell_state
        drain.may_close = self._may_close

    # -- life of the process -----------------------------------------------------------------------------

    def begin(self) -> None:
        """After the store is open: be out of service from the start, where that is wanted."""
        for key, _, _ in list(self._store.items(DRAIN)):
            if key != _WANTED:
                self._store.remove(DRAIN, key)
        self._store.watch(DRAIN, self._changed)
        self._wanted = _read(self._store.get(DRAIN, _WANTED)) or self._wanted
        if self._wanted.deadline_s is not None:
            self.log.warn("out of service since it was drained; imxctl undrain ends that")
            self._drain.begin(0.0)

    def stop(self, deadline_s: float) -> Deferred[None]:
        """The process ends: drain, whatever operators want.

        Fires when it has, and so have the others that go with it: they may still pass something on.
        """
        self._stopping = True
        until = self._wall() + deadline_s + TOGETHER_S
        return self._drain.begin(deadline_s).addCallback(lambda _: self._all_drained(until))

    def _all_drained(self, until: float) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._ends.append((until, done))
        self.step()
        return done

    def step(self) -> None:
        """End where nothing keeps this process any more; called some twenty times a second."""
        if not self._ends:
            return
        drained = DrainState.DRAINED.value
        now, all_are = self._wall(), all(self._state(one) == drained for one in self._together())
        for end in list(self._ends):
            until, done = end
            if all_are or now >= until:
                self._ends.remove(end)
                done.callback(None)

    def tick(self) -> None:
        """Say again how far it is: what is told may be lost."""
        self._tell_state()

    # -- what operators ask ------------------------------------------------------------------------------

    def drain(self, deadline_s: float) -> DrainView:
        """Take every process of the host out of service, until `undrain`."""
        return self._ask(deadline_s)

    def undrain(self) -> DrainView:
        """Take every process of the host back into service."""
        return self._ask(None)

    def _ask(self, deadline_s: float | None) -> DrainView:
        after_what_was = self._wanted.since + 0.001  # a clock that was set back changes nothing
        wanted = _Wanted(round(max(self._wall(), after_what_was), 3), deadline_s)
        value = msgspec.json.encode(wanted)
        self._store.put(DRAIN, _WANTED, value, durable=True)
        self._host.tell_all(ASKED, value)
        self._follow(wanted)
        return self.view()

    def view(self) -> DrainView:
        """How far each process of the host is."""
        wanted, own = self._wanted, self._host.own
        states = {number: self._state(number) for number in self._host.others()}
        states[own] = self._drain.state.value
        return DrainView(
            state=self._drain.state.value,
            wanted=wanted.deadline_s is not None,
            since=wanted.since if wanted.deadline_s is not None else None,
            deadline_s=wanted.deadline_s,
            processes={str(number): state for number, state in sorted(states.items())},
            redirects=self._drain.redirects,
            kept=self._store.health().works,
        )

    # -- other processes ---------------------------------------------------------------------------------

    def told(self, payload: bytes) -> None:
        """Another process of the host was asked."""
        self._follow(_read(payload))

    def told_far(self, payload: bytes) -> None:
        """Another process says how far it is; one that just started is told how far this one is."""
        far = msgspec.msgpack.decode(payload, type=_Far)
        is_new = far.process not in self._far
        self._far[far.process] = far
        if is_new:
            self._tell_state()
        self.step()

    def gone(self, process: int) -> None:
        """Another process ended."""
        self._far.pop(process, None)

    def _state(self, process: int) -> str:
        far = self._far.get(process)
        return ABSENT if far is None else far.state

    def _together(self) -> set[int]:
        """Processes that go out of service with this one."""
        there = self._bus.peers()
        if self._wanted.deadline_s is not None or self.leads:
            return set(there)
        running = DrainState.RUNNING.value
        return {number for number in there if self._state(number) not in (ABSENT, running)}

    def _may_close(self) -> bool:
        return all((far := self._far.get(number)) is not None and far.ready for number in self._together())

    def _tell_state(self, _state: DrainState | None = None) -> None:
        state = self._drain.state
        ready = self._drain.ready or state is DrainState.DRAINED
        self._host.tell_all(FAR, msgspec.msgpack.encode(_Far(self._host.own, state.value, ready)))

    def _changed(self, key: bytes, value: bytes | None, _expires_at: float | None) -> None:
        if key == _WANTED:
            self._follow(_read(value))

    def _follow(self, wanted: _Wanted | None) -> None:
        if self._stopping or wanted is None:
            return
        if wanted.since < self._wanted.since:
            self._store.put(DRAIN, _WANTED, msgspec.json.encode(self._wanted), durable=True)
            return
        self._wanted = wanted
        if wanted.deadline_s is not None:
            self._drain.begin(wanted.deadline_s)
        elif self._drain.state is not DrainState.RUNNING:
            self._drain.end()
            self._back()


def _read(value: bytes | None) -> _Wanted | None:
    try:
        return msgspec.json.decode(value, type=_Wanted) if value else None
    except msgspec.MsgspecError:
        return None


class OtherHosts:
    """Another host that serves a domain of ours: a configured one, else one of the domain's own DNS answer.

    Args:
        find: looks a domain up.
        siblings: `host:port` as configured now; empty: DNS says.
        own: host and port of this host, as others reach it; never told.
    """

    def __init__(
        self,
        find: Callable[[Domain], Deferred[Found]],
        siblings: Callable[[], Sequence[str]],
        own: Callable[[], Sequence[HostPort]],
    ) -> None:
        self._find = find
        self._siblings = siblings
        self._own = own

    def of(self, domain: Domain) -> Deferred[str]:
        """One of them at random, as REDIRECT names it; empty where there is none."""
        return self.all_of(domain).addCallback(
            lambda places: _target(random.choice(places)) if places else ""  # noqa: S311 - any will do
        )

    def all_of(self, domain: Domain) -> Deferred[list[HostPort]]:
        """All of them."""
        configured = self._siblings()
        if configured:
            return succeed([parse_published(text) for text in configured])
        return self._find(domain).addCallback(self._others)

    def _others(self, found: Found) -> list[HostPort]:
        own = {(host.rstrip(".").lower(), port) for host, port in self._own()}
        places = [(target.host.rstrip(".").lower(), target.port) for target in found.targets]
        return [place for place in places if place not in own]


def _target(place: HostPort) -> str:
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def drain_figures(drain: Drain, redirector: Redirector, siblings: Siblings) -> DrainFigures:
    """For `/metrics`."""
    return DrainFigures(
        drain.state.value,
        {"sent": drain.redirects, "obeyed": redirector.obeyed, "ignored": redirector.refused},
        {"out": siblings.handed, "in": siblings.taken},
    )


def stopping_state(deadline_s: float) -> str:
    """What a supervisor is told when the process ends: how long it may take is its own to say."""
    return f"STOPPING=1\nSTATUS=drains\nEXTEND_TIMEOUT_USEC={int((deadline_s + EXTRA_S) * 1_000_000)}"


#: After the last link the sockets and the store are closed.
EXTRA_S: Final = 10.0
