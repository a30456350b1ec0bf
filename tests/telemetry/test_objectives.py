"""Objectives: what was measured, whether it was met, and what is nobody's fault (FCC-7)."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model import quality
from imxrouter.model.operations import Kind
from imxrouter.model.quality import BOUNDS_S, BUCKETS, Cells, End, Part
from imxrouter.model.vocabulary import Reason
from imxrouter.telemetry.objectives import Measure, Objectives, measure, quantile_s, share_above

HOUR_MS = 3_600_000


def one(objectives: Objectives, cells: Cells, seen_ms: int = HOUR_MS) -> Measure:
    """The only measure."""
    (found,) = measure(objectives, cells, seen_ms)
    return found


def test_nothing_is_expected_by_default() -> None:
    """And where there was nothing to measure, nothing is said."""
    assert not Objectives()
    assert measure(Objectives(), {}, HOUR_MS) == []
    found = measure(Objectives(99.0, 0.5, 1.0), {}, 0)
    assert [(entry.measured, entry.met) for entry in found] == [(None, None)] * 3


def test_availability_is_of_the_time_in_which_we_could_see() -> None:
    """Half an hour of our own loss leaves half an hour, of which 18 s are 1 %."""
    cells = {
        quality.out_ms(True, Reason.UNREACHABLE): HOUR_MS // 2,
        quality.out_ms(False, Reason.CONNECT_TIMEOUT): 18_000,
    }
    found = one(Objectives(availability_percent=99.0), cells)
    assert found.measured == pytest.approx(99.0)
    assert found.burn == pytest.approx(1.0)
    assert one(Objectives(availability_percent=99.9), cells).met is False
    assert one(Objectives(availability_percent=98.0), cells).met is True
    assert one(Objectives(availability_percent=99.9), cells, HOUR_MS // 2).met is None


def test_delivery_time_is_theirs_of_what_went_to_them() -> None:
    """Our share, and what they sent, do not count."""
    cells = {
        quality.took(Part.THEIRS, False, Kind.MESSAGE, bisect_left(BOUNDS_S, 0.3)): 98,
        quality.took(Part.THEIRS, False, Kind.NOTIFY, bisect_left(BOUNDS_S, 3.0)): 2,
        quality.took(Part.OURS, False, Kind.MESSAGE, bisect_left(BOUNDS_S, 20.0)): 100,
        quality.took(Part.THEIRS, True, Kind.MESSAGE, bisect_left(BOUNDS_S, 20.0)): 100,
    }
    found = one(Objectives(delivery_p99_s=0.5), cells)
    assert found.met is False
    assert found.burn == pytest.approx(2.0)
    assert found.measured is not None
    assert 2.0 < found.measured <= 5.0
    assert one(Objectives(delivery_p99_s=5.0), cells).met is True


def test_refusals_are_not_those_of_recipients_nor_our_own() -> None:
    """Ten of a hundred that were passed on failed, six of them because the recipient said no."""
    cells = {
        quality.ended(False, Kind.MESSAGE, End.DELIVERED): 90,
        quality.ended(False, Kind.MESSAGE, End.FAILED): 8,
        quality.ended(False, Kind.MESSAGE, End.INDETERMINANT): 2,
        quality.ended(False, Kind.MESSAGE, End.REFUSED): 50,
        quality.because(False, Reason.NOT_DELIVERED): 6,
        quality.because(False, Reason.CONNECT_TIMEOUT): 2,
        quality.because(False, Reason.ANSWER_TIMEOUT): 2,
        quality.because(False, Reason.RATE_LIMITED): 50,
    }
    found = one(Objectives(refusals_percent=2.0), cells)
    assert found.met is False
    assert found.measured == pytest.approx(4.0)
    assert found.burn == pytest.approx(2.0)


counts = st.lists(st.integers(0, 1000), min_size=BUCKETS, max_size=BUCKETS)


@given(counts, st.floats(0.01, 0.99))
def test_a_quantile_is_where_its_share_is(histogram: list[int], share: float) -> None:
    """The share above it is what is left; it grows with the share."""
    value = quantile_s(histogram, share)
    if not sum(histogram):
        assert value is None
        assert share_above(histogram, 1.0) is None
        return
    assert value is not None
    above = share_above(histogram, value)
    assert above == pytest.approx(1.0 - share, abs=1e-6)
    assert value <= (quantile_s(histogram, min(0.999, share + 0.005)) or 0.0)


def test_cells_do_not_overlap() -> None:
    """Each count has a cell of its own, and all are below the number of cells."""
    sides = (False, True)
    cells = [quality.ended(came, kind, end) for came in sides for kind in Kind for end in End]
    cells += [quality.because(came, reason) for came in sides for reason in Reason]
    cells += [quality.out_ms(ours, reason) for ours in sides for reason in Reason]
    for part in Part:
        cells += [quality.total_us(part, came, kind) for came in sides for kind in Kind]
        cells += [
            quality.took(part, came, kind, bucket)
            for came in sides
            for kind in Kind
            for bucket in range(BUCKETS)
        ]
    cells.append(quality.SEEN_MS)
    assert len(set(cells)) == len(cells)
    assert max(cells) < quality.CELLS
    assert bisect_left(BOUNDS_S, BOUNDS_S[-1] + 1) == BUCKETS - 1
