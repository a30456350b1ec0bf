"""Tokens of dial-back: a MAC over what a claim is, so that any host of the domain recognises it.

Specification section 6.1. A token is 46 bytes in clear and 32 bytes of HMAC-SHA-256:

    key id 4, server 8, process 2, link 4, claim number 4, nonce 16, expiry 8 (seconds since 1970),
    MAC 32 over "imx-token", the length-prefixed claiming and destination domains, and these 46 bytes

Its key belongs to the claiming domain's routers only. Nothing in it is secret; what it proves is that this
very claim, of this pair, on this link, was made by a holder of the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason

_FACTS: Final = Struct(">4s8sHII16sQ")
TOKEN_BYTES: Final = _FACTS.size + 32
#: Clocks of a domain's hosts may differ by this much (architecture 5.3).
CLOCK_SKEW_S: Final = 30
#: How long a token lives by default: longer than every stage of a verification together.
TOKEN_TTL_S: Final = 60


class TokenRefused(RouterError):
    """The token is not good; `reason` is NOT_MINE where its key is not known here, else BAD_TOKEN."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(f"{reason.word}: {why}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a token says of its claim.

    Attributes:
        server: 8 bytes naming the host (shared by its processes).
        process: the process that holds the first connection.
        link: number of the first connection within that process.
        claim: number of the claim on that link.
        nonce: 16 random bytes.
        expires_at: seconds since 1970, the hosts' clocks.
    """

    server: bytes
    process: int
    link: int
    claim: int
    nonce: bytes
    expires_at: int


def key_id(secret: bytes) -> bytes:
    """The public name of a key: the first 4 bytes of its hash."""
    return hashlib.sha256(b"imx-token-key-id" + secret).digest()[:4]


def domain_key(secret: bytes, domain: bytes) -> bytes:
    """The key of one domain, derived from an operator's secret, so that no two domains share one."""
    return hmac.digest(secret, b"imx-domain-key" + domain, "sha256")


def mint_token(secret: bytes, from_domain: bytes, to_domain: bytes, facts: TokenFacts) -> bytes:
    """Make the token of a claim under the claiming domain's key."""
    clear = _FACTS.pack(
        key_id(secret), facts.server, facts.process, facts.link, facts.claim, facts.nonce, facts.expires_at
    )
    return clear + _mac(secret, from_domain, to_domain, clear)


def open_token(
    keys: Mapping[bytes, bytes], from_domain: bytes, to_domain: bytes, token: bytes, wall_s: float,
    skew_s: float = CLOCK_SKEW_S,
) -> TokenFacts:  # fmt: skip
    """Check a token against the claiming domain's keys (by key id) and the pair it is presented for.

    Args:
        keys: key id to secret, of `from_domain` only.
        from_domain: the claiming domain.
        to_domain: the domain it claims to talk to.
        token: as presented.
        wall_s: this host's clock, seconds since 1970.
        skew_s: by so much the clocks of a domain's hosts may differ.

    Raises:
        TokenRefused: NOT_MINE for an unknown key; BAD_TOKEN for another pair or an expired one.
    """
    if len(token) != TOKEN_BYTES:
        raise TokenRefused(Reason.NOT_MINE, f"{len(token)} bytes are no token of ours")
    clear, mac = token[: _FACTS.size], token[_FACTS.size :]
    ident, server, process, link, claim, nonce, expires_at = _FACTS.unpack(clear)
    secret = keys.get(ident)
    if secret is None:
        raise TokenRefused(Reason.NOT_MINE, f"key {ident.hex()} is not known for {from_domain.decode()}")
    if not hmac.compare_digest(mac, _mac(secret, from_domain, to_domain, clear)):
        raise TokenRefused(Reason.BAD_TOKEN, "not made for this pair of domains")
    if wall_s > expires_at + skew_s:
        raise TokenRefused(Reason.BAD_TOKEN, "expired")
    return TokenFacts(server, process, link, claim, nonce, expires_at)


def _mac(secret: bytes, from_domain: bytes, to_domain: bytes, clear: bytes) -> bytes:
    pair = bytes([len(from_domain)]) + from_domain + bytes([len(to_domain)]) + to_domain
    return hmac.digest(secret, b"imx-token" + pair + clear, "sha256")
