"""Keys of dial-back: made and checked without keeping any (XEP-0185)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


def key_for(secret: bytes, receiving: str, originating: str, stream_id: str) -> str:
    """Make the key of one claim (XEP-0185 section 2).

    Args:
        secret: known to all hosts of the originating domain and to nobody else.
        receiving: the domain that the claim is made to.
        originating: the domain that is claimed.
        stream_id: as the receiving side gave it in its stream header.

    Returns:
        64 hexadecimal digits, lower case.
    """
    key = hashlib.sha256(secret).hexdigest().encode()
    return hmac.new(key, f"{receiving} {originating} {stream_id}".encode(), hashlib.sha256).hexdigest()


def good(secrets: Iterable[bytes], receiving: str, originating: str, stream_id: str, key: str) -> bool:
    """Say whether a key was made with one of the secrets, in a time that does not depend on which.

    Args:
        secrets: of the originating domain, those of before included.
        receiving: as in `key_for`.
        originating: as in `key_for`.
        stream_id: as in `key_for`.
        key: as it came, of any length and in any characters.
    """
    given = key.encode("utf-8", "surrogatepass")
    found = False
    for secret in secrets:
        made = key_for(secret, receiving, originating, stream_id).encode()
        found |= hmac.compare_digest(made, given)
    return found
