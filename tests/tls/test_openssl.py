"""The calls that pyOpenSSL has no method for are still there."""

import contextlib

from OpenSSL import SSL, crypto

from imxrouter.tls.openssl import (
    NO_CHECK_TIME,
    buffered,
    clear_errors,
    renew_buffers,
    require_purpose,
    was_resumed,
)
from tests.doubles.authority import DAY, NOW, Authority


def test_the_calls_are_there() -> None:
    """Each does what it says."""
    root = Authority.root(not_before=NOW - 9 * DAY, not_after=NOW - 8 * DAY)
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(root.certificate))
    store.set_flags(NO_CHECK_TIME)
    issued = root.issue("a.example", not_before=NOW - 9 * DAY, not_after=NOW - 8 * DAY)
    leaf = crypto.X509.from_cryptography(issued.certificate)
    require_purpose(store, as_client=False)
    crypto.X509StoreContext(store, leaf).verify_certificate()
    require_purpose(store, as_client=True)
    try:
        crypto.X509StoreContext(store, leaf).verify_certificate()
    except crypto.X509StoreContextError as error:
        assert error.errors[0] == SSL.X509VerificationCodes.ERR_INVALID_PURPOSE  # noqa: PT017
    else:
        raise AssertionError
    assert not was_resumed(SSL.Connection(SSL.Context(SSL.TLS_METHOD), None))
    clear_errors()


def test_buffers_are_renewed_only_where_they_are_empty() -> None:
    """What waits in one is not thrown away."""
    opener = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    opener.set_connect_state()
    before = opener._from_ssl
    renew_buffers(opener)
    assert opener._from_ssl != before
    assert buffered(opener) == 0
    with contextlib.suppress(SSL.WantReadError):
        opener.do_handshake()
    before, waits = opener._from_ssl, buffered(opener)
    renew_buffers(opener)
    assert waits > 100
    assert opener._from_ssl == before
    assert len(opener.bio_read(1 << 16)) == waits
    renew_buffers(opener)
    opener.bio_write(b"abc")
    assert buffered(opener) == 3
