"""Links that are opened only to verify, at a stranger's word: what comes on them has the strangers' share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from imxrouter.transport.link import Centre, Purpose
from imxrouter.transport.session import LinkSession


class SecondLink(LinkSession):
    """A link that asks whether claims are true; read in turns that have room for it.

    Args:
        hub: its process.
        go_on: does something soon.
    """

    def __init__(self, hub: Centre, go_on: Callable[[Callable[[], None]], None]) -> None:
        super().__init__(hub, Purpose.VERIFY)
        self._go_on = go_on
        self._unread: deque[bytes] = deque()
        self._paused = False

    def dataReceived(self, data: bytes) -> None:
        """Bytes came; while they wait for their turn few more are read."""
        self._unread.append(data)
        if len(self._unread) == 1:
            self._go_on(self._look)
        elif not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, after what came on it; nothing can be written any longer."""
        self._mute = True
        self._take()
        super().connectionLost(reason)

    def _look(self) -> None:
        if self._unread:
            self._take()
            if self._paused and not self.gone and not self.port.closed:
                self._paused = False
                self.transport.resumeProducing()

    def _take(self) -> None:
        while self._unread:
            super().dataReceived(self._unread.popleft())
