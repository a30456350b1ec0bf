"""Streams of XMPP leave with a drain and come back: their sockets, and those of servers behind the router.

A server that finds nobody listening tries the next address of its resolver's answer, another host of ours
perhaps. One that is told so on a stream does not: Prosody follows no `see-other-host` (`mod_s2s`), and after
any stream error answers what waits with an error of its own. So sockets are closed as soon as nothing needs
them; a claim that comes before that is refused with `system-shutdown` (RFC 6120 section 4.9.3.20).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from imxrouter.app.behind import BehindUs
from imxrouter.app.opening import CannotOpen
from imxrouter.app.sockets import Sockets
from imxrouter.app.xmpp import Streams

#: A socket that cannot be opened again is tried so often, seconds.
AGAIN_S: Final = 1.0


class StreamsOut:
    """What a drain asks of streams (`transport.draining.Streams`).

    Args:
        streams: of XMPP.
        behind: those with servers behind the router.
        sockets: of this process.
        later: calls a function after seconds.
    """

    log = Logger()

    def __init__(
        self,
        streams: Streams,
        behind: BehindUs,
        sockets: Sockets,
        later: Callable[[float, Callable[[], object]], Any],
    ) -> None:
        self._streams, self._behind, self._sockets, self._later = streams, behind, sockets, later
        self._is_out = False
        #: streams behind us have been told
        self._are_told = False

    @property
    def are_confirmed(self) -> bool:
        """See `Streams`."""
        return self._behind.are_confirmed

    @property
    def are_still(self) -> bool:
        """See `Streams`."""
        return self._are_told and self._behind.are_still

    def hush(self) -> None:
        """See `Streams`."""
        self._streams.hush(is_hushed=True)
        self._behind.hush()

    def stop(self) -> None:
        """See `Streams`; where a server must still ask for a key of ours, it finds us until `leave`."""
        self._is_out, self._are_told = True, False
        closing = self._sockets.close_streams(also_inside=not self._behind.waits)
        DeferredList(closing, consumeErrors=True).addCallback(lambda _: self._tell())

    def _tell(self) -> None:
        """Nobody finds the sockets any more who comes again because he is told."""
        if self._is_out:
            self._are_told = True
            self._behind.stop()

    def leave(self) -> Deferred[None]:
        """See `Streams`."""
        self._sockets.close_streams(also_inside=True)
        return self._behind.leave()

    def back(self) -> None:
        """See `Streams`."""
        self._is_out = False
        self._streams.hush(is_hushed=False)
        self._behind.back()
        self._open()

    def _open(self) -> None:
        if self._is_out:
            return
        try:
            self._sockets.open_streams()
        except CannotOpen as error:
            self.log.warn("{why}; tried again every second", why=str(error))
            self._later(AGAIN_S, self._open)
