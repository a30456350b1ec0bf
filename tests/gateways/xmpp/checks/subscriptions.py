"""Section 6 of the mapping: the two tables of transitions, row by row, and the timers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any

from imxrouter.gateways.xmpp.subscriptions import presentity_table, watcher_table
from imxrouter.gateways.xmpp.subscriptions.effects import Rule
from tests.gateways.xmpp.checks import rule
from tests.gateways.xmpp.mapping import Transition, transitions

Table = Mapping[tuple[Any, Any], Rule[Any, Any]]
TABLES: dict[str, tuple[Table, type[Enum]]] = {
    "w": (watcher_table.TRANSITIONS, watcher_table.State),
    "p": (presentity_table.TRANSITIONS, presentity_table.State),
}
#: Events by how the page begins to write them; the first that fits.
_PREFIX = re.compile(r"^(X:|I:|T:|restart|stream|removed)")


def states(cell: str, kinds: type[Enum]) -> set[str]:
    """The states that a cell names; `any` is all but none."""
    named = set(re.split(r"[,; ]+", cell.partition(";")[0]))
    words = {one.value for one in kinds}
    return words - {"none"} if "any" in named else named & words


def hold(row: Transition) -> None:
    """The row and the entries of the table that name it say the same."""
    table, kinds = TABLES[row.ident[0]]
    entries = [(key, one) for key, one in table.items() if row.ident in one.rows]
    assert entries, f"{row.ident}: no entry of the table"
    assert {state.value for (state, _), _ in entries} == states(row.state, kinds)
    after = states(row.next, kinds)
    for (state, event), one in entries:
        wanted = {state.value} if row.next == "unchanged" else after
        assert one.then.value in wanted, (row.ident, state, event)
        begins = _PREFIX.match(event.value)
        assert begins is not None, event
        word = begins[1] if begins[1].endswith(":") else event.value.split()[0]
        assert word in row.event, (row.ident, event)
    reached = {one.then.value for _, one in entries}
    assert row.next == "unchanged" or reached == after, row.ident


for _row in transitions():
    rule(_row.ident)(partial(hold, _row))


def test_of(function: Callable[[], None], *idents: str) -> None:
    """Let a test that is there hold these rules."""
    rule(*idents)(function)
