"""What a link proves of a domain: the facts of TLS, certificate and dial-back, put to the one function.

Every decision of `routing.policy.decide` about a link is made here, whoever opened it (rule 4).

An XMPP stream is weighed by the same function and other facts. The key of its dial-back is not bound to the
stream's TLS session: who stands between may pass it on. So it is worth a certificate only where the stream
itself showed one for the domain, beside that of the servers that were asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import (
    XMPP_PROOFS,
    Decision,
    Level,
    Offer,
    Policy,
    PolicyTable,
    RememberedStrength,
    Tls,
    XmppProofs,
    decide,
    needed_strength,
    tls_needed,
)
from imxrouter.tls.dane import judge
from imxrouter.tls.facts import TlsFacts
from imxrouter.tls.identity import Service
from imxrouter.tls.peer import Anchors, PeerCertificate

#: Words of a target's record for which we dial with TLS: DNS raises what we ask, never lowers it.
_TLS_WORDS = frozenset({"required", "optional"})
#: Reasons that are not for lack of trust: TLSA records name another certificate, or cannot be learned.
_DENIED = frozenset(
    {Reason.DANE_MISMATCH, Reason.DNS_FAILURE, Reason.DNS_TIMEOUT, Reason.BAD_DNS_RECORD, Reason.BUSY}
)
#: For what a certificate must name a domain, by what is spoken.
SERVICE_OF = {Protocol.IMX: Service.IMX, Protocol.XMPP: Service.XMPP}
_VERSIONS = {"TLSv1.3": Tls.V1_3, "TLSv1.2": Tls.V1_2}


@dataclass(frozen=True, slots=True)
class Judged:
    """What a certificate says of a domain; `reason` and `note` tell an operator why it is not good.

    `by` tells what makes it good, as `tls.dane.Coverage` has it.
    """

    good: bool
    note: str = ""
    reason: Reason = Reason.CERTIFICATE_REFUSED
    by: str = ""

    @property
    def denied(self) -> bool:
        """Whether the domain's own DNSSEC says that this is not its router, or somebody hides what it says.

        Such a one is not used, whatever the policy asks for (RFC 7672 sections 2.1.2 and 3.2).
        """
        return not self.good and self.reason in _DENIED


#: Judges a peer's certificate for a domain. The third argument says that the peer opened the link; the last
#: one what DNSSEC says of the way on which we reached it, None where nothing does.
JudgeCertificate = Callable[[PeerCertificate, Domain, bool, Delegation | None], Judged]


class Strengths:
    """Decides what a link is worth.

    Args:
        policies: what is asked of each peer domain.
        remembered: the strongest seen of each.
        now: monotonic seconds.
        judge: judges certificates, for the service of that protocol.
        protocol: what is spoken on the links.

    Attributes:
        tls: whether this router can open links over TLS.
    """

    def __init__(
        self,
        policies: PolicyTable,
        remembered: RememberedStrength,
        now: Callable[[], float],
        judge: JudgeCertificate = lambda _peer, _domain, _as_client, _way: Judged(False, "no trust anchors"),
        protocol: Protocol = Protocol.IMX,
    ) -> None:
        self.policies = policies
        self.remembered = remembered
        self.judge = judge
        self.tls = False
        self.protocol = protocol
        self._binds = protocol is Protocol.IMX
        self._now = now

    # -- links of ours -----------------------------------------------------------------------------------

    def asks_tls(self, domain: Domain, published: str | None, need: int = 0) -> bool:
        """Whether a target of the domain is dialled with TLS.

        Args:
            domain: to be reached.
            published: `tls` of the target's record; what is only optional is used where we can.
            need: more bits that the link must have.
        """
        offered = published == "required" or (published in _TLS_WORDS and self.tls)
        seen = self._seen(domain, reached=True)
        return tls_needed(self.policies.policy_for(domain), seen, published=offered) or bool(
            need & Level.DIALBACK_TLS & ~Level.DIALBACK
        )

    def may_reach(self, domain: Domain, need: int = 0) -> Decision:
        """The best that a link of ours to the domain can be, before anything is dialled."""
        tls = Tls.V1_3 if self.tls else Tls.NONE
        return self._reached(domain, tls, Judged(True), need)

    def reached(self, facts: TlsFacts | None, domain: Domain, need: int = 0) -> Decision:
        """What a link is worth that we opened, led by the domain's own DNS or a pin."""
        return self._reached(domain, version_of(facts), self.judged(facts, domain, as_client=False), need)

    def _reached(self, domain: Domain, tls: Tls, judged: Judged, need: int) -> Decision:
        policy, offer = self.policies.policy_for(domain), Offer(tls, judged.good, True, self._binds)
        seen = self._seen(domain, reached=True)
        if policy is Policy.CERTIFICATE:
            offer = replace(offer, dialback=False)
        decision = _held_to_dns(_told(decide(policy, offer, seen), judged), judged)
        if decision.accepted and need & ~decision.strength:
            note = "missing: what the domain of ours asks for"
            return Decision(Level.NONE, 0, Reason.WEAKER_THAN_POLICY, f"{note}; {judged.note}".rstrip("; "))
        return decision

    def note_reached(self, facts: TlsFacts | None, domain: Domain) -> None:
        """Remember at which strength a domain was reached."""
        strength = self.reached(facts, domain).strength
        self.remembered.note(domain, strength, self._now(), reached=True, protocol=self.protocol)

    # -- links of others ---------------------------------------------------------------------------------

    def may_prove(self, first: TlsFacts | None, domain: Domain) -> Decision:
        """The best that dial-back can come to for a claim on a link, before anything is dialled."""
        tls = version_of(first) if self.tls else Tls.NONE
        shown = Judged(True) if self._binds else self.judged(first, domain, as_client=True)
        return self._decide(domain, Offer(tls, shown.good, True, self._binds), shown)

    def must_prove_in_tls(self, domain: Domain) -> bool:
        """Whether a claim of the domain can be good only where both connections are over TLS."""
        return tls_needed(self.policies.policy_for(domain), self._seen(domain))

    def proved(self, first: TlsFacts | None, second: TlsFacts | None, domain: Domain) -> Decision:
        """What dial-back over a second connection proves: it is over TLS where both connections are."""
        tls = version_of(first) if second is not None else Tls.NONE
        judged = self.judged(second, domain, as_client=False)
        if judged.good and not self._binds:  # nothing ties what the second one proves to the first
            judged = self.judged(first, domain, as_client=True)
        decision = self._decide(domain, Offer(tls, judged.good, True, self._binds), judged)
        return _held_to_dns(decision, judged)

    def presented(self, first: TlsFacts | None, domain: Domain) -> Decision:
        """What the client certificate of a link alone proves, under a policy that asks for no dial-back."""
        judged = self.judged(first, domain, as_client=True)
        return self._decide(domain, Offer(version_of(first), judged.good, False, self._binds), judged)

    def returned(self, first: TlsFacts | None, second: TlsFacts | None, domain: Domain) -> Decision:
        """What our nonce proves that came back on a link of ours, of who had sent VERIFY on a second one.

        The nonce says nothing of who stands between on the second connection; a certificate shown there does.
        """
        tls = version_of(second) if first is not None else Tls.NONE
        judged = self.judged(second, domain, as_client=True)
        return self._decide(domain, Offer(tls, judged.good, dialback=True), judged)

    def note_proved(self, domain: Domain, strength: int) -> None:
        """Remember at which strength a domain proved itself."""
        self.remembered.note(domain, strength, self._now(), protocol=self.protocol)

    def _seen(self, domain: Domain, *, reached: bool = False) -> int:
        return self.remembered.seen(domain, self._now(), reached=reached, protocol=self.protocol)

    def _decide(self, domain: Domain, offer: Offer, judged: Judged) -> Decision:
        seen = self._seen(domain)
        return _told(decide(self.policies.policy_for(domain), offer, seen), judged)

    # -- certificates ------------------------------------------------------------------------------------

    def judged(self, facts: TlsFacts | None, domain: Domain, *, as_client: bool) -> Judged:
        """Judge the peer's certificate on a link for a domain."""
        if facts is None:
            return Judged(False)
        if facts.peer is None:
            return Judged(False, facts.unreadable or "no certificate was presented")
        way = None if as_client else facts.ways.get(domain.name)
        return self.judge(facts.peer, domain, as_client, way)

    def needs_certificate(self, domain: Domain) -> bool:
        """Whether the domain must be proved, or reached, with a certificate."""
        needed = needed_strength(self.policies.policy_for(domain), self._seen(domain, reached=True))
        return bool(needed & Level.CERTIFICATE & ~Level.DIALBACK_TLS)

    def needed(self, domain: Domain) -> int:
        """The bits at which the domain must prove itself, by policy and memory."""
        return needed_strength(self.policies.policy_for(domain), self._seen(domain))

    def rests_on_certificate(self, domain: Domain, level: int, *, claimed: bool) -> bool:
        """Whether a domain's proof on a link that it opened rests on that link's certificate.

        Args:
            domain: proved.
            level: at which, as bits.
            claimed: by its own claim there.
        """
        if self._binds and claimed and level & Level.DIALBACK:
            return False  # on that of the connection by which it was verified
        return bool(self.needed(domain) & Level.CERTIFICATE & ~Level.DIALBACK_TLS)

    def xmpp_proofs(self, domain: Domain) -> XmppProofs:
        """How the domain may prove itself on an XMPP stream that it opened; memory counts as policy does."""
        proofs = XMPP_PROOFS[self.policies.policy_for(domain)]
        needed = self.needed(domain)
        certificate = bool(needed & Level.CERTIFICATE & ~Level.DIALBACK_TLS)
        tls = bool(needed & Level.DIALBACK_TLS & ~Level.DIALBACK)
        return replace(proofs, certificate=certificate, tls=tls)


def judge_certificate(
    anchors: Anchors,
    peer: PeerCertificate,
    domain: Domain,
    at: float,
    *,
    as_client: bool,
    way: Delegation | None = None,
    service: Service = Service.IMX,
) -> Judged:
    """Judge a peer's certificate for a domain: its chain, its names, and what DNSSEC says of it.

    Args:
        anchors: whom to trust.
        peer: the certificate.
        domain: whom it must name.
        at: seconds since 1970.
        as_client: the peer opened the link.
        way: the way from the domain to the target that we connected to; None: nothing is known of it.
        service: for what it must name the domain.
    """
    judgement = anchors.judge(peer, at=at, as_client=as_client)
    untrusted = ""
    if judgement.problem is not None:
        untrusted = f"{judgement.problem.value}: {judgement.note}".rstrip(": ")
    way, known = way or Delegation(), anchors.certificates
    found = judge(domain, peer, way, untrusted=untrusted, at=at, anchors=known, service=service)
    return Judged(found.covers, found.note, found.reason, found.by)


def version_of(facts: TlsFacts | None) -> Tls:
    """How a connection is encrypted; a version that is not known counts as the least."""
    return Tls.NONE if facts is None else _VERSIONS.get(facts.version, Tls.V1_2)


def _held_to_dns(decision: Decision, judged: Judged) -> Decision:
    """Refuse who is not the domain's router by the domain's own word, and say so before anything else."""
    if not judged.denied or decision.reason is judged.reason:
        return decision
    return Decision(Level.NONE, 0, judged.reason, judged.note)


def _told(decision: Decision, judged: Judged) -> Decision:
    if decision.accepted or not judged.note:
        return decision
    note = f"{decision.note}: {judged.note}"
    if decision.reason is Reason.CERTIFICATE_REFUSED:
        return replace(decision, reason=judged.reason, note=note)
    return replace(decision, note=note)
