"""Which protocol reaches a remote domain: one pure function, for `im` and `pres` alike (BEY-7).

RFC 3861 asks per kind of URI, so the caller makes one set of facts for messages and one for presence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from imxrouter.model.vocabulary import Reason


class Protocol(Enum):
    """What the router speaks at its edges."""

    #: there is one object of each: to look one up needs no call of Python's
    __hash__ = object.__hash__

    IMX = "imx"
    XMPP = "xmpp"
    SIP = "sip"


DEFAULT_ORDER: Final = (Protocol.IMX, Protocol.XMPP, Protocol.SIP)


class Uri(Enum):
    """The two abstract services (RFC 3860 and 3859), by their URI scheme."""

    #: there is one object of each: to look one up needs no call of Python's
    __hash__ = object.__hash__

    IM = "im"
    PRES = "pres"


class Publication(Enum):
    """What DNS says about a protocol of a domain."""

    PUBLISHED = "published"
    #: A clean NXDOMAIN or NODATA, and nothing else.
    ABSENT = "absent"
    #: As cleanly absent, but the domain is itself a host that may answer (RFC 6120 section 3.2.2).
    GUESSED = "guessed"
    #: SRV `.` of this protocol alone: the domain says so itself, and may have another one (RFC 2782).
    DECLINED = "declined"
    #: `0 .`, or SRV `.` of IMX: the domain takes no messages at all, which ends the search.
    NO_SERVICE = "no-service"
    FAILED = "failed"


#: What ends the search; no other protocol is looked for.
_ENDS: Final = frozenset({Publication.FAILED, Publication.NO_SERVICE})


@dataclass(frozen=True, slots=True)
class LookUp:
    """The answer to one protocol's look-up.

    Attributes:
        publication: what DNS says.
        reason: why, where it is not published.
        secure: what it says was validated with DNSSEC.
        apart: it is published in a form that can tell messages from presence.
    """

    publication: Publication
    reason: Reason = Reason.NONE
    secure: bool = False
    apart: bool = False


@dataclass(frozen=True, slots=True)
class ChoiceFacts:
    """What the choice is made from.

    Attributes:
        pinned: the protocol of a configured peer, which needs no DNS.
        served_here: the domain is one of ours.
        incoming: the protocol the operation came in by; None from our own embedded service.
        look_ups: what is known so far; a protocol that is missing was not asked for.
        allowed: what policy and configuration let us speak to this domain.
        order: which protocol is preferred, set per domain.
        remembered: by which protocols the domain was reached before, as long as that is remembered.
    """

    pinned: Protocol | None = None
    served_here: bool = False
    incoming: Protocol | None = None
    look_ups: Mapping[Protocol, LookUp] = field(default_factory=dict)
    allowed: frozenset[Protocol] = frozenset(Protocol)
    order: tuple[Protocol, ...] = DEFAULT_ORDER
    remembered: frozenset[Protocol] = frozenset()


class Why(Enum):
    """By which clause of the rule a protocol was chosen."""

    PINNED = "pinned"
    SERVED_HERE = "served-here"
    INCOMING = "incoming"
    ORDER = "order"
    #: nothing is published, but the domain is a host
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Choice:
    """Speak this; None is our own service. Holds for the TTL, and for a subscription's life."""

    protocol: Protocol | None
    why: Why


@dataclass(frozen=True, slots=True)
class Ask:
    """One more look-up is needed before the choice can be made."""

    protocol: Protocol


@dataclass(frozen=True, slots=True)
class NoChoice:
    """The domain cannot be reached; `protocol` is the one whose look-up decided, where one did."""

    reason: Reason
    protocol: Protocol | None = None


def choose(facts: ChoiceFacts) -> Choice | Ask | NoChoice:
    """Choose by the rule, in its order.

    A failed look-up ends the search: no failure of a protocol leads to another, weaker one. Only a clean
    "not published" moves on; and not from a protocol by which the domain was reached before, unless DNSSEC
    proves that it is withdrawn, for whoever can forge an absence would choose for us.
    """
    if facts.pinned is not None:
        if facts.pinned not in facts.allowed:
            return NoChoice(Reason.BLOCKED, facts.pinned)
        return Choice(facts.pinned, Why.PINNED)
    if facts.served_here:
        return Choice(None, Why.SERVED_HERE)
    candidates = _candidates(facts)
    for protocol in candidates:
        answer = facts.look_ups.get(protocol)
        if answer is None:
            return Ask(protocol)
        if answer.publication in _ENDS:
            return NoChoice(_failure_of(answer), protocol)
        if answer.publication is Publication.PUBLISHED:
            return _take(facts, protocol, Why.INCOMING if protocol is facts.incoming else Why.ORDER)
    for protocol in candidates:
        if facts.look_ups[protocol].publication is Publication.GUESSED:
            return _take(facts, protocol, Why.ADDRESS)
    return _nothing(facts, candidates)


def _take(facts: ChoiceFacts, protocol: Protocol, why: Why) -> Choice | NoChoice:
    """Take a protocol, unless one that is preferred has vanished without proof."""
    preferred = facts.order[: facts.order.index(protocol)] if protocol in facts.order else ()
    for earlier in preferred:
        answer = facts.look_ups.get(earlier)
        if earlier in facts.remembered and earlier in facts.allowed and answer and not answer.secure:
            return NoChoice(Reason.WEAKER_THAN_REMEMBERED, earlier)
    return Choice(protocol, why)


def _nothing(facts: ChoiceFacts, candidates: list[Protocol]) -> NoChoice:
    """Say why nothing is left: what the domain says itself, else that none of what is allowed is there."""
    answers = [facts.look_ups[protocol] for protocol in candidates]
    if not candidates:
        return NoChoice(Reason.BLOCKED)
    if any(answer.publication is Publication.DECLINED for answer in answers):
        return NoChoice(Reason.NO_SERVICE)
    if all(answer.reason is Reason.NO_SUCH_DOMAIN for answer in answers):
        return NoChoice(Reason.NO_SUCH_DOMAIN)
    return NoChoice(Reason.NO_XMPP_RECORD if candidates == [Protocol.XMPP] else Reason.NO_IMX_RECORD)


def _candidates(facts: ChoiceFacts) -> list[Protocol]:
    wanted = [facts.incoming] if facts.incoming is not None else []
    wanted += facts.order
    return [protocol for protocol in dict.fromkeys(wanted) if protocol in facts.allowed]


def _failure_of(answer: LookUp) -> Reason:
    if answer.publication is Publication.NO_SERVICE:
        return Reason.NO_SERVICE
    return Reason.DNS_FAILURE if answer.reason is Reason.NONE else answer.reason
