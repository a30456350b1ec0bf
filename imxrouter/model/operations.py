"""The four operations of the abstract service (RFC 3860 section 3, RFC 3859 section 3, IMX draft 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from imxrouter.model.address import Address

#: Default and upper bound of MaxForwards (RFC 3860 section 3.4.2 asks for "above 100"; CPIM-3).
MAX_HOPS = 110

#: Bytes of a message id; random, unique within its source domain for the duplicate window.
MESSAGE_ID_BYTES = 16

#: A foreign transaction identifier carried and returned (RFC 3860 section 3.2: up to 40 octets).
MAX_TRANS_ID_BYTES = 40


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
    """

    source: Address
    destination: Address
    message_id: bytes
    content_type: str
    content: bytes
    hops_left: int = MAX_HOPS
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    trans_id: bytes = b""
