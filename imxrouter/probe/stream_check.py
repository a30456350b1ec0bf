"""Checks a domain's XMPP servers from outside: look-up, connection, TLS, identity, stream, dial-back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from imxrouter.discovery.records import Form, Target
from imxrouter.discovery.search import Purpose
from imxrouter.gateways.xmpp.streams.probing import Probed, StreamProbe
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.probe.check import Checker, Tried
from imxrouter.probe.encrypted import TlsProbe, encrypt, shown
from imxrouter.probe.report import Evidence, StageReport, State
from imxrouter.tls.contexts import XMPP_ALPN
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.encryption import HandshakeFailed
from imxrouter.transport.opening import OpenedSocket
from imxrouter.transport.strengths import Judged


class StreamChecker(Checker):
    """Walks through the stages as `Checker` does, with streams in place of links. TLS is always tried."""

    purpose: Purpose = "xmpp"
    #: a domain without records is looked for at its address
    by_address = False

    async def _look_up(self, domain: Domain) -> tuple[StageReport, list[tuple[Target, str]]]:
        """Find targets; an address alone is none that the domain publishes."""
        stage, ways = await super()._look_up(domain)
        if self.by_address or stage.facts.get("form") != Form.XMPP_ADDRESS.value:
            return stage, ways
        missing = Evidence(domain.name, Reason.NO_XMPP_RECORD, "its address is tried by --protocol xmpp")
        return replace(stage, state=State.FAILED, evidence=(*stage.evidence, missing), facts={}), []

    async def _speak(
        self, domain: Domain, target: Target, connected: Evidence, way: Evidence, socket: OpenedSocket
    ) -> Tried:
        """Negotiate, and ask whether who is there answers for the domain."""
        if self._tls is None:
            return Tried(replace(connected, reason=Reason.TLS_FAILED, note="no TLS can be spoken here"))
        tls = identity = None
        probe = self._tls
        if target.tls == "direct":
            came = await encrypt(
                self._clock, probe, domain, way, socket, self._timeout_s, target.way, XMPP_ALPN
            )
            if came.socket is None:
                return Tried(connected, came.tls, came.identity)
            tls, identity = replace(came.tls, facts={**came.tls.facts, "how": "direct"}), came.identity
            socket = came.socket
        verdicts: list[Judged] = []

        def judge(facts: TlsFacts) -> None:
            verdicts.append(probe.judge_stream(facts, domain, target.way))
            if not verdicts[0].good:
                raise HandshakeFailed(verdicts[0].note, verdicts[0].reason)

        seen = await self._looking(domain, probe, judge).look(socket)
        if target.tls != "direct":
            tls, identity = _tls_of(way, seen), _identity_of(way, seen, verdicts)
        failed_before = next((one for one in (tls, identity) if one is not None and not one.good), None)
        if failed_before is not None and seen.reason is not Reason.NONE:
            return Tried(connected, tls, identity)
        return Tried(connected, tls, identity, _stream_of(way, seen), _dialback_of(way, seen))

    def _looking(self, domain: Domain, probe: TlsProbe, judge: Callable[[TlsFacts], object]) -> StreamProbe:
        """What negotiates and asks on one connection."""
        return StreamProbe(self._clock, domain, probe.make, judge, self._random_bytes, self._timeout_s)


def _tls_of(way: Evidence, seen: Probed) -> Evidence | None:
    """What came of STARTTLS; None where it did not come to that."""
    if seen.tls is not None:
        facts = {**way.facts, "how": "starttls", "required": seen.starttls == "required"}
        facts |= {"version": seen.tls.version, "cipher": seen.tls.cipher}
        return replace(way, took_s=seen.tls_s, facts=facts)
    if seen.reason is Reason.TLS_FAILED:
        return replace(way, reason=Reason.TLS_FAILED, note=seen.note)
    if seen.open_s:
        return replace(way, reason=Reason.TLS_FAILED, note="no STARTTLS is offered: the stream is in clear")
    return None


def _identity_of(way: Evidence, seen: Probed, verdicts: list[Judged]) -> Evidence | None:
    if seen.tls is None or not verdicts:
        return None
    (verdict,) = verdicts
    identity = replace(way, facts={**way.facts, **shown(seen.tls), "by": verdict.by})
    return identity if verdict.good else replace(identity, reason=verdict.reason, note=verdict.note)


def _stream_of(way: Evidence, seen: Probed) -> Evidence:
    facts = {**way.facts, "features": list(seen.features), "mechanisms": list(seen.mechanisms)}
    took_s = seen.open_s or None
    if seen.reason is Reason.NO_COMMON_PROOF:  # nothing was proved: nobody asks here
        note = "it speaks to nobody whose certificate it does not trust, and none was shown: see --as"
        return replace(way, note=f"{note} ({seen.note})", took_s=took_s, facts=facts)
    return replace(way, reason=seen.reason, note=seen.note, took_s=took_s, facts=facts)


def _dialback_of(way: Evidence, seen: Probed) -> Evidence | None:
    """Whether it answers as the authority of its domain; None where it was not asked, or has no dial-back."""
    if seen.reason is not Reason.NONE or (not seen.said and "dialback" not in seen.features):
        return None
    if not seen.said:
        return replace(way, reason=Reason.DIALBACK_TIMEOUT, note="a question about a key was not answered")
    facts = {**way.facts, "answer": seen.said}
    note = "" if seen.refused is not Reason.BAD_TOKEN else "it takes a key that nobody made for its own"
    return replace(way, reason=seen.refused, note=note, took_s=seen.said_s, facts=facts)
