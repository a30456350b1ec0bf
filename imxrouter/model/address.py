"""Addresses `local@domain` (IMX draft section 4.2.1; RFC 8265 for the local part).

An address keeps the sender's spelling. Its *key*, under which policy, limits and subscriptions look it up,
folds case and compatibility forms, so that `Alice` cannot slip past a block on `alice`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from precis_i18n import get_profile

from imxrouter.model.domain import Domain, is_wire_domain
from imxrouter.model.errors import RouterError

#: The envelope gives one byte to the length of a local part (specification section 4).
MAX_LOCAL_BYTES = 255

_USERNAME = get_profile("UsernameCasePreserved")
_PLAIN_LOCAL = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$%&'*+-/=?^_`{|}~"
)


class BadAddress(RouterError):
    """The text is no address; says which rule it breaks."""


class AddressTooLong(BadAddress):
    """Local part over 255 bytes or domain over 253."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """One user, or with an empty local part the domain itself.

    Attributes:
        local: PRECIS UsernameCasePreserved text, at most 255 bytes of UTF-8; may be empty.
        domain: the domain that answers for the user.
    """

    local: str
    domain: Domain

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `local@domain` or a bare domain.

        Raises:
            BadAddress: more than one `@`, a character PRECIS forbids, or a bad domain.
            AddressTooLong: over the limits of the envelope.
        """
        local, at, domain = text.strip().rpartition("@")
        if "@" in local:
            raise BadAddress(f"{text[:80]!r}: '@' is reserved and may stand only once")
        if at and not local:
            raise BadAddress(f"{text[:80]!r}: nothing stands before '@'")
        return cls(check_local(local), Domain.parse(domain))

    @classmethod
    def from_wire(cls, local: bytes, domain: bytes) -> Address:
        """Take the two parts of an envelope.

        Raises:
            BadAddress: the local part is not UTF-8 or not allowed by PRECIS.
            BadDomain: the domain is not in wire form.
        """
        try:
            text = local.decode("utf-8")
        except UnicodeDecodeError:
            raise BadAddress(f"local part {local[:80]!r} is not UTF-8") from None
        return cls(check_local(text), Domain.from_wire(domain))

    @classmethod
    def from_own(cls, raw: bytes) -> Address:
        """Take what `wire` of an address gave; it is not checked again."""
        local, _, domain = raw.rpartition(b"@")
        return cls(local.decode("utf-8"), Domain(domain.decode("ascii")))

    @property
    def wire(self) -> bytes:
        """`local@domain` as it stands in an envelope, the sender's spelling kept."""
        return self.local.encode("utf-8") + b"@" + self.domain.wire

    @property
    def key(self) -> bytes:
        """What policy, limits and subscriptions compare (case-folded NFKC local part)."""
        wire = self.wire
        return wire.lower() if self.local.isascii() else address_key(wire)

    def __str__(self) -> str:
        return f"{self.local}@{self.domain.name}" if self.local else self.domain.name


def check_local(text: str) -> str:
    """Return the local part in PRECIS form.

    Raises:
        BadAddress: a character is not allowed.
        AddressTooLong: over 255 bytes.
    """
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_LOCAL_BYTES:
        raise AddressTooLong(f"local part of {len(raw)} bytes; at most {MAX_LOCAL_BYTES} are allowed")
    if _PLAIN_LOCAL.issuperset(raw):
        return text
    if "@" in text:
        raise BadAddress(f"local part {text[:80]!r}: '@' is reserved")
    try:
        enforced: str = _USERNAME.enforce(text)
    except (UnicodeError, ValueError) as error:
        raise BadAddress(f"local part {text[:80]!r} is not allowed: {error}") from None
    if len(enforced.encode("utf-8")) > MAX_LOCAL_BYTES:
        raise AddressTooLong(f"local part of {len(enforced)} characters; at most {MAX_LOCAL_BYTES} bytes")
    return enforced


def address_key(raw: bytes) -> bytes:
    """Fold the wire form `local@domain` to the key under which tables hold it.

    Works on bytes because the hot path has nothing else. Raises `BadAddress` or `BadDomain` when the bytes
    are no address; ASCII addresses cost one `lower()` after their check.
    """
    local, at, domain = raw.rpartition(b"@")
    if not at or not is_wire_domain(domain):
        raise BadAddress(f"{raw[:80]!r} is not local@domain in wire form")
    if _PLAIN_LOCAL.issuperset(local):
        return raw.lower()
    try:
        text = check_local(local.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadAddress(f"local part {local[:80]!r} is not UTF-8") from None
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.encode("utf-8") + b"@" + domain
