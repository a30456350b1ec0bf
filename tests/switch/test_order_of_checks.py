"""The checks of RFC 3860 section 3.4.1 come in their order: addresses, destination, access, then limits."""

from __future__ import annotations

from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.wire.record import Envelope
from tests.switch.rig import ALICE, BOB, FAR, HERE, PEER, Rig, message

#: What is wrong with the message at first, and what the answer says until it is mended.
FAULTS = (
    ("local part of the recipient", Reason.BAD_ADDRESS),
    ("domain of the recipient", Reason.RELAY_DENIED),
    ("suspension of the recipient's domain", Reason.SUSPENDED),
    ("proof of the sender's domain", Reason.NOT_PROVED),
    ("hops left", Reason.TOO_MANY_HOPS),
    ("rate of the sender", Reason.RATE_LIMITED),
    ("link to the service", Reason.SERVICE_DOWN),
)


def refusals(rig: Rig, reason: Reason) -> int:
    """How often something was refused for that reason."""
    return slots.refusals(rig.switch.counters, reason)


def test_the_first_fault_in_their_order_is_named() -> None:
    """Whatever else is wrong with the message; with everything mended it is delivered."""
    rig = Rig()
    rig.switch.routes[HERE].suspended = True
    service = rig.switch.routes[HERE].ports.pop()
    rig.peer.sources.clear()
    rig.rates.wait_s[ALICE + b"@" + PEER] = 3.0
    local, domain, hops = b"b\x00b", FAR, 0
    for number, (_, reason) in enumerate(FAULTS, 1):
        rig.feed(rig.peer, message(number, envelope=Envelope(local, domain, ALICE, PEER), hops_left=hops))
        assert len(rig.out(rig.peer)) == 1
        assert [refusals(rig, one) for _, one in FAULTS] == [
            int(place < number) for place in range(len(FAULTS))
        ], reason
        if reason is Reason.BAD_ADDRESS:
            local = BOB
        elif reason is Reason.RELAY_DENIED:
            domain = HERE
        elif reason is Reason.SUSPENDED:
            rig.switch.routes[HERE].suspended = False
        elif reason is Reason.NOT_PROVED:
            rig.prove(rig.peer, PEER)
        elif reason is Reason.TOO_MANY_HOPS:
            hops = 110
        elif reason is Reason.RATE_LIMITED:
            rig.rates.wait_s.clear()
        else:
            rig.switch.routes[HERE].ports.append(service)
    rig.feed(rig.peer, message(99))
    (delivered,) = rig.out(rig.service)
    assert delivered.hops_left == 109
    rig.answer(rig.service, delivered)
    assert rig.outcome(rig.peer).ok
    assert rig.switch.conservation() == []
