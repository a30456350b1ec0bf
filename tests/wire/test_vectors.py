"""The vectors: what another implementation is told holds for this one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imxrouter.wire.control import CONTROLS, decode_control
from imxrouter.wire.errors import RecordTooLarge, UnknownCritical, WireError
from imxrouter.wire.fields import Field
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.record import Envelope, Record, decode_outcome, decode_record, encode_record
from tests.vectors import generate, specification
from tests.vectors.load import load

RECORDS = {one["name"]: one for one in load("records")["vectors"]}
BAD = {one["name"]: one for one in load("bad")["records"]}
ERRORS = {"RecordTooLarge": RecordTooLarge, "UnknownCritical": UnknownCritical, "WireError": WireError}


def test_the_files_are_what_their_script_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m tests.vectors.generate` writes them."""
    monkeypatch.chdir(Path(__file__).parents[2])
    for name, text in generate.pages().items():
        assert Path(name).read_text("utf-8") == text, f"{name}: run python -m tests.vectors.generate"


def test_the_specification_says_what_code_and_vectors_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m tests.vectors.specification` writes its tables and examples."""
    monkeypatch.chdir(Path(__file__).parents[2])
    page = Path(specification.PAGE).read_text("utf-8")
    assert page == specification.page(), "run python -m tests.vectors.specification"


def test_every_kind_of_control_record_has_a_vector() -> None:
    """A new kind needs one."""
    assert {one["record"]["type"] for one in RECORDS.values()} >= set(CONTROLS)


def taken_apart(record: Record) -> dict[str, Any]:
    """What a vector says of a record, without the name of its type."""
    said = generate.record_json("", encode_record(record))["record"]
    assert isinstance(said, dict)
    return said


def put_together(said: dict[str, Any]) -> Record:
    """The record that a vector describes."""
    names = ("to_local", "to_domain", "from_local", "from_domain")
    return Record(
        said["type"], said["flags"], said["hops_left"], int(said["route_tag"], 16),
        bytes.fromhex(said["message_id"]),
        Envelope(*(said.get(name, "").encode() for name in names)),
        tuple(Field(field["type"], bytes.fromhex(field["value"])) for field in said["fields"]),
        bytes.fromhex(said["body"]),
    )  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_a_vector_is_read_and_written(name: str) -> None:
    """Both ways, byte by byte."""
    data, said = bytes.fromhex(RECORDS[name]["hex"]), RECORDS[name]["record"]
    assert put_together(said) == decode_record(data)
    assert encode_record(put_together(said)) == data
    control = decode_control(decode_record(data))
    assert (control is None) == (said["type"] not in CONTROLS)
    if control is not None:
        assert control.encode() == data


def feeds(data: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, in two halves cut anywhere."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    yield from ([data[:cut], data[cut:]] for cut in range(1, len(data)))


@pytest.mark.parametrize("name", RECORDS)
def test_a_vector_comes_out_of_any_pieces(name: str) -> None:
    """And bytes behind it wait for theirs."""
    data = bytes.fromhex(RECORDS[name]["hex"])
    for trailing in (b"", b"\x00", b"\x00\x00\x00", data[:-1]):
        for pieces in feeds(data + trailing):
            splitter = RecordSplitter()
            out = [record for piece in pieces for record in splitter.feed(piece)]
            assert out == [data]
            assert splitter.waiting_bytes == len(trailing)


def judge(data: bytes, judged: str) -> None:
    """Read a bad input as far as it can be read."""
    records = RecordSplitter().feed(data)
    assert judged != "header"
    record = decode_record(records[0])
    assert judged != "record"
    if judged == "control":
        decode_control(record)
    else:
        decode_outcome(record)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_is_refused_where_it_must_be(name: str) -> None:
    """Neither earlier nor later, and with the error that is said."""
    with pytest.raises(WireError) as caught:
        judge(bytes.fromhex(BAD[name]["hex"]), BAD[name]["judged"])
    assert type(caught.value) is ERRORS[BAD[name]["error"]]


@pytest.mark.parametrize("name", RECORDS)
def test_every_prefix_of_a_vector_is_refused_whole(name: str) -> None:
    """A record cut short is none."""
    data = bytes.fromhex(RECORDS[name]["hex"])
    for cut in range(len(data)):
        with pytest.raises(WireError):
            decode_record(data[:cut])
