"""A captured stream as readable records."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import ClaimResult, Close, Hello
from imxrouter.wire.describe import describe_stream
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record, encode_record, response_to
from imxrouter.wire.registry import FieldType
from tests.vectors.load import record_bytes, seeds
from tests.wire.strategies import mutated, records

VECTORS = record_bytes()


def only(data: bytes) -> dict[str, object]:
    """What is said of a stream of one record."""
    (shown,) = describe_stream(data)
    return shown


def test_a_message_is_shown_without_its_body() -> None:
    """Envelope and fields, the body by length."""
    shown = only(VECTORS["message"])
    assert shown["type"] == "message"
    assert (shown["to"], shown["from"]) == ("bob@b.example", "alice@a.example")
    assert (shown["flags"], shown["hops"]) == (["response-wanted"], 110)
    assert (shown["tag"], shown["id"]) == ("0001000000010203", "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf")
    assert (shown["offset"], shown["size"]) == (0, len(VECTORS["message"]))
    assert isinstance(shown["body"], int)
    assert "Hello" not in json.dumps(shown)


def test_a_response_tells_its_outcome() -> None:
    """Status, reason and advice in words."""
    shown = only(VECTORS["response: busy, retry after 10 s"])
    assert shown["outcome"] == {"status": "failure", "reason": "busy", "retry-after-s": 10}
    assert shown["fields"] == {"decided-by": "b.example (router)"}


@pytest.mark.parametrize("body", [b"", b"\x00" * 7, b"\x07" + bytes(7)])
def test_a_response_without_a_valid_outcome_is_still_shown(body: bytes) -> None:
    """It is a record all the same."""
    shown = only(encode_record(Record(0x8100, envelope=Envelope(b"", b"b", b"", b"a"), body=body)))
    assert shown["outcome"] is None


@pytest.mark.parametrize("name", ["claim", "verify", "proof in clear"])
def test_secrets_are_cut(name: str) -> None:
    """Tokens, secrets and answers: four bytes and the length."""
    data = VECTORS[name]
    text = json.dumps(only(data))
    for start in range(40, len(data) - 8):
        piece = data[start : start + 8]
        if len(set(piece)) > 6 and not piece.isascii():
            assert piece.hex() not in text
    assert "... (" in text


def test_private_fields_are_told_by_length() -> None:
    """Subjects, attributes and original forms are no business of a log (rule 9)."""
    fields = tuple(
        Field(number, b"private")
        for number in (FieldType.SUBJECT, FieldType.ATTRIBUTE, FieldType.ORIGINAL_FORM)
    )
    shown = only(encode_record(Record(0x100, envelope=Envelope(b"", b"b", b"", b"a"), fields=fields)))
    assert set(shown["fields"].values()) == {"(7 bytes)"}  # type: ignore[attr-defined]


def test_known_values_are_readable() -> None:
    """Numbers, words, lists."""
    fields = only(Hello((1, 2), (1, 99), epoch=b"epoch--A").encode())["fields"]
    assert isinstance(fields, dict)
    assert fields["versions"] == [1, 2]
    assert fields["capabilities"] == ["duplicates", "99"]
    assert fields["max-record"] == 65536
    assert fields["link-epoch"] == b"epoch--A".hex()
    assert only(Close(84, 5).encode())["fields"] == {"reason": "idle", "deadline": 5}
    result = only(ClaimResult(1, 0, 7, None, (bytes(16), bytes(16))).encode())["fields"]
    assert isinstance(result, dict)
    assert result["level"] == "dialback+tls+certificate"
    assert result["nonce"] == ["00" * 16] * 2


def test_what_is_not_known_is_hex() -> None:
    """Types, flags and fields of later versions; values of the wrong size are marked."""
    shown = only(
        encode_record(Record(0x00F0, 0x05, fields=(Field(0xFFF0, b"ab"), Field(FieldType.REASON, b"a"))))
    )
    assert shown["type"] == "0x00f0"
    assert shown["flags"] == ["0x05"]
    assert shown["fields"] == {"0x7ff0": "6162", "reason": "malformed: 61"}
    assert shown["critical"] == ["0x7ff0"]


@pytest.mark.parametrize("number", FieldType)
def test_an_empty_value_is_shown(number: FieldType) -> None:
    """Of each field, as malformed or as it is: a peer chose it, and `imxctl decode` must not end there."""
    envelope = Envelope(b"", b"b", b"", b"a")
    shown = only(encode_record(Record(0x100, envelope=envelope, fields=(Field(number, b""),))))
    assert isinstance(shown["fields"], dict)
    assert len(shown["fields"]) == 1


def test_a_stream_is_walked_to_its_end() -> None:
    """Offsets count on; a whole end has no error."""
    shown = list(describe_stream(b"".join(VECTORS.values())))
    assert len(shown) == len(VECTORS)
    assert not any("error" in one for one in shown)
    sizes = [len(data) for data in VECTORS.values()]
    assert [one["offset"] for one in shown] == [sum(sizes[:place]) for place in range(len(sizes))]


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b"\x00\x00", "2 bytes of a length"),
        (VECTORS["message"][:50], "ends after 50 of"),
        (VECTORS["message"][:20], "ends after 20 of"),
        (b"\x16\x03\x01\x02\x00", "TLS"),
        (b"\x00\x00\x00\x00", "header alone"),
        (b"\xff\xff\xff\xff", "takes at most"),
        (VECTORS["ping"][:22] + b"\x00\x01" + VECTORS["ping"][24:], "reserved"),
    ],
)
def test_where_it_breaks_is_said(tail: bytes, words: str) -> None:
    """What came before is shown, then one line with the place and the reason."""
    first, last = describe_stream(VECTORS["ping"] + tail)
    assert first["type"] == "ping"
    assert last["offset"] == len(VECTORS["ping"])
    assert words in str(last["error"])


@given(
    st.binary(max_size=300)
    | mutated(seeds())
    | st.lists(records.map(encode_record), max_size=3).map(b"".join)
)
def test_any_stream_can_be_shown(data: bytes) -> None:
    """Total: dictionaries that JSON can hold, an error only at the end."""
    shown = list(describe_stream(data))
    json.dumps(shown).encode()
    assert not any("error" in one for one in shown[:-1])
    if not shown or "error" not in shown[-1]:
        assert sum(one["size"] for one in shown if isinstance(one["size"], int)) == len(data)


def test_a_registered_reason_is_a_word_in_responses() -> None:
    """The same words everywhere (rule 8)."""
    request = Record(0x100, envelope=Envelope(b"", b"b", b"", b"a"))
    shown = only(encode_record(response_to(request, failure(Reason.LOOP))))
    assert shown["outcome"] == {"status": "failure", "reason": "loop", "retry-after-s": 0}
