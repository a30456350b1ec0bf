"""The laboratory itself: what is honest passes."""

from tests.doubles.raw_peer import text_message
from tests.doubles.router_rig import Lab


def test_two_real_routers_exchange_messages(lab: Lab) -> None:
    """Look-up, connection, claim, verification, delivery, answer; and the same way back."""
    a, b = lab.router("a.example"), lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example", "one").outcome().ok
    assert b.send("bob@b.example", "alice@a.example", "two").outcome().ok
    assert b.inbox("bob@b.example") == [("alice@a.example", "one")]
    assert a.inbox("alice@a.example") == [("bob@b.example", "two")]


def test_a_scripted_organisation_proves_itself_and_is_heard(lab: Lab) -> None:
    """What an attacker is denied, an honest peer of the same make has."""
    b, m = lab.router("b.example"), lab.organisation("m.example")
    link = m.proved_link(b)
    link.send(text_message("mallory@m.example", "bob@b.example", "good day"))
    assert link.outcome().ok
    assert b.inbox("bob@b.example") == [("mallory@m.example", "good day")]
