"""Patterns that name senders or recipients: an address, local parts, a domain, a zone, everybody (IMX-34).

Everything is compared by key (`Address.key`), so that neither case nor a compatibility form slips past.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.model.address import MAX_LOCAL_BYTES, Address, BadAddress
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.errors import RouterError

#: Names everybody.
EVERYBODY: Final = b"*"


class BadPattern(RouterError):
    """The text is no pattern; says why."""


class Rank(Enum):
    """What a pattern names; the first in this order is the closest."""

    ADDRESS = "address"
    LOCAL = "local"
    DOMAIN = "domain"
    ZONE = "zone"
    EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Some addresses.

    Attributes:
        text: normal form: `alice@a.example`; `sales*@a.example`, local parts at a domain or at any form that
            follows; `a.example`; `*.a.example`, the domains below it; `.a.example`, it and those below; `*`.
        rank: what it names.
        where: the part about domains: `a.example`, `*.a.example`, `.a.example` or `*`.
        key: of an address; else empty.
        pieces: of the local part between its stars, folded; one piece has no star.
    """

    text: str
    rank: Rank
    where: bytes
    key: bytes = b""
    pieces: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern. Raises `BadPattern`."""
        text = text.strip()
        local, at, where = text.rpartition("@")
        if "@" in local or (at and not local):
            raise BadPattern(f"{text[:80]!r}: write local@domain, with one '@'")
        place = _where(where, text)
        if not local or local == "*":
            return cls(place.decode(), _rank(place), place)
        if "*" in local or place[:1] in (b"*", b"."):
            if len(local.encode("utf-8", "replace")) > MAX_LOCAL_BYTES:
                raise BadPattern(f"a local part has at most {MAX_LOCAL_BYTES} bytes")
            pieces = tuple(_folded(piece) for piece in local.split("*"))
            whole = b"*".join(pieces).decode("utf-8")
            return cls(f"{whole}@{place.decode()}", Rank.LOCAL, place, b"", pieces)
        try:
            address = Address.parse(text)
        except (BadAddress, BadDomain) as error:
            raise BadPattern(str(error)) from None
        return cls(str(address), Rank.ADDRESS, place, address.key)

    def matches_local(self, local: bytes) -> bool:
        """Whether a folded local part fits the pieces; time is linear in it for each piece."""
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            return local == first
        if len(local) < len(first) + len(last) or not local.startswith(first) or not local.endswith(last):
            return False
        at, end = len(first), len(local) - len(last)
        for piece in self.pieces[1:-1]:
            found = local.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


def places_of(domain: bytes) -> Iterator[tuple[bytes, ...]]:
    """Every `where` that names a domain, the closest first; those that are as close stand together."""
    yield (domain,)
    yield (b"." + domain,)
    zone = domain.partition(b".")[2]
    while zone:
        yield b"*." + zone, b"." + zone
        zone = zone.partition(b".")[2]
    yield (EVERYBODY,)


def _where(text: str, whole: str) -> bytes:
    if text == "*":
        return EVERYBODY
    mark = next((mark for mark in ("*.", ".") if text.startswith(mark)), "")
    try:
        return mark.encode() + Domain.parse(text[len(mark) :]).wire
    except BadDomain as error:
        do = "write an address, LOCAL*@domain, a domain, *.domain, .domain or *"
        raise BadPattern(f"{whole[:80]!r}: {error}; {do}") from None


def _rank(place: bytes) -> Rank:
    if place == EVERYBODY:
        return Rank.EVERYBODY
    return Rank.ZONE if place[:1] in (b"*", b".") else Rank.DOMAIN


def _folded(text: str) -> bytes:
    try:
        return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).encode("utf-8")
    except UnicodeEncodeError:
        raise BadPattern(f"{text[:80]!r} is no text") from None
