"""What DNSSEC says of the way from a domain to one of its targets, and TLSA records as values.

Discovery makes them, `tls/dane.py` judges certificates by them (RFC 6698, RFC 7671).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason

#: Usage, selector and matching type, one octet each (RFC 6698 section 2.1).
_HEAD_OCTETS: Final = 3


class BadTlsaRecord(RouterError):
    """RDATA that is no TLSA record."""


class Usage(IntEnum):
    """What a TLSA record holds a certificate to (RFC 7218 section 2.1)."""

    PKIX_TA = 0
    PKIX_EE = 1
    DANE_TA = 2
    DANE_EE = 3

    @property
    def word(self) -> str:
        """As people write it, such as `DANE-EE`."""
        return self.name.replace("_", "-")


class Selector(IntEnum):
    """What of the certificate is compared."""

    CERTIFICATE = 0
    PUBLIC_KEY = 1


class Matching(IntEnum):
    """How it is compared."""

    FULL = 0
    SHA256 = 1
    SHA512 = 2


#: Octets of each digest.
_DIGEST_OCTETS: Final = {Matching.SHA256: 32, Matching.SHA512: 64}


@dataclass(frozen=True, slots=True)
class TlsaRecord:
    """One TLSA record; its numbers may be any octets.

    Attributes:
        usage: 0 to 3 are assigned.
        selector: 0 and 1 are.
        matching: 0 to 2 are.
        data: a certificate, a public key, or the digest of either.
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    @classmethod
    def parse(cls, rdata: bytes) -> TlsaRecord:
        """Read RDATA (RFC 6698 section 2.1).

        Raises:
            BadTlsaRecord: it is too short.
        """
        if len(rdata) < _HEAD_OCTETS:
            raise BadTlsaRecord(f"TLSA RDATA of {len(rdata)} octets")
        return cls(rdata[0], rdata[1], rdata[2], rdata[_HEAD_OCTETS:])

    @property
    def unusable_because(self) -> str:
        """Why it is not usable; empty where it is (RFC 6698 section 4.1)."""
        for what, value, last in (
            ("usage", self.usage, Usage.DANE_EE),
            ("selector", self.selector, Selector.PUBLIC_KEY),
            ("matching type", self.matching, Matching.SHA512),
        ):
            if value > last:
                return f"unknown {what} {value}"
        wanted = _DIGEST_OCTETS.get(Matching(self.matching))
        if not self.data or (wanted is not None and len(self.data) != wanted):
            return f"{len(self.data)} octets of data" + (f", not {wanted}" if wanted else "")
        return ""

    def to_text(self) -> str:
        """In presentation form: three numbers and hexadecimal digits."""
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"

    def to_wire(self) -> bytes:
        """As RDATA."""
        return bytes((self.usage, self.selector, self.matching)) + self.data


@dataclass(frozen=True, slots=True)
class Delegation:
    """What DNSSEC says of the way from a domain to one target.

    Attributes:
        target: the target's host name.
        secure: every answer from the domain to the target's name was validated: the domain itself says that
            this is its router (RFC 7673 section 3.1).
        insecure_at: the first question whose answer was not, or why none was asked; empty where secure.
        tlsa: the validated TLSA records of the target and its port; none unless `secure`.
        tlsa_name: where they stand; where they were looked for if there are none; empty if not looked for.
        failure: why TLSA records were not learned although they may exist; NONE where it is known.
        note: an operator's detail, such as why TLSA records were not asked for.
    """

    target: str = ""
    secure: bool = False
    insecure_at: str = ""
    tlsa: tuple[TlsaRecord, ...] = ()
    tlsa_name: str = ""
    failure: Reason = Reason.NONE
    note: str = ""

    @property
    def base(self) -> str:
        """The TLSA base domain: the host's name under which the records were found (RFC 7671 section 7)."""
        return self.tlsa_name.split(".", 2)[-1] if self.tlsa else self.target

    @property
    def words(self) -> str:
        """What is known of TLSA records, for a screen."""
        if not self.secure:
            return "not asked for: the way is not secure"
        if self.failure is not Reason.NONE:
            return self.failure.word
        if self.tlsa:
            return ", ".join(record.to_text() for record in self.tlsa)
        return self.note or "no TLSA record"


def tlsa_name(host: str, port: int) -> str:
    """The name of the TLSA records of a TCP port (RFC 6698 section 3)."""
    return f"_{port}._tcp.{host}"
