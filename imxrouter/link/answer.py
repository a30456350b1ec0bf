"""The answer of dial-back that returns on the first connection (specification section 6.3)."""

from __future__ import annotations

import hmac
from enum import IntEnum


class ConnectionView(IntEnum):
    """How one side sees the first connection; both must see the same, or the claim fails."""

    CLEAR = 0
    #: TLS whose session gives no channel binding (TLS 1.2 counts as unbound).
    TLS_UNBOUND = 1
    #: TLS 1.3 with the exporter of RFC 9266.
    TLS_BOUND = 2


def answer_for(
    secret: bytes, view: ConnectionView, exporter: bytes, from_domain: bytes, to_domain: bytes, token: bytes
) -> bytes:
    """The 32 bytes that return: the secret itself, or its binding to the first connection's TLS session.

    Args:
        secret: what came on the second connection.
        view: how this side sees the first connection.
        exporter: 32 bytes of the first connection's `EXPORTER-Channel-Binding` (RFC 9266) where TLS_BOUND.
        from_domain: the claiming domain.
        to_domain: the verifying domain.
        token: the claim's token.
    """
    if view is not ConnectionView.TLS_BOUND:
        return secret
    pair = bytes([len(from_domain)]) + from_domain + bytes([len(to_domain)]) + to_domain
    return hmac.digest(secret, b"imx-dialback" + exporter + pair + token, "sha256")
