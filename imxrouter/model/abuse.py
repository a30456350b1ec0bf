"""Reports of abuse (specification section 7.10): what they say, and their form on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import MESSAGE_ID_BYTES

#: Of a body: the lines and the words for people.
MAX_REPORT_BYTES: Final = 8192
#: Lines before the empty one; what is not known is passed over.
MAX_LINES: Final = 32
#: The year 9999, which people and programs can still write.
_MOST_TIME: Final = 253_402_300_799
_END: Final = "\r\n"


class BadReport(RouterError):
    """The bytes are no report; says why."""


class AbuseType(Enum):
    """What is wrong with it."""

    SPAM = "spam"
    FRAUD = "fraud"
    MALWARE = "malware"
    THREAT = "threat"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Report:
    """One report.

    Attributes:
        kind: what is wrong.
        source: who is reported; a user of the domain that gets the report.
        destination: who was written to; a user of the domain that reports.
        at: when, seconds since 1970.
        message_id: of the message; empty where it is not known.
        text: words for people; holds the message only where the reporter chose so.
    """

    kind: AbuseType
    source: Address
    destination: Address
    at: int
    message_id: bytes = b""
    text: str = ""

    def encode(self) -> bytes:
        """The body of a REPORT."""
        lines = [
            f"type: {self.kind.value}", f"from: {self.source}", f"to: {self.destination}", f"time: {self.at}"
        ]  # fmt: skip
        if self.message_id:
            lines.append(f"id: {self.message_id.hex()}")
        return (_END.join(lines) + _END + _END + self.text).encode("utf-8")

    @classmethod
    def decode(cls, body: bytes) -> Report:
        """Read the body of a REPORT. Raises `BadReport`."""
        if len(body) > MAX_REPORT_BYTES:
            raise BadReport(f"{len(body)} bytes; at most {MAX_REPORT_BYTES}")
        try:
            head, empty, text = body.decode("utf-8").partition(_END + _END)
        except UnicodeDecodeError:
            raise BadReport("it is not UTF-8") from None
        lines = head.split(_END, MAX_LINES)
        if not empty or len(lines) > MAX_LINES:
            raise BadReport(f"up to {MAX_LINES} lines and an empty one are needed")
        given: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            if not colon or name in given:
                raise BadReport(f"{line[:40]!r} is no line, or stands twice")
            given[name] = value
        return cls(
            next((one for one in AbuseType if one.value == given.get("type")), AbuseType.OTHER),
            _user(given, "from"), _user(given, "to"), _time(given.get("time", "")), _id(given.get("id", "")),
            text,
        )  # fmt: skip


def _user(given: dict[str, str], name: str) -> Address:
    try:
        address = Address.parse(given.get(name, ""))
    except (BadAddress, BadDomain) as error:
        raise BadReport(f"{name}: {error}") from None
    if not address.local:
        raise BadReport(f"{name}: names no user")
    return address


def _time(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or int(text) > _MOST_TIME:
        raise BadReport("time: no seconds since 1970")
    return int(text)


def _id(text: str) -> bytes:
    try:
        ident = bytes.fromhex(text)
    except ValueError:
        raise BadReport("id: is not hexadecimal") from None
    if text and (len(ident) != MESSAGE_ID_BYTES or len(text) != 2 * MESSAGE_ID_BYTES):
        raise BadReport(f"id: has {2 * MESSAGE_ID_BYTES} digits")
    return ident
