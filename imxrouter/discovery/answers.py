"""Questions to DNS and their answers as plain values: what plan, cache, finder and resolver pass around."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: Record types asked for (IANA DNS parameters; 65400 lies in the private range 65280-65534 of RFC 6895).
TYPE_A = 1
TYPE_CNAME = 5
TYPE_AAAA = 28
TYPE_SRV = 33
TYPE_TLSA = 52
TYPE_SVCB = 64
TYPE_IMX = 65400

_TYPE_NAMES = {
    TYPE_A: "A", TYPE_CNAME: "CNAME", TYPE_AAAA: "AAAA", TYPE_SRV: "SRV", TYPE_TLSA: "TLSA",
    TYPE_SVCB: "SVCB", TYPE_IMX: "IMX",
}  # fmt: skip


def type_name(rdtype: int) -> str:
    """Return the name of a record type; `TYPEn` (RFC 3597 section 5) for those not used here."""
    return _TYPE_NAMES.get(rdtype, f"TYPE{rdtype}")


class Status(Enum):
    """What kind of answer came."""

    RECORDS = "records"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: records, a clean no (NODATA, NXDOMAIN), or a failure.
        rdatas: RDATA bytes, names uncompressed; empty unless `status` is RECORDS.
        owner: the name the records stand at, after CNAMEs; without trailing dot. Empty: the name asked for.
        ttl_s: seconds it may be kept, as DNS gave it; 0 for failures.
        secure: the resolver validated it with DNSSEC, and we trust the way to it (AD bit).
        note: an operator's detail, such as the server and its code.
    """

    status: Status
    rdatas: tuple[bytes, ...] = ()
    owner: str = ""
    ttl_s: float = 0.0
    secure: bool = False
    note: str = ""

    @property
    def is_negative(self) -> bool:
        """A clean no: there is no such record. A failure is not one."""
        return self.status in {Status.NODATA, Status.NXDOMAIN}

    @property
    def is_failure(self) -> bool:
        """Nothing is known: server failure, time-out, malformed message."""
        return self.status in {Status.FAILURE, Status.TIMEOUT, Status.MALFORMED}

    @property
    def words(self) -> str:
        """The answer for a screen, such as `2 records` or `nxdomain`."""
        if self.status is Status.RECORDS:
            return f"{len(self.rdatas)} record{'s' if len(self.rdatas) != 1 else ''}"
        return f"{self.status.value} ({self.note})" if self.note else self.status.value


@dataclass(frozen=True, slots=True)
class Step:
    """One question and what came of it, for traces and `imxctl dns lookup`.

    Attributes:
        name: the name asked, without trailing dot.
        type: the name of the record type.
        answer: the answer in words.
        source: `dns`, `cache`, `stale` (served beyond its TTL because DNS failed), or `joined`.
    """

    name: str
    type: str
    answer: str
    source: str = "dns"

    @property
    def question(self) -> str:
        """`NAME TYPE`."""
        return f"{self.name} {self.type}"
