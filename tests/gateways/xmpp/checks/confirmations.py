"""Row err-success of the mapping: when a message counts as handed over."""

from __future__ import annotations

from imxrouter.gateways.xmpp.acks import Ask, Confirmations
from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings
from tests.gateways.xmpp.checks import rule


def _confirmations(confirm: Confirm = Confirm.PING) -> Confirmations:
    return Confirmations(confirm, StreamSettings(), bytes)


@rule("err-success")
def _handed_over() -> None:
    """By a count, else by the answer to a ping behind it, else, where it is said so, by writing."""
    counted = _confirmations()
    counted.enable()
    assert counted.wrote([7], 0.0) == (Ask.REQUEST, ())
    assert counted.acked(1) == (7,)
    pinged = _confirmations()
    assert pinged.wrote([7, 8], 0.0) == (Ask.PING, ())
    assert pinged.wrote([9], 0.0) == (Ask.NOTHING, ())
    assert pinged.barrier_answered(pinged.barrier, 1.0) == (7, 8)
    # what nobody has confirmed when the stream is lost is in doubt
    assert pinged.pending == 1
    assert _confirmations(Confirm.WRITTEN).wrote([7], 0.0) == (Ask.NOTHING, (7,))
