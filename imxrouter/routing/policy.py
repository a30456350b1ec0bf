"""How strongly a domain must be proved, and the one function that decides it (rule 4: never weaker).

A strength is a set of properties, written as bits:

    1 dial-back    the domain's own DNS (or a pin) led to the other end of the proof
    2 TLS          the connection is encrypted (1.2 at least)
    4 certificate  its certificate covers the domain
    8 bound        it is TLS 1.3, so that the dial-back answer is bound to its session (BEY-1)

A level is one of the sets that have a name, so a level meets another exactly when it has all its bits.
Levels are not all in one line: a certificate alone and dial-back over TLS are two different things.

The key of an XMPP dial-back names the stream and is bound to nothing else, so that bit 8 does not exist
there. What is remembered of a domain is remembered for each protocol apart: that its router was bound to
TLS 1.3 says nothing of its XMPP server. No domain gets weaker by that, for a message goes by another
protocol only where DNS says that nothing is published for the one before (`routing.choice`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.shares import ShareTable
from imxrouter.routing.zones import zone_of

_DIALBACK: Final = 1
_TLS: Final = 2
_CERTIFICATE: Final = 4
BOUND: Final = 8


class Level(IntEnum):
    """What was proved of a domain; compare as bits, never with `<`."""

    NONE = 0
    DIALBACK = _DIALBACK
    DIALBACK_TLS = _DIALBACK | _TLS
    #: Only names in the link's certificate; no dial-back was made.
    CERTIFICATE = _TLS | _CERTIFICATE
    DIALBACK_CERTIFICATE = _DIALBACK | _TLS | _CERTIFICATE


class Tls(IntEnum):
    """How the connection is encrypted."""

    NONE = 0
    V1_2 = 2
    V1_3 = 3


class Policy(Enum):
    """What is asked of a domain, in the words of the configuration; the default is the strongest."""

    DIALBACK = "dialback"
    DIALBACK_TLS = "dialback+tls"
    CERTIFICATE = "certificate"
    DIALBACK_CERTIFICATE = "dialback+certificate"

    @property
    def level(self) -> Level:
        """The level that meets it."""
        return _LEVEL_OF_POLICY[self]


_LEVEL_OF_POLICY: Final = {
    Policy.DIALBACK: Level.DIALBACK,
    Policy.DIALBACK_TLS: Level.DIALBACK_TLS,
    Policy.CERTIFICATE: Level.CERTIFICATE,
    Policy.DIALBACK_CERTIFICATE: Level.DIALBACK_CERTIFICATE,
}
DEFAULT_POLICY: Final = Policy.DIALBACK_CERTIFICATE


@dataclass(frozen=True, slots=True)
class XmppProofs:
    """How a domain proves itself on an XMPP stream that it opened, under one policy.

    Attributes:
        external: SASL EXTERNAL is offered, and proves it.
        verified: its dial-back key is verified by asking the domain's own servers.
        covered: its dial-back key is taken without asking anybody, for the certificate of the stream covers
            the domain (dial-back without dialling back, XEP-0220 section 1.2).
        tls: the stream must be in TLS before anything else.
        certificate: the certificate of the stream must cover the domain, whatever else is asked.
    """

    external: bool
    verified: bool
    covered: bool
    tls: bool
    certificate: bool


#: Never more than one way, and none that proves less than the policy's level. EXTERNAL is offered only where
#: a certificate alone is enough: who has done it makes no dial-back any more.
XMPP_PROOFS: Final[Mapping[Policy, XmppProofs]] = {
    Policy.DIALBACK: XmppProofs(
        external=False, verified=True, covered=False, tls=False, certificate=False
    ),
    Policy.DIALBACK_TLS: XmppProofs(
        external=False, verified=True, covered=False, tls=True, certificate=False
    ),
    Policy.CERTIFICATE: XmppProofs(
        external=True, verified=False, covered=True, tls=True, certificate=True
    ),
    Policy.DIALBACK_CERTIFICATE: XmppProofs(
        external=False, verified=True, covered=False, tls=True, certificate=True
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Offer:
    """The facts of a connection and a domain.

    Attributes:
        tls: how it is encrypted.
        certificate_covers: its certificate is valid and names the domain. Without TLS it says nothing.
        dialback: dial-back succeeded, or, before it was made, can be made; for a link we opened: the domain's
            own DNS or a pin led there.
        binds: dial-back is bound to the TLS session where that is TLS 1.3.
    """

    tls: Tls
    certificate_covers: bool
    dialback: bool
    binds: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What `decide` says.

    Attributes:
        level: what the domain is accepted at; NONE where it is refused.
        strength: the bits to be remembered; 0 where it is refused.
        reason: why it is refused; NONE where it is accepted.
        note: the missing properties, for operators.
    """

    level: Level
    strength: int = 0
    reason: Reason = Reason.NONE
    note: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the domain is accepted."""
        return self.reason is Reason.NONE


def needed_strength(policy: Policy, remembered: int = 0) -> int:
    """The bits that a connection must have: those of the policy and those seen before.

    Who dials asks this before he offers anything; who accepts asks `decide`, which asks this. Under
    `certificate` no dial-back is made, so dial-back and its binding cannot be asked for.
    """
    if policy is Policy.CERTIFICATE:
        remembered &= ~(_DIALBACK | BOUND)
    return policy.level | remembered


def tls_needed(policy: Policy, remembered: int = 0, *, published: bool | None = None) -> bool:
    """Whether to insist on TLS when dialling. DNS can raise the answer to yes, never lower it to no."""
    return bool(needed_strength(policy, remembered) & _TLS) or published is True


def decide(policy: Policy, offer: Offer, remembered: int = 0) -> Decision:
    """Decide whether a domain is accepted on what is offered, and at which level.

    Args:
        policy: what is asked of it.
        offer: the facts.
        remembered: the strength seen before (`RememberedStrength.seen`), 0 for none.
    """
    has = _strength(offer, policy)
    missing = needed_strength(policy, remembered) & ~has
    if not missing and has & (_DIALBACK | _CERTIFICATE):
        return Decision(Level(has & ~BOUND), has)
    note = "missing: " + ", ".join(word for bit, word in _WORDS.items() if missing & bit)
    if not policy.level & ~has:
        return Decision(Level.NONE, 0, Reason.WEAKER_THAN_REMEMBERED, note)
    if policy.level & ~has == _CERTIFICATE and offer.tls is not Tls.NONE:
        return Decision(Level.NONE, 0, Reason.CERTIFICATE_REFUSED, note)
    return Decision(Level.NONE, 0, Reason.WEAKER_THAN_POLICY, note)


_WORDS: Final = {
    _DIALBACK: "dial-back", _TLS: "TLS", _CERTIFICATE: "a certificate for the domain", BOUND: "TLS 1.3"
}  # fmt: skip


def _strength(offer: Offer, policy: Policy) -> int:
    """The bits of an offer; TLS alone proves nobody."""
    strength = 0
    if offer.dialback and policy is not Policy.CERTIFICATE:
        strength |= _DIALBACK
    if offer.tls is not Tls.NONE:
        strength |= _TLS
        if offer.certificate_covers:
            strength |= _CERTIFICATE
        if offer.tls is Tls.V1_3 and offer.binds and strength & _DIALBACK:
            strength |= BOUND
    return strength


class BadPolicyRule(RouterError):
    """A rule names neither a domain nor `*.` and a zone."""


class PolicyTable:
    """Which policy holds for a domain: its own rule, else that of the nearest zone, else the default."""

    def __init__(self, rules: Mapping[str, Policy] | None = None, default: Policy = DEFAULT_POLICY) -> None:
        """Take rules by domain or `*.zone` (every domain below the zone, not the zone itself).

        Raises:
            BadPolicyRule: a `*` stands where it may not.
            BadDomain: a name is no domain.
        """
        self.default = default
        self._rules: dict[str, Policy] = {}
        for name, policy in (rules or {}).items():
            star, plain = name.startswith("*."), name.removeprefix("*.")
            if "*" in plain:
                raise BadPolicyRule(f"{name!r}: '*' may stand only for the first labels, as in *.example")
            self._rules[("*." if star else "") + Domain.parse(plain).name] = policy

    def policy_for(self, domain: Domain) -> Policy:
        """The policy for a domain."""
        found = self._rules.get(domain.name)
        zone = domain.name
        while found is None and "." in zone:
            zone = zone.partition(".")[2]
            found = self._rules.get("*." + zone)
        return self.default if found is None else found


#: The least of what is remembered by default (architecture, rule 4).
REMEMBER_S: Final = 30 * 86400.0
#: What is seen again renews its time when this part of it has passed (an hour of thirty days), so that a
#: store is not told at every proof.
_RENEW_PART: Final = 1 / 720
#: Part of the table that the domains of one zone may take together.
_ZONE_PART: Final = 64


#: Where the strength at which a domain was reached stands, beside that at which it proved itself.
_REACHED_SHIFT: Final = 4
_ONE_WAY: Final = 0xF
#: Where both stand of each protocol; a number that is kept from before there were two is that of IMX.
_SHIFT_OF: Final = {Protocol.IMX: 0, Protocol.XMPP: 8}
_NO_BINDING: Final = _ONE_WAY & ~BOUND
#: Every bit that can be remembered: nothing is bound to TLS but IMX.
REMEMBERED_BITS: Final = 0xFF | (_NO_BINDING | _NO_BINDING << _REACHED_SHIFT) << _SHIFT_OF[Protocol.XMPP]


class RememberedStrength:
    """The strongest that was seen of each domain by each protocol, for a time; less is refused.

    Both ways are remembered apart: how a domain proved itself on links that it opened to us, and how we
    reached it on ours. A router may take links over TLS and open its own in clear, because its peer takes no
    other; what we saw when we reached it says nothing of how it can prove itself.

    Bounded, and a zone gets a 64th of it at most (16 at least), so that no stranger's inventions push out
    what is remembered of others. What does not fit is not remembered.

    Attributes:
        on_changed: told (domain, strength, time it is forgotten) of what a store should keep; a strength of 0
            where it was forgotten.
    """

    def __init__(self, limit: int = 100_000, age_s: float = REMEMBER_S) -> None:
        self.on_changed: Callable[[Domain, int, float], None] = lambda *_: None
        self._age_s = age_s
        self._table: ShareTable[int] = ShareTable(limit, max(limit // _ZONE_PART, 16), sweep_every_s=60.0)

    def __len__(self) -> int:
        return len(self._table)

    def change(self, age_s: float) -> None:
        """Remember for another time what is seen from now on."""
        self._age_s = age_s

    def seen(
        self, domain: Domain, now: float, *, reached: bool = False, protocol: Protocol = Protocol.IMX
    ) -> int:
        """The strength to give to `decide`; 0 where nothing is remembered.

        Args:
            domain: of a peer.
            now: monotonic seconds.
            reached: at which we reached it, instead of at which it proved itself.
            protocol: by which.
        """
        both = self.kept(domain, now) >> _SHIFT_OF[protocol] & 0xFF
        proved = both & _ONE_WAY
        if not reached:
            return proved
        # dial-back reached the domain as well: what was seen on the second connection counts for ours
        return both >> _REACHED_SHIFT | (proved & Level.DIALBACK_CERTIFICATE if proved & _DIALBACK else 0)

    def kept(self, domain: Domain, now: float) -> int:
        """Both ways of all protocols in one number, as a store keeps them and `restore` takes them."""
        return self._table.get(domain.name, now) or 0

    def note(
        self, domain: Domain, strength: int, now: float, *, reached: bool = False,
        protocol: Protocol = Protocol.IMX,
    ) -> bool:  # fmt: skip
        """Remember an accepted decision's strength.

        What is remembered only grows until it expires, and seeing all of it again renews its time; seeing
        less (which another policy may accept) neither lowers nor renews it.

        Returns:
            False where there was no room.
        """
        shift = _SHIFT_OF[protocol] + (_REACHED_SHIFT if reached else 0)
        strength = strength << shift & REMEMBERED_BITS
        before = self._table.get(domain.name, now) or 0
        same_way = before & _ONE_WAY << shift
        if not strength or (same_way & ~strength and not strength & ~same_way):
            return True
        strongest, until = before | strength, now + self._age_s
        if strongest == before and until - self._table.expires_at(domain.name) < self._age_s * _RENEW_PART:
            return True
        if not self._table.put(domain.name, strongest, zone_of(domain.name), until, now):
            return False
        self.on_changed(domain, strongest, until)
        return True

    def forget(self, domain: Domain) -> bool:
        """An operator clears the memory; tells whether there was one."""
        known = self._table.remove(domain.name)
        self.on_changed(domain, 0, 0.0)
        return known

    def items(self, now: float) -> list[tuple[Domain, int, float]]:
        """Every domain, its strength, the time it is forgotten; for a store that outlives a restart."""
        return [(Domain(str(name)), strength, at) for name, strength, at in self._table.items(now)]

    def restore(self, domain: Domain, strength: int, expires_at: float, now: float) -> None:
        """Enter what a store kept; for no longer than what is seen today."""
        until = min(expires_at, now + self._age_s)
        self._table.put(domain.name, strength & REMEMBERED_BITS, zone_of(domain.name), until, now)
