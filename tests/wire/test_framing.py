"""Cutting a byte stream into records."""

from __future__ import annotations

from typing import Any, Self, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.wire import framing
from imxrouter.wire.errors import RecordTooLarge, WireError
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.record import Record, encode_record
from tests.vectors.load import seeds
from tests.wire.strategies import mutated, records


@given(
    st.lists(records.map(encode_record), max_size=6), st.lists(st.integers(1, 300), min_size=1, max_size=40)
)
def test_records_come_out_whatever_the_pieces(rows: list[bytes], pieces: list[int]) -> None:
    """However the stream is cut, the same records come out, in order, and nothing is left."""
    stream, splitter, out, at, turn = b"".join(rows), RecordSplitter(), [], 0, 0
    while at < len(stream):
        step = pieces[turn % len(pieces)]
        out += splitter.feed(stream[at : at + step])
        at, turn = at + step, turn + 1
    assert out == rows
    assert splitter.waiting_bytes == 0


@given(st.lists(st.binary(max_size=100), max_size=8) | mutated(seeds()).map(lambda data: [data]))
def test_any_bytes_give_records_or_a_wire_error(pieces: list[bytes]) -> None:
    """Rule 7, and what came out is what went in."""
    splitter, out = RecordSplitter(), []
    try:
        for piece in pieces:
            out += splitter.feed(piece)
    except WireError:
        return
    assert b"".join(out) == b"".join(pieces)[: sum(map(len, out))]
    assert sum(map(len, out)) + splitter.waiting_bytes == sum(map(len, pieces))


@pytest.mark.parametrize(
    "start", [b"\x00\x01\x00\x00", b"\x01\x00\x00\x00", b"\xff\xff\xff\xff", b"\x16\x03\x01\x00"]
)
def test_a_length_is_judged_as_soon_as_it_is_there(start: bytes) -> None:
    """What will be refused is not waited for."""
    splitter = RecordSplitter()
    assert splitter.feed(start[:3]) == []
    with pytest.raises(RecordTooLarge):
        splitter.feed(start[3:])


def test_the_limit_can_be_raised_between_two_reads() -> None:
    """A proof raises it."""
    big = encode_record(Record(1, body=bytes(2000)))
    splitter = RecordSplitter(1280)
    with pytest.raises(RecordTooLarge):
        splitter.feed(big)
    splitter = RecordSplitter(1280)
    splitter.limit_bytes = 65536
    assert splitter.feed(big) == [big]


@pytest.mark.parametrize("broken", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01"])
def test_records_before_a_broken_one_are_not_lost(broken: bytes) -> None:
    """They are given, and the error follows, again and again."""
    good, splitter = encode_record(Record(1)), RecordSplitter()
    assert splitter.feed(good + good + broken) == [good, good]
    for more in (b"", b"more", good):
        with pytest.raises(WireError):
            splitter.feed(more)


class Copies:
    """Counts the bytes that the splitter copies; time on a shared machine proves nothing."""

    def __init__(self) -> None:
        self.count = 0
        copies = self

        class Block(bytes):
            """Counts itself and its slices."""

            def __new__(cls, source: Any) -> Self:
                copies.count += len(source)
                return super().__new__(cls, source)

            def __getitem__(self, key: SupportsIndex | slice) -> Any:
                found = super().__getitem__(key)
                if isinstance(found, bytes):
                    copies.count += len(found)
                return found

        class Buffer(bytearray):
            """Counts itself and what is added."""

            def __init__(self, source: Any = b"") -> None:
                copies.count += len(source)
                super().__init__(source)

            def __iadd__(self, more: Any) -> Self:  # type: ignore[misc]
                copies.count += len(more)
                return super().__iadd__(more)

        self.block, self.buffer = Block, Buffer


@pytest.mark.parametrize("piece", [1, 3, 41, 1000, 65536, 10**6])
@pytest.mark.parametrize("body", [0, 200, 60000])
def test_each_byte_is_copied_a_constant_number_of_times(
    monkeypatch: pytest.MonkeyPatch, piece: int, body: int
) -> None:
    """Linear work: at most 8 copies of each byte, in pieces of any size, however many records."""
    copies = Copies()
    monkeypatch.setattr(framing, "bytes", copies.block, raising=False)
    monkeypatch.setattr(framing, "bytearray", copies.buffer, raising=False)
    record = encode_record(Record(1, body=bytes(body)))
    stream = record * (200_000 // len(record) + 2)
    splitter, count = RecordSplitter(), 0
    for at in range(0, len(stream), piece):
        count += len(splitter.feed(stream[at : at + piece]))
    assert count == len(stream) // len(record)
    assert copies.count <= 8 * len(stream)
