"""Taking PEM files apart."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cryptography import x509

_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n.*?-----END \1-----", re.DOTALL
)  # RFC 7468 section 2
#: Above any chain or bundle of authorities (Debian's has 230 kB); what is larger is no certificate file.
MAX_PEM_BYTES = 4 * 1024 * 1024


def blocks(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each block as (label, the block with its lines BEGIN and END)."""
    for found in _BLOCK.finditer(text):
        yield found.group(1).decode("ascii"), found.group(0) + b"\n"


def is_whole(text: bytes) -> bool:
    """Whether every block that begins ends too; else the file is being written, or was cut."""
    return text.count(b"-----BEGIN ") == sum(1 for _ in blocks(text))


def certificates(text: bytes) -> list[x509.Certificate]:
    """Return the certificates in a text, in order.

    Raises:
        ValueError: one of them cannot be read.
    """
    return [x509.load_pem_x509_certificate(block) for label, block in blocks(text) if label == "CERTIFICATE"]


def private_keys(text: bytes) -> list[bytes]:
    """Return the blocks that hold a private key."""
    return [block for label, block in blocks(text) if label.endswith("PRIVATE KEY")]
