"""Writes into `docs/specs/imx-protocol.md` what the code and the vectors already say.

`python -m tests.vectors.specification` writes the blocks, with `--check` it compares.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from pathlib import Path

from imxrouter.config.sections import Caps, Dial, Links
from imxrouter.config.trust import Trust
from imxrouter.link import claims, duplicates, token
from imxrouter.link.machine import LEGAL, LinkSettings, LinkState, Side
from imxrouter.model.attributes import GLOBAL_KEYS
from imxrouter.model.generated import write_or_check
from imxrouter.model.operations import DEFAULT_SUBSCRIPTION_S, MAX_HOPS
from imxrouter.model.vocabulary import Reason
from imxrouter.routing import attribute_cache, subscriptions
from imxrouter.routing.watched import WatchSettings
from imxrouter.switch.ports import MAX_UNACKNOWLEDGED
from imxrouter.transport import echo, liveness
from imxrouter.wire.control import CONTROLS
from imxrouter.wire.fields import Field, decode_fields
from imxrouter.wire.layout import (
    ADDRESSES_OFFSET,
    DEFAULT_MAX_RECORD,
    FLAG_CRITICAL,
    FLAG_RESPONSE_WANTED,
    HIGHEST_MAX_RECORD,
    MAX_FIELDS,
    MAX_RECORD_BEFORE_PROOF,
)
from imxrouter.wire.registry import (
    CRITICAL_BIT,
    INTERNAL_TYPES,
    Capability,
    FieldType,
    RecordType,
    field_name,
    is_response,
    is_routed,
)

PAGE = "docs/specs/imx-protocol.md"
_BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

#: What a field holds; beside the number it is what the registry says.
FIELD_CONTENT = {
    "EPOCH": "8 bytes: the duplicate memory to which a retry was first sent (8.2). Critical",
    "TRANS_ID": "foreign transaction id, 1 to 40 bytes, returned with the response",
    "RATE_LEFT": "u32; messages that the sender may still send at once (7.3)",
    "DECIDED_BY": "role and domain of the deciding hop (7.3)",
    "SUBJECT": "text",
    "THREAD": "text, opaque",
    "LANGUAGE": "language tag (RFC 5646)",
    "INSTANCE": "text: which of the sender's instances (XMPP resource, GRUU)",
    "RECEIPT_REQUESTED": "empty: a receipt (`message/imdn+xml`) is wanted",
    "IN_REPLY_TO": "16 bytes: a message id",
    "ORIGIN_ID": "the id that the sender's own protocol gave the message, up to 255 bytes",
    "ORIGINAL_FORM": "name of a protocol, 0x00, the message in that protocol's own bytes; never critical",
    "CONTENT_TYPE": "the body's Content-Type, for those who do not open it",
    "TO_INSTANCE": "text: which of the recipient's instances is meant",
    "KIND": "u8: 0 normal, 1 chat, 2 headline (7.1)",
    "THREAD_PARENT": "text, opaque: the thread from which this one came off",
    "SENT_AT": "u64 milliseconds since 1970: when it was sent, where that is not now",
    "CHAT_STATE": "text: what the sender does (7.1)",
    "ATTRIBUTE": "u32 seconds it may be kept, name, 0x00, value: an attribute sent unsolicited (7.8)",
    "ATTRIBUTE_NAME": "name of an attribute that is asked for (7.8)",
    "SUBSCRIPTION_ID": "1 to 40 bytes (7.6)",
    "DURATION": "u32 seconds (7.6)",
    "SUBSCRIPTION_STATE": "u8: 0 pending, 1 active, 2 terminated; u8: why it ended (7.7)",
    "VERSION": "u64 epoch of the notifier, u64 number in that epoch (7.7)",
    "UNKNOWN": "u16 reason, domain where it was decided (7.7). Critical",
    "PRESENTITY": "local part, `@`, domain (7.7). Critical",
    "VERSIONS": "u16 each",
    "CAPABILITIES": "u16 each",
    "MAX_RECORD": "u32 bytes",
    "CREDIT_REQUESTS": "u32",
    "CREDIT_BYTES": "u32",
    "ROUTER_INSTANCE": "16 bytes",
    "LINK_EPOCH": "8 bytes",
    "CHALLENGE": "32 bytes",
    "PING_INTERVAL": "u32 milliseconds",
    "DEAD_AFTER": "u32 milliseconds",
    "IDLE_AFTER": "u32 milliseconds",
    "SOFTWARE": "UTF-8, up to 255 bytes",
    "DUPLICATE_WINDOW": "u32 milliseconds",
    "CLAIM_NUMBER": "u32",
    "FROM_DOMAIN": "domain, 1 to 253 bytes",
    "TO_DOMAIN": "domain, 1 to 253 bytes",
    "TOKEN": "1 to 96 bytes",
    "SECRET": "32 bytes",
    "FIRST_VIEW": "u8: 0 clear, 1 TLS, 2 TLS 1.3. Critical",
    "ANSWER": "32 bytes",
    "NONCE": "16 bytes; in PING and PONG 8 to 16",
    "LEVEL": "u8: a set of bits (6.4)",
    "REASON": "u16 (section 9)",
    "RETRY_AFTER": "u32 seconds",
    "DEADLINE": "u32 milliseconds",
    "TEXT": "UTF-8, up to 255 bytes",
    "TARGET": "`host:port`, ASCII, 3 to 259 bytes",
    "REDIRECT_DOMAIN": "domain, 1 to 253 bytes",
    "SUBJECT_TYPE": "u16: a record type or field number",
    "ACKNOWLEDGED": "u64",
    "KEY_ID": "1 to 64 bytes",
    "SIGNATURE": "64 bytes",
    "WATCHER": "who watches: an address as spelled, 2 to 509 bytes",
    "WATCHED": "whom: the same",
    "WATCH_ID": "SUBSCRIPTION_ID of the subscription, 1 to 40 bytes",
    "WATCH_LEFT": "u32, seconds",
}

CAPABILITY_CONTENT = {
    "DUPLICATES": "requests sent again are recognised by epoch (8.2)",
    "ACKNOWLEDGE": "ACK is sent and understood (8.1)",
    "REDIRECT": "REDIRECT is understood (5.5)",
}


def attributes() -> str:
    """The registry of global attribute keys."""
    rows = (
        f"| `{key.name}` | {key.owner.value} | {key.kind.value} | {key.meaning} | {key.source} |"
        for key in GLOBAL_KEYS
    )
    return table("| key | of | value | meaning | source |", rows)


def table(head: str, rows: Iterator[str]) -> str:
    """A table in Markdown."""
    columns = head.count("|") - 1
    return "\n".join([head, "| " + " | ".join(["---"] * columns) + " |", *rows]) + "\n"


def controls() -> str:
    """The link's own records and the fields of each."""

    def rows() -> Iterator[str]:
        for number, kind in sorted(CONTROLS.items(), key=lambda item: item[0] & 0x7FFF):
            wanted = []
            for item in dataclass_fields(kind):
                spec = item.metadata["spec"]
                marks = [
                    mark
                    for mark, stands in (
                        ("many", spec.many),
                        ("critical", spec.critical),
                        (_optional(item.default), item.default is not MISSING and not spec.many),
                    )
                    if stands
                ]
                wanted.append(spec.number.name + (f" ({', '.join(marks)})" if marks else ""))
            flags = [
                name
                for bit, name in ((FLAG_RESPONSE_WANTED, "response wanted"), (FLAG_CRITICAL, "critical"))
                if kind.FLAGS & bit
            ]
            name = RecordType(number).name.replace("_", "-")
            yield f"| 0x{number:04X} | {name} | {', '.join(flags)} | {', '.join(wanted)} |"

    return table("| type | name | flags | fields |", rows())


def _optional(default: object) -> str:
    return f"optional: {default}" if isinstance(default, int) else "optional"


def legal() -> str:
    """Who may receive what, and when."""
    names = {LinkState.AWAIT_HELLO: "new", LinkState.OPEN: "open", LinkState.DRAINING: "draining"}

    def rows() -> Iterator[str]:
        for kind, (states, sides) in LEGAL.items():
            sender = {
                frozenset(Side): "both",
                frozenset({Side.ACCEPTOR}): "opener",
                frozenset({Side.OPENER}): "acceptor",
            }[sides]
            when = ", ".join(name for state, name in names.items() if state in states)
            yield f"| {kind.TYPE.name.replace('_', '-')} | {sender} | {when} |"
        yield "| routed records | both | open, draining |"

    return table("| record | sent by | taken in state |", rows())


def reasons() -> str:
    """The registry of reasons."""
    rows = (
        f"| {reason.code} | `{reason.word}` | {reason.stage.value} | {reason.retry.value} | "
        f"`{reason.disclosed}` | {reason.remedy} |"
        for reason in sorted(Reason, key=lambda reason: reason.code)
    )
    return table("| code | reason | stage | retry | told | meaning, or what the operator can do |", rows)


def timers() -> str:
    """Every default."""
    link, links, dial, trust, caps = LinkSettings(), Links(), Dial(), Trust(), Caps()
    rows = [
        ("ping", f"{link.ping_s:g} s", "5.2", "silence before a PING"),
        ("dead", f"{link.dead_s:g} s", "5.2", "silence after which a link is lost"),
        ("idle", f"{link.idle_s:g} s", "5.2", "rest after which a link is closed"),
        ("hello_timeout", f"{link.hello_timeout_s:g} s", "5.1", "wait for the other side's HELLO"),
        ("close_deadline", f"{link.close_deadline_s:g} s", "5.4", "time for what is in flight"),
        ("claim_deadline", f"{claims.CLAIM_DEADLINE_S:g} s", "6.3", "from CLAIM to its result"),
        ("nonce_grace", f"{claims.NONCE_GRACE_S:g} s", "6.4", "wait for VERIFY-RESULT after the answer"),
        ("claims before the first proof", str(claims.CLAIMS_BEFORE_PROOF), "6.1", "on one link"),
        ("token_ttl", f"{token.TOKEN_TTL_S} s", "6.1", "life of a token"),
        ("clock_skew", f"{token.CLOCK_SKEW_S} s", "6.1", "between hosts of one domain"),
        ("proof_max_age", f"{trust.proof_max_age_s:g} s", "6", "then a proof is renewed"),
        ("proof_idle", f"{trust.proof_idle_s:g} s", "6.5", "rest after which a verifier ends a proof"),
        ("remembered level", f"{trust.remember_days:g} days", "11.14", "the strongest seen of a domain"),
        (
            "links per peer",
            f"{caps.in_per_peer}, {caps.in_per_peer_total}",
            "6.2",
            "taken from one proved domain to one certificate, and in all",
        ),
        ("answer_timeout", f"{links.answer_timeout_s:g} s", "7.4", "from request to response"),
        ("hold", f"{dial.hold_s:g} s", "7.5", "a request waits so long for its destination to be dialled"),
        ("duplicate window", f"{duplicates.DUPLICATE_WINDOW_S:g} s", "8.2", "DUPLICATE_WINDOW"),
        ("maximum of hops", str(MAX_HOPS), "7.1", "and the default of the origin"),
        ("record before proof", f"{MAX_RECORD_BEFORE_PROOF} bytes", "4.3", "fixed"),
        ("MAX_RECORD", f"{DEFAULT_MAX_RECORD} bytes", "4.3", f"at most {HIGHEST_MAX_RECORD}"),
        ("fields of a record", str(MAX_FIELDS), "4.2", "fixed"),
        ("unacknowledged responses", str(MAX_UNACKNOWLEDGED), "8.1", "of one link"),
        ("CREDIT_REQUESTS, CREDIT_BYTES", f"{links.credit_requests}, {links.credit_bytes}", "5.3", "as sent"),
        *_presence_timers(),
    ]
    return table("| name | default | section | what for |", (f"| {' | '.join(row)} |" for row in rows))


def _presence_timers() -> Iterator[tuple[str, str, str, str]]:
    """Those of subscriptions, notifications, attributes and echoes."""
    watch, burst = WatchSettings(), round(1 + subscriptions.NOTIFY_BURST_S / subscriptions.NOTIFY_INTERVAL_S)
    yield "subscription-lifetime", f"{DEFAULT_SUBSCRIPTION_S} s", "7.6", "the longest that is granted"
    part = f"{watch.renew_from:.0%} to {watch.renew_to:.0%}"
    yield "renewal", part, "7.6", "of what was granted, at random"
    yield "late", f"{subscriptions.LATE_S:g} s", "7.6", "notifications pass so long after the end; fixed"
    rate = f"{1 / subscriptions.NOTIFY_INTERVAL_S:g} a second, {burst} at once"
    yield "notifications", rate, "7.7", "of one subscription; fixed"
    yield "loss", f"{liveness.GRACE_S:g} s", "7.7", "a shorter one is not told as *unknown*; fixed"
    yield "spread", f"{liveness.SPREAD_S:g} s", "7.7", "to subscribe again after a loss; fixed"
    yield "attributes", f"{attribute_cache.MAX_AGE_S:g} s", "7.8", "kept at most; fixed"
    yield "no attribute", f"{attribute_cache.NEGATIVE_S:g} s", "7.8", "that there is none is kept; fixed"
    yield "echo", f"{echo.MAX_ECHO_BYTES} bytes, 1 a second, 10 at once", "7.9", "for each From domain; fixed"


def types() -> str:
    """The registry of record types."""
    rows = (
        f"| 0x{kind.value:04X} | {kind.name.replace('_', '-')} | "
        f"{'routed' if is_routed(kind) else 'link'}{', response' if is_response(kind) else ''}"
        f"{', never on a link' if kind & 0x7FFF in INTERNAL_TYPES else ''} |"
        for kind in sorted(RecordType, key=lambda kind: (kind & 0x7FFF, kind))
    )
    return table("| type | name | family |", rows)


def fields() -> str:
    """The registry of fields."""
    rows = (
        f"| 0x{number.value:04X} | {number.name} | {'routed' if number < 0x100 else 'link'} | "
        f"{FIELD_CONTENT[number.name]} |"
        for number in FieldType
    )
    return table("| number | name | in records | value |", rows)


def capabilities() -> str:
    """The registry of capabilities."""
    rows = (f"| {one.value} | {one.name} | {CAPABILITY_CONTENT[one.name]} |" for one in Capability)
    return table("| number | name | meaning |", rows)


#: Title, file, name of the vector.
EXAMPLES = (
    ("A.1 The least HELLO", "the least hello"),
    ("A.2 HELLO of an acceptor", "hello of an acceptor"),
    ("A.3 CLAIM", "claim"),
    ("A.4 VERIFY", "verify"),
    ("A.5 VERIFY-RESULT", "verify result: released"),
    ("A.6 PROOF in clear", "proof in clear"),
    ("A.7 CLAIM-RESULT", "claim result: proved"),
    ("A.8 PROVED", "proved"),
    ("A.9 Message", "message"),
    ("A.10 Its response", "response: success"),
    ("A.11 Another response: failure, busy, retry after 10 s, decided by the router of b.example",
     "response: busy, retry after 10 s"),
    ("A.12 The message sent again after its link was lost", "retry"),
    ("A.13 CLOSE", "close: over cap, with advice"),
    ("A.14 SUBSCRIBE", "subscribe"),
    ("A.15 Its response: active for 600 s", "subscribe response: active"),
    ("A.16 NOTIFY, with an unsolicited attribute", "notify"),
    ("A.17 NOTIFY: the router of b.example says that nothing is known of bob", "notify: unknown"),
    ("A.18 ATTRIBUTES", "attributes"),
    ("A.19 Its response: one of the three does not exist", "attributes response"),
    ("A.20 ECHO", "echo"),
)  # fmt: skip


def examples() -> str:
    """Records byte by byte."""
    known = {one["name"]: one["hex"] for one in _vectors("records.json")["vectors"]}
    parts = []
    for title, name in EXAMPLES:
        data = bytes.fromhex(known[name])
        lines = [f"{at:4}  {raw.hex():<34} {what}".rstrip() for at, raw, what in _lines(data)]
        parts += [f"### {title}\n", f'Vector "{name}" of `records.json`, {len(data)} bytes.\n']
        parts += ["```", *lines, "```\n"]
    answers = _vectors("answers.json")
    parts += [
        "### A.21 Answers\n",
        "Secret, pair and token of A.3 and A.4; exporter of `answers.json`.\n",
        "```",
    ]
    parts += [f"view {one['view']}  {one['answer']}" for one in answers["answers"]]
    parts.append("```")
    return "\n".join(parts) + "\n"


def _vectors(name: str) -> dict[str, list[dict[str, str]]]:
    loaded: dict[str, list[dict[str, str]]] = json.loads((Path(__file__).parent / name).read_text("utf-8"))
    return loaded


def _cut(at: int, raw: bytes, what: str) -> Iterator[tuple[int, bytes, str]]:
    for start in range(0, max(len(raw), 1), 16):
        yield at + start, raw[start : start + 16], what if start == 0 else ""


def _lines(data: bytes) -> Iterator[tuple[int, bytes, str]]:
    kind = int.from_bytes(data[4:6], "big")
    name = RecordType(kind).name.replace("_", "-")
    yield 0, data[0:4], f"length {len(data) - 4}"
    yield 4, data[4:6], f"type {name}"
    yield 6, data[6:8], f"flags, hops left {data[7]}"
    yield 8, data[8:16], "route tag"
    yield 16, data[16:20], "lengths of the envelope"
    ext = int.from_bytes(data[20:22], "big")
    yield 20, data[20:24], f"{ext} bytes of fields; reserved"
    yield 24, data[24:40], "message id"
    at = ADDRESSES_OFFSET
    if is_routed(kind):
        for who, size in (("To", data[16] + 1 + data[17]), ("From", data[18] + 1 + data[19])):
            yield from _cut(at, data[at : at + size], f"{who}: {data[at : at + size].decode()}")
            at += size
    end = at + ext
    for field in decode_fields(data[at:end]):
        yield at, data[at : at + 4], _field_note(field)
        if field.value:
            yield from _cut(at + 4, field.value, _shown(field.value))
        at += 4 + len(field.value)
    if data[end:]:
        body = data[end:]
        if is_response(kind) and is_routed(kind):
            yield from _cut(end, body[:8], "status, 0, reason, retry after")
            yield from _values(end + 8, body[8:]) if kind == RecordType.ATTRIBUTES_RESPONSE else ()
        else:
            yield from _cut(end, body, f"body, {len(body)} bytes")


def _values(at: int, content: bytes) -> Iterator[tuple[int, bytes, str]]:
    start = 0
    while start < len(content):
        name_end = start + 5 + content[start + 4]
        value_end = name_end + 4 + int.from_bytes(content[name_end : name_end + 4], "big")
        for begin, end, what in (
            (start, start + 4, "seconds for which it may be kept"),
            (start + 4, name_end, f"name: {content[start + 5 : name_end].decode()}"),
            (name_end, value_end, f"value: {content[name_end + 4 : value_end].decode()}"),
        ):
            yield from _cut(at + begin, content[begin:end], what)
        start = value_end


def _field_note(field: Field) -> str:
    critical = ", critical" if field.type & CRITICAL_BIT else ""
    return f"{field_name(field.type).upper().replace('-', '_')}{critical}, {len(field.value)} bytes"


def _shown(value: bytes) -> str:
    return (
        f'"{value.decode()}"' if len(value) > 4 and value.isascii() and value.decode().isprintable() else ""
    )


def page() -> str:
    """The specification with its blocks as they must be."""
    makers = {
        "controls": controls, "legal": legal, "reasons": reasons, "timers": timers, "types": types,
        "fields": fields, "capabilities": capabilities, "attributes": attributes, "examples": examples,
    }  # fmt: skip
    text = Path(PAGE).read_text("utf-8")
    return _BLOCK.sub(lambda found: f"{found[1]}\n{makers[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page()}, "tests.vectors.specification", sys.argv[1:]))
