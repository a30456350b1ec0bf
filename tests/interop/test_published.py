"""What routers tell others: records that name servers' own tools accept, metrics that Prometheus accepts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.interop.federation import Federation, zone_of
from tests.interop.nameservers import Server, authoritative, checker
from tests.interop.netlab import program, run
from tests.interop.routers import ORGANISATIONS, B, C, Organisation, published, routers_of

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]


@pytest.mark.parametrize("server", ["named", "knotd", "nsd"])
@pytest.mark.parametrize("org", ORGANISATIONS, ids=lambda org: org.name)
def test_records_to_publish_are_good_zones(
    lab: Federation, org: Organisation, server: Server, tmp_path: Path
) -> None:
    """All three forms of `imxctl dns records` together, by each server's own tool."""
    lab.start(org.routers[0])
    records = [
        line for form in ("imx", "svcb", "srv") for line in published(lab[org.routers[0]], form, org.domain)
    ]
    authoritative(server, tmp_path, {org.domain: zone_of(org, records)}, [("127.0.0.1", 53)])
    run(*checker(server, tmp_path, org.domain))


def test_metrics_are_clean_for_promtool(lab: Federation) -> None:
    """A scrape of a router that has sent, received, refused and dialled."""
    lab.start(*routers_of(B, C))
    lab.deliver(lab["c1"], B)
    lab.deliver(lab["b1p0"], C)
    assert lab["c1"].send("nobody@c.example", "nobody is there")["status"] == "failure"
    scraped = lab["c1"].metrics()
    assert 'imxrouter_requests_total{kind="message",result="delivered"}' in scraped
    labels = f'direction="out",kind="message",part="theirs",peer="{B.domain}"'
    assert f"imxrouter_peer_delivery_seconds_count{{{labels}}} 1.0" in scraped
    assert 'imxrouter_delivery_seconds_count{part="theirs"}' in scraped
    assert promtool_says(scraped) == (0, "")


def test_promtool_would_find_what_is_bad() -> None:
    """A counter without its ending, a unit that is none, a family without help."""
    for page in (
        "# HELP imxrouter_requests Requests.\n# TYPE imxrouter_requests counter\nimxrouter_requests 1\n",
        "# HELP imxrouter_wait_ms Wait.\n# TYPE imxrouter_wait_ms gauge\nimxrouter_wait_ms 1\n",
        "# TYPE imxrouter_links gauge\nimxrouter_links 1\n",
    ):
        assert promtool_says(page)[0] != 0, page


def promtool_says(page: str) -> tuple[int, str]:
    """Exit code and words of `promtool check metrics`."""
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr
