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

    IMX = "imx"
    XMPP = "xmpp"
    SIP = "sip"


DEFAULT_ORDER: Final = (Protocol.IMX, Protocol.XMPP, Protocol.SIP)


class Uri(Enum):
    """The two abstract services (RFC 3860 and 3859), by their URI scheme."""

    IM = "im"
    PRES = "pres"


class Publication(Enum):
    """What DNS says about a protocol of a domain."""

    PUBLISHED = "published"
    #: A clean NXDOMAIN or NODATA, and nothing else.
    ABSENT = "absent"
    #: `0 .` or SRV `.`: the domain says that it has no such service, which ends the search.
    NO_SERVICE = "no-service"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LookUp:
    """The answer to one protocol's look-up; `reason` says why where it failed."""

    publication: Publication
    reason: Reason = Reason.NONE


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
    """

    pinned: Protocol | None = None
    served_here: bool = False
    incoming: Protocol | None = None
    look_ups: Mapping[Protocol, LookUp] = field(default_factory=dict)
    allowed: frozenset[Protocol] = frozenset(Protocol)
    order: tuple[Protocol, ...] = DEFAULT_ORDER


class Why(Enum):
    """By which clause of the rule a protocol was chosen."""

    PINNED = "pinned"
    SERVED_HERE = "served-here"
    INCOMING = "incoming"
    ORDER = "order"


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
    "not published" moves on.
    """
    if facts.pinned is not None:
        if facts.pinned not in facts.allowed:
            return NoChoice(Reason.BLOCKED, facts.pinned)
        return Choice(facts.pinned, Why.PINNED)
    if facts.served_here:
        return Choice(None, Why.SERVED_HERE)
    for protocol in _candidates(facts):
        answer = facts.look_ups.get(protocol)
        if answer is None:
            return Ask(protocol)
        if answer.publication is Publication.FAILED:
            return NoChoice(_failure_of(answer), protocol)
        if answer.publication is Publication.NO_SERVICE:
            return NoChoice(Reason.NO_SERVICE, protocol)
        if answer.publication is Publication.PUBLISHED:
            return Choice(protocol, Why.INCOMING if protocol is facts.incoming else Why.ORDER)
    return NoChoice(Reason.NO_IMX_RECORD)


def _candidates(facts: ChoiceFacts) -> list[Protocol]:
    wanted = [facts.incoming] if facts.incoming is not None else []
    wanted += facts.order
    return [protocol for protocol in dict.fromkeys(wanted) if protocol in facts.allowed]


def _failure_of(answer: LookUp) -> Reason:
    return Reason.DNS_FAILURE if answer.reason is Reason.NONE else answer.reason
