"""Vectors of subscriptions, notifications, attributes, echo and foreign forms (imx-protocol 7.6 to 7.11)."""

from __future__ import annotations

from dataclasses import replace

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import (
    Attribute,
    AttributeQuery,
    AttributeValues,
    EndReason,
    Foreign,
    Notify,
    Operation,
    Subscribe,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.outcome import SUCCESS
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.operations import notify_to_record, operation_to_record, with_result
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Envelope, Record, encode_record, response_to
from imxrouter.wire.registry import FieldType, RecordType
from tests.vectors.values import A, B, fill

ALICE, BOB = Address.parse("alice@a.example"), Address.parse("bob@b.example")
AT_B = Address("", Domain.from_wire(B))
IDENT = b"sub-1"
VERSION = Version(1_000_000_000_000, 7)
DOCUMENT = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf" '
    b'entity="pres:bob@b.example"><tuple id="t1"><status><basic>open</basic></status></tuple></presence>\n'
)
ALIAS = Attribute("alias", "Böb".encode(), 600)
VALUES = (Attribute("software", b"imxrouter", 3600), Attribute("subscription-lifetime", b"1800", 3600))


def _number(at: int) -> bytes:
    return fill(16, at)


def _request(operation: Operation, tag: int) -> Record:
    return replace(operation_to_record(operation), flags=FLAG_RESPONSE_WANTED, route_tag=tag)


def _answer(request: Record, result: SubscribeResult | AttributeValues) -> Record:
    return with_result(response_to(request, SUCCESS), replace(SUCCESS, result=result))


def _told(at: int, state: SubscriptionState, **more: object) -> Notify:
    return Notify(BOB, ALICE, _number(at), IDENT, state, **more)  # type: ignore[arg-type]


SUBSCRIBE = _request(Subscribe(ALICE, BOB, _number(0x40), IDENT, 600), 0x11)
NOTIFY = _request(
    _told(
        0x50, SubscriptionState.ACTIVE, version=VERSION, document=DOCUMENT, expires_s=600, attributes=(ALIAS,)
    ),
    0x12,
)
TERMINATED = _request(_told(0x60, SubscriptionState.TERMINATED, end_reason=EndReason.REJECTED), 0x13)
UNKNOWN = replace(
    notify_to_record(
        _told(
            0x70, SubscriptionState.ACTIVE, presence=Unknown(BOB, Reason.SERVICE_DOWN, Domain.from_wire(B))
        ),
        Domain.from_wire(B),
    ),
    flags=FLAG_RESPONSE_WANTED, route_tag=0x14,
)  # fmt: skip
ATTRIBUTES = _request(
    AttributeQuery(ALICE, AT_B, _number(0x80), ("subscription-lifetime", "software", "b.example/motto")), 0x15
)
ECHO = Record(
    RecordType.ECHO,
    FLAG_RESPONSE_WANTED,
    110,
    0x16,
    _number(0x90),
    Envelope(b"", B, b"alice", A),
    (),
    b"hello",
)

STANZA = (
    b"xmpp\0<iq type='get' id='q1' from='alice@a.example/r1' to='bob@b.example/r2'>"
    b"<ping xmlns='urn:xmpp:ping'/></iq>"
)
FOREIGN = _request(Foreign(ALICE, BOB, _number(0xA0), "xmpp", STANZA[5:]), 0x18)
ASKED = (
    b"xmpp\0<presence type='subscribe' from='alice@a.example' to='bob@b.example'>"
    b"<x xmlns='urn:a'/></presence>"
)

RECORDS: dict[str, Record] = {
    "subscribe": SUBSCRIBE,
    "subscribe response: active": _answer(SUBSCRIBE, SubscribeResult(SubscriptionState.ACTIVE, 600)),
    "subscribe response: pending": _answer(SUBSCRIBE, SubscribeResult(SubscriptionState.PENDING, 300)),
    "subscribe: end or fetch": _request(Subscribe(ALICE, BOB, _number(0x41), IDENT, 0), 0x17),
    "subscribe, with its original form": _request(
        Subscribe(ALICE, BOB, _number(0x42), IDENT, 600, original_form=ASKED), 0x19
    ),
    "notify": NOTIFY,
    "notify: terminated, rejected": TERMINATED,
    "notify: unknown": UNKNOWN,
    "attributes": ATTRIBUTES,
    "attributes response": _answer(ATTRIBUTES, AttributeValues(VALUES)),
    "echo": ECHO,
    "echo response": response_to(ECHO, SUCCESS, ECHO.body),
    "foreign": FOREIGN,
    "foreign response": response_to(FOREIGN, SUCCESS),
}


def _shown(attributes: tuple[Attribute, ...]) -> list[dict[str, object]]:
    return [
        {"name": one.name, "value": one.value.hex(), "keep_s": one.max_age_s} for one in attributes
    ]  # fmt: skip


def _notified(told: dict[str, object]) -> dict[str, object]:
    nothing: dict[str, object] = {
        "presentity": str(BOB), "watcher": str(ALICE), "subscription_id": IDENT.hex(), "state": 1,
        "end_reason": 0, "version": None, "duration_s": None, "attributes": [], "basic": "", "unknown": None,
    }  # fmt: skip
    return nothing | told


MEANINGS: dict[str, dict[str, object]] = {
    "subscribe": {"subscription_id": IDENT.hex(), "duration_s": 600},
    "subscribe: end or fetch": {"subscription_id": IDENT.hex(), "duration_s": 0},
    "subscribe, with its original form": {
        "subscription_id": IDENT.hex(), "duration_s": 600, "original_form": ASKED.hex()
    },
    "foreign": {"protocol": "xmpp", "content": STANZA[5:].hex()},
    "subscribe response: active": {"state": 1, "duration_s": 600},
    "subscribe response: pending": {"state": 0, "duration_s": 300},
    "notify": _notified(
        {
            "version": [VERSION.epoch, VERSION.number], "duration_s": 600, "attributes": _shown((ALIAS,)),
            "basic": "open",
        }
    ),
    "notify: terminated, rejected": _notified({"state": 2, "end_reason": 3}),
    "notify: unknown": _notified({"unknown": {"reason": Reason.SERVICE_DOWN.word, "domain": B.decode()}}),
    "attributes": {"names": ["subscription-lifetime", "software", "b.example/motto"]},
    "attributes response": {"values": _shown(VALUES)},
}  # fmt: skip


def _without(record: Record, field: FieldType) -> Record:
    return replace(record, fields=tuple(one for one in record.fields if one.number != field))


def _with(record: Record, field: FieldType, value: bytes) -> Record:
    return replace(_without(record, field), fields=(*_without(record, field).fields, Field(field, value)))


def _refused() -> list[tuple[str, Reason, Record]]:
    bad, body = Reason.BAD_RECORD, Reason.BAD_BODY
    names = tuple(Field(FieldType.ATTRIBUTE_NAME, b"key-%d" % number) for number in range(65))
    ident, state, duration = FieldType.SUBSCRIPTION_ID, FieldType.SUBSCRIPTION_STATE, FieldType.DURATION
    return [
        ("a subscription without an id", bad, _without(SUBSCRIBE, ident)),
        ("an id of 41 bytes", bad, _with(SUBSCRIBE, ident, bytes(41))),
        ("a subscription without a duration", bad, _without(SUBSCRIBE, duration)),
        ("a duration of 3 bytes", bad, _with(SUBSCRIBE, duration, bytes(3))),
        ("a subscription with a body", body, replace(SUBSCRIBE, body=b"x")),
        ("a notification without a state", bad, _without(NOTIFY, state)),
        ("a state of 1 byte", bad, _with(NOTIFY, state, b"\1")),
        ("a state that is not registered", bad, _with(NOTIFY, state, b"\3\0")),
        ("a document without a version", bad, _without(NOTIFY, FieldType.VERSION)),
        ("a version of 8 bytes", bad, _with(NOTIFY, FieldType.VERSION, bytes(8))),
        ("a document of somebody else", body, replace(NOTIFY, body=DOCUMENT.replace(b"bob", b"eve"))),
        ("a body that is no presence document", body, replace(NOTIFY, body=b"open")),
        ("unknown, of nobody", bad, _without(UNKNOWN, FieldType.PRESENTITY)),
        ("unknown, without a reason", bad, _without(UNKNOWN, FieldType.UNKNOWN)),
        ("65 names", bad, replace(ATTRIBUTES, fields=names)),
        ("a name with a capital", bad, _with(ATTRIBUTES, FieldType.ATTRIBUTE_NAME, b"Alias")),
        ("a query with a body", body, replace(ATTRIBUTES, body=b"x")),
        ("a foreign form of no protocol", body, replace(FOREIGN, body=b"\0<iq/>")),
        ("a foreign form of a protocol with a capital", body, replace(FOREIGN, body=b"Xmpp\0<iq/>")),
        ("a foreign form of a protocol of 17 letters", body, replace(FOREIGN, body=b"x" * 17 + b"\0<iq/>")),
        ("a foreign form without a form", body, replace(FOREIGN, body=b"xmpp\0")),
        ("a foreign form without an end of the name", body, replace(FOREIGN, body=b"xmpp")),
    ]


def operations() -> dict[str, object]:
    """What the records mean, and what is refused."""
    return {
        "about": (
            "meanings: what a record of records.json says; values are hex, addresses text. refused: the "
            "reason with which a service, that has such a subscription, answers the request."
        ),
        "meanings": [{"record": name, "means": means} for name, means in MEANINGS.items()],
        "refused": [
            {"name": name, "reason": reason.word, "hex": encode_record(record).hex()}
            for name, reason, record in _refused()
        ],
    }
