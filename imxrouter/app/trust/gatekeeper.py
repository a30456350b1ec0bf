"""Who may prove what: policy, remembered strength, caps and dialling limits, asked by the verifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.routing.buckets import FairTotal
from imxrouter.routing.caps import CapSettings, ConnectionCaps, ConnectionRates, Refusal
from imxrouter.routing.choice import Protocol
from imxrouter.routing.dialling import DialLimits, DialSettings, Permit
from imxrouter.routing.policy import Decision, Policy, PolicyTable
from imxrouter.routing.prefixes import address_keys
from imxrouter.transport.link import Door, Link
from imxrouter.transport.strengths import Strengths
from imxrouter.transport.trust import Verdict

#: How long a failed look-up of a claimed domain is remembered where DNS gives no TTL.
_DNS_FAILURE_S = 5.0
#: When a claim may be made again of whose failure nothing is remembered for longer.
_AGAIN_S = 5
#: Where only what is ours may come in, which strangers elsewhere do not fill.
_SERVICE_DOORS = frozenset({Door.SERVICES, Door.INSIDE, Door.COMPONENTS})
#: Protocols whose strength is remembered.
_STREAMED = (Protocol.IMX, Protocol.XMPP)
#: Refused connections a second that are told why, shared out among networks; the others are just closed.
TOLD_PER_S = 50.0


class Gatekeeper:
    """Answers the verifier. Every refusal is a `Reason` of the registry.

    Args:
        strengths: decides what a link is worth; of IMX, and for all that is not said of a link.
        caps: connections that came in.
        service_caps: the same, at the listener of services: strangers elsewhere do not fill it.
        rates: how often an address may connect.
        dialling: work done at a stranger's word.
        terms: GCRA interval and burst, seconds, of a peer domain's senders.
        now: monotonic seconds.

    Attributes:
        by_protocol: what decides on links of each protocol.
    """

    def __init__(
        self,
        strengths: Strengths,
        caps: ConnectionCaps,
        service_caps: ConnectionCaps,
        rates: ConnectionRates,
        dialling: DialLimits,
        terms: Callable[[bytes], tuple[float, float]],
        now: Callable[[], float],
    ) -> None:
        self.strengths = strengths
        self.by_protocol = {strengths.protocol: strengths}
        self.remembered = strengths.remembered
        self.caps = caps
        self._service_caps = service_caps
        self.rates = rates
        #: told each refusal by a limit, and whose it is
        self.on_refused: Callable[[Refusal, str], None] = lambda _refusal, _who: None
        #: told why a connection was closed for which nothing was made
        self.on_turned_away: Callable[[Reason], None] = lambda _reason: None
        self._told = FairTotal(TOLD_PER_S, 0.0)
        self.dialling = dialling
        self._terms = terms
        self._now = now
        #: whether a domain is shut out by an access list
        self.shuts_out: Callable[[bytes], bool] = lambda _domain: False
        self._permits: dict[tuple[int, Domain], Permit] = {}

    def judge_by(self, policies: Mapping[Protocol, PolicyTable]) -> None:
        """Ask of domains what these say, from now on."""
        for protocol, table in policies.items():
            self.by_protocol[protocol].policies = table

    def change(self, caps: CapSettings, dialling: DialSettings | None) -> None:
        """Judge by other caps and limits of dialling; links that are there are not touched."""
        self.caps.change(caps)
        self._service_caps.change(caps)
        if dialling is not None:
            self.dialling.change(dialling)

    @property
    def policies(self) -> PolicyTable:
        """What is asked of each peer domain that speaks IMX."""
        return self.strengths.policies

    @property
    def all_policies(self) -> Mapping[Protocol, PolicyTable]:
        """What is asked of each peer domain, by protocol."""
        return {protocol: one.policies for protocol, one in self.by_protocol.items()}

    def of(self, session: Link) -> Strengths:
        """What decides on a link, by what is spoken there."""
        return self.by_protocol[session.protocol]

    def admit(self, session: Link) -> Refusal | None:
        """A connection came in."""
        caps = self._caps_of(session.door)
        address, now = session.remote[0], self._now()
        refused = self.rates.opened(address, now) or caps.opened(
            session.number, address, known=self.rates.is_known(address, now)
        )
        if refused is not None:
            self.on_refused(refused, address)
        return refused

    def _caps_of(self, door: Door) -> ConnectionCaps:
        return self._service_caps if door in _SERVICE_DOORS else self.caps

    def turns_away(self, address: str, door: Door) -> bool:
        """Whether a connection that will be refused is closed without a word: only some a second are told.

        Nothing is made for it, and it costs a tenth of one that is told.
        """
        caps, now = self._caps_of(door), self._now()
        refused = self.rates.refusal(address, now) or caps.refusal(
            address, known=self.rates.is_known(address, now)
        )
        if refused is None:
            return False
        network = address_keys(address).prefix
        if not self._told.wait(network, now, known=False):
            self._told.take(network, now, known=False)
            return False
        self.on_refused(refused, address)
        self.on_turned_away(refused.reason)
        return True

    def is_known(self, session: Link) -> bool:
        """Whether a domain was proved from there before; who may reach a listener of services is known."""
        return session.door in _SERVICE_DOORS or self.rates.is_known(session.remote[0], self._now())

    def may_claim(self, session: Link, from_domain: Domain, to_domain: Domain) -> Verdict:
        """Policy first, because it costs nothing; then the limits of dialling at a stranger's word."""
        del to_domain  # its own policy is the route's level, checked on every record
        if self.shuts_out(from_domain.wire):
            return Verdict(Reason.BLOCKED)
        strengths = self.of(session)
        decision = strengths.may_prove(session.tls, from_domain)
        by_certificate = strengths.policies.policy_for(from_domain) is Policy.CERTIFICATE
        if by_certificate and decision.accepted:
            decision = strengths.presented(session.tls, from_domain)
        if not decision.accepted:
            return Verdict(decision.reason, note=decision.note)
        if by_certificate:
            return Verdict(Reason.NONE, 0, decision.strength)
        permit = self.dialling.admit(session.remote[0], from_domain, self._now(), link=session.number)
        if not isinstance(permit, Permit):
            self.on_refused(permit, session.remote[0])
            return Verdict(permit.reason, permit.retry_after_s)
        self._permits[session.number, from_domain] = permit
        return Verdict(Reason.NONE)

    def worth(self, first: Link, second: Link, from_domain: Domain) -> Verdict:
        """What dial-back over that second connection proves."""
        decision = self.of(first).proved(first.tls, second.tls, from_domain)
        return Verdict(decision.reason, 0, decision.strength, decision.note)

    def reached_by(self, domain: Domain) -> frozenset[Protocol]:
        """The protocols by which a domain was reached before, or proved itself, as long as that is known."""
        now, seen = self._now(), self.remembered.seen
        return frozenset(one for one in _STREAMED if seen(domain, now, reached=True, protocol=one))

    def decide(self, domain: Domain, protocol: Protocol = Protocol.IMX) -> Decision:
        """The best that a link of ours to a domain can be, under its policy."""
        return self.by_protocol[protocol].may_reach(domain)

    def permit(self, session: Link, from_domain: Domain) -> Permit | None:
        """The leave that `may_claim` took."""
        return self._permits.get((session.number, from_domain))

    def not_mine(self, session: Link, from_domain: Domain) -> None:
        """A host of the domain answered that the claim is another host's."""
        permit = self.permit(session, from_domain)
        if permit is not None:
            self.dialling.not_mine(permit)

    def may_prove(self, session: Link, from_domain: Domain, level: int) -> Verdict:
        """The policy as it is now, for it may have changed meanwhile; the cap counts proved domains only."""
        if self.shuts_out(from_domain.wire):
            return Verdict(Reason.BLOCKED)
        if self.of(session).needed(from_domain) & ~level:
            return Verdict(Reason.WEAKER_THAN_POLICY)
        refused = self.caps.proved(session.number, from_domain, _group(session))
        if refused is None:
            return Verdict(Reason.NONE)
        self.on_refused(refused, from_domain.name)
        return Verdict(refused.reason, refused.retry_after_s)

    def may_use_second(self, session: Link, domain: bytes) -> bool:
        """Count a link on which a verifier is proved as one of its domain's; in clear they share one."""
        if session.tls is None:
            return True
        return self.caps.proved(session.number, Domain(domain.decode("ascii")), _group(session)) is None

    def done(self, session: Link, from_domain: Domain, reason: Reason, level: int = 0) -> int:
        """Give the permit back; remember what failed, where it belongs, and tell for how long."""
        permit = self._permits.pop((session.number, from_domain), None)
        if permit is not None:
            self.dialling.release(permit)
        now = self._now()
        if reason is Reason.NONE:
            self.dialling.proved(from_domain, now)
            self.rates.proved(session.remote[0], now)
            self.of(session).note_proved(from_domain, level)
        elif reason in (Reason.DIALBACK_REFUSED, Reason.NOT_MINE):
            return ceil(self.dialling.refused_token(session.remote[0], from_domain, now, reason))
        elif reason.stage is Stage.DNS:
            self.dialling.failed_dns(from_domain, _DNS_FAILURE_S, reason, now)
        elif reason.stage is Stage.CONNECT:
            return ceil(self.dialling.connect_ttl_s)  # noted by address when it failed
        return _AGAIN_S

    def dropped(self, session: Link, from_domain: Domain) -> None:
        """A proof ended while the link stays."""
        self.caps.unproved(session.number, from_domain)

    def terms(self, from_domain: bytes) -> tuple[float, float]:
        """GCRA interval and burst, seconds, of the domain's senders."""
        return self._terms(from_domain)

    def closed(self, session: Link) -> None:
        """The connection is gone, or a stranger's no more: a service logged in."""
        self.caps.closed(session.number)
        self._service_caps.closed(session.number)


def _group(session: Link) -> str:
    """Links are counted by the certificate of ours that was presented on them."""
    own = session.tls.own if session.tls is not None else None
    return own.fingerprint.hex() if own is not None else ""
