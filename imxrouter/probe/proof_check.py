"""Checks a domain's XMPP servers as one of our domains, and those of our own: which proof of us is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from OpenSSL import SSL

from imxrouter.discovery.records import Target
from imxrouter.gateways.xmpp.streams.probing import StreamProbe
from imxrouter.gateways.xmpp.streams.proving import OwnKeyProbe, Proof, ProofProbe, Proved
from imxrouter.gateways.xmpp.streams.tongue import XmppTongue
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.probe.check import Tried
from imxrouter.probe.encrypted import TlsProbe, encrypt
from imxrouter.probe.report import Evidence
from imxrouter.probe.stream_check import StreamChecker
from imxrouter.tls.contexts import XMPP_ALPN
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.encryption import HandshakeFailed
from imxrouter.transport.opening import Endpoint, OpenedSocket

#: What the operator can look at where a way of proof is not taken and another one is.
_ORDER: Final = (Proof.EXTERNAL, Proof.DIALBACK)


@dataclass(frozen=True, slots=True)
class Prover:
    """What proves a domain of ours.

    Attributes:
        ours: which.
        make: makes our ends of TLS connections, with its certificate.
        has_certificate: whether there is one.
        tongue: makes keys that our own routers recognise.
        verify_s: for the answer to a key.
    """

    ours: Domain
    make: Callable[[str, Endpoint, bytes], SSL.Connection]
    has_certificate: bool
    tongue: XmppTongue
    verify_s: float


class OwnChecker(StreamChecker):
    """Checks a domain of ours where its records lead: whether who is there knows our keys.

    Attributes:
        tongue: makes them; set before anything is checked.
    """

    tongue: XmppTongue

    def _looking(self, domain: Domain, probe: TlsProbe, judge: Callable[[TlsFacts], object]) -> StreamProbe:
        return OwnKeyProbe(
            self._clock, domain, probe.make, judge, self.tongue, self._random_bytes, self._timeout_s
        )


class ProofChecker(StreamChecker):
    """Goes on where `StreamChecker` ends: proves our domain to each server, by each way.

    Attributes:
        prover: proves it; set before anything is checked.
    """

    prover: Prover

    async def _speak(
        self, domain: Domain, target: Target, connected: Evidence, way: Evidence, socket: OpenedSocket
    ) -> Tried:
        tried = await super()._speak(domain, target, connected, way, socket)
        if tried.tls is not None and not tried.tls.good and self._tls is not None and tried.hello is not None:
            tried = replace(tried, tls=self._in_clear(domain, target, tried.tls, self._tls))
        if tried.hello is None or not tried.hello.good or self._tls is None:
            return tried
        return replace(tried, proofs=await self._prove(domain, target, way, self._tls))

    @staticmethod
    def _in_clear(domain: Domain, target: Target, tls: Evidence, probe: TlsProbe) -> Evidence:
        """A stream in clear is a failure only where our policy for the domain asks for TLS."""
        if probe.wants(domain, target):
            return tls
        return replace(tls, reason=Reason.NONE, note=f"{tls.note}, which our policy takes")

    async def _prove(
        self, domain: Domain, target: Target, way: Evidence, tls: TlsProbe
    ) -> tuple[Evidence, ...]:
        became = []
        for proof in _ORDER:
            if proof is Proof.EXTERNAL and not self.prover.has_certificate:
                note = f"no certificate of ours names {self.prover.ours}: see tls.certificates"
                became.append(Proved(proof, "not tried", Reason.NO_COMMON_PROOF, note))
            else:
                became.append(await self._one(proof, domain, target, way, tls))
        taken = any(one.taken for one in became)
        return tuple(self._evidence(way, one, counts=not taken) for one in became)

    async def _one(
        self, proof: Proof, domain: Domain, target: Target, way: Evidence, tls: TlsProbe
    ) -> Proved:
        connected, socket = await self._connect(way, (str(way.facts["ip"]), target.port))
        if socket is None:
            return Proved(proof, "refused", connected.reason, connected.note)
        if target.tls == "direct":
            shows = replace(tls, make=self.prover.make)
            came = await encrypt(
                self._clock, shows, domain, way, socket, self._timeout_s, target.way, XMPP_ALPN
            )
            if came.socket is None:
                failed = came.identity or came.tls
                return Proved(proof, "refused", failed.reason, failed.note)
            socket = came.socket

        def judge(facts: TlsFacts) -> None:
            verdict = tls.judge_stream(facts, domain, target.way)
            if not verdict.good:
                raise HandshakeFailed(verdict.note, verdict.reason)

        prover = self.prover
        probe = ProofProbe(
            self._clock, prover.ours, domain, proof, prover.make, judge, prover.tongue, self._random_bytes,
            self._timeout_s, prover.verify_s,
        )  # fmt: skip
        return await probe.prove(socket)

    def _evidence(self, way: Evidence, one: Proved, *, counts: bool) -> Evidence:
        """A way that is not taken is no failure where the other one is."""
        said = "" if one.taken else one.note
        facts = {**way.facts, "proof": one.proof.value, "answer": one.answer}
        if not counts and not one.taken:
            facts |= {"reason": one.reason.word}
        what = f"{self.prover.ours} by {one.proof.value} at {way.what}"
        reason = one.reason if counts else Reason.NONE
        return Evidence(what, reason, said, one.took_s or None, facts, decides=one.answer == "refused")
