"""Rows err-success and err-presence-again of the mapping: what counts as handed over, and what does not."""

from __future__ import annotations

from imxrouter.gateways.xmpp.acks import Ask, Confirmations
from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings
from tests.gateways.xmpp.checks import rule
from tests.gateways.xmpp.streams import test_again


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


@rule("err-presence-again")
def _said_again() -> None:
    test_again.test_it_is_tried_until_it_arrives()
    test_again.test_what_is_of_the_bare_address_ends_what_its_resources_said()
    test_again.test_wishes_and_consents_stand_for_themselves()
    test_again.test_what_is_never_said_again()
