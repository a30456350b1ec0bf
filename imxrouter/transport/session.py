"""One connection to another router: Twisted's protocol around the pure link machine and the switch's port."""

from __future__ import annotations

import imxrouter.routing.choice
from imxrouter.link.machine import (
    Draining,
    Drop,
    Effect,
    LinkMachine,
    LinkState,
    Opened,
    Received,
    Send,
    Side,
)
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.switch import slots
from imxrouter.tls.contexts import ALPN
from imxrouter.transport.byte_link import ByteLink
from imxrouter.transport.link import Centre, Door, Purpose
from imxrouter.wire.control import Control, Credit, Hello, encode_ack

#: Where there is room again within this, what waits for the link waits for that; it is held for 15 s.
SOON_S = 5
#: Acknowledge at the latest after so many responses (specification section 8.1).
ACK_EVERY = 256
_DRAINING = LinkState.DRAINING


class LinkSession(ByteLink):
    """A link on which our own records are spoken; made by the hub where accepted, else by a connector."""

    __slots__ = ("_acked", "_first_bytes", "challenge")

    machine: LinkMachine
    protocol = imxrouter.routing.choice.Protocol.IMX
    alpn = ALPN

    def __init__(
        self, hub: Centre, purpose: Purpose, *, redirected: bool = False, door: Door = Door.ANY
    ) -> None:
        super().__init__(hub, purpose, door, redirected=redirected)
        self.port.on_control = self._control
        self.challenge = hub.random_bytes(32) if self.side is Side.ACCEPTOR else None
        self.machine = hub.new_machine(self.side, self.challenge)
        self._acked = 0
        self._first_bytes = True

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if self._gone or self.port.closed:
            return
        if self._first_bytes:
            self._first_bytes = False
            if not self._hub.begun(self, data):
                return
        self.bytes_in += len(data)
        self._hub.switch.counters[slots.BYTES_IN] += len(data)
        self._hub.received(self, data)

    #: whole records
    write = ByteLink.put

    def send(self, control: Control) -> None:
        """Send one of the link's own records."""
        self.write(control.encode())

    def acknowledge(self, *, force: bool = False) -> bytes:
        """The ACK record that is due, or nothing."""
        read = self.port.responses_read
        if read == self._acked or not (force or read - self._acked >= ACK_EVERY):
            return b""
        self._acked = read
        return encode_ack(read) if self.port.acknowledges else b""

    # -- the machine -------------------------------------------------------------------------------------

    def _control(self, data: bytes) -> None:
        self.perform(self.machine.receive(data, self._hub.now()))

    @property
    def peer(self) -> Hello | None:
        """What the other side's hello said; None before it came."""
        return self.machine.peer

    def start(self) -> None:
        """The connection is up: the opener says hello."""
        self.perform(self.machine.start())

    def tick(self, now: float) -> None:
        """Look at the timers of the link."""
        self.perform(self.machine.tick(now))

    def perform(self, effects: list[Effect]) -> None:
        """Do what the machine says, in order."""
        for effect in effects:
            if isinstance(effect, Send):
                self.write(effect.data)
            elif isinstance(effect, Opened):
                self._hub.opened(self, effect.peer)
            elif isinstance(effect, Received):
                self._hub.control(self, effect.record)
            elif isinstance(effect, Draining):
                self.port.usable = False
                self._hub.draining(self, effect)
            elif isinstance(effect, Drop):
                self.drop(effect.reason, effect.note)

    def close(self, reason: Reason, *, retry_after_s: int | None = None, text: str | None = None) -> None:
        """Close in order: announced, what is in flight finishes."""
        self.perform(self.machine.close(reason, self._hub.now(), retry_after_s=retry_after_s, text=text))
        self.settle()

    def end(self, reason: Reason, note: str = "", *, retry_after_s: int | None = None) -> None:
        """End at once, with a record that says why."""
        if self.machine.state is not LinkState.CLOSED:
            self.write_rest()
            self.perform(self.machine.refuse(reason, retry_after_s=retry_after_s, text=note))

    def turn_away(self, refused: Refusal) -> None:
        """End at once, with a record that says why and when to come again."""
        self.end(refused.reason, retry_after_s=refused.retry_after_s)

    def stop_requests(self) -> None:
        """Have the peer send no new request here, and say when it knows; ours go on (section 5.3)."""
        self.send(Credit(0, 0))
        self.fence()

    def fence(self) -> None:
        """Ask the peer to say when it has read all that was sent until now; `machine.fenced` tells."""
        self.perform(self.machine.fence())

    def settle(self) -> None:
        """While draining: end once nothing is in flight."""
        if self.machine.state is _DRAINING:
            self.perform(self.machine.settle(self.port.in_flight + self.port.sent))

    @property
    def has_room_in_s(self) -> float:
        """Where the peer had no room for the link and has some soon: in how many seconds; else 0."""
        close = self.machine.close_received
        if self.side is not Side.OPENER or close is None or self.drop_reason is not Reason.OVER_CAP:
            return 0.0
        wait_s = close.retry_after_s or 0
        return float(wait_s) if wait_s <= SOON_S else 0.0
