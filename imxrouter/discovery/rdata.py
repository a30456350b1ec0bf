"""Teaches dnspython the IMX record type, so that zone files and messages may hold it by name.

Importing the module registers the type; doing so twice does no harm.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import dns.exception
import dns.immutable
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.svcbbase

from imxrouter.discovery.answers import TYPE_IMX, TYPE_SRV
from imxrouter.discovery.errors import BadDnsRecord
from imxrouter.discovery.imxrr import ImxRecord, SrvRecord

#: The type's name in zone files of dnspython; other software writes TYPE65400.
TYPE_TEXT: Final = "IMX"


@dns.immutable.immutable
class IMX(dns.rdtypes.svcbbase.SVCBBase):
    """The IMX record: SVCB under another number."""

    @classmethod
    def from_wire_parser(
        cls, rdclass: Any, rdtype: Any, parser: Any, origin: dns.name.Name | None = None
    ) -> Any:
        """Read RDATA; parameters of an alias are passed over, which dnspython's own SVCB refuses."""
        if int.from_bytes(parser.wire[parser.current : parser.current + 2], "big") == 0:
            parser.get_uint16()
            target = parser.get_name(origin)
            parser.get_bytes(parser.remaining())
            return cls(rdclass, rdtype, 0, target, {})
        return super().from_wire_parser(rdclass, rdtype, parser, origin)


def register() -> None:
    """Register the type; does nothing where it is registered."""
    number = dns.rdatatype.RdataType.make(TYPE_IMX)
    known = dns.rdata.get_rdata_class(dns.rdataclass.IN, number, False)  # type: ignore[no-untyped-call]
    if known in {None, dns.rdata.GenericRdata}:
        # A namespace works with each version of dnspython; a bare class only with the newest.
        dns.rdata.register_type(SimpleNamespace(IMX=IMX), TYPE_IMX, TYPE_TEXT)


def rdata_from_text(rdtype: int, text: str) -> bytes:
    r"""Return the RDATA of a record in presentation form; `\# length hex` is understood as well.

    Raises:
        BadDnsRecord: the text is no record of that type.
    """
    kind = dns.rdatatype.RdataType.make(rdtype)
    try:
        rdata = dns.rdata.from_text(dns.rdataclass.IN, kind, text, origin=dns.name.root, relativize=False)
        return rdata.to_wire() or b""
    except (dns.exception.DNSException, ValueError, UnicodeError, IndexError) as error:
        raise BadDnsRecord(f"{text[:120]!r}: {error}") from None


def imx_from_text(text: str) -> ImxRecord:
    """Return an IMX record given in presentation or generic form.

    Raises:
        BadDnsRecord: the text is none.
    """
    return ImxRecord.parse(rdata_from_text(TYPE_IMX, text))


def srv_from_text(text: str) -> SrvRecord:
    """Return an SRV record given in presentation form.

    Raises:
        BadDnsRecord: the text is none.
    """
    return SrvRecord.parse(rdata_from_text(TYPE_SRV, text))


register()
