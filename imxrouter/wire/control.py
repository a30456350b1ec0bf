"""The link's own records as values (specification section 5).

Each dataclass names its fields through `_Spec` metadata; encoding and decoding follow that one table, so a
record's definition here is the definition in the specification's table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from dataclasses import Field as DataField
from dataclasses import fields as dataclass_fields
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from imxrouter.wire.errors import WireError
from imxrouter.wire.fields import Field, check_critical
from imxrouter.wire.layout import FLAG_CRITICAL, FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, encode_record
from imxrouter.wire.registry import CRITICAL_BIT, FieldType, RecordType

C = TypeVar("C", bound="Control")


class _Spec(NamedTuple):
    number: FieldType
    to_wire: Callable[[Any], bytes]
    from_wire: Callable[[bytes], Any]
    critical: bool
    many: bool


def _sized_number(width: int) -> tuple[Callable[[int], bytes], Callable[[bytes], int]]:
    def read(raw: bytes) -> int:
        if len(raw) != width:
            raise WireError(f"{len(raw)} bytes where a number of {width} is expected")
        return int.from_bytes(raw, "big")

    return (lambda value: value.to_bytes(width, "big")), read


def _numbers_u16() -> tuple[Callable[[tuple[int, ...]], bytes], Callable[[bytes], tuple[int, ...]]]:
    def read(raw: bytes) -> tuple[int, ...]:
        if len(raw) % 2:
            raise WireError("a list of 16-bit numbers has an odd length")
        return tuple(int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2))

    return (lambda values: b"".join(value.to_bytes(2, "big") for value in values)), read


def _sized_bytes(low: int, high: int) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    def read(raw: bytes) -> bytes:
        if not low <= len(raw) <= high:
            raise WireError(f"{len(raw)} bytes where {low} to {high} are expected")
        return raw

    return bytes, read


def _text() -> tuple[Callable[[str], bytes], Callable[[bytes], str]]:
    def fitting(value: str) -> bytes:
        """At most 255 bytes, cut between characters: one that stands for a wrong byte has three itself."""
        raw = value.encode("utf-8")
        return raw if len(raw) <= 255 else raw[:255].decode("utf-8", "ignore").encode("utf-8")

    return fitting, lambda raw: fitting(raw[:255].decode("utf-8", "replace")).decode("utf-8")


def _ascii(low: int, high: int) -> tuple[Callable[[str], bytes], Callable[[bytes], str]]:
    def check(raw: bytes) -> bytes:
        if not low <= len(raw) <= high or not raw.isascii():
            raise WireError(f"{len(raw)} bytes where {low} to {high} of ASCII are expected")
        return raw

    return (lambda value: check(value.encode("utf-8"))), (lambda raw: check(raw).decode("ascii"))


_U8: Final = _sized_number(1)
_U16: Final = _sized_number(2)
_U32: Final = _sized_number(4)
_U64: Final = _sized_number(8)
_U16S: Final = _numbers_u16()
_DOMAIN: Final = _sized_bytes(1, 253)
_TEXT: Final = _text()
#: `host:port`: 253 bytes of host, or an IPv6 address in brackets, and five digits. Never cut: a target cut
#: short is another target.
_HOST_PORT: Final = _ascii(3, 259)


def _on_wire(
    number: FieldType,
    form: tuple[Callable[[Any], bytes], Callable[[bytes], Any]],
    default: Any = MISSING,
    *,
    critical: bool = False,
    many: bool = False,
) -> Any:
    spec = _Spec(number, form[0], form[1], critical, many)
    return (
        field(default=default, metadata={"spec": spec})
        if default is not MISSING
        else field(metadata={"spec": spec})
    )


@dataclass(frozen=True, slots=True)
class Control:
    """Base of the link's own records."""

    TYPE: ClassVar[RecordType]
    FLAGS: ClassVar[int] = 0

    def encode(self) -> bytes:
        """The bytes of the record."""
        out: list[Field] = []
        for item, spec in _specs(type(self)):
            value = getattr(self, item.name)
            if value is None:
                continue
            number = spec.number | CRITICAL_BIT if spec.critical else int(spec.number)
            out.extend(Field(number, spec.to_wire(one)) for one in (value if spec.many else (value,)))
        return encode_record(Record(self.TYPE, self.FLAGS, fields=tuple(out), body=self._body()))

    def _body(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class Hello(Control):
    """First record of each side: versions, capabilities, limits, instance, epoch (section 5.1).

    Times are milliseconds. `challenge` is what a LOGIN signs; only an acceptor sends one.
    """

    TYPE: ClassVar[RecordType] = RecordType.HELLO
    versions: tuple[int, ...] = _on_wire(FieldType.VERSIONS, _U16S)
    capabilities: tuple[int, ...] = _on_wire(FieldType.CAPABILITIES, _U16S, ())
    max_record: int = _on_wire(FieldType.MAX_RECORD, _U32, 65536)
    credit_requests: int = _on_wire(FieldType.CREDIT_REQUESTS, _U32, 1024)
    credit_bytes: int = _on_wire(FieldType.CREDIT_BYTES, _U32, 1 << 20)
    instance: bytes = _on_wire(FieldType.ROUTER_INSTANCE, _sized_bytes(16, 16), bytes(16))
    epoch: bytes = _on_wire(FieldType.LINK_EPOCH, _sized_bytes(8, 8), bytes(8))
    ping_ms: int | None = _on_wire(FieldType.PING_INTERVAL, _U32, None)
    dead_ms: int | None = _on_wire(FieldType.DEAD_AFTER, _U32, None)
    idle_ms: int | None = _on_wire(FieldType.IDLE_AFTER, _U32, None)
    duplicate_window_ms: int | None = _on_wire(FieldType.DUPLICATE_WINDOW, _U32, None)
    challenge: bytes | None = _on_wire(FieldType.CHALLENGE, _sized_bytes(32, 32), None)
    software: str | None = _on_wire(FieldType.SOFTWARE, _TEXT, None)


@dataclass(frozen=True, slots=True)
class Ping(Control):
    """Are you there? Answered with the same nonce (section 5.2)."""

    TYPE: ClassVar[RecordType] = RecordType.PING
    FLAGS: ClassVar[int] = FLAG_RESPONSE_WANTED
    nonce: bytes = _on_wire(FieldType.NONCE, _sized_bytes(8, 16))


@dataclass(frozen=True, slots=True)
class Pong(Control):
    """The answer to a ping."""

    TYPE: ClassVar[RecordType] = RecordType.PONG
    nonce: bytes = _on_wire(FieldType.NONCE, _sized_bytes(8, 16))


@dataclass(frozen=True, slots=True)
class Ack(Control):
    """How many routed responses the sender has read on this link since its first (section 8.1)."""

    TYPE: ClassVar[RecordType] = RecordType.ACK
    acknowledged: int = _on_wire(FieldType.ACKNOWLEDGED, _U64)


@dataclass(frozen=True, slots=True)
class Close(Control):
    """No new requests any more; what is in flight may finish until the deadline (section 5.4)."""

    TYPE: ClassVar[RecordType] = RecordType.CLOSE
    reason: int = _on_wire(FieldType.REASON, _U16)
    deadline_ms: int = _on_wire(FieldType.DEADLINE, _U32, 0)
    retry_after_s: int | None = _on_wire(FieldType.RETRY_AFTER, _U32, None)
    subject_type: int | None = _on_wire(FieldType.SUBJECT_TYPE, _U16, None)
    text: str | None = _on_wire(FieldType.TEXT, _TEXT, None)


@dataclass(frozen=True, slots=True)
class Redirect(Control):
    """Reconnect elsewhere for the named domains (section 5.5). `target` is `host:port`."""

    TYPE: ClassVar[RecordType] = RecordType.REDIRECT
    target: str = _on_wire(FieldType.TARGET, _HOST_PORT)
    domains: tuple[bytes, ...] = _on_wire(FieldType.REDIRECT_DOMAIN, _DOMAIN, (), many=True)
    reason: int = _on_wire(FieldType.REASON, _U16, 0)
    deadline_ms: int = _on_wire(FieldType.DEADLINE, _U32, 10_000)


@dataclass(frozen=True, slots=True)
class Credit(Control):
    """New limits on what may be unanswered towards the sender of this record (section 5.3)."""

    TYPE: ClassVar[RecordType] = RecordType.CREDIT
    credit_requests: int = _on_wire(FieldType.CREDIT_REQUESTS, _U32)
    credit_bytes: int = _on_wire(FieldType.CREDIT_BYTES, _U32)


@dataclass(frozen=True, slots=True)
class Claim(Control):
    """I speak for `from_domain`; verify it for `to_domain` (section 6.1). Sent on the first connection."""

    TYPE: ClassVar[RecordType] = RecordType.CLAIM
    FLAGS: ClassVar[int] = FLAG_RESPONSE_WANTED | FLAG_CRITICAL
    number: int = _on_wire(FieldType.CLAIM_NUMBER, _U32)
    from_domain: bytes = _on_wire(FieldType.FROM_DOMAIN, _DOMAIN)
    to_domain: bytes = _on_wire(FieldType.TO_DOMAIN, _DOMAIN)
    token: bytes = _on_wire(FieldType.TOKEN, _sized_bytes(1, 96))


@dataclass(frozen=True, slots=True)
class Proof(Control):
    """The answer of dial-back: the secret, or its binding to the first connection (section 6.3)."""

    TYPE: ClassVar[RecordType] = RecordType.PROOF
    FLAGS: ClassVar[int] = FLAG_CRITICAL
    number: int = _on_wire(FieldType.CLAIM_NUMBER, _U32)
    answer: bytes = _on_wire(FieldType.ANSWER, _sized_bytes(32, 32))


@dataclass(frozen=True, slots=True)
class ClaimResult(Control):
    """What became of a claim; `nonces` are those the claimer sent on the second connection (section 6.4)."""

    TYPE: ClassVar[RecordType] = RecordType.CLAIM_RESULT
    number: int = _on_wire(FieldType.CLAIM_NUMBER, _U32)
    reason: int = _on_wire(FieldType.REASON, _U16)
    level: int | None = _on_wire(FieldType.LEVEL, _U8, None)
    retry_after_s: int | None = _on_wire(FieldType.RETRY_AFTER, _U32, None)
    nonces: tuple[bytes, ...] = _on_wire(FieldType.NONCE, _sized_bytes(16, 16), (), many=True)


@dataclass(frozen=True, slots=True)
class Verify(Control):
    """On the second connection: is this token yours, for this pair? See section 6.2.

    `first_view` is how the verifier sees the first connection: 0 clear, 1 TLS without binding, 2 TLS 1.3.
    """

    TYPE: ClassVar[RecordType] = RecordType.VERIFY
    FLAGS: ClassVar[int] = FLAG_RESPONSE_WANTED | FLAG_CRITICAL
    number: int = _on_wire(FieldType.CLAIM_NUMBER, _U32)
    from_domain: bytes = _on_wire(FieldType.FROM_DOMAIN, _DOMAIN)
    to_domain: bytes = _on_wire(FieldType.TO_DOMAIN, _DOMAIN)
    token: bytes = _on_wire(FieldType.TOKEN, _sized_bytes(1, 96))
    secret: bytes = _on_wire(FieldType.SECRET, _sized_bytes(32, 32))
    first_view: int = _on_wire(FieldType.FIRST_VIEW, _U8, critical=True)


@dataclass(frozen=True, slots=True)
class VerifyResult(Control):
    """The claimer's word on a verify: released (reason 0), not-mine or refused (section 6.2)."""

    TYPE: ClassVar[RecordType] = RecordType.VERIFY_RESULT
    number: int = _on_wire(FieldType.CLAIM_NUMBER, _U32)
    reason: int = _on_wire(FieldType.REASON, _U16)
    nonce: bytes | None = _on_wire(FieldType.NONCE, _sized_bytes(16, 16), None)


@dataclass(frozen=True, slots=True)
class Withdraw(Control):
    """A proof or claim of the named domain ends on this link (section 6.5)."""

    TYPE: ClassVar[RecordType] = RecordType.WITHDRAW
    from_domain: bytes = _on_wire(FieldType.FROM_DOMAIN, _DOMAIN)
    reason: int = _on_wire(FieldType.REASON, _U16, 0)


@dataclass(frozen=True, slots=True)
class Proved(Control):
    """On the second connection: its opener is accepted for `from_domain` towards `to_domain` (section 6.4).

    Sent by the claimer once the nonce it sent here came back in a result on the first connection.
    """

    TYPE: ClassVar[RecordType] = RecordType.PROVED
    from_domain: bytes = _on_wire(FieldType.FROM_DOMAIN, _DOMAIN)
    to_domain: bytes = _on_wire(FieldType.TO_DOMAIN, _DOMAIN)


@dataclass(frozen=True, slots=True)
class Login(Control):
    """A service or uplink proves its configured key (section 6.6)."""

    TYPE: ClassVar[RecordType] = RecordType.LOGIN
    FLAGS: ClassVar[int] = FLAG_RESPONSE_WANTED | FLAG_CRITICAL
    key_id: bytes = _on_wire(FieldType.KEY_ID, _sized_bytes(1, 64))
    signature: bytes = _on_wire(FieldType.SIGNATURE, _sized_bytes(64, 64))


@dataclass(frozen=True, slots=True)
class LoginResult(Control):
    """Whether the login was taken (reason 0) or why not."""

    TYPE: ClassVar[RecordType] = RecordType.LOGIN_RESULT
    reason: int = _on_wire(FieldType.REASON, _U16)


@dataclass(frozen=True, slots=True)
class HandOver(Control):
    """A host that goes gives another host of its domain a live subscription (section 6.7)."""

    TYPE: ClassVar[RecordType] = RecordType.HAND_OVER
    watcher: bytes = _on_wire(FieldType.WATCHER, _sized_bytes(2, 509))
    presentity: bytes = _on_wire(FieldType.WATCHED, _sized_bytes(2, 509))
    ident: bytes = _on_wire(FieldType.WATCH_ID, _sized_bytes(1, 40))
    duration_s: int = _on_wire(FieldType.WATCH_LEFT, _U32)


CONTROLS: Final[dict[int, type[Control]]] = {
    kind.TYPE.value: kind
    for kind in (
        Hello, Ping, Pong, Ack, Close, Redirect, Credit, Claim, Proof, ClaimResult, Verify, VerifyResult,
        Withdraw, Proved, Login, LoginResult, HandOver,
    )
}  # fmt: skip

_SPECS: dict[type[Control], tuple[tuple[DataField[Any], _Spec], ...]] = {}


def _specs(kind: type[Control]) -> tuple[tuple[DataField[Any], _Spec], ...]:
    known = _SPECS.get(kind)
    if known is None:
        known = tuple((item, item.metadata["spec"]) for item in dataclass_fields(kind))
        _SPECS[kind] = known
    return known


#: How every ACK of this implementation begins; 8 bytes of count follow. Peers send one with each read, so
#: the hot path makes and reads it without the table.
ACK_START: Final = Ack(0).encode()[:-8]
ACK_BYTES: Final = len(ACK_START) + 8


def encode_ack(acknowledged: int) -> bytes:
    """`Ack(acknowledged).encode()`, for the hot path."""
    return ACK_START + acknowledged.to_bytes(8, "big")


def decode_control(record: Record) -> Control | None:
    """The typed form of one of the link's own records; None for a type that is not registered.

    Raises:
        WireError: a field is missing, doubled or malformed.
        UnknownCritical: a critical field of this record is not known.
    """
    kind = CONTROLS.get(record.type)
    if kind is None:
        return None
    specs = _specs(kind)
    check_critical(record.fields, frozenset(int(spec.number) for _, spec in specs))
    values: dict[str, Any] = {}
    for item, spec in specs:
        found = [spec.from_wire(one.value) for one in record.fields if one.number == spec.number]
        if spec.many:
            values[item.name] = tuple(found)
        elif len(found) > 1:
            raise WireError(f"{kind.__name__}: field {item.name} stands twice")
        elif found:
            values[item.name] = found[0]
        elif item.default is MISSING:
            raise WireError(f"{kind.__name__}: field {item.name} is missing")
    return kind(**values)
