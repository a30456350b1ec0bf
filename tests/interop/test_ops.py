"""The samples in ops/ are taken by the programs they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.nameservers import Server, authoritative, checker
from tests.interop.netlab import program, run

pytestmark = pytest.mark.interop

OPS = Path(__file__).parents[2] / "ops"


@pytest.mark.parametrize("server", ["named", "knotd", "nsd"])
def test_the_sample_zone_loads(server: Server, tmp_path: Path) -> None:
    """As it is, in each of the three."""
    zone = (OPS / "zones" / "a.example.zone").read_text()
    authoritative(server, tmp_path, {"a.example": zone}, [("127.0.0.1", 53)])
    run(*checker(server, tmp_path, "a.example"))


def test_prometheus_takes_the_samples() -> None:
    """Scrape configuration and alerts."""
    done = run(program("promtool"), "check", "config", str(OPS / "prometheus" / "prometheus.yml"))
    assert "6 rules found" in done.stdout
