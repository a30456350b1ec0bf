"""What becomes of a connection that somebody opened to us, by its first byte (specification section 3.1).

A connection counts from the moment it is there. One for which there is no room is told so in the language
that it speaks, so its first byte is waited for, shortly. In TLS that costs a handshake: only so many a second
are made for such connections, and the others are cut.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from imxrouter.link.machine import Side
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.encryption import TlsMaker, accept_tls
from imxrouter.transport.handshakes import Handshakes
from imxrouter.transport.link import Link
from imxrouter.wire.layout import TLS_FIRST_BYTE

#: A record begins with the high byte of its length, and no record is so long that it is not zero.
_CLEAR_FIRST_BYTE: Final = 0
#: Handshakes a second that are made only to say that there is no room.
REFUSING_HANDSHAKES_PER_S: Final = 20
#: How long a refused connection may take to show which language it speaks, and how many may do so.
REFUSED_WAIT_S: Final = 1.0
REFUSED_WAITING: Final = 256


class FirstBytes:
    """Tells TLS from clear.

    Args:
        count: counts a refusal.

    Attributes:
        maker: makes our ends of TLS connections; None: no TLS is offered.
        clear: links in clear are taken.
        handshakes: begins them; None: all at once.
    """

    def __init__(self, count: Callable[[Reason], None]) -> None:
        self.maker: TlsMaker | None = None
        self.clear = True
        self.handshakes: Handshakes | None = None
        self._count = count
        self._waiting: set[int] = set()
        self._second = 0
        self._handshakes = 0

    def refuse(self, session: Link, refused: Refusal) -> None:
        """There is no room: say so at once where all speak in clear here, else when it is known how."""
        session.refused = refused
        if self.maker is None or len(self._waiting) >= REFUSED_WAITING:
            self._tell(session)
        else:
            self._waiting.add(session.number)

    def waited(self, session: Link, now: float) -> None:
        """A refused connection says nothing: it is told in clear."""
        if session.number in self._waiting and now - session.opened_at >= REFUSED_WAIT_S:
            self._tell(session)

    def lost(self, session: Link) -> None:
        """A connection is gone."""
        self._waiting.discard(session.number)
        if self.handshakes is not None:
            self.handshakes.lost(session)

    def take(self, session: Link, data: bytes, now: float) -> bool:
        """Judge the first bytes; True where they are the link's own, in clear."""
        if session.side is Side.OPENER:
            if data[0] == TLS_FIRST_BYTE and session.tls is None:
                session.end(Reason.TLS_FAILED, "TLS came on a connection that was opened in clear")
                return False
            return True
        if data[0] == TLS_FIRST_BYTE:
            self._take_tls(session, data, now)
            return False
        if session.refused is not None:
            self._tell(session)
            return False
        if not self.clear and data[0] == _CLEAR_FIRST_BYTE:
            session.end(Reason.TLS_FAILED, "this listener takes TLS only")
            return False
        return True

    def _take_tls(self, session: Link, data: bytes, now: float) -> None:
        if self.maker is None:
            session.end(Reason.TLS_FAILED, "a TLS ClientHello came, and this listener offers no TLS")
            return
        if session.refused is not None and not self._may_refuse_in_tls(now):
            self._waiting.discard(session.number)
            session.abort(session.refused.reason, "no room, and no time to say it in TLS")
            return

        def failed(note: str) -> None:
            self._waiting.discard(session.number)
            if session.handshake_failed(note):
                self._count(Reason.TLS_FAILED)

        def done(transport: object, facts: TlsFacts) -> None:
            session.handshake_done(transport, facts)
            if session.refused is not None:
                self._tell(session)

        begin = partial(
            accept_tls,
            session.transport,
            self.maker,
            session,
            done,
            failed,
            session.handshaking,
            data,
            session.alpn,
        )
        if self.handshakes is None or session.refused is not None:
            begin()
        else:
            self.handshakes.ask(session, begin)

    def _may_refuse_in_tls(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._handshakes = int(now), 0
        self._handshakes += 1
        return self._handshakes <= REFUSING_HANDSHAKES_PER_S

    def _tell(self, session: Link) -> None:
        self._waiting.discard(session.number)
        if session.refused is not None:
            refused, session.refused = session.refused, None
            session.turn_away(refused)
