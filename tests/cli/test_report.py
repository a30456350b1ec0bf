"""`imxctl peers report` as text, JSON and CSV (FCC-7)."""

from __future__ import annotations

import csv
import io

from imxrouter.cli.exits import Exit
from tests.cli.test_imxctl import Shell
from tests.doubles.admin_port import REPORT


def test_a_report_can_be_read(shell: Shell) -> None:
    """Period, objectives and whether they were met, counts, both shares, outages in UTC, what to look at."""
    text = shell("peers", "report", "b.example").output
    for line in (
        "Report on b.example, by router.a.example\n",
        "period     2027-01-15 07:55:00 UTC to 2027-01-15 09:00:00 UTC\n",
        "watched    1h 0m of it\n",
        "available  98.264 %\n",
        "  availability, at least 99.9 %: 99.5 %, MISSED\n",
        "  delivery time (99 %), at most 2.5 s: 2 s, met\n",
        "  not delivered, at most 1 %, nothing to measure\n",
        "  message: 40 delivered, 2 failed, 1 indeterminant\n",
        "    share of router.a.example: mean 2.1 ms, half within 2 ms, 90 % within 4 ms, 99 % within 5 ms\n",
        "    share of b.example: mean 1.25 s, half within 500 ms, 90 % within 1.5 s, 99 % within 2 s\n",
        "  notify: 0 delivered, 3 refused\n",
        "  2027-01-15 08:00:00 UTC to 2027-01-15 08:01:30 UTC, down 1m 2s, back for a moment 2 time(s)",
        ": the peer's side, stage connect: connection-refused (3), connect-timeout (1)\n",
        " to now, down 1m 2s: the network of the reporting router, stage connect",
        "  from the peer: 3 service: unknown-user, decided by the recipient\n",
        "please look at, on the side of b.example\n",
        "  the objective for availability was missed\n",
        "  connect: connection-refused (1 outage, 2 requests): nothing listens\n",
    ):
        assert line in text
    assert shell("peers", "report", "b.example", "--text").output == text


def test_a_report_is_json_or_a_table(shell: Shell) -> None:
    """JSON is the answer as it came; each line of CSV is one figure."""
    assert shell.json("peers", "report", "b.example") == REPORT
    rows = list(csv.reader(io.StringIO(shell("peers", "report", "b.example", "--csv").output)))
    assert rows[0] == ["section", "name", "figure", "value"]
    assert {len(row) for row in rows} == {4}
    for row in (
        ["report", "", "peer", "b.example"],
        ["objective", "availability", "met", "false"],
        ["objective", "refusals", "measured", ""],
        ["requests", "out message", "delivered", "40"],
        ["requests", "out message", "ours_p99_s", "0.005"],
        ["not delivered", "in service: unknown-user", "count", "3"],
        ["outage", "1", "end", "2027-01-15 08:01:30 UTC"],
        ["outage", "2", "side", "ours"],
    ):
        assert row in rows


def test_the_period_and_the_form_are_chosen(shell: Shell) -> None:
    """`--since` takes spans as elsewhere; two forms at once are one too many; nobody is known is said."""
    shell("peers", "report", "b.example", "--since", "30d")
    shell("peers", "report", "b.example")
    assert shell.port.calls == [
        ("peer_report", "b.example", 30 * 86_400.0),
        ("peer_report", "b.example", None),
    ]
    assert shell("peers", "report", "b.example", "--since", "soon").exit_code == Exit.USAGE
    assert shell("peers", "report", "b.example", "--csv", "--json").exit_code == Exit.USAGE
    assert shell("peers", "report", "c.example").exit_code == Exit.NOT_FOUND


def test_outages_and_objectives_stand_with_the_peer(shell: Shell) -> None:
    """`peers show` tells the last ones."""
    text = shell("peers", "show", "b.example").output
    assert "availability, at least 99.9 %: 99.5 %, MISSED\n" in text
    assert "outage 2027-01-15 08:00:00 UTC to 2027-01-15 08:01:30 UTC, down 1m 2s" in text
