"""Opens streams to other domains' servers: one target after the other, until one of them is of use.

A connection is worth nothing yet: what decides (STARTTLS, the certificate, which domains the other side
serves) comes with the negotiation. So a target has failed, and the next one is tried, when that fails:
refused, silent, without STARTTLS where TLS is needed, a certificate that will not do, a stream error of any
kind. `see-other-host` is never followed (RFC 6120 section 4.9.3.19 leaves that to us): whoever stands between
could say it. Each target is judged alone, and none by what another one could not do.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from imxrouter.discovery.records import Target
from imxrouter.gateways.xmpp.streams.parts import StreamFailed
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.dialling import Permit
from imxrouter.routing.policy import Decision, Level
from imxrouter.tls.contexts import XMPP_ALPN
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.dial_terms import UNASKED, DialTerms, Encrypt, NotNegotiated
from imxrouter.transport.dialing import DialFailed, Dialled, Endpoint, Reuse
from imxrouter.transport.encryption import EncryptedSocket, HandshakeFailed, TlsMaker, open_tls
from imxrouter.transport.link import Link
from imxrouter.transport.opening import OpenedSocket
from imxrouter.transport.strengths import Strengths
from imxrouter.transport.wanted import Wanted


class Connects(Protocol):
    """Connects by terms, within the limits that hold for all protocols (`app.trust.targets.TargetDialer`)."""

    def __call__(
        self,
        domain: Domain,
        make: Callable[[], Link],
        terms: DialTerms,
        permit: Permit | None,
        first: Link | None,
    ) -> Deferred[Dialled]:
        """Connect; fails with `DialFailed`."""


class StreamDialer:
    """Implements `transport.dialing.Dialer` for XMPP; what it gives has been negotiated.

    Args:
        clock: time for handshakes.
        strengths: decides what a stream is worth.
        connect: connects by terms.
        maker: what makes our ends of TLS connections; None: there is no TLS.
    """

    def __init__(
        self,
        clock: IReactorTime,
        strengths: Strengths,
        connect: Connects,
        maker: Callable[[], TlsMaker | None],
    ) -> None:
        self._clock = clock
        self._strengths = strengths
        self._connect = connect
        self._maker = maker

    def dial(
        self,
        domain: Domain,
        make: Callable[[], Link],
        *,
        reuse: Reuse,
        skip: AbstractSet[Endpoint] = frozenset(),
        permit: Permit | None = None,
        own: Domain | None = None,
        need: int = 0,
        first: Link | None = None,
        presence: bool = False,
    ) -> Deferred[Dialled]:
        """Look up, choose, connect, negotiate. See `transport.dialing.Dialer`.

        Args:
            domain: to be reached; streams are addressed to it.
            make: makes a session.
            reuse: an open stream to that very endpoint for which the given function holds, or None.
            skip: endpoints not to be tried again.
            permit: leave to dial at a stranger's word; None for our own traffic.
            own: the domain of ours that the stream is from.
            need: bits of strength that the stream must have beside what policy asks.
            first: the stream whose claim this is to verify.
            presence: streams are published for both.
        """
        del presence
        wanted = Wanted(self._strengths, domain, own, need, first)
        decision = wanted.best()
        if not decision.accepted:
            without = "" if self._strengths.tls else "; no TLS is configured here: see tls.certificates"
            return fail(DialFailed(decision.reason, f"{decision.note}{without}"))
        terms = DialTerms(
            purpose="xmpp",
            filter_target=partial(self._filter, wanted),
            encrypt=partial(self._encrypt, wanted),
            promised=self._strengths.tls,
            identify=partial(_identify, wanted),
            skip=skip,
            reuse=wanted.fitting(reuse),
            negotiate=partial(self._negotiate, wanted),
        )
        return self._connect(domain, make, terms, permit, first)

    def _filter(self, wanted: Wanted, target: Target) -> Reason | None:
        if target.tls == "direct" and not self._strengths.tls:
            return Reason.TLS_FAILED  # what is there speaks nothing else
        return wanted.filter(target)

    def _encrypt(self, wanted: Wanted, target: Target) -> Encrypt | None:
        maker = self._maker()
        if target.tls != "direct" or maker is None:
            return None

        def handshake(socket: OpenedSocket, limit_s: float) -> Deferred[EncryptedSocket]:
            name = wanted.server_name(target)
            make = partial(maker.opening, wanted.own, name, socket.remote, XMPP_ALPN)

            def forget(connection: Any) -> None:
                maker.forget(connection, name, socket.remote)

            return open_tls(self._clock, socket, make, maker.facts, limit_s, forget, XMPP_ALPN)

        return handshake

    def _negotiate(self, wanted: Wanted, target: Target, session: XmppSession) -> Deferred[None]:
        """Have a session that gets its connection next negotiate; whoever cancels that ends it."""
        refused: list[NotNegotiated] = []

        def judge(facts: TlsFacts) -> None:
            decision = wanted.identify(target, facts)
            if not decision.accepted:
                refused.append(NotNegotiated(decision.reason, decision.note))
                raise HandshakeFailed(decision.note, decision.reason)

        own = wanted.own.name if wanted.own is not None else ""
        negotiated = session.aim(own, wanted.domain.name, judge)
        done: Deferred[None] = Deferred(lambda _: session.end(Reason.HELLO_TIMEOUT, "not negotiated in time"))

        def good(_: None) -> None:
            decision = _final(wanted, target, session.tls)
            if decision.accepted:
                done.callback(None)
                return
            session.end(decision.reason, decision.note)
            done.errback(NotNegotiated(decision.reason, decision.note))

        def failed(failure: Failure) -> None:
            error = failure.value
            if done.called:
                return  # it was cancelled, which ended the session
            if isinstance(error, StreamFailed):
                done.errback(refused[0] if refused else _why(wanted, target, session, error))
            else:
                done.errback(failure)

        negotiated.addCallbacks(good, failed)
        return done


def _identify(wanted: Wanted, target: Target, facts: TlsFacts | None) -> Decision:
    """Judge who is there where TLS came first; where it comes by STARTTLS the session asks."""
    return UNASKED if target.tls == "starttls" and facts is None else wanted.identify(target, facts)


def _final(wanted: Wanted, target: Target, facts: TlsFacts | None) -> Decision:
    """Judge a stream that is negotiated: in clear only where neither policy nor DNSSEC asks for TLS."""
    if facts is None and wanted.in_tls(target):
        return Decision(Level.NONE, 0, Reason.WEAKER_THAN_POLICY, "TLS is needed, and was not offered")
    return wanted.identify(target, facts)


def _why(wanted: Wanted, target: Target, session: XmppSession, error: StreamFailed) -> NotNegotiated:
    """Say why a stream came to nothing; without TLS, what it lacks may be what was seen before."""
    if error.reason is not Reason.WEAKER_THAN_POLICY or session.tls is not None:
        return NotNegotiated(error.reason, error.note)
    decision = wanted.identify(target, None)
    if decision.accepted:
        return NotNegotiated(error.reason, error.note)
    return NotNegotiated(decision.reason, f"{error.note}; {decision.note}".strip("; "))
