"""A router with a server behind it, in memory: the inside is real, the server is another router's streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock

from imxrouter.gateways.xmpp.streams.inside import HeldTo, Inside
from imxrouter.gateways.xmpp.streams.parts import StreamParts
from imxrouter.gateways.xmpp.streams.pool import PoolSettings, ServicePool
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.switch.ports import Route
from imxrouter.transport.opening import OpenedSocket
from imxrouter.wire.registry import RecordType
from tests.gateways.xmpp.streams.rig import A, Router, Service, Wire, joined, settle

FAR, OTHER = "far.example", "other.example"
SECRET = b"of the inside"
TYPES = frozenset({RecordType.STANZA.value, RecordType.MESSAGE.value})


class Scene:
    """The router `far.example` is reached through, and the server of `a.example` behind it.

    Attributes:
        clock: of both.
        router: ours.
        server: the one behind it; claims towards it are true where its table has them.
        inside: what joins them.
        pool: of the server's domains.
        world: an outside domain's users: requests that came for them, and outcomes of what they sent.
        opened: connections to the server.
        reachable: whether the server takes connections.
    """

    def __init__(self, held_to: HeldTo | None = None, /, **settings: Any) -> None:
        self.clock = Clock()
        self.router, self.server = Router(self.clock, FAR), Router(self.clock, A)
        self.world = self.router.service
        self.reachable = True
        self.opened: list[XmppSession] = []
        self.addresses: list[tuple[str, int]] = []
        self._wires: list[Wire] = []
        hub = self.router.hub
        self.inside = Inside(
            hub, self._service_of, lambda: [SECRET], self._open_socket, self.clock.callLater, held_to
        )
        self.pool = ServicePool("chat", hub, self.router.edge, self.inside, PoolSettings(**settings))
        self.inside.parts = StreamParts(
            self.router.edge, self.inside, None, self.inside.terms, self.clock.callLater,
            pings=self.router.parts.pings, on_error=self.router.parts.on_error,
        )  # fmt: skip
        self.inside.pools = {"chat": self.pool}
        self.inside.addresses = {"chat": ("10.0.0.5", 5269)}
        self.pool.bind(A.encode(), 0.0, 10.0)
        self.router.switch.routes[A.encode()] = Route([self.pool.port], 1, 1 << 20, TYPES)
        self.server.trust.true |= {(FAR, A), (OTHER, A)}

    def also(self, domain: str) -> Service:
        """One more outside domain that the router answers for."""
        service = Service(self.router, domain)
        self.router.switch.routes[domain.encode()] = Route([service.port], 1, 1 << 20, TYPES)
        return service

    @staticmethod
    def _service_of(domain: str) -> str | None:
        return "chat" if domain == A else None

    def _open_socket(self, ip: str, port: int) -> Deferred[OpenedSocket]:
        self.addresses.append((ip, port))
        opened: Deferred[OpenedSocket] = Deferred()
        if self.reachable:
            self.clock.callLater(0, opened.callback, _Socket(self._attach))
        else:
            self.clock.callLater(0, opened.errback, Refused())  # type: ignore[no-untyped-call]
        return opened

    def _attach(self, session: XmppSession) -> None:
        self.opened.append(session)
        self._wires += joined(session, self.server.accept())

    def dial(self, to: str = FAR, own: str = A) -> XmppSession:
        """A connection of the server's to where its resolver leads it for a domain."""
        session = self.server.open(to)
        session.machine.own = own
        self._wires += joined(session, self.inside.accept())
        self.settle()
        return session

    def settle(self) -> None:
        """Bring everything that is written."""
        for _ in range(5):
            self.clock.advance(0)
            settle(*self._wires)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with the timers of each second."""
        for _ in range(round(seconds)):
            self.clock.advance(1)
            self.inside.tick(self.clock.seconds())
            self.settle()

    def cut(self) -> None:
        """Lose all connections."""
        for wire in self._wires:
            wire.loseConnection()
        settle(*self._wires)
        self._wires.clear()

    def send(self, ident: str = "1", from_: str = FAR, by: Service | None = None) -> int:
        """A message from an outside user to one of the server's."""
        stanza = f"<message from='bob@{from_}' to='alice@{A}' id='{ident}'><body>hi</body></message>"
        number = (by or self.world).send(stanza.encode(), from_, A)
        self.settle()
        return number

    def message(self) -> int:
        """An operation of an outside user for one of the server's."""
        number = self.world.send(b"", FAR, A, RecordType.MESSAGE)
        self.settle()
        return number

    def arrived(self) -> list[bytes]:
        """Bodies of what the server's users got."""
        return [record.body for record in self.server.service.requests]


class _Socket:
    remote = ("10.0.0.5", 5269)

    def __init__(self, attach: Callable[[XmppSession], None]) -> None:
        self._attach = attach

    def attach(self, protocol: Any) -> None:
        """Give the connection its protocol."""
        self._attach(protocol)

    def close(self) -> None:
        """Cut it."""
