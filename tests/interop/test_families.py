"""IPv4 and IPv6 between two organisations: one of the two suffices, and a broken one costs little time."""

from __future__ import annotations

import pytest

from tests.interop.federation import Federation
from tests.interop.routers import B, C, Organisation, routers_of

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: An attempt has a quarter of a second to itself before the other family tries, once for the link and once
#: for its verification; the rest is for a busy machine. Without the race it would be the whole time-out.
CONNECT_S = 20
QUICKLY_S = CONNECT_S / 2
ORDERS = [pytest.param(B, C, id="b-c"), pytest.param(C, B, id="c-b")]
FAMILIES = [pytest.param(0, id="IPv4"), pytest.param(1, id="IPv6")]


def families_used(lab: Federation) -> set[bool]:
    """Whether links are over IPv6."""
    return {":" in link["address"].rpartition(":")[0] for router in lab.of(C) for link in router.links()}


@pytest.mark.parametrize(("first", "second"), ORDERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_only_one_family_reaches(
    lab: Federation, family: int, first: Organisation, second: Organisation
) -> None:
    """The other one is refused both ways, DNS included; whoever begins."""
    lab.place_of(second).unreachable(first.networks[1 - family])
    lab.start(*routers_of(first, second))
    for source, destination in ((first, second), (second, first)):
        for router in lab.of(source):
            lab.deliver(router, destination)
    assert families_used(lab) == {family == 1}


@pytest.mark.parametrize(("first", "second"), ORDERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_black_hole_is_walked_around_quickly(
    lab: Federation, family: int, first: Organisation, second: Organisation
) -> None:
    """One family's connections vanish without a word; the other one is there after a moment."""
    for org, other in ((first, second), (second, first)):
        lab.place_of(org).black_hole(other.networks[family], "-p", "tcp")
    lab.start(*routers_of(first, second), settings={"dial.connect_timeout_s": CONNECT_S})
    outcome = lab.deliver(lab.of(first)[0], second)
    assert outcome["seconds"] < QUICKLY_S
    assert families_used(lab) == {family == 0}
    outcome = lab.deliver(lab.of(second)[0], first)
    assert outcome["seconds"] < QUICKLY_S


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_ipv6_that_is_broken_for_dns_too(lab: Federation, first: Organisation, second: Organisation) -> None:
    """Nothing of IPv6 passes between the two, so their resolvers wait for each other as well."""
    for org, other in ((first, second), (second, first)):
        lab.place_of(org).black_hole(other.networks[1])
    lab.start(*routers_of(first, second))
    lab.deliver(lab.of(first)[0], second)
    lab.deliver(lab.of(second)[0], first)
    assert families_used(lab) == {False}
