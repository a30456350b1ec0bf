"""Makes the vectors of `docs/specs/imx-protocol.md` from fixed values.

`python -m tests.vectors.generate` writes the files, with `--check` it compares. A change of a vector is a
change of the protocol: old files are what other implementations were tested against.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from imxrouter.link.answer import ConnectionView, answer_for
from imxrouter.link.token import TokenFacts, domain_key, key_id, mint_token
from imxrouter.model.generated import write_or_check
from imxrouter.model.outcome import SUCCESS, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import (
    Ack,
    Claim,
    ClaimResult,
    Close,
    Control,
    Credit,
    Hello,
    Login,
    LoginResult,
    Ping,
    Pong,
    Proof,
    Proved,
    Redirect,
    Verify,
    VerifyResult,
    Withdraw,
)
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_CRITICAL, FLAG_RESPONSE_WANTED, FLAG_RETRY, HEADER, MAX_FIELDS
from imxrouter.wire.record import Envelope, Record, decode_record, encode_record, response_to
from imxrouter.wire.registry import CRITICAL_BIT, FieldType, RecordType, type_name

HERE = Path("tests/vectors")
A, B, M = b"a.example", b"b.example", b"m.example"


def fill(count: int, start: int) -> bytes:
    """Bytes that count up, so that a reader sees which part of a record he looks at."""
    return bytes((start + place) % 256 for place in range(count))


OPERATOR_SECRET = fill(32, 0x00)
SECRET = fill(32, 0x40)
EXPORTER = fill(32, 0x80)
CHALLENGE = fill(32, 0xA0)
MESSAGE_ID = fill(16, 0xC0)
SECOND_NONCE = fill(16, 0xD0)
FACTS = TokenFacts(b"server-1", 1, 7, 1, fill(16, 0xE0), 1_000_000_060)
KEY = domain_key(OPERATOR_SECRET, A)
TOKEN = mint_token(KEY, A, B, FACTS)
LOGIN_KEY = Ed25519PrivateKey.from_private_bytes(fill(32, 0x10))
LOGIN_PUBLIC = LOGIN_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
LOGIN_KEY_ID = hashlib.sha256(LOGIN_PUBLIC).digest()[:8]


def login_text(exporter: bytes) -> bytes:
    """What a login signs (section 6.6)."""
    return b"imx-login" + CHALLENGE + exporter + LOGIN_KEY_ID


OPENER_HELLO = Hello(
    versions=(1,), capabilities=(1, 2, 3), max_record=65536, credit_requests=4096, credit_bytes=4 << 20,
    instance=fill(16, 0x20), epoch=b"epoch--A", ping_ms=10_000, dead_ms=30_000, idle_ms=300_000,
    duplicate_window_ms=60_000, software="imxrouter",
)  # fmt: skip
ACCEPTOR_HELLO = Hello(
    versions=(1,), capabilities=(1, 2, 3), max_record=65536, credit_requests=4096, credit_bytes=4 << 20,
    instance=fill(16, 0x30), epoch=b"epoch--B", ping_ms=10_000, dead_ms=30_000, idle_ms=300_000,
    duplicate_window_ms=60_000, challenge=CHALLENGE, software="imxrouter",
)  # fmt: skip
CLAIM = Claim(1, A, B, TOKEN)
VERIFY = Verify(9, A, B, TOKEN, SECRET, int(ConnectionView.CLEAR))
VERIFY_RESULT = VerifyResult(9, 0, SECOND_NONCE)
PROOF = Proof(1, SECRET)
RESULT = ClaimResult(1, 0, 1, None, (SECOND_NONCE,))
PROVED = Proved(B, A)
PING, PONG = Ping(fill(8, 0xF0)), Pong(fill(8, 0xF0))
CLOSE = Close(Reason.IDLE.code, 10_000)

BODY = b"From: <im:alice@a.example>\r\nTo: <im:bob@b.example>\r\nContent-Type: text/plain\r\n\r\nHello, Bob"
MESSAGE = Record(
    RecordType.MESSAGE, FLAG_RESPONSE_WANTED, 110, 0x0001000000010203, MESSAGE_ID,
    Envelope(b"bob", B, b"alice", A), (), BODY,
)  # fmt: skip

CONTROLS: dict[str, Control] = {
    "hello of an opener": OPENER_HELLO,
    "hello of an acceptor": ACCEPTOR_HELLO,
    "the least hello": Hello(versions=(1,)),
    "ping": PING,
    "pong": PONG,
    "ack": Ack(258),
    "close: idle": CLOSE,
    "close: over cap, with advice": Close(Reason.OVER_CAP.code, 0, 30, None, "too many links of b.example"),
    "close: unknown critical record": Close(Reason.UNKNOWN_CRITICAL.code, 0, None, 0x00F0, None),
    "redirect": Redirect("imx2.b.example:6490", (B,), Reason.SHUTTING_DOWN.code, 10_000),
    "credit": Credit(256, 1 << 20),
    "claim": CLAIM,
    "proof in clear": PROOF,
    "claim result: proved": RESULT,
    "claim result: refused": ClaimResult(2, Reason.DIALBACK_REFUSED.code, None, 5),
    "verify": VERIFY,
    "verify result: released": VERIFY_RESULT,
    "verify result: not mine": VerifyResult(10, Reason.NOT_MINE.code),
    "withdraw": Withdraw(A, Reason.SUSPENDED.code),
    "proved": PROVED,
    "login without TLS": Login(LOGIN_KEY_ID, LOGIN_KEY.sign(login_text(bytes(32)))),
    "login result": LoginResult(0),
}

ROUTED: dict[str, Record] = {
    "message": MESSAGE,
    "message with fields": Record(
        RecordType.MESSAGE,
        FLAG_RESPONSE_WANTED,
        109,
        5,
        fill(16, 0x01),
        Envelope(b"bob", B, b"alice", A),
        (
            Field(FieldType.TRANS_ID, b"z9hG4bK776asdhds"),
            Field(FieldType.SUBJECT, "Grüße".encode()),
            Field(0x7F01, b"not known, skipped"),
        ),
        b"x",
    ),
    "message to a domain, from an international address": Record(
        RecordType.MESSAGE,
        FLAG_RESPONSE_WANTED,
        110,
        6,
        fill(16, 0x02),
        Envelope(b"", b"xn--bcher-kva.example", "jürgen".encode(), A),
        (),
        b"",
    ),
    "retry": Record(
        RecordType.MESSAGE,
        FLAG_RESPONSE_WANTED | FLAG_RETRY,
        110,
        7,
        MESSAGE_ID,
        Envelope(b"bob", B, b"alice", A),
        (Field(FieldType.EPOCH | CRITICAL_BIT, b"epoch--B"),),
        BODY,
    ),
    "unknown routed type": Record(
        0x7ABC, FLAG_RESPONSE_WANTED | 0x01, 3, 8, fill(16, 0x03), Envelope(b"bob", B, b"", A), (), b"\x00"
    ),
    "response: success": response_to(MESSAGE, SUCCESS),
    "response: busy, retry after 10 s": response_to(
        MESSAGE, failure(Reason.BUSY, by="b.example", retry_after_s=10)
    ),
    "response: not delivered": response_to(
        MESSAGE, failure(Reason.UNKNOWN_USER, by="b.example", role="service").disclosed()
    ),
    "response: indeterminant": response_to(
        MESSAGE, indeterminant(Reason.LINK_LOST, by="b.example", role="peer")
    ),
}


def record_json(name: str, data: bytes) -> dict[str, object]:
    """One record, whole and taken apart."""
    record = decode_record(data)
    taken: dict[str, object] = {
        "type": record.type,
        "type_name": type_name(record.type),
        "flags": record.flags,
        "hops_left": record.hops_left,
        "route_tag": f"{record.route_tag:016x}",
        "message_id": record.message_id.hex(),
    }
    if record.is_routed:
        envelope = record.envelope
        taken |= {
            "to_local": envelope.to_local.decode(),
            "to_domain": envelope.to_domain.decode(),
            "from_local": envelope.from_local.decode(),
            "from_domain": envelope.from_domain.decode(),
        }
    taken["fields"] = [{"type": field.type, "value": field.value.hex()} for field in record.fields]
    taken["body"] = record.body.hex()
    return {"name": name, "hex": data.hex(), "record": taken}


def records() -> dict[str, object]:
    """Every kind of record."""
    return {
        "about": "Whole records. A field's type has its critical bit. Bytes are hex, addresses text.",
        "vectors": [
            *(record_json(name, control.encode()) for name, control in CONTROLS.items()),
            *(record_json(name, encode_record(record)) for name, record in ROUTED.items()),
        ],
    }


def tokens() -> dict[str, object]:
    """The recommended token and what becomes of it when it is presented."""
    other = domain_key(OPERATOR_SECRET, M)
    cut = TOKEN[:-1] + bytes([TOKEN[-1] ^ 1])
    presented = [
        ("as it was made", A, B, TOKEN, 1_000_000_000, "none"),
        ("at the end of the tolerated skew", A, B, TOKEN, 1_000_000_090, "none"),
        ("one second later", A, B, TOKEN, 1_000_000_091, "bad-token"),
        ("for another verifier (replay)", A, M, TOKEN, 1_000_000_000, "bad-token"),
        ("one bit of the MAC changed", A, B, cut, 1_000_000_000, "bad-token"),
        ("under a key that is not known", A, B, mint_token(other, A, B, FACTS), 1_000_000_000, "not-mine"),
        ("of another length", A, B, TOKEN + b"\0", 1_000_000_000, "not-mine"),
    ]
    return {
        "about": "The token of section 6.1; its key is HMAC(operator_secret, 'imx-domain-key' from_domain).",
        "operator_secret": OPERATOR_SECRET.hex(),
        "from_domain": A.decode(),
        "to_domain": B.decode(),
        "domain_key": KEY.hex(),
        "key_id": key_id(KEY).hex(),
        "facts": {
            "server": FACTS.server.hex(),
            "process": FACTS.process,
            "link": FACTS.link,
            "claim": FACTS.claim,
            "nonce": FACTS.nonce.hex(),
            "expires_at": FACTS.expires_at,
        },
        "token": TOKEN.hex(),
        "presented": [
            {
                "name": name,
                "from_domain": from_domain.decode(),
                "to_domain": to_domain.decode(),
                "token": token.hex(),
                "at": at,
                "reason": reason,
            }
            for name, from_domain, to_domain, token, at, reason in presented
        ],
    }


def answers() -> dict[str, object]:
    """The answer for each view of the first connection, and the login's signature."""
    return {
        "about": "What returns in PROOF (section 6.3), and what LOGIN signs (section 6.6).",
        "secret": SECRET.hex(),
        "exporter": EXPORTER.hex(),
        "from_domain": A.decode(),
        "to_domain": B.decode(),
        "token": TOKEN.hex(),
        "answers": [
            {
                "view": int(view),
                "name": view.name.lower().replace("_", "-"),
                "answer": answer_for(SECRET, view, EXPORTER, A, B, TOKEN).hex(),
            }
            for view in ConnectionView
        ],
        "login": [
            {
                "name": name,
                "private_key": fill(32, 0x10).hex(),
                "public_key": LOGIN_PUBLIC.hex(),
                "key_id": LOGIN_KEY_ID.hex(),
                "challenge": CHALLENGE.hex(),
                "exporter": exporter.hex(),
                "text": login_text(exporter).hex(),
                "signature": LOGIN_KEY.sign(login_text(exporter)).hex(),
            }
            for name, exporter in (("without TLS", bytes(32)), ("bound to TLS 1.3", EXPORTER))
        ],
    }


def step(connection: int, side: str, data: bytes, *, automatic: bool = False) -> dict[str, object]:
    """One record of a conversation; `automatic` where the machine of a link sends it by itself."""
    kind = int.from_bytes(data[4:6], "big")
    return {
        "connection": connection,
        "from": side,
        "record": type_name(kind),
        "automatic": automatic,
        "hex": data.hex(),
    }


def conversations() -> dict[str, object]:
    """Whole conversations, the bytes of each side in order."""
    message, response = encode_record(MESSAGE), encode_record(response_to(MESSAGE, SUCCESS))
    hellos = [
        [
            step(number, "opener", OPENER_HELLO.encode(), automatic=True),
            step(number, "acceptor", ACCEPTOR_HELLO.encode(), automatic=True),
        ]
        for number in (1, 2)
    ]
    return {
        "about": "Connection 1: a.example opened it to b.example; connection 2: the other way round.",
        "conversations": [
            {
                "name": "hello, ping, orderly close",
                "steps": [
                    *hellos[0],
                    step(1, "opener", PING.encode()),
                    step(1, "acceptor", PONG.encode(), automatic=True),
                    step(1, "acceptor", CLOSE.encode()),
                    step(1, "opener", Close(CLOSE.reason).encode(), automatic=True),
                ],
            },
            {
                "name": "dial-back in clear; a message, its answer and the acknowledgement",
                "steps": [
                    *hellos[0],
                    step(1, "opener", CLAIM.encode()),
                    *hellos[1],
                    step(2, "opener", VERIFY.encode()),
                    step(1, "opener", PROOF.encode()),
                    step(2, "acceptor", VERIFY_RESULT.encode()),
                    step(1, "acceptor", RESULT.encode()),
                    step(2, "acceptor", PROVED.encode()),
                    step(1, "opener", message),
                    step(1, "acceptor", response),
                    step(1, "opener", Ack(1).encode()),
                ],
            },
        ],
    }


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


def pages() -> dict[str, str]:
    """Path -> text of every file made here."""
    made = {
        "records": records(),
        "tokens": tokens(),
        "answers": answers(),
        "conversations": conversations(),
        "bad": bad(),
    }
    return {
        f"{HERE}/{name}.json": json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        for name, value in made.items()
    }


if __name__ == "__main__":
    sys.exit(write_or_check(pages(), "tests.vectors.generate", sys.argv[1:]))
