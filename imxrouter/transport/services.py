"""Links of our own: services that log in by key or certificate, and the uplink to our aggregator.

Specification section 6.6. A key or a certificate is bound to its service's domains in the configuration;
nothing that a service says adds one. Without TLS a login is taken in laboratories only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import REASON_BY_CODE, Reason
from imxrouter.switch.ports import FOREVER, Role, SendTerms, bound_proof
from imxrouter.tls.peer import PeerCertificate
from imxrouter.transport.encryption import HandshakeFailed
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Door, Link, Purpose
from imxrouter.transport.opening import reason_of
from imxrouter.transport.session import LinkSession
from imxrouter.wire.control import Control, Hello, Login, LoginResult

#: What stands for the exporter of the TLS session where there is none.
NO_EXPORTER = bytes(32)
#: KEY_ID of a login without a key: the client certificate of this connection speaks. It signs nothing.
BY_CERTIFICATE = b"certificate"
#: How a service's certificate is pinned in the configuration.
PIN = "sha256:"
NO_SIGNATURE = bytes(64)
#: The wait before the uplink is dialled again: first, and at most.
UPLINK_RETRY_S = (1.0, 60.0)
#: Part of each wait that is random.
UPLINK_JITTER = 0.5


def key_id(public: Ed25519PublicKey) -> bytes:
    """The public name of a login key: 8 bytes of its hash."""
    return hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).digest()[:8]


def login_text(challenge: bytes, ident: bytes, exporter: bytes = NO_EXPORTER) -> bytes:
    """What a login signs: the acceptor's challenge, the TLS session, the key's name."""
    return b"imx-login" + challenge + exporter + ident


def sign_login(key: Ed25519PrivateKey | None, challenge: bytes, exporter: bytes = NO_EXPORTER) -> Login:
    """The login record that answers a challenge; without a key, the one that points to our certificate."""
    if key is None:
        return Login(BY_CERTIFICATE, NO_SIGNATURE)
    ident = key_id(key.public_key())
    return Login(ident, key.sign(login_text(challenge, ident, exporter)))


def exporter_of(session: Link) -> bytes:
    """What a login on a link signs of its TLS session."""
    return (session.tls.exporter if session.tls is not None else b"") or NO_EXPORTER


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A configured service: its name, and what it logs in with.

    Attributes:
        public: its key; None where it has none.
        certificate: `sha256:` and the fingerprint of its client certificate, or a domain that it names.
    """

    name: str
    public: Ed25519PublicKey | None = None
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class ServiceNamed:
    """Which service logs in; without a name, why none does."""

    name: str = ""
    why: str = "unknown certificate"


class Services:
    """Logins of services on links that they opened to us.

    Args:
        hub: links of this process.
        domains_of: names of the active domains of a service, now.
        terms: limits of what a served domain sends.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        keys: list[ServiceKey],
        domains_of: Callable[[str], list[bytes]],
        terms: Callable[[bytes], SendTerms],
    ) -> None:
        self._hub = hub
        #: told the name of a service whose links or domains are others now
        self.on_bound: Callable[[str], None] = lambda _name: None
        self._take(keys)
        self._domains_of = domains_of
        self._terms = terms
        #: judges a login of another host of ours; False where it is none
        self.of_sibling: Callable[[Link, Login], bool] = lambda *_: False
        #: told a link on which a service logged in: it is no stranger's any more
        self.on_login: Callable[[Link], None] = lambda _session: None
        #: why a client certificate is no good for a domain; empty where it is good
        self.judge: Callable[[PeerCertificate, Domain], str] = lambda *_: "no authority is trusted"
        #: numbers of the links on which a certificate speaks for the service
        self._certified: set[int] = set()

    def _take(self, keys: list[ServiceKey]) -> None:
        self._known = {one.name: one for one in keys}
        self._keys = {key_id(one.public): one for one in keys if one.public is not None}

    def knows(self, name: str) -> bool:
        """Whether a service of that name logs in over links."""
        return name in self._known

    def concerned(self, kept: Collection[str]) -> list[Link]:
        """Links of services that are none of these."""
        return [one for one in self._hub.sessions.values() if one.service and one.service not in kept]

    def change(self, keys: list[ServiceKey], kept: Collection[str]) -> None:
        """Know these keys alone; services that do not log in as before are at an end."""
        self._take(keys)
        for session in self.concerned(kept):
            self.end(session, f"service {session.service} may not log in so any more")

    def end(self, session: Link, why: str) -> None:
        """Take nothing more from a service's link and send nothing there; what is in flight is answered."""
        reason = Reason.LOGIN_FAILED
        self.log.warn(
            "service {name} on link {link} ends: {note}", name=session.service, link=session.number, note=why,
            reason=reason.word, stage=reason.stage.value,
        )  # fmt: skip
        session.close(reason, text=why)
        session.port.sources.clear()  # after the end of its ways, which go by them

    def judge_anew(self, at: float = FOREVER) -> None:
        """End what a certificate would not log in any more.

        Args:
            at: seconds since 1970: look at certificates that have ended by then; without it at all, because
                whom we trust has changed.
        """
        for number in sorted(self._certified):
            session = self._hub.sessions.get(number)
            peer = session.tls.peer if session is not None and session.tls is not None else None
            if session is None or peer is None or at <= peer.first_end or not session.is_open:
                continue
            known = self._known.get(session.service)
            named = self._named_by(known, peer) if known is not None else ServiceNamed()
            if not named.name:
                self.end(session, named.why)

    def login(self, session: Link, login: Login) -> None:
        """Judge a login; a wrong one ends the link."""
        if (session.tls is not None or self._hub.settings.clear_login) and self.of_sibling(session, login):
            return
        if session.door is Door.PEERS:
            why = "services log in at another port of this router"
            self._refuse(session, why, told=why)
            return
        if session.tls is None and not self._hub.settings.clear_login:
            self._refuse(session, "no TLS on this link")
            return
        named = self._named(session, login)
        if not named.name:
            self._refuse(session, named.why)
            return
        if session.service or session.port.sources or session.received.waiting:
            self._refuse(session, "the link has another role already")
            return
        self.on_login(session)
        session.service = named.name
        if login.key_id == BY_CERTIFICATE:
            self._certified.add(session.number)
        session.port.role = Role.SERVICE
        session.port.max_record = self._hub.settings.max_record_bytes
        self.rebind(named.name)
        session.send(LoginResult(0))
        self.log.info("service {name} logged in on link {link}", name=named.name, link=session.number)

    def _named(self, session: Link, login: Login) -> ServiceNamed:
        """Whose login it is, by its key or by the certificate of the connection."""
        if login.key_id == BY_CERTIFICATE:
            if session.tls is None or session.tls.peer is None:
                return ServiceNamed(why="no client certificate on this link")
            return self._by_certificate(session.tls.peer)
        known = self._keys.get(login.key_id)
        if known is None or known.public is None or session.challenge is None:
            return ServiceNamed(why="unknown key")
        try:
            signed = login_text(session.challenge, login.key_id, exporter_of(session))
            known.public.verify(login.signature, signed)
        except InvalidSignature:
            return ServiceNamed(why="wrong signature")
        return ServiceNamed(known.name)

    def _by_certificate(self, peer: PeerCertificate) -> ServiceNamed:
        """The service whose very certificate this is, else the one whose domain it names."""
        pin, named = PIN + peer.fingerprint.hex(), ServiceNamed()
        for one in self._known.values():
            if one.certificate.lower() == pin:
                return ServiceNamed(one.name)
            if one.certificate:
                found = self._named_by(one, peer)
                named = found if found != ServiceNamed() else named
        return named

    def _named_by(self, one: ServiceKey, peer: PeerCertificate) -> ServiceNamed:
        """Whether that service may log in by a certificate; a pinned one is trusted for what it is."""
        if one.certificate.startswith(PIN) or not one.certificate:
            pinned = one.certificate.lower() == PIN + peer.fingerprint.hex()
            return ServiceNamed(one.name) if pinned else ServiceNamed()
        domain = Domain.parse(one.certificate)
        if not peer.covers(domain):
            return ServiceNamed()
        why = self.judge(peer, domain)
        return ServiceNamed(why=why) if why else ServiceNamed(one.name)

    def _refuse(self, session: Link, why: str, told: str = "") -> None:
        reason = Reason.LOGIN_FAILED
        self.log.warn(
            "login on link {link} refused: {note}", link=session.number, note=why, reason=reason.word,
            stage=reason.stage.value,
        )  # fmt: skip
        self._hub.count(reason)
        session.send(LoginResult(Reason.LOGIN_FAILED.code))
        session.end(Reason.LOGIN_FAILED, told)

    def rebind(self, name: str) -> None:
        """Bind the service's links to its domains of this moment; what it lost it loses at once."""
        domains = set(self._domains_of(name))
        for session in self._hub.sessions.values():
            if session.service != name or session.port.closed:
                continue
            port = session.port
            for gone in set(port.sources) - domains:
                del port.sources[gone]
                port.speaks.discard(gone)
            for domain in domains if port.usable else domains & port.sources.keys():
                port.sources[domain] = bound_proof(*self._terms(domain))
                port.speaks.add(domain)
                route = self._hub.switch.routes.get(domain)
                if route is not None and port not in route.ports and port.usable:
                    route.ports.append(port)
        self.on_bound(name)

    def opened(self, session: Link, peer: Hello | None) -> None:
        """The service speaks first."""

    def control(self, session: Link, record: Control) -> None:
        """Logins only."""
        if isinstance(record, Login):
            self.login(session, record)

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """The switch uses the link no more."""

    def lost(self, session: Link) -> None:
        """The switch has forgotten the port."""
        self._certified.discard(session.number)

    def tick(self, now: float) -> None:
        """Nothing is due: `app.trust.ended_certificates` asks when a certificate has ended."""


class UplinkDialer:
    """Keeps one link to our own aggregator and logs in there. Configured, never learned from DNS.

    Args:
        hub: links of this process.
        clock: for the wait between tries.
        open_link: connects a protocol to the uplink's address.
        key: our login key; None: we log in by the certificate that the link presents.
        terms: GCRA interval and burst of senders that come over it.
        chance: gives a random number in [0, 1); routers that were lost together shall not come together.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        clock: IReactorTime,
        open_link: Callable[[Link], Deferred[object]],
        key: Ed25519PrivateKey | None,
        terms: tuple[float, float],
        chance: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._open_link = open_link
        self._key = key
        self._terms = terms
        self._chance = chance
        self._wait_s = UPLINK_RETRY_S[0]
        self._session: Link | None = None
        self._stopped = False

    @property
    def session(self) -> Link | None:
        """The link, or the connection on the way."""
        return self._session

    def change(self, terms: tuple[float, float]) -> None:
        """Let senders that come over it have other limits."""
        self._terms = terms
        port = self._session.port if self._session is not None else None
        if port is not None and b"*" in port.sources:
            port.sources[b"*"] = (0xFF, None, FOREVER, *terms, FOREVER)

    def stop(self) -> None:
        """It is not configured any more: its link is closed in order, and not dialled again."""
        self._stopped, session = True, self._session
        if session is not None and session.number in self._hub.sessions:
            session.close(Reason.SHUTTING_DOWN)

    def begin(self) -> None:
        """Dial at a random moment within the first wait."""
        self._clock.callLater(self._chance() * UPLINK_RETRY_S[0], self.start)

    def start(self) -> None:
        """Dial now, unless it is dialled or there already, or we go out of service."""
        if self._hub.closing or self._stopped or self._session is not None:
            return
        self._session = LinkSession(self._hub, Purpose.UPLINK)
        self._open_link(self._session).addErrback(self._not_open)

    def _not_open(self, problem: Failure) -> None:
        self._session = None
        error = problem.value
        reason = error.reason if isinstance(error, HandshakeFailed) else reason_of(error)
        self.log.warn(
            "uplink: {reason} ({note}); next try in {wait:.0f} s", reason=reason.word,
            stage=reason.stage.value, note=problem.getErrorMessage(), wait=self._wait_s,
        )  # fmt: skip
        self._again()

    def _again(self) -> None:
        self._clock.callLater(self._wait_s * (1 - UPLINK_JITTER * self._chance()), self.start)
        self._wait_s = min(self._wait_s * 2, UPLINK_RETRY_S[1])

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Answer the aggregator's challenge."""
        if session is self._session and session.side is Side.OPENER:
            if peer is None or peer.challenge is None:
                session.end(Reason.LOGIN_FAILED, "the uplink sent no challenge")
            else:
                session.send(sign_login(self._key, peer.challenge, exporter_of(session)))

    def control(self, session: Link, record: Control) -> None:
        """The aggregator's word on the login."""
        if session is not self._session or not isinstance(record, LoginResult):
            return
        reason = REASON_BY_CODE.get(record.reason, Reason.LOGIN_FAILED)
        if reason is not Reason.NONE:
            session.end(Reason.LOGIN_FAILED, "refused by the uplink")
            return
        self._wait_s = UPLINK_RETRY_S[0]
        port = session.port
        port.role = Role.UPLINK
        port.max_record = self._hub.settings.max_record_bytes
        port.sources[b"*"] = (0xFF, None, FOREVER, *self._terms, FOREVER)
        if port not in self._hub.switch.uplinks:
            self._hub.switch.uplinks.append(port)

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """The switch uses the link no more."""

    def lost(self, session: Link) -> None:
        """Dial again after a wait."""
        if session is self._session:
            self._session = None
            self._again()

    def tick(self, now: float) -> None:
        """Nothing is due."""
