"""How much of an address can be read in logs and traces (rule 9 of `docs/architecture.md`)."""

from __future__ import annotations

import hashlib
import re
from enum import Enum

from imxrouter.model.address import Address, BadAddress, address_key
from imxrouter.model.domain import BadDomain

#: Anything that looks like an address inside a text, bounded so that a long text costs linear time.
_ADDRESS = re.compile(r"[^\s@\"'<>(),;:=\[\]{}]{1,255}@([\w.-]{1,253})")

#: 8 bytes: two users of one log collide once in billions, and a hash stays short enough to read.
_HASH_BYTES = 8


class Privacy(Enum):
    """The three modes of `log.addresses`."""

    FULL = "full"
    DOMAIN = "domain"
    KEYED_HASH = "keyed-hash"


class AddressMask:
    """Shows addresses as one mode asks.

    Args:
        mode: how much is shown.
        key: at least 16 random bytes for `KEYED_HASH`, made at start and kept nowhere.
    """

    def __init__(self, mode: Privacy, key: bytes = b"") -> None:
        self.mode = mode
        self._key = key

    def address(self, address: Address | str | bytes) -> str:
        """Show one address: `alice@a.example`, `*@a.example` or `#9f86d081884c7d65@a.example`."""
        text = address.decode("utf-8", "replace") if isinstance(address, bytes) else str(address)
        local, at, domain = text.rpartition("@")
        if self.mode is Privacy.FULL or not at:
            return text
        if self.mode is Privacy.DOMAIN or not local:
            return f"{'*' if local else ''}@{domain}"
        return f"#{self._hash(text)}@{domain}"

    def text(self, text: str) -> str:
        """Mask whatever looks like an address inside a text."""
        if self.mode is Privacy.FULL or "@" not in text:
            return text
        return _ADDRESS.sub(lambda found: self.address(found.group()), text)

    def _hash(self, text: str) -> str:
        try:
            folded = address_key(text.encode("utf-8"))
        except (BadAddress, BadDomain):
            folded = text.encode("utf-8", "replace")
        return hashlib.blake2b(folded, digest_size=_HASH_BYTES, key=self._key[:64]).hexdigest()
