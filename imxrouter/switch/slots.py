"""Counter slots: which integer of the hot path's list means what. Read by the metrics room at each scrape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from imxrouter.model.operations import Kind
from imxrouter.model.quality import BOUNDS_S
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.registry import KIND_OF_TYPE


class Slot(NamedTuple):
    """What one integer counts."""

    metric: str
    label_names: tuple[str, ...]
    label_values: tuple[str, ...]
    place: int


#: Results a request can end in, and how it came in. accepted = delivered + refused + failed + indeterminant
#: + in flight (rule 2); duplicates are counted apart, they share the first request's outcome.
RESULTS: Final = ("accepted", "delivered", "refused", "failed", "indeterminant", "duplicate")
ACCEPTED, DELIVERED, REFUSED, FAILED, INDETERMINANT, DUPLICATE = range(len(RESULTS))
KIND_STRIDE: Final = len(RESULTS)

#: First slot of the kind of a type; the results stand behind it. Types that have none are the other ones.
BASE_OF_TYPE: Final = {rtype: int(kind) * KIND_STRIDE for rtype, kind in KIND_OF_TYPE.items()}
OTHER_BASE: Final = int(Kind.OTHER) * KIND_STRIDE

_KINDS: Final = tuple(kind.name.lower() for kind in Kind)
RECORDS_IN: Final = KIND_STRIDE * len(_KINDS)
RECORDS_OUT: Final = RECORDS_IN + 1
BYTES_IN: Final = RECORDS_IN + 2
BYTES_OUT: Final = RECORDS_IN + 3
STRAY_RESPONSES: Final = RECORDS_IN + 4
FOREIGN_RESPONSES: Final = RECORDS_IN + 5
RETRIES: Final = RECORDS_IN + 6
ELSEWHERE: Final = RECORDS_IN + 7
REASON_BASE: Final = RECORDS_IN + 8
#: Reasons of what is no request (links, connections); those of requests follow, kind by kind.
REASON_SLOT: Final = {reason: REASON_BASE + place for place, reason in enumerate(Reason)}
#: Upper ends of the buckets of delivery times, in seconds.
DELIVERY_BOUNDS_S: Final = BOUNDS_S
#: A histogram's slots: one for each bound, and one for what is above them all.
DELIVERY_BUCKETS: Final = len(DELIVERY_BOUNDS_S) + 1
OURS: Final = REASON_BASE + len(Reason) * (1 + len(_KINDS))
THEIRS: Final = OURS + DELIVERY_BUCKETS
SLOT_COUNT: Final = THEIRS + DELIVERY_BUCKETS


def refusal_slot(reason: Reason, kind: Kind) -> int:
    """Where requests of a kind that failed for a reason are counted."""
    return REASON_SLOT[reason] + len(Reason) * (1 + kind)


def refusals(counters: Sequence[int], reason: Reason) -> int:
    """How often anything was refused for a reason: links and requests of all kinds."""
    return sum(counters[REASON_SLOT[reason] + len(Reason) * row] for row in range(1 + len(_KINDS)))


def new_counters() -> list[int]:
    """A zeroed list with a place for every slot."""
    return [0] * SLOT_COUNT


def slot_table() -> list[Slot]:
    """Every slot with its metric name and labels; what they mean is told in `telemetry.catalogue`."""
    table = [
        Slot("imxrouter_requests_total", ("kind", "result"), (kind, result), place * KIND_STRIDE + offset)
        for place, kind in enumerate(_KINDS)
        for offset, result in enumerate(RESULTS)
    ]
    table += [
        Slot(f"imxrouter_{what}_total", ("direction",), (direction,), place)
        for what, direction, place in (
            ("records", "in", RECORDS_IN),
            ("records", "out", RECORDS_OUT),
            ("bytes", "in", BYTES_IN),
            ("bytes", "out", BYTES_OUT),
        )
    ]
    table += [
        Slot("imxrouter_stray_responses_total", (), (), STRAY_RESPONSES),
        Slot("imxrouter_foreign_responses_total", (), (), FOREIGN_RESPONSES),
        Slot("imxrouter_retries_total", (), (), RETRIES),
        Slot("imxrouter_elsewhere_total", (), (), ELSEWHERE),
    ]
    return table + [
        Slot(
            "imxrouter_refusals_total",
            ("stage", "reason", "kind"),
            (reason.stage.value, reason.word, kind),
            place + len(Reason) * row,
        )
        for row, kind in enumerate(("link", *_KINDS))
        for reason, place in REASON_SLOT.items()
        if reason is not Reason.NONE
    ]
