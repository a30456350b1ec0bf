"""Three organisations exchange messages in all six directions, whoever begins and whoever is down."""

from __future__ import annotations

import itertools

import pytest

from tests.interop.federation import Federation
from tests.interop.routers import ORDERED, ORGANISATIONS, A, B, C, Organisation, routers_of

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

PAIRS = list(itertools.permutations(ORGANISATIONS, 2))


def by_letter(value: object) -> str | None:
    """Show organisations by their letter in the names of tests."""
    return value.name if isinstance(value, Organisation) else None


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=by_letter)
def test_both_ways_from_cold(lab: Federation, first: Organisation, second: Organisation) -> None:
    """One begins from cold, from each of its routers; then the other answers from each of its own."""
    lab.start(*routers_of(first, second))
    for source, destination in ((first, second), (second, first)):
        for router in lab.of(source):
            lab.deliver(router, destination)


def test_everybody_at_once_from_cold(lab: Federation) -> None:
    """Every router sends to both other organisations at the same moment; links and claims cross."""
    lab.start(*routers_of(*ORGANISATIONS))
    under_way = [
        (text, org, router.sending(org.address, text))
        for router in lab.routers.values()
        for org in ORGANISATIONS
        if org is not router.org
        for text in [f"from {router.name} to {org.name}"]
    ]
    assert len(under_way) == 10
    for text, org, sending in under_way:
        outcome = sending.outcome()
        assert outcome["status"] == "success", f"{text}: {outcome}"
        lab.received(org, text)


def test_each_is_found_by_the_form_that_it_publishes(lab: Federation) -> None:
    """Its own resolver leads every organisation to every other one's zone."""
    lab.start(*(org.routers[0] for org in ORGANISATIONS))
    for org, other in PAIRS:
        view = lab[org.routers[0]].imxctl("dns", "lookup", other.domain)
        assert (view["result"], view["form"]) == ("found", other.form)
        hosts = [other.host_name(host) for host in range(1, other.hosts + 1)]
        assert sorted(target["host"] for target in view["targets"]) == hosts
        for target in view["targets"]:
            four, six = other.host_addresses(1 + hosts.index(target["host"]))
            assert target["addresses"] == [six, four]


@pytest.mark.parametrize("down", A.routers)
def test_one_host_of_two_never_started(lab: Federation, down: str) -> None:
    """From cold the other host carries everything, in both directions of both pairs."""
    lab.start(*(name for name in routers_of(*ORGANISATIONS) if name != down))
    _all_of_a(lab)


@pytest.mark.parametrize("down", A.routers)
def test_one_host_of_two_is_killed(lab: Federation, down: str) -> None:
    """While links to it are in use."""
    lab.start(*routers_of(*ORGANISATIONS))
    _all_of_a(lab)
    lab[down].kill()
    _all_of_a(lab)


@pytest.mark.parametrize("down", [1, 2])
def test_one_host_of_two_is_silent(lab: Federation, down: int) -> None:
    """Nothing answers at its addresses, not even a refusal: only time tells."""
    lab.start(*(name for name in routers_of(*ORGANISATIONS) if name != f"a{down}"))
    for address in A.host_addresses(down):
        lab.place_of(A).black_hole("::/0" if ":" in address else "0.0.0.0/0", "-d", address)
    _all_of_a(lab)


def _all_of_a(lab: Federation) -> None:
    """Messages in the four directions that concern organisation a, from every router that runs.

    Towards a both ways of choosing a host are taken: by chance, and the first host first.
    """
    for org in (B, C):
        for router in lab.of(org):
            lab.deliver(router, A)
            outcome = router.send(f"{A.user}@{ORDERED}", "the first host is asked first")
            assert outcome["status"] == "success", outcome
        for router in lab.of(A):
            lab.deliver(router, org)
            lab.deliver(router, org, f"{A.user}@{ORDERED}")
