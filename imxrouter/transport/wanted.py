"""What one link that is dialled must be: TLS or not, whose certificate, which strength at least."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imxrouter.discovery.records import Target
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.policy import Decision
from imxrouter.tls.dane import promises_tls, sni_of
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.dialing import Endpoint, Reuse
from imxrouter.transport.link import Link
from imxrouter.transport.strengths import Strengths


@dataclass(frozen=True, slots=True)
class Wanted:
    """Asked at each step of dialling; never weaker than policy, memory, and what the caller needs.

    Attributes:
        strengths: decides.
        domain: to be reached.
        own: the domain of ours whose certificate is presented.
        need: bits beside those that policy asks for.
        first: the link whose claim this one is to verify; None for a link of our own traffic.
    """

    strengths: Strengths
    domain: Domain
    own: Domain | None = None
    need: int = 0
    first: Link | None = None

    def best(self) -> Decision:
        """What can be reached at best; asked before anything is looked up."""
        if self.first is not None:
            return self.strengths.may_prove(self.first.tls, self.domain)
        return self.strengths.may_reach(self.domain, self.need)

    def in_tls(self, target: Target) -> bool:
        """Whether a target is dialled with TLS."""
        if self.first is not None and self.strengths.must_prove_in_tls(self.domain):
            return True
        promised = target.tls != "none" and self.strengths.tls and promises_tls(target.way)
        return promised or self.strengths.asks_tls(self.domain, target.tls, self.need)

    def filter(self, target: Target) -> Reason | None:
        """Why a target is not dialled at all: its record and our policy exclude each other."""
        wants = self.in_tls(target)
        if wants and (target.tls == "none" or not self.strengths.tls):
            return Reason.WEAKER_THAN_POLICY
        return None

    def identify(self, target: Target, facts: TlsFacts | None) -> Decision:
        """Judge a connection that is there."""
        return self._judge(target, facts)

    def server_name(self, target: Target) -> str:
        """The name for SNI: the domain's, or the target's where TLSA records name its certificate."""
        return sni_of(self.domain, target.way)

    def fitting(self, reuse: Reuse) -> Callable[[Endpoint, Target], Link | None]:
        """Take an open link only where it does for this domain: pools are by address, port and TLS."""

        def take(endpoint: Endpoint, target: Target) -> Link | None:
            in_tls, named = self.in_tls(target), self._must_be_named(target)
            return reuse(endpoint, lambda one: self._fits(one, target, in_tls=in_tls, named=named))

        return take

    def _must_be_named(self, target: Target) -> bool:
        """Whether only a certificate that names the domain does, whatever DNSSEC says of the target."""
        way = target.way
        by_dns = way is not None and (way.secure or bool(way.tlsa))
        return not by_dns and self.strengths.needs_certificate(self.domain)

    def _fits(self, session: Link, target: Target, *, in_tls: bool, named: bool) -> bool:
        facts = session.tls
        if in_tls and facts is None:
            return False
        if named and facts is not None and facts.peer is not None and not facts.peer.covers(self.domain):
            return False  # hundreds of links may lead there, for as many domains: no more is asked of them
        return self._judge(target, session.tls).accepted

    def _judge(self, target: Target, facts: TlsFacts | None) -> Decision:
        if facts is not None and target.way is not None:
            facts.ways[self.domain.name] = target.way
        if self.first is not None:
            return self.strengths.proved(self.first.tls, facts, self.domain)
        return self.strengths.reached(facts, self.domain, self.need)
