"""The fixed part of a record (specification section 4.1): offsets, sizes, limits, flags.

offset  size  field
0       4     length: bytes after this field, under 16 MiB, so that the first byte is 0x00
4       2     type: bit 15 set on a response
6       1     flags
7       1     hops left
8       8     route tag
16      4x1   lengths of to-local, to-domain, from-local, from-domain
20      2     bytes of extension fields
22      2     reserved, 0
24      16    message id
40            to-local '@' to-domain, from-local '@' from-domain, extension fields, body
"""

from __future__ import annotations

from struct import Struct
from typing import Final

HEADER: Final = Struct(">IHBBQBBBBHH16s")
HEADER_BYTES: Final = HEADER.size
LENGTH: Final = Struct(">I")
LENGTH_BYTES: Final = 4
#: Flags, hops left and route tag stand together, so a router rewrites them in one step.
FLAGS_HOPS_TAG: Final = Struct(">BBQ")
FLAGS_OFFSET: Final = 6
ADDRESSES_OFFSET: Final = 40

RESPONSE_BIT: Final = 0x8000
FIRST_ROUTED_TYPE: Final = 0x0100

FLAG_RESPONSE_WANTED: Final = 0x80
FLAG_CRITICAL: Final = 0x40
FLAG_RETRY: Final = 0x20

#: A TLS ClientHello starts with it, a record with 0, so one port serves both.
TLS_FIRST_BYTE: Final = 0x16

#: Before any proof a link carries hello, claims and pings only; none needs more (specification section 4.3).
MAX_RECORD_BEFORE_PROOF: Final = 1280
#: What a link takes unless its hello says more.
DEFAULT_MAX_RECORD: Final = 64 * 1024
#: What a hello may raise it to; the length field itself ends at 16 MiB.
HIGHEST_MAX_RECORD: Final = 1024 * 1024
#: Fields in one record; bounds the work of a decoder (rule 7).
MAX_FIELDS: Final = 256

#: The fixed start of a response body: status, zero, reason code, seconds until a retry may help.
OUTCOME: Final = Struct(">BBHI")
OUTCOME_BYTES: Final = OUTCOME.size

MESSAGE_ID_BYTES: Final = 16
