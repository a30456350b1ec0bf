"""Answers: who may give one, and who gets it (specification 7.4, 11.2, 11.6)."""

import pytest

from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.switch.checks import Checks
from imxrouter.switch.core import SwitchCore
from imxrouter.switch.ports import Port, Role
from imxrouter.wire.record import Envelope, Record, response_to
from imxrouter.wire.registry import RecordType
from tests.attacks.seams import guarded
from tests.doubles.router_rig import Lab, login_key, service_table


@guarded
def test_answer_over_a_link_that_was_not_asked(lab: Lab, guarded: bool) -> None:
    """Mallory answers for Alice's router: delivered. Check: the link may speak for the domain asked."""
    b = lab.router("b.example", checks=Checks(answer_link=guarded))
    a, m = lab.organisation("a.example"), lab.organisation("m.example")
    foreign = m.proved_link(b)
    sent = b.send("bob@b.example", "alice@a.example", "is it there?")
    from_bob = a.accept()
    a.take_claim(from_bob, b)
    request = from_bob.request()
    foreign.send(response_to(request, SUCCESS))
    if not guarded:
        assert sent.outcome().ok
        return
    assert foreign.drain() == []
    assert b.counter(slots.STRAY_RESPONSES) == 1
    assert sent.outcomes == []
    from_bob.answer(request, failure(Reason.UNKNOWN_USER).disclosed())
    assert sent.outcome().reason is Reason.NOT_DELIVERED


@guarded
def test_answer_diverted(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice's link is gone when her answer comes, and Mallory's is there.

    Check: an answer goes to a link on which the domain that asked is proved, and to no other.
    """
    if not guarded:

        def anybody(core: SwitchCore, *_domains: bytes) -> Port | None:
            return next((port for port in core.ports.values() if port.role is Role.PEER), None)

        monkeypatch.setattr(SwitchCore, "_another_port_of", anybody)
    key, kind = login_key(1), RecordType.ATTRIBUTES.value
    tables = service_table("home", key, "b.example", types=[f"0x{kind:04x}"])
    b = lab.router("b.example", embedded=False, tables=tables, settings={"lab": True})
    a, m = lab.organisation("a.example"), lab.organisation("m.example")
    service = lab.organisation("any.example").connect(b)
    assert service.log_in(key) == 0
    foreign = m.proved_link(b)
    asking = a.proved_link(b)
    asking.send(Record(kind, 0x80, 110, 5, b"i" * 16, Envelope(b"bob", b"b.example", b"alice", b"a.example")))
    request = service.request()
    asking.close()
    lab.wait_until(
        lambda: not any(b"a.example" in one.sources for one in b.router.switch.ports.values()),
        "alice is gone",
    )
    service.answer(request, values=b"Bob's number is 5551234")
    service.drain()
    foreign.drain()
    assert (b"5551234" in foreign.raw) == (not guarded)
