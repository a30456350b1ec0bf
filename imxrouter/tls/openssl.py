"""What OpenSSL can do and pyOpenSSL has no method for, in one place.

`tests/tls/test_openssl.py` calls each, so that a new pyOpenSSL that moves them is found out at once.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL, crypto

_LIB: Any = Binding().lib
_NULL: Any = Binding().ffi.NULL

#: Do not compare validity with the clock (X509_V_FLAG_NO_CHECK_TIME, openssl/x509_vfy.h).
NO_CHECK_TIME = 0x200000


def require_purpose(store: crypto.X509Store, *, as_client: bool) -> None:
    """Have whatever is verified against the store fit for a TLS client, else for a TLS server."""
    purpose = _LIB.X509_PURPOSE_SSL_CLIENT if as_client else _LIB.X509_PURPOSE_SSL_SERVER
    if _LIB.X509_STORE_set_purpose(store._store, purpose) != 1:  # noqa: SLF001
        raise RuntimeError("X509_STORE_set_purpose failed")


def was_resumed(connection: SSL.Connection) -> bool:
    """Say whether the handshake resumed an earlier session."""
    return bool(_LIB.SSL_session_reused(connection._ssl))  # noqa: SLF001


def clear_errors() -> None:
    """Forget what went wrong in this thread.

    What fails in OpenSSL and is not told by an exception stays in a queue of the thread. The next failure of
    any connection would be told with its words; before OpenSSL 4, a connection that only waits for bytes
    would be taken for broken (SSL_get_error(3)).
    """
    _LIB.ERR_clear_error()


def buffered(connection: SSL.Connection) -> int:
    """Bytes in the two buffers of a connection in memory: come and not read, written and not sent."""
    both = (connection._into_ssl, connection._from_ssl)  # noqa: SLF001
    return sum(_LIB.BIO_get_mem_data(one, _NULL) for one in both)


def renew_buffers(connection: SSL.Connection) -> None:
    """Give a connection in memory new buffers, unless something is in the old ones.

    A buffer keeps the size, and a third more, of the most that it ever held. OpenSSL frees the old ones
    (SSL_set_bio(3)).
    """
    if buffered(connection):
        return
    into, out = _LIB.BIO_new(_LIB.BIO_s_mem()), _LIB.BIO_new(_LIB.BIO_s_mem())
    if _NULL in (into, out):
        raise MemoryError
    _LIB.SSL_set_bio(connection._ssl, into, out)  # noqa: SLF001
    connection._into_ssl, connection._from_ssl = into, out  # noqa: SLF001
