"""Fuzzes everything that reads bytes of the wire.

Invariant: any bytes give records or `WireError` and nothing else. What is a record encodes to the same bytes;
what is a control record comes back from its own encoding; records come out of the splitter alike whether the
stream comes whole or in two pieces, and each byte stays or comes out; a description of the stream is total
and tells the same records.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Hashable

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.wire.control import decode_control
    from imxrouter.wire.describe import describe_stream
    from imxrouter.wire.errors import WireError
    from imxrouter.wire.framing import RecordSplitter
    from imxrouter.wire.layout import MAX_FIELDS
    from imxrouter.wire.record import decode_outcome, decode_record, encode_outcome, encode_record

from tests.vectors.load import seeds

_LIMIT = 65536


def split(*pieces: bytes) -> tuple[list[bytes], bool]:
    """The records of a stream, and whether it broke; the records of a piece that breaks are lost with it."""
    splitter, out = RecordSplitter(_LIMIT), []
    try:
        for piece in pieces:
            out += splitter.feed(piece)
    except WireError:
        return out, False
    assert sum(map(len, out)) + splitter.waiting_bytes == sum(map(len, pieces))
    return out, True


def check_record(data: bytes) -> Hashable:
    """One record's bytes."""
    try:
        record = decode_record(data)
    except WireError as error:
        return str(error)[:20]
    assert encode_record(record) == data
    assert len(record.fields) <= MAX_FIELDS
    try:
        if record.is_routed and record.is_response:
            encode_outcome(decode_outcome(record))
        control = decode_control(record)
    except WireError as error:
        return record.type, str(error)[:20]
    if control is not None:
        assert decode_control(decode_record(control.encode())) == control
    return record.type, len(record.fields)


def check(data: bytes) -> Hashable:
    """A stream."""
    records, whole = split(data)
    kinds = tuple(check_record(record) for record in records)
    check_record(data)
    if data:
        cut = data[0] % (len(data) + 1) if len(data) > 1 else 1
        pieces, pieces_whole = split(data[:cut], data[cut:])
        assert pieces_whole == whole
        assert pieces == records or not whole
    shown = list(describe_stream(data))
    json.dumps(shown)
    assert not any("error" in one for one in shown[:-1])
    if whole and not any("error" in one for one in shown):
        assert len(shown) == len(records)
    return kinds[:4], whole


if __name__ == "__main__":
    sys.exit(engine.main("decoder", check, seeds()))
