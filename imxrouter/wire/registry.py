"""Registries of record types, fields and capabilities (specification sections 5 and 6)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from imxrouter.model.operations import Kind
from imxrouter.wire.layout import FIRST_ROUTED_TYPE, RESPONSE_BIT


class RecordType(IntEnum):
    """Known record types; a number that is not here is kept as a number."""

    HELLO = 0x0001
    PING = 0x0002
    ACK = 0x0003
    CLOSE = 0x0004
    REDIRECT = 0x0005
    CREDIT = 0x0006
    CLAIM = 0x0010
    PROOF = 0x0011
    VERIFY = 0x0012
    WITHDRAW = 0x0013
    PROVED = 0x0014
    LOGIN = 0x0020
    HAND_OVER = 0x0021
    MESSAGE = 0x0100
    SUBSCRIBE = 0x0101
    NOTIFY = 0x0102
    ATTRIBUTES = 0x0103
    ECHO = 0x0104
    REPORT = 0x0105
    STANZA = 0x0106
    FOREIGN = 0x0110
    PONG = 0x8002
    CLAIM_RESULT = 0x8010
    VERIFY_RESULT = 0x8012
    LOGIN_RESULT = 0x8020
    MESSAGE_RESPONSE = 0x8100
    SUBSCRIBE_RESPONSE = 0x8101
    NOTIFY_RESPONSE = 0x8102
    ATTRIBUTES_RESPONSE = 0x8103
    ECHO_RESPONSE = 0x8104
    REPORT_RESPONSE = 0x8105
    STANZA_RESPONSE = 0x8106
    FOREIGN_RESPONSE = 0x8110


#: Counter slot of a routed type; every other routed type counts as OTHER.
KIND_OF_TYPE: Final = {
    RecordType.MESSAGE.value: Kind.MESSAGE,
    RecordType.SUBSCRIBE.value: Kind.SUBSCRIBE,
    RecordType.NOTIFY.value: Kind.NOTIFY,
    RecordType.ATTRIBUTES.value: Kind.ATTRIBUTES,
}

#: What gateways of one process hand each other through the switch; never sent on a link, and never taken from
#: one (specification section 7.11).
INTERNAL_TYPES: Final = frozenset({RecordType.STANZA.value})
#: A foreign form as it is: judged as a message, or as what the form says that it is.
FORMS: Final = frozenset({RecordType.STANZA.value, RecordType.FOREIGN.value})

CRITICAL_BIT: Final = 0x8000


class FieldType(IntEnum):
    """Known extension fields, without the critical bit."""

    # of routed records
    EPOCH = 0x0001
    TRANS_ID = 0x0002
    DECIDED_BY = 0x0003
    RATE_LEFT = 0x0004
    SUBJECT = 0x0010
    THREAD = 0x0011
    LANGUAGE = 0x0012
    INSTANCE = 0x0013
    RECEIPT_REQUESTED = 0x0014
    IN_REPLY_TO = 0x0015
    ORIGIN_ID = 0x0016
    ORIGINAL_FORM = 0x0017
    CONTENT_TYPE = 0x0018
    TO_INSTANCE = 0x0019
    KIND = 0x001A
    THREAD_PARENT = 0x001B
    SENT_AT = 0x001C
    CHAT_STATE = 0x001D
    ATTRIBUTE = 0x0020
    ATTRIBUTE_NAME = 0x0021
    SUBSCRIPTION_ID = 0x0030
    DURATION = 0x0031
    SUBSCRIPTION_STATE = 0x0032
    VERSION = 0x0033
    UNKNOWN = 0x0034
    PRESENTITY = 0x0035
    # of the link's own records
    VERSIONS = 0x0100
    CAPABILITIES = 0x0101
    MAX_RECORD = 0x0102
    CREDIT_REQUESTS = 0x0103
    CREDIT_BYTES = 0x0104
    ROUTER_INSTANCE = 0x0105
    LINK_EPOCH = 0x0106
    CHALLENGE = 0x0107
    PING_INTERVAL = 0x0108
    DEAD_AFTER = 0x0109
    IDLE_AFTER = 0x010A
    SOFTWARE = 0x010B
    DUPLICATE_WINDOW = 0x010C
    CLAIM_NUMBER = 0x0110
    FROM_DOMAIN = 0x0111
    TO_DOMAIN = 0x0112
    TOKEN = 0x0113
    SECRET = 0x0114
    FIRST_VIEW = 0x0115
    ANSWER = 0x0116
    NONCE = 0x0117
    LEVEL = 0x0118
    REASON = 0x0120
    RETRY_AFTER = 0x0121
    DEADLINE = 0x0122
    TEXT = 0x0123
    TARGET = 0x0124
    REDIRECT_DOMAIN = 0x0125
    SUBJECT_TYPE = 0x0126
    ACKNOWLEDGED = 0x0130
    KEY_ID = 0x0140
    SIGNATURE = 0x0141
    WATCHER = 0x0150
    WATCHED = 0x0151
    WATCH_ID = 0x0152
    WATCH_LEFT = 0x0153


#: Fields a routed record may mark critical and we still forward or deliver: known by meaning.
ROUTED_FIELDS: Final = frozenset(int(number) for number in FieldType if number < 0x0100)


class Capability(IntEnum):
    """What a hello may offer (specification section 5.1)."""

    #: Retries are recognised by epoch (section 8.2); without it nothing is retried towards this peer.
    DUPLICATES = 1
    #: ACK records are understood and sent.
    ACKNOWLEDGE = 2
    #: REDIRECT records are understood.
    REDIRECT = 3


PROTOCOL_VERSION: Final = 1


def is_response(record_type: int) -> bool:
    """Whether the type carries the response bit."""
    return bool(record_type & RESPONSE_BIT)


def is_routed(record_type: int) -> bool:
    """Whether the record is routed by its envelope, known or not; the rest is the link's own."""
    return (record_type & ~RESPONSE_BIT) >= FIRST_ROUTED_TYPE


def type_name(record_type: int) -> str:
    """The registered name, or the number in hex."""
    try:
        return RecordType(record_type).name.lower().replace("_", "-")
    except ValueError:
        return f"0x{record_type:04x}"


def field_name(field_type: int) -> str:
    """The registered name of a field without its critical bit, or the number in hex."""
    try:
        return FieldType(field_type & ~CRITICAL_BIT).name.lower().replace("_", "-")
    except ValueError:
        return f"0x{field_type & ~CRITICAL_BIT:04x}"
