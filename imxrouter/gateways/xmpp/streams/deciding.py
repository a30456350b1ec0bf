"""Stanzas for a domain of which is not known by which protocol it is reached wait for that, in their order.

It stands before the edge, which makes of a stanza what the protocol of its destination needs. What waits is
bounded in number and bytes; a look-up ends within its own limit. What does not fit goes on as a stanza, and
is held or refused where all requests are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.streams.in_front import EdgeInFront
from imxrouter.gateways.xmpp.streams.parts import Edge, StreamLink
from imxrouter.routing.choice import Protocol

#: Stanzas that wait for a choice, of all domains, and their bytes.
WAITING: Final = 4096
WAITING_BYTES: Final = 8 << 20
_ANSWERS: Final = frozenset({"result", "error"})

_Queue = list[tuple[StreamLink, StanzaIn]]


class Deciding(EdgeInFront):
    """An `Edge` that has the protocol of each destination decided first.

    Args:
        edge: makes records of stanzas; asks `spoken` what a domain is reached by.
        serves: whether a domain is served here, where nothing is to be decided.
        known: the protocol of a choice that holds now, for what comes by XMPP; None where one must be made.
        choose: makes that choice; fires with the protocol.
        awaited: whether a stanza answers something that left here: a message, a ping, a query. It goes no
            further and does not wait: an error for a message would come behind the answer to the ping that
            follows it, which would be taken for the success of that message.
    """

    log = Logger()

    def __init__(
        self,
        edge: Edge,
        serves: Callable[[str], bool],
        known: Callable[[str], Protocol | None],
        choose: Callable[[str], Deferred[Protocol]],
        awaited: Callable[[StanzaIn], bool],
    ) -> None:
        super().__init__(edge)
        self._serves = serves
        self._known = known
        self._choose = choose
        self._awaited = awaited
        self._waiting: dict[str, _Queue] = {}
        self._count = self._bytes = 0
        #: what was decided a moment ago, and may not be kept
        self._decided: dict[str, Protocol] = {}

    @property
    def waiting(self) -> tuple[int, int]:
        """Stanzas that wait, and their bytes."""
        return self._count, self._bytes

    def spoken(self, name: str) -> Protocol:
        """What a domain elsewhere is reached by; where that is not decided, what the stanza came by."""
        return self._decided.get(name) or self._known(name) or Protocol.XMPP

    def records_of(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        """Whole records for what can go on; the rest comes again."""
        ready: list[StanzaIn] = []
        name, is_served = "", False
        for one in stanzas:
            if one.to != name:
                name = one.to
                is_served = self._serves(name)
            if is_served or not self._waits(session, one):
                ready.append(one)
        records = self._edge.records_of(session, ready) if ready else b""
        self._decided.clear()
        return records

    def _waits(self, session: StreamLink, got: StanzaIn) -> bool:
        name, given = got.to, got.stanza
        queue = self._waiting.get(name)
        if queue is None:
            # nobody may have asked what its domain is reached by, and may not for an answer
            if name in self._decided or (given.kind == "iq" and given.type in _ANSWERS) or self._awaited(got):
                return False
            known = self._known(name)
            if known is not None:
                self._decided[name] = known
                return False
            if not self._begin(name):
                return False
            queue = self._waiting[name]
        elif self._awaited(got):
            return False
        if self._count >= WAITING or self._bytes + len(given.raw) > WAITING_BYTES:
            return False
        queue.append((session, got))
        self._count += 1
        self._bytes += len(given.raw)
        return True

    def _begin(self, name: str) -> bool:
        """Have it decided; False where that was done at once."""
        queue: _Queue = []
        self._waiting[name] = queue
        choosing = self._choose(name)
        choosing.addCallbacks(self._go_on, self._broken, (name,), {}, (name,))
        return name in self._waiting

    def _broken(self, problem: Failure, name: str) -> None:
        self.log.failure("choosing a protocol for {domain}", problem, domain=name)
        self._go_on(Protocol.XMPP, name)

    def _go_on(self, protocol: Protocol, name: str) -> None:
        """It is decided: what waited goes on in its order, each on its own stream."""
        queue = self._waiting.pop(name, [])
        self._count -= len(queue)
        self._bytes -= sum(len(got.stanza.raw) for _, got in queue)
        self._decided[name] = protocol
        at = 0
        while at < len(queue):
            session, until = queue[at][0], at
            while until < len(queue) and queue[until][0] is session:
                until += 1
            self._decided[name] = protocol
            session.bring([got for _, got in queue[at:until]])
            at = until
