"""One hello and no more: what the other side says of itself, or why it is not a router to talk to.

For probing. A link of the router is `session.LinkSession`; this one claims nothing, sends no request, and
closes in order as soon as the other side's hello is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from imxrouter.link.machine import Drop, Effect, LinkMachine, LinkSettings, Opened, Send, Side
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.tls_layer import close_encrypted
from imxrouter.wire.control import Hello
from imxrouter.wire.errors import WireError
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import MAX_RECORD_BEFORE_PROOF
from imxrouter.wire.registry import PROTOCOL_VERSION, Capability

#: First bytes kept as evidence: enough to know the greeting of SMTP, HTTP, SSH or an alert of TLS.
_EVIDENCE_BYTES = 64

#: Seconds for the last bytes to leave; they are a few hundred, which every kernel takes at once.
_LINGER_S = 1.0


@dataclass(frozen=True, slots=True)
class Greeted:
    """What came of it.

    Attributes:
        reason: NONE where a valid hello came.
        seconds: from the connection to the end.
        note: an operator's detail.
        by_peer: the other side gave the reason, in a CLOSE.
        retry_after_s: the other side's advice; 0 where it gave none.
        hello: the other side's; None where none came.
        first_bytes: what it sent first, cut; empty where it sent nothing.
    """

    reason: Reason
    seconds: float
    note: str = ""
    by_peer: bool = False
    retry_after_s: int = 0
    hello: Hello | None = None
    first_bytes: bytes = b""

    @property
    def version(self) -> int:
        """The version spoken on the link; 0 where there is none."""
        return PROTOCOL_VERSION if self.hello is not None else 0

    @property
    def capabilities(self) -> list[str]:
        """What the other side offers, by name; unregistered ones by number."""
        offered = self.hello.capabilities if self.hello is not None else ()
        return [_capability_name(number) for number in offered]


class Greeting(Protocol):
    """Says hello to an acceptor and waits for its hello.

    Args:
        clock: time.
        timeout_s: seconds to wait for the hello.
        software: how we call ourselves.
        random_bytes: for our instance and epoch, which must be nobody else's.

    Attributes:
        done: fires with `Greeted` once the connection is gone; never fails.
    """

    transport: ITCPTransport

    def __init__(
        self, clock: IReactorTime, timeout_s: float, software: str, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.done: Deferred[Greeted] = Deferred()
        self._clock = clock
        self._timeout_s = timeout_s
        hello = Hello(
            (PROTOCOL_VERSION,), instance=random_bytes(16), epoch=random_bytes(8), software=software
        )
        settings = LinkSettings(hello_timeout_s=timeout_s)
        self._started_at = clock.seconds()
        self._machine = LinkMachine(Side.OPENER, hello, settings, self._started_at, random_bytes)
        self._splitter = RecordSplitter(MAX_RECORD_BEFORE_PROOF)
        self._first_bytes = b""
        self._result: Greeted | None = None
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Say hello."""
        self._started_at = self._clock.seconds()
        self._timer = self._clock.callLater(self._timeout_s, self._expire)
        self._perform(self._machine.start())

    def dataReceived(self, data: bytes) -> None:
        """Take the other side's hello, or whatever it says."""
        if self._result is not None:
            return
        self._first_bytes = (self._first_bytes + data)[:_EVIDENCE_BYTES]
        try:
            records = self._splitter.feed(data)
        except WireError as error:
            self._perform(self._machine.refuse(Reason.PROTOCOL_ERROR, text=str(error)))
            return
        for record in records:
            self._perform(self._machine.receive(record, self._clock.seconds()))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """The connection is gone; without a hello or a reason before, that is the result."""
        if self._result is None:
            self._settle(Reason.LINK_LOST, "the other side ended the connection and said nothing of why")
        self._stop_timer()
        if self._result is not None:  # as _settle has just seen to
            self.done.callback(self._result)

    def _expire(self) -> None:
        text = f"no hello in {self._timeout_s:g} s"
        self._perform(self._machine.refuse(Reason.HELLO_TIMEOUT, text=text))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if self._result is not None:
                return
            if isinstance(effect, Send):
                self.transport.write(effect.data)
            elif isinstance(effect, Opened):
                goodbye = self._machine.close(Reason.NONE, self._clock.seconds())
                self.transport.write(b"".join(one.data for one in goodbye if isinstance(one, Send)))
                self._settle(Reason.NONE, hello=effect.peer)
            elif isinstance(effect, Drop):  # a CLOSE without blame before a hello is still no hello
                blame = Reason.LINK_LOST if effect.reason is Reason.NONE else effect.reason
                self._settle(blame, effect.note)

    def _settle(self, reason: Reason, note: str = "", hello: Hello | None = None) -> None:
        close = self._machine.close_received
        retry_after_s = (close.retry_after_s or 0) if close is not None else 0
        seconds = self._clock.seconds() - self._started_at
        self._result = Greeted(
            reason, seconds, note, close is not None, retry_after_s, hello, self._first_bytes
        )
        self._stop_timer()
        self._timer = self._clock.callLater(_LINGER_S, self.transport.abortConnection)
        close_encrypted(self.transport)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def _capability_name(number: int) -> str:
    try:
        return Capability(number).name.lower().replace("_", "-")
    except ValueError:
        return str(number)
