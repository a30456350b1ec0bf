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
    assert "16 rules found" in done.stdout
    rules = run(program("promtool"), "check", "rules", str(OPS / "prometheus" / "imxrouter.rules.yml"))
    assert "SUCCESS: 16 rules found" in rules.stdout


#: Ten minutes in which b.example takes nothing, c.example everything but slowly, and `former` jumps.
ALERTS = """
rule_files: [RULES]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'imxrouter_peer_requests_total{instance="x", peer="b.example", direction="out", result="failed"}', values: '0+60x30'}
      - {series: 'imxrouter_peer_requests_total{instance="x", peer="b.example", direction="out", result="delivered"}', values: '0+1x30'}
      - {series: 'imxrouter_peer_requests_total{instance="x", peer="c.example", direction="out", result="delivered"}', values: '0+60x30'}
      - {series: 'imxrouter_peer_requests_total{instance="x", peer="former", direction="out", result="failed"}', values: '0x10 5000x20'}
      - {series: 'imxrouter_peer_delivery_seconds_sum{instance="x", peer="c.example", direction="out", kind="message", part="theirs"}', values: '0+600x30'}
      - {series: 'imxrouter_peer_delivery_seconds_count{instance="x", peer="c.example", direction="out", kind="message", part="theirs"}', values: '0+60x30'}
      - {series: 'imxrouter_peer_objective_burn{instance="x", peer="b.example", objective="availability", window="hour"}', values: '20x30'}
      - {series: 'imxrouter_peer_objective_burn{instance="x", peer="b.example", objective="availability", window="day"}', values: '2x30'}
      - {series: 'imxrouter_peer_objective_burn{instance="x", peer="c.example", objective="refusals", window="hour"}', values: '20x30'}
      - {series: 'imxrouter_peer_objective_burn{instance="x", peer="c.example", objective="refusals", window="day"}', values: '0.5x30'}
      - {series: 'imxrouter_peer_down{instance="x", peer="b.example"}', values: '1x30'}
      - {series: 'imxrouter_peer_down{instance="x", peer="c.example"}', values: '0x30'}
      - {series: 'imxrouter_peer_outage_seconds_total{instance="x", peer="b.example", side="theirs", stage="dns"}', values: '0+60x30'}
      - {series: 'imxrouter_peer_outage_seconds_total{instance="x", peer="c.example", side="ours", stage="connect"}', values: '0x30'}
      - {series: 'imxrouter_delivery_seconds_bucket{instance="x", part="ours", le="0.01"}', values: '0+60x30'}
      - {series: 'imxrouter_delivery_seconds_bucket{instance="x", part="ours", le="+Inf"}', values: '0+60x30'}
      - {series: 'imxrouter_certificate_expiry_timestamp_seconds{instance="x", file="a.crt"}', values: '1210000x30'}
      - {series: 'imxrouter_certificate_expiry_timestamp_seconds{instance="x", file="b.crt"}', values: '1220000x30'}
      - {series: 'imxrouter_certificate_problems{instance="x"}', values: '0x2 1x28'}
      - {series: 'imxrouter_peer_certificate_expiry_timestamp_seconds{instance="x", peer="b.example"}', values: '173000x30'}
      - {series: 'imxrouter_peer_certificate_expiry_timestamp_seconds{instance="x", peer="c.example"}', values: '175000x30'}
    alert_rule_test:
      - eval_time: 20m
        alertname: ImxrouterCertificateEnds
        exp_alerts:
          - exp_labels: {instance: x, file: a.crt}
            exp_annotations: {summary: "x: our certificate a.crt ends in less than two weeks; renewing it does not work"}
      - eval_time: 20m
        alertname: ImxrouterCertificatesNotTaken
        exp_alerts:
          - exp_labels: {instance: x}
            exp_annotations: {summary: "x: new certificates are not taken, the old ones stay in use; imxctl certs says why"}
      - eval_time: 20m
        alertname: ImxrouterPeerCertificateEnds
        exp_alerts:
          - exp_labels: {instance: x, peer: b.example}
            exp_annotations: {summary: "x: the certificate of b.example ends in less than two days; tell its operator"}
      - eval_time: 20m
        alertname: ImxrouterPeerFails
        exp_alerts:
          - exp_labels: {instance: x, peer: b.example}
            exp_annotations: {summary: "x: more than half of what goes to b.example is not delivered; imxctl peers show b.example"}
      - eval_time: 20m
        alertname: ImxrouterPeerSlow
        exp_alerts:
          - exp_labels: {instance: x, peer: c.example}
            exp_annotations: {summary: "x: c.example takes more than 5 s for an answer"}
      - eval_time: 20m
        alertname: ImxrouterObjectiveBurns
        exp_alerts:
          - exp_labels: {instance: x, peer: b.example, objective: availability, window: hour}
            exp_annotations: {summary: "x: b.example uses up what the objective for availability allows 20 times too fast; imxctl peers report b.example --since 1h"}
      - eval_time: 20m
        alertname: ImxrouterPeerDown
        exp_alerts:
          - exp_labels: {instance: x, peer: b.example}
            exp_annotations: {summary: "x: b.example cannot be reached; imxctl peers show b.example"}
      - {eval_time: 20m, alertname: ImxrouterOwnNetwork, exp_alerts: []}
      - {eval_time: 20m, alertname: ImxrouterHolds, exp_alerts: []}
"""  # noqa: E501 - a series a line


def test_alerts_of_peers_name_who_it_is(tmp_path: Path) -> None:
    """And what became `former` sets none off."""
    file = tmp_path / "alerts.yml"
    file.write_text(ALERTS.replace("RULES", str(OPS / "prometheus" / "imxrouter.rules.yml")))
    run(program("promtool"), "test", "rules", str(file))
