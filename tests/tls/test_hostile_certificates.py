"""Certificates that OpenSSL takes in a handshake and that are broken somewhere: judged, and nothing else."""

from __future__ import annotations

from random import Random

import pytest
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from imxrouter.model.domain import Domain
from imxrouter.tls.peer import PeerCertificate
from imxrouter.tls.reading import UNREADABLE
from imxrouter.transport.strengths import judge_certificate
from tests.doubles.authority import NOW
from tests.doubles.router_rig import anchors_of, issued


def _broken(raw: bytes, chance: Random) -> PeerCertificate | None:
    """One with some bytes changed, if both libraries still take it for a certificate."""
    changed = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 3))):
        changed[chance.randrange(4, len(changed))] ^= 1 << chance.randrange(8)
    try:
        leaf = crypto.load_certificate(crypto.FILETYPE_ASN1, bytes(changed)).to_cryptography()
    except (crypto.Error, *UNREADABLE):
        return None
    return PeerCertificate(leaf, (leaf,), resumed=chance.random() < 0.2)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("seed", range(2))
def test_a_broken_certificate_is_judged(seed: int) -> None:
    """No error but a judgement comes of it, and OpenSSL keeps none for the next connection."""
    chance, library, judged = Random(seed), Binding().lib, 0
    good = [issued("a.example"), issued("a.example", "*.b.example", by="stranger")]
    raw = [one.leaf.public_bytes(Encoding.DER) for one in good]
    for _ in range(600):
        shown = _broken(chance.choice(raw), chance)
        library.ERR_clear_error()
        if shown is None:
            continue
        judged += 1
        for as_client in (True, False):
            found = judge_certificate(anchors_of(), shown, Domain("a.example"), NOW, as_client=as_client)
            assert found.good or found.note
        assert shown.not_after
        assert isinstance(shown.names, tuple)
        assert library.ERR_peek_error() == 0
    assert judged > 100
