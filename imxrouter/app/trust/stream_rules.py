"""What the XMPP streams of this process are held to: TLS, proofs, times and bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from imxrouter.config.schema import Config
from imxrouter.gateways.xmpp.acks import PingDroppers
from imxrouter.gateways.xmpp.heard import AFTER
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.streams.inside import HeldTo
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings, StreamTerms, TlsRule
from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.transport.hub import Hub
from imxrouter.transport.strengths import Strengths


class StreamRules(HeldTo):
    """What streams are held to, by the configuration and the policies of the moment.

    Args:
        hub: links of this process.
        strengths: decides what streams are worth.
        config: the configuration of the moment.
        droppers: domains that leave pings unanswered.
        shuts_out: whether nothing is taken of a domain (wire form).
    """

    def __init__(
        self,
        hub: Hub,
        strengths: Strengths,
        config: Callable[[], Config],
        droppers: PingDroppers,
        shuts_out: Callable[[bytes], bool],
    ) -> None:
        self._hub = hub
        self._strengths = strengths
        self._config = config
        self._droppers = droppers
        self._shuts_out = shuts_out

    def terms(self, session: StreamLink) -> StreamTerms:
        """What a stream is held to that begins now; the functions look at its TLS when they are asked."""
        opens, other = session.side is Side.OPENER, session.other
        return StreamTerms(
            tls=self._tls(opens=opens, other=other),
            serves=self._serves,
            admits=self._against,
            external=(lambda own: session.presents(own.encode())) if opens else self._external(session),
            dialback=self._dialback(session),
            confirm=self.confirm(other),
            settings=self.settings(),
        )

    def _tls(self, *, opens: bool, other: str) -> TlsRule:
        if not (self._strengths.tls if opens else self._hub.first_bytes.maker is not None):
            return TlsRule.NONE
        if self._config().xmpp.tls == "required":
            return TlsRule.REQUIRED
        needed = bool(other) and self._strengths.asks_tls(Domain(other), None)
        return TlsRule.REQUIRED if needed else TlsRule.OFFERED

    def _serves(self, name: str) -> bool:
        return name.encode() in self._hub.switch.routes

    def _against(self, name: str) -> Condition | None:
        """What speaks against a domain that begins a stream: ours speak only by their own service's link."""
        wire = name.encode()
        return Condition.NOT_AUTHORIZED if wire in self._hub.switch.routes or self._shuts_out(wire) else None

    def _external(self, session: StreamLink) -> Callable[[str], bool]:
        def may(name: str) -> bool:
            domain = Domain(name)
            return (
                session.tls is not None
                and self._strengths.xmpp_proofs(domain).external
                and self._strengths.judged(session.tls, domain, as_client=True).good
            )

        return may

    def _dialback(self, session: StreamLink) -> Callable[[str], bool]:
        def may(name: str) -> bool:
            domain = Domain(name)
            proofs = self._strengths.xmpp_proofs(domain)
            if proofs.tls and session.tls is None:
                return False
            if proofs.certificate and not self._strengths.judged(session.tls, domain, as_client=True).good:
                return False
            return proofs.verified or proofs.covered

        return may

    def confirm(self, other: str) -> Confirm:
        """How it is known that a stanza arrived at a domain; empty: none is known yet."""
        if self._config().xmpp.confirm == "written":
            return Confirm.WRITTEN
        return self._droppers.confirm(other, self._hub.now()) if other else Confirm.PING

    def settings(self) -> StreamSettings:
        """Times and bounds of a stream."""
        config = self._config()
        return StreamSettings(
            header_s=config.dial.hello_timeout_s,
            close_s=config.links.close_deadline_s,
            answer_s=config.links.answer_timeout_s,
            silent_s=config.links.ping_s,
            dead_s=config.links.dead_s,
            limits=replace(AFTER, stanza_bytes=config.xmpp.stanza_bytes),
            idle_s=config.links.idle_s,
        )
