"""The four operations of the abstract service (RFC 3860 section 3, RFC 3859 section 3, IMX draft 4.4).

And one more, for what none of them can say: a foreign form that passes as it is (specification section 7.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

from imxrouter.model.address import Address
from imxrouter.model.presence import Presence, Unknown

#: Default and upper bound of MaxForwards (RFC 3860 section 3.4.2 asks for "above 100"; CPIM-3).
MAX_HOPS = 110

#: Bytes of a message id; random, unique within its source domain for the duplicate window.
MESSAGE_ID_BYTES = 16

#: A foreign transaction identifier carried and returned (RFC 3860 section 3.2: up to 40 octets).
MAX_TRANS_ID_BYTES = 40

#: Bytes of a subscription id at most (specification section 7.6).
MAX_SUBSCRIPTION_ID_BYTES: Final = 40

#: How long a subscription lives unless its domain says otherwise (IMX draft section 4.5.1: 30 minutes).
DEFAULT_SUBSCRIPTION_S: Final = 1800


class Kind(IntEnum):
    """What an operation is; the slot of its counters."""

    MESSAGE = 0
    SUBSCRIBE = 1
    NOTIFY = 2
    ATTRIBUTES = 3
    OTHER = 4


@dataclass(frozen=True, slots=True)
class Message:
    """An instant message. `content` is never changed on a path that can carry it (rule 6).

    Attributes:
        source: who sends.
        destination: who shall receive.
        message_id: 16 bytes.
        content_type: a MIME type with parameters.
        content: the body's bytes.
        hops_left: how many more routers may pass it on.
        attributes: of the closed registry (subject, thread, language, instance ...), by name.
        trans_id: a foreign transaction id to return with the outcome, at most 40 bytes.
        user_attributes: of the sender, sent along unsolicited (IMX draft section 4.6.1).
    """

    source: Address
    destination: Address
    message_id: bytes
    content_type: str
    content: bytes
    hops_left: int = MAX_HOPS
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    trans_id: bytes = b""
    user_attributes: tuple[Attribute, ...] = ()


class SubscriptionState(IntEnum):
    """RFC 6665 section 4.1.3; the number on the wire."""

    PENDING = 0
    ACTIVE = 1
    TERMINATED = 2


class EndReason(Enum):
    """Why a subscription ended (RFC 6665 section 4.1.3): the number on the wire, and the word."""

    NONE = (0, "none")
    #: the watcher may subscribe again at once
    DEACTIVATED = (1, "deactivated")
    #: the watcher may subscribe again later
    PROBATION = (2, "probation")
    REJECTED = (3, "rejected")
    TIMEOUT = (4, "timeout")
    GIVEUP = (5, "giveup")
    NORESOURCE = (6, "noresource")
    INVARIANT = (7, "invariant")

    @property
    def code(self) -> int:
        """The number on the wire."""
        return self.value[0]

    @property
    def word(self) -> str:
        """The word in answers and logs."""
        return self.value[1]


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Which of two states of one presentity is the newer one: the greater version is.

    Attributes:
        epoch: of the notifier's life, greater than that of every life before; 64 bits.
        number: counts the states of that life; 64 bits.
    """

    epoch: int
    number: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """A named attribute of a user or of a domain (IMX draft section 4.4.5, 4.6.1).

    Attributes:
        name: a global key of the registry, or `domain/key` (specification section 7.8).
        value: as the key's definition says; text is UTF-8.
        max_age_s: seconds for which its owner lets it be kept; 0: not at all.
    """

    name: str
    value: bytes
    max_age_s: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Begin, renew or end a subscription, or fetch (RFC 3859 section 3.4; specification section 7.6).

    Attributes:
        watcher: who wants to know.
        presentity: of whom.
        message_id: 16 bytes, of this request.
        subscription_id: 1 to 40 bytes, chosen on the watcher's side, kept for renewing and ending.
        duration_s: seconds; 0 ends the subscription, or fetches where there is none of that id.
        hops_left: how many more routers may pass it on.
        trans_id: a foreign transaction id to return with the outcome, at most 40 bytes.
        original_form: name of a protocol, NUL, what it was made of in that protocol's bytes; empty for none.
    """

    watcher: Address
    presentity: Address
    message_id: bytes
    subscription_id: bytes
    duration_s: int
    hops_left: int = MAX_HOPS
    trans_id: bytes = b""
    original_form: bytes = b""

    @property
    def source(self) -> Address:
        """Who sends the operation."""
        return self.watcher

    @property
    def destination(self) -> Address:
        """Whom it is for."""
        return self.presentity


@dataclass(frozen=True, slots=True)
class Notify:
    """The full state of a presentity for one watcher (RFC 3859 section 3.5; specification section 7.7).

    Attributes:
        presentity: whose state it is.
        watcher: who asked for it.
        message_id: 16 bytes, of this request.
        subscription_id: of the subscription.
        state: of the subscription.
        version: of the presence; None where nothing but the subscription's state is told, and with `Unknown`.
        presence: None where nothing is told of it; `Unknown` only from a router.
        document: the bytes of `presence` as they came; empty where they are to be made of it.
        end_reason: why it ended, where it is terminated.
        expires_s: seconds that it has left; None where that is not said.
        attributes: sent along unsolicited.
        hops_left: how many more routers may pass it on.
        original_form: name of a protocol, NUL, what it was made of in that protocol's bytes; empty for none.
    """

    presentity: Address
    watcher: Address
    message_id: bytes
    subscription_id: bytes
    state: SubscriptionState
    version: Version | None = None
    presence: Presence | Unknown | None = None
    document: bytes = b""
    end_reason: EndReason = EndReason.NONE
    expires_s: int | None = None
    attributes: tuple[Attribute, ...] = ()
    hops_left: int = MAX_HOPS
    original_form: bytes = b""

    @property
    def source(self) -> Address:
        """Who sends the operation."""
        return self.presentity

    @property
    def destination(self) -> Address:
        """Whom it is for."""
        return self.watcher


@dataclass(frozen=True, slots=True)
class AttributeQuery:
    """Ask for attributes of a user or of a domain (IMX draft section 4.4.5; specification section 7.8).

    Attributes:
        requester: who asks.
        owner: a user, or a domain itself (empty local part).
        message_id: 16 bytes, of this request.
        names: keys; none: all that the requester may see.
        hops_left: how many more routers may pass it on.
    """

    requester: Address
    owner: Address
    message_id: bytes
    names: tuple[str, ...] = ()
    hops_left: int = MAX_HOPS

    @property
    def source(self) -> Address:
        """Who sends the operation."""
        return self.requester

    @property
    def destination(self) -> Address:
        """Whom it is for."""
        return self.owner


@dataclass(frozen=True, slots=True)
class Foreign:
    """What no operation can say, in the bytes of the protocol that it is of (specification section 7.11).

    Judged as a message; passed on only to domains that take it.

    Attributes:
        source: who sends.
        destination: who shall receive.
        message_id: 16 bytes, of this request.
        protocol: whose form it is, lower-case letters and digits; `xmpp`.
        content: its bytes.
        hops_left: how many more routers may pass it on.
        trans_id: a foreign transaction id to return with the outcome, at most 40 bytes.
    """

    source: Address
    destination: Address
    message_id: bytes
    protocol: str
    content: bytes
    hops_left: int = MAX_HOPS
    trans_id: bytes = b""


Operation = Message | Subscribe | Notify | AttributeQuery | Foreign

KIND_OF: Final[dict[type, Kind]] = {
    Message: Kind.MESSAGE, Subscribe: Kind.SUBSCRIBE, Notify: Kind.NOTIFY, AttributeQuery: Kind.ATTRIBUTES,
    Foreign: Kind.OTHER,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SubscribeResult:
    """What a successful Subscribe is answered with.

    Attributes:
        state: of the subscription from now on.
        duration_s: granted, never more than asked for; 0 where it is terminated.
    """

    state: SubscriptionState
    duration_s: int


@dataclass(frozen=True, slots=True)
class AttributeValues:
    """What a successful AttributeQuery is answered with.

    A key that has no value, and one that the requester may not see, are both left out.
    """

    attributes: tuple[Attribute, ...]
