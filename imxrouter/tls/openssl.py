"""What OpenSSL can do and pyOpenSSL has no method for: four calls, in one place.

`tests/tls/test_openssl.py` calls each, so that a new pyOpenSSL that moves them is found out at once.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL, crypto

_LIB: Any = Binding().lib

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
