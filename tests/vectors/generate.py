"""Makes the vectors of `docs/specs/imx-protocol.md` from fixed values.

`python -m tests.vectors.generate` writes the files, with `--check` it compares. A change of a vector is a
change of the protocol: old files are what other implementations were tested against.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from imxrouter.link.answer import ConnectionView, answer_for
from imxrouter.link.token import domain_key, key_id, mint_token
from imxrouter.model.generated import write_or_check
from imxrouter.model.outcome import SUCCESS
from imxrouter.wire.control import (
    Ack,
    Close,
)
from imxrouter.wire.record import decode_record, encode_record, response_to
from imxrouter.wire.registry import type_name
from tests.vectors.bad_inputs import bad
from tests.vectors.operations import RECORDS, operations
from tests.vectors.values import (
    ACCEPTOR_HELLO,
    CHALLENGE,
    CLAIM,
    CLOSE,
    CONTROLS,
    EXPORTER,
    FACTS,
    KEY,
    LOGIN_KEY,
    LOGIN_KEY_ID,
    LOGIN_PUBLIC,
    MESSAGE,
    OPENER_HELLO,
    OPERATOR_SECRET,
    PING,
    PONG,
    PROOF,
    PROVED,
    RESULT,
    ROUTED,
    SECRET,
    TOKEN,
    VERIFY,
    VERIFY_RESULT,
    A,
    B,
    M,
    fill,
    login_text,
)

HERE = Path("tests/vectors")


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
            *(record_json(name, encode_record(record)) for name, record in (ROUTED | RECORDS).items()),
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


def pages() -> dict[str, str]:
    """Path -> text of every file made here."""
    made = {
        "records": records(),
        "tokens": tokens(),
        "answers": answers(),
        "conversations": conversations(),
        "bad": bad(),
        "operations": operations(),
    }
    return {
        f"{HERE}/{name}.json": json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        for name, value in made.items()
    }


if __name__ == "__main__":
    sys.exit(write_or_check(pages(), "tests.vectors.generate", sys.argv[1:]))
