"""Inputs that must be refused: no records, no records of their type, or no operations of theirs."""

from __future__ import annotations

from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import (
    Hello,
)
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_CRITICAL, HEADER, MAX_FIELDS
from imxrouter.wire.record import Record, decode_record, encode_record
from imxrouter.wire.registry import FieldType, RecordType
from tests.vectors.values import (
    CLAIM,
    CONTROLS,
    OPENER_HELLO,
    PING,
    RESULT,
    VERIFY,
    A,
    B,
)


def raw(kind: int, *, flags: int = 0, lengths: tuple[int, int, int, int] = (0, 0, 0, 0), ext: int = 0,
        reserved: int = 0, rest: bytes = b"", size: int | None = None) -> bytes:  # fmt: skip
    """A record with any header over any bytes."""
    length = 36 + len(rest) if size is None else size
    return HEADER.pack(length, kind, flags, 0, 0, *lengths, ext, reserved, bytes(16)) + rest


def bad() -> dict[str, object]:
    """Inputs that are no records, or no records of their type."""
    to_bob, from_alice = b"bob@b.example", b"alice@a.example"
    lengths = (3, 9, 5, 9)
    message = RecordType.MESSAGE.value
    hello_fields = Hello(versions=(1,)).encode()[40:]
    nonce = b"\x01\x17\x00\x08" + bytes(8)
    cases: list[tuple[str, str, str, bytes]] = [
        ("a length over the limit, judged after four bytes", "header", "RecordTooLarge", b"\x00\x01\x00\x00"),
        ("a length of 16 MiB or more", "header", "RecordTooLarge", b"\x01\x00\x00\x00"),
        ("a length under a header's", "header", "WireError", b"\x00\x00\x00\x23"),
        ("length zero", "header", "WireError", bytes(4)),
        ("reserved bytes are not 0", "record", "WireError", raw(1, reserved=1)),
        (
            "an envelope in a record of the link's own",
            "record",
            "WireError",
            raw(1, lengths=lengths, rest=to_bob + from_alice),
        ),
        ("a routed record without an envelope", "record", "WireError", raw(message)),
        (
            "no to-domain",
            "record",
            "WireError",
            raw(message, lengths=(3, 0, 5, 9), rest=b"bob@" + from_alice),
        ),
        (
            "no from-domain",
            "record",
            "WireError",
            raw(message, lengths=(3, 9, 5, 0), rest=to_bob + b"alice@"),
        ),
        (
            "an envelope longer than the record",
            "record",
            "WireError",
            raw(message, lengths=(3, 9, 5, 200), rest=to_bob + from_alice),
        ),
        (
            "the first '@' is elsewhere",
            "record",
            "WireError",
            raw(message, lengths=(2, 10, 5, 9), rest=to_bob + from_alice),
        ),
        (
            "the second '@' is elsewhere",
            "record",
            "WireError",
            raw(message, lengths=(3, 9, 4, 10), rest=to_bob + from_alice),
        ),
        ("fields longer than the record", "record", "WireError", raw(1, ext=5, rest=b"\x00\x00\x00\x00")),
        ("three bytes of a field's header", "record", "WireError", raw(1, ext=3, rest=bytes(3))),
        (
            "a field longer than the fields",
            "record",
            "WireError",
            raw(1, ext=5, rest=b"\x00\x01\x00\x02\x00"),
        ),
        (
            "too many fields",
            "record",
            "WireError",
            raw(1, ext=4 * (MAX_FIELDS + 1), rest=bytes(4 * (MAX_FIELDS + 1))),
        ),
        (
            "a response without an outcome",
            "outcome",
            "WireError",
            raw(message | 0x8000, lengths=lengths, rest=to_bob + from_alice + bytes(7)),
        ),
        (
            "a status that is not registered",
            "outcome",
            "WireError",
            raw(message | 0x8000, lengths=lengths, rest=to_bob + from_alice + b"\x03" + bytes(7)),
        ),
        ("a hello without versions", "control", "WireError", raw(1)),
        (
            "a hello that says its versions twice",
            "control",
            "WireError",
            raw(1, ext=2 * len(hello_fields[:6]), rest=hello_fields[:6] * 2),
        ),
        (
            "a ping whose nonce is too short",
            "control",
            "WireError",
            raw(2, ext=5, rest=b"\x01\x17\x00\x01\x00"),
        ),
        (
            "a critical field that is not known",
            "control",
            "UnknownCritical",
            raw(2, ext=len(nonce) + 4, rest=nonce + b"\xff\x01\x00\x00"),
        ),
        (
            "a redirect whose target is cut short",
            "control",
            "WireError",
            raw(5, ext=6, rest=b"\x01\x24\x00\x02b:"),
        ),
        ("a claim whose token is too long", "control", "WireError", _long_claim()),
    ]
    link = [
        ("the first record is not a hello", "acceptor", PING.encode(), Reason.PROTOCOL_ERROR),
        ("no common version", "acceptor", Hello(versions=(2, 3)).encode(), Reason.VERSION_MISMATCH),
        ("a hello over 1280 bytes", "acceptor", _padded_hello(), Reason.PROTOCOL_ERROR),
        ("bytes that are no record", "acceptor", raw(1, reserved=1), Reason.PROTOCOL_ERROR),
        (
            "a critical record that is not known",
            "opened acceptor",
            raw(0xF0, flags=FLAG_CRITICAL),
            Reason.UNKNOWN_CRITICAL,
        ),
        ("a second hello", "opened acceptor", OPENER_HELLO.encode(), Reason.PROTOCOL_ERROR),
        ("a claim from an acceptor", "opened opener", CLAIM.encode(), Reason.PROTOCOL_ERROR),
        ("a verification from an acceptor", "opened opener", VERIFY.encode(), Reason.PROTOCOL_ERROR),
        (
            "a redirect from an opener",
            "opened acceptor",
            CONTROLS["redirect"].encode(),
            Reason.PROTOCOL_ERROR,
        ),
        ("a claim's result from an opener", "opened acceptor", RESULT.encode(), Reason.PROTOCOL_ERROR),
    ]
    return {
        "about": (
            "records: judged says when: header, record, control record or outcome; the limit is 65536 "
            "bytes. links: fed to a link in that state; it must end with a CLOSE of that reason."
        ),
        "records": [
            {"name": name, "judged": judged, "error": error, "hex": data.hex()}
            for name, judged, error, data in cases
        ],
        "links": [
            {"name": name, "state": state, "hex": data.hex(), "reason": reason.word}
            for name, state, data, reason in link
        ],
    }


def _long_claim() -> bytes:
    fields = (
        Field(FieldType.CLAIM_NUMBER, bytes(4)),
        Field(FieldType.FROM_DOMAIN, A),
        Field(FieldType.TO_DOMAIN, B),
        Field(FieldType.TOKEN, bytes(97)),
    )
    return encode_record(Record(RecordType.CLAIM, fields=fields))


def _padded_hello() -> bytes:
    hello = decode_record(Hello(versions=(1,)).encode())
    return encode_record(Record(hello.type, fields=(*hello.fields, Field(0x7FFF, bytes(1200)))))
