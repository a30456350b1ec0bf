"""The edge of our attachments at servers: who may use them, and addresses of a gateway made and read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from imxrouter.formats.xmltree import BadXml
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.streams.gateway import NotThrough, ServiceGateway
from imxrouter.gateways.xmpp.streams.parts import Edge, Said, StreamLink
from imxrouter.gateways.xmpp.streams.pings import Pings
from imxrouter.gateways.xmpp.streams.pool import PoolEdge, ServicePool
from imxrouter.gateways.xmpp.streams.told import told_of
from imxrouter.gateways.xmpp.translate.jid import BadJid, address_of
from imxrouter.model.address import Address
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.record import Record

_ANSWERS: Final = frozenset({"result", "error"})


class Attachments(Protocol):
    """All our attachments, as their edge uses them (`component_client.ComponentClients`)."""

    def is_own(self, session: StreamLink, domain: str) -> bool:
        """Whether a domain is one of the service whose server brought it on a stream."""

    def is_ours(self, session: StreamLink, name: str) -> bool:
        """Whether we are there a component of that name."""

    def count(self, reason: Reason) -> None:
        """Count a refusal."""

    def refuse(self, session: StreamLink, got: StanzaIn, outcome: Outcome, more: str = "") -> None:
        """A stanza goes no further: its sender is told on the same stream, which goes on."""

    def over(self, session: StreamLink, user: Address, size: int) -> Outcome | None:
        """Why a stanza of a user is not answered as he asks now; None where it is, and it is counted."""

    def say(self, session: StreamLink, stanzas: Sequence[bytes]) -> None:
        """Say something ourselves on a stream of ours."""


class ComponentEdge(PoolEdge):
    """See the module.

    Servers let anybody write to their components, users of domains that they reach by themselves as well.
    What is not of the server's own domains goes no further, and neither does what is for a component that
    somebody else is, which ejabberd may bring here (`global_routes`). It is no fault of the stream's.

    Args:
        clients: all our attachments.
        pool: of the service.
        edge: the process's own.
        gateway: of the service; None: it has none.
        pings: those that are out.
    """

    def __init__(
        self,
        clients: Attachments,
        pool: ServicePool,
        edge: Edge,
        gateway: ServiceGateway | None,
        pings: Pings,
    ) -> None:
        super().__init__(pool, edge)
        self._clients, self._gateway, self._pings = clients, gateway, pings

    def records_of(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        """See `parts.Edge`; what stands before the answer to a ping is taken before it."""
        records, own = b"", list[StanzaIn]()
        for one in stanzas:
            if self._answers_gateway(one):
                records += self._taken(session, own)
                own = []
                self._pings.answer(one.stanza.ident, one.from_, one.to)
                continue
            meant = self._meant(session, one)
            if meant is not None:
                own.append(meant)
        return records + self._taken(session, own)

    def _taken(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        return super().records_of(session, stanzas) if stanzas else b""

    def _answers_gateway(self, got: StanzaIn) -> bool:
        """Whether it answers what we asked as the gateway itself: pings, and nothing else."""
        gateway, given = self._gateway, got.stanza
        return (
            gateway is not None
            and got.to == gateway.name
            and given.kind == "iq"
            and given.type in _ANSWERS
            and self._is_for_gateway(got)
        )

    def _meant(self, session: StreamLink, got: StanzaIn) -> StanzaIn | None:
        """A stanza as it goes on, to the address that is meant; None where it goes no further."""
        if not self._clients.is_own(session, got.from_):
            self._not_ours(session, got, f"{got.from_} is no domain of the service")
        elif not self._clients.is_ours(session, got.to):
            self._not_ours(session, got, f"{got.to} is no component of ours")
        elif self._gateway is None or got.to != self._gateway.name:
            return got
        elif self._is_for_gateway(got):
            self._answer(session, self._gateway, got)
        else:
            try:
                return self._gateway.arrived(got)
            except NotThrough as error:
                self._refuse(session, got, failure(error.reason, note=error.note), error.words)
        return None

    def _not_ours(self, session: StreamLink, got: StanzaIn, note: str) -> None:
        self._clients.count(Reason.RELAY_DENIED)
        self._clients.refuse(session, got, failure(Reason.RELAY_DENIED, note=note))

    @staticmethod
    def _is_for_gateway(got: StanzaIn) -> bool:
        return "@" not in got.stanza.to.partition("/")[0]

    def _answer(self, session: StreamLink, gateway: ServiceGateway, got: StanzaIn) -> None:
        """A stanza for the gateway itself."""
        answers = gateway.answers(got.stanza, told_of(got.stanza, got.to, got.from_))
        if answers and not self._is_over(session, got):
            self._clients.say(session, answers)

    def _refuse(self, session: StreamLink, got: StanzaIn, outcome: Outcome, more: str) -> None:
        if not self._is_over(session, got):
            self._clients.count(outcome.reason)
            self._clients.refuse(session, got, outcome, more)

    def _is_over(self, session: StreamLink, got: StanzaIn) -> bool:
        """Whether what is answered here is over its sender's rate: then he is told that."""
        try:
            user, _ = address_of(got.stanza.from_)
        except BadJid as error:
            self._clients.count(error.reason)
            self._clients.refuse(session, got, failure(error.reason, note=str(error)))
            return True
        over = self._clients.over(session, user, len(got.stanza.raw))
        if over is not None:
            self._clients.refuse(session, got, over)
        return over is not None

    def stanza_of(self, session: StreamLink, record: Record) -> Said | Outcome:
        """See `parts.Edge`; on a gateway's stream from the sender's gateway address."""
        return self._from_gateway(session, super().stanza_of(session, record))

    def leaving(self, session: StreamLink, raw: bytes) -> Said | Outcome:
        """See `parts.Edge`; the same."""
        return self._from_gateway(session, super().leaving(session, raw))

    def _from_gateway(self, session: StreamLink, said: Said | Outcome) -> Said | Outcome:
        if self._gateway is None or session.own != self._gateway.name or isinstance(said, Outcome):
            return said
        try:
            return said._replace(raw=self._gateway.leaving(said.raw))
        except (BadJid, BadXml) as error:
            note = f"no gateway address for its sender: {error}"
            return failure(Reason.BAD_ADDRESS, role="service", note=note)
