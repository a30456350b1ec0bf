"""Which keys and signatures are too weak to prove anything."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from imxrouter.tls.reading import UNREADABLE

#: CA/Browser Forum baseline requirements section 6.1.5: 2048 bits of RSA, P-256 and above.
MIN_RSA_BITS = 2048
MIN_CURVE_BITS = 256
#: The same, section 7.1.3.2: SHA-1 and MD5 can be forged.
STRONG_DIGESTS = frozenset({"sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"})


def weak_key(certificate: x509.Certificate) -> str:
    """Say what is weak about the public key; empty if nothing is."""
    try:
        key = certificate.public_key()
    except UNREADABLE:
        return "a key of an unknown kind"
    if isinstance(key, rsa.RSAPublicKey):
        return "" if key.key_size >= MIN_RSA_BITS else f"RSA with {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.key_size >= MIN_CURVE_BITS else f"curve {key.curve.name}"
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return ""
    return "a key that is neither RSA nor an elliptic curve"


def weak_digest(certificate: x509.Certificate) -> str:
    """Say what is weak about the signature on it; empty if nothing is."""
    try:
        digest = certificate.signature_hash_algorithm
    except UNREADABLE:
        return "a signature of an unknown kind"
    if digest is None or digest.name in STRONG_DIGESTS:  # None: the algorithm has its own, as Ed25519
        return ""
    return f"signed with {digest.name}"
