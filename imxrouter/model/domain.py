"""Domain names as they stand on the wire and in tables: lower-case A-labels.

IDNA 2008 with the UTS 46 mapping on entry; U-labels are for screens only (architecture section 2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import idna

from imxrouter.model.errors import RouterError

#: RFC 1035 section 2.3.4: 255 octets on the DNS wire are 253 characters of text.
MAX_DOMAIN_BYTES = 253

#: What a domain in wire form looks like: letters, digits and inner hyphens, one to 63 a label.
_WIRE_FORM = re.compile(
    rb"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)


class BadDomain(RouterError):
    """The text is no domain name; says which rule it breaks."""


def is_wire_domain(raw: bytes) -> bool:
    """Tell whether the bytes are a domain in wire form (lower-case A-labels, no trailing dot)."""
    return len(raw) <= MAX_DOMAIN_BYTES and _has_wire_form(raw)


@lru_cache(maxsize=4096)
def _has_wire_form(raw: bytes) -> bool:
    """Remembered, for each address that is new has a domain that mostly is not; 300 bytes each at most."""
    return _WIRE_FORM.match(raw) is not None


@dataclass(frozen=True, slots=True, order=True)
class Domain:
    """A domain name, normalised. Make one with `Domain.parse` or, from the wire, `Domain.from_wire`.

    Attributes:
        name: lower-case A-labels, at most 253 characters, no trailing dot.
    """

    name: str

    @classmethod
    def parse(cls, text: str) -> Domain:
        """Normalise text from a configuration, a screen or a foreign protocol.

        Raises:
            BadDomain: the text is empty, too long or not valid under IDNA 2008 with UTS 46 mapping.
        """
        return cls(_normalise(text))

    @classmethod
    def from_wire(cls, raw: bytes) -> Domain:
        """Take bytes that must already be in wire form.

        Raises:
            BadDomain: they are not lower-case A-labels.
        """
        if not is_wire_domain(raw):
            raise BadDomain(f"{raw[:80]!r} is not a domain in wire form (lower-case A-labels)")
        return cls(raw.decode("ascii"))

    @property
    def wire(self) -> bytes:
        """The bytes that travel in an envelope."""
        return self.name.encode("ascii")

    @property
    def display(self) -> str:
        """The U-label form for people; falls back to A-labels where one does not decode."""
        try:
            return idna.decode(self.name)
        except (idna.IDNAError, UnicodeError):
            return self.name

    @property
    def parent(self) -> str:
        """The zone one label up, or the name itself for a single label."""
        return self.name.partition(".")[2] or self.name

    def __str__(self) -> str:
        return self.name


@lru_cache(maxsize=4096)
def _normalise(text: str) -> str:
    trimmed = text.strip().removesuffix(".")
    if not trimmed:
        raise BadDomain("a domain name is missing")
    if len(trimmed) > 4 * MAX_DOMAIN_BYTES:
        raise BadDomain(f"domain of {len(trimmed)} characters; at most {MAX_DOMAIN_BYTES} bytes are allowed")
    if is_wire_domain(lowered := trimmed.lower().encode("utf-8", "replace")) and b"xn--" not in lowered:
        return lowered.decode("ascii")
    try:
        encoded = idna.encode(trimmed, uts46=True, transitional=False).lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise BadDomain(f"domain {trimmed[:80]!r}: {error}") from None
    if not is_wire_domain(encoded):
        raise BadDomain(f"domain {trimmed[:80]!r} is not made of letter-digit-hyphen labels")
    return encoded.decode("ascii")
