"""Reports of abuse on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.abuse import MAX_REPORT_BYTES, AbuseType, BadReport, Report
from imxrouter.model.address import Address

EVE, BOB = Address.parse("eve@m.example"), Address.parse("bob@b.example")


_ids = st.sampled_from([b"", bytes(16), b"\xff" * 16])


@given(st.sampled_from(AbuseType), st.integers(0, 10**11), _ids, st.text())
def test_what_is_written_is_read(kind: AbuseType, at: int, ident: bytes, text: str) -> None:
    """Whatever the words for people."""
    report = Report(kind, EVE, BOB, at, ident, text.encode("utf-8", "ignore").decode())
    if len(report.encode()) <= MAX_REPORT_BYTES:
        assert Report.decode(report.encode()) == report


@given(st.one_of(st.binary(max_size=200), st.text().map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """With the room's own error alone; what is read can be written."""
    try:
        report = Report.decode(body)
    except BadReport:
        return
    assert Report.decode(report.encode()) == report


GOOD = ["type: spam", "from: eve@m.example", "to: bob@b.example", "time: 1"]


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        (GOOD, ""),
        (GOOD[1:2] + GOOD[3:], "\r\n\r\n"),
        ([*GOOD, "time: 2"], "\r\n\r\n"),
        ([*GOOD, "id: 12"], "\r\n\r\n"),
        ([*GOOD, "id: xyz"], "\r\n\r\n"),
        ([*GOOD, "no line"], "\r\n\r\n"),
        ([*GOOD[:3], "time: ١"], "\r\n\r\n"),
        ([*GOOD[:3], "time: 999999999999"], "\r\n\r\n"),
        ([*GOOD[:2], "to: b.example", GOOD[3]], "\r\n\r\n"),
        ([*GOOD, *(f"x{n}: y" for n in range(40))], "\r\n\r\n"),
        (GOOD, "\r\n\r\n" + "x" * MAX_REPORT_BYTES),
    ],
)  # fmt: skip
def test_what_is_no_report(lines: list[str], end: str) -> None:
    """A line is missing, stands twice or is malformed; it is too long."""
    with pytest.raises(BadReport):
        Report.decode(("\r\n".join(lines) + end).encode())


def test_what_is_not_known_is_passed_over() -> None:
    """Lines and types of a later version."""
    body = "\r\n".join(["type: annoying", *GOOD[1:], "language: de"]) + "\r\n\r\nwords"
    assert Report.decode(body.encode()) == Report(AbuseType.OTHER, EVE, BOB, 1, b"", "words")
