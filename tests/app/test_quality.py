"""Quality of peers between whole routers: counts, shares, outages and whose they were (FCC-1, 2, 7)."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from imxrouter.admin.errors import AdminError
from imxrouter.app.operators.console import Console
from imxrouter.app.traffic.quality import Quality
from imxrouter.config.schema import Config
from imxrouter.model import quality
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Kind
from imxrouter.model.quality import SEEN_MS, End, Part
from imxrouter.model.vocabulary import Reason
from imxrouter.store.memory import MemoryStore
from imxrouter.switch import slots
from imxrouter.telemetry.outages import FLAP_S, TOGETHER_S
from tests.doubles.router_rig import Lab, RouterRig

QUICK = {"dial.backoff_first_s": 0.1, "dial.backoff_cap_s": 0.2}
EXPECTED = {
    "qos.availability_percent": 99.9, "qos.delivery_p99_s": 5.0, "qos.refusals_percent": 10.0,
}  # fmt: skip
B = b"b.example"


def report(rig: RouterRig, peer: str = "b.example", since_s: float | None = None) -> dict[str, Any]:
    """As `imxctl peers report` gets it."""
    return rig.call(lambda: Console(rig.router).peer_report(peer, since_s))  # type: ignore[no-any-return]


def test_a_peer_that_is_stopped_and_comes_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report says when it was away, that it was its side, why, and what is asked of it; metrics agree."""
    monkeypatch.setattr("imxrouter.app.traffic.quality._FRESH_S", 0.0)
    a, b = lab.router("a.example", settings={**QUICK, **EXPECTED}), lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    b.stop()
    lab.wait_until(lambda: not a.router.hub.sessions, "the end of its links")
    assert a.send("alice@a.example", "bob@b.example").outcome().reason is Reason.UNREACHABLE
    told = report(a)
    (outage,) = told["outages"]
    assert (outage["side"], outage["stage"], outage["reason"]) == ("theirs", "connect", "connection-refused")
    assert outage["end"] is None
    figure = a.router.metrics.registry.get_sample_value
    assert a.call(lambda: figure("imxrouter_peer_down", {"peer": "b.example"})) == 1
    lab.router("b.example", endpoint=b.endpoint)
    waiting = a.router.federation.destinations.find(Domain("b.example"))
    assert waiting is not None
    lab.wait_until(lambda: waiting.may_try(a.router.hub.now()), "the end of its back-off")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    told = report(a)
    (outage,) = told["outages"]
    assert outage["how"] == "reached"
    assert told["begin"] <= outage["begin"] <= outage["end"] <= told["end"]
    assert 0 < outage["down_s"] <= outage["end"] - outage["begin"] + 0.01
    assert a.call(lambda: figure("imxrouter_peer_down", {"peer": "b.example"})) == 0
    credited = {"peer": "b.example", "side": "theirs", "stage": "connect"}
    assert a.call(lambda: figure("imxrouter_peer_outage_seconds_total", credited)) == pytest.approx(
        outage["down_s"]
    )
    met = {one["objective"]: one["met"] for one in told["objectives"]}
    assert met == {"availability": False, "delivery-time": True, "refusals": False}
    assert told["asked"][0]["reason"] == "connection-refused"
    assert told["asked"][0]["outages"] == 1
    burn = {"peer": "b.example", "objective": "availability", "window": "hour"}
    assert (a.call(lambda: figure("imxrouter_peer_objective_burn", burn)) or 0) > 1


def test_a_report_says_what_the_counters_say_on_both_sides(lab: Lab) -> None:
    """Each request is in one place; our share and theirs are times of it; no user is named."""
    a, b = lab.router("a.example"), lab.router("b.example")
    for _ in range(3):
        assert a.send("alice@a.example", "bob@b.example").outcome().ok
    assert not a.send("alice@a.example", "nobody@b.example").outcome().ok
    for rig, peer, direction in ((a, "b.example", "out"), (b, "a.example", "in")):
        told = report(rig, peer)
        (row,) = [one for one in told["kinds"] if one["kind"] == "message"]
        assert row["direction"] == direction
        assert (row["delivered"], row["failed"], row["refused"], row["indeterminant"]) == (3, 1, 0, 0)
        for part in ("ours", "theirs"):
            assert 0 < row[part]["mean_s"] < 30
            assert row[part]["p50_s"] <= row[part]["p90_s"] <= row[part]["p99_s"]
        assert [(one["stage"], one["by_recipient"], one["count"]) for one in told["not_delivered"]] == [
            ("service", True, 1)
        ]
        assert rig.counter(slots.DELIVERED) == sum(
            one["delivered"] for one in told["kinds"] if one["kind"] == "message"
        )
        assert told["outages"] == []
        assert not re.search(r"@|alice|bob|nobody|127\.", repr(told))


def test_nobody_and_ourselves_have_no_report(lab: Lab) -> None:
    """Each with a word of what to do."""
    a = lab.router("a.example")
    for peer, kind in (("nobody.example", "not-found"), ("a.example", "bad-request")):
        with pytest.raises(AdminError) as refused:
            report(a, peer)
        assert refused.value.kind == kind


def test_counts_and_outages_outlive_a_restart(lab: Lab) -> None:
    """Of the same state directory; an outage that lasts goes on."""
    settings = {**QUICK, "state_dir": str(lab.folder / "state-of-a")}
    a, b = lab.router("a.example", settings=settings), lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    b.stop()
    lab.wait_until(lambda: not a.router.hub.sessions, "the end of its links")
    assert not a.send("alice@a.example", "bob@b.example").outcome().ok
    before = report(a)
    a.stop()
    again = lab.router("a.example", settings=settings)
    after = report(again)
    counts = ("delivered", "failed", "indeterminant", "ours", "theirs")
    assert [[row[name] for name in counts] for row in after["kinds"]] == [
        [row[name] for name in counts] for row in before["kinds"]
    ]
    assert [one["begin"] for one in after["outages"]] == [one["begin"] for one in before["outages"]]
    assert after["outages"][0]["end"] is None


class Desk:
    """A `Quality` with a clock and a store, and no router."""

    def __init__(
        self, config: Config, store: MemoryStore | None = None, now: float = 1_799_999_700.0
    ) -> None:
        self.now = now
        self.store = store or MemoryStore(lambda: self.now)
        self.own_loss = False
        self.set_by = 0.0
        self.quality = Quality(
            config, self.store, lambda: self.now, lambda: self.own_loss, lambda: self.now - self.set_by
        )
        self.quality.begin()

    def deliver(self, domain: bytes, count: int, bucket: int = 5) -> None:
        """So many messages to it within a second."""
        self.quality.count({
            domain: {
                quality.ended(False, Kind.MESSAGE, End.DELIVERED): count,
                quality.took(Part.THEIRS, False, Kind.MESSAGE, bucket): count,
            }
        })  # fmt: skip

    def set_clock(self, by_s: float) -> None:
        """Somebody sets the clock of the host."""
        self.now += by_s
        self.set_by += by_s

    def wait(self, seconds: int) -> None:
        """Time passes."""
        for _ in range(seconds):
            self.now += 1.0
            self.quality.count({})


def config(**more: object) -> Config:
    """The least configuration, with one peer that has objectives of its own."""
    tables = {
        "name": "router.a.example", "qos": {"availability_percent": 99.0},
        "peer": [{"domain": "b.example", "objectives": {"delivery_p99_s": 0.5}}], **more,
    }  # fmt: skip
    return msgspec.convert(tables, Config)


def test_objectives_of_a_peer_stand_before_those_of_all() -> None:
    """Key by key."""
    desk = Desk(config())
    mine, others = desk.quality.objectives(B), desk.quality.objectives(b"c.example")
    assert (mine.availability_percent, mine.delivery_p99_s, mine.refusals_percent) == (99.0, 0.5, None)
    assert (others.availability_percent, others.delivery_p99_s) == (99.0, None)
    desk.quality.expect(config(qos={"refusals_percent": 3.0}))
    assert desk.quality.objectives(b"c.example").refusals_percent == 3.0
    assert desk.quality.objectives(b"c.example").availability_percent is None


def test_burns_are_of_the_time_that_the_process_was_there() -> None:
    """36 s of 3,600 use up what 99 % allows; the figures are a quarter of a minute old at most."""
    desk = Desk(config())
    desk.deliver(B, 100)
    desk.wait(60)
    assert desk.quality.burns([B])["b.example"]["availability", "hour"] == 0
    desk.quality.failed(B, Reason.CONNECT_TIMEOUT)
    desk.wait(36)
    desk.quality.reached(B)
    desk.wait(3504)
    burns = desk.quality.burns([B, b"unknown.example"])
    assert set(burns) == {"b.example"}
    assert burns["b.example"]["availability", "hour"] == pytest.approx(1.0, rel=0.02)
    assert burns["b.example"]["delivery-time", "hour"] == 0
    known = desk.quality.since(B, 7200.0)
    assert known is not None
    assert known[1] == pytest.approx(3_600_000, abs=2000)


def test_our_own_loss_is_not_held_against_anybody() -> None:
    """What liveness knows is believed, and availability stays whole."""
    desk = Desk(config())
    desk.deliver(B, 1)
    desk.own_loss = True
    desk.quality.failed(B, Reason.UNREACHABLE)
    desk.wait(int(TOGETHER_S) + 30)
    desk.own_loss = False
    desk.quality.reached(B)
    desk.wait(int(FLAP_S))
    (found,) = [one for one in desk.quality.measures(B, 3600.0) if one.objective == "availability"]
    assert (found.measured, found.met) == (100.0, True)
    assert [one.side for one in desk.quality.outages.of(B)] == ["ours"]


def test_state_of_another_process_or_that_cannot_be_read_is_left_out() -> None:
    """A broken entry is dropped; that of process 1 is its own."""
    first = Desk(config(process=1))
    first.deliver(B, 7)
    first.quality.failed(B, Reason.CONNECT_TIMEOUT)
    first.quality.end()
    first.store.put("quality", b"0/300/1/" + B, b"\xff")
    first.store.put("outages", b"0/" + B, b"no json")
    other = Desk(config(), first.store, first.now)
    assert other.quality.since(B, 3600.0) is None
    assert not other.quality.outages.is_down(B)
    assert other.store.get("quality", b"0/300/1/" + B) is None
    assert other.store.get("outages", b"0/" + B) is None
    again = Desk(config(process=1), first.store, first.now + 100)
    known = again.quality.since(B, 3600.0)
    assert known is not None
    assert quality.ends(known[0].cells, False)[End.DELIVERED] == 7
    assert again.quality.outages.is_down(B)


def test_a_machine_that_slept_was_not_there() -> None:
    """Hours in which nobody could look are not watched time."""
    desk = Desk(config())
    desk.deliver(B, 1)
    desk.now += 7200.0
    desk.quality.count({})
    known = desk.quality.book.find(b"*", desk.now)
    assert known is not None
    assert known.since(86_400.0, desk.now).cells[SEEN_MS] == 60_000


@pytest.mark.parametrize("steps", [(3600.0,), (-3600.0,), (86_400.0, -86_400.0), (-7200.0, 7200.0)])
def test_a_clock_that_is_set_counts_nothing(steps: tuple[float, ...]) -> None:
    """An outage of 60 s is one of 60 s, and an hour is an hour, whatever the host's clock is set to."""
    desk = Desk(config())
    desk.wait(60)
    for step_s in steps:
        desk.deliver(B, 10)
        desk.quality.failed(B, Reason.CONNECT_TIMEOUT)
        desk.wait(30)
        desk.set_clock(step_s)
        desk.wait(30)
        desk.quality.reached(B)
        desk.wait(int(FLAP_S) + 60)
        last = desk.quality.outages.of(B)[-1]
        assert (last.down_ms, last.how, last.flaps) == (60_000, "reached", 0)
        assert last.end is not None
        assert last.end - last.begin == pytest.approx(60, abs=1)
    known = desk.quality.since(B, 3600.0)
    assert known is not None
    assert known[0].begin <= desk.now
    assert known[1] >= 60_000
