"""Certificates that are damaged on purpose: judged, matched or refused, and never an exception."""

from __future__ import annotations

import random
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from OpenSSL import crypto

from imxrouter.model.domain import Domain
from imxrouter.tls.peer import Anchors, ChainProblem, PeerCertificate
from imxrouter.tls.reading import UNREADABLE
from tests.doubles.authority import NOW, Authority, dns_srv

ROOT = Authority.root()
MIDDLE = ROOT.below()
TRUST = Anchors([ROOT.certificate], partial=False)
_SAN = [x509.DNSName("a.example"), dns_srv("_imx.b.example"), x509.RFC822Name("c@a.example")]
GOOD = MIDDLE.issue(san=_SAN, common="a.example").certificate.public_bytes(Encoding.DER)


def damaged(seed: int) -> x509.Certificate | None:
    """A certificate with some bytes changed; None where nobody reads it at all."""
    chance = random.Random(seed)
    der = bytearray(GOOD)
    for _ in range(chance.randint(1, 3)):
        der[chance.randrange(4, len(der))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    if bytes(der) == GOOD:
        return None
    try:
        crypto.load_certificate(crypto.FILETYPE_ASN1, bytes(der))
        return x509.load_der_x509_certificate(bytes(der))
    except (crypto.Error, *UNREADABLE):
        return None


@pytest.mark.parametrize("batch", range(4))
def test_any_damage_is_a_refusal(batch: int) -> None:
    """Whatever was changed: no error escapes, and nothing damaged is trusted."""
    read = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for seed in range(batch * 100, (batch + 1) * 100):
            leaf = damaged(seed)
            if leaf is None:
                continue
            read += 1
            peer = PeerCertificate(leaf, (leaf, MIDDLE.certificate))
            judged = TRUST.judge(peer, at=NOW, as_client=True)
            assert isinstance(judged.problem, ChainProblem), seed
            assert judged.note
            peer.covers(Domain("a.example"))
            peer.covers_name("a.example")
            assert isinstance(peer.names, tuple)
    assert read > 20
