"""Served domains: added, changed, removed, with diffs and within memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.domain import Domain
from imxrouter.routing.choice import Protocol
from imxrouter.routing.domains import (
    DomainClash,
    DomainDiff,
    DomainState,
    NotServed,
    ServedDomain,
    ServedDomains,
)

A, B, C = Domain("a.example"), Domain("b.example"), Domain("c.example")


def record(name: Domain, *aliases: Domain, service: str = "home") -> ServedDomain:
    """A record."""
    return ServedDomain(name, service, aliases)


def test_one_is_added_changed_suspended_and_removed() -> None:
    """Each step tells its diff, to the caller and to listeners."""
    table, told = ServedDomains(), list[DomainDiff]()
    stop = table.listen(told.append)
    diffs = [
        table.add(record(A, B)),
        table.change(replace(record(A, C), max_message_bytes=5, protocols=frozenset(Protocol))),
        table.suspend(A),
        table.resume(A),
        table.remove(A),
    ]
    assert told == diffs
    assert [line for diff in diffs for line in diff.lines()] == [
        "+ a.example (service home)",
        (
            "~ a.example: aliases: [b.example] -> [c.example]; protocols: [imx] -> [imx, sip, xmpp]; "
            "max_message_bytes: 0 -> 5"
        ),
        "~ a.example: state: active -> suspended",
        "~ a.example: state: suspended -> active",
        "- a.example (service home)",
    ]
    stop()
    table.add(record(A))
    assert len(told) == 5


def test_it_is_found_by_name_and_alias() -> None:
    """As long as it has them."""
    table = ServedDomains()
    table.add(record(A, B))
    found = table.get(B)
    assert found is not None
    assert found.name == A
    table.change(record(A))
    assert B not in table
    assert A in table


def test_nothing_changes_without_a_difference() -> None:
    """And nobody is told."""
    table = ServedDomains()
    table.add(record(A))
    table.listen(lambda _diff: pytest.fail("told"))
    assert not table.change(record(A))
    assert not table.resume(A)
    assert not table.replace_all([record(A)])


def test_a_clash_names_both_sides_and_changes_nothing() -> None:
    """By name or alias, at once or in a whole set."""
    table = ServedDomains()
    table.add(record(A, B))
    table.add(record(C))
    clashes: list[tuple[Callable[[], object], str]] = [
        (lambda: table.add(record(A)), "domain a.example is given twice"),
        (lambda: table.add(record(B)), "domain b.example clashes with alias b.example of domain a.example"),
        (
            lambda: table.change(record(C, A)),
            "alias a.example of domain c.example clashes with domain a.example",
        ),
        (
            lambda: table.change(record(C, B)),
            "alias b.example of domain c.example clashes with alias b.example",
        ),
        (lambda: table.change(record(C, C)), "names c.example twice"),
        (
            lambda: table.replace_all([record(A, C), record(C)]),
            "domain c.example clashes with alias c.example",
        ),
        (lambda: table.replace_all([record(A), record(A)]), "domain a.example is given twice"),
        (lambda: table.replace_all([record(A, A)]), "a.example"),
    ]
    for act, text in clashes:
        with pytest.raises(DomainClash) as caught:
            act()
        assert text in str(caught.value)
    assert [item.names for item in table] == [(A, B), (C,)]
    assert table.get(B) is table.get(A)


def test_what_is_not_served_cannot_be_changed() -> None:
    """Nor through its alias."""
    table = ServedDomains()
    table.add(record(A, B))
    for act in (table.remove, table.suspend, table.resume):
        with pytest.raises(NotServed):
            act(B)
    with pytest.raises(NotServed):
        table.change(record(C))


def test_an_alias_can_move_in_one_step() -> None:
    """Two records that swap names do not clash with what they were."""
    table = ServedDomains()
    table.replace_all([record(A, C), record(B)])
    diff = table.replace_all([record(A), record(B, C)])
    assert len(diff.changed) == 2
    found = table.get(C)
    assert found is not None
    assert found.name == B
    assert table.replace_all([record(C)]).lines() == [
        "+ c.example (service home)",
        "- a.example (service home)",
        "- b.example (service home)",
    ]


RECORDS = st.lists(
    st.builds(
        ServedDomain,
        name=st.integers(0, 9).map(lambda number: Domain(f"d{number}.example")),
        service=st.sampled_from(["one", "two"]),
        state=st.sampled_from(DomainState),
    ),
    unique_by=lambda item: item.name,
)


@given(RECORDS, RECORDS)
def test_a_diff_leads_from_one_set_to_the_other(
    before: list[ServedDomain], after: list[ServedDomain]
) -> None:
    """Applying it one by one gives the same table as replacing all."""
    table, other = ServedDomains(), ServedDomains()
    table.replace_all(before)
    other.replace_all(before)
    diff = table.replace_all(after)
    for gone in diff.removed:
        other.remove(gone.name)
    for change in diff.changed:
        assert other.change(change.after).changed == (change,)
    for new in diff.added:
        other.add(new)
    assert set(table) == set(other) == set(after)


def test_many_take_little() -> None:
    """Under 600 bytes each: 60 MB for 100,000, which leaves 40 for the routes of the switch."""
    gc.collect()
    tracemalloc.start()
    table = ServedDomains()
    table.replace_all(
        ServedDomain(Domain(f"customer-{number}.example"), f"service-{number % 50}", types=frozenset({0x180}))
        for number in range(20_000)
    )
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == 20_000
    assert size / 20_000 < 600
