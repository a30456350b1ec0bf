"""The IMX record: vectors, totality, text and wire forms."""

import json
from pathlib import Path
from typing import Any

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.discovery.answers import TYPE_IMX, TYPE_SRV, TYPE_SVCB
from imxrouter.discovery.errors import BadDnsRecord
from imxrouter.discovery.imxrr import ImxRecord, SrvRecord, is_host, read_name, write_name
from imxrouter.discovery.rdata import imx_from_text, rdata_from_text, srv_from_text

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "dns-record.json").read_text())

hosts = st.from_regex(
    r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,10}[a-z0-9])?){0,3}", fullmatch=True
)
good_records = st.builds(
    ImxRecord.make,
    st.integers(1, 65535),
    hosts,
    port=st.none() | st.integers(1, 65535),
    tls=st.none() | st.sampled_from(["none", "optional", "required"]),
    auth=st.none() | st.frozensets(st.sampled_from(["dialback", "certificate"]), min_size=1),
    versions=st.none() | st.lists(st.integers(0, 65535), min_size=1, max_size=5).map(tuple),
)


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["name"])
def test_good_vectors_give_their_meaning(vector: dict[str, Any]) -> None:
    """Wire, generic text and readable text of a vector are one record, with the meaning given there."""
    record = ImxRecord.parse(bytes.fromhex(vector["rdata"]))
    means = vector["means"]
    assert record.priority == means["priority"]
    assert record.target == means["target"]
    assert record.port == means.get("port")
    assert record.tls == means.get("tls")
    assert record.auth == (frozenset(means["auth"]) if "auth" in means else None)
    assert record.versions == (tuple(means["versions"]) if "versions" in means else None)
    assert record.unusable_because == means.get("unusable", "")
    if vector.get("canonical", True):
        assert record.to_wire().hex() == vector["rdata"]
        assert record.to_text() == vector["text"]
        assert record.to_generic_text() == vector["generic"]
        assert imx_from_text(vector["text"]) == record
        assert imx_from_text(vector["generic"]) == record


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda vector: vector["name"])
def test_bad_vectors_are_refused(vector: dict[str, Any]) -> None:
    """A malformed record is refused with the rule that it breaks."""
    with pytest.raises(BadDnsRecord, match=vector["because"]):
        ImxRecord.parse(bytes.fromhex(vector["rdata"]))


@pytest.mark.parametrize("vector", [*VECTORS["good"]], ids=lambda vector: vector["name"])
def test_each_prefix_of_a_vector_is_total(vector: dict[str, Any]) -> None:
    """A record that breaks off gives a record or our error."""
    whole = bytes.fromhex(vector["rdata"])
    for end in range(len(whole)):
        _parse_or_refuse(whole[:end])
    _parse_or_refuse(whole + b"\0")


@given(st.binary(max_size=300))
def test_any_bytes_give_a_record_or_our_error(data: bytes) -> None:
    """Parsing is total, and what parses can be written again."""
    _parse_or_refuse(data)


@given(good_records, st.data())
def test_changed_bytes_give_a_record_or_our_error(record: ImxRecord, data: st.DataObject) -> None:
    """The same for bytes that look like a record."""
    wire = bytearray(record.to_wire())
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] = data.draw(st.integers(0, 255))
    _parse_or_refuse(bytes(wire))


@given(good_records)
def test_forms_are_one_record(record: ImxRecord) -> None:
    """Wire, readable text and generic text lead back to the record, through dnspython too."""
    assert ImxRecord.parse(record.to_wire()) == record
    assert imx_from_text(record.to_text()) == record
    assert imx_from_text(record.to_generic_text()) == record
    typed = dns.rdata.from_wire(
        dns.rdataclass.IN, dns.rdatatype.RdataType.make(TYPE_IMX), record.to_wire(), 0, len(record.to_wire())
    )
    assert type(typed).__name__ == "IMX"
    assert typed.to_wire() == record.to_wire()
    assert rdata_from_text(TYPE_SVCB, record.to_text()) == record.to_wire()


@given(st.binary(max_size=60))
def test_any_bytes_give_an_srv_or_our_error(data: bytes) -> None:
    """SRV parsing is total."""
    try:
        record = SrvRecord.parse(data)
    except BadDnsRecord:
        return
    assert SrvRecord.parse(record.to_wire()) == record
    assert srv_from_text(record.to_text()) == record


def test_srv_without_service() -> None:
    """Target `.` is a record, port 0 beside a real target is not."""
    assert SrvRecord.parse(rdata_from_text(TYPE_SRV, "0 0 0 .")).target == ""
    with pytest.raises(BadDnsRecord, match="port 0"):
        srv_from_text("0 0 0 a.example.")


@pytest.mark.parametrize("name", ["127.0.0.1", "1", "a..b", "-a.example", "a b", "ä.example", "a" * 64, ""])
def test_no_host_name(name: str) -> None:
    """What could be taken for an address, or is no name, is no target."""
    assert not is_host(name)


def test_long_names() -> None:
    """255 octets are a name, 256 are none."""
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert read_name(write_name(longest), 0)[0] == longest
    with pytest.raises(BadDnsRecord):
        write_name(longest + "b")
    with pytest.raises(BadDnsRecord):
        write_name("a..b")


@pytest.mark.parametrize(
    "values",
    [{"port": 0}, {"port": 70000}, {"tls": "maybe"}, {"auth": frozenset({"trust"})}, {"versions": (-1,)}],
)
def test_make_refuses_values_outside_their_range(values: dict[str, Any]) -> None:
    """A record that could not be read is not built."""
    with pytest.raises(BadDnsRecord):
        ImxRecord.make(1, "a.example", **values)


@pytest.mark.parametrize(
    "text", ["", "1", "x y", "1 a.example. port=", "\\# 3 00", '1 a.example. key65280="ab"']
)
def test_bad_text_is_refused(text: str) -> None:
    """Text that is no record gives our error."""
    with pytest.raises(BadDnsRecord):
        imx_from_text(text)


def _parse_or_refuse(data: bytes) -> None:
    try:
        record = ImxRecord.parse(data)
    except BadDnsRecord:
        return
    assert ImxRecord.parse(record.to_wire()) == record
    assert record.to_text()
    assert record.unusable_because is not None
    assert record.tls in {None, "none", "optional", "required"}
