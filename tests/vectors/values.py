"""The fixed values and records that the vectors are made of."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from imxrouter.link.answer import ConnectionView
from imxrouter.link.token import TokenFacts, domain_key, mint_token
from imxrouter.model.outcome import SUCCESS, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import (
    Ack,
    Claim,
    ClaimResult,
    Close,
    Control,
    Credit,
    HandOver,
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
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, FLAG_RETRY
from imxrouter.wire.record import Envelope, Record, response_to
from imxrouter.wire.registry import CRITICAL_BIT, FieldType, RecordType

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
    "hand over": HandOver(b"bob@b.example", b"alice@a.example", b"id-1", 1_200),
    "credit: no new requests": Credit(0, 0),
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
    "message of a conversation": Record(
        RecordType.MESSAGE,
        FLAG_RESPONSE_WANTED,
        109,
        9,
        fill(16, 0x04),
        Envelope(b"bob", B, b"alice", A),
        (
            Field(FieldType.KIND, b"\1"),
            Field(FieldType.INSTANCE, b"r1"),
            Field(FieldType.TO_INSTANCE, b"r2"),
            Field(FieldType.THREAD, b"t1"),
            Field(FieldType.THREAD_PARENT, b"t0"),
            Field(FieldType.CHAT_STATE, b"active"),
            Field(FieldType.SENT_AT, (1_767_323_045_000).to_bytes(8, "big")),
        ),
        BODY,
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
