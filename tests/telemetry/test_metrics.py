"""Metrics: slots read at scrape, closed sets, and the page."""

from __future__ import annotations

import re

import pytest
from twisted.internet.task import Clock

from imxrouter.model import quality
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.operations import Kind
from imxrouter.model.quality import End, Part
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.slots import new_counters, slot_table
from imxrouter.telemetry import catalogue
from imxrouter.telemetry.metrics import Metrics, StoreFigures, Times
from imxrouter.telemetry.peers import PeerFigures
from imxrouter.telemetry.slots import SlotTable
from imxrouter.telemetry.tick import INTERVAL_S, TickMeter

ROWS = [
    ("imxrouter_records_total", ("direction",), ("in",), 0),
    ("imxrouter_records_total", ("direction",), ("out",), 2),
    ("imxrouter_open_doors", ("kind",), ("message",), 1),
]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Read one sample."""
    return metrics.registry.get_sample_value(name, labels)


def test_slots_are_read_at_scrape() -> None:
    """What the hot path adds to its list shows at the next scrape, counter or gauge by its name."""
    metrics, counters = Metrics("1", lambda: 0.0), [0, 0, 0]
    metrics.add_slots(ROWS, counters)
    counters[2] += 7
    counters[1] = 3
    assert value(metrics, "imxrouter_records_total", direction="out") == 7
    assert value(metrics, "imxrouter_records_total", direction="in") == 0
    assert value(metrics, "imxrouter_open_doors", kind="message") == 3
    text = metrics.exposition().decode()
    assert "# TYPE imxrouter_records_total counter" in text
    assert "# TYPE imxrouter_open_doors gauge" in text


def test_counters_have_no_second_series() -> None:
    """The page has no `_created` series: the time of making of each counter."""
    metrics = Metrics("1", lambda: 0.0)
    metrics.claims.inc("made", "proved")
    assert "_created" not in metrics.exposition().decode()


def test_contradicting_rows_are_our_bug() -> None:
    """Two slots for one sample, two label sets for one family, a list that is too short."""
    with pytest.raises(LocalMisuse):
        SlotTable([ROWS[0], ROWS[0]])
    with pytest.raises(LocalMisuse):
        SlotTable([ROWS[0], ("imxrouter_records_total", ("kind",), ("x",), 1)])
    with pytest.raises(LocalMisuse):
        Metrics("1", lambda: 0.0).add_slots(ROWS, [0, 0])
    assert SlotTable(ROWS).size == 3
    assert SlotTable([]).size == 0


def test_closed_sets_hold() -> None:
    """A result outside the registry is refused; every member is there from the start."""
    metrics = Metrics("1", lambda: 0.0)
    metrics.claims.inc("received", "proved")
    metrics.dials.inc("connect-timeout")
    metrics.dials.inc("connect-timeout")
    metrics.lookups.inc("cached")
    assert value(metrics, "imxrouter_claims_total", direction="received", result="proved") == 1
    assert value(metrics, "imxrouter_dials_total", result="connect-timeout") == 2
    assert value(metrics, "imxrouter_claims_total", direction="made", result="bad-token") == 0
    with pytest.raises(LocalMisuse):
        metrics.claims.inc("made", "a.example")


def test_gauges_ask_their_sources() -> None:
    """Links, holds and uptime are asked for at each scrape."""
    clock = Clock()
    metrics = Metrics("1.2", clock.seconds)
    links = {("peer", "open"): 2}
    metrics.watch_links(lambda: links)
    metrics.watch_held(lambda: (3, 400))
    metrics.watch_in_flight(lambda: {"message": 9})
    metrics.watch_oldest(lambda: (1.5, 2.5))
    metrics.watch_delivery(lambda: {"ours": Times((0.1, 1.0), (4, 2, 1), 8.5)})
    metrics.watch_store(lambda: StoreFigures(True, 5, 4096, 1, 77.0, 2, {"full": 3}))
    clock.advance(5)
    links["peer", "open"] = 4
    assert value(metrics, "imxrouter_links", role="peer", state="open") == 4
    assert value(metrics, "imxrouter_in_flight", kind="message") == 9
    assert value(metrics, "imxrouter_held_requests") == 3
    assert value(metrics, "imxrouter_held_bytes") == 400
    assert value(metrics, "imxrouter_held_oldest_seconds") == 1.5
    assert value(metrics, "imxrouter_in_flight_oldest_seconds") == 2.5
    buckets = [
        value(metrics, "imxrouter_delivery_seconds_bucket", part="ours", le=end)
        for end in ("0.1", "1.0", "+Inf")
    ]
    assert buckets == [4, 6, 7]
    assert value(metrics, "imxrouter_delivery_seconds_sum", part="ours") == 8.5
    assert value(metrics, "imxrouter_delivery_seconds_count", part="ours") == 7
    assert value(metrics, "imxrouter_uptime_seconds") == 5
    store = ("works", "entries", "bytes", "waiting", "last_write_timestamp_seconds", "refused_total")
    assert [value(metrics, f"imxrouter_store_{name}") for name in store] == [1, 5, 4096, 1, 77, 2]
    assert value(metrics, "imxrouter_store_failures_total", problem="full") == 3


def test_two_objects_do_not_meet() -> None:
    """Each has its own registry, so that tests and processes need no clean-up."""
    Metrics("1", lambda: 0.0)
    Metrics("1", lambda: 0.0)


def test_catalogue_names_what_is_exposed() -> None:
    """Every family on the registry is in the catalogue, and the other way round but for slots."""
    metrics = Metrics("1", lambda: 0.0)
    shown = {f"{f.name}_total" if f.type == "counter" else f.name for f in metrics.registry.collect()}
    assert shown == {family.name for family in catalogue.ALL} - {family.name for family in catalogue.SLOTTED}


def test_the_hot_path_counts_what_the_catalogue_names() -> None:
    """Slots of the switch and the reference page agree on names and labels, and the slots can be shown."""
    rows = slot_table()
    assert {(row.metric, row.label_names) for row in rows} == {
        (family.name, family.labels) for family in catalogue.SLOTTED
    }
    metrics = Metrics("1", lambda: 0.0)
    metrics.add_slots(rows, new_counters())
    assert value(metrics, "imxrouter_requests_total", kind="message", result="accepted") == 0


def test_the_page_says_what_the_reference_says() -> None:
    """One sentence for each family, in both places."""
    metrics = Metrics("1", lambda: 0.0)
    metrics.add_slots(slot_table(), new_counters())
    shown = dict(re.findall(r"^# HELP (\S+) (.*)$", metrics.exposition().decode(), re.MULTILINE))
    assert shown == {family.name: family.help for family in catalogue.ALL}


#: What `promtool check metrics` calls bad, as far as a name or label can show it.
FORBIDDEN_WORDS = frozenset(
    {
        "gauge", "counter", "histogram", "summary", "s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb",
        "pb", "m", "h", "d", "milliseconds", "microseconds", "minutes", "hours", "days", "kilobytes",
        "megabytes", "bits", "percent", "celsius",
    }
)  # fmt: skip
RESERVED_ENDINGS = ("_count", "_sum", "_bucket", "_created", "_info")


def name_faults(family: catalogue.Family) -> list[str]:
    """What is wrong with a family's name, labels and help, in the words of Prometheus' own rules."""
    faults = []
    if not re.fullmatch(r"imxrouter(_[a-z]+)+", family.name):
        faults.append("not snake case under our prefix")
    if (family.kind == "counter") != family.name.endswith("_total"):
        faults.append("_total belongs to counters and only to them")
    if family.name.endswith(RESERVED_ENDINGS) and family.name != "imxrouter_build_info":
        faults.append("an ending that Prometheus makes itself")
    if FORBIDDEN_WORDS.intersection(family.name.split("_")):
        faults.append("a type or a unit that is no base unit")
    if family.kind in {"histogram", "summary"} and not family.name.endswith(("_seconds", "_bytes")):
        faults.append("no unit")
    if not all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in family.labels):
        faults.append("a label that is not snake case")
    if {"le", "quantile"}.intersection(family.labels) or not family.help.strip():
        faults.append("a reserved label, or no help")
    return faults


def test_names_keep_the_rules_of_prometheus() -> None:
    """Every family of the catalogue; and the rules find what breaks them."""
    assert {family.name: faults for family in catalogue.ALL if (faults := name_faults(family))} == {}
    for bad in (
        catalogue.Family("imxrouter_requests", "counter", (), "No _total."),
        catalogue.Family("imxrouter_wait_ms", "gauge", (), "Milliseconds."),
        catalogue.Family("imxrouter_wait", "histogram", (), "No unit."),
        catalogue.Family("imxrouter_wait_sum", "gauge", (), "Reserved."),
        catalogue.Family("imxrouter_waits_total", "counter", ("le",), "Reserved label."),
        catalogue.Family("imxrouter_waits_total", "counter", (), ""),
    ):
        assert name_faults(bad), bad.name


def test_only_peer_families_hold_domains() -> None:
    """The label `peer` stands in the families of peers and nowhere else; no label is for a user."""
    with_peers = {family.name for family in catalogue.ALL if "peer" in family.labels}
    assert with_peers == {
        family.name for family in catalogue.ALL if family.name.startswith("imxrouter_peer_")
    }
    labels = {label for family in catalogue.ALL for label in family.labels}
    assert not labels & {"domain", "user", "address", "sender", "recipient", "source", "destination"}


def test_every_counter_has_a_kind_a_stage_and_a_reason() -> None:
    """Refusals are told apart by all three, each triple once, and the stage is the reason's own."""
    rows = [row for row in slot_table() if row.metric == catalogue.REFUSALS.name]
    kinds = {"link", "message", "subscribe", "notify", "attributes", "other"}
    reasons = [reason for reason in Reason if reason is not Reason.NONE]
    assert {row.label_values for row in rows} == {
        (reason.stage.value, reason.word, kind) for reason in reasons for kind in kinds
    }
    assert len({row.place for row in rows}) == len(rows) == len(kinds) * len(reasons)


def test_figures_of_peers_are_shown() -> None:
    """Rows, links and errors by label, with every result of both directions."""
    metrics = Metrics("1", lambda: 0.0)
    row = {
        quality.ended(came, Kind.MESSAGE, end): 1 + end + (0 if came else 4)
        for came in (True, False)
        for end in End
    }
    row[quality.total_us(Part.THEIRS, False, Kind.MESSAGE)] = 2_500_000
    row[quality.total_us(Part.OURS, False, Kind.MESSAGE)] = 500_000
    row[quality.because(False, Reason.CONNECT_TIMEOUT)] = 7
    row[quality.because(False, Reason.UNREACHABLE)] = 8
    row[quality.out_ms(False, Reason.DNS_TIMEOUT)] = 61_500
    metrics.watch_peers(
        lambda: PeerFigures(
            {"b.example": row},
            {"b.example": 2},
            {"b.example": ("dns", "dns-timeout", 77.0)},
            {"b.example": True},
            {"b.example": {("availability", "hour"): 2.5}},
        )
    )
    shown = [
        value(metrics, "imxrouter_peer_requests_total", peer="b.example", direction=direction, result=result)
        for direction in catalogue.PEER_DIRECTIONS
        for result in catalogue.PEER_RESULTS
    ]
    assert shown == [1, 2, 3, 4, 5, 6, 7, 8]
    labels = {"peer": "b.example", "direction": "out", "kind": "message"}
    assert value(metrics, "imxrouter_peer_delivery_seconds_count", part="theirs", **labels) == 5
    assert value(metrics, "imxrouter_peer_delivery_seconds_sum", part="theirs", **labels) == 2.5
    assert value(metrics, "imxrouter_peer_delivery_seconds_sum", part="ours", **labels) == 0.5
    refused = {"peer": "b.example", "direction": "out", "stage": "connect"}
    assert value(metrics, "imxrouter_peer_refusals_total", **refused) == 15
    outage = {"peer": "b.example", "side": "theirs", "stage": "dns"}
    assert value(metrics, "imxrouter_peer_outage_seconds_total", **outage) == 61.5
    assert value(metrics, "imxrouter_peer_down", peer="b.example") == 1
    burn = {"peer": "b.example", "objective": "availability", "window": "hour"}
    assert value(metrics, "imxrouter_peer_objective_burn", **burn) == 2.5
    assert value(metrics, "imxrouter_peer_links", peer="b.example") == 2
    error = {"peer": "b.example", "stage": "dns", "reason": "dns-timeout"}
    assert value(metrics, "imxrouter_peer_last_error_timestamp_seconds", **error) == 77


def test_tick_notes_how_late_it_was() -> None:
    """A turn of 0.5 s shows as 0.5 s; after stop nothing is measured."""
    clock = Clock()
    metrics = Metrics("1", clock.seconds)
    meter = TickMeter(metrics, clock, clock.seconds)
    meter.start()
    clock.advance(INTERVAL_S)
    clock.advance(INTERVAL_S + 0.5)
    assert value(metrics, "imxrouter_reactor_tick_seconds_count") == 2
    assert value(metrics, "imxrouter_reactor_tick_seconds_sum") == pytest.approx(0.5)
    assert value(metrics, "imxrouter_reactor_last_tick_timestamp_seconds") == clock.seconds()
    meter.stop()
    meter.stop()
    assert not clock.getDelayedCalls()
