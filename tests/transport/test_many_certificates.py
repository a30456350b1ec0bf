"""An aggregator whose domains have a certificate each: all of them work, in both directions (IMX-31)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from imxrouter.link.machine import Side
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.tls.peer import PeerCertificate
from imxrouter.transport import handshakes
from tests.doubles.router_rig import Lab, RouterRig
from tests.transport.test_tls_links import BUSY, tls_router

#: What docs/operators/identity.md says to raise where hundreds of domains are to be reached within a minute.
RAISED: Mapping[str, object] = {
    **BUSY,
    "caps.connections_per_address_per_minute": 100_000,
    "limits.sender_rate_per_s": 1000.0,
    "dial.hold_s": 100.0,
    "dial.hello_timeout_s": 100.0,
    "links.answer_timeout_s": 120.0,
    "links.duplicate_window_s": 150.0,
    "dialback.claim_timeout_s": 100.0,
    "overload.lag_ms": 0,  # both routers and the test share one reactor
}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's handshake is cut while it waits: all wait for one processor, which may be slow."""
    monkeypatch.setattr(handshakes, "WAIT_S", 1000.0)


COUNTS = [pytest.param(64), pytest.param(500, marks=pytest.mark.soak)]


def names(count: int) -> list[str]:
    """So many domains."""
    return [f"d{number}.example" for number in range(count)]


def counted(rig: RouterRig) -> list[PeerCertificate]:
    """Certificates that the router judges from now on."""
    strengths, judged = rig.router.strengths, []
    judge = strengths.judge

    def note(peer: PeerCertificate, *args: object) -> object:
        judged.append(peer)
        return judge(peer, *args)  # type: ignore[arg-type]

    strengths.judge = note  # type: ignore[assignment]
    return judged


@pytest.mark.parametrize("count", COUNTS)
def test_all_are_proved_on_one_link(lab: Lab, count: int) -> None:
    """Each on a second connection with its own SNI; certificates are judged for what they name only."""
    agg, b = tls_router(lab, *names(count), settings=RAISED), tls_router(lab, "b.example", settings=RAISED)
    judged = counted(b)
    sent = [agg.send(f"alice@{name}", "bob@b.example") for name in names(count)]
    assert {one.outcome(100).reason for one in sent} == {Reason.NONE}
    first = [one for one in b.sessions() if one.side is Side.ACCEPTOR and one.port.sources]
    assert [len(one.port.sources) for one in first] == [count]
    assert len(judged) < 20 * count


@pytest.mark.parametrize("count", COUNTS)
def test_all_are_reached(lab: Lab, count: int) -> None:
    """Over a link each, opened one after the other."""
    agg, b = tls_router(lab, *names(count), settings=RAISED), tls_router(lab, "b.example", settings=RAISED)
    judged = counted(b)
    sent = [b.send("bob@b.example", f"alice@{name}") for name in names(count)]
    assert {one.outcome(100).reason for one in sent} == {Reason.NONE}
    links = [one for one in b.sessions() if one.side is Side.OPENER and one.purpose.value == "data"]
    assert sorted(one.tls.server_name for one in links if one.tls is not None) == sorted(names(count))
    assert agg.counter(slots.REASON_SLOT[Reason.OVER_CAP]) == 0
    assert len(judged) < 20 * count


def test_a_rate_of_connections_is_waited_for(lab: Lab) -> None:
    """The aggregator takes no more links for some seconds, and says so: nothing that is held fails.

    Twelve at once and one in five seconds: a slow machine too opens them faster than that.
    """
    few = {**RAISED, "caps.connections_per_address_per_minute": 12}
    agg, b = tls_router(lab, *names(15), settings=few), tls_router(lab, "b.example", settings=RAISED)
    sent = [b.send("bob@b.example", f"alice@{name}") for name in names(15)]
    assert {one.outcome(60).reason for one in sent} == {Reason.NONE}
    assert agg.counter(slots.REASON_SLOT[Reason.OVER_CAP]) > 0


def test_what_a_limit_keeps_waiting_is_told_when_to_come_again(lab: Lab) -> None:
    """Held for two seconds only: what is not delivered says that there was no room, and succeeds later."""
    slow = {**RAISED, "caps.verify_per_target_per_minute": 480, "dial.hold_s": 2.0}
    agg, b = tls_router(lab, *names(40), settings=slow), tls_router(lab, "b.example", settings=slow)
    left, told = names(40), list[Outcome]()
    for _ in range(40):
        sent = [(name, agg.send(f"alice@{name}", "bob@b.example")) for name in left]
        outcomes = [(name, one.outcome(30)) for name, one in sent]
        failed = [(name, outcome) for name, outcome in outcomes if not outcome.ok]
        told += [outcome for _, outcome in failed]
        left = [name for name, _ in failed]
        if not left:
            break
    assert not left
    assert told
    # on a busy machine a verification may be under way when the two seconds are over
    assert {outcome.reason for outcome in told} - {Reason.DIALBACK_TIMEOUT} == {Reason.BUSY}
    assert all(outcome.retry_after_s > 0 for outcome in told)
    assert len(b.inbox("bob@b.example")) == 40
