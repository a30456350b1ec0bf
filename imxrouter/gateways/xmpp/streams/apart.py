"""Streams with servers behind us, which are none of the hub's: what they bring comes in at a service's port.

A service of XMPP has many streams and one port (`pool`). So they have a centre of their own, which is what a
link asks of its process (`transport.link.Centre`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, cast

from twisted.logger import Logger

from imxrouter.gateways.xmpp.streams.pool import IN_ORDER, ServicePool
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.link.machine import Draining, LinkMachine, Side
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.transport.settings import HubSettings
from imxrouter.wire.control import Control, Hello

#: A stream on which nothing new goes out has so long for what is not confirmed.
RETIRED_S: Final = 10.0


class Apart:
    """The centre of such streams.

    Args:
        hub: the centre of the process.

    Attributes:
        pools: services by name; set before the first stream.
        leaves: the process goes out of service: no stream is opened.
        shaken: told each stream that broke.
    """

    log = Logger()
    #: what they are called in the log
    what = "stream of a service"

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.pools: Mapping[str, ServicePool] = {}
        self.leaves = False
        self.shaken: Callable[[XmppSession], None] = lambda _session: None
        self._sessions: dict[int, XmppSession] = {}
        #: numbers of streams on which nothing new goes out -> when each is ended at the latest
        self._retired: dict[int, float] = {}
        self.switch = hub.switch
        self.random_bytes = hub.random_bytes

    @property
    def sessions(self) -> Collection[XmppSession]:
        """The streams that are there."""
        return self._sessions.values()

    @property
    def settings(self) -> HubSettings:
        """Limits of all links of the process."""
        return self._hub.settings

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return self._hub.now()

    def next_port_number(self) -> int:
        """A number that no other port has."""
        return self._hub.next_port_number()

    def new_machine(self, side: Side, challenge: bytes | None) -> LinkMachine:
        """Nobody asks: streams bring their own."""
        raise NotImplementedError

    def connected(self, session: Link) -> None:
        """A connection is up."""
        self._sessions[session.number] = cast("XmppSession", session)
        session.start()

    def begun(self, session: Link, data: bytes) -> bool:
        """The first bytes came; they are the stream's own."""
        del session, data
        return True

    def received(self, session: Link, data: bytes) -> None:
        """Stanzas came, as records."""
        self.pools[session.service].received(data)

    def opened(self, session: Link, peer: Hello) -> None:
        """Streams have no hello."""

    def stream_opened(self, session: Link, largest: int) -> None:
        """Nothing is left to negotiate."""

    def control(self, session: Link, record: Control) -> None:
        """Streams have no records of the link's own."""

    def draining(self, session: Link, effect: Draining) -> None:
        """No new stanza goes out on it."""
        del effect
        self.leave(session)

    def leave(self, session: Link) -> None:
        """It is as good as gone."""
        pool = self.pools.get(session.service)
        if pool is not None:
            pool.left(cast("XmppSession", session))

    def retire(self, session: XmppSession) -> None:
        """Write nothing new on a stream; it ends when it is known of all on it what became of it."""
        self._retired[session.number] = self.now() + RETIRED_S
        self.leave(session)

    def end_retired(self, now: float) -> None:
        """End the streams of which all is known, or that have had their time; about once a second."""
        for number, until in list(self._retired.items()):
            session = self._sessions.get(number)
            if session is None:
                del self._retired[number]
                continue
            pool = self.pools.get(session.service)
            if now >= until or pool is None or pool.is_confirmed(session):
                session.close(Reason.IDLE)

    def ending(self, session: Link) -> None:
        """It ends on our word."""
        self.lost(session)

    def lost(self, session: Link) -> None:
        """The connection is gone."""
        if self._sessions.pop(session.number, None) is None:
            return
        self.log.info(
            "{what} {link} with {address} ended: {reason}", what=self.what, link=session.number,
            address=session.remote[0], reason=session.drop_reason.word,
            stage=session.drop_reason.stage.value, note=session.drop_note,
        )  # fmt: skip
        stream = cast("XmppSession", session)
        pool = self.pools.get(session.service)
        if pool is not None:
            pool.lost(stream)
        self.gone(stream, pool)
        if stream.drop_reason not in IN_ORDER:
            self.shaken(stream)
        self.flush()

    def gone(self, session: XmppSession, pool: ServicePool | None) -> None:
        """One of them is gone, and its pool, if it had one, knows."""

    def flush(self) -> None:
        """Write what the switch put out."""
        self._hub.flush()

    def count(self, reason: Reason) -> None:
        """Count a refusal."""
        self._hub.count(reason)
