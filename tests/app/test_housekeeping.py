"""What has had its time is forgotten, a bounded part of it in one second."""

from __future__ import annotations

from imxrouter.app.housekeeping import DESTINATIONS_A_STEP, SENDERS_A_STEP, Housekeeping
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import DestinationTable
from imxrouter.routing.dialling import DialLimits, Permit
from imxrouter.routing.limits import SenderRates
from imxrouter.routing.subscriptions import Subscriptions


def parts() -> tuple[SenderRates, DestinationTable, DialLimits, Housekeeping]:
    """Empty tables and who looks after them."""
    rates, dialling = SenderRates(0.1, 1.0, per_domain=20_000), DialLimits()
    destinations = DestinationTable(lambda: 0.0, limit=10_000, keep_s=5.0)
    return rates, destinations, dialling, Housekeeping(rates, [destinations], dialling, Subscriptions())


def test_a_full_table_of_senders_takes_new_ones_when_old_ones_have_rested() -> None:
    """Without that a domain's table that was full once would refuse every new sender for ever."""
    rates, _, _, housekeeping = parts()
    for number in range(20_000):
        assert rates.admit(b"u%d@a.example" % number, b"a.example", 0.0) == 0.0
    assert rates.admit(b"new@a.example", b"a.example", 0.0) > 0
    housekeeping.step(1.0)
    assert len(rates.arrivals) == 20_000 - SENDERS_A_STEP
    assert rates.admit(b"new@a.example", b"a.example", 1.0) == 0.0


def test_destinations_nobody_wrote_to_are_forgotten_in_slices() -> None:
    """One that was used since stays."""
    _, destinations, _, housekeeping = parts()
    for number in range(DESTINATIONS_A_STEP + 10):
        assert destinations.open(Domain(f"d{number}.example"), 0.0) is not None
    used = destinations.find(Domain("d7.example"))
    assert used is not None
    used.up(4.0)
    housekeeping.step(6.0)
    assert len(destinations) == 10
    housekeeping.step(7.0)
    assert [one.domain.name for one in destinations] == ["d7.example"]


def test_what_claims_used_of_their_limits_is_given_back() -> None:
    """Every memory has its turn within some minutes."""
    _, _, dialling, housekeeping = parts()
    permit = dialling.admit("192.0.2.1", Domain("a.example"), 0.0, link=1)
    assert isinstance(permit, Permit)
    assert dialling.admit_target(permit, "198.51.100.1", 0.0, port=6481) is None
    dialling.failed_connect("198.51.100.1", 6481, 0.0)
    dialling.failed_dns(Domain("b.example"), 30.0, Reason.DNS_FAILURE, 0.0)
    dialling.refused_token("192.0.2.1", Domain("c.example"), 0.0)
    dialling.release(permit)
    for second in range(1, 400):
        housekeeping.step(float(second))
    memories = (dialling._connect_failed, dialling._dns_failed, dialling._refused, dialling._hosts)
    assert [len(one) for one in memories] == [0, 0, 0, 0]
    assert len(dialling._targets._all) == len(dialling._targets._parts) == 0


def test_a_full_table_of_destinations_is_searched_once_a_second() -> None:
    """Who asks for ever new domains makes nobody look at all of them each time."""
    destinations = DestinationTable(lambda: 0.0, limit=3, keep_s=5.0)
    for name in ("a.example", "b.example", "c.example"):
        destinations.open(Domain(name), 0.0)
    assert destinations.open(Domain("d.example"), 4.5) is None
    assert destinations.open(Domain("d.example"), 5.2) is None
    assert destinations.open(Domain("d.example"), 5.6) is not None
