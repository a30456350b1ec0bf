"""Dial-back keys of served domains, derived from the operator's secrets (specification section 6.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from imxrouter.link.token import domain_key, key_id
from imxrouter.model.errors import LocalMisuse


class Keys(Protocol):
    """Dial-back keys of served domains."""

    def signing(self, domain: bytes) -> bytes:
        """The key that signs the domain's tokens."""

    def known(self, domain: bytes) -> Mapping[bytes, bytes]:
        """Every key of the domain by key id."""


class KeyRing:
    """Gives each served domain keys of its own.

    Args:
        secrets: the operator's secrets, the one that signs first; all hosts of a domain hold the same.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self.secrets: tuple[bytes, ...] = ()
        self.change(secrets)

    def change(self, secrets: Sequence[bytes]) -> None:
        """Sign with the first of these, and recognise them all; tokens of others are good no more."""
        if not secrets:
            raise LocalMisuse("a key ring needs at least one secret")
        self.secrets = tuple(secrets)
        # 4,096 domains of derived keys are some 2 MB; deriving one again costs 3 microseconds
        self._derived = lru_cache(maxsize=4096)(self._derive)

    def holds(self, secrets: Sequence[bytes]) -> bool:
        """Whether it holds exactly these, in this order."""
        return self.secrets == tuple(secrets)

    def signing(self, domain: bytes) -> bytes:
        """The key that signs the domain's tokens."""
        return domain_key(self.secrets[0], domain)

    def known(self, domain: bytes) -> Mapping[bytes, bytes]:
        """Every key of the domain by key id."""
        return self._derived(domain)

    def _derive(self, domain: bytes) -> dict[bytes, bytes]:
        keys = [domain_key(secret, domain) for secret in self.secrets]
        return {key_id(key): key for key in keys}
