"""Figures of certificates are bounded."""

from __future__ import annotations

from imxrouter.telemetry.certificates import (
    FORGOTTEN_S,
    REMEMBERED,
    SHOWN,
    CertificateFigures,
    PeerCertificates,
    certificate_metrics,
)


def test_the_first_to_end_are_shown() -> None:
    """Of ours by file and of peers by domain, 50 of each."""
    peers = PeerCertificates(lambda: 0.0)
    for number in range(200):
        peers.seen(f"p{number}.example", 1000.0 - number)
    own = CertificateFigures({f"{number}.crt": 2000.0 - number for number in range(200)}, 3)
    families = {metric.name: metric.samples for metric in certificate_metrics(own, peers)}
    assert families["imxrouter_certificates"][0].value == 200
    assert families["imxrouter_certificate_first_expiry_timestamp_seconds"][0].value == 1801
    assert families["imxrouter_certificate_problems"][0].value == 3
    for name, label, least in (
        ("imxrouter_certificate_expiry_timestamp_seconds", {"file": "199.crt"}, 1801.0),
        ("imxrouter_peer_certificate_expiry_timestamp_seconds", {"peer": "p199.example"}, 801.0),
    ):
        assert len(families[name]) == SHOWN
        assert (families[name][0].labels, families[name][0].value) == (label, least)


def test_without_certificates_there_is_no_first() -> None:
    """A zero would set off the alert."""
    families = {
        metric.name: metric.samples
        for metric in certificate_metrics(CertificateFigures(), PeerCertificates(lambda: 0.0))
    }
    assert families["imxrouter_certificate_first_expiry_timestamp_seconds"] == []


def test_peers_are_forgotten() -> None:
    """After a week without a sight; and never more than the bound, those to end last first."""
    now = 0.0
    peers = PeerCertificates(lambda: now)
    peers.seen("old.example", 5.0)
    now = FORGOTTEN_S + 1
    peers.seen("new.example", 6.0)
    assert peers.ends() == {"new.example": 6.0}
    for number in range(2 * REMEMBERED):
        peers.seen(f"p{number}.example", 100.0 + number)
        assert len(peers._seen) <= REMEMBERED
    assert next(iter(peers.ends().items())) == ("new.example", 6.0)


def test_a_renewed_certificate_replaces_the_old_one() -> None:
    """One series for each domain."""
    peers = PeerCertificates(lambda: 0.0)
    peers.seen("a.example", 5.0)
    peers.seen("a.example", 50.0)
    assert peers.ends() == {"a.example": 50.0}
