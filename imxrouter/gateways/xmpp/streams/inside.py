"""The inside of transparent placement: a server behind us takes this router for every outside domain.

Its resolver leads it here. So here we are who elsewhere would be a stranger: we answer for every domain that
is not the server's own, show a certificate for each, make keys of dial-back in its name and say that they are
ours. Nothing of this is done on any other listener: what a stream is held to is chosen by the door that it
came through (`Door.INSIDE`), and its terms are made here alone.

The server itself is proved by its address (`xmpp.inside.allow`): whoever may connect from there speaks for
the domains of the XMPP services, and for no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from OpenSSL import SSL
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.gateways.xmpp.effects import AskedExternal
from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.keys import good, key_for
from imxrouter.gateways.xmpp.names import Condition, StanzaCondition, stanza_error
from imxrouter.gateways.xmpp.pairs import Pair
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.steps import Step, StreamRole
from imxrouter.gateways.xmpp.streams.apart import Apart
from imxrouter.gateways.xmpp.streams.networks import Network, is_in
from imxrouter.gateways.xmpp.streams.parts import StreamFailed, StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.pool import ServiceOf, ServicePool
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings, StreamTerms, TlsRule
from imxrouter.link.machine import Side
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.contexts import XMPP_ALPN
from imxrouter.tls.facts import TlsFacts, read_facts
from imxrouter.tls.inside_contexts import InsideContexts
from imxrouter.transport.encryption import accept_tls
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Door, Link, Purpose
from imxrouter.transport.opening import Endpoint, OpenedSocket, OpenSocket, reason_of
from imxrouter.wire.layout import TLS_FIRST_BYTE

#: Streams with all servers behind us together: one for each pair of domains and direction at most.
STREAMS_AT_MOST: Final = 4096
#: Outside domains that share a stream where dial-back proves.
PAIRS_AT_MOST: Final = 256
_ELSEWHERE: Final = "its server is elsewhere"
#: A connection to the server must be there by then.
CONNECT_S: Final = 5.0
#: An accepted stream without any proof is ended after so long.
PROOF_S: Final = 60.0


def outside_name(text: str) -> bool:
    """Whether a name can be an outside domain: no address, which only looks like one."""
    try:
        name = Domain.parse(text).name
    except BadDomain:
        return False
    return not name.rpartition(".")[2].isdigit()


class InsideFactory(Factory):
    """Makes a stream for each connection that comes in at the inside.

    Args:
        inside: what all of them share; who may not connect there is cut off, before a byte is read.
    """

    noisy = False
    log = Logger()

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    def buildProtocol(self, addr: Any) -> XmppSession | None:
        """Called by Twisted; None closes the connection."""
        if not is_in(addr.host, self._inside.networks):
            self.log.warn(
                "{address} may not connect to the inside: see xmpp.inside.allow", address=addr.host,
                reason=Reason.RELAY_DENIED.word, stage=Reason.RELAY_DENIED.stage.value,
            )  # fmt: skip
            self._inside.count(Reason.RELAY_DENIED)
            return None
        return self._inside.accept()


class HeldTo:
    """What streams are held to that does not follow from where they are: the defaults."""

    def confirm(self, other: str) -> Confirm:
        """How it is known that a stanza arrived at a domain without XEP-0198."""
        del other
        return Confirm.PING

    def settings(self) -> StreamSettings:
        """Times and bounds."""
        return StreamSettings()


class Inside(Apart):
    """All streams with the servers behind us: their centre in the process, and who decides on them.

    Args:
        hub: the centre of the process.
        service_of: the name of the XMPP service of a served domain; None for any other.
        secrets: for keys of dial-back; the first makes, all are taken.
        open_socket: opens a connection.
        later: calls a function after seconds.
        held_to: times of streams, and how arrival is known.

    Attributes:
        parts: what the streams share, with the process's own edge; set before the first one.
        pools: services by name.
        addresses: where each service's server takes streams.
        networks: from where servers may connect; see `allow`.
        stops: the process goes out of service: no domain is proved on a stream that a server opens.
    """

    what = "inside stream"

    def __init__(
        self,
        hub: Hub,
        service_of: ServiceOf,
        secrets: Callable[[], list[bytes]],
        open_socket: OpenSocket,
        later: Callable[[float, Callable[[], object]], Any],
        held_to: HeldTo | None = None,
    ) -> None:
        super().__init__(hub)
        self._held_to = held_to or HeldTo()
        self._service_of, self._secrets = service_of, secrets
        self._open_socket, self._later = open_socket, later
        self._contexts: InsideContexts | None = None
        self.parts: StreamParts
        self.addresses: Mapping[str, Endpoint] = {}
        self.networks: Sequence[Network] = ()
        self.stops = False
        #: streams by number -> what is claimed on them and not answered yet
        self._claimed: dict[int, set[Pair]] = {}

    def show(self, contexts: InsideContexts) -> None:
        """Show certificates of outside domains from now on; before there is no TLS inside."""
        self._contexts = contexts
        self.parts.maker = _Ends(contexts)

    # -- what changes while they are open --------------------------------------------------------------------

    @staticmethod
    def may_come(session: Link, networks: Iterable[Network]) -> bool:
        """Whether a stream might be there with these networks: a server must have come from one of them."""
        return session.side is Side.OPENER or is_in(session.remote[0], networks)

    def allow(self, networks: Sequence[Network]) -> None:
        """Servers may connect from these alone; what came from elsewhere ends, for its proof has (rule 3)."""
        self.networks = networks
        for session in list(self._sessions.values()):
            if not self.may_come(session, networks):
                session.end(Reason.NOT_PROVED, "your address is not allowed here any more")

    def moved(self, service: str) -> None:
        """Its server is elsewhere: nothing new goes out on what is open to the old place.

        Each of these streams ends when it is known of all on it what became of it.
        """
        pool = self.pools[service]
        for session in list(self._sessions.values()):
            if session.side is not Side.OPENER or session.service != service:
                continue
            self.retire(session)
            if not session.is_open:
                session.abort(Reason.LINK_LOST, _ELSEWHERE)
            for pair in self._claimed.pop(session.number, ()):
                pool.failed(pair, Reason.LINK_LOST, _ELSEWHERE)  # which opens a stream to the new place
        self.end_retired(self.now())

    # -- making ------------------------------------------------------------------------------------------

    def accept(self) -> XmppSession:
        """The protocol of a connection that a server behind us opened."""
        return XmppSession(self, StreamRole.INSIDE_IN, self.parts, door=Door.INSIDE)

    def terms(self, session: StreamLink) -> StreamTerms:
        """What a stream of the inside is held to; the one place where anybody's domain is answered for."""
        tls = TlsRule.OFFERED if self._contexts is not None else TlsRule.NONE
        if session.side is Side.OPENER:
            # the certificate that we show is of the very domain that we speak for
            return StreamTerms(
                tls=tls,
                external=lambda _domain: True,
                sm=False,
                bidi=False,
                confirm=self._held_to.confirm(session.other),
                settings=self._held_to.settings(),
            )
        return StreamTerms(
            tls=tls,
            serves=outside_name,
            admits=lambda domain: self._against(session, domain, session.own),
            # its address is the proof, so any certificate is as good as none
            external=lambda domain: self._against(session, domain, session.own) is None,
            dialback=lambda _domain: True,
            sm=False,
            bidi=False,
            settings=replace(self._held_to.settings(), idle_s=0),
        )

    def _against(self, session: StreamLink, domain: str, outside: str) -> Condition | None:
        """What speaks against a server's domain on a stream, towards an outside one."""
        service = self._service_of(domain)
        if service is None or service not in self.pools or session.service not in {"", service}:
            return Condition.INVALID_FROM
        return Condition.HOST_UNKNOWN if self._service_of(outside) == service else None

    # -- opening -----------------------------------------------------------------------------------------

    def open(self, pool: ServicePool, outside: str, served: str) -> None:
        """Have an outside domain proved to the server: on a stream that is there, or on a new one."""
        there = [one for one in self._sessions.values() if one.number not in self._retired]
        shared = next((one for one in there if _may_share(one, served)), None)
        if self.leaves or pool.leaves:
            pool.failed((outside, served), Reason.SHUTTING_DOWN, "it goes out of service")
        elif shared is not None:
            self._claim(shared, (outside, served))
        elif len(self._sessions) >= STREAMS_AT_MOST:
            pool.failed((outside, served), Reason.OVER_CAP, "too many streams inside")
        else:
            self._connect(pool, outside, served)

    def _connect(self, pool: ServicePool, outside: str, served: str) -> None:
        address = self.addresses[pool.name]
        parts = replace(self.parts, edge=pool.edge)  # hears what becomes of requests
        session = XmppSession(
            self, StreamRole.S2S_OUT, parts, purpose=Purpose.DATA, own=outside, other=served
        )
        session.service, session.way = pool.name, pool.port
        if session.negotiated is not None:
            session.negotiated.addErrback(self._came_to_nothing, pool, (outside, served))
        opening = self._open_socket(*address)
        timer = self._later(CONNECT_S, opening.cancel)

        def there(socket: OpenedSocket) -> None:
            if timer.active():
                timer.cancel()
            if self.addresses.get(pool.name) == address:
                socket.attach(session)
                return
            socket.close()
            pool.failed((outside, served), Reason.LINK_LOST, _ELSEWHERE)

        def refused(failed: Failure) -> None:
            if timer.active():
                timer.cancel()
            reason = reason_of(failed.value)
            pool.failed((outside, served), reason, f"{address[0]} port {address[1]}", unreached=True)

        opening.addCallbacks(there, refused)

    @staticmethod
    def _came_to_nothing(failed: Failure, pool: ServicePool, pair: Pair) -> None:
        error = failed.value
        if not isinstance(error, StreamFailed):
            failed.raiseException()
        pool.failed(pair, error.reason, error.note)

    def _claim(self, session: StreamLink, pair: Pair) -> None:
        outside, served = pair
        self._claimed.setdefault(session.number, set()).add(pair)
        session.claim(
            outside, served, key_for(self._secrets()[0], served, outside, session.machine.stream_id)
        )

    # -- who is who (`parts.Trust`) ------------------------------------------------------------------------

    def asked_external(self, session: StreamLink, asked: AskedExternal) -> None:
        """The terms allow it: its address is the proof."""
        if self.stops:
            session.end(Reason.SHUTTING_DOWN)
            return
        self._belongs(session, asked.from_)
        session.authenticated()

    def _belongs(self, session: StreamLink, domain: str) -> None:
        """A domain of a service is proved on a stream: what it brings comes in at the service's port."""
        session.service = self._service_of(domain) or ""
        pool = self.pools[session.service]
        session.way = pool.port
        pool.heard()

    def external(self, session: StreamLink, from_: str, to: str) -> None:
        """The server took us for an outside domain by our certificate."""
        self.pools[session.service].ready((from_, to), session)

    def claim_in(self, session: StreamLink, db: Db) -> None:
        """The server claims a domain: its own, towards one that is not."""
        if self.stops:
            session.end(Reason.SHUTTING_DOWN)
            return
        if self._against(session, db.from_, db.to) is None and outside_name(db.to):
            session.proved((db.from_, db.to), ours=False)
            self._belongs(session, db.from_)
            session.answer_claim(db.to, db.from_, DbType.VALID)
            return
        self._hub.count(Reason.NOT_PROVED)
        error = stanza_error(StanzaCondition.ITEM_NOT_FOUND, "not a domain of a service behind this router")
        session.answer_claim(db.to, db.from_, DbType.ERROR, error)

    def claim_result_in(self, session: StreamLink, db: Db) -> None:
        """What the server says of an outside domain that we claimed."""
        pair, pool = (db.to, db.from_), self.pools[session.service]
        self._claimed.get(session.number, set()).discard(pair)
        if db.kind is DbType.VALID:
            session.proved(pair, ours=True)
            pool.ready(pair, session)
            return
        note = db.error.condition.value if db.error is not None else "the key is refused"
        pool.failed(pair, Reason.DIALBACK_REFUSED, note)

    def verify_in(self, session: StreamLink, db: Db) -> None:
        """The server asks whether we, as an outside domain, made a key: for a stream of ours to it."""
        known = self._against(session, db.from_, db.to) is None
        mine = known and good(self._secrets(), db.from_, db.to, db.stream_id, db.key)
        if not mine:
            self._hub.count(Reason.BAD_TOKEN)
        session.answer_verify(db.to, db.from_, db.stream_id, DbType.VALID if mine else DbType.INVALID)

    def verify_result_in(self, session: StreamLink, db: Db) -> None:
        """Nothing: we ask nobody inside."""

    def attached(self, session: StreamLink, name: str) -> None:
        """Nothing: components are not of the inside."""

    # -- what streams tell (`transport.link.Centre`) -------------------------------------------------------

    def connected(self, session: Link) -> None:
        """A connection is up."""
        full = len(self._sessions) >= STREAMS_AT_MOST
        super().connected(session)
        if full:
            self._hub.count(Reason.OVER_CAP)
            session.end(Reason.OVER_CAP, "too many streams inside")

    def begun(self, session: Link, data: bytes) -> bool:
        """The first bytes came; a server may begin with TLS, or comes to it by STARTTLS."""
        if data[0] != TLS_FIRST_BYTE or session.tls is not None or session.side is Side.OPENER:
            return True
        if self._contexts is None:
            session.end(Reason.TLS_FAILED, "there is no TLS inside")
            return False
        stream = cast("XmppSession", session)
        own = Domain.parse(stream.own) if stream.own else None
        accept_tls(
            session.transport, _Ends(self._contexts, own), session, session.handshake_done,
            lambda note: self._no_tls(session, note), session.handshaking, data, XMPP_ALPN,
        )  # fmt: skip
        return False

    def _no_tls(self, session: Link, note: str) -> None:
        if session.handshake_failed(note):
            self._hub.count(Reason.TLS_FAILED)

    def stream_opened(self, session: Link, largest: int) -> None:
        """Nothing is left to negotiate but claims; where no certificate did, we claim."""
        del largest
        stream = cast("XmppSession", session)
        if stream.side is Side.OPENER and not stream.machine.external:
            self._claim(stream, (stream.own, stream.other))

    def gone(self, session: XmppSession, pool: ServicePool | None) -> None:
        """One of them is gone: nothing comes of what is claimed on it."""
        claimed = self._claimed.pop(session.number, set())
        if pool is not None:
            for pair in claimed:
                pool.failed(pair, session.drop_reason, session.drop_note)

    def tick(self, now: float) -> None:
        """Look at the timers of all streams; about once a second."""
        self.end_retired(now)
        for session in list(self._sessions.values()):
            session.tick(now)
            session.settle()
            if session.gone or not session.is_open:
                continue
            pool = self.pools.get(session.service)
            if pool is not None and pool.is_idle(session, now):
                session.close(Reason.IDLE)
            elif not session.machine.pairs and now - session.opened_at > PROOF_S:
                session.close(Reason.NOT_PROVED, text="no proof in time")
        for pool in list(self.pools.values()):
            pool.tick(now)


def _may_share(session: StreamLink, served: str) -> bool:
    """Whether one more outside domain may be proved on a stream: by dial-back, not by certificate."""
    machine = session.machine
    return (
        session.side is Side.OPENER
        and session.other == served
        and machine.step is Step.OPEN
        and not machine.external
        and len(machine.pairs.ours) < PAIRS_AT_MOST
    )


class _Ends:
    """Our ends of TLS connections of one stream of the inside (`transport.encryption.TlsMaker`).

    Args:
        contexts: certificates of outside domains.
        own: whom the server takes us for on this stream; None: it has not said so yet.
    """

    def __init__(self, contexts: InsideContexts, own: Domain | None = None) -> None:
        self._contexts, self._own = contexts, own

    def accepting(self, alpn: bytes = XMPP_ALPN) -> SSL.Connection:
        """An end for a connection that the server opened."""
        del alpn
        return self._contexts.accepting(self._own)

    def opening(
        self, own: Domain | None, server_name: str, endpoint: Endpoint, alpn: bytes = b""
    ) -> SSL.Connection:
        """An end for a connection of ours."""
        del endpoint, alpn
        return self._contexts.opening(cast("Domain", own), server_name)  # we always speak for somebody

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        """Read what the handshake came to."""
        return read_facts(connection)

    def forget(self, connection: SSL.Connection, server_name: str, endpoint: Endpoint) -> None:
        """No session is kept."""
