"""How streams between two routers end, and what they carry at most."""

from __future__ import annotations

from imxrouter.model.outcome import SUCCESS
from imxrouter.model.vocabulary import Reason, Status
from tests.doubles.router_rig import Lab
from tests.gateways.xmpp.streams.test_two_routers import CERTIFICATE, CLEAR, A, B, message, routers


def test_large_stanzas_pass_and_larger_ones_are_refused(lab: Lab) -> None:
    """Far above the limit of records of our own links; above what the peer's features say, nothing goes."""
    a, b = routers(lab, CERTIFICATE, tls=True)
    for size in (200_000, 300_000):
        raw = message(A, B).replace(b"hi &amp; ho", b"x" * size)
        outcome = a.outcome(a.send(B, raw))
        if size < 262_144:
            assert outcome == SUCCESS
            assert b.stanzas(1)[-1] == raw
        else:
            assert outcome.reason is Reason.TOO_LARGE
    assert a.outcome(a.send(B, message(A, B))) == SUCCESS


def test_a_router_that_stops_closes_its_streams_in_order(lab: Lab) -> None:
    """No stream error; what was sent is confirmed, and the other side learns why at once."""
    a, b = routers(lab, CERTIFICATE, tls=True)
    assert a.outcome(a.send(B, message(A, B))) == SUCCESS
    assert b.outcome(b.send(A, message(B, A))) == SUCCESS
    b.rig.stop()
    lab.wait_until(lambda: not a.rig.router.hub.sessions, "a's streams have ended")
    for one in (a, b):
        assert one.rig.router.metrics.xmpp.errors == {}
    outcome = a.outcome(a.send(B, message(A, B, "2")))
    assert outcome.status is Status.FAILURE


def test_a_message_behind_the_end_of_a_stream_goes_over_a_new_one(lab: Lab) -> None:
    """A stream that ended for being idle is opened again."""
    a, b = routers(lab, CLEAR, tls=False)
    assert a.outcome(a.send(B, message(A, B))) == SUCCESS

    def end() -> None:
        for one in (a, b):
            for link in list(one.rig.router.hub.sessions.values()):
                link.close(Reason.IDLE)

    a.rig.call(end)
    lab.wait_until(lambda: not a.rig.router.hub.sessions, "they have ended")
    assert a.outcome(a.send(B, message(A, B, "2"))) == SUCCESS
    assert len(b.stanzas(2)) == 2
