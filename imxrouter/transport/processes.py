"""The processes of a host as one: what comes to one of them for a service that is logged in at another.

They share the port for links, and the system chooses which of them takes a connection; neither a peer nor a
service can. So each tells the others which services have a link here, and a request for a domain whose
service is elsewhere on the host is passed on there, over the bus: judged where it came in, answered the same
way back. A service that is here is used first. What came from another process is passed on to no third one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from twisted.logger import Logger

from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Bus
from imxrouter.switch.ports import FOREVER, Port, Proof, Role
from imxrouter.transport.bus import MAX_PAYLOAD_BYTES, MAX_QUEUED_BYTES
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.wire.control import Control, Hello
from imxrouter.wire.errors import WireError
from imxrouter.wire.layout import HIGHEST_MAX_RECORD, LENGTH_BYTES

#: Kinds of messages on the bus: which services have a link at a process; records for another process.
SERVICES: Final = "services"
RECORDS: Final = "records"
#: Bytes of records told at a time; a record may have 1 MiB, and the number of the process comes on top.
PIECE_BYTES: Final = MAX_PAYLOAD_BYTES // 2
#: Bytes of requests under way to one process at most: their answers must fit into its queue as well.
IN_FLIGHT_BYTES: Final = MAX_QUEUED_BYTES // 4
_NUMBER_BYTES: Final = 4


class _Here(msgspec.Struct, frozen=True, array_like=True):
    """Services that have a link at a process."""

    process: int
    services: list[str]


class _JudgedThere(dict[bytes, Proof]):
    """Every domain may be the source of what another process passes on: it was judged where it came in."""

    _proof: Proof = (0xFF, None, FOREVER, 0.0, FOREVER, FOREVER)

    def get(self, _domain: object, _default: object = None) -> Proof:
        return self._proof


class _Process:
    """Another process, seen by the switch as one more link. It is a `Sink`."""

    def __init__(self, hub: Hub, number: int, tell: Callable[[bytes], bool]) -> None:
        self.number = number
        self.services: frozenset[str] = frozenset()
        #: something for it was lost: nobody knows what became of what is under way
        self.broken = False
        self._tell = tell
        self.port = Port(hub.next_port_number(), Role.PROCESS, lambda _data: None)
        self.port.sources = _JudgedThere()
        self.port.max_record = self.port.largest = HIGHEST_MAX_RECORD
        self.port.acknowledges = True  # the hub does, for the bus loses nothing while both are there
        self.port.granted_requests = self.port.credit_requests = hub.settings.credit_requests * 4
        self.port.granted_bytes = self.port.credit_bytes = IN_FLIGHT_BYTES

    def take(self, data: bytes) -> None:
        """Whole records for it."""
        for piece in pieces(data):
            self.broken = not self._tell(piece) or self.broken


class Processes:
    """Passes on what is for a service that is logged in at another process. It is a `LinkEvents`.

    Args:
        hub: links of this process.
        bus: the other processes of this host; only they can reach it.
        ports_of: the list of links of a service, which its domains share.
        knows: whether a service of that name logs in over links.
    """

    log = Logger()

    def __init__(
        self, hub: Hub, bus: Bus, ports_of: Callable[[str], list[Port]], knows: Callable[[str], bool]
    ) -> None:
        self._hub = hub
        self._bus = bus
        self._ports_of = ports_of
        self._knows = knows
        self._others: dict[int, _Process] = {}
        self._told: frozenset[str] = frozenset()
        #: told the number of a process that is heard of for the first time
        self.on_new: Callable[[int], None] = lambda _process: None

    # -- what is here ------------------------------------------------------------------------------------

    def here(self) -> frozenset[str]:
        """Services that have a link here which takes something."""
        sessions = self._hub.sessions.values()
        return frozenset(one.service for one in sessions if one.service and one.port.usable)

    def elsewhere(self, service: str) -> bool:
        """Whether another process has a link of a service."""
        return any(service in one.services for one in self._others.values())

    def bound(self, service: str) -> None:
        """The links of a service, or its domains, are others now."""
        self._settle(service)
        if self.here() != self._told:
            self.tell()

    def tell(self) -> None:
        """Tell every process which services are here; again and again, for what is told may be lost."""
        self._told = self.here()
        payload = msgspec.msgpack.encode(_Here(self._bus.process, sorted(self._told)))
        for process in self._bus.peers():
            self._bus.tell(process, SERVICES, payload)

    # -- what others say ---------------------------------------------------------------------------------

    def told(self, payload: bytes) -> None:
        """Which services another process has; the first word of one that just started is answered."""
        said = msgspec.msgpack.decode(payload, type=_Here)
        is_new = said.process not in self._others
        other = self._other(said.process)
        before, other.services = other.services, frozenset(said.services)
        for service in before ^ other.services:
            self._settle(service)
        if is_new:
            self.on_new(said.process)
            self.tell()

    def take(self, payload: bytes) -> None:
        """Records from another process: requests for services here, or answers."""
        other = self._other(int.from_bytes(payload[:_NUMBER_BYTES], "big"))
        try:
            self._hub.inject(other.port, payload[_NUMBER_BYTES:])
        except WireError as error:
            self.log.warn("records of process {process}: {note}", process=other.number, note=str(error))
            other.broken = True

    def gone(self, process: int) -> None:
        """Another process is gone, with what was under way there."""
        other = self._others.pop(process, None)
        if other is None:
            return
        self._hub.detach(other, Reason.LINK_LOST, f"process {process} is gone")
        for service in other.services:
            self._settle(service)
        self._hub.flush()

    def _other(self, process: int) -> _Process:
        other = self._others.get(process)
        if other is None:
            number = self._bus.process.to_bytes(_NUMBER_BYTES, "big")
            other = self._others[process] = _Process(
                self._hub, process, lambda data: self._bus.tell(process, RECORDS, number + data)
            )
            self._hub.attach(other)
        return other

    def _settle(self, service: str) -> None:
        """What is here is used; only where nothing is, the processes that have the service."""
        if not self._knows(service):
            return
        ports = self._ports_of(service)
        wanted = [port for port in ports if port.role is not Role.PROCESS]
        if not wanted:
            wanted = [one.port for one in self._others.values() if service in one.services]
        if ports != wanted:
            ports[:] = wanted

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Nothing is known of it yet."""

    def control(self, session: Link, record: Control) -> None:
        """Nothing to do."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """A link of a service takes nothing new."""
        del reason, by_peer
        if session.service:
            self.bound(session.service)

    def lost(self, session: Link) -> None:
        """A link of a service is gone."""
        if session.service:
            self.bound(session.service)

    def tick(self, now: float) -> None:
        """Tell again; let go of a process for which something was lost."""
        del now
        for process, other in list(self._others.items()):
            if other.broken:
                self.log.error("process {process} does not read what it is told", process=process)
                self.gone(process)
        self.tell()


def pieces(data: bytes, at_most: int = PIECE_BYTES) -> Iterator[bytes]:
    """Cut whole records into pieces of whole records.

    Args:
        data: records, one after the other.
        at_most: bytes of a piece; one record may be longer.
    """
    if len(data) <= at_most:
        yield data
        return
    start = at = 0
    while at < len(data):
        end = at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        if end - start > at_most and at > start:
            yield data[start:at]
            start = at
        at = end
    yield data[start:]
