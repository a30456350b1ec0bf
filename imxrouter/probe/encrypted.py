"""TLS and identity as a check sees them: the same handshake and the same judge as a router's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from OpenSSL import SSL
from twisted.internet.interfaces import IReactorTime

from imxrouter.discovery.records import Target
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.probe.report import Evidence
from imxrouter.tls.anchors import anchors_from
from imxrouter.tls.contexts import ALPN, TlsContexts
from imxrouter.tls.dane import promises_tls, sni_of
from imxrouter.tls.facts import TlsFacts, read_facts
from imxrouter.tls.identity import Service
from imxrouter.tls.peer import Anchors
from imxrouter.tls.store import CertificateSet
from imxrouter.transport.encryption import HandshakeFailed, open_tls
from imxrouter.transport.opening import Endpoint, OpenedSocket
from imxrouter.transport.strengths import Judged, judge_certificate


@dataclass(frozen=True, slots=True)
class TlsProbe:
    """How a check speaks TLS.

    Attributes:
        wants: whether a target is spoken to in TLS.
        make: makes our end: (server name, endpoint, ALPN).
        judge: judges what came of the handshake for a domain, with what DNSSEC says of the way there.
        judge_stream: the same for XMPP.
        refuses: why a router does not dial a target at all; None: it would.
    """

    wants: Callable[[Domain, Target], bool]
    make: Callable[[str, Endpoint, bytes], SSL.Connection]
    judge: Callable[[TlsFacts, Domain, Delegation | None], Judged]
    judge_stream: Callable[[TlsFacts, Domain, Delegation | None], Judged]
    refuses: Callable[[Domain, Target], Reason | None] = lambda _domain, _target: None


def outside_probe(
    wall: Callable[[], float], *, always: bool, trust: tuple[str, ...] = ("system",)
) -> TlsProbe:
    """What a check without a router uses: no certificate of our own.

    Args:
        wall: seconds since 1970.
        always: TLS with every target; else with those whose record asks for it.
        trust: as `tls.trust` of the configuration.

    Raises:
        BadAnchors: a file cannot be used.
    """
    contexts, anchors = TlsContexts(CertificateSet()), _Lazy(trust)

    def wants(_domain: Domain, target: Target) -> bool:
        promised = target.tls != "none" and promises_tls(target.way)
        return always or promised or target.tls in {"required", "optional"}

    def refuses(_domain: Domain, target: Target) -> Reason | None:
        return Reason.WEAKER_THAN_POLICY if always and target.tls == "none" else None

    def make(name: str, endpoint: Endpoint, alpn: bytes) -> SSL.Connection:
        return contexts.open(None, name, *endpoint, alpn)

    def judge(
        facts: TlsFacts, domain: Domain, way: Delegation | None, service: Service = Service.IMX
    ) -> Judged:
        if facts.peer is None:
            return Judged(False, facts.unreadable or "no certificate was presented")
        return judge_certificate(
            anchors(), facts.peer, domain, wall(), as_client=False, way=way, service=service
        )

    return TlsProbe(wants, make, judge, partial(judge, service=Service.XMPP), refuses)


class _Lazy:
    """Reads the authorities when the first certificate is there; files at once, so that bad ones are told."""

    def __init__(self, trust: tuple[str, ...]) -> None:
        self._trust = trust
        self._anchors = anchors_from(trust) if trust != ("system",) else None

    def __call__(self) -> Anchors:
        if self._anchors is None:
            self._anchors = anchors_from(self._trust)
        return self._anchors


@dataclass(frozen=True, slots=True)
class Encrypted:
    """What came of it: evidence of both stages, and the connection where both are good."""

    tls: Evidence
    identity: Evidence | None = None
    socket: OpenedSocket | None = None


async def encrypt(
    clock: IReactorTime,
    probe: TlsProbe,
    domain: Domain,
    way: Evidence,
    socket: OpenedSocket,
    limit_s: float,
    led: Delegation | None = None,
    alpn: bytes = ALPN,
) -> Encrypted:
    """Make the handshake and judge who is there.

    Args:
        clock: time.
        probe: how.
        domain: for SNI, and whom the certificate must name.
        way: the evidence to begin with.
        socket: the connection.
        limit_s: for the handshake.
        led: what DNSSEC says of the way to the target; None where DNS was not asked.
        alpn: what is spoken there.
    """
    name = sni_of(domain, led)
    started_at = clock.seconds()
    remote = socket.remote
    try:
        encrypted = await open_tls(
            clock, socket, lambda: probe.make(name, remote, alpn), read_facts, limit_s, alpn=alpn
        )
    except HandshakeFailed as error:
        took_s = clock.seconds() - started_at
        return Encrypted(replace(way, reason=error.reason, note=error.note, took_s=took_s))
    facts = encrypted.facts
    took_s = clock.seconds() - started_at
    seen = {"version": facts.version, "cipher": facts.cipher, "server_name": name}
    tls = replace(way, took_s=took_s, facts={**way.facts, **seen})
    judged = (probe.judge if alpn == ALPN else probe.judge_stream)(facts, domain, led)
    identity = replace(way, facts={**way.facts, **shown(facts), "by": judged.by})
    if judged.good:
        return Encrypted(tls, identity, encrypted)
    encrypted.close()
    return Encrypted(tls, replace(identity, reason=judged.reason, note=judged.note))


def shown(facts: TlsFacts) -> Mapping[str, object]:
    """What is told of a certificate."""
    peer = facts.peer
    if peer is None:
        return {}
    return {
        "names": list(peer.names), "expires": f"{datetime.fromtimestamp(peer.not_after, UTC):%Y-%m-%d}",
        "issuer": peer.leaf.issuer.rfc4514_string(), "sha256": peer.fingerprint.hex(),
    }  # fmt: skip
